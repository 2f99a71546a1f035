//! `tests/js/random-queue.mjs`: puts queues into random states with BullMQ 4, 5 and 6, and returns BullMQ's own counts.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::process::command;
use crate::programs;

#[derive(Debug)]
pub struct Driver {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    redis: String,
}

impl Driver {
    pub fn start(redis_url: &str) -> Self {
        let mut node = command(programs::program("node"));
        node.arg(programs::script("random-queue.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = node.spawn().expect("node");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Driver { child, orders, answers, redis: redis_url.to_owned() }
    }

    /// Puts a queue into the state drawn from the seed; returns BullMQ's own counts.
    pub fn random(&mut self, seed: u32, version: u32, queue: &str, prefix: &str) -> Value {
        self.ask(json!({"cmd": "random", "seed": seed, "version": version, "queue": queue, "prefix": prefix}))
    }

    /// A queue of BullMQ 5 with one job whose time is a fraction, and no limit to its concurrency; returns the job's
    /// id.
    pub fn fractions(&mut self, queue: &str, prefix: &str) -> String {
        let answer = self.ask(json!({"cmd": "fractions", "queue": queue, "prefix": prefix}));
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// Has BullMQ obliterate a queue in which no job is active.
    pub fn obliterate(&mut self, version: u32, queue: &str, prefix: &str) {
        self.ask(json!({"cmd": "obliterate", "version": version, "queue": queue, "prefix": prefix}));
    }

    /// Deletes all keys of a queue.
    pub fn delete(&mut self, queue: &str, prefix: &str) {
        self.ask(json!({"cmd": "delete", "queue": queue, "prefix": prefix}));
    }

    fn ask(&mut self, mut order: Value) -> Value {
        order["redis"] = self.redis.clone().into();
        writeln!(self.orders, "{order}").expect("the driver runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the driver answers");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{order}: {error} in {line:?}"));
        assert!(answer.get("error").is_none(), "{order}: {}", answer["error"]);
        answer
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
