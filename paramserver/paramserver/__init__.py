"""Data-parallel training with a parameter server.

    from paramserver import Job, Plan, datasets, nn

The names below are the public face; everything else may change.
"""

from paramserver.cluster import ClusterError, LocalCluster
from ps_common import data, datasets
from ps_common.errors import ParamserverError
from ps_common.job import Job
from ps_common.loader import options
from ps_common.plan import Plan
from ps_worker import nn
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
]
