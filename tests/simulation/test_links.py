"""Links: what they carry takes its time, waits its turn, and is shared by those who send."""

import pytest

from paramserver.simulation.frames import Frames
from paramserver.simulation.links import Link, Links
from paramserver.simulation.network import LEAST_BYTES, ON_THE_WIRE, Network, Weather
from paramserver.simulation.world import World


def begun_at(world: World, link: Link, messages: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Who was first on the link, and when, of messages (flow, seconds) that are sent at once."""
    start, begun = world.now, []
    for flow, seconds in messages:
        link.send(
            flow, 0, seconds, lambda _, flow=flow: begun.append((flow, pytest.approx(world.now - start)))
        )
    world.let_pass(1000.0)
    return begun


def test_messages_of_one_flow_go_one_after_the_other_in_order():
    world = World(1)
    link = Link(world)
    assert begun_at(world, link, [("a", 3.0), ("a", 1.0), ("a", 2.0)]) == [("a", 0.0), ("a", 3.0), ("a", 4.0)]
    assert link.busy_s == pytest.approx(6.0)
    assert link.is_idle


def test_flows_have_equal_shares_whatever_the_length_of_their_queues():
    world = World(1)
    begun = begun_at(world, Link(world), [*[("long", 1.0)] * 6, *[("short", 1.0)] * 2])
    assert [flow for flow, _ in begun][:4] == ["long", "long", "short", "long"]


def test_a_short_message_of_a_quiet_flow_does_not_wait_for_a_queue():
    world = World(1)
    begun = begun_at(world, Link(world), [*[("weights", 1.0)] * 50, ("heartbeat", 0.001)])
    assert begun[1] == ("heartbeat", 1.0)


def test_a_link_that_was_idle_owes_nobody_anything():
    world = World(1)
    link = Link(world)
    begun_at(world, link, [("a", 1.0)] * 5)
    assert [flow for flow, _ in begun_at(world, link, [("b", 1.0), ("a", 1.0), ("b", 1.0)])] == [
        "b",
        "a",
        "b",
    ]


class Arrivals:
    """A network of hosts with links of `bandwidth`, and when what arrived where."""

    def __init__(self, bandwidths: dict[bytes, float], **weather: float) -> None:
        self.world = World(2)
        self.network = Network(self.world, Weather(latency_s=0.5, **weather))
        self.start, self.seen = self.world.now, []
        for address, bandwidth in bandwidths.items():
            self.network.attach(address, self.taker(address), Links(self.world, bandwidth))

    def taker(self, address: bytes):
        def take(sender: bytes, frames: Frames) -> None:
            self.seen.append((address, frames[0], self.world.now - self.start))

        return take

    def send(self, source: bytes, target: bytes, nbytes: int, name: bytes = b"") -> None:
        self.network.send(source, target, [name, bytes(nbytes)])

    def all(self) -> list[tuple[bytes, bytes, float]]:
        self.world.let_pass(1e6)
        return self.seen


def seconds(nbytes: int, bandwidth: float, header: int = 0) -> float:
    return (LEAST_BYTES + (nbytes + header) * ON_THE_WIRE) / bandwidth


def test_a_message_takes_latency_and_its_bytes_once_on_two_links_alike():
    net = Arrivals({b"a": 1000.0, b"b": 1000.0})
    net.send(b"a", b"b", 5000)
    ((_, _, at),) = net.all()
    assert at == pytest.approx(0.5 + seconds(5000, 1000.0))


@pytest.mark.parametrize("bandwidths", [(1000.0, 250.0), (250.0, 1000.0)])
def test_the_slower_of_two_links_counts(bandwidths):
    net = Arrivals(dict(zip([b"a", b"b"], bandwidths, strict=True)))
    net.send(b"a", b"b", 5000)
    ((_, _, at),) = net.all()
    assert at == pytest.approx(0.5 + seconds(5000, 250.0))


def test_all_who_send_to_one_host_share_its_link():
    net = Arrivals({b"m": 1000.0, b"1": 1000.0, b"2": 1000.0, b"3": 1000.0})
    for sender in (b"1", b"2", b"3"):
        net.send(sender, b"m", 5000)
    assert max(at for *_, at in net.all()) == pytest.approx(0.5 + 3 * seconds(5000, 1000.0))


def test_the_two_ways_of_a_link_do_not_share_it():
    net = Arrivals({b"a": 1000.0, b"b": 1000.0})
    net.send(b"a", b"b", 5000)
    net.send(b"b", b"a", 5000)
    assert max(at for *_, at in net.all()) == pytest.approx(0.5 + seconds(5000, 1000.0))


def test_within_one_host_no_link_is_used():
    net = Arrivals({b"a": 1000.0})
    links = net.network._links[b"a"]
    net.network.attach(b"b", net.taker(b"b"), links)
    net.send(b"a", b"b", 5000)
    ((_, _, at),) = net.all()
    assert at == pytest.approx(0.5)
    assert links.out.carried == 0


def test_bad_weather_limits_every_link_and_messages_stay_in_order_when_it_ends():
    net = Arrivals({b"a": 1e9, b"b": 1e9}, bandwidth=100.0)
    for name in (b"1", b"2", b"3"):
        net.send(b"a", b"b", 500, name)
    net.world.let_pass(3.0)
    net.network.weather = Weather(latency_s=0.0)
    net.send(b"a", b"b", 500, b"4")
    seen = net.all()
    assert [name for _, name, _ in seen] == [b"1", b"2", b"3", b"4"]
    assert seen[2][2] == pytest.approx(0.5 + 3 * seconds(500, 100.0, 1))


def test_payload_stands_for_as_many_bytes_as_the_scale_says():
    net = Arrivals({b"a": 1000.0, b"b": 1000.0})
    net.network.scale = 10
    net.send(b"a", b"b", 500)
    ((_, _, at),) = net.all()
    assert at == pytest.approx(0.5 + seconds(5000, 1000.0))
