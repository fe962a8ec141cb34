"""Slurm's lists of nodes, as its own manual and `scontrol show hostnames` have them."""

import itertools

import pytest

from paramserver.cli.node_list import hosts
from ps_common.errors import UsageError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("localhost", "localhost"),
        ("n1,n2.example.org", "n1 n2.example.org"),
        ("node[01-03,07]", "node01 node02 node03 node07"),
        ("node[9-11]", "node9 node10 node11"),
        ("tux[098-101]", "tux098 tux099 tux100 tux101"),
        ("login,node[1,3]-ib,gpu5", "login node1-ib node3-ib gpu5"),
        ("rack[1-2]n[01-02]", "rack1n01 rack1n02 rack2n01 rack2n02"),
    ],
)
def test_a_list_is_written_out_in_order(text: str, names: str) -> None:
    assert list(hosts(text)) == names.split()


def test_the_first_of_very_many_is_there_at_once() -> None:
    assert next(hosts("a[0-9]b[0000-9999]c[0000-9999]")) == "a0b0000c0000"
    assert len(list(itertools.islice(hosts("n[0-999]"), 2000))) == 1000


@pytest.mark.parametrize("text", ["", ",", "n[1-2", "n]", "n[]", "n[a-b]", "n[1-2-3]", "a,,b", "n[1[2]]"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="node list"):
        list(hosts(text))
