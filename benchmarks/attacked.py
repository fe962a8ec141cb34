"""What attacks on the master cost an honest run: a run alone and one under attack, again and again.

The attacker is one process, which no key lets in: it does the same again and again, and sleeps a moment in
between, so that what it costs is the master's time and not the core that it needs itself.
"""

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import ours
from measuring import HERE, Setting, end, summary

PARAMETERS = 1_000_000
ROUNDS, ROUNDS_QUICK = 1_000, 150
BLOCKS = 4
WORKERS = 2
ALONE = "none"
ATTACKS = {
    "half-open": "500 half-open connections",
    "sloth": "a reader that never reads",
    "joins": "a flood of joins",
    "beats": "a flood of heartbeats",
    "many-joins": "the same of joins, each from a new address",
    "many-beats": "the same of heartbeats, likewise",
    "near-joins": "a flood of joins from the workers' own address",
    "near-beats": "the same of heartbeats",
}


def measure(setting: Setting) -> dict[str, Any]:
    rounds = ROUNDS_QUICK if setting.quick else ROUNDS
    seconds: dict[str, list[float]] = {name: [] for name in (ALONE, *ATTACKS)}
    ratios: dict[str, list[float]] = {name: [] for name in ATTACKS}
    run_ratios: dict[str, list[float]] = {name: [] for name in ATTACKS}
    told = dict.fromkeys(ATTACKS, 0)
    for block in range(1 if setting.quick else BLOCKS):
        for name, words in ATTACKS.items():
            setting.say(f"attacked: {words}, block {block + 1}")
            pair = [ALONE, name] if block % 2 else [name, ALONE]
            runs = {one: _run(rounds, one) for one in pair}
            for one, run in runs.items():
                seconds[one] += run.seconds
            alone, attacked = runs[ALONE], runs[name]
            ratios[name].append(statistics.median(attacked.seconds) / statistics.median(alone.seconds))
            run_ratios[name].append(attacked.elapsed_s / alone.elapsed_s)
            told[name] += sum(event["event"] == "rejection" for event in attacked.record["events"])
    entries = [
        {
            "attack": words,
            "seconds": summary(seconds[name]),
            "ratio": statistics.median(ratios[name]),
            "run_ratio": statistics.median(run_ratios[name]),
            "told": told[name],
        }
        for name, words in ATTACKS.items()
    ]
    alone_s = summary(seconds[ALONE])
    return {"parameters": PARAMETERS, "workers": WORKERS, "alone": alone_s, "entries": entries}


def _run(rounds: int, name: str) -> ours.Run:
    beside = None if name == ALONE else _attack(name)
    return ours.run(PARAMETERS, WORKERS, rounds, ["--transport", "auto"], beside=beside)


def _attack(name: str) -> ours.Beside:
    @contextlib.contextmanager
    def beside(address: str) -> Iterator[None]:
        attacker = subprocess.Popen([sys.executable, str(HERE / "attacker.py"), name, address])
        try:
            yield
        finally:
            end([attacker])

    return beside
