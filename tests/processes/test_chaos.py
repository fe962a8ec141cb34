"""The short form of `make chaos`: every fault in every mode is recovered from, with the same weights."""

import json
import sys
from pathlib import Path

import pytest

from processes.world import Command

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chaos.py"
ROWS = 10 * 3 + 1  # faults in modes, and one that only averaging servers have


@pytest.mark.timeout(1200)
def test_every_fault_in_every_mode_is_recovered_from_with_the_same_weights(world):
    out = world.folder / "results"
    command = [sys.executable, str(SCRIPT), "--quick", "--out", str(out)]
    chaos = Command(command, world.folder / "chaos.log", world.folder, {})
    world.commands.append(chaos)
    assert chaos.wait(1100) == 0, chaos.said
    entries = json.loads((out / "chaos.json").read_text())["entries"]
    assert len(entries) == ROWS
    assert [entry for entry in entries if not entry["is_same"]] == []
    assert all(len(entry["recovery_s"]) == 2 for entry in entries)
    rows = [line for line in (out / "chaos.md").read_text().splitlines() if line.endswith("| yes |")]
    assert len(rows) == ROWS
