"""Between a composite's tree of parameters and the flat dotted names of the layout.

`{"0": {"weight": w}, "2": {"weight": v}}` is `{"0.weight": w, "2.weight": v}`.
"""

from collections.abc import Mapping
from typing import Any

from ps_common.arrays import Array
from ps_common.errors import UsageError
from ps_worker.nn.layer import Parameter, Tree, Views


def flatten(tree: Tree, prefix: str = "") -> dict[str, Parameter]:
    """The parameters of a tree under dotted names, in the tree's order."""
    flat: dict[str, Parameter] = {}
    for name, node in tree.items():
        if not name or "." in name:
            raise UsageError(f"parameter {prefix + name!r}: a name must not be empty or hold a dot")
        if isinstance(node, Parameter):
            flat[prefix + name] = node
        else:
            flat |= flatten(node, f"{prefix}{name}.")
    return flat


def nest(flat: Mapping[str, Array]) -> Views:
    """The tree of arrays for dotted names: the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for name, array in flat.items():
        *parts, leaf = name.split(".")
        node = tree
        for part in parts:
            node = node.setdefault(part, {})
        node[leaf] = array
    return tree
