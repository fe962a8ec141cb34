"""Who is in the run."""

import dataclasses

import pytest

from paramserver.members import GONE_MAX, HEARTBEATS_MAX, LAST_WORDS_S, NAME_MAX, Members
from ps_common import messages as m
from ps_common.wire import decode, encode

JOIN = m.Join(m.PROTOCOL, "", "host", 12, "cpu", "", "numpy 2")


def join(name: str) -> m.Join:
    return dataclasses.replace(JOIN, name=name)


def names(*wishes: str) -> list[str]:
    members = Members()
    return [members.add(bytes([i]), join(wish), 0.0).name for i, wish in enumerate(wishes)]


def test_members_are_told_apart_by_name():
    assert names("", "", "gpu", "gpu", "gpu", "") == [
        "worker-1",
        "worker-2",
        "gpu",
        "gpu-2",
        "gpu-3",
        "worker-3",
    ]


def test_a_number_that_somebody_wished_for_is_not_given_again():
    assert names("gpu-2", "gpu", "gpu", "worker-1", "") == ["gpu-2", "gpu", "gpu-3", "worker-1", "worker-2"]


def test_a_name_is_free_again_when_its_member_is_gone():
    members = Members()
    first, second = (members.add(sender, join(""), 0.0) for sender in (b"1", b"2"))
    members.remove(first)
    assert members.add(b"3", join(""), 0.0).name == "worker-1"
    assert members.add(b"4", join(""), 0.0).name == "worker-3"
    assert second.name == "worker-2"


def test_ten_thousand_workers_have_ten_thousand_names():
    members = Members()
    for i in range(10_000):
        members.add(str(i).encode(), join(""), 0.0)
    assert {member.name for member in members} == {f"worker-{i + 1}" for i in range(10_000)}


@pytest.mark.parametrize("wish", ["x" * 256, "\x1b[2Jgpu\n", "\0\n", "ünï", "😀" * 100])
def test_any_name_a_worker_may_wish_for_can_be_said_to_it_and_printed(wish):
    members = Members()
    for sender in range(3):
        name = members.add(bytes([sender]), join(wish), 0.0).name
        assert name.isprintable()
        assert 0 < len(name) <= NAME_MAX + 8
        welcome = m.Welcome(name, "run", 1, None, 1.0, 1.0, 64, 1, 1)
        assert decode([encode(welcome)]) == welcome


def test_a_sender_is_a_member_until_it_is_removed():
    members = Members()
    member = members.add(b"a", JOIN, 5.0)
    assert (members.get(b"a"), members.get(b"b"), len(members), list(members)) == (member, None, 1, [member])
    assert (member.seen_at, member.version, member.is_ready) == (5.0, -1, False)
    members.remove(member)
    assert (members.get(b"a"), len(members), list(members), list(members.gone)) == (None, 0, [], [member])


def test_the_lost_are_the_silent_and_those_whose_process_has_ended_a_moment_ago():
    members = Members()
    for i in range(3):
        members.add(bytes([i]), JOIN, float(i))
    assert [(member.sender, why) for member, why in members.lost(3.0, 2.5)] == [
        (b"\0", "not heard of for 3.0 s")
    ]
    assert members.lost(2.0, 2.5) == []
    members.get(b"\2").ended_at = 2.0
    assert members.lost(2.0 + LAST_WORDS_S / 2, 2.5) == [], "what it sent last may still be on its way"
    assert [(member.sender, why) for member, why in members.lost(2.0 + LAST_WORDS_S, 2.5)] == [
        (b"\2", "its process 12 has ended")
    ]


def test_who_was_told_to_beat_more_seldom_may_be_silent_for_longer():
    members = Members()
    for sender in (b"a", b"b"):
        members.add(sender, JOIN, 0.0)
    members.get(b"b").stretch = 3.0
    assert [member.sender for member, _ in members.lost(2.1, 2.0)] == [b"a"]
    assert [member.sender for member, _ in members.lost(6.0, 2.0)] == [b"a"]
    assert [member.sender for member, _ in members.lost(6.1, 2.0)] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("count", "usual_s"), [(1, 0.5), (900, 0.5), (1500, 0.5), (1500, 5.0), (10_000, 0.5)]
)
def test_all_heartbeats_together_are_not_too_many_and_of_few_members_as_many_as_usual(count, usual_s):
    members = Members()
    for i in range(count):
        members.add(str(i).encode(), JOIN, 0.0)
    interval_s = usual_s * members.stretch(usual_s)
    assert interval_s >= usual_s
    assert count / interval_s <= HEARTBEATS_MAX * (1 + 1e-9)
    assert interval_s == usual_s or count / interval_s == pytest.approx(HEARTBEATS_MAX)


def test_the_record_has_everyone_who_was_ever_here_and_their_times():
    members = Members()
    gone, here = members.add(b"a", join("a"), 0.0), members.add(b"b", join("b"), 0.0)
    for _ in range(2):
        gone.count_times(m.Push(1, 8, {}, None, 0.5, 0.25, 0.125))
    members.remove(gone)
    here.units = 3
    first, second = members.records()
    assert first == {
        "name": "a", "host": "host", "pid": 12, "device": "cpu", "units": 0, "units_outrun": 0, "samples": 0,
        "transport": None, "rejections": 0,
        "compute_seconds": 1.0, "wait_seconds": 0.5, "transfer_seconds": 0.25,
    }  # fmt: skip
    assert (second["name"], second["units"]) == ("b", 3)


def test_whoever_joins_and_leaves_all_the_time_does_not_fill_memory():
    members = Members()
    for _ in range(GONE_MAX + 5):
        members.remove(members.add(b"a", JOIN, 0.0))
    assert len(members.records()) == GONE_MAX
