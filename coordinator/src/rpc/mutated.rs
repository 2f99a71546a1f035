//! Mutated input of agents, before and after they have proved themselves: what a registration and a session make of it.
//! Nothing panics and nothing grows. `SPILLWAY_MUTATED=10000000` sends as many as that.

use prost::Message as _;
use prost_types::{Duration, Timestamp};
use spillway_brain::InstanceId;
use spillway_proto::v1::register_request::Proof;
use spillway_proto::v1::session_request::Message as Said;
use spillway_proto::{sts, v1};

use super::{agent, bounds};
use crate::agents::AgentRecord;
use crate::reconcile::PoolHandle;

/// What a run of the tests sends.
const USUAL: u64 = 100_000;
/// What the process may grow by: the allocator's own habits.
const GROWTH: u64 = 16 * 1024 * 1024;

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most.max(1) as u64).unwrap_or(0)
    }
}

/// As agents send them.
fn registrations() -> Vec<Vec<u8>> {
    let identity = v1::Identity {
        instance_id: "i-0123456789abcdef0".to_owned(),
        account_id: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        availability_zone: "us-east-1a".to_owned(),
        image_id: "ami-1".to_owned(),
        instance_type: "c6i.xlarge".to_owned(),
        private_ip: "10.0.0.7".to_owned(),
        boot_id: "0b0cb43a-5b1e-4b6f-8f3e-2f5a1c7d9e00".to_owned(),
    };
    let proof = v1::StsProof {
        access_key_id: "ASIA0123456789ABCDEF".to_owned(),
        session_token: "IQoJb3JpZ2luX2Vj/+".repeat(40),
        amz_date: "20261127T103000Z".to_owned(),
        signature: "0123456789abcdef".repeat(4),
    };
    [None, Some(Proof::JoinToken("let-me-in".to_owned())), Some(Proof::StsProof(proof))]
        .map(|proof| {
            let (identity, agent_version) = (Some(identity.clone()), "0.1.0".to_owned());
            v1::RegisterRequest { identity, agent_version, proof, can_prove: true }.encode_to_vec()
        })
        .into()
}

fn messages() -> Vec<Vec<u8>> {
    let at = Some(Timestamp { seconds: 1_795_775_400, nanos: 5 });
    let took = Some(Duration { seconds: 60, nanos: 7 });
    let worker = v1::WorkerProof {
        proven: true,
        by: "name".to_owned(),
        log_tail: "Error: x\n".repeat(20),
        ..Default::default()
    };
    let queues = vec![v1::WorkerQueue {
        queue: "q".to_owned(),
        prefix: "bull".to_owned(),
        limiter_max: Some(7),
        concurrency: Some(2),
    }];
    let event = v1::ScheduledEvent { code: "instance-stop".to_owned(), not_before: at, left: took };
    let beat = v1::Heartbeat {
        phase: v1::AgentPhase::Ready.into(),
        worker: Some(worker),
        active_jobs: Some(3),
        cpu_percent: Some(0.5),
        problem: "redis://user:secret@host".to_owned(),
        unprotected: vec!["a process".to_owned(); 3],
        queues,
        schedule: Some(v1::Schedule { events: vec![event] }),
        ..Default::default()
    };
    let step =
        v1::BootStep { index: 1, name: "pull".to_owned(), output_tail: "x".repeat(200), took, ..Default::default() };
    let notice = v1::Notice { kind: v1::NoticeKind::Interruption.into(), at, left: took, ..Default::default() };
    let drained = v1::Drained { clean: true, jobs_left: Some(1), ..Default::default() };
    let said = [
        Said::Heartbeat(beat),
        Said::BootStep(step),
        Said::Notice(notice),
        Said::Drained(drained),
        Said::CommandResult(v1::CommandResult { command_id: "c".to_owned(), ..Default::default() }),
        Said::Farewell(v1::Farewell { reason: "stopped".to_owned() }),
    ];
    said.map(|message| v1::SessionRequest { message: Some(message) }.encode_to_vec()).into()
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(40) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), random.below(256) as u8),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            // Lengths and numbers that are as large as they can be.
            3 => drop(bytes.splice(at..at, [0xff; 9])),
            4 if bytes.len() < 4096 => {
                let piece = bytes[at..].to_vec();
                bytes.extend(piece);
            }
            // Mostly another character, so that texts stay texts.
            5..30 if !bytes.is_empty() => bytes[at] = b' ' + random.below(95) as u8,
            _ if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
            _ => {}
        }
    }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[test]
fn mutated_registrations_and_messages_panic_nowhere_and_grow_nothing() {
    let count = std::env::var("SPILLWAY_MUTATED").ok().and_then(|text| text.parse().ok()).unwrap_or(USUAL);
    let (registrations, messages) = (registrations(), messages());
    let (pool, _receiver) = PoolHandle::without_loop("p");
    let (id, mut record) = (InstanceId("i-1".to_owned()), AgentRecord::default());
    let mut random = Random(0x5eed);
    let (mut before, mut read, mut bytes) = (0, [0_u64; 2], Vec::new());
    for number in 0..count {
        let is_session = number % 2 == 1;
        let seeds = if is_session { &messages } else { &registrations };
        bytes.clear();
        bytes.extend_from_slice(&seeds[random.below(seeds.len())]);
        mutate(&mut bytes, &mut random);
        if is_session {
            if let Ok(v1::SessionRequest { message: Some(message) }) = v1::SessionRequest::decode(&*bytes) {
                read[1] += 1;
                let _ = agent::receive(&mut record, &pool, &id, bounds::message(message));
            }
        } else if let Ok(request) = v1::RegisterRequest::decode(&*bytes) {
            read[0] += 1;
            let identity = request.identity.unwrap_or_default();
            let _ = (bounds::identity(&identity), bounds::name(&request.agent_version));
            if let Some(Proof::StsProof(proof)) = &request.proof {
                let _ = sts::check(proof);
            }
        }
        if number == count / 10 {
            before = resident();
        }
    }
    assert!(read.iter().all(|read| *read > count / 20), "most of them are still messages: {read:?}");
    let grown = resident().saturating_sub(before);
    println!("{count} mutated inputs, {read:?} of them read; {grown} bytes grown");
    assert!(grown < GROWTH, "{grown} bytes");
}
