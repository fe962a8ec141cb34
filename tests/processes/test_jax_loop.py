"""Trees of JAX's go to a server from a loop of its own, and new ones come back."""

import jax
import jax.numpy as jnp
import pytest

import paramserver.jax
from paramserver.jax import init, push_pull
from processes.world import eventually
from ps_common.errors import UsageError


def test_what_comes_back_is_in_new_arrays_of_the_same_tree(world):
    file = world.folder / "address"
    master = world.start(
        "ps-server", "own", "--bind", "tcp://127.0.0.1:0", "--address-file", file, "--rounds", 3
    )
    address = eventually(lambda: file.exists() and file.read_text(), "no address")
    tree, seen = {"a": jnp.ones(2), "b": [jnp.full((1, 2), 3.0)]}, []
    with paramserver.connect(address, is_quiet=True) as server:
        params = init(server, tree)
        while not server.is_over:
            seen.append(params)
            params = push_pull(server, jax.tree.map(lambda leaf: leaf * 2, params), 8, {"loss": 0.5})
    assert master.wait() == 0, master.said
    assert [leaf.tolist() for leaf in jax.tree.leaves(params)] == [[8.0, 8.0], [[24.0, 24.0]]]
    assert [then["a"].tolist() for then in seen] == [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]
    assert jax.tree.structure(params) == jax.tree.structure(tree)


def test_a_tree_that_cannot_be_averaged_is_not_sent():
    for act in (init, push_pull):
        with pytest.raises(UsageError, match=r"n \(2,\) is int32; what is averaged must be float32"):
            act(None, {"n": jnp.arange(2)})
