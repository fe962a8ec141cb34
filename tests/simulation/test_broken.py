"""For every promise, the recovery switched off by a switch of the tests turns its test red: all pairs.

Of each promise: the tests that show it, what is put in the place of a part of the product to break it, and
the tests that are red then, with what they see.

The same weights, bit for bit, for any number of workers, whoever computes a unit
    shown   processes/test_same_weights.py: test_the_number_of_workers_changes_no_bit
    switch  simulation/test_broken_order.py: train_more
    red     simulation/test_broken_order.py: test_a_unit_that_depends_on_who_computes_it_is_seen
            the weights are not the oracle's

The order in which contributions arrive does not matter, nor the way that they take
    shown   master/test_rounds.py: test_every_permutation_of_arrivals_gives_the_same_bits
    switch  simulation/test_broken_order.py: ByArrival, deliver
    red     simulation/test_broken_order.py: test_summing_in_the_order_of_arrival_is_seen,
            test_a_digest_that_depends_on_the_way_that_a_contribution_came_is_seen
            the weights are not the oracle's; a contribution has another digest than before

Every sample is counted once an epoch
    shown   processes/test_same_weights.py: test_every_sample_of_every_epoch_counts_once
            simulation/test_master_leases.py: test_a_late_twin_after_a_revocation_changes_nothing
    switch  simulation/test_broken_counting.py: count_anyway, LeavesOneOut
    red     simulation/test_broken_counting.py: test_counting_a_late_twin_is_seen,
            test_a_sample_that_is_not_counted_is_seen
            samples were counted another number of times, or the weights are not the oracle's

A worker killed, frozen or added in mid-run does not change the result: its unit is leased again
    shown   processes/test_worker_faults.py: test_sigkill_of_a_worker_is_told_by_the_kernel_and_changes_no_bit
            simulation/test_master_leases.py: test_a_dead_workers_unit_is_leased_again
    switch  simulation/test_broken_workers.py: Forgets
            processes/breaking/sitecustomize.py: loses_units
    red     simulation/test_broken_workers.py: test_not_leasing_a_dead_workers_unit_again_is_seen
            processes/test_broken_processes.py: test_a_recovery_that_is_switched_off_is_seen
            the run does not end

A worker that is gone is noticed: by its silence, and by the kernel where it is on the same machine
    shown   master/test_members.py:
            test_the_lost_are_the_silent_and_those_whose_process_has_ended_a_moment_ago
            processes/test_worker_faults.py: test_sigkill_of_a_worker_is_told_by_the_kernel_and_changes_no_bit
    switch  simulation/test_broken_workers.py: NeverLost, NotTold
            processes/breaking/sitecustomize.py: is_not_told
    red     simulation/test_broken_workers.py: test_not_noticing_a_dead_worker_is_seen,
            test_not_being_told_of_the_end_of_a_process_is_seen
            the run does not end; the master's log does not say it

What is said of a lease that has ended changes nothing
    shown   simulation/test_messages.py: test_a_message_that_comes_again_much_later_changes_nothing
            processes/test_worker_faults.py:
            test_a_worker_frozen_for_longer_than_its_silence_is_allowed_changes_no_bit
    switch  simulation/test_broken_workers.py: of_any_lease
    red     simulation/test_broken_workers.py:
            test_taking_what_is_said_of_a_former_lease_for_the_one_in_hand_is_seen
            contributions do not fit their units, or a version has other bits

A slow unit is raced by a spare worker; one of both counts
    shown   simulation/test_stragglers.py:
            test_one_of_four_at_a_tenth_of_the_speed_leaves_nine_tenths_of_the_rate,
            test_the_first_who_brings_a_raced_unit_is_counted_and_the_other_is_told
    switch  simulation/test_stragglers.py: NoRaces
            simulation/test_broken_workers.py: CountsBoth
    red     simulation/test_stragglers.py: test_without_races_the_slow_one_sets_the_pace
            simulation/test_broken_workers.py: test_counting_both_of_a_race_is_seen
            half of the rate is lost; more units are credited than were done

With a quorum a round is closed without the last units; they come later, each once, and none that has begun
    shown   simulation/test_quorum.py:
            test_what_is_left_out_is_averaged_later_in_the_epoch_and_every_unit_once,
            test_what_has_begun_to_come_is_not_left_out
            simulation/test_quorum_seeds.py: test_a_run_ends_and_adds_up
    switch  simulation/test_broken_quorum.py: close, note_nothing, NoQuorum
    red     simulation/test_broken_quorum.py: test_a_unit_that_was_left_out_and_never_comes_is_seen,
            test_leaving_out_what_has_begun_to_come_is_seen,
            test_waiting_for_the_slow_one_all_the_same_is_seen
            the ledger does not add up; a round refuses to lack what may be summed; no round lacks a unit

Below MIN workers nothing is leased
    shown   simulation/test_master_ends.py:
            test_below_the_least_number_of_workers_nothing_is_leased_until_there_are_enough_again
    switch  simulation/test_broken_workers.py: LeasesAnyway
    red     simulation/test_broken_workers.py: test_leasing_below_the_least_number_of_workers_is_seen
            the one that is left has leases

A killed master, started again, goes on from where it was, with its workers
    shown   processes/test_master_faults.py: test_sigkill_of_the_master_and_a_restart_changes_no_bit
            processes/test_master_strikes.py: test_sigkill_of_the_master_at_random_instants_changes_no_bit
    switch  simulation/test_broken_restart.py: SkipsARound, ForgetsTheSlots, Shuns
            processes/breaking/sitecustomize.py: forgets_samples, does_not_resume, stays_away
    red     simulation/test_broken_restart.py: test_a_restart_that_goes_on_from_elsewhere_is_seen,
            test_workers_that_are_not_taken_back_are_seen
            processes/test_broken_processes.py: test_a_recovery_that_is_switched_off_is_seen
            a version has other bits than before, samples are missing, or nobody is there and nothing goes on

A clock that steps changes nothing
    shown   simulation/test_clock.py: test_a_clock_that_steps_wakes_its_machine
    switch  simulation/test_broken_restart.py: unforgiving
    red     simulation/test_broken_restart.py:
            test_workers_that_are_taken_for_silent_after_a_step_of_the_clock_are_seen
            the run does not end

Nobody is sent home before the last checkpoint is safe
    shown   simulation/test_master_ends.py: test_nobody_is_sent_home_before_the_last_checkpoint_is_safe
    switch  simulation/test_broken_restart.py: SendsHomeAtOnce
    red     simulation/test_broken_restart.py:
            test_sending_workers_home_before_the_last_checkpoint_is_safe_is_seen
            the master that is started again waits for workers that have left

Who is killed is started again
    shown   processes/test_restarts.py: test_ps_local_starts_a_killed_worker_again
    switch  processes/breaking/sitecustomize.py: starts_nobody_again
    red     processes/test_broken_processes.py: test_a_recovery_that_is_switched_off_is_seen
            nothing says that it is started again

What was averaged stands in a ledger, committed with the weights, and can be verified
    shown   master/test_ledger.py: test_the_ledger_is_on_the_disk_before_the_checkpoint_that_names_it
            processes/test_verify.py:
            test_a_run_whose_master_and_workers_were_killed_is_verified_and_computed_again
    switch  simulation/test_broken_counting.py: KeepsSilent, CreditsAnother
            processes/breaking/sitecustomize.py: keeps_no_account
    red     simulation/test_broken_counting.py: test_a_round_that_the_ledger_lacks_is_seen,
            test_a_ledger_that_does_not_add_up_is_seen
            processes/test_broken_processes.py: test_a_ledger_that_lacks_what_was_averaged_is_seen
            a version is not in the ledger, or a unit is in it twice; `verify` ends with 65

Weights are those that the ledger names, and computed again they have the same bits
    shown   processes/test_verify.py:
            test_a_run_stopped_within_an_epoch_is_computed_again_from_there_and_from_an_older_one
    switch  support_ledgers.py: Forger
    red     master/test_verify.py: test_what_a_forger_says_is_held_against_the_schedule_and_the_weights
            processes/test_verify.py: test_what_was_really_averaged_otherwise_is_found_by_computing_it_again
            `verify`, and where everything fits `verify --replay`, says what is otherwise

Averaging servers killed, stopped or replaced by blank ones do not change the result
    shown   processes/test_servers.py: test_sigkill_of_servers_again_and_again_changes_no_bit
            simulation/test_servers.py: test_a_server_is_killed_again_and_again
    switch  simulation/test_broken_servers.py: GoesOn, KeepsTheOld, ServesTooSoon, KeepsWhatIsLost,
            CountsTwice, NeverGivesUp, LeavesThemWaiting
            processes/breaking/sitecustomize.py: does_not_miss_a_server
    red     simulation/test_broken_servers.py: test_a_server_that_does_not_begin_anew_is_seen,
            test_a_round_that_does_not_begin_anew_is_seen, test_units_that_are_credited_twice_are_seen,
            test_not_noticing_that_a_server_has_died_is_seen, test_who_is_kept_waiting_is_seen
            processes/test_broken_processes.py: test_a_recovery_that_is_switched_off_is_seen
            other bits, a mix, units that are credited twice, or a run that does not end

A version is settled when every server has closed it, and all of it is here
    shown   master/test_served.py: test_a_version_is_settled_when_all_have_closed_it_and_all_of_it_is_here
    switch  simulation/test_broken_servers.py: any_has_closed, all_have_closed
    red     simulation/test_broken_servers.py:
            test_a_version_that_is_settled_before_all_have_closed_it_is_seen,
            test_a_version_that_is_settled_before_all_of_it_is_here_is_seen
            what is served or computed on is not that version

A pull returns one version, never a mix
    shown   simulation/test_seeds.py: test_a_run_ends_with_the_right_bits
    switch  simulation/test_broken_memory.py: half
            simulation/test_broken_servers.py: ServesTooSoon
    red     simulation/test_broken_memory.py: test_computing_on_half_a_pull_is_seen
            simulation/test_broken_servers.py: test_a_server_that_serves_a_mix_is_seen,
            test_workers_see_a_mix_where_nobody_looks_at_the_servers
            what a unit is computed on is not the version of its lease

Memory that a worker has lent is not written before it is summed
    shown   simulation/test_servers.py: test_nobody_computes_where_a_server_may_still_write_the_average
            processes/test_shared_memory.py: test_weights_have_the_same_bits_whichever_way_they_go
    switch  simulation/test_broken_memory.py: has_free_slot
    red     simulation/test_broken_memory.py: test_giving_lent_memory_back_before_it_is_summed_is_seen
            the weights are not the oracle's

A message that is not what it should be is refused, and changes nothing
    shown   processes/test_bad_peers.py: test_garbage_is_refused_and_recorded_and_changes_no_bit
            processes/test_mutated_frames.py: test_mutated_frames_change_no_bit_of_an_honest_run
            simulation/test_master_ends.py:
            test_a_push_that_is_wrong_is_noted_and_counted_and_gives_its_unit_back
            simulation/test_messages.py: test_a_payload_that_was_damaged_is_seen_and_asked_for_again
    switch  simulation/test_broken_messages.py: take, believe
            processes/breaking/sitecustomize.py: falls_over_what_is_no_message
    red     simulation/test_broken_messages.py: test_taking_a_damaged_chunk_is_seen,
            test_taking_a_contribution_that_cannot_be_one_is_seen
            processes/test_broken_processes.py: test_a_master_that_falls_over_what_is_no_message_is_seen
            the weights are not the oracle's; the unit is taken; the master is gone

An averaging server that was told of the end takes no late word of that master
    shown   master/test_averager.py:
            test_after_the_end_a_serve_of_the_same_master_is_late_and_another_master_is_served
    switch  simulation/test_broken_messages.py: forget
    red     simulation/test_broken_messages.py:
            test_an_averaging_server_that_serves_a_master_after_its_end_is_seen
            it begins to serve once more

No wait without a deadline; who waits is not forgotten, and what waits has room
    shown   simulation/test_deadlines.py: test_a_master_whose_workers_hang_for_good
            simulation/test_seeds.py: test_a_run_ends_with_the_right_bits
            simulation/test_master_leases.py: test_with_a_full_budget_nobody_waits_for_a_unit_that_nobody_has
    switch  simulation/test_broken_waiting.py: NeverMakesWay
            simulation/test_broken_restart.py: WaitsForEver
            simulation/broken.py: generous
    red     simulation/test_broken_waiting.py: test_a_wait_without_a_deadline_is_seen,
            test_a_deadline_that_a_tick_does_not_move_is_seen, test_holding_more_than_the_budget_is_seen,
            test_waiting_for_a_unit_that_nobody_works_on_is_seen
            simulation/test_broken_restart.py: test_waiting_for_ever_for_workers_that_hang_is_seen
            simulation/test_broken_servers.py: test_a_server_that_holds_more_than_its_budget_is_seen
            simulation/test_deadlines.py: test_a_wait_without_a_deadline_is_seen
            the run does not end, ticks on the spot, or holds more than its budget

Only keys of the roles that may ask how a run is, and give orders
    shown   processes/test_status.py: test_with_keys_each_role_may_what_it_may
            security/test_orders.py: test_it_is_refused
    switch  processes/breaking/sitecustomize.py: lets_anybody_order
            security/controls.py: anybody_may_ask, nobody_is_far_away
    red     processes/test_broken_processes.py: test_orders_with_the_key_of_another_role_are_seen
            security/test_orders.py: test_without_its_control_it_is_not
            it is answered, or the run is stopped

By a robust rule nobody fills a round with its own units, and two of eight that are wrong do not win
    shown   simulation/test_quota.py: test_a_fast_worker_makes_no_more_than_its_part_of_a_round,
            test_under_random_faults_no_worker_brings_more_than_its_part_of_a_round
            security/test_faulty_workers.py: test_a_robust_rule_keeps_the_accuracy_with_two_of_eight_faulty
    switch  simulation/test_quota.py: without_the_limit
            security/poison/sitecustomize.py: nan, random
    red     simulation/test_quota.py: test_without_the_limit_it_fills_the_round,
            test_without_the_limit_under_random_faults_one_does
            security/test_faulty_workers.py:
            test_the_mean_loses_the_accuracy_to_one_that_brings_random_weights
            one worker brings more units than it may; by the mean the accuracy is gone

Nobody makes a server spend more than a bounded amount of memory, descriptors or time
    shown   security/test_budgets.py: test_it_is_bounded,
            test_who_reads_nothing_keeps_a_few_versions_in_memory
            security/test_aborts.py:
            test_a_peer_that_breaks_off_with_much_under_way_does_not_end_the_server,
            test_a_connection_that_was_taken_over_and_breaks_does_not_end_the_server
            processes/test_attacked_run.py:
            test_whatever_strangers_do_the_run_goes_on_with_the_same_bits_and_little_memory
    switch  security/controls.py: no_limit_of_frames, frames_are_not_counted, bytes_are_not_counted,
            everybody_is_let_in, the_silent_stay, floods_are_taken, payloads_are_not_counted
    red     security/test_budgets.py: test_without_its_control_it_is_not,
            test_without_a_limit_it_keeps_them_all
            security/test_aborts.py: test_with_a_queue_that_gets_full_it_does,
            test_with_signs_of_life_of_the_server_it_does
            connections, messages and versions are kept; the server aborts

Memory is shared with, and the end is watched of, processes that are who they say
    shown   master/test_peer_process.py: test_the_process_that_has_called_is_told_from_all_others
            security/test_budgets.py: test_who_says_that_it_is_another_process_is_not_believed
            security/test_offers.py: test_nothing_but_a_segment_is_opened
    switch  processes/breaking/sitecustomize.py: believes_process_ids
            security/controls.py: process_ids_are_believed, links_are_not_read
    red     processes/test_attacked_run.py:
            test_a_stranger_that_says_it_is_a_worker_of_this_machine_shares_no_memory
            security/test_budgets.py: test_without_a_look_at_the_connection_it_is
            security/test_offers.py: test_without_a_look_at_links_other_files_are
            a stranger is welcomed where it should be refused; a file is opened

It stops: nothing outlives the process that has started it
    shown   processes/test_stopping.py: test_kill_of_ps_local_ends_its_master_and_workers
            processes/test_launchers.py: test_sigkill_of_rank_0_leaves_nobody
    switch  processes/breaking/sitecustomize.py: does_not_see_that_it_is_alone
    red     processes/test_broken_processes.py: test_processes_that_outlive_ps_local_are_seen,
            test_a_master_that_is_left_alone_by_its_rank_is_seen
            master and workers go on

It stops in order when every process of a job is sent TERM, as Slurm and systemd do
    shown   processes/test_launchers.py:
            test_term_to_every_process_of_a_job_saves_and_leaves_and_the_next_start_goes_on
    switch  processes/breaking/sitecustomize.py: passes_term_on
    red     processes/test_broken_processes.py: test_a_master_that_is_sent_term_twice_is_seen
            the master ends at once, with 143

A worker that reaches no master says what is there instead, and trains when there is one
    shown   processes/test_wrong_setups.py:
            test_a_worker_that_reaches_no_master_says_what_is_there_instead_and_what_to_do,
            test_a_worker_that_is_there_before_the_master_waits_says_so_and_trains
    switch  processes/breaking/sitecustomize.py: does_not_look_why
    red     processes/test_broken_processes.py: test_a_recovery_that_is_switched_off_is_seen
            the worker does not say it

Everyone whom a launcher has started hears that the run is over
    shown   simulation/test_lingering.py: test_everyone_hears_that_the_run_is_over
    switch  simulation/test_lingering.py: test_a_master_that_does_not_stay_is_seen
    red     simulation/test_lingering.py: test_a_master_that_does_not_stay_is_seen
            the master is gone before everyone has come
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAIR = re.compile(
    r"^(\S.*)\n    shown   ([^|]*?)\n    switch  ([^|]*?)\n    red     ([^|]*?)(?=\n\n|\n$)", re.M
)
NAMES = re.compile(r"([\w/]+\.py):\s+((?:\w+,\s+)*\w+)")


def pairs() -> list[tuple[str, ...]]:
    """Promise, where it is shown, switch, what turns red."""
    return PAIR.findall(__doc__ or "")


def named(text: str) -> Iterator[tuple[str, str]]:
    """The files and names in a text."""
    for path, names in NAMES.findall(text):
        yield from ((path, name) for name in re.split(r",\s+", names))


def defined(path: Path) -> set[str]:
    """Functions and classes of a file, within others too."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


@pytest.mark.parametrize("pair", pairs(), ids=lambda pair: pair[0])
def test_every_name_in_the_table_exists(pair: tuple[str, ...]) -> None:
    for part in pair[1:]:
        found = list(named(part))
        assert found
        for path, name in found:
            assert name in defined(TESTS / path), f"{path} has no {name}"


def test_the_table_has_every_promise_with_a_red_test_and_every_test_that_breaks_something() -> None:
    text = __doc__ or ""
    assert (
        len(pairs()) == text.count("    shown   ") == text.count("    switch  ") == text.count("    red     ")
    )
    listed = set(named(text))
    for path in [*TESTS.glob("*/test_broken_*.py"), *TESTS.glob("*/breaking/*.py")]:
        name = str(path.relative_to(TESTS))
        ours = {one for one in defined(path) if one.startswith("test_") or "breaking" in name}
        missing = {one for one in ours if (name, one) not in listed and "nothing_broken" not in one}
        assert not missing, f"{name}: {missing}"
