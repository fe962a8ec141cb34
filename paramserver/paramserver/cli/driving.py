"""A cluster of this process from start to end, whatever signals come: for ps-local and ps-run."""

import contextlib

from paramserver.cluster import ClusterError, LocalCluster
from ps_common.saying import say
from ps_common.signals import ASK_TO_STOP, pass_on


def drive(
    cluster: LocalCluster, name: str, meanwhile: contextlib.AbstractContextManager[object] | None = None
) -> int:
    """Start a cluster, wait for its end, leave nothing behind; the exit code of the command `name`.

    The first INT or TERM stops the run in order, the second ends it at once; USR1 wants a checkpoint.
    meanwhile: entered when the master listens, left when it has ended.
    """
    pass_on(cluster.stop, cluster.save, lambda number: cluster.interrupt(_SecondSignal(number)))
    try:
        try:
            cluster.start()
            with meanwhile or contextlib.nullcontext():
                code = cluster.wait_exit()
        finally:
            cluster.close()
        if code > 128 and not cluster.is_stopping:
            text = f"the master was killed by signal {code - 128}; with --checkpoint, start again to go on"
            say(f"{name}: {text}")
        return code
    except _SecondSignal as second:
        return 128 + second.number
    except ClusterError as error:
        if cluster.is_stopping and error.exit_code == 128 + ASK_TO_STOP:
            return 0  # asked to stop before the master had begun
        if not error.is_shown:
            say(f"{name}: {error}")
        return error.exit_code


class _SecondSignal(BaseException):
    """Raised by a second INT or TERM in the main thread: whatever it waits for, it ends now."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
