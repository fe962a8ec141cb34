"""Nobody gets in without a key of the run, or as somebody else; each attack with its control off."""

import contextlib
import dataclasses
import errno
import os
import socket
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from paramserver.admission import roles
from paramserver.members import Members
from ps_common import keys as key_files
from ps_common import messages as m
from ps_common.errors import BeyondRole, Impersonation, UsageError
from ps_common.key_folder import KeyFolder
from ps_common.keys import Bundle, draw_identity, read_bundle
from security import controls, knocking
from security.knocking import House
from simulation.test_judging import finish
from simulation.test_master_leases import started, state_of

JOIN = m.Join(m.PROTOCOL, "w1", "nowhere", 1, "cpu", "", "numpy 0")
OLD = (  # ZMTP 1 and 2
    b"\x01\x00\x06\x00hello",
    b"\xff" + bytes(7) + b"\x01\x7f\x00\x05\x00\x00\x00\x05hello",
)

Check = Callable[[Path], None]
Control = Callable[[pytest.MonkeyPatch], None]


def stranger(house: House, folder: Path) -> Bundle:
    """A key that nobody made for this run, with the server key of this run."""
    other = read_bundle(KeyFolder(folder / "other").new("w1", "worker"))
    return dataclasses.replace(other, server=house.w1.server)


def a_key_that_nobody_let_in(folder: Path) -> None:
    with House(folder) as house:
        house.stays_out(house.call(stranger(house, folder)))


def a_key_of_another_run(folder: Path) -> None:
    with House(folder) as house:
        house.stays_out(house.call(read_bundle(KeyFolder(folder / "other").new("w1", "worker"))))


def a_peer_without_a_key(folder: Path) -> None:
    with House(folder) as house:
        house.stays_out(house.call(None, draw_identity(b"w", house.w1)))


def a_peer_with_a_password(folder: Path) -> None:
    with House(folder) as house:
        identity = draw_identity(b"w", house.w1)
        house.stays_out(house.call(None, identity, plain_username=b"w1", plain_password=b"w1"))


def a_peer_of_a_protocol_that_knows_no_keys(folder: Path) -> None:
    with House(folder) as house:
        url = urllib.parse.urlsplit(house.door.address)
        for greeting in OLD:
            with socket.create_connection((url.hostname, url.port), 30) as raw:
                raw.sendall(greeting)
                _wait_for_the_end(raw, until=lambda: bool(house.door.socket.poll(10)))
            assert not house.door.socket.poll(0), "it comes in"


def a_master_that_is_none(folder: Path) -> None:
    """Someone else listens at the master's address: it hears nothing."""
    with House(folder) as house, contextlib.closing(house.context.socket(zmq.ROUTER)) as fake:
        fake.linger = 0
        port = fake.bind_to_random_port("tcp://127.0.0.1")
        caller = knocking.Caller(house.context, f"tcp://127.0.0.1:{port}", b"w1", house.w1)
        with contextlib.closing(caller):
            caller.say(b"hello")
            deadline = time.monotonic() + knocking.PATIENCE_S
            while not fake.poll(5) and not caller.is_kept_out:
                assert time.monotonic() < deadline, "nothing happens"
            assert not fake.poll(0), "it is told something"


def a_key_that_is_revoked_while_it_is_connected(folder: Path) -> None:
    with House(folder) as house:
        good, bad = house.call(house.w1), house.call(house.w2)
        for caller in (good, bad):
            caller.say(b"hello")
            assert house.hear() is not None
        house.keys.revoke("w2")
        revoked: list[object] = []

        def is_seen() -> bool:
            revoked.extend(house.door.cut_revoked())
            return bool(revoked)

        assert house.hear(until=is_seen) is None
        assert revoked == [(bad.identity, ("w2", "worker"))]
        house.stays_out(bad)
        good.say(b"still here")
        received = house.hear()
        assert received is not None
        assert received.frames == [b"still here"]


def a_revocation_beside_files_that_are_no_keys(folder: Path) -> None:
    """Whatever else lies in the folder, and be it there for the purpose, a revocation is seen."""
    with House(folder) as house:
        authorised = house.keys.authorised_path
        (authorised / "link.pub").symlink_to("nowhere")
        (authorised / "loop.pub").symlink_to("loop.pub")
        os.mkfifo(authorised / "pipe.pub")
        (authorised / "folder.pub").mkdir()
        (authorised / "deep.pub").write_text("a = " + 2000 * "[")
        (authorised / "no-text.pub").write_bytes(bytes(range(256)))
        bad = house.call(house.w2)
        bad.say(b"hello")
        assert house.hear() is not None
        house.keys.revoke("w2")
        assert house.hear(until=lambda: bool(house.door.cut_revoked())) is None
        house.stays_out(bad)


def a_machine_that_lacks_descriptors_for_a_moment(folder: Path) -> None:
    """A flood of connections may take the last: that revokes nobody."""

    def full(path: str, flags: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)

    with House(folder) as house, pytest.MonkeyPatch.context() as machine:
        caller = house.call(house.w1)
        caller.say(b"hello")
        assert house.hear() is not None
        machine.setattr(key_files, "_without_waiting", full)
        (house.keys.authorised_path / "w2.pub").touch()  # it is looked at again
        assert house.hear(until=lambda: bool(house.door.take_news())) is None
        assert not house.door.cut_revoked(), "it is revoked"
        caller.say(b"still here")
        assert house.hear() is not None
        machine.undo()
        house.keys.new("w3", "worker")
        late = house.call(read_bundle(house.keys.path / "w3.key"))
        deadline = time.monotonic() + knocking.PATIENCE_S
        while house.take() is None:
            assert time.monotonic() < deadline, "who is let in later cannot come in"
            if late.is_kept_out:  # it came before it was seen
                late.close()
                late = house.call(read_bundle(house.keys.path / "w3.key"))
            late.say(b"hello")
            house.door.socket.poll(20)


def an_identity_of_another_key(folder: Path) -> None:
    """Also while its owner is connected: it is cut off for a moment, and comes back."""
    with House(folder) as house:
        owner = house.call(house.w1)
        owner.say(b"hello")
        assert house.hear() is not None
        thief = house.call(house.w2, owner.identity)
        thief.say(b"I am w1")
        received = house.hear(until=lambda: bool(house.impersonations))
        assert received is None, f"it is believed: {received}"
        assert set(house.impersonations) == {"w2"}
        thief.close()
        deadline = time.monotonic() + knocking.PATIENCE_S
        while received is None:  # a message that was under way when it was cut off is lost, and said again
            assert time.monotonic() < deadline, "its owner does not come back"
            owner.say(b"still here")
            house.door.socket.poll(10)
            received = house.take()
        assert (received.sender, received.peer) == (owner.identity, ("w1", "worker"))


def a_name_of_another_key(folder: Path) -> None:
    message = roles.admit(roles.Peer("w2", "worker"), JOIN)
    assert isinstance(message, m.Join)
    assert message.name == "w2"


def a_name_that_a_number_makes(folder: Path) -> None:
    """Nobody gets the name of another key by starting a second process: that one might be revoked for it."""
    members, keys = Members(), ("w1", "w1", "w1-2", "worker", "worker-1")
    names = [members.add(bytes([i]), JOIN, 0.0, key).name for i, key in enumerate(keys)]
    assert names == ["w1", "w1#2", "w1-2", "worker", "worker-1"]


def a_message_beyond_the_role(folder: Path) -> None:
    for role, message in (
        ("worker", m.Stop(0, "go home")),
        ("worker", m.Check(1)),
        ("status", JOIN),
        ("admin", JOIN),
        ("server", JOIN),
        ("unheard of", JOIN),
    ):
        try:
            roles.admit(roles.Peer("w2", role), message)
        except BeyondRole:
            continue
        raise AssertionError(f"{role} may send {message}")


def impersonation_again_and_again(folder: Path) -> None:
    """It is a strike of the key that it came with, not of whom it meant."""
    bench, first, second = started(names_are_keys=True)
    for _ in range(bench.settings.strikes_max):
        bench.take(bench.master.accuse("w2", Impersonation("w2", "as w1"), bench.now))
    assert second.heard(m.Refused), "it may stay"
    assert not first.heard(m.Refused)
    finish(bench, first)


def a_lease_of_another(folder: Path) -> None:
    bench, first, second = started(names_are_keys=True)
    before = state_of(bench)
    second.say(first.push(first.lease))
    assert state_of(bench) == before
    assert bench.master.leasing.of(bench.master.members.get(first.sender)) is not None


def _wait_for_the_end(raw: socket.socket, until: Callable[[], bool]) -> None:
    """Wait until the other end has closed a connection, or something else holds."""
    raw.setblocking(False)
    deadline = time.monotonic() + knocking.PATIENCE_S
    with contextlib.suppress(ConnectionResetError):
        while not until() and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                if not raw.recv(100):
                    return


def refusal_of(read: Callable[[], object]) -> str:
    try:
        read()
    except UsageError as error:
        return str(error)
    raise AssertionError("it is read")


def secrets_that_others_can_read(folder: Path) -> None:
    keys = KeyFolder(folder / "keys")
    bundle = keys.new("w1", "worker")
    for path, read in ((bundle, lambda: read_bundle(bundle)), (keys.path / "server.key", keys.server)):
        for mode in (0o644, 0o640, 0o604):
            path.chmod(mode)
            assert f"chmod 600 {path}" in refusal_of(read)
        path.chmod(0o600)


def a_folder_that_others_can_write_to(folder: Path) -> None:
    keys = KeyFolder(folder / "keys")
    keys.make()
    for path in (keys.path, keys.authorised_path):
        path.chmod(0o770)
        assert f"chmod 700 {path}" in refusal_of(keys.server)
        path.chmod(0o700)


def a_public_key_that_others_can_write_to(folder: Path) -> None:
    keys = KeyFolder(folder / "keys")
    keys.new("w1", "worker")
    path = keys.authorised_path / "w1.pub"
    path.chmod(0o666)
    found, complaints = keys.authorised()
    assert found == []
    assert f"chmod 644 {path}" in complaints[0]


PAIRS: list[tuple[Check, Control]] = [
    (a_key_that_nobody_let_in, controls.every_key_is_let_in),
    (a_key_of_another_run, controls.keys_are_ignored),
    (a_peer_without_a_key, controls.keys_are_ignored),
    (a_peer_with_a_password, controls.passwords_are_taken),
    (a_peer_of_a_protocol_that_knows_no_keys, controls.nobody_is_asked),
    (a_master_that_is_none, controls.keys_are_ignored),
    (a_key_that_is_revoked_while_it_is_connected, controls.the_folder_is_not_looked_at_again),
    (a_revocation_beside_files_that_are_no_keys, controls.one_file_stops_the_look),
    (a_machine_that_lacks_descriptors_for_a_moment, controls.what_cannot_be_read_is_gone),
    (an_identity_of_another_key, controls.identities_are_believed),
    (a_name_of_another_key, controls.names_are_believed),
    (a_name_that_a_number_makes, controls.numbers_are_part_of_names),
    (a_message_beyond_the_role, controls.every_role_may_do_everything),
    (impersonation_again_and_again, controls.strikes_are_not_counted),
    (a_lease_of_another, controls.leases_are_anybodys),
    (secrets_that_others_can_read, controls.modes_are_not_looked_at),
    (a_folder_that_others_can_write_to, controls.modes_are_not_looked_at),
    (a_public_key_that_others_can_write_to, controls.modes_are_not_looked_at),
]
IDS = [check.__name__ for check, _ in PAIRS]


@pytest.mark.parametrize("check", [check for check, _ in PAIRS], ids=IDS)
def test_it_does_not_get_in(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.parametrize(("check", "control"), PAIRS, ids=IDS)
def test_without_its_control_it_does(
    check: Check, control: Control, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    control(monkeypatch)
    monkeypatch.setattr(knocking, "PATIENCE_S", 2.0)
    with pytest.raises(AssertionError):
        check(tmp_path)
