"""What a ledger costs, and a checkpoint every ten seconds with it: rounds with and without.

A checkpoint is written beside the rounds, so it makes a few of them longer: the mean is what counts.
Blocks are interleaved, and each is long enough for two checkpoints.
"""

import statistics
import tempfile
from typing import Any

import ours
from measuring import Setting, summary

PARAMETERS, QUICK = 10_000_000, 1_000_000
ROUNDS, ROUNDS_QUICK = 2_500, 100  # of about ten milliseconds
BLOCKS = 3
WORKERS = 2
WAYS = {"nothing kept": None, "ledger alone": "1h", "ledger and a checkpoint every 10 s": "10s"}


def measure(setting: Setting) -> dict[str, Any]:
    parameters, rounds = (QUICK, ROUNDS_QUICK) if setting.quick else (PARAMETERS, ROUNDS)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu_s: dict[str, list[float]] = {name: [] for name in WAYS}
    written = dict.fromkeys(WAYS, 0)
    for block in range(1 if setting.quick else BLOCKS):
        for name, every in WAYS.items():
            setting.say(f"saving: {name}, block {block + 1}")
            with tempfile.TemporaryDirectory(prefix="saving-") as folder:
                kept = ["--checkpoint", folder, "--checkpoint-every", every] if every else []
                run = ours.run(parameters, WORKERS, rounds, ["--transport", "shm", *kept])
            seconds[name] += run.seconds
            cpu_s[name].append(run.cpu_s)
            written[name] += sum(event["event"] == "checkpoint" for event in run.record["events"])
    entries = [
        {
            "way": name,
            "seconds": summary(each),
            "mean_s": statistics.fmean(each),
            "longest_s": max(each),
            "cpu_s": statistics.median(cpu_s[name]),
            "checkpoints": written[name],
        }
        for name, each in seconds.items()
    ]
    return {"parameters": parameters, "workers": WORKERS, "entries": entries}
