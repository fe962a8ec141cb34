"""Real processes, sockets and signals on loopback; every test leaves the machine as it found it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processes.world import MARK, World


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A folder of the test's own; afterwards nothing of what it started may be left.

    A port, and a segment, is held by a process: by none of those started here, or by them, if none is left,
    and by this one if its own are as they were.
    """
    world = World(tmp_path)
    for name in [name for name in os.environ if name.startswith("PS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(MARK, str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(world.temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield world
    world.close()


@pytest.fixture(scope="session")
def digests() -> dict[str, str]:
    return {}


@pytest.fixture
def undisturbed(digests: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The digest of a job's weights after a run in which nothing happens."""

    def digest(text: str) -> str:
        if text not in digests:
            digests[text] = World(tmp_path_factory.mktemp("undisturbed")).record(text, 1)["weights_sha256"]
        return digests[text]

    return digest


@pytest.fixture(scope="session")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-epochs")
    flags = ("--epochs", 2, "--checkpoint", folder / "kept", "--checkpoint-every", "1round")
    assert World(folder).record(workers=1, flags=flags)["rounds"] == 6
    return folder / "kept"


@pytest.fixture
def stopped(two_epochs: Path, tmp_path: Path) -> Path:
    """A folder of checkpoints of the first two of the plain job's four epochs."""
    return Path(shutil.copytree(two_epochs, tmp_path / "kept"))
