"""One of four real workers brings NaN, whichever way its weights go: no bit changes, and it is out."""

import os
from pathlib import Path

import pytest

from processes import jobs
from processes.conftest import digests, undisturbed, world  # noqa: F401
from processes.world import World, events

# Nobody races a unit of such a job, or an honest worker might be faster each time; SGD has no state.
JOB = jobs.GATED.replace("epochs=4", 'epochs=4, optimizer_state="local"')
# Held after three units: the first round is closed by then, and the run goes on until all have heard.
JOB = JOB.replace(f"steps >= {jobs.HOLD_AT}", "steps >= 7")
POISON = Path(__file__).with_name("poison")
WAYS = [("--transport", "tcp"), ("--servers", 2), ("--reject-outliers",)]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way)))
def test_a_worker_that_brings_nan_is_told_named_and_out_and_changes_no_bit(
    world: World,  # noqa: F811
    undisturbed,  # type: ignore[no-untyped-def]  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    way: tuple[object, ...],
) -> None:
    flags = (*way, "--begin-with", 4, "--strikes", 1)  # so it has a unit in the first round, and is out then
    world.hold()
    with world.cluster(JOB, 0, flags) as cluster:
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", os.pathsep.join([str(POISON), os.environ.get("PYTHONPATH", "")]))
            patch.setenv("POISON", "nan")
            bad = cluster.start_worker("--name", "nan")
        for number in range(3):
            cluster.start_worker("--name", f"honest-{number}")
        assert bad.process.wait(60) == 77
        world.release()
        record = cluster.wait(60)
        said = (cluster.folder / "worker-0.log").read_text()
    assert record["status"] == "finished"
    assert record["weights_sha256"] == undisturbed(JOB)
    assert {(one["kind"], one["worker"]) for one in record["rejections"]} == {("not-finite", "nan")}
    assert [event["worker"] for event in events(record, "quarantine")] == ["nan"]
    assert "the master refused (not-finite; 0 of 1 strikes)" in said
    assert "quarantined after 1 strikes" in said
