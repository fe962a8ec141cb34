"""Rules of averaging other than the mean, in real runs: the same bits whoever computes, and an account."""

import pytest

from processes import jobs
from processes.world import events


@pytest.mark.parametrize(
    ("rule", "more"),
    [(("multi-krum", "faulty=1"), ()), (("trimmed-mean", "faulty=2"), ("--servers", 2))],
    ids=["whole vectors", "two servers"],
)
def test_the_number_of_workers_and_their_way_change_no_bit_and_the_run_is_computed_again(world, rule, more):
    name, field = rule
    sets = (f"--set=rule={name}", f"--set=rule.{field}")
    alone = world.record(workers=1, flags=(*sets, "--transport", "tcp"))
    kept = world.folder / "kept"
    record = world.record(workers=3, flags=(*sets, *more, "--checkpoint", kept))
    assert record["weights_sha256"] == alone["weights_sha256"]
    (told,) = events(record, "rule")
    assert f"the rule {name} withstands" in told["text"]
    code, said = world.run("ps-server", "verify", kept, "--replay", "job.py")
    assert code == 0, said
    assert "verified: 12 rounds, 72 units, 960 samples, each exactly once" in said
    assert "computed again: 72 units and the weights have the same bits" in said


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--set=rule=krum", "--workers", 5), "one worker makes up to 2 of them: take --workers 6 or more"),
        (("--set=rule=krum", "--shards", 4, "--workers", 4), "of 5 or more, and a round has 4"),
        (("--set=rule=krum", "--workers", 6, "--servers", 2), "take --servers 1, or the rule median or"),
        (("--set=rule=median", "--set=quorum=0.9"), "rule median goes with a quorum of 1, not 0.9"),
    ],
)
def test_what_a_rule_cannot_withstand_is_said_before_anyone_waits(world, flags, told):
    code, said = world.run("ps-server", world.job(jobs.PLAIN), "--bind", "tcp://127.0.0.1:0", *flags)
    assert (code, told in said) == (2, True), said
