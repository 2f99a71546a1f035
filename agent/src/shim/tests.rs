//! The agent's end of the socket, with this test as the worker's process.

use spillway_machine::{Event, ShimProcess};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::*;
use crate::clock::Clock;

struct Stage {
    directory: tempfile::TempDir,
    shims: Shims,
    updates: mpsc::Receiver<ShimUpdate>,
}

fn of(queue: &str) -> Place {
    Place { prefix: "bull".to_owned(), queues: vec![queue.to_owned()] }
}

fn stage() -> Stage {
    let directory = tempfile::tempdir().unwrap();
    let (place, listener) = Installed::install(directory.path(), None).unwrap();
    let (to, updates) = mpsc::channel(64);
    Stage { shims: Shims::listen(&place, listener, Clock::start(), of("q"), to), directory, updates }
}

impl Stage {
    async fn connect(&self) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(self.directory.path().join("worker.sock")).await.unwrap();
        stream.write_all(b"{\"hello\":{\"pid\":1,\"protocol\":1,\"runtime\":\"test\"}}\n").await.unwrap();
        BufReader::new(stream)
    }

    /// The processes, once they are as wanted.
    async fn seen(&mut self, wanted: impl Fn(&[ShimProcess]) -> bool) -> (Vec<ShimProcess>, Vec<String>) {
        loop {
            match self.updates.recv().await.unwrap() {
                ShimUpdate::Seen(seen) if wanted(&seen.processes) => return (seen.processes, seen.problems),
                _ => {}
            }
        }
    }

    async fn event(&mut self) -> Event {
        loop {
            if let ShimUpdate::Event(event) = self.updates.recv().await.unwrap() {
                return event;
            }
        }
    }
}

async fn write_line(stream: &mut BufReader<UnixStream>, line: &str) {
    stream.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
}

async fn read_command(stream: &mut BufReader<UnixStream>) -> serde_json::Value {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    serde_json::from_str(&line).unwrap()
}

const BUSY: &str = r#"{"state":{"fenced":false,"workers":[{"queue":"q","hand_back":"wait"}],"jobs":[{"queue":"q","id":"7","token":"i:u:1","name":"n","ms":500}]}}"#;

#[tokio::test]
async fn a_fence_holds_for_those_who_come_later() {
    let mut stage = stage();
    let mut first = stage.connect().await;
    write_line(&mut first, BUSY).await;
    let (processes, _) = stage.seen(|processes| !processes.is_empty()).await;
    assert_eq!(processes[0].pid, std::process::id(), "the kernel's word");
    assert_eq!((processes[0].jobs[0].class.as_str(), processes[0].can_hand_back), ("q/n", true));
    stage.shims.fence(true);
    assert_eq!(read_command(&mut first).await["do"], "fence");
    let mark = stage.directory.path().join("worker.sock.fenced");
    assert!(mark.exists());
    drop(first);
    let mut again = stage.connect().await;
    assert_eq!(read_command(&mut again).await["do"], "fence");
    stage.shims.fence(false);
    assert_eq!(read_command(&mut again).await["do"], "unfence");
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_process_that_only_lost_its_connection_still_has_its_jobs() {
    let mut stage = stage();
    let mut process = stage.connect().await;
    write_line(&mut process, BUSY).await;
    stage.seen(|processes| !processes.is_empty()).await;
    drop(process);
    // This very test goes on living.
    let (processes, _) = stage.seen(|_| true).await;
    assert_eq!(processes[0].jobs.len(), 1);
    assert_eq!(stage.shims.jobs()[0].token, "i:u:1");
}

#[tokio::test]
async fn an_answer_counts_what_is_back_and_what_runs_on() {
    let mut stage = stage();
    let mut process = stage.connect().await;
    write_line(&mut process, BUSY).await;
    stage.seen(|processes| !processes.is_empty()).await;
    stage.shims.hand_back(std::process::id());
    let command = read_command(&mut process).await;
    assert_eq!((command["do"].as_str(), command["freeze"].as_bool()), (Some("hand_back"), Some(true)));
    write_line(&mut process, r#"{"done":{"id":0}}"#).await;
    write_line(&mut process, r#"{"finished":{"queue":"q","name":"n","ms":1500}}"#).await;
    let took = std::time::Duration::from_millis(1500);
    assert_eq!(
        stage.event().await,
        Event::JobFinished { class: "q/n".into(), took },
        "an answer to another command does not count"
    );
    let id = &command["id"];
    write_line(
        &mut process,
        &format!(r#"{{"done":{{"id":{id},"handed_back":[{{"id":"1"}},{{"id":"2"}}],"kept":[{{"id":"3"}}]}}}}"#),
    )
    .await;
    assert_eq!(stage.event().await, Event::HandedBack { pid: std::process::id(), jobs: 2, kept: 1 });
}

#[tokio::test]
async fn what_is_not_understood_is_said_and_harms_nobody() {
    let mut stage = stage();
    let mut process = stage.connect().await;
    write_line(&mut process, "garbage").await;
    write_line(&mut process, r#"{"problem":"no known Worker"}"#).await;
    write_line(&mut process, BUSY).await;
    let (_, problems) = stage.seen(|processes| !processes.is_empty()).await;
    assert_eq!(problems, ["no known Worker", "the worker shim sent a malformed line"]);
}
