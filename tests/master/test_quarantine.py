"""Strikes: how many are too many, for how long they count, and what is counted."""

from paramserver.quarantine import PEERS_MAX, STRANGERS, STRIKES_LAST_S, Quarantine


def test_the_last_strike_is_one_too_many_and_says_why():
    quarantine = Quarantine(3)
    assert [quarantine.strike("w1", f"mistake {i}", 10.0 + i) for i in range(4)] == [
        False,
        False,
        True,
        False,
    ]
    assert quarantine.why_out("w1") == "3 strikes, the last of them: mistake 2"
    assert quarantine.why_out("w2") == ""


def test_strikes_are_of_one_peer():
    quarantine = Quarantine(2)
    assert not quarantine.strike("w1", "", 0.0)
    assert not quarantine.strike(b"w1", "", 0.0)
    assert quarantine.strikes("w1", 0.0) == quarantine.strikes(b"w1", 0.0) == 1


def test_what_happens_now_and_then_does_not_add_up():
    quarantine = Quarantine(3)
    assert not any(quarantine.strike("w1", "", i * STRIKES_LAST_S / 2) for i in range(100))
    assert quarantine.strikes("w1", 49.5 * STRIKES_LAST_S) == 2
    assert quarantine.strikes("w1", 60 * STRIKES_LAST_S) == 0


def test_refusals_are_counted_by_kind_and_worker():
    quarantine = Quarantine(3)
    assert [quarantine.count("sums", "w2"), quarantine.count("sums", "w2")] == [1, 2]
    quarantine.count("checksum", "w1")
    assert quarantine.records() == [
        {"kind": "checksum", "worker": "w1", "count": 1},
        {"kind": "sums", "worker": "w2", "count": 2},
    ]


def test_ever_new_peers_do_not_fill_memory():
    quarantine = Quarantine(1)
    for i in range(PEERS_MAX + 100):
        quarantine.count("sums", f"w{i}")
        quarantine.strike(f"w{i}", "", 0.0)
    assert len(quarantine.records()) <= PEERS_MAX + 1
    assert {"kind": "sums", "worker": STRANGERS, "count": 100} in quarantine.records()
    assert len(quarantine._strikes) == len(quarantine._out) == PEERS_MAX
