"""What the peers' scripts share: the plan they are given and the line they print for each size of it."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

WARM_UP = 2  # rounds of each size that are not counted


def plan(argument: str) -> list[tuple[int, int]]:
    """Sizes in parameters and how many rounds of each: `[[1000, 200], ...]`."""
    return [(size, rounds) for size, rounds in json.loads(argument)]


class Rounds:
    """Counts rounds of one size: `for _ in rounds: rounds.seconds.append(...)`, then `rounds.tell()`."""

    def __init__(self, size: int, count: int) -> None:
        self.size, self.count = size, count
        self.seconds: list[float] = []
        self._cpu_began = 0.0
        self.cpu_s_a_round = 0.0  # of this process, once the rounds are over
        self.cpu_s = time.process_time

    def __iter__(self) -> Iterator[int]:
        for number in range(-WARM_UP, self.count):
            if number == 0:
                self._cpu_began = self.cpu_s()
            yield number
        self.cpu_s_a_round = (self.cpu_s() - self._cpu_began) / self.count

    def tell(self, timed: bool = True) -> None:
        """Print the seconds of each round (`timed`), and this process's CPU seconds a round."""
        seconds = self.seconds[WARM_UP:] if timed else None
        line = {"size": self.size, "seconds": seconds, "cpu_s": self.cpu_s_a_round}
        print(json.dumps(line), flush=True)


def cpu_of_descendants() -> float:
    """CPU seconds of this process and all below it, for a peer that starts processes of its own."""
    parents, spent = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        spent[pid] = int(fields[11]) + int(fields[12])

    def is_below(pid: int) -> bool:
        while pid in parents:
            if pid == os.getpid():
                return True
            pid = parents[pid]
        return False

    return sum(ticks for pid, ticks in spent.items() if is_below(pid)) / os.sysconf("SC_CLK_TCK")
