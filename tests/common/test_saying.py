"""Lines for a person whose reader may go away."""

import subprocess
import sys

from ps_common.saying import printable, say


def test_a_line_is_said(capsys) -> None:
    say("hello")
    assert capsys.readouterr().err == "hello\n"


def test_what_a_peer_says_does_not_move_the_cursor(capsys) -> None:
    say("a\x1b[2Jb\n\tc\rd\u202ee \u00e4")
    assert capsys.readouterr().err == "a�[2Jb\n\tc�d�e ä\n"
    assert printable("a\nb") == "a�b"


def test_a_reader_that_goes_away_does_not_end_the_process() -> None:
    code = (
        "import sys; from ps_common.saying import say\n"
        "say('first'); sys.stdin.readline()\n"
        "for _ in range(3): say('nobody is there')\n"
        "print('went on')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stderr.readline() == b"first\n"
    process.stderr.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.stdout.read() == b"went on\n"
    process.stdout.close()
    assert process.wait(30) == 0
