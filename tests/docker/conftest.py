"""Real containers on a real engine: the image is built once, and each test has a project of its own."""

import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import support_engine
from support_compose import Project
from support_engine import docker

_numbers = itertools.count(1)


def new_name() -> str:
    """A project that nobody else on this machine has."""
    return f"ps{os.getpid()}n{next(_numbers)}"


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the image was built from; the engine is up meanwhile."""
    if why := support_engine.why_none():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("context")
    with support_engine.engine() as is_offline:
        support_engine.build(folder, is_offline)
        yield folder
        docker("image", "rm", "-f", support_engine.IMAGE)


@pytest.fixture
def gated(context: Path, tmp_path: Path) -> Iterator[Project]:
    """A project of the demo that can be held at known moments."""
    with Project(context, new_name(), tmp_path, PS_CHECKPOINT_EVERY="4rounds") as project:
        yield project


@dataclasses.dataclass(frozen=True)
class Demo:
    """The demo, run once with three workers in the foreground, to its end."""

    project: Project
    output: str
    exit_codes: list[int]
    record: dict[str, Any]

    @property
    def digest(self) -> str:
        return str(self.record["weights_sha256"])


@pytest.fixture(scope="session")
def demo(context: Path) -> Iterator[Demo]:
    with Project(context, new_name()) as project:
        output = project.compose("up", "--no-build", "--no-color", "--scale", "worker=3", PS_BEGIN_WITH="3")
        codes = project.exit_codes("worker") + project.exit_codes("master")
        yield Demo(project, output, codes, project.record())
