"""ps-keys: what it says and how it ends."""

import pytest

from paramserver.cli.keys import cli
from ps_common import command


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PS_KEYS", raising=False)

    def run(*words):
        code = command.run(cli, "ps-keys", words)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_a_key_is_made_with_the_folder_and_what_to_do_with_it_is_said(run, tmp_path):
    code, said = run("new", "w1")
    assert code == 0
    assert "keys/w1.key: the key of worker w1; move it to where w1 runs, and say --key w1.key" in said
    assert run("new", "w1")[0] == 2
    code, said = run("new", "boss", "--role", "admin", "--out", "boss.key", "--keys", "others")
    assert (code, (tmp_path / "boss.key").exists(), (tmp_path / "others").is_dir()) == (0, True, True)
    assert run("new", "x", "--role", "king")[0] == 2


def test_who_may_come_in_and_who_might_is_listed(run):
    run("new", "w1")
    run("new", "boss", "--role", "admin")
    assert run("revoke", "w1")[0] == 0
    assert run("revoke", "w1")[0] == 2
    run("new", "w1")
    code, said = run("list")
    lines = [line.split() for line in said.splitlines()[1:]]
    assert code == 0
    assert [(line[0], line[1], line[3:]) for line in lines] == [
        ("boss", "admin", []), ("w1", "worker", []), ("w1", "worker", ["revoked"])
    ]  # fmt: skip


def test_where_there_are_no_keys_it_is_said_how_to_make_them(run):
    code, said = run("list")
    assert (code, "ps-keys new NAME makes it" in said) == (2, True)
    code, said = run("revok", "w1")
    assert (code, "revoke" in said) == (2, True)
