"""examples/run.py, what `make examples` runs: its table, its plots and its verdict."""

import dataclasses
import json
from pathlib import Path

import breast_cancer
import pytest
import report
import stocks
from click.testing import CliRunner
from run import EXAMPLES, main


def test_every_example_with_a_claim_is_run() -> None:
    folder = Path(__file__).parents[2] / "examples"
    claiming = {path.stem for path in folder.glob("*.py") if "\nclaim = Claim(" in path.read_text()}
    assert claiming == set(EXAMPLES)


def test_a_run_writes_its_table_and_its_plot_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_folds = dataclasses.replace(breast_cancer.claim, runs=breast_cancer.claim.runs[:2])
    monkeypatch.setattr(breast_cancer, "claim", two_folds)
    outcome = CliRunner().invoke(main, ["--only", "breast_cancer", "--quick", "--out", str(tmp_path)])
    assert outcome.exit_code == 0, outcome.output
    outcome = CliRunner().invoke(main, ["--only", "diabetes", "--out", str(tmp_path)])
    assert outcome.exit_code == 0, outcome.output

    page = (tmp_path / "README.md").read_text()
    cut, whole = [line for line in page.splitlines() if line.startswith("| [")]
    assert cut.startswith("| [breast_cancer](../breast_cancer.py) **(cut short)** |")
    assert whole.startswith("| [diabetes](../diabetes.py) |")
    assert "≤ 0.001 | all weights zero 151.6 |" in whole
    assert "| yes | yes |" in whole
    results = json.loads((tmp_path / "results.json").read_text())
    for name, runs in (("breast_cancer", 2), ("diabetes", 1)):
        one, two = results[name]["runs"]
        assert one["digests"] == two["digests"]
        assert (one["workers"], two["workers"], len(one["digests"])) == (1, 2, runs)
        assert 0 < (tmp_path / f"{name}.png").stat().st_size < 60_000
        assert f"![]({name}.png)" in page


def test_a_claim_that_is_not_met_ends_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stocks, "claim", dataclasses.replace(stocks.claim, at_most=0.3))
    outcome = CliRunner().invoke(main, ["--only", "stocks", "--out", str(tmp_path)])
    assert outcome.exit_code == 1
    assert "| **no** | yes |" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("value", "text"), [(13487.07, "13,487"), (0.99612, "0.9961"), (2.22, "2.22"), (3.13e-8, "3.13e-08")]
)
def test_figures_have_four_digits(value: float, text: str) -> None:
    assert report.number(value) == text


def test_other_weights_with_two_workers_are_told() -> None:
    assert report.is_same({"runs": [{"digests": ["a"]}, {"digests": ["a"]}]})
    assert not report.is_same({"runs": [{"digests": ["a"]}, {"digests": ["b"]}]})
