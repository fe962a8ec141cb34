"""How a command ends: the exit code and what is on stderr, for each kind of end."""

import click
import pytest

from ps_common import command, errors


def ending(raised: BaseException | None = None, result: object = None) -> click.Command:
    @click.group(cls=command.Group)
    def cli():
        pass

    @cli.command()
    @click.option("--epochs", type=int)
    @click.option("--file", type=click.File())
    def train(epochs, file):
        if raised is not None:
            raise raised
        return result

    return cli


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (75, 75), ("text", 0), (True, 0)])
def test_a_finished_command_exits_with_its_own_code(result, code):
    assert command.run(ending(result=result), "ps-x", ["train"]) == code


@pytest.mark.parametrize(
    "error",
    [
        errors.UsageError("no such thing"),
        errors.DataError("damaged"),
        errors.MasterUnreachable("nobody answers"),
        errors.JobCodeError("their code"),
    ],
)
def test_an_error_of_ours_is_one_line_and_its_own_code(error, capsys):
    assert command.run(ending(error), "ps-x", ["train"]) == error.exit_code
    assert capsys.readouterr() == ("", f"ps-x: {error}\n")


def test_anything_else_is_a_bug_with_its_traceback(capsys):
    assert command.run(ending(ZeroDivisionError("oh")), "ps-x", ["train"]) == 70
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "ZeroDivisionError: oh" in told
    assert told.splitlines()[-1].startswith("ps-x: this is a bug")


def test_an_interrupt_is_130(capsys):
    assert command.run(ending(KeyboardInterrupt()), "ps-x", ["train"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["trian"], "no command 'trian'; did you mean 'train'?"),
        (["zzz"], "no command 'zzz'; known are train"),
        (["train", "--epoch5"], "--epochs"),
        (["train", "--epochs", "many"], "'many' is not a valid integer"),
        (["train", "--file", "/gone/for/good"], "No such file"),
    ],
)
def test_wrong_usage_is_2_and_names_the_nearest(args, told, capsys):
    assert command.run(ending(), "ps-x", args) == 2
    assert told in capsys.readouterr().err


def test_clicks_own_1_is_2_since_1_is_the_users_code(capsys):
    assert command.run(ending(click.FileError("job.py", "no such file")), "ps-x", ["train"]) == 2
    assert "job.py" in capsys.readouterr().err


def test_help_is_0(capsys):
    assert command.run(ending(), "ps-x", ["--help"]) == 0
    assert "train" in capsys.readouterr().out
