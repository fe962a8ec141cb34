"""What jobs are made of, for `paramserver` to name."""

from ps_common import data, datasets, rules
from ps_common.errors import ParamserverError
from ps_common.job import Job
from ps_common.loader import options
from ps_common.plan import Plan
from ps_worker import nn

__all__ = ["Job", "ParamserverError", "Plan", "data", "datasets", "nn", "options", "rules"]
