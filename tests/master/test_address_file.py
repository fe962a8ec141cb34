"""An address in a file: whole, of this start, and one at which somebody listens."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from paramserver.address_file import find, publish, withdraw
from ps_common.errors import UsageError


@pytest.fixture
def url() -> Iterator[str]:
    """Where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_what_is_published_is_found_until_it_is_withdrawn(tmp_path: Path, url: str) -> None:
    path = tmp_path / "folder" / "address"
    assert find(path, "run 7") is None
    publish(path, url, "run 7")
    assert find(path, "run 7") == url
    withdraw(path, url, "run 7")
    assert find(path, "run 7") is None
    assert not list(path.parent.iterdir())


def test_a_file_of_another_start_is_none(tmp_path: Path, url: str) -> None:
    publish(tmp_path / "address", url, "slurm-7.0.0")
    assert find(tmp_path / "address", "slurm-7.0.1") is None
    assert find(tmp_path / "address", "slurm-7.0") is None


def test_what_another_start_has_published_meanwhile_is_not_withdrawn(tmp_path: Path, url: str) -> None:
    publish(tmp_path / "address", "tcp://127.0.0.1:1", "old")
    publish(tmp_path / "address", url, "new")
    withdraw(tmp_path / "address", "tcp://127.0.0.1:1", "old")
    assert find(tmp_path / "address", "new") == url


def test_a_file_that_was_left_behind_with_the_same_number_is_none_while_nobody_listens(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    publish(tmp_path / "address", gone, "none")
    assert find(tmp_path / "address", "none") is None


@pytest.mark.parametrize("text", ["", "tcp", "http://127.0.0.1:80\nrun\n", "\n\n", "\xff\xfe"])
def test_what_is_no_address_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "address").write_bytes(text.encode("latin1"))
    assert find(tmp_path / "address", "run") is None


def test_a_file_of_another_user_is_none_where_anybody_may_write(tmp_path: Path, url: str) -> None:
    publish(tmp_path / "address", url, "run")
    assert find(tmp_path / "address", "run", os.getuid()) == url
    assert find(tmp_path / "address", "run", os.getuid() + 1) is None


def test_a_place_that_cannot_be_written_is_the_callers_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--address-file"):
        publish(tmp_path / "file" / "address", "tcp://127.0.0.1:1", "run")
