"""Peak memory of master and workers, the worker's without us, and whether memory is flat over many rounds.

VmHWM is the most that a process ever had resident. With shared memory that counts every page once for
everybody who sees it; "its own" leaves out segments that others made. "Without us" is peers/alone.py: the
same weights, gradient and step in one process.

Of a transformer with P parameters that AdamW trains, memory is predicted and measured. In bytes, with
4 bytes a number and a vector V = 12 P of weights and two moments:

    master = floor + 2 V                                    the canonical version, and the one in the making
    worker = floor + V + 4 P + 4 n T (B (20 d + h T) + 10 d + 4 C)      its replica, gradient, activations

for B blocks of d features and h heads, batches of n sequences of T steps, and C tokens. A block keeps for its
backward pass, a step: two normalised inputs and what they become (4 d), Q, K and V (3 d), shares (h T) and
what was taken by them (d), and GELU's inputs, its tanh and its outputs (12 d); at the top of the network 10 d
are in use beside these, and four times the logits. The floor is what the same processes hold with next to no
model.
"""

import statistics
import sys
from collections.abc import Mapping
from typing import Any

import ours
from measuring import HERE, MissingError, Setting, run_all

PARAMETERS, QUICK = 25_000_000, 1_000_000
WORKERS = (2, 4)
ROUNDS = 8
FLAT_PARAMETERS, FLAT_ROUNDS, FLAT_QUICK = 100_000, 10_000, 300
TRANSPORTS = ("auto", "tcp")
TRANSFORMER = {"features": 384, "heads": 6, "blocks": 6, "vocabulary": 65, "steps": 64, "batch": 8}
NEXT_TO_NOTHING = {"features": 8, "heads": 1, "blocks": 1, "vocabulary": 65, "steps": 8, "batch": 1}


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
    try:
        transformer = _transformer(setting)
    except MissingError as error:
        transformer, missing["transformer"] = {}, str(error)
    return {
        "entries": entries,
        "flat": flat,
        "alone_bytes": alone[0]["peak_bytes"],
        "transformer": transformer,
        "missing": missing,
    }


def _transformer(setting: Setting) -> dict[str, Any]:
    """The most that master and worker held of their own, and what was predicted."""
    sizes = {**TRANSFORMER, "blocks": 1, "batch": 2} if setting.quick else TRANSFORMER
    setting.say(f"memory: a transformer, 2 workers, {sizes}")
    floors, _ = _train(NEXT_TO_NOTHING)
    found, record = _train(sizes)
    predicted = predict(int(record["parameters"]), **sizes)
    entry = {
        who: {"floor": floors[who], "predicted": floors[who] + predicted[who], "measured": found[who]}
        for who in predicted
    }
    return {"parameters": record["parameters"], "transport": record["transport"], "sizes": sizes, **entry}


def _train(sizes: Mapping[str, int]) -> tuple[dict[str, int], dict[str, Any]]:
    flags = [f"--set={name}={value}" for name, value in sizes.items()]
    master, workers, record = ours.watch(HERE / "jobs" / "transformer.py", 2, flags)
    return {"master": _most(master), "worker": max(map(_most, workers))}, record


def _most(watched: ours.Watched) -> int:
    """The most that was a process's own, in a hundredth of the looks.

    While it opens a segment of another, for a moment, that has two descriptors and counts as its own.
    """
    return sorted(watched.own)[len(watched.own) * 99 // 100]


def predict(
    parameters: int, *, features: int, heads: int, blocks: int, vocabulary: int, steps: int, batch: int
) -> dict[str, int]:
    """Bytes over the floor of master and worker: see the top of this file."""
    block = 20 * features + heads * steps
    activations = 4 * batch * steps * (blocks * block + 10 * features + 4 * vocabulary)
    vector = 12 * parameters
    return {"master": 2 * vector, "worker": vector + 4 * parameters + activations}


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
