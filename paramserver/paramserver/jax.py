"""JAX: trees of arrays for a loop of your own, and a model for a job.

Needs the extra: pip install 'paramserver[jax]'.
"""

from ps_worker.jax_loop import init, push_pull
from ps_worker.jax_replica import Replica
from ps_worker.jax_tree import flatten

__all__ = ["Replica", "flatten", "init", "push_pull"]
