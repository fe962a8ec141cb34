"""The distribution: built and installed without the working tree, its commands run."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("ps_common", "paramserver", "ps_worker")


def pip(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-w", folder, ROOT)
    (path,) = folder.glob("paramserver-*.whl")
    return path


def test_the_wheel_holds_the_three_packages_their_types_and_the_licence_and_no_more(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for package in PACKAGES:
        assert f"{package}/__init__.py" in names
        assert f"{package}/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    sources = {
        p.relative_to(p.parents[len(p.relative_to(r).parts)]).as_posix()
        for r in _roots()
        for p in r.rglob("*.py")
    }
    assert sources <= set(names)


def test_the_installed_commands_run_without_the_working_tree(wheel, tmp_path):
    pip("install", "--quiet", "--no-deps", "--no-cache-dir", "--target", tmp_path / "site", wheel)
    for word in ("local", "run", "ray", "server", "worker", "simulate", "data", "status", "admin", "keys"):
        command = f"ps-{word}"
        done = subprocess.run(
            [tmp_path / "site" / "bin" / command, "--help"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
            timeout=30,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: {command}")
    where = subprocess.run(
        [sys.executable, "-c", "import paramserver; print(paramserver.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
    )
    assert where.stdout.startswith(str(tmp_path))


def _roots() -> list[Path]:
    return [
        ROOT / folder / package
        for folder, package in zip(("common", "paramserver", "worker"), PACKAGES, strict=True)
    ]
