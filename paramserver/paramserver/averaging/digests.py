"""What a contribution is known by in the ledger: a digest over exactly the bytes that were averaged.

    digest of a contribution = xxh3-64 over the xxh3-64 checksums of its chunks, in order
    with several averaging servers = xxh3-64 over the digests of its stretches, in order

So it depends on how the vector is cut, which the ledger says. What comes in chunks has its checksums
already; what lies in shared memory is digested block by block while it is summed.
"""

from collections.abc import Iterable, Sequence

import xxhash

NONE = ""  # of what was not averaged


def of_chunks(checksums: Iterable[int]) -> str:
    """The digest of what has these chunks."""
    return _text(_over(checksums))


def of_stretches(digests: Sequence[str]) -> str:
    """The digest of what has these stretches, one an averaging server; that of all of it is its own."""
    return digests[0] if len(digests) == 1 else _text(_over(int(digest, 16) for digest in digests))


def is_digest(text: str) -> bool:
    return len(text) == 16 and all(c in "0123456789abcdef" for c in text)


def _over(numbers: Iterable[int]) -> int:
    return xxhash.xxh3_64_intdigest(b"".join(number.to_bytes(8, "little") for number in numbers))


def _text(number: int) -> str:
    return f"{number:016x}"
