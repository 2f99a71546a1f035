//! An instance that nobody looks after ends itself, and never while it has a job.

use core::time::Duration;

use spillway_machine::{
    Action, Command, Config, Event, Graceful, LastReason, Observation, Phase, ShimJob, ShimProcess, Timestamp,
};

use crate::world::{Life, SECOND, T0, config, seen};

const ORPHAN: u64 = 900;

/// Ready, with the shim, so many jobs, and a coordinator.
fn ready(config: Config, jobs: usize) -> Life {
    let mut life = Life::ready(config);
    life.on(Event::Connected { epoch: 1 }).on(shims(jobs)).did_all();
    life
}

fn shims(jobs: usize) -> Event {
    let job = ShimJob { class: "q/a".into(), began: Timestamp(T0) };
    Event::ShimsSeen(vec![ShimProcess {
        pid: 1,
        fenced: false,
        can_hand_back: true,
        jobs: vec![job; jobs],
        heard_at: Timestamp(0),
        workers: vec![],
    }])
}

fn fenced() -> Event {
    Event::ShimsSeen(vec![ShimProcess {
        pid: 1,
        fenced: true,
        can_hand_back: true,
        jobs: vec![],
        heard_at: Timestamp(0),
        workers: vec![],
    }])
}

fn lost() -> Event {
    Event::Disconnected { token_refused: false }
}

fn off(reason: LastReason) -> Action {
    Action::PowerOff(reason)
}

/// From the fence to the end.
fn ends(life: &mut Life, reason: LastReason) {
    assert_eq!(life.did_all(), [Action::Fence]);
    stops_and_ends(life, reason);
}

fn stops_and_ends(life: &mut Life, reason: LastReason) {
    assert_eq!(life.on(fenced()).did_all(), [Action::StopWorker]);
    life.on(Event::WorkerStopped { killed: false }).on(Event::HandedBackOutside {
        jobs: 0,
        left: Some(0),
        again: false,
    });
    let did = life.poll().did_all();
    assert_eq!(did.last(), Some(&off(reason)), "{did:?}");
    let again = life.now + 60 * SECOND;
    assert!(life.machine.next_deadline(Timestamp(life.now)).is_some_and(|at| at.0 <= again));
    life.now = again;
    assert_eq!(life.poll().did_all(), [off(reason)], "until it works");
}

#[test]
fn without_a_coordinator_and_a_job_it_ends_itself() {
    let mut life = ready(config(&[]), 0);
    assert_eq!(life.at(10_000).did_all(), [], "the coordinator is there");
    let mut life = ready(config(&[]), 0);
    life.at(100).on(lost());
    life.at(100 + ORPHAN - 1).look(seen(Graceful::Yes, 0, Some(0)));
    assert_eq!(life.did_all(), []);
    life.at(100 + ORPHAN);
    ends(&mut life, LastReason::Orphaned);
}

#[test]
fn a_coordinator_that_was_never_there_is_missed_from_the_start() {
    let mut life = Life::new(config(&[0]));
    life.on(Event::Identified).did_all();
    assert_eq!(life.at(ORPHAN - 1).did_all(), []);
    assert_eq!(life.at(ORPHAN).did_all(), [Action::AbortStep, Action::Fence]);
}

#[test]
fn a_job_keeps_it_alive_and_its_end_does_not() {
    let mut life = ready(config(&[]), 1);
    life.on(lost());
    for minute in 1..=120 {
        assert_eq!(life.at(minute * 60).on(shims(1)).did_all(), [], "minute {minute}");
    }
    life.on(shims(0));
    ends(&mut life, LastReason::Orphaned);
}

#[test]
fn unknown_is_not_zero_but_does_not_last_for_ever() {
    // Primary gone: neither coordinator nor Redis, and no shim.
    let mut life = Life::ready(config(&[]));
    life.on(Event::Connected { epoch: 1 }).on(lost()).did_all();
    let blind = || Observation { jobs: None, evidence: None, ..seen(Graceful::No, 0, None) };
    for minute in 1..60 {
        assert_eq!(life.at(minute * 60).look(blind()).did_all(), [], "minute {minute}");
    }
    assert_eq!(life.at(3601).look(blind()).did_all(), [Action::Fence]);
}

#[test]
fn a_coordinator_that_comes_back_finds_it_at_work() {
    let mut life = ready(config(&[]), 0);
    life.on(lost()).at(ORPHAN).did_all();
    assert!(matches!(life.machine.phase(), Phase::Draining(_)));
    assert_eq!(life.on(Event::Connected { epoch: 2 }).did_all(), [Action::Unfence]);
    assert_eq!(life.machine.phase(), &Phase::Proving);
    // The absence before counts for nothing.
    assert_eq!(life.on(shims(0)).on(lost()).at(ORPHAN + 800).did_all(), []);

    // EC2's notice stands, whoever comes back.
    let mut life = ready(config(&[]), 1);
    life.on(lost()).interrupt(5000).at(1000).on(Event::Connected { epoch: 2 });
    assert!(matches!(life.machine.phase(), Phase::Draining(_)));
}

#[test]
fn drained_and_then_forgotten_it_ends_itself_too() {
    let mut life = ready(config(&[]), 0);
    life.drain("d", 600).on(fenced()).stopped(false, Some(0)).did_all();
    life.on(lost()).at(ORPHAN - 1).did_all();
    assert_eq!(life.at(ORPHAN).did_all(), [off(LastReason::Orphaned)]);
}

#[test]
fn too_old_it_finishes_its_jobs_and_ends_itself() {
    let day = Duration::from_secs(86_400);
    let mut life = ready(Config { max_life: Some(day), age: Duration::from_secs(400), ..config(&[]) }, 1);
    assert_eq!(life.at(85_999).did_all(), []);
    assert_eq!(life.at(86_000).did_all(), [Action::Fence]);
    assert_eq!(life.on(shims(0)).did_all(), [], "not fenced yet");
    assert_eq!(life.on(fenced()).did_all(), [Action::StopWorker]);
    life.on(Event::WorkerStopped { killed: false }).on(Event::HandedBackOutside {
        jobs: 0,
        left: Some(0),
        again: false,
    });
    assert_eq!(life.poll().did_all().last(), Some(&off(LastReason::TooOld)));
}

/// The coordinator's word, where EC2 refuses to terminate the instance.
fn told(epoch: u64) -> Event {
    Event::Command { epoch, id: "p".into(), command: Command::PowerOff }
}

#[test]
fn told_to_power_off_it_does_and_never_under_a_job() {
    let mut life = ready(config(&[]), 0);
    life.drain("d", 600).on(fenced()).stopped(false, Some(0)).did_all();
    assert_eq!(life.on(told(1)).did_all(), [off(LastReason::Told)]);
    life.cancel();
    assert!(matches!(life.machine.phase(), Phase::Drained(_)), "nothing cancels it");

    let mut life = ready(config(&[]), 1);
    assert_eq!(life.on(told(1)).did_all(), [Action::Fence]);
    assert_eq!(life.on(shims(1)).did_all(), [], "its job runs on");
    stops_and_ends(&mut life, LastReason::Told);
}

#[test]
fn an_old_leader_does_not_power_it_off() {
    let mut life = ready(config(&[]), 0);
    life.on(Event::Connected { epoch: 2 });
    assert_eq!(life.on(told(1)).did_all(), []);
    assert!(matches!(life.machine.phase(), Phase::Ready { .. }));
}

/// Drained because of a notice for `at`, in seconds, of an instance that was `age` old at 0.
fn interrupted(age: u64, at: u64) -> Life {
    let mut life = ready(Config { age: Duration::from_secs(age), ..config(&[]) }, 0);
    life.at(at - 100).interrupt(at).on(fenced()).stopped(false, Some(0)).did_all();
    assert!(matches!(life.machine.phase(), Phase::Drained(_)));
    life
}

#[test]
fn what_ec2_interrupts_in_its_first_hour_is_left_to_ec2() {
    // A minute beyond what the notice says.
    for told_at in [905, 1000] {
        let mut life = interrupted(0, 1000);
        assert_eq!(life.at(told_at).on(told(1)).did_all(), [], "{told_at}");
        let next = life.machine.next_deadline(Timestamp(life.now));
        assert_eq!(next, Some(Timestamp(T0 + 1060 * SECOND)), "it wakes for it");
        assert_eq!(life.at(1059).did_all(), []);
        assert_eq!(life.at(1060).did_all(), [off(LastReason::Told)]);
        assert_eq!(life.at(1119).did_all(), []);
        assert_eq!(life.at(1120).did_all(), [off(LastReason::Told)], "until it works");
    }
    let mut life = interrupted(2599, 1000);
    life.on(lost());
    assert_eq!(life.at(1059).on(told(1)).did_all(), [], "a second before the hour is over");
}

#[test]
fn an_orphan_that_ec2_interrupts_in_its_first_hour_is_left_to_ec2() {
    let mut life = ready(config(&[]), 0);
    life.on(lost()).at(800).interrupt(910).on(fenced()).stopped(false, Some(0)).did_all();
    assert_eq!(life.at(969).did_all(), [], "it is one since {ORPHAN}");
    assert_eq!(life.at(970).did_all(), [off(LastReason::Orphaned)]);
}

#[test]
fn after_its_first_hour_or_for_a_rehearsal_nothing_waits_for_ec2() {
    let mut life = interrupted(2600, 1000);
    assert_eq!(life.on(told(1)).did_all(), [off(LastReason::Told)]);
    let mut life = ready(config(&[]), 0);
    let deadline = Timestamp(T0 + 100 * SECOND);
    life.on(Event::Command { epoch: 1, id: "r".into(), command: Command::Rehearse { deadline } });
    life.on(fenced()).stopped(false, Some(0)).did_all();
    assert_eq!(life.on(told(1)).did_all(), [off(LastReason::Told)]);
}
