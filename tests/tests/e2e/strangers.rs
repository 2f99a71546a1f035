//! Whoever reaches the coordinator's port without being an agent takes nothing from those who are, from operators, or
//! from the connections to Redis and EC2.

use std::fs;
use std::time::Duration;

use spillway_proto::v1;
use spillway_tests::coordinator::ServingStatus;
use spillway_tests::process::text;
use spillway_tests::secure;
use spillway_tests::strangers::{self, Found, Handshakes, Honest, Registrations, Wrong};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

const AGENTS: u32 = 100;
/// New TLS connections.
const HANDSHAKES_PER_SECOND: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_and_wrong_registrations_harm_nobody() {
    let stage = strangers::stage(AGENTS).await;
    let server = stage.coordinator().server();
    let mut honest = Vec::new();
    for record in stage.instances() {
        honest.push(Honest::open(&stage, &record.id).await);
        // No faster than they are registered: a refusal of theirs would take the place of a stranger's in the log.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let log = || stage.coordinator().process.log();
    let before = log().len();
    let silent = strangers::silent(stage.coordinator().grpc_port, 1000).await;
    let wrong = Wrong::begin(&server, 100);
    let handshakes = Handshakes::begin(stage.coordinator().grpc_port, &stage.ca_file(), HANDSHAKES_PER_SECOND);
    let found = strangers::look(&server, Duration::from_secs(20)).await;
    let (begun, completed, shaken) = handshakes.stop();
    let (Registrations { sent, answered }, span) = wrong.stop().await;
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert!(found.stale.is_empty(), "{:?}", found.stale);
    assert!(silent.len() == 1000 && answered > 100, "{} connections, {answered} answers", silent.len());
    assert!(completed > begun / 2, "{completed} of {begun} handshakes");
    let status = stage.coordinator().command(&["status"]);
    assert!(status.status.success() && !text(&status.stdout).contains("stale"), "{}", text(&status.stdout));
    assert_eq!(stage.coordinator().health("spillway.leader").await, ServingStatus::Serving);
    strangers::none_lost(&stage, honest).await;
    let said = log();
    let grown = said.len() - before;
    let per_second = |count: u64| count as f64 / span.as_secs_f64();
    println!(
        "{} silent connections; wrong registrations: {:.0} sent and {:.0} answered a second for {:.0} s",
        silent.len(),
        per_second(sent),
        per_second(answered),
        span.as_secs_f64()
    );
    println!(
        "new TLS connections: {:.0} a second begun, {completed} of {begun} handshakes completed",
        begun as f64 / shaken.as_secs_f64()
    );
    println!("{}", latency(&found));
    let (not_shown, beats) = found.beats_not_shown();
    println!("{AGENTS} honest sessions: {not_shown} of {beats} heartbeats not shown by any status, 0 sessions ended");
    println!("the coordinator's log has grown by {grown} bytes");
    assert!(grown <= 100_000, "the log has grown by {grown} bytes");
    assert!(!said.contains('\x1b') && !said.contains(&"0".repeat(100)), "what a stranger said is in the log as it was");
    let refused: Vec<&str> = said.lines().filter(|line| line.contains("registration rejected")).collect();
    assert!(grown > 0, "a stranger's refusal is in the log");
    assert!(refused.len() == 5 && refused.iter().all(|line| line.len() <= 200), "{refused:?}");
    assert!(!said.contains("no longer the leader"), "{said}");
}

/// How long each `status` took, shortest first.
fn latency(found: &Found) -> String {
    let mut took = found.took.clone();
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    let each: Vec<String> = took.iter().map(|ms| format!("{ms:.0}")).collect();
    format!(
        "{} times status: median {:.0} ms, 95 % {:.0} ms, worst {:.0} ms; each in ms: {}",
        took.len(),
        at(0.5),
        at(0.95),
        at(1.0),
        each.join(" ")
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_whose_message_never_comes_ends_and_a_session_goes_on() {
    let stage = strangers::stage(1).await;
    let honest = Honest::open(&stage, &stage.instances()[0].id).await;
    let channel = secure::connect(&stage.coordinator().server(), &stage.ca_file()).await.expect("a connection");
    let mut client = Grpc::new(channel);
    client.ready().await.expect("it is open");
    let never = Request::new(tokio_stream::pending::<v1::RegisterRequest>());
    let path = PathAndQuery::from_static("/spillway.v1.AgentService/Register");
    let codec = ProstCodec::<v1::RegisterRequest, v1::RegisterResponse>::default();
    let asked = tokio::time::timeout(Duration::from_secs(120), client.client_streaming(never, path, codec)).await;
    let status = asked.expect("it ends").expect_err("there is nothing to answer");
    assert!([Code::Cancelled, Code::DeadlineExceeded].contains(&status.code()), "{status:?}");
    // Older than any answer may take.
    strangers::none_lost(&stage, vec![honest]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_free_descriptors_who_says_nothing_makes_room() {
    let stage = strangers::stage(1).await;
    let server = stage.coordinator().server();
    let honest = Honest::open(&stage, &stage.instances()[0].id).await;
    let pid = stage.coordinator().process.pid();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("its files").count() as libc::rlim_t;
    let limit = libc::rlimit { rlim_cur: open + 40, rlim_max: open + 40 };
    // SAFETY: the limit is a valid structure, and none is to be returned.
    let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    let silent = strangers::silent(stage.coordinator().grpc_port, 300).await;
    let found = strangers::look(&server, Duration::from_secs(3)).await;
    assert!(found.problems.is_empty() && found.stale.is_empty(), "{found:?}");
    assert!(found.took.len() > 3, "{found:?}");
    let said = stage.coordinator().process.log();
    assert_eq!(said.matches("cannot accept connections to grpc.listen").count(), 1, "{said}");
    assert!(said.contains("raise LimitNOFILE"), "{said}");
    drop(silent);
    strangers::none_lost(&stage, vec![honest]).await;
}
