"""A folder of checkpoints is one master's at a time, and nobody's when that one is gone."""

import os
import subprocess
import sys

import pytest

from paramserver.folder_lock import FolderLock
from ps_common.errors import UsageError


def test_a_folder_is_one_processs_at_a_time(tmp_path):
    with FolderLock(tmp_path):
        with (
            pytest.raises(UsageError, match=rf"in use by a running master \(pid {os.getpid()}\)"),
            FolderLock(tmp_path),
        ):
            pass
        assert os.listdir(tmp_path) == [".lock"]
    assert os.listdir(tmp_path) == []
    with FolderLock(tmp_path):
        pass


def test_whoever_waits_behind_a_lock_that_goes_takes_the_next(tmp_path):
    """The file is removed by who had it: who has opened it before must not think that he has the folder."""
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    with first:
        second._descriptor = os.open(tmp_path / ".lock", os.O_RDWR)
    with FolderLock(tmp_path), pytest.raises(UsageError), second:
        pass
    with second, pytest.raises(UsageError), FolderLock(tmp_path):
        pass


def test_a_lock_is_gone_with_its_process(tmp_path):
    code = "import sys; from pathlib import Path; from paramserver.folder_lock import FolderLock\n"
    code += "with FolderLock(Path(sys.argv[1])):\n    print('here', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"here\n"
        with pytest.raises(UsageError, match=rf"\(pid {other.pid}\)"), FolderLock(tmp_path):
            pass
        other.kill()
        other.wait()
    with FolderLock(tmp_path):
        pass


def test_a_lock_that_cannot_be_opened_is_told(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UsageError, match=r"\.lock cannot be opened: Is a directory"), FolderLock(tmp_path):
        pass
