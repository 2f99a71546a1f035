//! Damaged input: EC2's answers, and an agent's messages. The coordinator reads or rejects it, continues, and does
//! nothing because of it. Property tests of the parsers are beside them, in the crates.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message as _;
use spillway_proto::v1;
use spillway_proto::v1::session_request::Message as Said;
use spillway_tests::agent_session::AgentSession;
use spillway_tests::coordinator::ServingStatus::Serving;
use spillway_tests::jobs;
use spillway_tests::process::end_of;
use spillway_tests::stage::{Setup, Stage};

const SEED: u64 = 1;

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most.max(1) as u64) as usize
    }
}

const LIST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><reservationSet><item>
<reservationId>r-1</reservationId><instancesSet><item><instanceId>i-0123456789abcdef0</instanceId><instanceState><code>16</code>
<name>running</name></instanceState><launchTime>2026-01-01T00:00:00.000Z</launchTime><instanceType>c6i.xlarge</instanceType>
<tagSet><item><key>spillway:pool</key><value>spillway</value></item><item><key>ManagedBy</key><value>auto-scaler</value></item>
<item><key>spillway:token</key><value>spillway-x-1</value></item></tagSet></item></instancesSet></item></reservationSet>
<nextToken></nextToken></DescribeInstancesResponse>"#;
const LAUNCHED: &str = r#"<?xml version="1.0"?><RunInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<instancesSet><item><instanceId>i-0fedcba9876543210</instanceId><instanceState><code>0</code><name>pending</name></instanceState>
</item></instancesSet></RunInstancesResponse>"#;

/// How an answer is damaged.
fn damaged(text: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    match random.below(9) {
        0 => bytes.clear(),
        1 => bytes.truncate(random.below(text.len())),
        2 => bytes = b"<html><body>502 Bad Gateway</body></html>".to_vec(),
        3 => {
            for _ in 0..=random.below(20) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
        }
        4 => bytes = text.replace("i-0", "").replace("running", "levitating").into_bytes(),
        5 => bytes = text.replace("<code>16</code>", "<code>99999999999999999999</code>").into_bytes(),
        6 => bytes = text.replace("<item>", &"<item>".repeat(1 + random.below(300))).into_bytes(),
        7 => {
            let (from, to) = (random.below(text.len()), random.below(text.len()));
            bytes.drain(from.min(to)..from.max(to));
        }
        _ => bytes.extend_from_within(random.below(text.len())..),
    }
    bytes
}

/// An EC2 that answers nothing but damage, one connection after another; keeps the client tokens that it was asked
/// with.
fn broken_ec2(tokens: Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let tokens = Arc::clone(&tokens);
            std::thread::spawn(move || answer(stream, Random(SEED + number as u64 * 7919), &tokens));
        }
    });
    endpoint
}

fn answer(mut stream: TcpStream, mut random: Random, tokens: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line).ok()? > 0 && line.trim() != "" {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let text = if body.contains("Action=RunInstances") { LAUNCHED } else { LIST };
        let token = body.split('&').find_map(|pair| pair.strip_prefix("ClientToken="));
        tokens.lock().expect("tokens").extend(token.map(str::to_owned));
        let damaged = damaged(text, &mut random);
        let status = ["200 OK", "200 OK", "200 OK", "500 Internal Server Error", "400 Bad Request"][random.below(5)];
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n", damaged.len());
        stream.write_all(&[head.as_bytes(), &damaged].concat()).ok()?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_answers_of_ec2_launch_nothing_twice_and_end_nothing() {
    let tokens = Arc::default();
    let endpoint = broken_ec2(Arc::clone(&tokens));
    let mut environment = vec![("AWS_ENDPOINT_URL_EC2", endpoint)];
    environment
        .extend(["SPILLWAY_POOL_INTERVAL", "SPILLWAY_POOL_LISTING_INTERVAL"].map(|name| (name, "100ms".to_owned())));
    let stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    jobs::add(&stage.redis, 20, 1.0);
    tokio::time::sleep(Duration::from_secs(40)).await;
    let log = stage.coordinator().process.log();
    assert_eq!(log.lines().find(|line| line.contains("panicked")), None);
    assert_eq!(stage.coordinator().try_health("spillway.queue").await, Some(Serving), "it goes on\n{}", end_of(&log));
    let pool = stage.coordinator().pool().await;
    // Where the damage left a whole instance with a whole token it is adopted: that is what tokens are for.
    let living = pool.instances.iter().filter(|instance| instance.phase != "gone").count();
    assert!(living <= 3, "{pool:#?}");
    let asked: BTreeSet<String> = tokens.lock().expect("tokens").iter().cloned().collect();
    assert!(asked.len() <= 2, "max_instances is 2, and no listing showed an end: {asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_may_say_anything() {
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let stage = Stage::start(Setup { user_data, trusts: true, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let id = stage.until_booting().await;
    let server = stage.coordinator().server();
    let mut random = Random(SEED);
    for round in 0..20 {
        let AgentSession { sender, mut commands } = AgentSession::open(&server, &id).await;
        let listening = tokio::spawn(async move { while commands.message().await.is_ok_and(|it| it.is_some()) {} });
        for _ in 0..200 {
            let message = anything(&mut random);
            if sender.send(message).await.is_err() {
                panic!("the session was ended in round {round}\n{}", stage.diagnosis().await);
            }
        }
        drop(sender);
        let _ = tokio::time::timeout(Duration::from_secs(10), listening).await;
    }
    let log = stage.coordinator().process.log();
    assert_eq!(log.lines().find(|line| line.contains("panicked")), None);
    assert_eq!(stage.coordinator().try_health("").await, Some(Serving));
    let _ = (stage.coordinator().status(), stage.coordinator().explain());
    // An event that it says EC2 has scheduled drains it, and another is launched in its place. Nothing more follows.
    assert!(stage.calls("RunInstances").len() <= 2, "{}", stage.diagnosis().await);
    assert_eq!(stage.calls("TerminateInstances").len(), 0, "{}", stage.diagnosis().await);
}

/// Random bytes that happen to be a message, or one with extreme values. It never says that it has no job: that is for
/// the two sources.
fn anything(random: &mut Random) -> v1::SessionRequest {
    let number = |random: &mut Random| [0, 1, -1, i64::MAX, i64::MIN, 1_800_000_000][random.below(6)];
    let at =
        |random: &mut Random| Some(prost_types::Timestamp { seconds: number(random), nanos: number(random) as i32 });
    let span =
        |random: &mut Random| Some(prost_types::Duration { seconds: number(random), nanos: number(random) as i32 });
    let text = |random: &mut Random| {
        ["", "\u{0}\u{1b}[2J", "é".repeat(3000).as_str(), "{\"a\":1}"][random.below(4)].to_owned()
    };
    let said = match random.below(6) {
        0 => Said::Heartbeat(v1::Heartbeat {
            phase: random.below(4) as i32,
            active_jobs: Some(u32::MAX),
            oldest_lock_age: span(random),
            redis_round_trip: span(random),
            at: at(random),
            cpu_percent: Some([f64::NAN, f64::INFINITY, -1.0][random.below(3)]),
            memory_used_bytes: u64::MAX,
            problem: text(random),
            git_commit: text(random),
            lockfile: text(random),
            ..v1::Heartbeat::default()
        }),
        1 => Said::BootStep(v1::BootStep {
            index: random.below(usize::MAX) as u32,
            count: u32::MAX,
            name: text(random),
            state: number(random) as i32,
            started_at: at(random),
            took: span(random),
            output_tail: text(random),
            ..v1::BootStep::default()
        }),
        2 => Said::Notice(v1::Notice {
            kind: 2 + random.below(9) as i32,
            at: at(random),
            seen_at: at(random),
            ..Default::default()
        }),
        3 => Said::CommandResult(v1::CommandResult {
            command_id: text(random),
            problem: text(random),
            ..Default::default()
        }),
        _ => {
            let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.below(256) as u8).collect();
            let message = v1::SessionRequest::decode(&*bytes).unwrap_or_default();
            return match message.message {
                Some(Said::Drained(_) | Said::Notice(_)) => v1::SessionRequest::default(),
                _ => message,
            };
        }
    };
    v1::SessionRequest { message: Some(said) }
}
