"""Where the parts of a run on Ray say where they are, and hear where the others are and what is wanted.

An actor beside the driver, which lives as long as the driver does. Parts are moved and started again; each
looks here all the time, and says with every look what it has to say, so nothing is lost with a message. It
must not know what the parts do. Weights, data and keys never come here.
"""

import asyncio
import contextlib
import dataclasses
import time

LOOK_S = 5.0  # a part is heard of at least so often


@dataclasses.dataclass(frozen=True)
class Posted:
    """What stands on the board.

    addresses: by the name of a part, where it listens or has listened last.
    is_stopping: the run is to end in order. is_over: whoever is still here leaves.
    saves: how often a checkpoint was asked for.
    """

    addresses: dict[str, str] = dataclasses.field(default_factory=dict)
    is_stopping: bool = False
    is_over: bool = False
    saves: int = 0


class Board:
    """parts: the names of all that will look here."""

    def __init__(self, parts: list[str]) -> None:
        self._posted = Posted()
        self._heard_at = dict.fromkeys(parts, time.monotonic())
        self._changed = asyncio.Condition()

    async def look(self, part: str, url: str | None, known: Posted | None) -> Posted:
        """What stands here, once it is not what is `known`, or after a while. url: where the part listens."""
        self._heard_at[part] = time.monotonic()
        if url is not None and self._posted.addresses.get(part) != url:
            await self._post(addresses={**self._posted.addresses, part: url})
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait_for(lambda: self._posted != known)
        return self._posted

    async def want(self, is_stopping: bool, is_over: bool, saves: int) -> None:
        """What the driver wants of all of them."""
        await self._post(is_stopping=is_stopping, is_over=is_over, saves=saves)

    async def silent_s(self, part: str) -> float:
        """For how long nothing was heard of a part."""
        return time.monotonic() - self._heard_at[part]

    async def _post(self, **changes: object) -> None:
        async with self._changed:
            self._posted = dataclasses.replace(self._posted, **changes)  # type: ignore[arg-type]
            self._changed.notify_all()
