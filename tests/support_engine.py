"""An engine for containers, and the image, built once from a copy of the checkout.

The engine is the user's own Docker where there is one, else the one beside the checkout, which reaches no
registry and builds without a network.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ENGINE = ROOT.parent / "shared" / "docker" / "engine"
IMAGE = f"paramserver-test:{os.getpid()}"  # another checkout may be tested on this machine at the same time
FOLDERS = ("common", "docker", "examples", "paramserver", "worker")  # that the image is made of
FILES = ("LICENSE", "README.md", "pyproject.toml")
PLATFORMS = ("_2_28", "_2_27", "_2_26", "_2_17", "2014")  # manylinux of the wheels that Debian bookworm takes


def run(*command: object, timeout_s: float = 60.0, **environment: str) -> str:
    """What a command wrote, both streams; fails with all of it if the command does."""
    inherited = {name: value for name, value in os.environ.items() if not _is_left_out(name)}
    done = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=inherited | environment,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}"
    return done.stdout


def _is_left_out(name: str) -> bool:
    """What would change a run, or docker-compose 1.29, which is written in Python, too."""
    return name in ("JOB", "PYTHONPATH") or (name.startswith("PS_") and name != "PS_TEST_ENGINE")


def docker(*arguments: object, timeout_s: float = 60.0) -> str:
    return run("docker", *arguments, timeout_s=timeout_s).strip()


def inspect(container: str) -> dict[str, Any]:
    """What the engine knows about a container."""
    (one,) = json.loads(docker("inspect", container))
    found: dict[str, Any] = one
    return found


def tool() -> tuple[str, ...]:
    """Today's `docker compose`, or docker-compose 1.29; empty where there is neither."""
    tools = (("docker", "compose"), ("docker-compose",))
    return next((words for words in tools if _succeeds(*words, "version")), ())


def why_none() -> str:
    """Why containers cannot be tested here; empty: they can."""
    if ENGINE.is_file() or _has_engine():
        return ""
    return f"no Docker with compose answers, and there is no engine at {ENGINE}"


@contextlib.contextmanager
def engine() -> Iterator[bool]:
    """An engine is up meanwhile; whether it is the one beside the checkout, which builds without a network.

    What was not there before is taken down again, unless somebody else uses it by then.
    """
    if _has_engine():
        yield os.environ.get("DOCKER_HOST") == f"unix://{_door()}"
        return
    was_up = _door().exists()
    said = run("bash", "-c", f". {ENGINE} up && echo && echo $DOCKER_HOST", timeout_s=400)
    os.environ["DOCKER_HOST"] = said.split()[-1]
    try:
        yield True
    finally:
        if not was_up and not docker("ps", "-q"):
            run("bash", ENGINE, "down")
        del os.environ["DOCKER_HOST"]


def _door() -> Path:
    """Where the engine beside the checkout listens, if it is up."""
    folder = os.environ.get("PS_TEST_ENGINE") or f"{os.environ.get('TMPDIR', '/tmp')}/ps-test-engine"
    return Path(folder) / "docker.sock"


def _has_engine() -> bool:
    return _succeeds("docker", "info") and bool(tool())


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except FileNotFoundError:
        return False


def build(context: Path, is_offline: bool) -> None:
    """Build the image from a copy of what goes into it; offline, with wheels that are fetched before."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__", "wheels"))
    for name in FILES:
        shutil.copy(ROOT / name, context)
    arguments: list[object] = []
    if is_offline:
        fetch_wheels(context / "docker" / "wheels")
        arguments = ["--build-arg", "PIP_ARGS=--no-index --find-links docker/wheels"]
    file = context / "docker" / "Dockerfile"
    docker("build", "-q", "-f", file, "-t", IMAGE, *arguments, context, timeout_s=300)


def fetch_wheels(folder: Path) -> None:
    """Everything that the image is made of, for CPython 3.12 on x86-64, and the archive with the digits."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = project["project"]["dependencies"] + project["build-system"]["requires"]
    pip = (sys.executable, "-m", "pip", "download", "-q", "--dest", folder, "--only-binary", ":all:")
    platforms = [word for tag in PLATFORMS for word in ("--platform", f"manylinux{tag}_x86_64")]
    run(*pip, "--python-version", "3.12", *platforms, *needed, timeout_s=300)
    digits = "from ps_common import datasets; print(datasets.entry('mnist-5k').archive.requirement)"
    run(*pip, "--no-deps", run(sys.executable, "-c", digits).strip(), timeout_s=120)
