"""A round by Open MPI: Allreduce of the sum in place, then division.

Started by `mpirun -n WORKERS python mpi.py PLAN`; rank 0 tells the times, and the CPU of all.
"""

import sys
import time

import numpy as np
from mpi4py import MPI
from timing import Rounds, plan

world = MPI.COMM_WORLD
for size, count in plan(sys.argv[1]):
    weights, rounds = np.ones(size, np.float32), Rounds(size, count)
    for _ in rounds:
        world.Barrier()
        began = time.perf_counter()
        world.Allreduce(MPI.IN_PLACE, weights)
        weights /= world.size
        rounds.seconds.append(world.allreduce(time.perf_counter() - began, MPI.MAX))  # the worst counts
    rounds.cpu_s_a_round = world.allreduce(rounds.cpu_s_a_round, MPI.SUM)
    if world.rank == 0:  # alone, since mpirun mixes long lines of several processes
        rounds.tell()
