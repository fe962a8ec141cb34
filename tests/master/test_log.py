"""What a person sees of a run."""

import io
import json

from paramserver.effects import Note
from paramserver.log import Log

NOTE = Note("join", "w joined", {"worker": "w"})
URGENT = Note("loss", "w is lost", {"worker": "w"}, urgent=True)


def shown(kind: str, quiet: bool, *notes: Note) -> list[str]:
    stream = io.StringIO()
    log = Log(kind, quiet, stream)
    for note in notes:
        log.show(note)
    return stream.getvalue().splitlines()


def test_a_note_is_a_line_of_text():
    assert shown("text", False, NOTE, Note("round", ""), URGENT) == ["w joined", "w is lost"]


def test_what_a_peer_has_said_does_not_move_the_cursor():
    assert shown("text", False, Note("join", "\x1b[2Jw joined\n\tfrom \u202ex")) == [
        "�[2Jw joined",
        "\tfrom �x",
    ]


def test_quiet_shows_only_what_is_urgent():
    assert shown("text", True, NOTE, URGENT) == ["w is lost"]


def test_a_note_is_a_json_object_a_line():
    odd = Note("odd", 'a "line"\nand more', {"path": object()})
    lines = [json.loads(line) for line in shown("json", False, NOTE, odd)]
    assert lines[0] == {"at": lines[0]["at"], "event": "join", "text": "w joined", "worker": "w"}
    assert lines[1]["text"] == odd.text


def test_a_live_display_prints_through_its_own_writer_until_it_ends():
    stream, through = io.StringIO(), []
    log = Log("text", False, stream)
    log.through(through.append)
    log.show(NOTE)
    log.through(None)
    log.show(URGENT)
    assert (through, stream.getvalue()) == (["w joined"], "w is lost\n")
