//! Drains of a worker that has the shim: fenced at once, its jobs finished or handed back, in time for any deadline.

use core::time::Duration;

use spillway_machine::{
    Action, Command, Config, Event, Graceful, Missing, Observation, Phase, Report, ShimJob, ShimProcess, Timestamp,
};

use crate::world::{Life, SECOND, T0, config, seen};

/// A process with jobs that began at these seconds.
fn process(pid: u32, fenced: bool, began: &[u64]) -> ShimProcess {
    let job = |began: &u64| ShimJob { class: "q/encode".into(), began: Timestamp(T0 + began * SECOND) };
    ShimProcess {
        pid,
        fenced,
        can_hand_back: true,
        jobs: began.iter().map(job).collect(),
        heard_at: Timestamp(0),
        workers: vec![],
    }
}

fn shims(processes: &[ShimProcess]) -> Event {
    Event::ShimsSeen(processes.to_vec())
}

/// Ready, with these processes; jobs of the kind are known to take 100 s.
fn ready(processes: &[ShimProcess]) -> Life {
    let mut life = Life::ready(config(&[]));
    life.on(shims(processes));
    for _ in 0..5 {
        life.on(Event::JobFinished { class: "q/encode".into(), took: Duration::from_secs(100) });
    }
    life.did_all();
    life
}

fn hand_back(pid: u32) -> Action {
    Action::HandBack { pid }
}

fn handed_back(pid: u32, jobs: u32, kept: u32) -> Event {
    Event::HandedBack { pid, jobs, kept }
}

#[test]
fn a_scale_in_fences_waits_for_the_last_job_and_stops() {
    let mut life = ready(&[process(1, false, &[0]), process(2, false, &[])]);
    assert_eq!(life.drain("d", 1800).did_all(), [Action::Fence]);
    // Nothing runs in 2, but 1 has a job, and neither has confirmed the fence.
    assert_eq!(life.on(shims(&[process(1, true, &[0]), process(2, false, &[])])).did_all(), []);
    assert_eq!(life.on(shims(&[process(1, true, &[]), process(2, false, &[])])).did_all(), [], "2 may yet take one");
    assert_eq!(life.on(shims(&[process(1, true, &[]), process(2, true, &[7])])).did_all(), [], "as it did");
    assert_eq!(life.at(50).on(shims(&[process(1, true, &[]), process(2, true, &[])])).did_all(), [Action::StopWorker]);
    assert_eq!(life.on(Event::WorkerStopped { killed: false }).did_all(), [Action::HandBackOutside]);
    life.on(Event::HandedBackOutside { jobs: 0, left: Some(0), again: false });
    let outcome = life.outcome();
    assert_eq!((outcome.clean, outcome.jobs_finished, outcome.handed_back, outcome.killed), (true, 1, 0, false));
}

#[test]
fn what_cannot_finish_goes_back_at_once_and_the_rest_in_time() {
    // Until when jobs that take 100 s may run: the notice leaves 120 s, less the margin of 10 s.
    let late = process(1, true, &[0]);
    let early = process(2, true, &[0]);
    let mut life = ready(&[late.clone(), early.clone()]);
    life.at(0).interrupt(120);
    assert_eq!(life.on(shims(&[late.clone(), early.clone()])).did_all(), [Action::Fence], "100 s are left to both");
    let mut life = ready(&[process(1, false, &[0])]);
    life.at(1).interrupt(105);
    assert_eq!(life.did_all(), [Action::Fence, hand_back(1)], "95 s from the start are not enough");

    // One process cannot make it, the other can.
    let mut life = ready(&[]);
    let (late, early) = (process(1, true, &[80]), process(2, true, &[10]));
    life.on(shims(&[late.clone(), early.clone()])).at(90).interrupt(160);
    assert_eq!(life.did_all(), [Action::Fence, hand_back(1)]);
    assert_eq!(life.on(handed_back(1, 1, 0)).did_all(), []);
    assert_eq!(
        life.on(shims(&[late.clone(), process(2, true, &[])])).did_all(),
        [Action::StopWorker, Action::KillWorker]
    );
    life.on(Event::WorkerStopped { killed: true }).on(Event::HandedBackOutside {
        jobs: 0,
        left: Some(0),
        again: false,
    });
    let outcome = life.outcome();
    assert_eq!((outcome.clean, outcome.jobs_finished, outcome.handed_back), (false, 1, 1));

    // A process goes back as a whole: a job that may finish keeps its neighbour.
    let mut life = ready(&[process(1, true, &[10, 80])]);
    assert_eq!(life.at(90).interrupt(160).did_all(), [Action::Fence]);
    assert_eq!(life.at(149).did_all(), []);
    assert_eq!(life.at(150).did_all(), [hand_back(1)], "the margin begins");
}

#[test]
fn at_the_margin_everything_goes_back_and_nothing_is_awaited_for_long() {
    let unknown = |pid, fenced| ShimProcess {
        jobs: vec![ShimJob { class: "q/other".into(), began: Timestamp(T0) }],
        ..process(pid, fenced, &[])
    };
    // Whether the process answers, and when the worker is then killed.
    for (answer, killed_at) in [(Some((1, 0)), 110), (Some((0, 1)), 110), (None, 112)] {
        let mut life = ready(&[unknown(1, false)]);
        assert_eq!(life.interrupt(120).on(shims(&[unknown(1, true)])).did_all(), [Action::Fence]);
        assert_eq!(life.at(109).did_all(), []);
        assert_eq!(life.machine.next_deadline(Timestamp(life.now)), Some(Timestamp(T0 + 110 * SECOND)));
        assert_eq!(life.at(110).did_all(), [hand_back(1)]);
        if let Some((jobs, kept)) = answer {
            life.on(handed_back(1, jobs, kept));
        } else {
            assert_eq!(life.machine.next_deadline(Timestamp(life.now)), Some(Timestamp(T0 + 112 * SECOND)));
            assert_eq!(life.at(111).did_all(), []);
        }
        assert_eq!(life.at(killed_at).did_all(), [Action::StopWorker, Action::KillWorker], "{answer:?}");
    }
}

#[test]
fn a_notice_with_little_time_or_none_hands_back_all_the_same() {
    for left in [0, 5, 10] {
        let mut life = ready(&[process(1, false, &[0])]);
        life.at(50).interrupt(50 + left);
        assert_eq!(life.did_all(), [Action::Fence, hand_back(1)], "{left} s left");
        assert_eq!(life.on(handed_back(1, 1, 0)).did_all(), [Action::StopWorker, Action::KillWorker]);
        assert_eq!(life.on(Event::WorkerStopped { killed: true }).did_all(), [Action::HandBackOutside]);
    }
    // In the past, with nobody who answers.
    let mut life = ready(&[process(1, false, &[0])]);
    life.at(50).interrupt(0);
    assert_eq!(life.did_all(), [Action::Fence, hand_back(1)]);
    assert_eq!(life.at(52).did_all(), [Action::StopWorker, Action::KillWorker]);
}

#[test]
fn a_stop_that_is_told_twice_is_one_hand_back_and_one_report() {
    let mut life = ready(&[process(1, true, &[0])]);
    life.interrupt(60).on(shims(&[process(1, true, &[])])).did_all();
    assert_eq!(life.on(Event::WorkerStopped { killed: false }).did_all(), [Action::HandBackOutside]);
    assert_eq!(life.on(Event::WorkerStopped { killed: true }).did_all(), []);
    life.on(Event::HandedBackOutside { jobs: 1, left: Some(0), again: false });
    let Phase::Drained(outcome) = life.machine.phase() else { panic!("{:?}", life.machine.phase()) };
    assert_eq!((outcome.handed_back, outcome.clean, outcome.killed), (1, false, true));
}

#[test]
fn hand_back_from_outside_is_tried_until_redis_answers_or_time_is_up() {
    let stopped = || {
        let mut life = ready(&[process(1, true, &[0])]);
        life.interrupt(60).on(shims(&[process(1, true, &[])])).on(Event::WorkerStopped { killed: false }).did_all();
        life
    };
    let silent = || Event::HandedBackOutside { jobs: 0, left: None, again: true };
    let mut life = stopped();
    assert_eq!(life.at(10).on(silent()).did_all(), []);
    assert_eq!(life.at(11).did_all(), [Action::HandBackOutside]);
    assert_eq!(life.on(Event::HandedBackOutside { jobs: 2, left: Some(1), again: true }).did_all(), []);
    assert_eq!(life.at(12).did_all(), [Action::HandBackOutside]);
    life.on(Event::HandedBackOutside { jobs: 1, left: Some(0), again: false });
    assert_eq!((life.outcome().handed_back, life.outcome().jobs_left), (3, Some(0)));
    let mut life = stopped();
    life.at(59).on(silent());
    assert!(matches!(life.machine.phase(), Phase::Draining(_)));
    life.at(60).on(silent());
    assert_eq!((life.outcome().jobs_left, life.outcome().clean), (None, true));
}

#[test]
fn a_fenced_worker_that_does_not_go_is_killed_long_before_the_deadline() {
    let mut life = ready(&[process(1, true, &[])]);
    assert_eq!(life.drain("d", 1800).did_all(), [Action::Fence, Action::StopWorker]);
    assert_eq!(life.at(29).did_all(), []);
    assert_eq!(life.at(30).did_all(), [Action::KillWorker]);
}

#[test]
fn a_process_without_the_shim_is_waited_for_by_its_locks() {
    let mut life = ready(&[process(1, true, &[])]);
    life.look(seen(Graceful::No, 0, Some(1))).drain("d", 1800);
    assert_eq!(life.did_all(), [Action::Fence, Action::StopWorker], "a look from before the drain says nothing");
    let mut life = ready(&[process(1, true, &[0])]);
    life.drain("d", 1800).look(seen(Graceful::No, 0, Some(2))).on(shims(&[process(1, true, &[])])).did_all();
    assert!(matches!(life.machine.phase(), Phase::Draining(_)));
    assert_eq!(life.did_all(), [], "somebody renews two locks");
    assert_eq!(life.look(seen(Graceful::No, 0, Some(0))).did_all(), [Action::StopWorker]);
}

#[test]
fn a_cancelled_drain_lets_the_worker_loose() {
    let mut life = ready(&[process(1, true, &[0])]);
    assert_eq!(life.drain("d", 1800).cancel().did_all(), [Action::Fence, Action::Unfence]);
    assert_eq!(life.machine.phase(), &Phase::Proving);
    assert_eq!(life.machine.missing(Timestamp(life.now)), Some(Missing::Fenced));
    life.on(shims(&[process(1, false, &[0])])).look(seen(Graceful::Yes, 0, Some(1)));
    assert!(matches!(life.machine.phase(), Phase::Ready { .. }));

    // A process that is frozen, its jobs gone back, must be started again.
    let mut life = ready(&[process(1, true, &[0]), process(2, true, &[0])]);
    life.at(90).drain("d", 100).on(handed_back(1, 1, 0)).on(handed_back(2, 1, 0)).cancel().did_all();
    life.on(Event::WorkerStopped { killed: true }).on(Event::HandedBackOutside {
        jobs: 0,
        left: Some(0),
        again: false,
    });
    assert_eq!(life.did_all(), [Action::HandBackOutside, Action::Unfence, Action::StartWorker]);
}

#[test]
fn a_worker_found_fenced_is_let_loose_unless_the_coordinator_wants_it_so() {
    // An agent that restarted in the middle of a drain does not know of it.
    let mut life = ready(&[process(1, true, &[])]);
    assert_eq!(life.at(100).did_all(), [], "the coordinator had no chance to say so");
    life.on(Event::Connected { epoch: 1 });
    assert_eq!(life.at(119).did_all(), []);
    assert_eq!(life.at(120).did_all(), [Action::Unfence]);
    assert_eq!(life.at(121).did_all(), [], "once");

    let mut life = ready(&[process(1, true, &[0])]);
    life.on(Event::Connected { epoch: 1 }).at(10).drain("d", 1800).did_all();
    assert_eq!(life.at(100).did_all(), [], "it drains");
}

#[test]
fn a_rehearsal_is_told_and_stands_like_a_notice() {
    let mut life = ready(&[process(1, false, &[0])]);
    let deadline = Timestamp(T0 + 120 * SECOND);
    life.on(Event::Command { epoch: 1, id: "r".into(), command: Command::Rehearse { deadline } });
    assert_eq!(life.did_all(), [Action::Report(Report::Rehearsed { at: deadline }), Action::Fence]);
    assert!(life.cancel().refused().is_some());
}

#[test]
fn a_blocked_event_loop_holds_a_scale_in_but_not_a_notice() {
    // It cannot confirm the fence: it may take a job as soon as it wakes.
    let mut life = ready(&[process(1, false, &[])]);
    let busy = Observation { jobs: None, evidence: None, ..seen(Graceful::Yes, 0, Some(0)) };
    life.drain("d", 1800).at(30).look(busy);
    assert_eq!(life.did_all(), [Action::Fence]);
    life.interrupt(150).did_all();
    assert_eq!(life.at(140).did_all(), [Action::StopWorker, Action::KillWorker]);
}

#[test]
fn settings_move_the_margin() {
    let mut life = Life::ready(Config { drain_margin: Duration::from_secs(30), ..config(&[]) });
    life.on(shims(&[process(1, true, &[0])])).interrupt(120).did_all();
    assert_eq!(life.at(89).did_all(), []);
    assert_eq!(life.at(90).did_all(), [hand_back(1)]);
}
