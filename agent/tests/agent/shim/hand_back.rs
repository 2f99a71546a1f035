//! Jobs that go back, jobs that cannot, and what the process does then.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::shim::stage::{Process, Runtime, Stage, at, blocked, until, wall_clock_ms};

const BUN: Runtime = ("bun", "ts");
const NODE: Runtime = ("node", "cjs");

/// In front of all that wait; of a paused queue they stay paused; an urgent one stays urgent.
#[test]
fn jobs_go_where_they_were() {
    for (bullmq, runtime) in [("3", BUN), ("4", BUN), ("50", NODE), ("512", NODE), ("5", BUN), ("6", BUN)] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let (_worker, shim) = stage.worker_with(runtime, "i-1", "q:2", &[("PREFIX", "bull")]);
        let job = json!({ "name": "encode", "data": { "ms": 600_000 } });
        let ids = feeder.add("q", json!([job.clone(), job.clone(), job.clone()]));
        shim.runs(&[&ids[0], &ids[1]]);
        let paused = stage.major() < 6 && bullmq != "3";
        if paused {
            // As Queue.pause() of these versions.
            stage.ask::<()>(&["HSET", "bull:q:meta", "paused", "1"]);
            stage.ask::<()>(&["RENAME", "bull:q:wait", "bull:q:paused"]);
        }
        let done = shim.hand_back();
        assert_eq!((done["handed_back"].as_array().map(Vec::len), &done["frozen"]), (Some(2), &json!(true)));
        let list = if paused { "bull:q:paused" } else { "bull:q:wait" };
        let mut waiting: Vec<String> = stage.ask(&["LRANGE", list, "0", "-1"]);
        waiting.retain(|id| !id.starts_with("0:"));
        waiting[1..].sort();
        assert_eq!(waiting, [2, 0, 1].map(|i| ids[i].clone()), "BullMQ {bullmq}: the next one is the last");
        for key in ["bull:q:active", "bull:q:stalled", "bull:q:delayed", "bull:q:1:lock"] {
            assert!(!stage.ask::<bool>(&["EXISTS", key]), "BullMQ {bullmq}: {key}");
        }
        assert_eq!(stage.ask::<Option<String>>(&["HGET", "bull:q:1", "pb"]), None);
        let attempts: Option<String> = stage.ask(&["HGET", "bull:q:1", "attemptsMade"]);
        assert!(attempts.is_none_or(|attempts| attempts == "0"));
    }
}

/// The user's code of a job that is back runs on for no longer than it takes to stop.
#[test]
fn the_users_code_stands_still() {
    for (bullmq, runtime) in [("4", NODE), ("5", BUN), ("6", NODE)] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let (worker, shim) = stage.worker(runtime, "i-1", "q");
        // BullMQ's own script wakes nobody for a job with a priority.
        let job = json!({ "name": "encode", "data": { "ms": 600_000, "tick": true }, "opts": { "priority": 1 } });
        let id = feeder.add("q", json!([job])).remove(0);
        until("ticks", || (worker.said("tick").len() > 10).then_some(()));
        let (other, _) = stage.worker(runtime, "i-2", "q");
        blocked(&stage, 1);
        shim.hand_back();
        let there = at(&until("the job elsewhere", || other.started("q", &id)));
        until("the freeze", || (worker.state() == 'T').then_some(()));
        let frozen = wall_clock_ms();
        until("ticks elsewhere", || (other.said("tick").len() > 50).then_some(()));
        // By its own clock: what it said before is read later on a busy machine.
        let last = at(worker.said("tick").last().expect("a tick"));
        println!("BullMQ {bullmq}, {runtime:?}: it ran on for {:.1} ms beside its new run", last - there);
        assert!(last <= frozen, "BullMQ {bullmq}, {runtime:?}: frozen by {frozen}, and a tick at {last}");
    }
}

#[test]
fn without_freeze_the_worker_lives_on() {
    for (bullmq, runtime) in [("3", NODE), ("4", NODE), ("50", BUN), ("512", NODE), ("5", NODE), ("6", BUN)] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let (worker, shim) = stage.worker(runtime, "i-1", "q:2");
        let id = feeder.add_one("q", 3000);
        shim.runs(&[&id]);
        let done = shim.order("hand_back", json!({ "freeze": false })).0;
        assert_eq!(done["handed_back"], json!([{ "queue": "q", "prefix": "bull", "id": id }]));
        shim.runs(&[]);
        // What the first run comes to is nobody's business: it is the second that counts.
        until("the end of the first run", || worker.said("end").into_iter().find(|words| words[2] == id));
        assert_eq!(stage.ask::<u32>(&["LLEN", "bull:q:wait"]), 1);
        shim.unfence();
        until("the second run", || (worker.said("end").len() == 2).then_some(()));
        until("its completion", || (stage.ask::<u32>(&["ZCARD", "bull:q:completed"]) == 1).then_some(()));
        assert_eq!((worker.said("error"), worker.said("failed"), shim.problems()), (vec![], vec![], vec![]));
    }
}

/// A job whose code has returned is not run once more because Redis is slow to take its result. A fence waits for the
/// results of before it; this one comes after, as in a drain.
#[test]
fn a_result_on_its_way_to_redis_comes_first() {
    for (bullmq, runtime) in [("4", NODE), ("5", BUN), ("6", NODE)] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let (worker, shim) = stage.worker(runtime, "i-1", "q");
        let id = feeder.add_one("q", 800);
        shim.runs(&[&id]);
        shim.fence();
        stage.ask::<()>(&["CLIENT", "PAUSE", "1500", "WRITE"]);
        until("the end of its code", || worker.said("end").into_iter().find(|words| words[2] == id));
        assert!(stage.ask::<bool>(&["EXISTS", &format!("bull:q:{id}:lock")]), "BullMQ {bullmq}: Redis was not paused");
        let done = shim.hand_back();
        assert_eq!((&done["handed_back"], &done["kept"], &done["frozen"]), (&json!([]), &json!([]), &json!(true)));
        assert_eq!(stage.ask::<u32>(&["ZCARD", "bull:q:completed"]), 1, "BullMQ {bullmq}");
        assert_eq!((stage.ask::<u32>(&["LLEN", "bull:q:active"]), worker.said("start").len()), (0, 1));
    }
}

/// Its lock is somebody else's: it is not this process's to hand back, and a process with such a job is not frozen.
#[test]
fn a_job_that_is_lost_is_kept() {
    for (bullmq, runtime) in [("4", NODE), ("5", BUN), ("6", NODE)] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let (worker, shim) = stage.worker(runtime, "i-1", "q:2");
        let (lost, good) = (feeder.add_one("q", 5000), feeder.add_one("q", 600_000));
        shim.runs(&[&lost, &good]);
        stage.ask::<()>(&["SET", &format!("bull:q:{lost}:lock"), "somebody"]);
        let done = shim.hand_back();
        assert_eq!((done["handed_back"][0]["id"].as_str(), &done["frozen"]), (Some(good.as_str()), &json!(false)));
        assert_eq!(done["kept"][0]["id"].as_str(), Some(lost.as_str()));
        assert!(done["kept"][0]["why"].as_str().is_some_and(|why| why.to_lowercase().contains("lock")), "{done}");
        until("its end", || worker.said("end").into_iter().find(|words| words[2] == lost));
        assert_ne!(worker.state(), 'T');
    }
}

/// Processes and threads of their own: only who kills them may hand their jobs back.
#[test]
fn sandboxed_jobs_are_kept() {
    for (bullmq, runtime) in [("4", NODE), ("5", BUN), ("6", NODE)] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let (worker, shim) = stage.worker_with(runtime, "i-1", "q", &[("SANDBOX", "sandboxed.cjs")]);
        let id = feeder.add_one("q", 600_000);
        shim.runs(&[&id]);
        let state = shim.state();
        assert_eq!(
            (&state["workers"][0]["sandboxed"], &state["workers"][0]["hand_back"]),
            (&json!(true), &json!("none"))
        );
        assert_eq!(state["jobs"][0]["sandboxed"], true);
        let done = shim.hand_back();
        assert_eq!((&done["handed_back"], done["kept"][0]["id"].as_str()), (&json!([]), Some(id.as_str())));
        assert_eq!(done["kept"][0]["why"], "sandboxed: handed back by the agent once its process is dead");
        assert_eq!(done["frozen"], true);
        until("the freeze", || (worker.state() == 'T').then_some(()));
        assert!(stage.ask::<String>(&["GET", &format!("bull:q:{id}:lock")]).starts_with("i-1:"));
    }
}

#[test]
fn several_workers_in_one_process_and_both_copies_of_bullmq() {
    let stage = Stage::new("5");
    let mut feeder = stage.feeder();
    let worker = Process::start(stage.command("bun", "i-1").arg("both.mjs").env("QUEUES", "q,p:3"));
    until("both are ready", || (worker.said("ready").len() == 2).then_some(()));
    let shim = stage.agent.of(worker.pid());
    let jobs = [feeder.add_one("q", 600_000), feeder.add_one("p", 600_000), feeder.add_one("r", 600_000)];
    shim.runs(&jobs.each_ref().map(String::as_str));
    let state = shim.state();
    let queues: Vec<&Value> =
        state["workers"].as_array().expect("workers").iter().map(|worker| &worker["queue"]).collect();
    assert_eq!(queues, ["q", "p", "r"]);
    for queue in ["q", "p", "r"] {
        assert!(stage.ask::<String>(&["GET", &format!("bull:{queue}:1:lock")]).starts_with("i-1:"));
        assert_eq!(stage.ask::<String>(&["HGET", &format!("bull:{queue}:1"), "pb"]), "i-1");
    }
    assert_eq!(shim.hand_back()["handed_back"].as_array().map(Vec::len), Some(3));
}

/// Without a processor there is nothing that could be ended from here.
#[test]
fn jobs_fetched_by_hand_are_kept() {
    for bullmq in ["4", "5", "6"] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let worker = Process::start(stage.command("node", "i-1").arg("manual.cjs"));
        worker.until("ready", |words| words[0] == "ready");
        let shim: Arc<_> = stage.agent.of(worker.pid());
        let first = feeder.add_one("q", 10);
        until("its end", || worker.said("end").into_iter().find(|words| words[2] == first));
        shim.runs(&[]);
        let second = feeder.add_one("q", 4000);
        shim.runs(&[&second]);
        assert_eq!(shim.state()["jobs"][0]["token"], "by-hand");
        let done = shim.order("hand_back", json!({ "freeze": false })).0;
        assert_eq!(
            done["kept"][0]["why"],
            "fetched with getNextJob: handed back by the agent once its process is dead"
        );
        let third = feeder.add_one("q", 10);
        until("its end", || worker.said("end").into_iter().find(|words| words[2] == second));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(worker.started("q", &third), None, "fenced");
        shim.unfence();
        until("the next", || worker.started("q", &third));
        assert_eq!(shim.problems(), Vec::<String>::new());
    }
}
