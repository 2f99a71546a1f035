//! What was said, seen or decided before is not taken for now: words that crossed a command, that were said to another
//! leader or before a reboot; lists and deadlines from before a while without any. Each was found by the simulator.

mod world;

use spillway_brain::InstanceId;

use world::{check, reasons, state_after};

/// One instance with a job, then 0 demand until it drains at 15:50.
const DRAINS: &str = "0:00..5:00 demand 5
    5:00 accept
    5:30 ready i-1
    5:30 jobs i-1 1
    5:40 demand 5 active=1
    5:50..15:50 demand 0 active=1\n";

#[track_caller]
fn check_draining(script: &str, expected: &str) {
    check(&format!("{DRAINS}{script}"), &format!("5:00 launch\n15:50 drain i-1\n{expected}"));
}

#[test]
fn a_drained_agents_word_that_crossed_the_cancellation_is_not_of_the_next_drain() {
    // It was drained a moment before it was told to go back to work, and works again when that is heard.
    let crossed = "16:00..21:00 demand 5 active=1
         21:00 hold
         21:02 operator-drain i-1
         21:03 redis-jobs i-1 2
         21:04 tick
         21:05 drained i-1
         21:10 demand 0 active=2\n";
    let began = "21:00 cancel_drain i-1\n21:04 drain i-1\n";
    check_draining(crossed, began);
    // It is told again, and by then no older word is under way: what its drain leaves is handed back.
    check_draining(
        &format!("{crossed}21:20..23:50 demand 0 active=2\n24:01 drained i-1\n24:10 demand 0 active=2"),
        &format!("{began}21:20 drain i-1\n24:10 hand_back i-1 certain"),
    );
}

#[test]
fn an_agent_that_starts_over_is_not_drained_whatever_it_said_before() {
    let drained = "15:51 drained i-1 left=1\n16:00 demand 0 active=1\n";
    for again in ["16:01 proving i-1", "16:01 registers i-1\n16:01 silent i-1"] {
        check_draining(
            &format!("{drained}{again}\n16:02 handed-back i-1 certain 0 1\n16:10 demand 0 active=1"),
            "16:00 hand_back i-1 certain\n16:10 drain i-1",
        );
    }
}

#[test]
fn what_an_agent_said_to_the_leader_before_counts_once_it_says_it_again() {
    let another_led = "15:51 drained i-1
         15:52 depose
         15:53 silent i-1
         15:54 redis-jobs i-1 2
         15:55 lead\n";
    check_draining(&format!("{another_led}16:00 demand 0 active=2"), "");
    check_draining(
        &format!(
            "{another_led}16:00 demand 0 active=2
             16:01 redis-jobs i-1 0
             16:02 drained i-1
             16:10 demand 0"
        ),
        "16:10 terminate i-1",
    );
}

#[test]
fn a_drain_that_came_due_while_nobody_led_is_told_first() {
    // Due at 45:50; two minutes from when somebody leads again.
    let away = "60:00 silent i-1\n60:01 restart\n";
    check_draining(&format!("{away}60:10..62:00 demand 0 active=1"), "60:10 drain i-1");
    check_draining(
        &format!("{away}60:10..62:10 demand 0 active=1"),
        "60:10 drain i-1\n62:10 terminate i-1\n62:10 alert drain_overdue",
    );
}

#[test]
fn two_lists_without_an_instance_prove_nothing_of_the_time_between_them() {
    let worked = "0:00..5:00 demand 5\n5:00 accept\n5:30 ready i-1\n5:40 demand 5\n5:41 vanish i-1\n5:42 ready i-1\n5:50 demand 5\n";
    check(
        &format!(
            "{worked}5:51 unlisted
             6:00..15:50 demand 5
             15:51 listed
             16:00 demand 5
             16:01 appear i-1
             16:10 demand 5"
        ),
        "5:00 launch",
    );
    // All along it is the end, as ever.
    check(&format!("{worked}6:00..8:00 demand 5"), "5:00 launch\n8:00 hand_back i-1 uncertain\n8:00 launch");
}

#[test]
fn what_its_agent_drains_by_itself_is_replaced_and_is_no_failed_boot() {
    let script = "0:00..5:00 demand 5
         5:00 accept
         5:30 ready i-1
         5:41 draining i-1
         5:50 demand 5
         5:51 drained i-1
         5:51 tick
         6:00 demand 5";
    check(script, "5:00 launch\n5:50 drain i-1\n5:50 launch\n6:00 terminate i-1");
    let why = reasons(script);
    assert!(why.contains("drain i-1: its agent drains by itself: older than max_life"), "{why}");
    let state = state_after(script);
    let instance = state.instance(&InstanceId("i-1".to_owned())).expect("it ends");
    assert!(!instance.boot_failed);
}

#[test]
fn a_drain_that_would_begin_again_at_once_is_not_taken_back() {
    check_draining("15:51 cancel i-1\n16:00 demand 0 active=1", "");
    check_draining("15:51 hold\n15:52 cancel i-1\n16:00 demand 0 active=1", "16:00 cancel_drain i-1");
    assert!(state_after(DRAINS).would_drain_again());
}
