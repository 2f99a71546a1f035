//! What the shim says of its Workers: whether each works, or what keeps it from it, in every version of BullMQ.

use serde_json::{Value, json};

use crate::shim::stage::{Runtime, Shim, Stage, blocked, until};

const BUN: Runtime = ("bun", "ts");
const NODE: Runtime = ("node", "cjs");

fn worker(shim: &Shim) -> Value {
    shim.state()["workers"][0].clone()
}

fn does(shim: &Shim, what: &str) -> Value {
    until(&format!("a Worker that is {what}, not {}", worker(shim)), || {
        Some(worker(shim)).filter(|worker| worker["doing"] == what)
    })
}

#[test]
fn a_rate_limit_and_a_pause_are_told() {
    for (bullmq, runtime) in [("3", NODE), ("4", NODE), ("50", BUN), ("512", NODE), ("5", BUN), ("5", NODE), ("6", BUN)]
    {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        let limiter = [("LIMITER", "1:60000")];
        let (mut worker, shim) = stage.worker_with(runtime, "i-1", "q", &limiter);
        blocked(&stage, 1);
        let waits = does(&shim, "waiting");
        assert_eq!((&waits["ready"], &waits["ended"], &waits["drain_ms"]), (&json!(true), &json!(0), &json!(300_000)));
        let info = stage.ask::<String>(&["INFO", "server"]);
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).expect("a run_id");
        until("its Redis", || Some(shim.state()["workers"][0].clone()).filter(|it| it["run_id"] == run_id.trim()));
        feeder.add("q", json!([{ "name": "a", "data": { "ms": 300 } }, { "name": "b", "data": { "ms": 1 } }]));
        does(&shim, "working");
        let limited = does(&shim, "limited");
        assert_eq!((&limited["ended"], &limited["limiter_max"]), (&json!(1), &json!(1)), "BullMQ {bullmq}");
        assert!(limited["limited_ms"].as_f64().is_some_and(|ms| ms > 1000.0 && ms <= 60_000.0), "{limited}");
        worker.tell("pause");
        does(&shim, "paused");
        assert_eq!((worker.said("error"), shim.problems()), (vec![], vec![]), "BullMQ {bullmq}");
    }
}

/// Limited before it ever fetched: the limit was there before the Worker was.
#[test]
fn a_worker_that_was_limited_from_its_start_says_so() {
    for (bullmq, runtime) in [("4", NODE), ("5", BUN), ("6", NODE)] {
        let stage = Stage::new(bullmq);
        let mut feeder = stage.feeder();
        feeder.add_one("q", 1);
        stage.ask::<()>(&["SET", "bull:q:limiter", "9", "PX", "90000"]);
        let (_worker, shim) = stage.worker_with(runtime, "i-1", "q", &[("LIMITER", "1:60000")]);
        let limited = does(&shim, "limited");
        assert_eq!((&limited["ended"], &limited["db"]), (&json!(0), &json!(0)), "BullMQ {bullmq}");
        until("its Redis", || Some(shim.state()).filter(|state| state["workers"][0]["run_id"].is_string()));
    }
}
