"""A disk that takes no more than so many bytes a file: the real thing, not a mock."""

import contextlib
import resource
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def small_disk(nbytes: int) -> Iterator[None]:
    """Within it, writing a file beyond `nbytes` fails as on a full disk, in this whole process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
