"""results/*.json as one Markdown page. A part or a contestant that is missing is named with its reason."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]


def markdown(folder: Path) -> str:
    """The page for the results in a folder, of whichever parts are there."""
    parts = {name: json.loads((folder / f"{name}.json").read_text()) for name in _PARTS if _is(folder, name)}
    if not parts:
        return "# Measurements\n\nNone yet.\n"
    sections = [
        "# Measurements",
        "Written by `make bench`; figures are medians unless a head says otherwise.",
    ]
    host: Figures = {}
    for name, figures in parts.items():
        title, body = _PARTS[name]
        if _place(figures) != host:
            host = _place(figures)
            sections.append(_where(host))
        sections += [f"## {title}", _when(figures)]
        if "entries" in figures or "ours_seconds" in figures:
            sections += body(figures)
        sections += [f"Missing: **{what}**: {why}." for what, why in figures.get("missing", {}).items()]
    return "\n\n".join(sections) + "\n"


def _is(folder: Path, name: str) -> bool:
    return (folder / f"{name}.json").exists()


def _place(figures: Figures) -> Figures:
    return {name: value for name, value in figures["machine"].items() if name != "date"}


def _where(host: Figures) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
    memory = f"{host['memory_bytes'] / 2**30:.0f} GiB"
    return f"{host['processor']}, {host['cores']} cores, {memory}, Linux {host['kernel']}.\n{versions}."


def _when(figures: Figures) -> str:
    small = " **A quick run, not for comparing.**" if figures["quick"] else ""
    load = f"load of the machine before: {figures['load_before']:.1f}"
    others = f"others spent {figures['foreign_cpu_s']:.0f} s of CPU meanwhile"
    return f"{figures['machine']['date']}; {load}; took {figures['seconds']:.0f} s; {others}.{small}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _ms(seconds: Figures | None, spread: bool = True) -> str:
    """Milliseconds with three digits that count: `17.9 (16.2-20.1)`."""
    if seconds is None:
        return "no round counted"
    median, low, high = (_three(1e3 * seconds[name]) for name in ("median", "p10", "p90"))
    return f"{median} ({low}-{high})" if spread else median


def _three(value: float) -> str:
    return (
        f"{value:.0f}"
        if value >= 100
        else f"{value:.1f}"
        if value >= 10
        else f"{value:.2f}"
        if value >= 0.1
        else f"{value:.3f}"
    )


def _mb(nbytes: float) -> str:
    return f"{nbytes / 1e6:.0f}"


# -- rounds -------------------------------------------------------------------------------------------


def _rounds(figures: Figures) -> list[str]:
    by = {(e["contestant"], e["workers"], e["parameters"]): e for e in figures["entries"]}
    sizes = sorted({e["parameters"] for e in figures["entries"]})
    names = figures["contestants"]
    out = [
        "A round from weights ready to push to averaged weights ready to use, as the worst worker sees it. "
        "Everyone in one run, blocks interleaved."
    ]
    for workers in sorted({e["workers"] for e in figures["entries"]}):
        head = [f"{workers} workers: ms (p10-p90)", *(f"{size:,}" for size in sizes)]
        out.append(_table(head, [_round_row(name, workers, sizes, by, figures["missing"]) for name in names]))
        head = [f"{workers} workers: CPU ms a round, all processes", *head[1:]]
        rows = [[_called(n, workers, by), *(_cpu(by.get((n, workers, s))) for s in sizes)] for n in names]
        out.append(_table(head, rows))
    return [*out, *_ratios(sizes[-1], by), "![rounds](rounds.svg)"]


def _called(name: str, workers: int, by: Figures) -> str:
    """The name, with what the weights really travelled over where that is left to the program."""
    used = {e["transport"] for key, e in by.items() if key[:2] == (name, workers)}
    return f"{name} (used {', '.join(sorted(used))})" if name.endswith("auto") and used else name


def _round_row(name: str, workers: int, sizes: Sequence[int], by: Figures, missing: Figures) -> list[str]:
    if name in missing and not any(key[0] == name for key in by):
        return [name, *["missing"] * len(sizes)]
    found = [by.get((name, workers, size)) for size in sizes]
    return [_called(name, workers, by), *(_ms(e["seconds"]) if e else "missing" for e in found)]


def _cpu(entry: Figures | None) -> str:
    return _three(1e3 * entry["cpu_s"]) if entry else "missing"


def _ratios(size: int, by: Figures) -> list[str]:
    """How ours compares at the largest size: times as long as each of the others."""
    lines = []
    for (name, workers, parameters), entry in by.items():
        if not name.startswith("ours") or parameters != size or not entry["seconds"]:
            continue
        others = {
            other: entry["seconds"]["median"] / e["seconds"]["median"]
            for (other, w, p), e in by.items()
            if (w, p) == (workers, size) and not other.startswith("ours") and e["seconds"]
        }
        told = ", ".join(f"{ratio:.2f} x {other}" for other, ratio in others.items())
        lines.append(f"- {name}, {workers} workers, {size:,}: {told}")
    return (
        ["\n".join(["Time of a round of ours as a multiple of each other's:", "", *lines])] if lines else []
    )


# -- the other parts ----------------------------------------------------------------------------------


def _fan_in(figures: Figures) -> list[str]:
    head = [
        "parameters", "light workers", "ms a round (p10-p90)", "ms a round and worker",
        "messages a second", "messages a round", "master CPU ms a round", "workers CPU ms a round",
        "master peak MB",
    ]  # fmt: skip
    rows = [
        [
            f"{e['parameters']:,}",
            str(e["clients"]),
            _ms(e["seconds"]),
            _three(1e3 * e["seconds_a_worker"]),
            f"{e['messages_a_second']:,.0f}",
            f"{e['messages_a_round']:.0f}",
            _three(1e3 * e["master_cpu_s"]),
            _three(1e3 * e["workers_cpu_s"]),
            _mb(e["master_peak_bytes"]),
        ]
        for e in figures["entries"]
    ]
    return ["Light workers share the machine's cores with the master.", _table(head, rows)]


def _memory(figures: Figures) -> list[str]:
    head = [
        "asked (used)", "parameters", "workers", "model MB", "master peak MB", "its own",
        "2 models + 64 MB", "3 models + 64 MB", "worker peak MB", "its own",
        "worker: models more than without us",
    ]  # fmt: skip
    rows = []
    for e in figures["entries"]:
        model, master, worker = 4 * e["parameters"], e["master"], e["worker"]
        rows.append(
            [
                f"{e['asked']} ({e['transport']})",
                f"{e['parameters']:,}",
                str(e["workers"]),
                _mb(model),
                _mb(master["VmHWM"]),
                _mb(master["own"]),
                _mb(2 * model + 64 * 2**20),
                _mb(3 * model + 64 * 2**20),
                _mb(worker["VmHWM"]),
                _mb(worker["own"]),
                f"{(worker['own'] - figures['alone_bytes']) / model:.2f}",
            ]
        )
    flat = [
        [
            f"{e['asked']} ({e['transport']})",
            f"{e['rounds']:,}",
            *(_grown(e[who]) for who in ("master", "worker")),
        ]
        for e in figures["flat"]
    ]
    return [
        f"The same training without us: {_mb(figures['alone_bytes'])} MB.",
        _table(head, rows),
        "Resident memory from the second tenth of a long run to its last:",
        _table(["asked (used)", "rounds", "master MB", "worst worker MB"], flat),
        *_transformer(figures.get("transformer")),
    ]


def _transformer(figures: Figures | None) -> list[str]:
    if not figures:
        return []
    words = (
        f"A transformer of {figures['parameters']:,} parameters, AdamW, 2 workers ({figures['transport']}): "
        f"batches of {figures['sizes']['batch']} sequences of {figures['sizes']['steps']} steps; the most "
        "that a process had of its own, predicted by the formula in memory_use.py:"
    )
    rows = [
        [who, *(_mb(figures[who][name]) for name in ("floor", "predicted", "measured")),
         f"{figures[who]['measured'] / figures[who]['predicted']:.2f}"]
        for who in ("master", "worker")
    ]  # fmt: skip
    return [words, _table(["", "with next to no model MB", "predicted MB", "measured MB", "times"], rows)]


def _grown(pair: Sequence[int]) -> str:
    return f"{pair[0] / 1e6:.1f} to {pair[1] / 1e6:.1f}"


def _saving(figures: Figures) -> list[str]:
    first = figures["entries"][0]["mean_s"]
    head = ["", "mean ms a round", "times", "ms (p10-p90)", "longest", "CPU ms a round", "rounds", "written"]
    rows = [
        [
            e["way"],
            _three(1e3 * e["mean_s"]),
            f"{e['mean_s'] / first:.3f}",
            _ms(e["seconds"]),
            _three(1e3 * e["longest_s"]),
            _three(1e3 * e["cpu_s"]),
            f"{e['seconds']['count']:,}",
            str(e["checkpoints"]),
        ]
        for e in figures["entries"]
    ]
    words = f"{figures['parameters']:,} parameters in shared memory, {figures['workers']} workers."
    return [words, _table(head, rows)]


def _curve(figures: Figures) -> list[str]:
    plain = {
        e["parameters"]: e["seconds"]["median"] for e in figures["entries"] if e["way"] == "without keys"
    }
    head = ["parameters", "", "ms (p10-p90)", "times", "CPU ms a round", "rounds"]
    rows = [
        [
            f"{e['parameters']:,}",
            e["way"],
            _ms(e["seconds"]),
            f"{e['seconds']['median'] / plain[e['parameters']]:.2f}",
            _three(1e3 * e["cpu_s"]),
            f"{e['seconds']['count']:,}",
        ]
        for e in figures["entries"]
    ]
    return [f"Rounds over TCP on this machine, {figures['workers']} workers.", _table(head, rows)]


def _steps(figures: Figures) -> list[str]:
    by = {(e["model"], e["contestant"]): e["seconds"] for e in figures["entries"]}
    rows = []
    for model, words in figures["models"].items():
        ours, torch = by.get((model, "ours")), by.get((model, "PyTorch"))
        if ours and torch:
            rows.append([words, _ms(ours), _ms(torch), f"{ours['median'] / torch['median']:.2f}"])
    words = "Gradient and optimizer's step on one thread, float32, beside PyTorch eager; in one run, in turn."
    return [words, _table(["", "ours: ms a step (p10-p90)", "PyTorch", "ours / PyTorch"], rows)]


def _mnist(figures: Figures) -> list[str]:
    same = figures["settings"]
    head = [
        f"{same['workers']} workers",
        f"seconds to {same['goal']}",
        "reached",
        "epochs",
        "seconds an epoch",
        "last",
    ]
    rows = [
        [
            e["contestant"],
            "never" if e["seconds"] is None else f"{e['seconds']['median']:.2f}",
            f"{e['reached']} of {e['races']}",
            ", ".join(map(str, e["epochs"])),
            f"{e['epoch_seconds']:.2f}",
            f"{e['last_accuracy']:.4f}",
        ]
        for e in figures["entries"]
    ]
    words = f"784-100-10, batches of {same['batch']} a worker, Nesterov with learning rate {same['rate']}."
    return [words, _table(head, rows)]


def _namespaces(figures: Figures) -> list[str]:
    one_way = figures["one_way_s"]
    rows = [
        [name, _ms(figures[key]), f"{figures[key]['median'] / one_way:.2f}"]
        for name, key in (
            ("ours", "ours_seconds"),
            ("gloo all_reduce", "gloo_seconds"),
            ("ceiling: plain TCP, both ways at once", "stream_seconds"),
        )
        if key in figures
    ]
    words = (
        f"{figures['parameters']:,} parameters, links of {figures['bits_a_second'] / 1e9:g} Gbit/s each way: "
        f"bytes / bandwidth is {1e3 * one_way:.0f} ms one way, {2e3 * one_way:.0f} ms there and back in turn."
    )
    return [words, _table(["two hosts", "ms a round (p10-p90)", "times bytes / bandwidth"], rows)]


def _attacked(figures: Figures) -> list[str]:
    head = ["attack", "ms a round (p10-p90)", "times", "whole run, times", "rounds", "shut or refused"]
    alone = figures["alone"]
    rows = [["none", _ms(alone), "", "", f"{alone['count']:,}", ""]]
    rows += [
        [
            e["attack"],
            _ms(e["seconds"]),
            f"{e['ratio']:.3f}",
            f"{e['run_ratio']:.3f}",
            f"{e['seconds']['count']:,}",
            str(e["told"]),
        ]
        for e in figures["entries"]
    ]
    words = (
        f"{figures['parameters']:,} parameters in shared memory, {figures['workers']} workers. A process "
        "of the same machine attacks the master. Times: by a run without an attack right before or after, "
        "the median of such pairs. Rounds in which a spare worker raced are in the whole run only."
    )
    return [words, _table(head, rows)]


_PARTS: dict[str, tuple[str, Callable[[Figures], list[str]]]] = {
    "rounds": ("One synchronisation round", _rounds),
    "fan_in": ("Many workers", _fan_in),
    "memory": ("Memory", _memory),
    "saving": ("Checkpoints and the ledger", _saving),
    "curve": ("Keys", _curve),
    "steps": ("A training step", _steps),
    "mnist": ("MNIST to 0.97", _mnist),
    "namespaces": ("Two hosts", _namespaces),
    "attacked": ("Under attack", _attacked),
}
