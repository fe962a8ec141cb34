"""Peak memory of master and workers, the worker's without us, and whether memory is flat over many rounds.

VmHWM is the most that a process ever had resident. With shared memory that counts every page once for
everybody who sees it; "its own" leaves out segments that others made. "Without us" is peers/alone.py: the
same weights, gradient and step in one process.
"""

import statistics
import sys
from typing import Any

import ours
from measuring import HERE, MissingError, Setting, run_all

PARAMETERS, QUICK = 25_000_000, 1_000_000
WORKERS = (2, 4)
ROUNDS = 8
FLAT_PARAMETERS, FLAT_ROUNDS, FLAT_QUICK = 100_000, 10_000, 300
TRANSPORTS = ("auto", "tcp")


def measure(setting: Setting) -> dict[str, Any]:
    parameters = QUICK if setting.quick else PARAMETERS
    (alone,), missing = (
        run_all([[sys.executable, str(HERE / "peers" / "alone.py"), str(parameters)]], 60.0),
        {},
    )
    entries, flat = [], []
    for transport in TRANSPORTS:
        flags = ["--transport", transport]
        try:
            for workers in WORKERS:
                setting.say(f"memory: {parameters:,} parameters, {workers} workers, {transport}")
                run = ours.run(parameters, workers, ROUNDS, flags, look_at_workers=True)
                entries.append({"asked": transport, "parameters": parameters, **_entry(run)})
            rounds = FLAT_QUICK if setting.quick else FLAT_ROUNDS
            setting.say(f"memory: {FLAT_PARAMETERS:,} parameters, {rounds:,} rounds, {transport}")
            run = ours.run(FLAT_PARAMETERS, 2, rounds, flags, look_at_workers=True)
            flat.append({"asked": transport, "parameters": FLAT_PARAMETERS, **_growth(run)})
        except MissingError as error:
            missing[transport] = str(error)
    return {"entries": entries, "flat": flat, "alone_bytes": alone[0]["peak_bytes"], "missing": missing}


def _entry(run: ours.Run) -> dict[str, Any]:
    return {
        "transport": run.transport,
        "workers": len(run.workers),
        "master": _of(run.master),
        "worker": max(map(_of, run.workers), key=lambda held: held["VmHWM"]),
    }


def _of(watched: ours.Watched) -> dict[str, int]:
    """Peaks of a process, and what was its own in the middle of the second half of the run."""
    half = sorted(watched.own[len(watched.own) // 2 :])
    return {**watched.peaks, "own": half[len(half) // 2]}


def _growth(run: ours.Run) -> dict[str, Any]:
    """Resident memory in the second tenth of the run and in the last, of the master and the worst worker."""

    def grown(watched: ours.Watched) -> tuple[int, int]:
        held = [value for _, value in watched.resident]
        tenth = max(1, len(held) // 10)
        return int(statistics.median(held[tenth : 2 * tenth])), int(statistics.median(held[-tenth - 1 : -1]))

    master, workers = grown(run.master), [grown(worker) for worker in run.workers]
    return {
        "transport": run.transport,
        "rounds": run.rounds,
        "master": master,
        "worker": max(workers, key=lambda pair: pair[1] - pair[0]),
    }
