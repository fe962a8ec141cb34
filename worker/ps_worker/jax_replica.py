"""A model in JAX as a job's: parameters and the optimizer's state are trees, and a step is a function.

JAX's arrays cannot be changed in place; the trees are replaced by new ones. See `ps_worker.own_replica`
for what a job asks of a class like this one.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ps_common.arrays import HostArray
from ps_common.errors import UsageError
from ps_worker.jax_tree import FLOATS, Named, Tree, leaves_of, named, unnamed

Batch = tuple[jax.Array, ...]
Step = Callable[[Tree, Tree, Batch, jax.Array], tuple[Tree, Tree, Any]]
Evaluate = Callable[[Tree, Batch], Any]


class Replica:
    """`params`, trained by `step`.

    step: (params, state, batch, key) -> (params, state, figures). The batch is (x, y); the key is new for
        each step, and all that is random in it must come from there. Figures: the mean loss, or a dict of
        means over the batch with one called "loss".
    state: of the optimizer. What is float32 or float64 in it is averaged as the job's plan says; so are
        counts, integers of one number each, which are rounded then.
    evaluate: (params, batch) -> figures, without a step.

    Both functions are called as they are: put `jax.jit` around them. Bits may depend on how many cores a
    machine has, for JAX takes them all.

        def step(params, state, batch, key):
            loss, grads = jax.value_and_grad(loss_of)(params, batch)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), state, loss

        job = Job(model=Replica(params, jax.jit(step)), train=..., plan=...)

    Raises `UsageError` for arrays of other dtypes, by name.
    """

    def __init__(
        self, params: Tree, step: Step, *, state: Tree = (), evaluate: Evaluate | None = None
    ) -> None:
        self.params, self.optimizer_state = params, state
        self._step = step
        self._key = jax.random.key(0)
        named(params)
        for name, leaf in leaves_of(state).items():
            if str(leaf.dtype) not in FLOATS and not _is_count(leaf):
                raise UsageError(
                    f"state: {name} {tuple(leaf.shape)} is {leaf.dtype}; what is averaged must be float32, "
                    "float64 or a count, one integer"
                )
        if evaluate is not None:
            self.evaluate = lambda batch: evaluate(self.params, _batch(batch))

    def parameters(self) -> dict[str, Any]:
        return leaves_of(self.params)

    def state(self) -> dict[str, Any]:
        leaves = leaves_of(self.optimizer_state)
        return {n: np.asarray(leaf, np.float64) if _is_count(leaf) else leaf for n, leaf in leaves.items()}

    def load(self, parameters: Named, buffers: Named, state: Named) -> None:
        """Take values in the place of those by these names."""
        self.params = _with(self.params, parameters)
        self.optimizer_state = _with(self.optimizer_state, state)

    def begin(self, rng: np.random.Generator) -> None:
        """A unit begins: the keys of its steps follow from `rng`."""
        self._key = jax.random.key(int(rng.integers(2**32)))

    def train(self, batch: tuple[HostArray, ...]) -> Any:
        """One step on (x, y); what `step` says of it."""
        self._key, key = jax.random.split(self._key)
        self.params, self.optimizer_state, figures = self._step(
            self.params, self.optimizer_state, _batch(batch), key
        )
        return figures


def _batch(batch: tuple[HostArray, ...]) -> Batch:
    return tuple(jnp.asarray(part) for part in batch)


def _is_count(leaf: Any) -> bool:
    return not leaf.shape and jnp.issubdtype(leaf.dtype, jnp.integer)


def _with(tree: Tree, values: Mapping[str, HostArray]) -> Tree:
    """A tree like this one with some values replaced."""
    if not values:
        return tree
    leaves = leaves_of(tree)
    rounded = {n: np.rint(value) if _is_count(leaves[n]) else value for n, value in values.items()}
    return unnamed(tree, {**leaves, **rounded})
