"""The robust rules as anybody would write them down: the oracle of the arithmetic and of all paths."""

import numpy as np

from ps_common import rules
from ps_common.layout import Layout

WIDE = {"float16": np.float32}


def naive_trimmed_mean(parts, trimmed):
    values = np.sort(np.array(parts), axis=0)[trimmed : len(parts) - trimmed]
    total = values[0].astype(WIDE.get(values.dtype.name, values.dtype))
    for row in values[1:]:
        total = total + row
    total = total + total.dtype.type(0)
    return (total / total.dtype.type(len(values))).astype(values.dtype)


def naive_krum(vectors, faulty, chosen):
    """Places of the chosen; vectors in float64, one a contribution."""
    count, scores = len(vectors), []
    for i in range(count):
        others = sorted(float(((vectors[i] - vectors[j]) ** 2).sum()) for j in range(count) if j != i)
        scores.append(sum(others[: count - faulty - 2]))
    return sorted(sorted(range(count), key=lambda i: scores[i])[:chosen])


def naive_factors(vectors, center, norm):
    norms = [float(np.sqrt(((vector - center) ** 2).sum())) for vector in vectors]
    limit = sorted(norms)[(len(norms) - 1) // 2] if norm is None else norm
    return [np.float32(min(1.0, limit / each)) if each else np.float32(1) for each in norms]


def naive_average(rule: rules.Rule, layout: Layout, vectors, base):
    """The flat vector that a rule makes of these, which began with `base`."""
    out = layout.empty()
    whole = [np.concatenate([run.astype(np.float64) for run in runs_of(layout, one)]) for one in vectors]
    shares, rest = [1.0] * len(vectors), 0.0
    if isinstance(rule, rules.Krum | rules.MultiKrum):
        chosen = naive_krum(whole, rule.faulty, getattr(rule, "chosen", 1))
        shares = [float(place in chosen) for place in range(len(vectors))]
    elif isinstance(rule, rules.ClippedMean):
        center = np.concatenate([run.astype(np.float64) for run in runs_of(layout, base)])
        shares = naive_factors(whole, center, rule.norm)
        rest = len(vectors) - sum(map(float, shares))
    for at, into in enumerate(runs_of(layout, out)):
        parts = [runs_of(layout, one)[at] for one in vectors]
        if isinstance(rule, rules.TrimmedMean):
            into[...] = naive_trimmed_mean(parts, rule.faulty)
        elif isinstance(rule, rules.Median):
            into[...] = naive_trimmed_mean(parts, (len(parts) - 1) // 2)
        else:
            into[...] = _sum(parts, shares, runs_of(layout, base)[at] if rest else None, rest)
    return out


def runs_of(layout, vector):
    return [vector[run.start : run.stop].view(run.dtype) for run in layout.runs]


def _sum(parts, shares, base, rest):
    """In shard order, and what the contributions do not count the base does, last."""
    counted = [(part, share) for part, share in zip(parts, shares, strict=True) if share]
    counted += [(base, rest)] if base is not None else []
    wide = WIDE.get(parts[0].dtype.name, parts[0].dtype.type)
    total = counted[0][0].astype(wide) * wide(counted[0][1])
    for part, share in counted[1:]:
        total = total + part.astype(wide) * wide(share)
    return (total / wide(round(sum(map(float, shares)) + rest))).astype(parts[0].dtype)
