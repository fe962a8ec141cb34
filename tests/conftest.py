"""How the tests are spread over processes: those that share an engine or a cluster stay in one."""

from typing import Any

import pytest

TOGETHER = ("tests/docker/", "tests/processes/test_ray.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """As `--dist loadgroup`, whose marks the names of tests do not show in every version of pytest."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((one for one in TOGETHER if nodeid.startswith(one)), nodeid)

    return Together(config, log)
