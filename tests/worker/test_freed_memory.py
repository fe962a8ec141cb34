"""Memory kept between steps, in processes of their own: it is a setting of the whole process."""

import subprocess
import sys

import pytest

PAGES = """
import resource, sys
import numpy as np
from ps_worker.freed_memory import keep_freed_memory

def passes(times):
    for _ in range(times):
        arrays = [np.ones(1 << 17) for _ in range(40)]  # 40 MiB
        del arrays

print(keep_freed_memory(dict.fromkeys(sys.argv[1:], "1")))
passes(2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
passes(10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def told_and_pages(*environment: str) -> tuple[str, int]:
    ended = subprocess.run(
        [sys.executable, "-c", PAGES, *environment], capture_output=True, text=True, check=True
    )
    told, pages = ended.stdout.split()
    return told, int(pages)


def test_what_was_freed_is_used_again_without_asking_the_kernel():
    told, pages = told_and_pages()
    assert told == "True"
    assert pages < 100, "and not ten times the 10,240 pages of 40 MiB"


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_a_users_own_settings_stay(name):
    assert told_and_pages(name)[0] == "False"
