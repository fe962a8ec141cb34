"""What a GPU makes of this project: steps beside PyTorch's, the way of weights, and what synchronising costs.

    python benchmarks/gpu.py                # on a machine with a GPU: results/gpu.md and gpu.json
    python benchmarks/gpu.py --rehearse     # small, on the CPU, to see that it works; writes nothing

It needs this project with CuPy, and PyTorch. Without a GPU it says so and exits with 69. It is to take less
than six minutes: nothing new begins after `BUDGET_S`. The page is written after each part, and says what
failed or is missing; then it exits with 1.

Steps: on one batch that lies on the device, from the first kernel to the end of the last; the medians of
repeats. TF32 is off on both sides. The way of weights: a vector between device and pinned host memory, as a
replica copies it, beside one plain copy of it. Synchronising: runs of a master and one worker; two lengths of
each, so that what a run costs once falls out, beside the steps of a replica that talks to nobody.
"""

import datetime
import importlib.metadata
import json
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from gpu_models import Case, case, theirs

from paramserver import Job, LocalCluster, Plan, data, nn
from ps_common.arrays import Device, cupy
from ps_common.loader import load_job
from ps_common.shared_memory import SharedMemory
from ps_worker.device_copies import CudaCopies
from ps_worker.pinned import PinnedMemory, copy_in, copy_out
from ps_worker.replica import Parts, Replica, Watch
from ps_worker.rows import HeldRows

NO_GPU = 69
RESULTS = Path(__file__).parent / "results"
REPEATS = 5
REPEAT_S = 0.2  # of steps at a time
BUDGET_S = 300  # after which no part begins: the longest takes a minute
VECTORS = {"4 MB": 1_000_000, "100 MB": 25_000_000}  # float32 numbers
EVERY = (1, 8, 64)  # steps between two rounds; all divide STEPS
STEPS = 64  # an epoch
EPOCHS = {"mlp": (4, 20), "transformer": (1, 3)}  # of the two lengths of a run
BARS = {
    "step": (1.3, "a step takes at most 1.3 times PyTorch eager's"),
    "copy": (0.7, "push and pull reach at least 0.7 of a pinned copy's bandwidth"),
    "mlp": (0.10, "synchronising every 8 steps costs at most 10 % of the MLP's step"),
    "transformer": (0.05, "synchronising every 8 steps costs at most 5 % of the transformer's step"),
}


@click.command()
@click.option("--rehearse", is_flag=True, help="Small, on the CPU; writes nothing.")
def main(rehearse: bool) -> None:
    """Measure everything, and write results/gpu.md and gpu.json."""
    if cupy() is None and not rehearse:
        click.echo("benchmarks/gpu.py needs CuPy and a CUDA device; there is none here", err=True)
        sys.exit(NO_GPU)
    device = Device() if rehearse else Device(0)
    device.use()
    found: dict[str, Any] = {
        "machine": machine(device),
        "steps": [],
        "copies": [],
        "rounds": [],
        "missing": [],
    }
    began = time.perf_counter()
    for kind, title, measure in parts(rehearse, device):
        spent_s = time.perf_counter() - began
        say(f"{spent_s:.0f} s: {title}")
        if spent_s > BUDGET_S and not rehearse:
            found["missing"].append(f"{title}: no time was left")
            continue
        try:
            found[kind] += measure()
        except Exception as error:  # the other parts are wanted all the same
            traceback.print_exc()
            found["missing"].append(f"{title}: {type(error).__name__}: {error}")
        device.release()
        if not rehearse:
            write(found)
    if not rehearse:
        write(found)
    click.echo(report(found))
    sys.exit(1 if found["missing"] else 0)


def parts(is_small: bool, device: Device) -> Iterator[tuple[str, str, Callable[[], list[dict[str, Any]]]]]:
    """What is measured, one after another: where it belongs, what it is called, and how."""
    if not is_small:
        for text, size in VECTORS.items():
            yield (
                "copies",
                f"copies of {text}",
                lambda text=text, size=size: [measure_copies(text, size, device)],
            )
    for name in ("mlp", "cnn", "transformer"):
        for precision in (None, "float16"):
            yield (
                "steps",
                f"steps of the {name} in {precision or 'float32'}",
                lambda name=name, precision=precision: [
                    measure_steps(case(name, is_small), precision, device)
                ],
            )
    for name in EPOCHS:
        yield "rounds", f"rounds of the {name}", lambda name=name: measure_rounds(name, is_small, device)


def write(found: dict[str, Any]) -> None:
    (RESULTS / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "gpu.md").write_text(report(found))


def say(text: str) -> None:
    click.echo(text, err=True)


def machine(device: Device) -> dict[str, Any]:
    """The device, the day and the versions that a figure belongs to."""
    versions = {"python": platform.python_version()}
    for name in ("paramserver", "numpy", "torch", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if device.index is not None:
        runtime = device.xp.cuda.runtime
        versions |= {"CUDA": str(runtime.runtimeGetVersion()), "driver": str(runtime.driverGetVersion())}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"device": device.model or "no GPU: a rehearsal", "date": now, "versions": versions}


# -- steps ----------------------------------------------------------------------------------------------


def measure_steps(one: Case, precision: str | None, device: Device) -> dict[str, Any]:
    """Seconds of a step, here and in PyTorch."""
    ours_s = timed(*our_step(one, precision, device))
    device.release()
    try:
        theirs_s = timed(*their_step(one, precision, device))
    except ImportError:
        theirs_s = None
    entry = {"model": one.name, "precision": precision or "float32", "ours_s": ours_s, "torch_s": theirs_s}
    beside = "is not here" if theirs_s is None else f"{theirs_s * 1e3:.3f} ms"
    say(f"  {ours_s * 1e3:.3f} ms, PyTorch {beside}")
    return entry


def timed(step: Callable[[], None], wait: Callable[[], None]) -> float:
    """Seconds of `step`, the median of repeats; `wait` comes back when all of them are done."""
    for _ in range(2):  # kernels are compiled, and memory is in the pool
        step()
    wait()
    began = time.perf_counter()
    step()
    wait()
    count = max(1, int(REPEAT_S / (time.perf_counter() - began)))
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(count):
            step()
        wait()
        seconds.append((time.perf_counter() - began) / count)
    return statistics.median(seconds)


def our_step(
    one: Case, precision: str | None, device: Device
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A training step of this project, as a replica makes it, and how to wait for it."""
    replica, x, y = replica_of(one, precision, device)
    replica.initialise()
    x, y = device.xp.asarray(x), device.xp.asarray(y)
    context = nn.Context(training=True)
    return lambda: replica.step(x, y, context), waiting_for(device)


def replica_of(one: Case, precision: str | None, device: Device) -> tuple[Replica, np.ndarray, np.ndarray]:
    x, y = one.sample(one.size.batch)
    plan = Plan(batch_size=one.size.batch, precision=precision)
    train, loss = data.arrays(x, y), nn.SoftmaxCrossEntropy()
    job = Job(model=one.model, loss=loss, optimizer=one.optimizer, train=train, plan=plan).describe()
    return Replica(job, Parts.of(job), device, Watch()), x, y


def waiting_for(device: Device) -> Callable[[], None]:
    if device.index is None:
        return lambda: None
    synchronize: Callable[[], None] = device.xp.cuda.runtime.deviceSynchronize
    return synchronize


def their_step(
    one: Case, precision: str | None, device: Device
) -> tuple[Callable[[], None], Callable[[], None]]:
    """The same in PyTorch eager, with its mixed precision and loss scaling for float16."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if device.index is not None and not torch.cuda.is_available():
        raise ImportError("PyTorch is here, but not for this GPU")
    place = "cpu" if device.index is None else f"cuda:{device.index}"
    model, optimizer = theirs(torch, one)
    model = model.to(place)
    x, y = one.sample(one.size.batch)
    is_text = one.name == "transformer"
    inputs = torch.from_numpy(x).to(place).to(torch.long if is_text else torch.float32)
    labels = torch.from_numpy(y).to(place).to(torch.long).reshape(-1)
    kind = place.partition(":")[0]
    half = torch.float16 if kind == "cuda" else torch.bfloat16  # its CPU has no kernels for the other
    scaler = torch.amp.GradScaler(kind, enabled=precision is not None and kind == "cuda")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(kind, half, enabled=precision is not None):
            output = model(inputs)
        loss = torch.nn.functional.cross_entropy(output.float().reshape(len(labels), -1), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    def wait() -> None:
        if kind == "cuda":
            torch.cuda.synchronize()

    return step, wait


# -- the way of weights -----------------------------------------------------------------------------------


def measure_copies(text: str, numbers: int, device: Device) -> dict[str, Any]:
    """Bytes a second of push and pull, and of one plain copy each between the same two memories."""
    nbytes, cuda = 4 * numbers, device.xp.cuda
    shared = SharedMemory()
    memory = PinnedMemory(device, shared, say)
    copies = CudaCopies(device, memory)
    host, private = memory.allocate(nbytes), memory.private(nbytes)
    vector, stream = copies.vector(host), cuda.Stream(non_blocking=True)
    chunks = [np.frombuffer(bytes(1 << 20), np.uint8)[: nbytes - at] for at in range(0, nbytes, 1 << 20)]

    def push() -> None:
        copies.store(host).wait()

    def pull() -> None:
        copies.load(None, host)

    def pull_in_chunks() -> None:
        for number, chunk in enumerate(chunks):
            memory.fill(private, number << 20, chunk)
        copies.load(private, host)

    ways = {
        "push_bytes_s": push,
        "pull_bytes_s": pull,
        "chunks_bytes_s": pull_in_chunks,
        "to_host_bytes_s": lambda: copy_out(cuda, vector, private, stream),
        "to_device_bytes_s": lambda: copy_in(cuda, private, vector, stream),
    }
    wait = waiting_for(device)
    entry: dict[str, Any] = {"vector": text}
    for name, way in ways.items():
        entry[name] = nbytes / timed(lambda way=way: (way(), wait()), wait)
    memory.close()
    shared.close()
    return entry


# -- synchronising ------------------------------------------------------------------------------------------


def measure_rounds(name: str, is_small: bool, device: Device) -> list[dict[str, Any]]:
    """Seconds of a step with a round every so many steps, beside those of a replica that is left alone."""
    job = str(Path(__file__).parent / "gpu_job.py")
    settings = {"name": name, "small": str(is_small).lower(), "steps": str(STEPS)}
    alone_s = step_alone_s(job, settings, device)
    entries = []
    for every in EVERY:
        seconds = [run_s(job, settings, every, epochs, device) for epochs in EPOCHS[name]]
        few, many = EPOCHS[name]
        step_s = (seconds[1] - seconds[0]) / (STEPS * (many - few))
        entries.append({"model": name, "every": every, "step_s": step_s, "alone_s": alone_s})
        say(f"  every {every} steps: {step_s * 1e3:.3f} ms a step, alone {alone_s * 1e3:.3f} ms")
    return entries


def step_alone_s(job: str, settings: dict[str, str], device: Device) -> float:
    """Of a replica that takes its rows as in a run and makes a whole epoch in one unit."""
    loaded = load_job(job, settings | {"local_steps": str(STEPS)}).job
    description = loaded.describe()
    replica = Replica(description, Parts.of(description), device, Watch())
    rows = HeldRows(loaded.train.read(slice(None)))
    base = replica.initialise()
    base.arrival.wait()
    weights = base.vector.copy() if base.vector is not None else None
    return timed(lambda: replica.train(weights, rows, 0, 0) and None, waiting_for(device)) / STEPS


def run_s(job: str, settings: dict[str, str], every: int, epochs: int, device: Device) -> float:
    words = settings | {"local_steps": str(every), "epochs": str(epochs)}
    flags = [part for key, value in words.items() for part in ("--set", f"{key}={value}")]
    with LocalCluster(job, 1, server_flags=flags, devices=[str(device)]) as cluster:
        seconds: float = cluster.wait(300)["train_seconds"]
    return seconds


# -- the report ---------------------------------------------------------------------------------------------


def report(found: dict[str, Any]) -> str:
    """Everything as a page of tables; `found` as in gpu.json."""
    about = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        "# On a GPU", "",
        f"{about['device']}, {about['date']}; {versions}. `python benchmarks/gpu.py` measures it.", "",
        "## A step", "",
        "| model | precision | here | PyTorch eager | ratio | at most 1.3 |", "|---|---|---:|---:|---:|---|",
    ]  # fmt: skip
    for entry in found["steps"]:
        ours_s, torch_s = entry["ours_s"], entry["torch_s"]
        cells = f"| {entry['model']} | {entry['precision']} | {ours_s * 1e3:.3f} ms "
        if torch_s is None:
            lines.append(f"{cells}| not here | | |")
            continue
        ratio = ours_s / torch_s
        lines.append(f"{cells}| {torch_s * 1e3:.3f} ms | {ratio:.2f} | {met(ratio <= BARS['step'][0])} |")
    lines += [
        "", "## The way of weights", "",
        "| vector | way | GB/s | one pinned copy | ratio | at least 0.7 |", "|---|---|---:|---:|---:|---|",
    ]  # fmt: skip
    for entry in found["copies"]:
        for way, name, most in (
            ("push", "push_bytes_s", "to_host_bytes_s"),
            ("pull, from shared memory", "pull_bytes_s", "to_device_bytes_s"),
            ("pull, in chunks of 1 MiB as they come", "chunks_bytes_s", "to_device_bytes_s"),
        ):
            ratio = entry[name] / entry[most]
            lines.append(
                f"| {entry['vector']} | {way} | {entry[name] / 1e9:.1f} | {entry[most] / 1e9:.1f} "
                f"| {ratio:.2f} | {met(ratio >= BARS['copy'][0])} |"
            )
    lines += [
        "", "## Synchronising", "",
        "| model | a round every | a step | alone | overhead | bar |", "|---|---|---:|---:|---:|---|",
    ]  # fmt: skip
    for entry in found["rounds"]:
        over, bar = entry["step_s"] / entry["alone_s"] - 1, BARS[entry["model"]][0]
        judged = f"at most {bar:.0%}: {met(over <= bar)}" if entry["every"] == 8 else ""
        lines.append(
            f"| {entry['model']} | {entry['every']} steps | {entry['step_s'] * 1e3:.3f} ms "
            f"| {entry['alone_s'] * 1e3:.3f} ms | {over:.1%} | {judged} |"
        )
    if found["missing"]:
        lines += ["", "## Missing", "", *(f"- {text}" for text in found["missing"])]
    return "\n".join([*lines, ""])


def met(is_met: bool) -> str:
    return "met" if is_met else "missed"


if __name__ == "__main__":
    main()
