//! Scenarios as data: a script of what happens goes in, the log of what was decided comes out.
//!
//! A script line is `TIME what`, or `FROM..TO what` for every ten seconds of that span; times are `minutes:seconds`.
//! Each `demand` line is one observation of the queue, of EC2's list and of every agent that is not silent, then a tick.

mod world;

use world::{check, check_with, notes};

#[test]
fn four_jobs_are_too_few() {
    check("0:00..20:00 demand 4", "");
}

#[test]
fn five_jobs_launch_one_when_the_five_minutes_are_full_and_not_before() {
    check("0:00..4:50 demand 5\n4:59 demand 5", "");
    check("0:00..4:50 demand 5\n5:00 demand 5", "5:00 launch");
}

#[test]
fn one_observation_below_the_threshold_starts_the_window_anew() {
    check("0:00..4:40 demand 5\n4:50 demand 4\n5:00..9:50 demand 5", "");
    check("0:00..4:40 demand 5\n4:50 demand 4\n5:00..10:00 demand 5", "10:00 launch");
}

#[test]
fn a_gap_in_the_observations_proves_nothing() {
    check("0:00 demand 5\n5:00 demand 5", "");
    check("0:00..2:00 demand 9\n2:31..7:21 demand 9", "");
    check("0:00..2:00 demand 9\n2:30..5:00 demand 9", "5:00 launch");
}

#[test]
fn fifteen_jobs_want_two_and_one_that_boots_already_counts() {
    check("0:00..5:00 demand 15", "5:00 launch\n5:00 launch");
    check(
        "0:00..0:20 demand 14
         0:30..5:00 demand 15
         5:00 accept
         5:10..5:30 demand 15
         5:30 accept
         5:40..9:50 demand 15",
        "5:00 launch\n5:30 launch",
    );
}

#[test]
fn never_three_however_long_the_flood() {
    check(
        "0:00..5:00 demand 15\n5:00 accept\n5:30 ready i-1\n5:30 ready i-2\n5:40..60:00 demand 500",
        "5:00 launch\n5:00 launch",
    );
}

#[test]
fn a_backlog_of_zero_is_not_idle_while_a_job_runs_there() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:30 ready i-1
         5:30 jobs i-1 1
         5:40..20:00 demand 0 active=1
         20:00 jobs i-1 0
         20:00 drained i-1
         20:10..21:00 demand 0",
        "5:00 launch\n15:40 drain i-1\n20:10 terminate i-1",
    );
}

#[test]
fn the_agents_word_alone_does_not_terminate() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:30 ready i-1
         5:40..15:40 demand 0
         15:40 drained i-1
         15:40 redis-jobs i-1 1
         15:50..17:00 demand 0
         17:00 redis-jobs i-1 0
         17:10..18:00 demand 0",
        "5:00 launch\n15:40 drain i-1\n17:10 terminate i-1",
    );
}

#[test]
fn idle_must_last_ten_minutes_without_a_break() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:30 ready i-1
         5:40..15:30 demand 0
         15:39 demand 1
         15:40..25:30 demand 0",
        "5:00 launch",
    );
}

#[test]
fn a_paused_queue_has_no_demand_and_launches_nothing() {
    check("0:00..30:00 demand 50 paused", "");
}

#[test]
fn more_instances_cannot_help_at_the_global_concurrency() {
    check("0:00..30:00 demand 50 active=3 limit=3", "");
    check("0:00..5:00 demand 50 active=3 limit=4", "5:00 launch\n5:00 launch");
    assert!(
        notes("0:00..6:00 demand 50 active=3 limit=3").iter().any(|note| note.contains("more instances cannot help"))
    );
}

#[test]
fn a_failed_observation_holds_everything() {
    // Scale-out, scale-in, a boot deadline: none of them happens while Redis does not answer.
    check("0:00..4:50 demand 20\n5:00..9:50 blind", "");
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:10..20:00 blind
         20:10 demand 5
         20:20 ready i-1
         20:30..30:20 demand 0
         30:30..50:00 blind",
        "5:00 launch",
    );
    // It goes on when the observation is back, and the time without one proved nothing.
    check("0:00..4:50 demand 20\n5:00..6:00 blind\n6:10..11:00 demand 20", "");
    check("0:00..4:50 demand 20\n5:00..6:00 blind\n6:10..11:10 demand 20", "11:10 launch\n11:10 launch");
}

#[test]
fn a_failed_list_of_instances_holds_everything() {
    check("0:00 unlisted\n0:00..10:00 demand 20", "");
}

#[test]
fn a_box_that_never_becomes_ready_is_never_counted_and_is_replaced() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:10..10:40 demand 5
         10:40 accept
         10:50..11:00 demand 5",
        "5:00 launch\n10:00 drain i-1\n10:00 launch\n10:10 terminate i-1",
    );
}

#[test]
fn three_failed_boots_open_the_breaker_and_one_box_tries_after_the_wait() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:10 failed i-1 pull
         5:20 drained i-1
         5:30..6:30 demand 5
         6:30 accept
         6:40 failed i-2 pull
         6:50 drained i-2
         7:00..8:00 demand 5
         8:00 accept
         8:10 failed i-3 pull
         8:20 drained i-3
         8:30..18:20 demand 5",
        "5:00 launch
         5:10 drain i-1
         5:10 launch
         5:30 terminate i-1
         6:40 drain i-2
         6:40 launch
         7:00 terminate i-2
         8:10 drain i-3
         8:10 alert boots_fail
         8:30 terminate i-3
         18:10 launch",
    );
}

#[test]
fn an_unanswered_launch_is_asked_again_with_the_same_token_and_counts_meanwhile() {
    check(
        "0:00..5:00 demand 15
         5:00 throttle
         5:10..5:20 demand 15
         5:20 accept
         5:30..6:00 demand 15",
        "5:00 launch t-1\n5:00 launch t-2\n5:10 launch t-1\n5:10 launch t-2",
    );
}

#[test]
fn a_launch_that_was_never_answered_is_found_in_the_list() {
    check(
        "0:00..5:00 demand 5
         5:00 lose-answer
         5:10..5:30 demand 5
         5:40 ready i-1
         5:50..20:00 demand 5",
        "5:00 launch",
    );
}

#[test]
fn no_capacity_waits_three_minutes_and_a_fatal_refusal_waits_for_a_person() {
    check(
        "0:00..5:00 demand 5\n5:00 refuse capacity InsufficientInstanceCapacity\n5:10..8:10 demand 5",
        "5:00 launch t-1\n8:00 launch t-2",
    );
    check(
        "0:00..5:00 demand 5
         5:00 refuse fatal UnauthorizedOperation
         5:10..60:00 demand 5
         60:10 resume
         60:10 demand 5",
        "5:00 launch t-1\n5:10 alert fatal_refusal\n60:10 launch t-2",
    );
}

#[test]
fn an_interrupted_instance_is_no_capacity_and_is_replaced_inside_the_cap() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:30 ready i-1
         5:40 demand 5
         5:41 notice i-1 120
         5:50..6:00 demand 5",
        "5:00 launch\n5:50 drain i-1\n5:50 launch",
    );
    // At the cap the dying one still bills: its replacement waits until EC2 shows that it ends.
    check(
        "0:00..5:00 demand 15
         5:00 accept
         5:30 ready i-1
         5:30 ready i-2
         5:40 demand 15
         5:41 notice i-1 120
         5:50..6:50 demand 15
         7:00 drained i-1
         7:10..7:30 demand 15",
        "5:00 launch\n5:00 launch\n5:50 drain i-1\n7:10 terminate i-1\n7:20 launch",
    );
}

#[test]
fn a_demand_that_returns_takes_a_drain_back_instead_of_booting_a_new_box() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:30 ready i-1
         5:30 jobs i-1 1
         5:40..15:40 demand 0 active=1
         15:50..20:50 demand 5 active=1",
        "5:00 launch\n15:40 drain i-1\n20:50 cancel_drain i-1",
    );
}

#[test]
fn a_restart_forgets_neither_windows_nor_tokens() {
    check(
        "0:00..4:50 demand 5
         4:55 restart
         5:00 demand 5
         5:01 restart
         5:10 demand 5",
        "5:00 launch t-1\n5:10 launch t-1",
    );
}

#[test]
fn a_wiped_ledger_adopts_by_token_tag_and_neither_doubles_nor_kills() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:30 ready i-1
         5:40 wipe
         5:50 ready i-1
         6:00..14:00 demand 5
         14:10..23:00 demand 1",
        "5:00 launch",
    );
}

#[test]
fn an_instance_with_our_tag_but_no_token_is_counted_and_never_touched() {
    check(
        "0:00 foreign i-77\n0:00..5:00 demand 15\n5:00 accept\n5:10 ready i-1\n5:20..30:00 demand 0",
        "0:00 alert unknown_instance\n5:00 launch\n15:20 drain i-1",
    );
}

#[test]
fn hold_stops_scaling_and_resume_goes_on() {
    check("0:00 hold\n0:00..10:00 demand 20\n10:05 resume\n10:10 demand 20", "10:10 launch\n10:10 launch");
}

#[test]
fn a_silent_agent_is_unknown_and_keeps_counting_until_redis_agrees() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:30 ready i-1
         5:40 demand 5
         5:41 silent i-1
         5:41 redis-jobs i-1 1
         5:50..20:00 demand 5
         20:00 redis-jobs i-1 0
         20:10..20:20 demand 5",
        "5:00 launch\n20:10 drain i-1\n20:10 launch\n20:20 terminate i-1",
    );
}

#[test]
fn redis_says_nothing_of_a_worker_without_a_name() {
    // Its agent is dead, and that no job carries its name proves nothing: it is not given up while it may work.
    check(
        "0:00 unnamed
         0:00..5:00 demand 5
         5:00 accept
         5:30 ready i-1
         5:40 demand 5
         5:41 silent i-1
         5:50..60:00 demand 5",
        "5:00 launch",
    );
}

#[test]
fn a_worker_that_loses_its_proof_is_no_capacity_and_must_prove_itself_again_by_a_deadline() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:10..5:20 demand 5
         5:30 ready i-1
         5:40 proving i-1
         5:50..10:40 demand 5",
        "5:00 launch\n10:40 drain i-1\n10:40 launch",
    );
}

#[test]
fn one_launch_a_tick_where_that_is_the_limit() {
    check_with(|config| config.launches_per_tick = 1, "0:00..5:20 demand 15", "5:00 launch\n5:10 launch");
}

#[test]
fn a_tick_after_a_tick_with_nothing_new_decides_nothing() {
    check("0:00..5:00 demand 15\n5:00 tick\n5:00 tick\n5:01 tick", "5:00 launch\n5:00 launch");
}

#[test]
fn a_standby_decides_nothing() {
    check("0:00 depose\n0:00..10:00 demand 20", "");
}

#[test]
fn every_silence_has_its_reason() {
    for (script, said) in [
        ("0:00..1:00 demand 2", "below 5"),
        ("0:00..2:00 demand 7", "5 or more for 2 min of 5 min"),
        ("0:00..2:00 demand 0", "no job waits"),
        ("0:00..5:00 demand 5\n5:00 accept\n5:10 ready i-1\n5:20..7:20 demand 0", "idle for 2 min of 10 min"),
        ("0:00..1:00 demand 50 paused", "the queue is paused with 50 jobs waiting"),
        ("0:00..1:00 blind", "cannot be observed (Redis does not answer)"),
        ("0:00..5:00 demand 5\n5:00 accept\n5:10 demand 5", "1 instance on the way, at most 4 min 50 s more"),
        ("0:00..5:00 demand 5\n5:00 refuse capacity NoBox\n5:10 demand 5", "no launch for 2 min 50 s"),
        ("0:00 hold\n0:00..1:00 demand 20", "an operator holds the pool"),
        ("0:00 depose\n0:00 demand 20", "another coordinator leads"),
    ] {
        let said_notes = notes(script);
        assert!(said_notes.iter().any(|note| note.contains(said)), "{script}\nsaid {said_notes:#?}\nnot {said:?}");
    }
}
