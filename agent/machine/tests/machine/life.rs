//! The machine's life as data: events at times, and the actions and phases that must follow.

use core::time::Duration;

use spillway_machine::{
    Action, Command, Config, DrainOutcome, DrainSignal, Event, Evidence, Failure, Graceful, Observation, Phase, Report,
    Stage, StepOutcome, Timestamp, Worker,
};

use crate::world::{Life, SECOND, T0, config, seen};

fn finished(index: usize, outcome: StepOutcome) -> Event {
    Event::StepFinished { index, outcome }
}

fn run(index: usize, attempt: u32) -> Action {
    Action::RunStep { index, attempt }
}

#[test]
fn steps_run_in_order_and_are_retried_as_often_as_configured() {
    let mut life = Life::new(config(&[1, 0]));
    assert_eq!(life.at(0).did(), []);
    assert_eq!(life.on(Event::Identified).did(), [run(0, 1)]);
    assert_eq!(life.on(Event::Identified).did(), [], "once");
    assert_eq!(life.on(finished(1, StepOutcome::Succeeded)).did(), [], "not the one that runs");
    assert_eq!(life.on(finished(0, StepOutcome::Failed)).did(), []);
    assert_eq!(life.on(finished(0, StepOutcome::Failed)).did(), [], "it does not run now");
    assert_eq!(life.at(1).did(), []);
    assert_eq!(life.at(2).did(), [run(0, 2)]);
    assert_eq!(life.on(finished(0, StepOutcome::Succeeded)).did(), [run(1, 1)]);
    life.on(finished(1, StepOutcome::Failed));
    assert_eq!(life.machine.phase(), &Phase::Failed(Failure::Step { index: 1 }));
    assert_eq!(life.on(finished(1, StepOutcome::Succeeded)).at(1000).did(), [], "failed is failed");
}

#[test]
fn a_boot_goes_on_where_an_agent_before_this_one_left_it() {
    let mut life = Life::new(Config { first_step: 1, ..config(&[0, 0]) });
    assert_eq!(life.on(Event::Identified).did(), [run(1, 1)]);
    let mut life = Life::new(Config { first_step: 2, ..config(&[0, 0]) });
    assert_eq!(life.on(Event::Identified).did(), []);
    assert_eq!(life.machine.phase(), &Phase::Proving);
}

#[test]
fn ready_is_lost_at_its_boundaries() {
    let up = seen(Graceful::Yes, 0, Some(0));
    let hung = Observation {
        evidence: Some(Evidence { connections: 1, fetching: false, ..Evidence::default() }),
        ..up.clone()
    };
    let silent = Observation { evidence: None, jobs: None, ..up.clone() };
    let gone = Observation { worker: Some(Worker { processes: 0, ..up.worker.clone().unwrap() }), ..up.clone() };
    let restarted = seen(Graceful::Yes, 1, Some(0));
    // What is seen 10 s after the proof, and when the proof is then taken for lost.
    for (what, lost_at) in [(hung, 10 + 45), (silent, 120), (gone, 10), (restarted, 10)] {
        let mut life = Life::ready(config(&[]));
        life.at(10).look(what.clone());
        if lost_at > 10 {
            assert!(matches!(life.at(lost_at - 1).machine.phase(), Phase::Ready { .. }), "too soon: {what:?}");
            assert_eq!(
                life.machine.next_deadline(Timestamp(life.now)),
                Some(Timestamp(T0 + lost_at * SECOND)).min(life.machine.next_deadline(Timestamp(life.now)))
            );
        }
        assert_eq!(life.at(lost_at).machine.phase(), &Phase::Proving, "{what:?}");
    }
    let mut life = Life::ready(config(&[]));
    life.at(119).look(up);
    assert!(matches!(life.at(120).machine.phase(), Phase::Ready { .. }), "it was proven anew");
}

#[test]
fn a_crash_loop_fails_and_stops_the_worker() {
    let mut life = Life::new(config(&[]));
    life.on(Event::Identified).look(seen(Graceful::Yes, 1, Some(0))).look(seen(Graceful::Yes, 2, Some(0)));
    assert_eq!(life.machine.phase(), &Phase::Proving);
    assert_eq!(life.look(seen(Graceful::Yes, 3, Some(0))).did(), [Action::StopWorker]);
    assert_eq!(life.machine.phase(), &Phase::Failed(Failure::CrashLoop { restarts: 3 }));
    life.drain("d", 600);
    assert!(matches!(life.machine.phase(), Phase::Draining(_)));
    assert_eq!(life.did(), [], "its stop is under way");
    life.stopped(false, Some(0));
    assert!(life.outcome().clean);

    let mut life = Life::new(config(&[]));
    life.on(Event::Identified).look(seen(Graceful::Yes, 3, Some(1)));
    assert_eq!(life.did_all().last(), Some(&Action::StopWorker));
    life.on(Event::WorkerStopped { killed: false });
    assert_eq!(life.did_all(), [Action::HandBackOutside], "no drain is waited for");

    let mut life = Life::new(config(&[]));
    life.on(Event::Identified).look(seen(Graceful::Yes, 3, Some(0))).stopped(false, Some(0)).drain("d", 600);
    assert_eq!(life.did_all().last(), Some(&Action::HandBackOutside), "what the crashes left in Redis");
    life.on(Event::HandedBackOutside { jobs: 1, left: Some(0), again: false });
    assert_eq!(life.outcome().command.as_deref(), Some("d"), "nothing is left to stop");
}

#[test]
fn when_a_drain_signals_and_kills() {
    const DAY: u64 = 86_400;
    // Graceful?, the setting, PM2's patience, jobs seen, then when the worker is told to stop and when it is killed, of
    // a drain that begins at 0 with its deadline at 600 and the margin of 10.
    let table = [
        (Graceful::Yes, DrainSignal::Auto, DAY, Some(1), 0),
        (Graceful::Yes, DrainSignal::Auto, DAY, None, 0),
        (Graceful::Yes, DrainSignal::Auto, 595, Some(1), 0),
        (Graceful::Yes, DrainSignal::Auto, 594, Some(1), 1),
        (Graceful::Yes, DrainSignal::Auto, 60, Some(1), 535),
        (Graceful::No, DrainSignal::Auto, DAY, Some(1), 590),
        (Graceful::No, DrainSignal::Auto, DAY, None, 590),
        (Graceful::Unknown, DrainSignal::Auto, DAY, Some(1), 590),
        (Graceful::Unknown, DrainSignal::AtOnce, DAY, Some(1), 0),
        (Graceful::Yes, DrainSignal::WhenIdle, DAY, Some(1), 590),
    ];
    for (graceful, signal, patience, jobs, stop_at) in table {
        let case = format!("{graceful:?} {signal:?} {patience} {jobs:?}");
        let mut life = Life::ready(Config { drain_signal: signal, ..config(&[]) });
        let mut seen = seen(graceful, 0, jobs);
        seen.worker.as_mut().unwrap().patience = Duration::from_secs(patience);
        life.look(seen.clone()).drain("d", 600);
        if stop_at > 0 {
            life.look(seen.clone()).at(stop_at - 1).look(seen.clone());
            assert_eq!(life.did(), [], "too soon: {case}");
        }
        assert_eq!(life.at(stop_at).did(), [Action::StopWorker], "{case}");
        assert_eq!(life.at(594).did(), [], "{case}");
        assert_eq!(life.at(595).did(), [Action::KillWorker], "{case}");
        assert_eq!(life.at(599).did(), [], "{case}");
        assert_eq!(life.at(600).did(), [Action::KillWorker], "again: {case}");
        life.stopped(true, jobs);
        let outcome = life.outcome();
        assert_eq!((outcome.clean, outcome.jobs_left, outcome.killed), (false, jobs, true), "{case}");
    }
}

#[test]
fn two_looks_without_a_job_are_needed_and_silence_is_none() {
    let busy = || seen(Graceful::No, 0, Some(1));
    let idle = || seen(Graceful::No, 0, Some(0));
    let unknown = || seen(Graceful::No, 0, None);
    let silent = || Observation { jobs: None, evidence: None, ..idle() };
    let table: [(Vec<Observation>, bool); 7] = [
        (vec![idle()], false),
        (vec![idle(), idle()], true),
        (vec![idle(), busy(), idle()], false),
        (vec![idle(), silent(), idle()], false),
        (vec![idle(), unknown(), idle()], false),
        (vec![silent(), silent(), silent(), unknown()], false),
        (vec![busy(), idle(), idle()], true),
    ];
    for (looks, stops) in table {
        let mut life = Life::ready(config(&[]));
        life.look(busy()).drain("d", 600);
        for look in looks.clone() {
            life.now += SECOND;
            life.look(look);
        }
        assert_eq!(life.did() == [Action::StopWorker], stops, "{looks:#?}");
    }
    let mut life = Life::ready(config(&[]));
    life.look(busy()).at(1).drain("d", 600);
    let mut early = idle();
    early.jobs.as_mut().unwrap().at = Timestamp(T0);
    life.on(Event::Observed(early.clone())).on(Event::Observed(early));
    assert_eq!(life.did(), [], "looks that began before the drain prove nothing about it");
    let gone = Observation { worker: Some(Worker { processes: 0, ..idle().worker.unwrap() }), ..silent() };
    assert_eq!(life.look(gone).did(), [Action::StopWorker], "nothing runs that could hold a job");
}

#[test]
fn a_drain_counts_its_jobs() {
    let mut life = Life::ready(config(&[]));
    life.look(seen(Graceful::Yes, 0, Some(2))).drain("d", 600);
    life.look(seen(Graceful::Yes, 0, Some(3))).look(seen(Graceful::Yes, 0, Some(1))).stopped(false, Some(1));
    let outcome = life.outcome();
    assert_eq!((outcome.jobs_finished, outcome.jobs_left, outcome.clean), (2, Some(1), false));
    let mut life = Life::ready(config(&[]));
    life.look(seen(Graceful::Yes, 0, None)).drain("d", 600).stopped(false, None);
    assert!(life.outcome().clean, "where jobs cannot be told, the worker's own end is the proof");
}

#[test]
fn a_drain_is_cancelled_at_each_of_its_stages() {
    // Not signalled yet: it just goes on.
    let mut life = Life::ready(config(&[]));
    life.look(seen(Graceful::No, 0, Some(1))).drain("d", 600).cancel();
    assert_eq!(life.did(), []);
    assert_eq!(life.machine.phase(), &Phase::Proving);
    life.look(seen(Graceful::No, 0, Some(1)));
    assert!(matches!(life.machine.phase(), Phase::Ready { .. }));
    // Signalled: started again once it has stopped.
    let mut life = Life::ready(config(&[]));
    life.drain("d", 600).cancel();
    assert_eq!(life.did(), [Action::StopWorker]);
    assert_eq!(life.stopped(false, Some(0)).did(), [Action::StartWorker]);
    assert_eq!(life.machine.phase(), &Phase::Proving);
    // Drained.
    let mut life = Life::ready(config(&[]));
    life.drain("d", 600).stopped(false, Some(0)).did();
    assert_eq!(life.cancel().did(), [Action::StartWorker]);
    // Cancelled, and then wanted after all.
    let mut life = Life::ready(config(&[]));
    life.drain("d", 600).cancel().drain("e", 700).stopped(false, Some(0));
    assert_eq!(life.outcome().command.as_deref(), Some("e"));
    // Nothing to cancel.
    assert_eq!(Life::ready(config(&[])).cancel().refused(), None);
}

#[test]
fn a_notice_drains_by_itself_and_stands() {
    let mut life = Life::ready(config(&[]));
    life.look(seen(Graceful::No, 0, Some(1))).interrupt(120);
    assert_eq!(life.did(), []);
    assert!(life.cancel().refused().is_some());
    // A drain that would last longer ends with the instance all the same.
    life.drain("d", 3600).did();
    assert_eq!(life.at(110).did(), [Action::StopWorker]);
    assert_eq!(life.at(115).did(), [Action::KillWorker]);
    life.stopped(true, Some(1));
    assert_eq!((life.outcome().command.as_deref(), life.outcome().forced), (Some("d"), true));
    assert!(life.cancel().refused().is_some());

    // In the middle of a drain, also of one that was cancelled.
    let mut life = Life::ready(config(&[]));
    life.drain("d", 3600).cancel().interrupt(120).did();
    assert_eq!(life.at(115).did(), [Action::KillWorker]);
    assert!(matches!(life.stopped(true, Some(0)).machine.phase(), Phase::Drained(_)));
    // After one: nobody starts the worker again.
    let mut life = Life::ready(config(&[]));
    life.drain("d", 600).stopped(false, Some(0)).interrupt(120);
    assert!(life.cancel().refused().is_some());
    // In the past: at once.
    let mut life = Life::ready(config(&[]));
    life.look(seen(Graceful::No, 0, Some(1)));
    life.on(Event::Interruption { at: Timestamp(0) });
    assert_eq!(life.did(), [Action::StopWorker]);
    assert_eq!(life.poll().did(), [Action::KillWorker]);
}

#[test]
fn a_drain_breaks_a_boot_off_and_its_cancelling_resumes_it() {
    let mut life = Life::new(config(&[0, 0]));
    life.on(Event::Identified).on(finished(0, StepOutcome::Succeeded)).did();
    assert_eq!(life.drain("d", 600).did(), [Action::AbortStep]);
    let none = Worker { processes: 0, errored: 0, restarts: 0, graceful: Graceful::Yes, patience: Duration::ZERO };
    life.look(Observation { worker: Some(none), ..Observation::default() });
    assert_eq!(life.did(), [Action::StopWorker]);
    life.stopped(false, Some(0));
    assert!(life.outcome().clean);
    life.did.clear();
    assert_eq!(life.cancel().did(), [run(0, 1)], "the worker may have been stopped with it");

    // Cancelled before anything was stopped: on from the step that was broken off, or from the next if it got through.
    for (got_through, next) in [(false, 0), (true, 1)] {
        let mut life = Life::new(config(&[0, 0]));
        life.on(Event::Identified).drain("d", 600);
        if got_through {
            life.on(finished(0, StepOutcome::Succeeded));
        }
        life.did.clear();
        assert_eq!(life.cancel().did(), [run(next, 1)]);
    }
}

#[test]
fn only_the_newest_coordinator_is_obeyed() {
    let mut life = Life::ready(config(&[]));
    life.on(Event::Connected { epoch: 7 }).did.clear();
    let deadline = Timestamp(T0 + 600 * SECOND);
    life.on(Event::Command { epoch: 6, id: "old".into(), command: Command::Drain { deadline } });
    assert!(life.refused().is_some());
    assert!(matches!(life.machine.phase(), Phase::Ready { .. }));
    life.on(Event::Command { epoch: 8, id: "new".into(), command: Command::Drain { deadline } });
    assert!(matches!(life.machine.phase(), Phase::Draining(drain) if matches!(drain.stage, Stage::Stopping(_))));
    life.did.clear();
    life.on(Event::Command { epoch: 7, id: "old".into(), command: Command::CancelDrain });
    assert!(life.refused().is_some());
}

#[test]
fn a_coordinator_that_comes_back_hears_of_the_drain_again() {
    let mut life = Life::ready(config(&[]));
    life.drain("d", 600).stopped(false, Some(0)).did();
    let outcome = life.outcome();
    assert_eq!(life.on(Event::Connected { epoch: 1 }).did(), [Action::Report(Report::Drained(outcome.clone()))]);
    // A coordinator that forgot that it asked, asks again.
    let again = DrainOutcome { command: Some("e".into()), ..outcome };
    assert_eq!(life.drain("e", 900).did(), [Action::Report(Report::Drained(again))]);
}
