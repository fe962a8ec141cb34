"""The folder of keys, where something is wrong with it: said in words, and mended with the same commands."""

import os

import pytest

from ps_common.errors import UsageError
from ps_common.key_folder import KeyFolder


@pytest.fixture
def folder(tmp_path):
    folder = KeyFolder(tmp_path / "keys")
    folder.new("w1", "worker")
    return folder


def names(folder):
    return [key.name for key in folder.authorised()[0]]


def test_a_file_that_says_nothing_lets_nobody_in_and_can_be_revoked(folder):
    (folder.authorised_path / "w2.pub").write_text("nonsense")
    (folder.authorised_path / "w3.pub").symlink_to("nowhere")
    _, complaints = folder.authorised()
    assert ["w2.pub" in complaints[0], "w3.pub" in complaints[1]] == [True, True]
    for name in ("w2", "w3"):
        assert folder.revoke(name) is None
        folder.new(name, "worker")
    assert names(folder) == ["w1", "w2", "w3"]
    assert folder.revoked() == []


def test_a_change_of_who_may_read_a_file_is_a_change(folder):
    before = folder.state()
    assert folder.state() == before
    (folder.authorised_path / "w1.pub").chmod(0o600)
    assert folder.state() != before


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_name_is_a_change(folder):
    before = folder.state()
    folder.revoke("w1")
    folder.new("w1", "worker")
    assert folder.state() != before


def test_a_folder_that_cannot_be_changed_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file/keys cannot be changed"):
        KeyFolder(tmp_path / "file" / "keys").new("w1", "worker")


def test_a_folder_of_another_user_is_refused(folder, monkeypatch):
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:  # whoever is root belongs to nobody's others
        os.chown(folder.authorised_path, 12345, -1)
    with pytest.raises(UsageError, match="belongs to another user"):
        folder.server()


def test_a_key_of_another_user_is_refused(folder, monkeypatch):
    path = folder.authorised_path / "w1.pub"
    owner = os.geteuid()
    if owner == 0:  # whoever is root belongs to nobody's others
        os.chown(path, 12345, -1)
    assert names(folder) == ["w1"]
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    keys, complaints = folder.authorised()
    assert keys == []
    assert "belongs to another user" in complaints[0]
