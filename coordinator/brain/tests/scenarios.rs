//! Scenarios as data: a script of what happens goes in, the log of what was decided comes out.
//!
//! A script line is `TIME what`, or `FROM..TO what` for every ten seconds of that span; times are `minutes:seconds`.
//! Each `demand` line is one observation of the queue, of EC2's list and of every agent that is not silent, then a tick.

mod world;

use std::time::Duration;

use spillway_brain::{Config, Instance, InstanceId, OnRebalance, Timestamp};

use world::{check, check_with, due_after, notes, notes_with, reasons, state_after};

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
         15:50..16:40 demand 0
         16:41 redis-jobs i-1 0
         16:50..18:00 demand 0",
        "5:00 launch\n15:40 drain i-1\n15:50 hand_back i-1 certain\n16:50 terminate i-1",
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
fn an_older_ledger_does_not_give_out_a_token_again_that_another_leader_gave_out() {
    check("0:00 foreign i-9 t-1\n0:01 ready i-9\n0:10..5:10 demand 15", "5:10 launch t-2");
    check("0:00 foreign i-9 t-3\n0:01 ec2 i-9 terminated\n0:10..5:10 demand 5", "5:10 launch t-4");
}

#[test]
fn what_a_standby_found_by_itself_has_time_to_report_once_it_leads() {
    check(
        "0:00 depose
         0:01 foreign i-9 t-1
         0:10..6:00 demand 5
         6:05 lead
         6:10..6:20 demand 5
         6:25 ready i-9
         6:30..9:00 demand 5",
        "",
    );
    check(
        "0:00 depose\n0:01 foreign i-9 t-1\n0:10..6:00 demand 3\n6:05 lead\n6:10..11:10 demand 3",
        "11:10 drain i-9\n11:10 launch",
    );
}

#[test]
fn agents_that_spoke_with_another_leader_are_not_called_silent_at_once() {
    check_at_work(
        "5:45 depose\n5:46 silent i-1\n5:47 redis-jobs i-1 0\n5:50..12:00 demand 5\n12:05 lead\n12:10..17:00 demand 5",
        "",
    );
    check_at_work(
        "5:45 depose\n5:46 silent i-1\n5:47 redis-jobs i-1 0\n5:50..12:00 demand 5\n12:05 lead\n12:10..17:10 demand 5",
        "17:10 drain i-1\n17:10 launch",
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
    // However often it ticks meanwhile.
    let script = "0:00..5:00 demand 15\n5:00 tick\n5:01 tick\n5:09 tick\n5:10 tick";
    check_with(|config| config.launches_per_tick = 1, script, "5:00 launch\n5:10 launch");
}

#[test]
fn a_refusal_after_an_unanswered_attempt_does_not_say_that_nothing_was_launched() {
    let configure = |config: &mut Config| {
        (config.max_instances, config.capacity_backoff) = (1, Duration::from_secs(10));
    };
    check_with(
        configure,
        "0:00..5:00 demand 5
         5:01 throttle
         5:10 demand 5
         5:11 refuse capacity InsufficientInstanceCapacity
         5:20..7:20 demand 5",
        "5:00 launch t-1\n5:10 launch t-1\n7:20 launch t-2",
    );
    // The first attempt was the only one: nothing can come of it.
    check_with(
        configure,
        "0:00..5:00 demand 5
         5:01 refuse capacity InsufficientInstanceCapacity
         5:10..5:20 demand 5",
        "5:00 launch t-1\n5:20 launch t-2",
    );
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

/// `i-1` works on a job.
const AT_WORK: &str = "0:00..5:00 demand 5\n5:00 accept\n5:30 ready i-1\n5:30 jobs i-1 1\n5:40 demand 5 active=1\n";

#[track_caller]
fn check_at_work(script: &str, expected: &str) {
    check(&format!("{AT_WORK}{script}"), &format!("5:00 launch\n{expected}"));
}

#[test]
fn what_a_terminated_instance_worked_on_is_handed_back_at_once() {
    check_at_work(
        "5:45 ec2 i-1 terminated
         5:50 demand 5
         5:51 tick
         5:52 handed-back i-1 certain 1 0
         5:52 tick
         6:00..7:00 demand 5",
        "5:50 hand_back i-1 certain\n5:50 launch",
    );
    let state =
        state_after(&format!("{AT_WORK}5:45 ec2 i-1 terminated\n5:50 demand 5\n5:52 handed-back i-1 certain 1 0"));
    let instance = state.instance(&InstanceId("i-1".to_owned())).expect("it is shown for a while");
    assert_eq!((instance.jobs_handed_back(), state.handed_back_total()), (1, 1));
}

#[test]
fn while_it_shuts_down_it_may_still_run_and_once_it_is_terminated_it_is_certain() {
    // What was answered before EC2 showed it terminated says nothing of the time after.
    check_at_work(
        "5:45 ec2 i-1 shutting-down
         5:50 demand 5
         5:51 handed-back i-1 uncertain 0 1
         5:55 tick
         5:56 tick
         6:00 demand 5
         6:01 ec2 i-1 terminated
         6:02 list
         6:02 tick
         6:03 handed-back i-1 uncertain 0 0
         6:03 handed-back i-1 certain 0 1
         6:07 tick
         6:08 tick
         6:09 handed-back i-1 certain 1 0
         6:10..7:40 demand 5",
        "5:50 hand_back i-1 uncertain
         5:50 launch
         5:56 hand_back i-1 uncertain
         6:02 hand_back i-1 certain
         6:08 hand_back i-1 certain",
    );
    // Nobody held a job while it shut down: asked again all the same, since its worker may have taken one meanwhile.
    check_at_work(
        "5:45 ec2 i-1 shutting-down
         5:50 demand 5
         5:51 handed-back i-1 uncertain 0 0
         6:00 demand 5
         6:01 ec2 i-1 terminated
         6:10 demand 5",
        "5:50 hand_back i-1 uncertain\n5:50 launch\n6:10 hand_back i-1 certain",
    );
}

#[test]
fn an_instance_that_vanished_is_handed_back_with_care_once_it_is_gone_for_sure() {
    // Missing since 5:50: the grace is over after 7:50.
    check_at_work("5:45 vanish i-1\n5:50..7:50 demand 5", "");
    check_at_work(
        "5:45 vanish i-1
         5:50..8:00 demand 5
         8:01 handed-back i-1 uncertain 1 0
         8:10..9:00 demand 5",
        "8:00 hand_back i-1 uncertain\n8:00 launch",
    );
}

#[test]
fn one_list_that_does_not_show_an_instance_is_no_proof_however_long_ago_the_last_one_was() {
    check_at_work(
        "8:25 vanish i-1
         8:30 demand 5
         8:35 appear i-1
         8:36 ready i-1
         8:40..12:00 demand 5",
        "",
    );
}

#[test]
fn an_instance_that_comes_back_after_it_vanished_is_handed_back_again_when_it_ends() {
    check_at_work(
        "5:45 vanish i-1
         5:50..8:00 demand 0
         8:01 handed-back i-1 uncertain 1 0
         8:05 appear i-1
         8:10 demand 0
         8:11 ready i-1
         8:15 vanish i-1
         8:20..10:30 demand 0",
        "8:00 hand_back i-1 uncertain\n10:30 hand_back i-1 uncertain",
    );
}

#[test]
fn what_works_again_after_both_sources_said_that_no_job_is_left_is_handed_back() {
    let drained = "5:45 jobs i-1 0\n5:46 operator-drain i-1\n5:50 demand 0\n5:55 drained i-1\n6:00 demand 0\n";
    let ends = "6:10 ec2 i-1 terminated\n6:20 demand 0";
    let expected = "5:50 drain i-1\n6:00 terminate i-1";
    check_at_work(&format!("{drained}{ends}"), expected);
    let handed_back = format!("{expected}\n6:20 hand_back i-1 certain");
    check_at_work(&format!("{drained}6:05 ready i-1\n{ends}"), &handed_back);
    let handed_back = format!("{expected}\n6:06 hand_back i-1 uncertain\n6:20 hand_back i-1 certain");
    check_at_work(&format!("{drained}6:05 redis-jobs i-1 1\n6:06 demand 0\n{ends}"), &handed_back);
}

#[test]
fn what_was_adopted_may_have_held_a_job_although_its_agent_was_never_heard() {
    check_at_work(
        "5:41 silent i-1
         5:45 wipe
         5:50 demand 0
         5:55 ec2 i-1 terminated
         6:00 demand 0",
        "6:00 hand_back i-1 certain",
    );
}

#[test]
fn an_agent_that_never_got_through_may_have_started_a_worker_all_the_same() {
    check(
        "0:00..5:00 demand 5
         5:00 accept
         5:05 redis-jobs i-1 1
         5:10 demand 0
         5:15 ec2 i-1 terminated
         5:20 demand 0",
        "5:00 launch\n5:20 hand_back i-1 certain",
    );
}

#[test]
fn a_hand_back_that_fails_is_asked_again_with_a_back_off_and_survives_a_restart() {
    check_at_work(
        "5:45 ec2 i-1 terminated
         5:50 demand 0
         5:51 hand-back-fails i-1 certain
         5:52 tick
         5:53 tick
         5:54 hand-back-fails i-1 certain
         5:57 tick
         5:58 tick
         5:58 restart
         5:59 tick
         6:00 handed-back i-1 certain 1 0
         6:01 restart
         6:02 tick",
        "5:50 hand_back i-1 certain
         5:53 hand_back i-1 certain
         5:58 hand_back i-1 certain
         5:59 hand_back i-1 certain",
    );
    // The answer was lost with a connection: it is waited for a minute.
    check_at_work(
        "5:45 ec2 i-1 terminated\n5:50..6:50 demand 5",
        "5:50 hand_back i-1 certain\n5:50 launch\n6:50 hand_back i-1 certain",
    );
    check_at_work("5:45 ec2 i-1 terminated\n5:50..6:40 demand 5\n6:49 tick", "5:50 hand_back i-1 certain\n5:50 launch");
}

#[test]
fn jobs_that_somebody_renews_are_given_up_after_ten_minutes_and_a_person_is_told() {
    let given_up = |seconds: &str| {
        format!(
            "5:45 ec2 i-1 shutting-down
             5:50 demand 0
             5:51 handed-back i-1 uncertain 0 1
             15:40 demand 0
             15:{seconds} handed-back i-1 uncertain 0 1
             15:{seconds} tick
             15:{seconds} tick
             15:56 demand 0
             15:57 demand 0"
        )
    };
    let once = "5:50 hand_back i-1 uncertain\n15:40 hand_back i-1 uncertain\n";
    check_at_work(&given_up("50"), &format!("{once}15:56 hand_back i-1 uncertain"));
    check_at_work(&given_up("51"), &format!("{once}15:51 alert jobs_left"));
    // One that fails goes on: whoever may mend it is told once.
    check_at_work(
        "5:45 ec2 i-1 terminated
         5:50 demand 0
         15:49 hand-back-fails i-1 certain
         15:50 tick
         16:00 demand 0
         16:01 hand-back-fails i-1 certain
         16:02 tick
         16:05 tick
         16:06 hand-back-fails i-1 certain
         16:14 demand 0
         16:15 handed-back i-1 certain 1 0
         16:20 demand 0",
        "5:50 hand_back i-1 certain
         16:00 hand_back i-1 certain
         16:02 alert hand_back_fails
         16:05 hand_back i-1 certain
         16:14 hand_back i-1 certain",
    );
}

#[test]
fn each_alert_about_jobs_is_raised_again_for_what_comes_later() {
    let two = "0:00..5:00 demand 15\n5:00 accept\n5:30 ready i-1\n5:30 ready i-2\n5:40 demand 0\n";
    let fails = |id: &str, minute: u32| {
        format!(
            "{minute}:00 ec2 {id} terminated
             {minute}:10 demand 0
             {later}:11 hand-back-fails {id} certain
             {later}:12 demand 0
             {later}:15 demand 0
             {later}:16 handed-back {id} certain 1 0\n",
            later = minute + 10
        )
    };
    check(
        &format!("{two}{}{}", fails("i-1", 6), fails("i-2", 20)),
        "5:00 launch\n5:00 launch
         6:10 hand_back i-1 certain
         16:12 alert hand_back_fails
         16:15 hand_back i-1 certain
         20:10 hand_back i-2 certain
         30:12 alert hand_back_fails
         30:15 hand_back i-2 certain",
    );
    check(
        &format!(
            "{two}6:00 ec2 i-1 terminated
             6:00 ec2 i-2 terminated
             6:10 demand 0
             6:10 handed-back i-1 certain 0 1
             6:11 handed-back i-2 certain 0 1
             16:10 handed-back i-1 certain 0 1
             16:10 tick
             16:11 handed-back i-2 certain 0 1
             16:11 demand 0"
        ),
        "5:00 launch\n5:00 launch
         6:10 hand_back i-1 certain\n6:10 hand_back i-2 certain
         16:10 alert jobs_left\n16:10 hand_back i-2 certain\n16:11 alert jobs_left",
    );
}

#[test]
fn nothing_is_handed_back_without_redis_and_without_ec2s_list_what_it_said_stays_true() {
    check_at_work(
        "5:45 ec2 i-1 terminated\n5:50..7:00 blind\n7:10 demand 5",
        "7:10 hand_back i-1 certain\n7:10 launch",
    );
    check_at_work(
        "5:45 ec2 i-1 terminated
         5:50 demand 5
         5:51 hand-back-fails i-1 certain
         5:52 unlisted
         7:00 demand 5",
        "5:50 hand_back i-1 certain\n5:50 launch\n7:00 hand_back i-1 certain",
    );
}

#[test]
fn nothing_is_handed_back_where_no_worker_ran_or_both_sources_said_that_no_job_is_left() {
    check("0:00..5:00 demand 5\n5:00 accept\n5:10 ec2 i-1 terminated\n5:10..5:30 demand 0", "5:00 launch");
    check_at_work(
        "5:41 jobs i-1 0
         5:50..15:50 demand 0
         15:50 drained i-1
         16:00 demand 0
         16:01 ec2 i-1 terminated
         16:10..17:00 demand 0",
        "15:50 drain i-1\n16:00 terminate i-1",
    );
    // The agent alone had said so when EC2 ended it.
    check_at_work(
        "5:41 jobs i-1 0
         5:50..15:50 demand 0
         15:50 drained i-1
         15:51 ec2 i-1 terminated
         16:00..16:30 demand 0",
        "15:50 drain i-1\n16:00 hand_back i-1 certain",
    );
    // Its agent is silent, and Redis alone had said so.
    check_at_work(
        "5:41 jobs i-1 0
         5:41 silent i-1
         5:50..11:00 demand 1
         11:01 ec2 i-1 terminated
         11:10 demand 1",
        "10:50 drain i-1\n10:50 launch\n11:00 terminate i-1\n11:10 hand_back i-1 certain",
    );
}

#[test]
fn what_a_drain_left_is_handed_back_at_once_and_redis_has_the_word_on_what_is_left() {
    // The agent knows of one, knows of none, or cannot know.
    for left in ["left=1", "left=0", "left=?"] {
        check_at_work(
            &format!(
                "5:50..15:50 demand 0 active=1
                 15:50 drained i-1 {left}
                 15:50 redis-jobs i-1 1
                 16:00 demand 0 active=1
                 16:01 redis-jobs i-1 0
                 16:10 demand 0
                 16:20 ec2 i-1 terminated
                 16:20..17:00 demand 0"
            ),
            "15:50 drain i-1\n16:00 hand_back i-1 certain\n16:10 terminate i-1",
        );
    }
    // The answer is Redis' word too: the next look is not waited for.
    check_at_work(
        "5:50..15:50 demand 0 active=1
         15:50 drained i-1 left=1 handed=2
         16:00 demand 0 active=1
         16:01 handed-back i-1 certain 1 0
         16:01 tick
         16:10 ec2 i-1 terminated
         16:10..17:00 demand 0",
        "15:50 drain i-1\n16:00 hand_back i-1 certain\n16:01 terminate i-1",
    );
    let why = reasons(&format!(
        "{AT_WORK}5:50..15:50 demand 0 active=1
         15:50 drained i-1 left=1
         16:00 demand 0 active=1
         16:01 handed-back i-1 certain 1 0
         16:01 redis-jobs i-1 0
         16:10 demand 0"
    ));
    let said = "16:10 terminate i-1: drained (scale-in): its worker is dead, and what it left is handed back (1 job)";
    assert!(why.contains(said), "{why}");
    // Something goes on renewing the lock: given up, and not terminated before the drain's deadline.
    check_at_work(
        "5:50..15:50 demand 0 active=1
         15:50 drained i-1 left=1
         16:00 demand 0 active=1
         16:01 handed-back i-1 certain 0 1
         26:01 handed-back i-1 certain 0 1
         26:10..26:20 demand 0 active=1",
        "15:50 drain i-1\n16:00 hand_back i-1 certain\n26:10 alert jobs_left",
    );
    // Said twice, counted once.
    let state = state_after(&format!("{AT_WORK}5:50 drained i-1 handed=2\n5:51 drained i-1 handed=2"));
    let instance = state.instance(&InstanceId("i-1".to_owned())).expect("it is there");
    assert_eq!((instance.jobs_handed_back(), state.handed_back_total()), (2, 2));
    // The agent cannot know, and Redis shows none.
    check_at_work(
        "5:50..15:50 demand 0 active=1
         15:50 redis-jobs i-1 0
         15:50 drained i-1 left=?
         16:00 demand 0",
        "15:50 drain i-1\n16:00 terminate i-1",
    );
}

#[test]
fn a_look_that_began_before_the_fence_does_not_count_as_after_it() {
    let look = |ago: u32| {
        format!(
            "5:50..16:00 demand 0 active=1
             16:01 redis-jobs i-1 0
             16:02 drained i-1
             16:04 late-look {ago}
             16:04 tick"
        )
    };
    check_at_work(&look(2), "15:50 drain i-1");
    check_at_work(&look(1), "15:50 drain i-1\n16:04 terminate i-1");
}

#[test]
fn a_drain_past_its_deadline_ends_with_a_hand_back() {
    // 30 min from 15:50, and two more.
    let overdue = "5:50..48:00 demand 0 active=1\n";
    check_at_work(
        &format!(
            "5:41 silent i-1
             {overdue}48:10 demand 0
             48:11 ec2 i-1 terminated
             48:20 demand 0
             48:21 handed-back i-1 certain 1 0"
        ),
        "15:50 drain i-1
         48:00 terminate i-1
         48:00 alert drain_overdue
         48:10 hand_back i-1 uncertain
         48:20 hand_back i-1 certain",
    );
    let why = reasons(&format!("{AT_WORK}{overdue}"));
    assert!(why.contains("past its deadline: its jobs are handed back once EC2 shows it terminated"), "{why}");
}

#[test]
fn instances_that_ended_are_not_forgotten_before_their_jobs_are_handed_back() {
    let mut script = AT_WORK.to_owned();
    script += "5:45 ec2 i-1 terminated\n";
    let mut minute = 5;
    for n in 2..=30 {
        // Boots that were over before an agent registered: nothing to hand back, and in time forgotten.
        script += &format!(
            "{minute}:50 demand 5\n{minute}:50 accept\n{minute}:51 resume\n{minute}:55 ec2 i-{n} terminated\n"
        );
        minute += 1;
    }
    script += &format!("{minute}:00 resume\n{minute}:00 demand 5\n");
    let state = state_after(&script);
    assert!(state.instance(&InstanceId("i-1".to_owned())).is_some_and(Instance::owes_hand_back));
    assert!(state.instance(&InstanceId("i-2".to_owned())).is_none(), "the limit was reached");
    script +=
        &format!("{minute}:01 handed-back i-1 certain 1 0\n{minute}:01 accept\n{minute}:02 ec2 i-31 terminated\n");
    let state = state_after(&format!("{script}{minute}:10 demand 5\n"));
    assert!(state.instance(&InstanceId("i-1".to_owned())).is_none());
}

#[test]
fn it_wakes_for_hand_backs_that_are_due_and_for_nothing_else() {
    let at = |minutes: u64, seconds: u64| Some(Timestamp((minutes * 60 + seconds) * 1000));
    let ended = format!("{AT_WORK}5:45 ec2 i-1 terminated\n5:50 demand 0\n");
    assert_eq!(due_after(AT_WORK), None);
    assert_eq!(due_after(&ended), at(6, 50));
    assert_eq!(due_after(&format!("{ended}5:51 handed-back i-1 certain 0 1")), at(5, 56));
    assert_eq!(due_after(&format!("{ended}5:51 hand-back-fails i-1 certain")), at(5, 53));
    assert_eq!(due_after(&format!("{ended}5:51 handed-back i-1 certain 1 0")), None);
    // Not asked for without Redis, which is looked at all the time.
    assert_eq!(due_after(&format!("{ended}5:51 hand-back-fails i-1 certain\n6:00 blind")), None);
    // Redis has shown by itself that none is left.
    let drained = format!(
        "{AT_WORK}5:50..15:50 demand 0 active=1
         15:50 drained i-1 left=0
         15:50 redis-jobs i-1 1
         16:00 demand 0 active=1
         16:01 redis-jobs i-1 0"
    );
    assert_eq!(due_after(&drained), at(17, 0));
    assert_eq!(due_after(&format!("{drained}\n16:10 demand 0\n16:11 handed-back i-1 certain 0 1")), None);
}

#[test]
fn at_most_ten_hand_backs_are_asked_for_at_a_time() {
    let mut script = "0:00..5:00 demand 5\n5:00 accept\n".to_owned();
    for n in 1..=12 {
        script += &format!("5:30 ready i-{n}\n");
    }
    for n in 1..=12 {
        script += &format!("5:40 ec2 i-{n} terminated\n");
    }
    script += "5:50 demand 0\n5:50 tick\n5:51 handed-back i-1 certain 0 0\n5:51 tick\n";
    let expected: Vec<String> = (1..=12)
        .map(|n| format!("5:00 launch\n{} hand_back i-{n} certain", if n == 11 { "5:51" } else { "5:50" }))
        .take(11)
        .chain(["5:00 launch".to_owned()])
        .collect();
    let twelve = |config: &mut Config| {
        (config.max_instances, config.launches_per_tick) = (12, 12);
        config.policy.steps[0].instances = 12;
    };
    check_with(twelve, &script, &expected.join("\n"));
}

#[test]
fn an_interrupted_one_is_counted_out_at_once_whatever_it_was_doing() {
    // While it boots: no failed boot, and a replacement in the same tick.
    check(
        "0:00..5:00 demand 5\n5:00 accept\n5:10 demand 5\n5:11 notice i-1 120\n5:12 tick\n5:13 tick",
        "5:00 launch\n5:12 drain i-1\n5:12 launch",
    );
    // Without demand, or while the queue is paused, it is not replaced.
    check_at_work("5:50 demand 0\n5:51 notice i-1 120\n5:52 tick", "5:52 drain i-1");
    check_at_work("5:50 demand 5 paused\n5:51 notice i-1 120\n5:52 tick", "5:52 drain i-1");
    // While it drains for scale-in: not replaced, and only as long as EC2 leaves it. A later deadline changes nothing.
    check_at_work(
        "5:50..15:50 demand 0 active=1
         15:51 notice i-1 120
         15:52 tick
         15:53 notice i-1 150
         15:54 tick
         16:00 demand 0 active=1",
        "15:50 drain i-1\n15:52 drain i-1",
    );
    let state = state_after(&format!("{AT_WORK}5:50..15:50 demand 0 active=1\n15:51 notice i-1 120\n15:52 tick"));
    let instance = state.instance(&InstanceId("i-1".to_owned())).expect("it drains");
    assert_eq!(instance.phase_deadline(), Some(Timestamp((17 * 60 + 51) * 1000)));
    assert!(!instance.drain_can_be_cancelled());
    // Its drain has been done: nothing more is said to it.
    check_at_work(
        "5:50..15:50 demand 0 active=1\n15:50 drained i-1 left=1\n15:51 notice i-1 120\n15:52 tick",
        "15:50 drain i-1",
    );
}

#[test]
fn a_notice_that_came_to_naught_ends_as_any_drain_does() {
    check_at_work(
        "5:41 notice i-1 120
         5:50..6:50 demand 0 active=1
         6:51 jobs i-1 0
         6:51 drained i-1
         7:00 demand 0",
        "5:50 drain i-1\n7:00 terminate i-1",
    );
    // The agent says nothing, and EC2 does not take it: 5:50 + 111 s + 120 s.
    check_at_work(
        "5:41 notice i-1 120\n5:42 silent i-1\n5:50..9:50 demand 0 active=1",
        "5:50 drain i-1\n9:50 terminate i-1\n9:50 alert drain_overdue",
    );
}

#[test]
fn where_interrupted_ones_do_not_count_their_replacement_does_not_wait_for_their_end() {
    let two =
        "0:00..5:00 demand 15\n5:00 accept\n5:30 ready i-1\n5:30 ready i-2\n5:40 demand 15\n5:41 notice i-1 120\n";
    let script = format!(
        "{two}5:50 demand 15\n5:51 accept\n5:52 ready i-3\n5:53 notice i-2 120\n5:54 notice i-3 120\n6:00 demand 15"
    );
    let expected = "5:00 launch\n5:00 launch\n5:50 drain i-1\n5:50 launch\n6:00 drain i-2\n6:00 drain i-3\n6:00 launch";
    // Four bill then: twice the cap is the end of it.
    check_with(|config| config.interrupted_counts = false, &script, expected);
    check(&format!("{two}5:50..6:50 demand 15"), "5:00 launch\n5:00 launch\n5:50 drain i-1");
}

fn rebalance(config: &mut Config, rebalance: OnRebalance) {
    config.rebalance = rebalance;
}

#[test]
fn a_rebalance_recommendation_is_answered_by_a_replacement_first() {
    check_at_work(
        "5:41 rebalance i-1
         5:50..6:00 demand 5
         6:00 accept
         6:10..6:30 demand 5
         6:31 ready i-2
         6:40..7:00 demand 5
         7:01 rebalance i-1",
        "5:50 launch\n6:40 drain i-1",
    );
    // Not where nothing waits, where the cap leaves no room, or where it is to be ignored.
    check_at_work("5:41 rebalance i-1\n5:50..6:00 demand 0", "");
    let at_cap =
        "0:00..5:00 demand 15\n5:00 accept\n5:30 ready i-1\n5:30 ready i-2\n5:41 rebalance i-1\n5:50..6:00 demand 15";
    check(at_cap, "5:00 launch\n5:00 launch");
    let ignored = format!("{AT_WORK}5:41 rebalance i-1\n5:50..6:00 demand 5");
    check_with(|config| rebalance(config, OnRebalance::Ignore), &ignored, "5:00 launch");
    for (script, said) in [
        (format!("{AT_WORK}5:41 rebalance i-1\n5:50 demand 0"), "no job waits for a replacement"),
        (at_cap.to_owned(), "max_instances (2) leaves no room"),
        (
            format!("{AT_WORK}5:41 rebalance i-1\n5:50 demand 5\n5:51 accept\n6:00 demand 5"),
            "it works on until i-2 is ready",
        ),
    ] {
        let said_notes = notes(&script);
        assert!(said_notes.iter().any(|note| note.contains(said)), "{script}\nsaid {said_notes:#?}\nnot {said:?}");
    }
}

#[test]
fn a_replacement_under_way_is_neither_excess_nor_in_the_way() {
    // It does not boot: the recommended one works on, and another is tried.
    check_at_work(
        "5:41 rebalance i-1
         5:50 demand 5
         5:50 accept
         5:55 failed i-2 pull
         5:56 drained i-2
         6:00..6:10 demand 5
         6:10 accept
         6:20 ready i-3
         6:20 demand 5",
        "5:50 launch\n5:55 drain i-2\n6:00 terminate i-2\n6:10 launch\n6:20 drain i-1",
    );
    // The recommended one is interrupted meanwhile: its replacement is under way already.
    check_at_work(
        "5:41 rebalance i-1\n5:50 demand 5\n5:50 accept\n5:55 notice i-1 120\n6:00..7:00 demand 5",
        "5:50 launch\n6:00 drain i-1",
    );
    // EC2 refuses them: what replaced nothing does not count in the hour's two, and the back-off is kept.
    let refused = "refuse capacity InsufficientInstanceCapacity";
    let script = format!(
        "{AT_WORK}5:41 rebalance i-1
         5:50 demand 5
         5:50 {refused}
         6:00..8:50 demand 5
         8:50 {refused}
         9:00..14:50 demand 5"
    );
    check(&script, "5:00 launch\n5:50 launch\n8:50 launch\n14:50 launch");
    // More are wanted meanwhile: what it will replace is not counted on.
    let sooner = |config: &mut Config| {
        (config.max_instances, config.policy.steps[1].over) = (3, Duration::from_secs(60));
    };
    let script = format!("{AT_WORK}5:41 rebalance i-1\n5:50 demand 5\n5:50 accept\n6:00..7:00 demand 15");
    check_with(sooner, &script, "5:00 launch\n5:50 launch\n7:00 launch");
    // One launch in a tick: what is missing comes first.
    let slowly = |config: &mut Config| {
        (config.max_instances, config.launches_per_tick, config.policy.steps[1].over) = (4, 1, Duration::ZERO);
    };
    let script = format!("{AT_WORK}5:41 rebalance i-1\n5:50 demand 15\n5:51 accept\n6:00 demand 15");
    check_with(slowly, &script, "5:00 launch t-1\n5:50 launch t-2\n6:00 launch t-3");
    // Of two that are ready and one too many, the recommended one goes.
    let one_too_many = |recommended: &str| {
        format!(
            "{AT_WORK}5:41 jobs i-1 0
             5:42 operator-drain i-1
             5:50 demand 5
             5:51 accept
             5:52 ready i-2
             5:53 {recommended}
             5:54 cancel i-1
             5:55 ready i-1
             6:00 demand 5"
        )
    };
    let expected = "5:00 launch\n5:50 drain i-1\n5:50 launch\n6:00 cancel_drain i-1\n6:00 drain";
    check(&one_too_many("tick"), &format!("{expected} i-2"));
    check(&one_too_many("rebalance i-1"), &format!("{expected} i-1"));
    // Nothing waits any more: both go.
    let idle = |config: &mut Config| config.policy.idle = Duration::from_secs(60);
    let script = format!("{AT_WORK}5:41 rebalance i-1\n5:50 demand 5\n5:50 accept\n6:00..7:00 demand 0");
    check_with(idle, &script, "5:00 launch\n5:50 launch\n7:00 drain i-1\n7:00 drain i-2");
}

#[test]
fn replacements_never_churn() {
    let config = |config: &mut Config| {
        config.max_instances = 4;
        config.boot_timeout = Duration::from_secs(3600);
    };
    let two = "0:00..5:00 demand 15\n5:00 accept\n5:30 ready i-1\n5:30 ready i-2\n5:40 demand 15\n";
    // One at a time, the longest recommended first.
    let script = format!("{two}5:41 rebalance i-2\n5:42 rebalance i-1\n5:50..6:00 demand 15");
    check_with(config, &script, "5:00 launch\n5:00 launch\n5:50 launch");
    let said = notes_with(config, &script);
    assert!(said.iter().any(|note| note.contains("i-1; it works on: another is being replaced")), "{said:#?}");
    // Two in an hour, then it works on until the first is an hour old. A replacement that is recommended against within
    // its first hour is not replaced in turn.
    let three = |config: &mut Config| {
        (config.max_instances, config.policy.steps[1].instances, config.drain_timeout) =
            (5, 3, Duration::from_secs(7200));
    };
    let script = "0:00..5:00 demand 15
         5:00 accept
         5:30 ready i-1
         5:30 ready i-2
         5:30 ready i-3
         5:40 demand 15
         5:41 rebalance i-2
         5:50 demand 15
         5:51 accept
         5:52 ready i-4
         6:00 demand 15
         6:01 drained i-2
         6:05 rebalance i-1
         6:05 rebalance i-4
         6:10 demand 15
         6:11 ec2 i-2 terminated
         6:12 accept
         6:13 ready i-5
         6:20 demand 15
         6:21 drained i-1
         6:22 rebalance i-3
         6:30 demand 15
         6:31 ec2 i-1 terminated
         6:40..65:40 demand 15";
    let expected = "5:00 launch\n5:00 launch\n5:00 launch
         5:50 launch\n6:00 drain i-2\n6:10 terminate i-2
         6:10 launch\n6:20 drain i-1\n6:30 terminate i-1";
    let said = notes_with(three, script);
    for why in ["i-3; it works on: 2 in an hour is the limit", "i-4; it works on: it is a replacement itself"] {
        assert!(said.iter().any(|note| note.contains(why)), "{said:#?}");
    }
    check_with(three, script, expected);
    check_with(three, &format!("{script}\n65:50 demand 15"), &format!("{expected}\n65:50 launch"));
    // A replacement is replaced as any other when it is recommended against after its first hour.
    let later = |at: &str| {
        format!(
            "{AT_WORK}5:41 rebalance i-1
             5:50 demand 5
             5:51 accept
             5:52 ready i-2
             6:00 demand 5
             6:01 jobs i-1 0
             6:01 drained i-1
             6:10 demand 5
             6:11 ec2 i-1 terminated
             6:20..65:40 demand 5
             {at} rebalance i-2
             65:50 demand 5"
        )
    };
    let expected = "5:00 launch\n5:50 launch\n6:00 drain i-1\n6:10 terminate i-1";
    check_with(|config| config.max_instances = 3, &later("65:49"), expected);
    check_with(|config| config.max_instances = 3, &later("65:50"), &format!("{expected}\n65:50 launch"));
}

#[test]
fn a_fence_drains_at_once_and_is_taken_back_by_an_operator_only() {
    let fence = |config: &mut Config| (config.rebalance, config.max_instances) = (OnRebalance::Fence, 4);
    // Drained and replaced in the same tick: the demand that wants the replacement does not take the drain back.
    let script = format!("{AT_WORK}5:41 rebalance i-1\n5:50..6:00 demand 5");
    check_with(fence, &script, "5:00 launch\n5:50 drain i-1\n5:50 launch");
    // The operator has the last word on a recommendation.
    let script = format!(
        "{AT_WORK}5:41 rebalance i-1
         5:50 demand 0
         5:51 cancel i-1
         5:52 tick
         5:53 ready i-1
         5:53 rebalance i-1
         6:00..6:30 demand 5"
    );
    check_with(fence, &script, "5:00 launch\n5:50 drain i-1\n5:52 cancel_drain i-1\n6:00 drain i-1\n6:00 launch");
    let script = script.replace("5:53 rebalance i-1", "5:53 rebalance i-1 5:41");
    check_with(fence, &script, "5:00 launch\n5:50 drain i-1\n5:52 cancel_drain i-1");
    // Nor does demand take back the scale-in of one that would be fenced.
    let script = format!(
        "{AT_WORK}5:50..15:50 demand 0 active=1
         15:51 rebalance i-1
         16:00..21:00 demand 5 active=1
         21:00 tick"
    );
    check_with(fence, &script, "5:00 launch\n15:50 drain i-1\n21:00 launch");
    // Also while it boots, and without demand.
    let boots = "0:00..5:00 demand 5\n5:00 accept\n5:05 rebalance i-1\n5:10 demand 0";
    check_with(fence, boots, "5:00 launch\n5:10 drain i-1");
    // Twice in an hour, then the third works on until the first is an hour old.
    let script = format!(
        "{AT_WORK}5:41 rebalance i-1
         5:50 demand 5
         5:51 accept
         5:52 ready i-2
         5:53 rebalance i-2
         6:00 demand 5
         6:01 accept
         6:02 ready i-3
         6:03 rebalance i-3
         6:10..30:00 demand 5"
    );
    let expected = "5:00 launch\n5:50 drain i-1\n5:50 launch\n6:00 drain i-2\n6:00 launch";
    check_with(fence, &script, expected);
    let said = notes_with(fence, &script);
    assert!(said.iter().any(|note| note.contains("i-3; it works on: 2 in an hour")), "{said:#?}");
}
