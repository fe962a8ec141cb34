"""What keys cost: rounds over TCP with CURVE and without, which encrypts all that is sent on one core a side.

Blocks are interleaved, so that whatever else the machine does meets both.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import ours
from measuring import Setting, summary

ROUNDS = {1_000: 200, 1_000_000: 30, 10_000_000: 9}  # parameters: rounds a block
QUICK = {1_000: 50, 1_000_000: 10}
BLOCKS = 3
WORKERS = 2
WAYS = {"without keys": False, "with keys": True}


def measure(setting: Setting) -> dict[str, Any]:
    plan, blocks = (QUICK, 1) if setting.quick else (ROUNDS, BLOCKS)
    seconds: dict[tuple[int, str], list[float]] = {}
    cpu_s: dict[tuple[int, str], list[float]] = {}
    for block in range(blocks):
        setting.say(f"curve: block {block + 1} of {blocks}")
        for parameters, rounds in plan.items():
            for name, has_keys in WAYS.items():
                with tempfile.TemporaryDirectory(prefix="curve-") as folder:
                    keys = Path(folder) / "keys" if has_keys else None
                    run = ours.run(parameters, WORKERS, rounds, ["--transport", "tcp"], keys=keys)
                seconds.setdefault((parameters, name), []).extend(run.seconds)
                cpu_s.setdefault((parameters, name), []).append(run.cpu_s)
    entries = [
        {
            "way": name,
            "parameters": parameters,
            "seconds": summary(each),
            "cpu_s": statistics.median(cpu_s[parameters, name]),
        }
        for (parameters, name), each in seconds.items()
    ]
    return {"workers": WORKERS, "entries": entries}
