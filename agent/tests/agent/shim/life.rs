//! One worker with each BullMQ in each runtime: its names, its reports, a fence under load, a hand-back.

use std::collections::BTreeSet;

use serde_json::json;

use crate::shim::stage::{Feeder, Process, Runtime, Shim, Stage, at, until};

const BUN: [Runtime; 4] = [("bun", "ts"), ("bun", "js"), ("bun", "cjs"), ("bun", "mjs")];
const NODE: [Runtime; 2] = [("node", "cjs"), ("node", "mjs")];

#[test]
fn bullmq_3() {
    lives("3", &[BUN[0], NODE[0]]);
}

#[test]
fn bullmq_4() {
    lives("4", &[BUN.as_slice(), &NODE].concat());
}

#[test]
fn bullmq_5_0() {
    lives("50", &[BUN[0], NODE[1]]);
}

#[test]
fn bullmq_5_12() {
    lives("512", &[BUN[3], NODE[0]]);
}

#[test]
fn bullmq_5() {
    lives("5", &[BUN.as_slice(), &NODE].concat());
}

#[test]
fn bullmq_6() {
    lives("6", &[BUN.as_slice(), &NODE].concat());
}

fn lives(bullmq: &'static str, runtimes: &[Runtime]) {
    for runtime in runtimes {
        println!("BullMQ {bullmq}, {runtime:?}:");
        life(&Stage::new(bullmq), *runtime);
    }
}

fn life(stage: &Stage, runtime: Runtime) {
    let mut feeder = stage.feeder();
    let (one, two) = std::thread::scope(|scope| {
        let two = scope.spawn(|| stage.worker(runtime, "i-2", "q:2,f:4"));
        (stage.worker(runtime, "i-1", "q:2,f:4"), two.join().expect("i-2"))
    });
    let ((mut worker, shim), (other, other_shim)) = (one, two);
    says_what_it_is(stage, runtime, &worker, &shim);
    let added = is_fenced_twice_under_load(&mut feeder, (&worker, &shim), &other);
    reports_every_end(added, (&worker, &shim), (&other, &other_shim));
    other_shim.fence();
    let jobs = runs_two_jobs(stage, &mut feeder, &shim);
    other_shim.unfence();
    hands_back(stage, &jobs, (&worker, &shim), &other);
    until("the freeze", || (worker.state() == 'T').then_some(()));
    worker.kill();
    for (process, shim) in [(&worker, &shim), (&other, &other_shim)] {
        assert_eq!((process.said("error"), shim.problems()), (Vec::<Vec<String>>::new(), Vec::<String>::new()));
    }
}

fn says_what_it_is(stage: &Stage, runtime: Runtime, worker: &Process, shim: &Shim) {
    assert_eq!(shim.kinds()[..2], ["hello", "state"]);
    assert_eq!((&shim.hello()["pid"], &shim.hello()["protocol"]), (&json!(worker.pid()), &json!(1)));
    assert!(shim.hello()["runtime"].as_str().is_some_and(|name| name.starts_with(&format!("{} ", runtime.0))));
    let workers = until("both Workers", || {
        let workers = shim.state()["workers"].as_array().cloned()?;
        (workers.len() == 2).then_some(workers)
    });
    let installed = std::fs::read_to_string(stage.path("node_modules/bullmq/package.json")).expect("package.json");
    let installed: serde_json::Value = serde_json::from_str(&installed).expect("JSON");
    let expected = json!({
        "queue": "q", "prefix": "bull", "bullmq": installed["version"], "concurrency": 2, "sandboxed": false,
        "hand_back": "wait",
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&workers[0][name], value, "{name}");
    }
}

/// A fence under load: no job starts there while others start elsewhere; unfenced it takes jobs again at once. Returns
/// how many jobs were added.
fn is_fenced_twice_under_load(feeder: &mut Feeder, (worker, shim): (&Process, &Shim), other: &Process) -> u64 {
    feeder.flood("f");
    for round in 0..2 {
        let before = worker.said("start").len();
        until("jobs start", || (worker.said("start").len() > before + 20).then_some(()));
        let fenced = shim.fence();
        assert_eq!(shim.state()["fenced"], true);
        let elsewhere = other.said("start").len();
        until("jobs start elsewhere", || (other.said("start").len() > elsewhere + 40).then_some(()));
        shim.runs(&[]);
        let late: Vec<_> = worker.said("start").into_iter().filter(|words| at(words) > fenced).collect();
        assert!(late.is_empty(), "round {round}: fenced at {fenced}, but {late:?}");
        let lifted = shim.unfence();
        until("jobs start again", || worker.said("start").iter().any(|words| at(words) > lifted).then_some(()));
    }
    feeder.stop()
}

fn reports_every_end(added: u64, (worker, shim): (&Process, &Shim), (other, other_shim): (&Process, &Shim)) {
    let ends = || -> Vec<Vec<String>> {
        [&worker, &other].iter().flat_map(|process| [process.said("end"), process.said("failed")].concat()).collect()
    };
    let ended = until("the end of all jobs", || Some(ends()).filter(|ends| ends.len() as u64 >= added));
    let distinct: BTreeSet<&String> = ended.iter().map(|words| &words[2]).collect();
    assert_eq!((ended.len() as u64, distinct.len() as u64), (added, added));
    assert_eq!(worker.said("start").len() + other.said("start").len(), ended.len());
    until("the reports of those that ended well", || {
        (shim.finished().len() + other_shim.finished().len() == ended.len() - ended.len() / 20).then_some(())
    });
    let finished = shim.finished().remove(0);
    assert_eq!((&finished["queue"], &finished["name"]), (&json!("f"), &json!("short")));
    assert!(finished["ms"].as_f64().is_some_and(|ms| ms >= 1.0));
}

/// Adds two long jobs, whose locks and clients carry the instance's name; returns their ids.
fn runs_two_jobs(stage: &Stage, feeder: &mut Feeder, shim: &Shim) -> Vec<String> {
    let job = json!({ "name": "encode", "data": { "ms": 600_000 }, "opts": { "attempts": 2 } });
    let mut urgent = job.clone();
    urgent["opts"]["priority"] = 3.into();
    let ids = feeder.add("q", json!([job, urgent]));
    shim.runs(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for job in shim.state()["jobs"].as_array().expect("jobs") {
        let id = job["id"].as_str().expect("an id");
        let token = job["token"].as_str().expect("a token");
        assert!(token.starts_with("i-1:"), "{token}");
        assert_eq!(token, stage.ask::<String>(&["GET", &format!("bull:q:{id}:lock")]));
        assert_eq!((&job["queue"], &job["name"], &job["sandboxed"]), (&json!("q"), &json!("encode"), &json!(false)));
        if ["5", "6"].contains(&stage.bullmq) {
            assert_eq!(stage.ask::<String>(&["HGET", &format!("bull:q:{id}"), "pb"]), "i-1");
        }
    }
    let clients = stage.ask::<String>(&["CLIENT", "LIST"]);
    assert_eq!(clients.contains("name=bull:cQ==:w:i-1 "), ["512", "5", "6"].contains(&stage.bullmq), "{clients}");
    ids
}

/// The jobs are handed back and start elsewhere, with neither an attempt nor a stall spent.
fn hands_back(stage: &Stage, jobs: &[String], (worker, shim): (&Process, &Shim), other: &Process) {
    let asked = crate::shim::stage::wall_clock_ms();
    let done = shim.hand_back();
    assert_eq!((&done["kept"], &done["frozen"]), (&json!([]), &json!(true)));
    let mut handed_back: Vec<&str> =
        done["handed_back"].as_array().expect("a list").iter().map(|job| job["id"].as_str().expect("an id")).collect();
    handed_back.sort_unstable();
    assert_eq!(handed_back, jobs);
    assert_eq!(shim.state()["jobs"], json!([]), "no job is left");
    for id in jobs {
        let here = worker.started("q", id).expect("it started here");
        let there = until(&format!("job {id} elsewhere"), || other.started("q", id));
        println!("  job {id} runs elsewhere {:.1} ms after it was asked back", at(&there) - asked);
        assert_eq!(here[3], there[3], "attempts");
        let key = format!("bull:q:{id}");
        let [attempts, made, stalls]: [Option<u32>; 3] = stage.ask(&["HMGET", &key, "attemptsMade", "atm", "stc"]);
        let counted = if stage.major() < 5 { 1 } else { 0 };
        assert_eq!((attempts.unwrap_or(0), made, stalls), (counted, None, None), "{key}");
        assert!(stage.ask::<String>(&["GET", &format!("{key}:lock")]).starts_with("i-2:"));
    }
}
