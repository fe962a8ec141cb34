"""What a simulated cluster takes obeys the arithmetic of what it is made of."""

import dataclasses

import pytest

from paramserver.settings import Settings
from paramserver.simulation.bottleneck import bottleneck_of
from paramserver.simulation.hardware import FREE, MEASURED, Costs
from paramserver.simulation.network import ON_THE_WIRE
from paramserver.simulation.prediction import (
    MASTER_CPU,
    MASTER_IN,
    MASTER_OUT,
    SERVERS_CPU,
    SERVERS_IN,
    SERVERS_OUT,
    WORKERS,
    Answer,
    Question,
    predict,
)
from paramserver.simulation.small import scale_for, small_layout, small_settings
from ps_common.layout import Entry, Layout
from ps_common.plan import Plan
from simulation.jobs import counting_case

STEPS = 3
GIGABIT = 125e6


def question(
    workers: int = 4,
    servers: int = 1,
    parameters: int = 10_000_000,
    step_s: float = 0.001,
    bandwidth: float = GIGABIT,
    costs: Costs = FREE,
    **more: float,
) -> Question:
    plan = Plan(shards=workers, batch_size=1, local_steps=STEPS, epochs=10, data="shared")
    job = counting_case(plan, 1, workers * STEPS).description
    layout = Layout([Entry("w", (parameters,))])
    given = {"latency_s": 5e-5, "rounds": 3, **more}
    return Question(job, layout, workers, servers, bandwidth, step_s=step_s, costs=costs, **given)


def one_way_s(asked: Question) -> float:
    """What the contributions of all workers take on the busiest link, one way."""
    nbytes = asked.layout.nbytes * ON_THE_WIRE
    return asked.workers * nbytes / asked.servers / asked.bandwidth


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_a_link_bound_round_takes_what_the_masters_link_takes(workers):
    """Averaged chunks go out while others still come in, so both ways take their time at once."""
    asked = question(workers)
    answer = predict(asked)
    least_s = one_way_s(asked)
    assert answer.median_s >= least_s
    assert answer.median_s <= 1.25 * least_s + STEPS * asked.step_s
    assert {MASTER_IN, MASTER_OUT} >= set(bottleneck_of(answer.busy).names)
    assert answer.busy[MASTER_IN] > 0.75


def test_a_compute_bound_round_takes_its_steps():
    asked = question(parameters=1000, step_s=0.5)
    answer = predict(asked)
    assert STEPS * asked.step_s < answer.median_s < 1.01 * STEPS * asked.step_s
    assert bottleneck_of(answer.busy).names == (WORKERS,)
    assert answer.samples_per_s == pytest.approx(asked.workers * STEPS / answer.median_s, rel=0.01)


def test_twice_the_servers_halve_a_link_bound_round():
    seconds = {servers: predict(question(8, servers)).median_s for servers in (2, 4)}
    assert seconds[4] / seconds[2] == pytest.approx(0.5, rel=0.25)


def test_with_servers_it_is_their_links_that_count():
    asked = question(8, 2)
    answer = predict(asked)
    assert answer.median_s >= one_way_s(asked)
    assert set(bottleneck_of(answer.busy).names) <= {SERVERS_IN, SERVERS_OUT}
    assert answer.busy[MASTER_OUT] < 0.1


def test_twice_the_bandwidth_halves_a_link_bound_round():
    seconds = [predict(question(bandwidth=rate)).median_s for rate in (GIGABIT, 2 * GIGABIT)]
    assert seconds[1] / seconds[0] == pytest.approx(0.5, rel=0.1)


def test_a_round_takes_at_least_its_round_trips():
    asked = question(parameters=1000, latency_s=0.1)
    assert predict(asked).median_s >= 2 * asked.latency_s + STEPS * asked.step_s


def test_where_messages_cost_more_than_links_carry_the_masters_cpu_is_it():
    asked = question(8, bandwidth=1e12, costs=dataclasses.replace(FREE, summed_byte_s=1e-9))
    answer = predict(asked)
    assert answer.median_s >= asked.workers * asked.layout.nbytes * 1e-9
    assert bottleneck_of(answer.busy).names == (MASTER_CPU,)


def test_more_averaging_servers_are_no_help_to_a_master_that_has_too_much_to_tell_them():
    assert "averaging servers (--servers K)" in bottleneck_of({MASTER_CPU: 0.9}).advice
    told = bottleneck_of({MASTER_CPU: 0.9, SERVERS_CPU: 0.2}).advice
    assert told.startswith("fewer averaging servers, ")
    in_turns = bottleneck_of({MASTER_CPU: 0.4, SERVERS_CPU: 0.2, WORKERS: 0.5})
    assert in_turns.names == (WORKERS, MASTER_CPU)
    assert "For master's CPU: fewer averaging servers" in in_turns.advice


def test_workers_of_one_host_share_its_link_and_its_cores():
    apart = predict(question(8, 4, bandwidth=GIGABIT))
    together = predict(question(8, 4, bandwidth=GIGABIT, workers_per_host=8))
    assert together.median_s > 2 * apart.median_s
    alone = predict(question(4, parameters=1000, step_s=0.1))
    crowded = predict(question(4, parameters=1000, step_s=0.1, workers_per_host=4, cores=2))
    assert crowded.median_s == pytest.approx(2 * alone.median_s, rel=0.05)


def test_the_same_seed_is_the_same_prediction_and_every_round_takes_time():
    asked = question(5, 2, costs=MEASURED)
    one, other = predict(asked), predict(asked)
    assert one == other
    assert len(one.round_s) == 3
    assert min(one.round_s) > 0
    assert one.lost == 0


@pytest.mark.parametrize("servers", [1, 16])
@pytest.mark.parametrize("parameters", [1, 1000, 262_144, 262_145, 10_000_000])
def test_on_a_small_scale_there_are_as_many_chunks_and_bytes(servers, parameters):
    layout = Layout([Entry("w", (parameters,)), Entry("s", (2 * parameters,), "float64", "slot")])
    settings = Settings()
    scale = scale_for(layout, settings, servers)
    small, changed = small_layout(layout, scale), small_settings(settings, scale)
    chunks, large = small.chunks(changed.chunk_bytes), layout.chunks(settings.chunk_bytes)
    assert len(chunks) == len(large)
    sent, sent_outside = (sum(span.nbytes for span in spans) for spans in (chunks, large))
    assert sent * scale == pytest.approx(sent_outside, rel=0.02)
    assert changed.chunk_bytes * scale == settings.chunk_bytes


def test_as_many_servers_as_there_are_on_a_large_cluster():
    assert predict(question(3, 32, rounds=1)).median_s > 0


def test_quantiles_of_rounds():
    answer = Answer(tuple(range(1, 101)), 10, {}, 0.0, 0)
    assert (answer.median_s, answer.p95_s) == (50.5, 95)
    assert Answer((2.0,), 10, {}, 0.0, 0).p95_s == 2.0
    assert Answer((1.0, 4.0), 10, {}, 0.0, 0).samples_per_s == 4.0
