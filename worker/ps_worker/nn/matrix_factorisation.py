"""Ratings from factors of users and of items."""

import dataclasses

import numpy as np

from ps_common.arrays import Array, HostArray, xp_of
from ps_common.errors import ShapeMismatch
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count, check_number
from ps_worker.nn.inputs import check_indexes
from ps_worker.nn.layer import Context, Layer, Parameter, Shape, Tree, Views
from ps_worker.nn.scatter import scatter_sum
from ps_worker.nn.vectors import dots

Cache = tuple[Array, Array, Array, Array]


@word
@dataclasses.dataclass(frozen=True)
class MatrixFactorisation(Layer):
    """r = μ + bᵤ + bᵢ + pᵤ · qᵢ: the rating that a user gives an item. Koren, Bell & Volinsky 2009, eq. 4.

    A sample is two whole numbers, (user, item), from 0 to users - 1 and items - 1; the output is (1,).
    μ is `mean`, given (say 3.5 for one to five stars), plus `offset`, learnt. Biases `user_bias` and
    `item_bias` start at zero, factors `user` (users, factors) and `item` (items, factors) normal with
    `deviation`; a regularizer decays all four, as in eq. 5, though a step not for the ratings in the
    batch alone.
    """

    users: int
    items: int
    factors: int
    mean: float = 0.0
    deviation: float = 0.1

    def __post_init__(self) -> None:
        for field in ("users", "items", "factors"):
            check_count(self, field)
        check_number(self, "mean")
        check_number(self, "deviation", above=0)

    @property
    def takes_indexes(self) -> bool:
        return True

    def parameters(self, inputs: Shape) -> Tree:
        tree: Tree = {"offset": Parameter((1,))}
        for name, size in (("user", self.users), ("item", self.items)):
            shape = (size, self.factors)
            tree[f"{name}_bias"] = Parameter((size, 1), decay=True)
            tree[name] = Parameter(shape, "normal", decay=True, deviation=self.deviation)
        return tree

    def output_shape(self, inputs: Shape) -> Shape:
        if inputs != (2,):
            raise ShapeMismatch(f"{self} takes two numbers a sample, (user, item), shape (2,), got {inputs}")
        return (1,)

    def check_inputs(self, x: HostArray, where: str) -> None:
        for column, (size, field) in enumerate(((self.users, "users"), (self.items, "items"))):
            check_indexes(f"{where}, x[{column}]", x[:, column], size, "MatrixFactorisation", field)

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Cache]:
        users, items = x.astype(np.intp, copy=False).T
        of_user, of_item = p["user"].take(users, axis=0), p["item"].take(items, axis=0)
        y = dots(of_user, of_item)  # (n, 1)
        y += p["user_bias"].take(users, axis=0)
        y += p["item_bias"].take(items, axis=0)
        y += p["offset"]
        y += self.mean
        return y, (users, items, of_user, of_item)

    def backward(self, dy: Array, p: Views, g: Views, cache: Cache) -> Array:
        """∂bᵤ = Σ dy, ∂pᵤ = Σ dy qᵢ over the ratings of a user; likewise for an item; ∂μ = Σ dy."""
        users, items, of_user, of_item = cache
        for name, indexes, other in (("user", users, of_item), ("item", items, of_user)):
            scatter_sum(dy, indexes, g[f"{name}_bias"])
            scatter_sum(dy * other, indexes, g[name])
        dy.sum(axis=0, out=g["offset"])
        return xp_of(dy).zeros((len(dy), 2), dy.dtype)
