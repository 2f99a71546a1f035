//! What an agent may say, by length and by character: the protocol's own bounds (`agent.proto`). Whoever has the join
//! token can send anything, and all of it goes into memory, the log, the ledger and the terminal of whoever asks
//! `status`.

use spillway_proto::v1;
use spillway_proto::v1::session_request::Message;
use spillway_words::shown::{cut, cut_to_end, masked, visible, visible_line};
use tonic::Status;

/// Ids, names of types, versions.
const NAME: usize = 64;
/// Names of steps and of what a person gave a name.
const LABEL: usize = 128;
/// A sentence.
const SENTENCE: usize = 1024;
const COMMAND: usize = 1024;
const OUTPUT: usize = 4096;
/// Of a worker.
const QUEUES: usize = 32;
/// That EC2 has scheduled for an instance.
const EVENTS: usize = 16;
/// Jobs of one queue that one instance runs at a time: far more than any does.
const MOST_SLOTS: u64 = 10_000;
/// Sentences in a list.
const SENTENCES: usize = 16;

/// Refuses an identity that no instance has.
///
/// # Errors
/// INVALID_ARGUMENT, with what is wrong.
pub(super) fn identity(identity: &v1::Identity) -> Result<(), Status> {
    let v1::Identity {
        instance_id,
        account_id,
        region,
        availability_zone,
        image_id,
        instance_type,
        private_ip,
        boot_id,
    } = identity;
    if instance_id.is_empty() {
        return Err(Status::invalid_argument("identity.instance_id is empty"));
    }
    for (name, text) in [
        ("instance_id", instance_id),
        ("account_id", account_id),
        ("region", region),
        ("availability_zone", availability_zone),
        ("image_id", image_id),
        ("instance_type", instance_type),
        ("private_ip", private_ip),
        ("boot_id", boot_id),
    ] {
        if text.len() > NAME || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Status::invalid_argument(format!(
                "identity.{name} is not 0 to {NAME} printable characters without a space"
            )));
        }
    }
    Ok(())
}

/// A name or a version, for the log and for operators.
pub(super) fn name(text: &str) -> String {
    line(text, NAME)
}

/// The message as it is kept and shown.
pub(super) fn message(message: Message) -> Message {
    match message {
        Message::Heartbeat(beat) => Message::Heartbeat(heartbeat(beat)),
        Message::BootStep(step) => Message::BootStep(boot_step(step)),
        Message::Notice(notice) => Message::Notice(v1::Notice { action: name(&notice.action), ..notice }),
        Message::Drained(drained) => Message::Drained(v1::Drained {
            command_id: name(&drained.command_id),
            detail: sentence(&drained.detail),
            ..drained
        }),
        Message::CommandResult(result) => Message::CommandResult(v1::CommandResult {
            command_id: name(&result.command_id),
            problem: sentence(&result.problem),
            ..result
        }),
        Message::Farewell(farewell) => Message::Farewell(v1::Farewell { reason: sentence(&farewell.reason) }),
    }
}

fn heartbeat(beat: v1::Heartbeat) -> v1::Heartbeat {
    v1::Heartbeat {
        git_commit: name(&beat.git_commit),
        image_id: name(&beat.image_id),
        lockfile: name(&beat.lockfile),
        problem: sentence(&beat.problem),
        unprotected: beat.unprotected.iter().take(SENTENCES).map(|text| sentence(text)).collect(),
        queues: beat.queues.into_iter().take(QUEUES).map(queue).collect(),
        schedule: beat.schedule.map(schedule),
        worker: beat.worker.map(|worker| v1::WorkerProof {
            by: name(&worker.by),
            missing: sentence(&worker.missing),
            waits_for: sentence(&worker.waits_for),
            ..worker
        }),
        ..beat
    }
}

fn schedule(of: v1::Schedule) -> v1::Schedule {
    let event = |event: v1::ScheduledEvent| v1::ScheduledEvent { code: name(&event.code), ..event };
    v1::Schedule { events: of.events.into_iter().take(EVENTS).map(event).collect() }
}

fn queue(of: v1::WorkerQueue) -> v1::WorkerQueue {
    // Compared with the pool's own: as they are, as far as that is no harm.
    let kept = |text: &str| visible_line(&cut(text, SENTENCE));
    v1::WorkerQueue {
        queue: kept(&of.queue),
        prefix: kept(&of.prefix),
        limiter_max: of.limiter_max.filter(|max| *max > 0),
        concurrency: of.concurrency.filter(|jobs| (1..=MOST_SLOTS).contains(jobs)),
    }
}

fn label(text: &str) -> String {
    line(text, LABEL)
}

fn boot_step(step: v1::BootStep) -> v1::BootStep {
    v1::BootStep {
        name: label(&step.name),
        command: line(&step.command, COMMAND),
        output_tail: visible(&cut_to_end(&masked(&cut_to_end(&step.output_tail, 2 * OUTPUT)), OUTPUT)),
        problem: sentence(&step.problem),
        ..step
    }
}

fn sentence(text: &str) -> String {
    line(text, SENTENCE)
}

/// Masked before it is cut to its bound, or half a credential is no longer known for one.
fn line(text: &str, most: usize) -> String {
    visible_line(&cut(&masked(&cut(text, most + OUTPUT)), most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_instance_has_for_an_identity_is_refused() {
        let of = |id: &str| identity(&v1::Identity { instance_id: id.to_owned(), ..v1::Identity::default() });
        assert!(of("i-0123456789abcdef0").is_ok() && of("staging_box.7").is_ok());
        for id in ["", "i 1", "i-\x1b[31m", "i-\n1", &"0".repeat(65), "größe"] {
            assert_eq!(of(id).expect_err(id).code(), tonic::Code::InvalidArgument, "{id:?}");
        }
        let image = v1::Identity { instance_id: "i-1".into(), image_id: "ami-\x07".into(), ..v1::Identity::default() };
        let refused = identity(&image).expect_err("a bell");
        assert!(refused.message().contains("identity.image_id") && !refused.message().contains('\x07'), "{refused}");
    }

    #[test]
    fn a_message_is_cut_masked_and_has_no_control_character() {
        let long = format!("\x1b]0;x\x07https://user:s3same@host {}", "é".repeat(125_000));
        let step = v1::BootStep {
            name: long.clone(),
            command: long.clone(),
            output_tail: format!("{}\nhttps://user:s3same@host\x1b[2J\n", "x".repeat(250_000)),
            problem: long.clone(),
            ..v1::BootStep::default()
        };
        let worker =
            v1::WorkerProof { missing: long.clone(), by: long.clone(), waits_for: long.clone(), ..Default::default() };
        let beat = v1::Heartbeat {
            problem: long.clone(),
            git_commit: long.clone(),
            lockfile: long.clone(),
            unprotected: vec![long.clone(); 1000],
            queues: vec![
                v1::WorkerQueue { queue: "q".into(), prefix: long.clone(), ..v1::WorkerQueue::default() };
                1000
            ],
            worker: Some(worker),
            ..v1::Heartbeat::default()
        };
        for (said, most) in [
            (Message::BootStep(step), 8 * 1024),
            (Message::Heartbeat(beat), 64 * 1024),
            (Message::Farewell(v1::Farewell { reason: long.clone() }), 2 * 1024),
            (Message::Drained(v1::Drained { detail: long.clone(), ..v1::Drained::default() }), 2 * 1024),
            (Message::CommandResult(v1::CommandResult { problem: long.clone(), ..Default::default() }), 2 * 1024),
            (Message::Notice(v1::Notice { action: long, ..v1::Notice::default() }), 1024),
        ] {
            let bounded = message(said);
            let bytes = bounded.encoded_len();
            assert!(bytes <= most, "{bytes} bytes");
            let shown = format!("{bounded:?}");
            assert!(!shown.contains("s3same") || matches!(bounded, Message::Heartbeat(_)), "{}", &shown[..400]);
            assert!(!shown.contains("\\u{1b}") && !shown.contains("\\u{7}"), "{}", &shown[..400]);
        }
    }

    #[test]
    fn what_an_honest_agent_says_is_left_as_it_is() {
        let step = v1::BootStep {
            name: "pull".into(),
            command: "git pull origin main".into(),
            output_tail: "Already up to date.\n\tmain\n".into(),
            problem: "exit status 1".into(),
            ..v1::BootStep::default()
        };
        assert_eq!(message(Message::BootStep(step.clone())), Message::BootStep(step));
    }

    #[test]
    fn a_limiter_that_lets_nothing_start_is_none() {
        let told =
            |max: Option<u64>| v1::WorkerQueue { limiter_max: max, concurrency: max, ..v1::WorkerQueue::default() };
        assert_eq!([Some(0), Some(7), None].map(|max| queue(told(max)).limiter_max), [None, Some(7), None]);
        let slots = [Some(0), Some(7), Some(MOST_SLOTS + 1)].map(|max| queue(told(max)).concurrency);
        assert_eq!(slots, [None, Some(7), None]);
    }
}
