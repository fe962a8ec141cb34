"""A round by Ray's documented parameter-server pattern.

Worker actors return their weights into the object store, the driver passes the references to a server
actor, which averages; the workers take the mean and write it into their weights.
Started by `python ray_actors.py WORKERS PLAN`.
"""

import os
import sys
import time

import numpy as np

os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # no warning about a default to come
import ray
from timing import Rounds, cpu_of_descendants, plan

WORKERS = int(sys.argv[1])


@ray.remote(num_cpus=0)
class Server:
    """Averages what it is given."""

    def average(self, *parts: np.ndarray) -> np.ndarray:
        mean = parts[0] + parts[1]
        for part in parts[2:]:
            mean += part
        mean /= np.float32(len(parts))
        return mean


@ray.remote(num_cpus=0)
class Worker:
    """Holds a replica."""

    def __init__(self, size: int) -> None:
        self.weights = np.ones(size, np.float32)

    def push(self) -> np.ndarray:
        return self.weights

    def pull(self, mean: np.ndarray) -> None:
        self.weights[:] = mean


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=4 << 30)
for size, count in plan(sys.argv[2]):
    server, group = Server.remote(), [Worker.remote(size) for _ in range(WORKERS)]
    rounds = Rounds(size, count)
    rounds.cpu_s = cpu_of_descendants
    for _ in rounds:
        began = time.perf_counter()
        mean = server.average.remote(*[worker.push.remote() for worker in group])
        ray.get([worker.pull.remote(mean) for worker in group])
        rounds.seconds.append(time.perf_counter() - began)
    rounds.tell()
    for actor in (server, *group):
        ray.kill(actor)
ray.shutdown()
