"""Another process that shares memory with this one."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

CODE = """
import sys
from ps_common.shared_memory import SharedMemory
memory = SharedMemory()
vector = memory.allocate({nbytes})
vector[...] = 5
print(memory.pid, memory.descriptor(vector), memory.place, flush=True)
sys.stdin.readline()
print(vector.tolist()[:4], flush=True)
"""


@contextlib.contextmanager
def other_process(nbytes: int) -> Iterator[tuple[subprocess.Popen[str], int, int, str]]:
    """One that has allocated a vector full of 5: the process, its pid, the vector's descriptor, its place.

    It ends when it is sent a line, and prints the first four bytes.
    """
    command = [sys.executable, "-c", CODE.format(nbytes=nbytes)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        pid, descriptor, place = child.stdout.readline().split()
        yield child, int(pid), int(descriptor), place
    finally:
        child.kill()
        child.communicate()
