"""What the examples reached, as one Markdown page. Computes nothing, and knows no example."""

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]  # of one example, as run.py makes it


def is_same(result: Result) -> bool:
    """Whether any number of workers came to the same weights, bit for bit."""
    return all(run["digests"] == result["runs"][0]["digests"] for run in result["runs"])


HEAD = """# What the examples reach

Written by `make examples`. Each example is run as it stands with one worker and with two, one BLAS thread
each: the same job, so the same weights. Seconds are those of the whole run, from nothing to the model in its
file; in brackets those from the first unit to the last. Baselines are computed from the same training data,
on the same test data, in the unit of the figure."""

COLUMNS = (
    *("example", "data", "figure", "target", "baselines", "reached, 1 / 2 workers", "met", "same weights"),
    *("seconds, 1 worker", "2 workers", "seed"),
)


def page(results: Mapping[str, Result]) -> str:
    """The results as Markdown: the table, what is shown of each, and where they were measured."""
    table = [COLUMNS, ["---"] * len(COLUMNS), *(row(name, result) for name, result in results.items())]
    places: dict[str, list[str]] = {}
    for name, result in results.items():
        places.setdefault(where(result["machine"]), []).append(name)
    sections = [HEAD, "\n".join(f"| {' | '.join(cells)} |" for cells in table)]
    for place, names in places.items():
        sections.append(f"{place}: {', '.join(names) if len(places) > 1 else 'all'}.")
    for name, result in results.items():
        sections += [f"## {name}", *map(embedded, result["shown"])]
    return "\n\n".join(sections) + "\n"


def row(name: str, result: Result) -> list[str]:
    one, two = result["runs"]
    return [
        f"[{name}](../{name}.py)" + (" **(cut short)**" if result["quick"] else ""),
        result["data"],
        result["figure"],
        result["target"],
        "; ".join(f"{what} {number(value)}" for what, value in result["baselines"].items()),
        f"{number(one['got'])} / {number(two['got'])}",
        "yes" if result["is_met"] else "**no**",
        "yes" if is_same(result) else "**no**",
        *(f"{run['seconds']:.1f} ({run['train_seconds']:.1f})" for run in (one, two)),
        str(result["seed"]),
    ]


def number(value: float) -> str:
    """Four digits that count; thousands with commas."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def embedded(file: str) -> str:
    return f"![]({file})" if file.endswith(".png") else f"[{file}]({file})"


def where(host: Result) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
    return f"{host['date']}, {host['place']}, {versions}"
