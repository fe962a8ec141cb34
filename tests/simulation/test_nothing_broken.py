"""Nothing is broken: the runs of test_broken_*.py are green by themselves, whatever happens in them."""

from collections.abc import Callable

import pytest

from simulation.broken import (
    count_case,
    kill_a_server,
    kill_a_worker,
    kill_the_master,
    real_case,
    run,
    undisturbed,
)
from simulation.cluster import Cluster
from simulation.jobs import Case


@pytest.mark.parametrize("disturb", [undisturbed, kill_a_worker, kill_the_master])
@pytest.mark.parametrize("make_case", [real_case, count_case])
def test_nothing_broken_is_green(make_case: Callable[[], Case], disturb: Callable[[Cluster], None]) -> None:
    run(make_case(), disturb=disturb)


@pytest.mark.parametrize(
    "disturb", [undisturbed, kill_a_worker, kill_the_master, kill_a_server], ids=lambda d: d.__name__
)
@pytest.mark.parametrize("elsewhere", [[], [1]])
@pytest.mark.parametrize("is_shared", [True, False])
def test_nothing_broken_is_green_with_servers(
    disturb: Callable[[Cluster], None], elsewhere: list[int], is_shared: bool
) -> None:
    run(count_case(), disturb=disturb, servers=2, elsewhere=elsewhere, is_shared=is_shared)
