//! What a fence may not cost: other workers' wake-ups, locks, the user's own pauses; and whom it must reach.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::shim::stage::{Runtime, Stage, at, blocked, until, wall_clock_ms};

const BUN: Runtime = ("bun", "ts");
const NODE: Runtime = ("node", "cjs");

/// Long enough for a worker that may not take a job to have taken it.
fn a_while() {
    std::thread::sleep(Duration::from_millis(500));
}

/// A worker that waited longest is the first whom Redis wakes: fenced, it must leave the wake-up to the others, which
/// would else sleep for drainDelay: five minutes here.
#[test]
fn the_others_are_woken_at_once() {
    for (bullmq, runtime) in [("3", NODE), ("4", NODE), ("50", NODE), ("512", BUN), ("5", BUN), ("5", NODE), ("6", BUN)]
    {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let (first, shim) = stage.worker(runtime, "i-1", "q");
        blocked(&stage, 1);
        let (other, _) = stage.worker(runtime, "i-2", "q");
        blocked(&stage, 2);
        shim.fence();
        for round in 0..4 {
            // Fenced, frozen, dead: it has nothing that belongs to the others any more.
            match round {
                2 => first.signal(Signal::STOP),
                3 => first.signal(Signal::KILL),
                _ => {}
            }
            let added = wall_clock_ms();
            let priority = if round % 2 == 0 { json!(null) } else { json!(1) };
            let ids =
                feeder.add("q", json!([{ "name": "encode", "data": { "ms": 1 }, "opts": { "priority": priority } }]));
            let started = until("the job elsewhere", || other.started("q", &ids[0]));
            println!("BullMQ {bullmq}, {runtime:?}: woken after {:.1} ms", at(&started) - added);
            until("its end", || other.said("end").into_iter().find(|words| words[2] == ids[0]));
            blocked(&stage, 1);
        }
        assert_eq!(shim.problems(), Vec::<String>::new());
    }
}

/// A queue with a concurrency of its own: whose job ends leaves its slot to a worker that nobody else would wake.
#[test]
fn a_slot_that_becomes_free_is_told() {
    for (bullmq, runtime) in [("512", NODE), ("5", BUN), ("6", NODE)] {
        let stage = Stage::new(bullmq);
        stage.ask::<()>(&["HSET", "bull:q:meta", "concurrency", "1"]);
        let mut feeder = stage.feeder();
        let (_worker, shim) = stage.worker(runtime, "i-1", "q");
        let (other, other_shim) = stage.worker(runtime, "i-2", "q");
        other_shim.fence();
        let first = feeder.add_one("q", 5000);
        shim.runs(&[&first]);
        let second = feeder.add_one("q", 1);
        shim.fence();
        other_shim.unfence();
        blocked(&stage, 1);
        shim.runs(&[&first]);
        until("the next job elsewhere", || other.started("q", &second));
    }
}

/// Redis users that may not unblock: the connection is closed instead.
#[test]
fn without_client_unblock() {
    for (bullmq, runtime) in [("4", NODE), ("5", BUN), ("6", NODE)] {
        let stage = Stage::new(bullmq);
        stage.ask::<()>(&["ACL", "SETUSER", "default", "-client|unblock"]);
        let mut feeder = stage.feeder();
        let (worker, shim) = stage.worker(runtime, "i-1", "q");
        blocked(&stage, 1);
        shim.fence();
        let id = feeder.add_one("q", 1);
        a_while();
        assert_eq!(worker.started("q", &id), None);
        shim.unfence();
        until("the job", || worker.started("q", &id));
        assert_eq!(shim.problems(), Vec::<String>::new());
    }
}

#[test]
fn locks_are_renewed_and_nothing_stalls() {
    for (bullmq, runtime) in [("4", NODE), ("5", BUN), ("6", BUN)] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let (worker, shim) = stage.worker_with(runtime, "i-1", "q:2", &[("LOCK_MS", "1500")]);
        let id = feeder.add_one("q", 5000);
        shim.runs(&[&id]);
        shim.fence();
        // It looks for stalled jobs once a second.
        let (other, _) = stage.worker_with(runtime, "i-2", "q:2", &[("LOCK_MS", "1500")]);
        until("its end", || worker.said("end").into_iter().find(|words| words[2] == id));
        assert_eq!((worker.said("start").len(), other.said("start").len()), (1, 0));
        assert_eq!((worker.said("error"), shim.problems()), (vec![], vec![]));
    }
}

#[test]
fn the_users_pauses_are_the_users() {
    for (bullmq, runtime) in [("4", NODE), ("5", NODE), ("6", BUN)] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let (mut worker, shim) = stage.worker(runtime, "i-1", "q");
        shim.fence();
        worker.tell("pause");
        shim.unfence();
        let id = feeder.add_one("q", 1);
        a_while();
        assert_eq!(worker.started("q", &id), None, "paused by the user");
        shim.fence();
        worker.tell("resume");
        a_while();
        assert_eq!(worker.started("q", &id), None, "fenced");
        shim.unfence();
        until("the job", || worker.started("q", &id));
        assert_eq!((worker.said("error"), shim.problems()), (vec![], vec![]));
    }
}

#[test]
fn later_workers_are_fenced_too() {
    let stage = Stage::new("5");
    let mut feeder = stage.feeder();
    let (mut worker, shim) = stage.worker(BUN, "i-1", "q");
    shim.fence();
    let id = feeder.add_one("r", 1);
    worker.tell("more r");
    std::fs::write(format!("{}.fenced", stage.agent.path.display()), "").expect("the mark");
    // A process that PM2 starts while the agent itself is away.
    let (later, later_shim) = stage.worker(NODE, "i-1", "r");
    assert_eq!(later_shim.state()["fenced"], true);
    a_while();
    assert_eq!((worker.started("r", &id), later.started("r", &id)), (None, None));
    assert_eq!(shim.state()["workers"].as_array().map(Vec::len), Some(2));
    shim.unfence();
    until("the job", || worker.started("r", &id));
    later_shim.unfence();
    let jobs = vec![json!({ "name": "encode", "data": { "ms": 50 } }); 20];
    feeder.add("r", json!(jobs));
    until("a job there", || later.said("start").pop());
}

/// close() waits for BullMQ's loop, which the fence holds.
#[test]
fn a_fenced_worker_closes_and_its_process_ends() {
    for (bullmq, runtime) in [("3", NODE), ("4", BUN), ("50", NODE), ("5", BUN), ("5", NODE), ("6", NODE)] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let (mut worker, shim) = stage.worker(runtime, "i-1", "q:2");
        let id = feeder.add_one("q", 1500);
        shim.runs(&[&id]);
        shim.fence();
        worker.tell("close");
        assert!(worker.said("end").iter().any(|words| words[2] == id), "{:?}", worker.lines());
        assert_eq!(worker.exit(), Some(0));
        assert_eq!(shim.state()["workers"], json!([]));
    }
}
