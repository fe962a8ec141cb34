"""PyTorch: a module and its optimizer as a replica, for a job or for a loop of your own.

Needs the extra: pip install 'paramserver[torch]'.
"""

from ps_worker.torch_replica import Replica

__all__ = ["Replica"]
