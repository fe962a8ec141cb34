"""How many descriptors this process may have open: connections, files, memory of others."""

import contextlib
import resource

FILES_MAX = 65_536  # more than anybody needs; some programs close as many when they start


def raise_limit() -> int:
    """Raise the limit as far as this process may, and return it. See getrlimit(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):  # some systems do not allow what they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return most
    return FILES_MAX if soft == resource.RLIM_INFINITY else soft
