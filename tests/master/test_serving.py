"""Beyond this machine a server listens only with keys, or where a person insists."""

from pathlib import Path

import pytest

from paramserver.serving import Serving, placed
from ps_common import interfaces
from ps_common.errors import UsageError

OPEN = "tcp://0.0.0.0:0"


def test_without_keys_a_bind_beyond_loopback_is_refused_with_both_ways_out():
    with pytest.raises(UsageError) as refused:
        Serving(bind=OPEN)
    for part in ("ps-keys new worker-1", "--keys keys", "--insecure"):
        assert part in str(refused.value)


def test_with_keys_it_is_not_open_and_with_insecure_it_is():
    assert not Serving(bind=OPEN, keys=Path("keys")).is_open
    assert Serving(bind=OPEN, insecure=True).is_open
    assert not Serving(bind="tcp://127.0.0.1:0", insecure=True).is_open


HERE = "tcp://127.0.0.1:5555"


def test_workers_are_told_the_advertised_address_and_at_port_0_the_port_that_was_taken():
    assert Serving(bind=HERE).address_at(HERE) == HERE
    assert Serving(bind=HERE, advertise="tcp://node1:6000").address_at(HERE) == "tcp://node1:6000"
    assert Serving(bind=HERE, advertise="tcp://node1:0").address_at(HERE) == "tcp://node1:5555"


@pytest.mark.parametrize("advertise", ["node1:6000", "tcp://node1", "tcp://0.0.0.0:6000", "tcp://*:6000"])
def test_what_nobody_can_call_is_not_advertised(advertise):
    with pytest.raises(UsageError, match="--advertise must look like"):
        Serving(bind=HERE, advertise=advertise)


def test_behind_another_port_there_are_no_averaging_servers_that_nobody_reaches():
    mapped = "tcp://203.0.113.7:6000"
    with pytest.raises(UsageError, match=r"not the ports of the 2 averaging servers .* say --servers 1"):
        Serving(bind=HERE, advertise=mapped, averagers=2)
    Serving(bind=HERE, advertise=mapped)
    Serving(bind=HERE, advertise=mapped, servers=("tcp://203.0.113.7:6001", "tcp://203.0.113.7:6002"))
    Serving(bind=HERE, advertise="tcp://203.0.113.7:5555", averagers=2)
    Serving(bind=HERE, advertise="tcp://127.0.0.1:6000", averagers=2)  # passed on here: they are reached, too


def test_a_network_card_is_bound_or_where_all_are_bound_advertised(monkeypatch):
    monkeypatch.setattr(interfaces, "address_of", {"eth1": "10.0.0.7", "ib0": "fd00::7"}.__getitem__)
    assert placed(HERE, None, None) == (HERE, None)
    assert placed(HERE, None, "eth1") == ("tcp://10.0.0.7:5555", None)
    assert placed("tcp://0.0.0.0:0", None, "eth1") == ("tcp://0.0.0.0:0", "tcp://10.0.0.7:0")
    assert placed("tcp://[::]:5555", None, "ib0") == ("tcp://[::]:5555", "tcp://[fd00::7]:5555")
    assert placed("tcp://*:0", "tcp://node1:6000", "eth1") == ("tcp://*:0", "tcp://node1:6000")
    assert placed("tcp://10.0.0.7:0", None, "eth1") == ("tcp://10.0.0.7:0", None)
    with pytest.raises(UsageError, match=r"is not at the network card eth1, which has 10\.0\.0\.7"):
        placed("tcp://10.0.0.8:0", None, "eth1")
