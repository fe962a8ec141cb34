"""Verifying a checkpoint: whatever was changed is found, and named."""

import dataclasses
import json
import os
import re

import numpy as np
import pytest
import xxhash

from paramserver import checkpoint
from paramserver.accounting import refused
from paramserver.cli.verify import cli
from paramserver.effects import Contribution, Position
from paramserver.verify import Refusals, find, verify
from ps_common import command, weights_file
from ps_common.errors import CheckpointError, NotFinite, WrongSamples
from support_ledgers import Forger, Start, averaged, run_with_two_starts, snapshot


@pytest.fixture
def path(tmp_path):
    return run_with_two_starts(tmp_path)


def segments(path):
    return sorted(path.parent.glob("ledger-*"))


def test_an_honest_run_is_verified(path):
    for version, rounds in ((7, 2), (4, None), (2, 0)):
        verified = verify(path.with_name(checkpoint.name_of(version)), rounds)
        wanted = range(1, version + 1)[version - rounds :] if rounds is not None else range(1, version + 1)
        assert verified.rounds == tuple(averaged(one) for one in wanted)
        assert verified.snapshot.version == version
        assert verified.weights == weights_file.vector_digest(
            verified.snapshot.layout, verified.snapshot.vector
        )
    assert [segment.header.term for segment in verify(path).segments] == [1, 2]


NAN = Contribution(0, 1, "mallory", "cd" * 16, 4, "", refused(NotFinite("w: 3 values are NaN")))
SHORT = dataclasses.replace(NAN, verdict=refused(WrongSamples("4 samples, and its unit has \x1b[2J7")))


def run_with_refusals(folder):
    start = Start(folder)
    start.save()
    start.average(2, NAN, NAN).average(3, SHORT).average(4, dataclasses.replace(NAN, worker="other"))
    path = start.save()
    start.end()
    return path


def test_whose_contributions_were_refused_is_told_and_nothing_else_is_changed_by_them(tmp_path):
    verified = verify(run_with_refusals(tmp_path))
    assert verified.refused == (
        Refusals("mallory", "not-finite", 4, 2, "w: 3 values are NaN"),
        Refusals("mallory", "samples", 1, 3, "4 samples, and its unit has \x1b[2J7"),
        Refusals("other", "not-finite", 1, 4, "w: 3 values are NaN"),
    )
    assert verified.units == sum(len(averaged(version).units) for version in range(1, 5))


def test_a_person_is_told_whose_contributions_were_refused_how_often_and_why(tmp_path, capsys):
    path = run_with_refusals(tmp_path)
    record = tmp_path / "verified.json"
    assert command.run(cli, "ps-server verify", [str(path), "--rounds", "0", "--json", str(record)]) == 0
    said = capsys.readouterr().out
    rows = [re.split(r" *│ *", line)[1:-1] for line in said.splitlines() if line.startswith("│")]
    assert rows == [
        ["mallory", "not-finite", "4", "2", "w: 3 values are NaN"],
        ["mallory", "samples", "1", "3", "4 samples, and its unit has �[2J7"],
        ["other", "not-finite", "1", "4", "w: 3 values are NaN"],
    ]
    assert "refused: 6 contributions, of which nothing is in the weights\nverified: 4 rounds" in said
    first = json.loads(record.read_text())["refused"][0]
    assert (first["worker"], first["kind"], first["times"]) == ("mallory", "not-finite", 4)


def test_a_run_in_which_nothing_was_refused_says_nothing_of_it(path, capsys):
    assert verify(path).refused == ()
    assert command.run(cli, "ps-server verify", [str(path)]) == 0
    assert "refused" not in capsys.readouterr().out


def test_a_folder_is_its_newest_valid_checkpoint(path):
    damaged = path.with_name(checkpoint.name_of(9))
    damaged.write_bytes(b"damaged")
    skipped = []
    assert find(path.parent, skipped.append) == path
    assert str(damaged) in skipped[0]
    assert find(path, pytest.fail) == path


def test_a_folder_of_none_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="holds no valid checkpoint"):
        find(tmp_path, pytest.fail)


def test_a_checkpoint_without_a_ledger_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="has no ledger"):
        verify(checkpoint.write(tmp_path, snapshot(3)))


def test_one_of_a_version_without_ledgers_is_read_and_told(tmp_path):
    given = snapshot(3)
    names = [f.name for f in dataclasses.fields(given) if f.name not in ("layout", "vector", "ledger")]
    path = tmp_path / checkpoint.name_of(3)
    weights_file.write(path, given.layout, given.vector, {name: getattr(given, name) for name in names})
    assert checkpoint.read(path).ledger is None
    with pytest.raises(CheckpointError, match="has no ledger"):
        verify(path)


# -- bytes that were changed ------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1])
def test_any_byte_that_was_changed_is_found_and_the_file_named(path, which):
    file = segments(path)[which]
    data = file.read_bytes()
    for at in range(0, len(data), 7):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(CheckpointError) as caught:
            verify(path)
        assert file.name in str(caught.value), at
    file.write_bytes(data)
    verify(path)


def test_a_changed_byte_is_named_between_the_commits_around_it(path):
    file = segments(path)[0]
    data = file.read_bytes()
    at = data.index(b'{"version":3')
    file.write_bytes(data[: at + 30] + b"~" + data[at + 31 :])
    good, bad = (data.index(b"\n", data.index(b'{"commit":%d' % n)) + 1 for n in (2, 4))
    with pytest.raises(CheckpointError, match=f"chain digest is wrong between bytes {good:,} and {bad:,}"):
        verify(path)


def lines_of(file):
    return file.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda lines: lines[:2] + lines[3:], id="removed"),
        pytest.param(lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], id="swapped"),
        pytest.param(lambda lines: [*lines[:3], lines[2], *lines[3:]], id="twice"),
        pytest.param(lambda lines: [*lines[:3], b"\n", *lines[3:]], id="empty"),
    ],
)
def test_lines_that_were_changed_are_found(path, change):
    file = segments(path)[1]
    file.write_bytes(b"".join(change(lines_of(file))))
    with pytest.raises(CheckpointError, match=f"{file.name} is (not what was committed|cut short)"):
        verify(path)


@pytest.mark.parametrize("which", [0, 1])
def test_a_segment_that_is_missing_is_named(path, which):
    file = segments(path)[which]
    file.unlink()
    with pytest.raises(CheckpointError, match=f"{file.name} is missing"):
        verify(path)


@pytest.mark.parametrize("which", [0, 1])
def test_a_segment_that_was_cut_short_is_named_with_its_bytes(path, which):
    file = segments(path)[which]
    size = file.stat().st_size
    os.truncate(file, size - 1)
    with pytest.raises(
        CheckpointError, match=f"{file.name} is cut short: it has {size - 1:,} bytes, and {size:,}"
    ):
        verify(path)


def test_what_stands_behind_the_position_is_void(path):
    for file in segments(path):
        file.write_bytes(file.read_bytes() + b"half a li")
    verify(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nbytes": 10**12}, "is cut short"),
        ({"nbytes": 1}, "is not what was committed"),
        ({"chain": "0" * 32}, "is not what was committed"),
        ({"segment": "ledger-run-0000000002-00000000.jsonl"}, "is missing"),
    ],
)
def test_a_position_that_is_none_is_found(path, change, told):
    kept = checkpoint.read(path)
    checkpoint.write(
        path.parent, dataclasses.replace(kept, ledger=dataclasses.replace(kept.ledger, **change))
    )
    with pytest.raises(CheckpointError, match=told):
        verify(path)


@pytest.mark.parametrize(
    "plain",
    [3, {}, {"segment": "../x", "nbytes": 1, "chain": ""}, {"segment": "x", "nbytes": True, "chain": 0}],
)
def test_a_position_of_another_make_is_no_checkpoint(path, plain):
    layout, vector, meaning = weights_file.read(path)
    weights_file.write(path, layout, vector, {**meaning, "ledger": plain})
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        verify(path)


@pytest.mark.parametrize("nbytes", [0, -5])
def test_a_position_before_the_file_is_no_checkpoint(path, nbytes):
    kept = checkpoint.read(path)
    checkpoint.write(
        path.parent, dataclasses.replace(kept, ledger=dataclasses.replace(kept.ledger, nbytes=nbytes))
    )
    with pytest.raises(CheckpointError, match=r"a position has 1 byte or more|nbytes is"):
        verify(path)


def test_an_earlier_commit_is_not_that_of_later_weights(path):
    early, late = (checkpoint.read(path.with_name(checkpoint.name_of(version))) for version in (4, 7))
    checkpoint.write(path.parent, dataclasses.replace(late, ledger=early.ledger))
    with pytest.raises(CheckpointError, match="the ledger has 4 rounds, the checkpoint 7"):
        verify(path)


def test_weights_that_were_changed_are_found_though_the_file_is_whole(path):
    kept = checkpoint.read(path)
    vector = kept.vector.copy()
    kept.layout.views(vector)["w"][7] += np.float32(1e-3)
    checkpoint.write(path.parent, dataclasses.replace(kept, vector=vector))
    with pytest.raises(CheckpointError, match=r"has the weights \w{32}, its ledger committed \w{32}"):
        verify(path)


def test_a_damaged_checkpoint_is_told(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="is damaged: its checksum is"):
        verify(path)


# -- a forger who makes all digests right -----------------------------------------------------------------


def test_a_forger_who_changes_nothing_is_verified(path):
    Forger(path).write()
    verify(path)


def remove_round(forger):
    forger.segments[forger.names[0]].remove(forger.rounds(0)[2])


def swap_rounds(forger):
    first, second = forger.rounds(0)[:2]
    first["units"], second["units"] = second["units"], first["units"]
    first["version"], second["version"] = second["version"], first["version"]


def unit_twice(forger):
    forger.rounds()[1]["units"].append(forger.rounds()[0]["units"][0])


def unit_missing(forger):
    del forger.rounds()[0]["units"][1]


def last_unit_missing(forger):
    del forger.rounds()[-1]["units"][-1]


def other_samples(forger):
    forger.rounds(0)[1]["units"][2][4] += 1


def other_commit(forger):
    next(line for line in forger.segments[forger.names[0]] if line.get("commit") == 2)["commit"] = 1


def other_weights(forger):
    forger.segments[forger.names[1]][-1]["weights"] = "0" * 32


def weights_of_one_version_twice(forger):
    forger.segments[forger.names[1]][1]["weights"] = "0" * 32  # of version 4, which the segment before has


def no_last_commit(forger):
    forger.segments[forger.names[1]].pop()


def no_commit_between(forger):
    forger.segments[forger.names[0]].pop()


def other_term(forger):
    forger.segments[forger.names[0]][0]["term"] = 3


def other_last_term(forger):
    for name in forger.names:
        forger.segments[name][0]["term"] += 1


def other_run(forger):
    forger.segments[forger.names[0]][0]["run"] = "other"


def other_job(forger):
    forger.segments[forger.names[1]][0]["job_digest"] = "0" * 64


def forgotten_past(forger):
    forger.segments[forger.names[1]][0]["continues"] = None
    del forger.names[0]


def more_samples(forger):
    forger.snapshot = dataclasses.replace(forger.snapshot, samples=forger.snapshot.samples + 1)


def no_history(forger):
    forger.snapshot = dataclasses.replace(forger.snapshot, history=[])


def other_schedule(forger):
    plan = {**forger.snapshot.job["plan"], "batch_size": 5}
    forger.snapshot = dataclasses.replace(forger.snapshot, job={**forger.snapshot.job, "plan": plan})


def no_job(forger):
    forger.snapshot = dataclasses.replace(forger.snapshot, job={"seed": 3})


def nonsense(forger):
    forger.rounds()[0]["units"][0][0] = "zero"


def negative(forger):
    forger.rounds()[0]["units"][0][1] = -1


def too_few_values(forger):
    forger.rounds()[0]["units"][0].pop()


FORGERIES = {
    remove_round: "version 4 comes after version 2: 3 to 3 are missing",
    swap_rounds: "version 2 comes after version 0: 1 to 1 are missing",
    unit_twice: r"version 6 averages unit \(round 4, shard 0\) again: it was averaged in version 5",
    unit_missing: r"version 7 averages unit \(round 6, shard 0\) of epoch 3: unit \(round 4, shard 1\)",
    last_unit_missing: r"unit \(round 6, shard 2\) of epoch 3 was not averaged",
    other_samples: r"version 2: unit \(round 1, shard 2\) has 5 samples, the schedule says 4",
    other_commit: "version 1 is committed where version 2 was the last",
    other_weights: "its ledger committed 00000000",
    weights_of_one_version_twice: "version 4 is committed as 00000000.*, before as",
    no_last_commit: "is not behind a commit",
    no_commit_between: "is not behind a commit",
    other_term: "is of term 3, and term 2 continues it",
    other_last_term: "is of term 3, the checkpoint of term 2",
    other_run: "is of run other",
    other_job: "job 000000000000; the checkpoint is of run",
    forgotten_past: "the ledger begins at version 4: the rounds before were averaged without one",
    more_samples: "the ledger has 70 samples, the checkpoint 71",
    no_history: "the ledger has 2 complete epochs, the checkpoint 0",
    other_schedule: "describes a job of digest",
    no_job: "a job's description has the fields",
    nonsense: "this is no line of a ledger: round is 'zero'",
    negative: "this is no line of a ledger: shard is '-1'",
    too_few_values: "this is no line of a ledger: .*missing 1 required positional argument",
}


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_what_a_forger_says_is_held_against_the_schedule_and_the_weights(path, forge):
    forger = Forger(path)
    forge(forger)
    forger.write()
    with pytest.raises(CheckpointError, match=FORGERIES[forge]):
        verify(path)


def test_a_digest_in_the_last_line_that_is_wrong_is_found_though_the_position_has_the_right_one(path):
    forger = Forger(path)
    forger.segments[forger.names[-1]][-1]["chain"] = "0" * 32
    forger.is_careless = True
    forger.write()
    with pytest.raises(CheckpointError, match="its chain digest is wrong between"):
        verify(path)


def test_a_position_in_the_middle_of_a_line_is_found_though_its_digest_is_right(path):
    kept = checkpoint.read(path)
    (_, file) = segments(path)
    text = file.read_bytes()[: kept.ledger.nbytes - 1]
    before = Forger(path).segments[file.name][0]["continues"]["chain"]
    chain = xxhash.xxh3_128(before.encode() + text).hexdigest()
    checkpoint.write(path.parent, dataclasses.replace(kept, ledger=Position(file.name, len(text), chain)))
    with pytest.raises(CheckpointError, match=r"the ledger ends within a line"):
        verify(path)


def test_a_run_that_was_never_saved_before_it_ended_is_verified_at_its_beginning(tmp_path):
    start = Start(tmp_path)
    path = start.save()
    start.end()
    verified = verify(path)
    assert (verified.units, verified.snapshot.samples) == (0, 0)


def test_a_run_that_began_without_a_ledger_has_none_of_its_first_rounds(tmp_path):
    start = Start(tmp_path, snapshot(3))
    path = start.average(5).save()
    start.end()
    with pytest.raises(CheckpointError, match="the ledger begins at version 3"):
        verify(path)
