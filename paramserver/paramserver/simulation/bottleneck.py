"""What a round waits for, said in words: a rule on how busy everybody was."""

import dataclasses
from collections.abc import Mapping

from paramserver.simulation.prediction import (
    MASTER_CPU,
    MASTER_IN,
    MASTER_OUT,
    SERVERS_CPU,
    SERVERS_IN,
    SERVERS_OUT,
    WORKERS,
    WORKERS_IN,
    WORKERS_OUT,
)

ALONE = 0.75  # of the time in use: it is what everybody waits for
IN_TURNS = 0.75  # of the time one or the other of two is in use


@dataclasses.dataclass(frozen=True)
class Bottleneck:
    """names: of the resources. text: what everybody waits for. advice: what would help."""

    names: tuple[str, ...]
    text: str
    advice: str


_LESS_OFTEN = "more local steps a round (--set local_steps=N) send weights less often"
_ADVICE = {
    WORKERS: "more workers, as long as there are shards for them, or faster ones",
    MASTER_CPU: f"averaging servers (--servers K) take bytes off the master; {_LESS_OFTEN}",
    MASTER_IN: f"averaging servers (--servers K) share the traffic; so does a faster link; {_LESS_OFTEN}",
    MASTER_OUT: f"averaging servers (--servers K) share the traffic; so does a faster link; {_LESS_OFTEN}",
    SERVERS_CPU: f"more averaging servers; {_LESS_OFTEN}",
    SERVERS_IN: f"more averaging servers, or faster links; {_LESS_OFTEN}",
    SERVERS_OUT: f"more averaging servers, or faster links; {_LESS_OFTEN}",
    WORKERS_IN: f"faster links of the workers, or fewer workers a host; {_LESS_OFTEN}",
    WORKERS_OUT: f"faster links of the workers, or fewer workers a host; {_LESS_OFTEN}",
}


_FEWER_TO_TELL = (  # instead, where there are servers
    "fewer averaging servers, for the master tells each of every contribution, or fewer workers; "
    + _LESS_OFTEN
)
_TOGETHER = (
    {MASTER_CPU, MASTER_IN, WORKERS_OUT},
    {MASTER_CPU, MASTER_OUT, WORKERS_IN},
    {SERVERS_CPU, SERVERS_IN, WORKERS_OUT},
    {SERVERS_CPU, SERVERS_OUT, WORKERS_IN},
)


def bottleneck_of(busy: Mapping[str, float]) -> Bottleneck:
    """busy: share of the time that each resource was in use, by its name."""
    first, *others = sorted(busy, key=lambda name: -busy[name])
    advice_for = _ADVICE | ({MASTER_CPU: _FEWER_TO_TELL} if SERVERS_CPU in busy else {})
    if busy[first] >= ALONE:
        return Bottleneck((first,), f"{first}, {_percent(busy[first])} of the time", advice_for[first])
    second = next((name for name in others if not _overlap(first, name)), None)
    if second is not None and busy[first] + busy[second] >= IN_TURNS:
        shares = f"{_percent(busy[first])} and {_percent(busy[second])} of the time"
        text = f"{first} and {second} in turns, {shares}"
        advice = advice_for[first]
        if advice_for[second] != advice:
            advice += f". For {second}: {advice_for[second]}"
        return Bottleneck((first, second), text, advice)
    text = f"round trips and waiting for one another: nothing is in use for more than {_percent(busy[first])}"
    return Bottleneck((), text, f"a lower latency; {_LESS_OFTEN}")


def _overlap(one: str, other: str) -> bool:
    """Whether two are in use for the same bytes at the same time."""
    return any({one, other} <= together for together in _TOGETHER)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
