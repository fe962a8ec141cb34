"""results/rounds.json as a picture: `python plot.py FOLDER` writes rounds.svg. Needs matplotlib."""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

plt.switch_backend("svg")
plt.rcParams["svg.hashsalt"] = "rounds"  # the same figures give the same file
folder = Path(sys.argv[1])
if not (folder / "rounds.json").exists():
    sys.exit("there is no rounds.json")
entries = [e for e in json.loads((folder / "rounds.json").read_text())["entries"] if e["seconds"]]
groups = sorted({e["workers"] for e in entries})
figure, axes = plt.subplots(1, len(groups), figsize=(6 * len(groups), 4.5), sharey=True, squeeze=False)
for axis, workers in zip(axes[0], groups, strict=True):
    for i, name in enumerate(dict.fromkeys(e["contestant"] for e in entries)):
        mine = [e for e in entries if (e["contestant"], e["workers"]) == (name, workers)]
        mine.sort(key=lambda e: e["parameters"])
        medians = [1e3 * e["seconds"]["median"] for e in mine]
        below = [1e3 * (e["seconds"]["median"] - e["seconds"]["p10"]) for e in mine]
        above = [1e3 * (e["seconds"]["p90"] - e["seconds"]["median"]) for e in mine]
        style = "--" if name.startswith("ceiling") else "-"
        width = 2.4 if name.startswith("ours") else 1.2
        sizes = [e["parameters"] for e in mine]
        axis.errorbar(
            sizes,
            medians,
            (below, above),
            label=name,
            ls=style,
            lw=width,
            marker="o",
            ms=3,
            capsize=2,
            color=f"C{i}",
        )
    axis.set(xscale="log", yscale="log", title=f"{workers} workers", xlabel="float32 parameters")
    axis.grid(alpha=0.3)
axes[0][0].set_ylabel("ms a round: median, p10 to p90")
axes[0][0].legend(fontsize=7)
figure.tight_layout()
figure.savefig(folder / "rounds.svg", metadata={"Date": None})
