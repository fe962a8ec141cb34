"""What an example claims: which figure it reaches on which data, and what that has to be better than.

Beside its job an example file holds

    claim                   a `Claim`
    baselines()             what simpler ways reach on the same test data: their figures by name
    measure(models)         the claim's figure, from the models that its runs left, in the order of `runs`
    show(models, path)      a plot or a text of the result, written to `path` with the suffix that fits

`run.py` holds the one against the other. A claim knows nothing of how a figure comes about.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Claim:
    """The figure called `figure` on `data` is `at_least` or `at_most` so much, and beats baselines.

    beats: the names of the baselines that it has to be better than. Better is more with `at_least`, and
    less without.
    runs: what `--set` says in each of the runs that the figure is made of; one run as it stands by default.
    quick: what `--set` says in addition to see in seconds that everything works.
    """

    data: str
    figure: str
    at_least: float | None = None
    at_most: float | None = None
    beats: tuple[str, ...] = ()
    runs: tuple[tuple[str, ...], ...] = ((),)
    quick: tuple[str, ...] = ("epochs=1",)

    def is_met(self, got: float, baselines: Mapping[str, float]) -> bool:
        """Whether a figure is what was claimed, beside these baselines."""
        if self.at_least is not None:
            return got >= self.at_least and all(got > baselines[name] for name in self.beats)
        return (self.at_most is None or got <= self.at_most) and all(
            got < baselines[name] for name in self.beats
        )

    def target(self) -> str:
        """The bar in words."""
        bars = [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        bars += [f"≤ {self.at_most:g}"] if self.at_most is not None else []
        return ", ".join(bars + [f"better than {name}" for name in self.beats])
