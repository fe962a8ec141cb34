"""Many workers at one master: what a round costs with 1 to 256 of them, and messages a second.

The workers are light (light_workers.py): real machines and sockets in a few processes, nothing computed. They
share the machine's cores with the master, so a figure is of both sides. A round goes from the moment when
averaged weights are ready to use at a worker to the same moment of the next round; the worst worker counts.
"""

import itertools
import statistics
import sys
import threading
from typing import Any

from measuring import HERE, MissingError, Setting, cpu_seconds, last_line, memory, run_all, summary

from paramserver.cluster import ClusterError, LocalCluster

PARAMETERS = 100_000
TINY = 100  # parameters of the model whose messages are counted
CLIENTS = (1, 16, 64, 256)
PROCESSES = 2
WARM_UP = 2


def measure(setting: Setting) -> dict[str, Any]:
    entries = []
    for parameters, clients in itertools.product((PARAMETERS, TINY), CLIENTS):
        rounds = max(10, min(200, (500 if setting.quick else 4_000) // clients))
        setting.say(f"fan_in: {clients} light workers, {parameters:,} parameters, {rounds} rounds")
        entries.append(run(parameters, clients, rounds))
    return {"entries": entries}


def run(parameters: int, clients: int, rounds: int) -> dict[str, Any]:
    """One run with `clients` light workers, a shard each."""
    values = {"parameters": parameters, "workers": clients, "rounds": rounds + WARM_UP + 1}
    flags = [f"--set={name}={value}" for name, value in values.items()]
    flags += ["--workers", str(clients), "--transport", "tcp"]
    counts = [len(range(i, clients, PROCESSES)) for i in range(min(PROCESSES, clients))]
    try:
        with LocalCluster(HERE / "jobs" / "dense.py", 0, server_flags=flags) as cluster:
            assert cluster.master is not None
            command = [sys.executable, str(HERE / "light_workers.py"), cluster.address]
            pid = cluster.master.process.pid
            before = cpu_seconds(pid) or 0.0
            outputs = _run_beside(command, counts, pid)
            peak, cpu = outputs.pop("peak"), outputs.pop("cpu") - before
            record = cluster.wait(30.0)
    except ClusterError as error:
        raise MissingError(last_line(str(error))) from error
    told = outputs["told"]
    ready = [dict(each) for one in told for each in one["ready"]]
    starts = [max(when[r] for when in ready if r in when) for r in range(record["rounds"])]
    seconds = [after - before for before, after in itertools.pairwise(starts[WARM_UP:])]
    lasted = starts[-1] - starts[0]
    median = statistics.median(seconds)
    return {
        "parameters": record["parameters"],
        "clients": clients,
        "rounds": len(seconds),
        "seconds": summary(seconds),
        "seconds_a_worker": median / clients,
        "messages_a_second": sum(one["messages"] for one in told) / lasted,
        "messages_a_round": sum(one["messages"] for one in told) / record["rounds"],
        "master_cpu_s": cpu / record["rounds"],
        "workers_cpu_s": sum(one["cpu_s"] for one in told) / record["rounds"],
        "master_peak_bytes": peak,
    }


def _run_beside(command: list[str], counts: list[int], pid: int) -> dict[str, Any]:
    """Run the light workers' processes, looking at the master meanwhile."""
    looks = {"peak": 0, "cpu": 0.0}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            looks["peak"] = max(looks["peak"], memory(pid).get("VmHWM", 0))
            looks["cpu"] = cpu_seconds(pid) or looks["cpu"]

    thread = threading.Thread(target=look)
    thread.start()
    try:
        outputs = run_all([[*command, str(count)] for count in counts], 300.0)
    finally:
        over.set()
        thread.join()
    return {**looks, "told": [lines[0] for lines in outputs]}
