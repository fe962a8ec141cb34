"""A round by PyTorch's gloo: all_reduce of the sum, then division, in place.

Started once a worker: `python gloo.py RANK WORKERS HOST PORT PLAN`; rank 0 tells the times.
"""

import sys
import time

import torch
import torch.distributed as dist
from timing import Rounds, plan

rank, workers, host, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"tcp://{host}:{port}", rank=rank, world_size=workers)
for size, count in plan(sys.argv[5]):
    weights, rounds = torch.ones(size), Rounds(size, count)
    for _ in rounds:
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(weights)
        weights /= workers
        spent = torch.tensor([time.perf_counter() - began], dtype=torch.float64)
        dist.all_reduce(spent, op=dist.ReduceOp.MAX)  # the worst worker counts
        rounds.seconds.append(float(spent))
    rounds.tell(timed=rank == 0)
dist.destroy_process_group()
