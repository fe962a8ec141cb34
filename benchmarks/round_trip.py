"""What a synchronisation round costs, beside what the machine could do at best. Asserts nothing.

    python benchmarks/round_trip.py               every size; writes results/round_trip.json and .md
    python benchmarks/round_trip.py --size mlp    only the 784-100-10 network

Real processes on loopback TCP: a master and `--workers` workers, a shard each, a step on one sample a unit.

round: from the end of a worker's last step to the begin of its next, as that worker sees it: its weights
    out of the replica and to the master, waiting for the others, the average, the new weights back and into
    the replica. Median, tenth and ninetieth percentile over all rounds of all workers, without the first ten.
echo: the bytes of the model sent in chunks through one ZeroMQ socket to a process that sends them back,
    `--workers` clients at once: what a round would cost with nothing to decide, check or add up.
copy: one copy of the model's bytes in memory by one thread.
peak: the most memory that the master ever held (VmHWM), beside 3 models and 64 MB.
"""

import dataclasses
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import zmq

from paramserver import LocalCluster
from ps_common.messages import CHUNK_BYTES

JOB = Path(__file__).with_name("round_job.py")
RESULTS = Path(__file__).with_name("results")
LIMIT_S = 300.0  # for one model's rounds
WARM_UP = 10  # rounds left out: the first ones carry data and touch memory for the first time


@dataclasses.dataclass(frozen=True)
class Size:
    """A model: its layers, and how many rounds are enough to know its median."""

    name: str
    inputs: int
    hidden: int
    outputs: int
    rounds: int

    @property
    def parameters(self) -> int:
        if not self.hidden:
            return (self.inputs + 1) * self.outputs
        return (self.inputs + 1) * self.hidden + (self.hidden + 1) * self.outputs

    @property
    def nbytes(self) -> int:
        return 4 * self.parameters


SIZES = {
    size.name: size
    for size in (
        Size("mlp", 784, 100, 10, 500),
        Size("1m", 999, 0, 1_000, 200),
        Size("10m", 999, 0, 10_000, 60),
        Size("25m", 2_499, 0, 10_000, 40),
    )
}


@click.command(context_settings={"show_default": True})
@click.option(
    "--size", "names", multiple=True, type=click.Choice(list(SIZES)), help="Models; all by default."
)
@click.option("--workers", default=2, type=click.IntRange(1), help="Worker processes, a shard each.")
@click.option(
    "--rounds", type=click.IntRange(WARM_UP + 10), help="Rounds instead of each model's own number."
)
@click.option("--out", default=RESULTS, type=click.Path(path_type=Path), help="Folder for the results.")
def main(names: tuple[str, ...], workers: int, rounds: int | None, out: Path) -> None:
    """Measure a synchronisation round."""
    host, results = machine(), []
    for name in names or SIZES:
        size = SIZES[name]
        result = measure(dataclasses.replace(size, rounds=rounds or size.rounds), workers)
        results.append(result)
        click.echo(", ".join(f"{head} {cell}" for head, cell in zip(HEAD, row(result), strict=True)))
    host["load_after"] = os.getloadavg()[0]
    report = {"machine": host, "workers": workers, "chunk_bytes": CHUNK_BYTES, "models": results}
    out.mkdir(parents=True, exist_ok=True)
    (out / "round_trip.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "round_trip.md").write_text(markdown(report))
    click.echo(f"written to {out / 'round_trip.md'}")


def measure(size: Size, workers: int) -> dict[str, Any]:
    run = measure_rounds(size, workers)
    return {
        "name": size.name,
        "parameters": size.parameters,
        "model_bytes": size.nbytes,
        **run,
        "echo_seconds": summary(measure_echo(size.nbytes, workers)),
        "copy_seconds": summary(measure_copy(size.nbytes)),
        "master_allowed_bytes": 3 * size.nbytes + 64 * 2**20,
    }


def measure_rounds(size: Size, workers: int) -> dict[str, Any]:
    """Run the job; the gaps between the steps of each worker, the record's figures, the master's memory."""
    fields = ("inputs", "hidden", "outputs", "rounds")
    settings = [f"--set={name}={getattr(size, name)}" for name in fields] + [f"--set=shards={workers}"]
    peak = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STAMPS"] = folder
        with LocalCluster(JOB, workers, server_flags=settings) as cluster:
            assert cluster.master is not None
            deadline = time.monotonic() + LIMIT_S
            while cluster.master.is_alive and time.monotonic() < deadline:
                # the peak only grows, and every round reaches it
                peak = max(peak, peak_bytes(cluster.master.process.pid))
                time.sleep(0.01)
            record = cluster.wait(1.0)
        steps = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    gaps = [after[0] - before[1] for each in steps for before, after in itertools.pairwise(each[WARM_UP:])]
    trains = [end - begin for each in steps for begin, end in each[WARM_UP:]]
    return {
        "rounds": record["rounds"],
        "units": sorted(len(each) for each in steps),
        "round_seconds": summary(gaps),
        "step_seconds": summary(trains),
        "record_workers": record["workers"],
        "record_train_seconds": record["train_seconds"],
        "bytes_sent": record["bytes_sent"],
        "bytes_received": record["bytes_received"],
        "master_peak_bytes": peak,
    }


def peak_bytes(pid: int) -> int:
    """VmHWM of a process; 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def measure_echo(nbytes: int, clients: int) -> list[float]:
    """Seconds for `nbytes` there and back through a process that only returns them, `clients` at once."""
    context = multiprocessing.get_context("spawn")
    repeats = 5 + int(min(200, 2e9 / nbytes / clients))
    address, times = context.SimpleQueue(), context.SimpleQueue()
    start = context.Barrier(clients)
    server = context.Process(target=echo, args=(address, clients), daemon=True)
    server.start()
    url = address.get()
    children = [
        context.Process(target=send_and_receive, args=(url, nbytes, repeats, start, times), daemon=True)
        for _ in range(clients)
    ]
    for child in children:
        child.start()
    found = [seconds for _ in children for seconds in times.get()]
    for child in (*children, server):
        child.join()
    return found


def echo(address: Any, clients: int) -> None:
    """Return every message to its sender, until each client has said that it is done with an empty one."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        address.put(f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}")
        while clients:
            sender, frame = socket.recv_multipart(copy=False)
            if len(frame.buffer):
                socket.send_multipart([sender, frame], copy=False)
            else:
                clients -= 1


def send_and_receive(url: str, nbytes: int, repeats: int, start: Any, times: Any) -> None:
    model = np.ones(nbytes, np.uint8)
    chunks = [model[at : at + CHUNK_BYTES] for at in range(0, nbytes, CHUNK_BYTES)]
    found = []
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(url)
        start.wait()
        for _ in range(repeats):
            began = time.perf_counter()
            for chunk in chunks:
                socket.send(chunk.data, copy=False)
            for _ in chunks:
                socket.recv(copy=False)
            found.append(time.perf_counter() - began)
        socket.send(b"")
    times.put(found[2:])


def measure_copy(nbytes: int) -> list[float]:
    source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
    found = []
    for _ in range(12):
        began = time.perf_counter()
        np.copyto(target, source)
        found.append(time.perf_counter() - began)
    return found[2:]


def summary(seconds: list[float]) -> dict[str, float]:
    tenths = statistics.quantiles(seconds, n=10)
    return {"median": statistics.median(seconds), "p10": tenths[0], "p90": tenths[-1], "count": len(seconds)}


def machine() -> dict[str, Any]:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "zmq": zmq.zmq_version(),
        "load_before": os.getloadavg()[0],
    }


HEAD = (
    "parameters",
    "model MB",
    "round ms",
    "p10 to p90",
    "echo ms",
    "copy ms",
    "master peak MB",
    "3 models + 64 MB",
)


def row(result: dict[str, Any]) -> list[str]:
    ms = {name: 1e3 * result[f"{name}_seconds"]["median"] for name in ("round", "echo", "copy")}
    low, high = (1e3 * result["round_seconds"][name] for name in ("p10", "p90"))
    return [
        f"{result['parameters']:,}",
        f"{result['model_bytes'] / 1e6:.1f}",
        f"{ms['round']:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{ms['echo']:.2f}",
        f"{ms['copy']:.3f}",
        f"{result['master_peak_bytes'] / 1e6:.0f}",
        f"{result['master_allowed_bytes'] / 1e6:.0f}",
    ]


def markdown(report: dict[str, Any]) -> str:
    host = report["machine"]
    rows = [list(HEAD), ["---:"] * len(HEAD), *map(row, report["models"])]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    words = [
        f"{report['workers']} workers, loopback TCP, {report['chunk_bytes'] / 2**20:g} MiB chunks",
        f"{host['processor']}, {host['cores']} cores",
        f"Python {host['python']}, NumPy {host['numpy']}, ZeroMQ {host['zmq']}",
        f"load of the machine {host['load_before']:.1f} before and {host['load_after']:.1f} after",
    ]
    where = ";\n".join(words)
    what = "What each column is, `benchmarks/round_trip.py` says."
    return f"# A synchronisation round\n\n{where}.\n{what}\n\n{table}\n"


if __name__ == "__main__":
    main()
