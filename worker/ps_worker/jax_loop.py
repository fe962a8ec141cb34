"""JAX in a loop of the user's own: trees go to the server, and new ones come back."""

from collections.abc import Mapping
from typing import Protocol

from ps_worker.jax_tree import Named, Tree, named, unnamed


class Server(Protocol):
    """What `paramserver.connect` gives, as far as it is needed here."""

    def init(self, arrays: Named) -> None: ...
    def push_pull(
        self, arrays: Named, samples: int | None = None, metrics: Mapping[str, float] | None = None
    ) -> None: ...


def init(server: Server, tree: Tree) -> Tree:
    """Begin with these arrays; returns the run's, which are others where it has begun before.

    with paramserver.connect("tcp://master:5555") as server:
        params = init(server, params)
        for batch in server.batches((x, y)):
            params = step(params, batch)
            if server.is_due:
                params = push_pull(server, params)
    """
    arrays = named(tree)
    server.init(arrays)
    return unnamed(tree, arrays)


def push_pull(
    server: Server, tree: Tree, samples: int | None = None, metrics: Mapping[str, float] | None = None
) -> Tree:
    """Hand in these arrays, made from so many samples; returns those that the next unit begins with."""
    arrays = named(tree)
    server.push_pull(arrays, samples, metrics)
    return unnamed(tree, arrays)
