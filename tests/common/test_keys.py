"""Key files say whose they are, are nobody else's to read, and a name is given once."""

import stat

import pytest

from ps_common import keys
from ps_common.errors import NotAuthorised, UsageError
from ps_common.key_folder import KeyFolder
from ps_common.keys import draw_identity, read_bundle, worker_key


@pytest.fixture
def folder(tmp_path):
    return KeyFolder(tmp_path / "keys")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_key_makes_the_folder_and_the_server_key_and_the_next_keeps_it(folder):
    first = read_bundle(folder.new("worker-1", "worker"))
    server = folder.server()
    second = read_bundle(folder.new("boss", "admin"))
    assert (first.name, first.role, first.server) == ("worker-1", "worker", server.public)
    assert (second.name, second.role, second.server) == ("boss", "admin", server.public)
    assert len({first.secret, second.secret, server.secret}) == 3
    assert [(key.name, key.role) for key in folder.authorised()[0]] == [
        ("boss", "admin"),
        ("worker-1", "worker"),
    ]
    assert mode(folder.path) == mode(folder.authorised_path) == 0o700
    assert {mode(path) for path in folder.path.glob("*.key")} == {0o600}
    assert first.secret.hex() not in repr(first)


def test_a_bundle_can_be_written_elsewhere_and_not_over_another_file(folder, tmp_path):
    out = tmp_path / "elsewhere.key"
    assert read_bundle(folder.new("w", "worker", out)).name == "w"
    with pytest.raises(UsageError, match="no key was made"):
        folder.new("v", "worker", out)
    assert [key.name for key in folder.authorised()[0]] == ["w"]


def test_a_name_is_given_once_and_after_a_revocation_to_another_key(folder):
    before = read_bundle(folder.new("w", "worker"))
    with pytest.raises(UsageError, match=r"there is a key w .* ps-keys revoke w"):
        folder.new("w", "worker")
    state = folder.state()
    folder.revoke("w")
    assert folder.state() != state
    assert folder.authorised() == ([], [])
    assert [key.public for key in folder.revoked()] == [before.public]
    with pytest.raises(UsageError, match="there is no key 'w'"):
        folder.revoke("w")
    after = read_bundle(folder.new("w", "worker"))
    assert after.public != before.public
    folder.revoke("w")
    assert {key.public for key in folder.revoked()} == {before.public, after.public}


@pytest.mark.parametrize("name", ["", "server", "a/b", "..", ".hidden", "a b", "ü", "a\n", "x" * 65, "-v"])
def test_a_name_that_is_no_name_of_a_file_everywhere_is_refused(folder, name):
    with pytest.raises(UsageError, match="1 to 64 letters"):
        folder.new(name, "worker")
    with pytest.raises(UsageError, match="there is no key"):
        folder.revoke(name)


def test_the_longest_name_is_taken(folder):
    assert read_bundle(folder.new("x" * 64, "worker")).name == "x" * 64


@pytest.mark.parametrize("text", ["", "role", 'role = "king"', "\0", "x" * 10_000, 'secret = "zz"'])
def test_what_is_no_key_file_is_named(folder, text):
    path = folder.new("w", "worker")
    path.write_text(text)
    with pytest.raises(UsageError, match=f"{path} is no key file that ps-keys has made"):
        read_bundle(path)
    (folder.authorised_path / "x.pub").write_text(text)
    authorised, complaints = folder.authorised()
    assert [key.name for key in authorised] == ["w"]
    assert len(complaints) == 1


def test_nobody_comes_in_as_somebody_else_by_renaming_a_file_nor_as_a_server(folder):
    folder.new("w", "worker")
    file = folder.authorised_path / "w.pub"
    (folder.authorised_path / "boss.pub").write_text(file.read_text())
    (folder.authorised_path / "s.pub").write_text(
        file.read_text().replace('"worker"', '"server"').replace('"w"', '"s"')
    )
    authorised, complaints = folder.authorised()
    assert [key.name for key in authorised] == ["w"]
    assert len(complaints) == 2


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_bundle(tmp_path / "gone.key")
    with pytest.raises(UsageError, match="ps-keys new NAME makes it"):
        KeyFolder(tmp_path / "gone").server()


def test_a_worker_needs_a_key_of_a_worker(folder):
    assert worker_key(None) is None
    assert worker_key(folder.new("w", "worker")).name == "w"
    with pytest.raises(NotAuthorised, match="role admin"):
        worker_key(folder.new("boss", "admin"))


def test_an_identity_holds_the_fingerprint_of_its_key_and_is_never_the_same(folder):
    key = read_bundle(folder.new("w", "worker"))
    drawn = {draw_identity(b"w", key) for _ in range(100)}
    assert len(drawn) == 100
    assert {one[1 : 1 + keys.FINGERPRINT_BYTES] for one in drawn} == {key.fingerprint}
    assert len(draw_identity(b"w", None)) == 16
