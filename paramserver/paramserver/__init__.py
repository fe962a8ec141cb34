"""Data-parallel training with a parameter server.

    from paramserver import Job, Plan, datasets, nn

The names below are the public face; everything else may change. Each is imported when it is first asked for:
most processes of a run want few of them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramserver.cluster import ClusterError, LocalCluster
    from paramserver.of_jobs import Job, ParamserverError, Plan, data, datasets, nn, options, rules
    from ps_worker.client import Connection, connect
    from ps_worker.model import Model, load

__version__ = "0.1.0"

__all__ = [
    "Connection",
    "Job",
    "LocalCluster",
    "ClusterError",
    "Model",
    "ParamserverError",
    "Plan",
    "connect",
    "data",
    "datasets",
    "load",
    "nn",
    "options",
    "rules",
]


def __getattr__(name: str) -> object:
    if name in ("ClusterError", "LocalCluster"):
        from paramserver import cluster

        return getattr(cluster, name)
    if name in ("Connection", "connect"):
        from ps_worker import client

        return getattr(client, name)
    if name in ("Model", "load"):
        from ps_worker import model

        return getattr(model, name)
    if name in __all__:
        from paramserver import of_jobs

        return getattr(of_jobs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
