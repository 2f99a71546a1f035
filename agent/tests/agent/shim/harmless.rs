//! The shim broken, mistreated, or of no use: the application is as it would be without it.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::shim::stage::{Process, Runtime, Stage, until};

const BUN: Runtime = ("bun", "ts");
const NODE: Runtime = ("node", "mjs");

/// Works a job, with whatever agent there is.
fn works(stage: &Stage, runtime: Runtime) {
    let mut feeder = stage.feeder();
    let mut command = stage.command(runtime.0, "i-1");
    let mut worker = Process::start(command.arg(format!("worker.{}", runtime.1)).env("QUEUES", "q"));
    worker.until("ready", |words| words[0] == "ready");
    let id = feeder.add_one("q", 1);
    until("the end of its job", || worker.said("end").into_iter().find(|words| words[2] == id));
    worker.tell("close");
    assert_eq!(worker.exit(), Some(0));
    let said: Vec<String> = worker.lines().into_iter().map(|mut words| words.remove(0)).collect();
    assert_eq!(said, ["ready", "start", "end", "did"], "no word but its own");
}

#[test]
fn no_agent() {
    for runtime in [BUN, NODE] {
        let mut stage = Stage::new("5");
        stage.agent.leave();
        works(&stage, runtime); // no socket
        fs::write(&stage.agent.path, "").expect("a file");
        works(&stage, runtime); // no socket, but a file
        fs::remove_file(&stage.agent.path).expect("the file");
        fs::create_dir(&stage.agent.path).expect("a directory");
        works(&stage, runtime);
    }
}

#[test]
fn an_agent_that_talks_nonsense() {
    for runtime in [BUN, NODE] {
        let stage = Stage::new("5");
        let mut feeder = stage.feeder();
        let (worker, shim) = stage.worker(runtime, "i-1", "q");
        let nonsense =
            ["{", "null", "[]", "\u{1F980}", r#"{"do":"explode","id":1}"#, r#"{"do":"constructor"}"#, r#"{"do":7}"#];
        for line in nonsense {
            shim.write(line);
        }
        shim.write(&"x".repeat(3 << 20));
        until("complaints", || (shim.problems().len() > nonsense.len()).then_some(()));
        assert!(shim.problems()[0].starts_with("the agent sent a command that this worker shim does not know: {"));
        let id = feeder.add_one("q", 1);
        until("the end of its job", || worker.said("end").into_iter().find(|words| words[2] == id));
        shim.fence();
        shim.unfence();
    }
}

/// The agent may go and come at any time; nothing of it is lost but what happened in between.
#[test]
fn an_agent_that_restarts() {
    for runtime in [BUN, NODE] {
        let mut stage = Stage::new("5");
        let mut feeder = stage.feeder();
        let (worker, shim) = stage.worker(runtime, "i-1", "q:2");
        let id = feeder.add_one("q", 600_000);
        shim.runs(&[&id]);
        shim.write("?");
        until("a complaint", || shim.problems().pop());
        shim.fence();
        stage.agent.leave();
        let waiting = feeder.add_one("q", 1);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        stage.agent.come();
        let shim = stage.agent.of(worker.pid());
        until("all of it anew", || (shim.kinds().len() >= 3).then_some(()));
        assert_eq!(shim.kinds()[..3], ["hello", "state", "problem"]);
        assert_eq!(shim.state()["fenced"], true);
        shim.runs(&[&id]);
        assert_eq!(worker.started("q", &waiting), None, "it is fenced all the time");
        let beats = shim.kinds().len();
        until("a beat", || (shim.kinds().len() > beats).then_some(()));
        shim.unfence();
        until("the job that waits", || worker.started("q", &waiting));
        assert_eq!(shim.hand_back()["handed_back"][0]["id"].as_str(), Some(id.as_str()));
    }
}

#[test]
fn what_has_no_bullmq_is_left_alone() {
    let stage = Stage::new("5");
    for program in ["bun", "node"] {
        let mut process = Process::start(stage.command(program, "i-1").arg("plain.cjs"));
        assert_eq!(process.exit(), Some(0));
        until("its only line", || (process.lines() == [["plain", "2"]]).then_some(()));
    }
    assert_eq!(stage.agent.shims().len(), 0, "nobody to talk about");
}

/// A package of that name that is not BullMQ as we know it, and one that is BullMQ of a time to come.
#[test]
fn unknown_bullmqs() {
    let package = |stage: &Stage, version: &str, worker: &str| {
        let root = stage.path("node_modules/bullmq");
        fs::remove_file(&root).expect("the link");
        let classes = root.join("dist/cjs/classes");
        fs::create_dir_all(&classes).expect("directories");
        let json = json!({ "name": "bullmq", "version": version, "main": "./dist/cjs/index.js" });
        fs::write(root.join("package.json"), json.to_string()).expect("package.json");
        fs::write(root.join("dist/cjs/index.js"), "exports.Worker = require('./classes/worker').Worker;")
            .expect("index.js");
        fs::write(classes.join("worker.js"), worker).expect("worker.js");
        fs::write(
            stage.path("fake.cjs"),
            "new (require('bullmq').Worker)('q', () => {}, {}); setTimeout(() => {}, 2000);",
        )
        .expect("fake.cjs");
    };
    let says = "Object.assign(this, { name, opts }); console.log('works', this.constructor.name);";
    let methods = "moveToActive() {} waitForJob() {} processJob() {} close() {}";
    let class = |says: &str, methods: &str| {
        format!("exports.Worker = class Worker {{ constructor(name, _, opts) {{ {says} }} {methods} }}")
    };
    let frozen = format!("{says} Object.freeze(this);");
    let nameless = says.replace("name, opts", "opts");
    for program in ["bun", "node"] {
        for (version, worker, problem) in [
            ("9.0.0", class(says, ""), "BullMQ 9.0.0 has a Worker that is not known here"),
            ("x", format!("exports.Worker = function Worker(name, _, opts) {{ {says} }}"), "BullMQ x has a Worker"),
            ("7.0.0", class(says, methods), "BullMQ 7.0.0 is not one that this worker shim was tested with"),
            ("5.0.0", class(&frozen, methods), "a Worker could not be watched"),
            ("5.0.0", class(&nameless, methods), "a Worker could not be watched: it has no name"),
        ] {
            let stage = Stage::new("5");
            package(&stage, version, &worker);
            let mut process = Process::start(stage.command(program, "i-1").arg("fake.cjs"));
            process.until("its line", |words| words == ["works", "Worker"]);
            let shim = stage.agent.of(process.pid());
            until(problem, || shim.problems().into_iter().find(|said| said.starts_with(problem)));
            assert_eq!(process.exit(), Some(0));
        }
    }
}

/// Loaded into all that a boot runs: package managers, scripts, PM2's own command line.
#[test]
fn tools_of_a_boot_do_not_notice() {
    let stage = Stage::new("5");
    let place = stage.path("tools");
    fs::create_dir(&place).expect("tools");
    fs::write(place.join("package.json"), r#"{"name":"x","version":"1.0.0","scripts":{"hi":"echo hi"}}"#)
        .expect("package.json");
    for words in [
        &["bun", "install"][..],
        &["bun", "run", "hi"],
        &["bun", "-e", "1"],
        &["npm", "run", "-s", "hi"],
        &["bun", "--version"],
    ] {
        let run = |with_shim: bool| {
            let mut command = stage.command(words[0], "i-1");
            if !with_shim {
                command.env_remove("BUN_OPTIONS").env_remove("NODE_OPTIONS");
            }
            let out = command.args(&words[1..]).current_dir(Path::new(&place)).output().expect(words[0]);
            (
                out.status.code(),
                String::from_utf8_lossy(&out.stdout).lines().filter(|line| !line.contains("ms]")).count(),
            )
        };
        assert_eq!(run(true), run(false), "{words:?}");
    }
    assert!(stage.agent.shims().is_empty());
}
