"""ps-kubernetes: what it says, and what it refuses."""

import pytest

from paramserver.cli import master
from paramserver.cli.options import _OPTIONS
from paramserver.kubernetes.spec import OWN_OPTIONS
from support_kubernetes import job_file, run

IMAGE = ("--image", "team/paramserver:1", "--insecure")


def test_what_is_printed_is_yaml_with_the_jobs_name(capsys, tmp_path):
    code, out, err = run(capsys, job_file(tmp_path), *IMAGE)
    assert (code, err) == (0, "")
    assert out.startswith("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: my-digits-job\n")
    code, out, _ = run(capsys, "team.jobs.digits:job", *IMAGE)
    assert (code, "\n  name: digits-master\n" in out) == (0, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--name", "Digits"), "--name must be a DNS label"),
        (("--name", "-a"), "--name must be a DNS label"),
        (("--name", "a.b"), "--name must be a DNS label"),
        (("--name", "a\nkind: Pod"), "--name must be a DNS label"),
        (("--name", "n" * 41), "at most 40 characters"),
        (("--name", ""), "--name must be a DNS label"),
        (("--namespace", "a/b"), "--namespace must be a DNS label"),
        (("--queue", "team a"), "--queue must be the name of a queue"),
        (("--scheduler", "$(X)"), "--scheduler must be a DNS label"),
        (("--storage", "1Gb"), "--storage must be a quantity"),
        (("--memory", "0"), "--memory 0: it must be more than nothing"),
        (("--cpu", "-1"), "--cpu must be a quantity"),
        (("--", "--bind", "tcp://*:1"), "--bind is set by ps-kubernetes itself"),
        (("--", "--resume=never"), "--resume is set by ps-kubernetes itself"),
        (("--", "--set=a=\x1b[2J"), "characters that cannot be shown"),
        (("--gpus", "2"), "'--gpus': 2 is not in the range"),
        (("--workers", "0"), "0 is not in the range"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_printed(capsys, words, told):
    code, out, err = run(capsys, "team.jobs:digits", *IMAGE, *words)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize("image", ["", "a b", "-x", "a\nb", "$(X)", '"'])
def test_an_image_that_is_none_is_refused(capsys, image):
    code, out, err = run(capsys, "team.jobs:digits", "--insecure", "--image", image)
    assert (code, out, "--image must be a container image" in err) == (2, "", True)


@pytest.mark.parametrize(
    "job", ["gone.py", "../x.py", "/a/../b.py", "/a/b.txt", "a b:c", "a:b;c", "/a/$(X).py"]
)
def test_a_job_that_is_neither_here_nor_in_an_image_is_refused(capsys, job):
    code, out, err = run(capsys, job, *IMAGE, "--name", "x")
    assert (code, out, "is no file here" in err) == (2, "", True)


def test_a_job_of_which_no_name_can_be_made_needs_one(capsys):
    code, _, err = run(capsys, "/jobs/123.py", *IMAGE)
    assert (code, "give one with --name" in err) == (2, True)
    assert run(capsys, "/jobs/123.py", *IMAGE, "--name", "digits")[0] == 0


def test_a_file_that_is_no_text_or_too_large_is_refused(capsys, tmp_path):
    path = tmp_path / "job.py"
    path.write_bytes(b"\xff")
    assert run(capsys, path, *IMAGE)[0] == 2
    path.write_text("#" * 900_001)
    code, _, err = run(capsys, path, *IMAGE)
    assert (code, "put it into the image" in err) == (2, True)


def test_keys_or_a_word_that_there_are_none(capsys, tmp_path):
    for words in ((), ("--insecure", "--keys", tmp_path / "keys")):
        code, out, err = run(capsys, "team.jobs:digits", "--image", "a", *words)
        assert (code, out, "say either --keys DIR, or --insecure" in err) == (2, "", True)
    assert not (tmp_path / "keys").exists()


def test_no_keys_are_made_for_what_is_refused(capsys, tmp_path):
    words = ("--image", "a", "--keys", tmp_path / "keys", "--name", "No")
    assert run(capsys, "team.jobs:digits", *words)[0] == 2
    assert not (tmp_path / "keys").exists()


def test_what_is_set_here_are_options_of_a_master():
    known = {option for click in (*master._OPTIONS, *_OPTIONS) for option in _names(click)}
    assert known >= OWN_OPTIONS


def _names(decorator):
    def function():
        pass

    decorator(function)
    return [name for option in function.__click_params__ for name in option.opts]
