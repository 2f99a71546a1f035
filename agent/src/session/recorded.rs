//! What coordinators told this agent's predecessors, by the recordings of their sessions (`proto/recorded`): it is
//! understood.

use std::{fs, io};

use prost::Message as _;
use spillway_proto::v1::SessionResponse;

use super::{CoordinatorCommand, Inbound, understood};

/// By the version of coordinator and agent.
const RECORDED: [(&str, &str); 1] = [("0.1.0", include_str!("../../../proto/recorded/session-0.1.0.txt"))];

fn decoded(hex: &str) -> SessionResponse {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
    let message = SessionResponse::decode(&*bytes).expect("a message");
    assert_eq!(message.encode_to_vec(), bytes, "today's protocol does not know all of it: {message:?}");
    message
}

fn name(inbound: &Inbound) -> &'static str {
    match inbound {
        Inbound::Welcome { epoch, version } if *epoch > 0 && !version.is_empty() => "welcome",
        Inbound::Command { epoch, id, command } if *epoch > 0 && !id.is_empty() => match command {
            CoordinatorCommand::Drain { left: Some(_), reason, .. } if !reason.is_empty() => "drain",
            CoordinatorCommand::CancelDrain => "cancel_drain",
            CoordinatorCommand::PowerOff { reason } if !reason.is_empty() => "power_off",
            CoordinatorCommand::Rehearse { left: Some(_), .. } => "rehearse",
            _ => "a part of a command",
        },
        _ => "nothing",
    }
}

#[test]
fn every_recording_is_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/recorded");
    let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name().to_string_lossy().into_owned();
    let mut versions: Vec<String> = fs::read_dir(folder)
        .expect("the recordings")
        .map(name)
        .filter_map(|name| Some(name.strip_prefix("session-")?.strip_suffix(".txt")?.to_owned()))
        .collect();
    versions.sort();
    assert_eq!(versions, RECORDED.map(|(version, _)| version), "{folder}, and RECORDED here");
}

#[test]
fn every_command_of_a_released_coordinator_is_understood_whole() {
    for (version, text) in RECORDED {
        let mut met = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("told ")) {
            let (kind, hex) = line.split_once(' ').expect("KIND HEX");
            assert_eq!(name(&understood(decoded(hex))), kind, "{version}");
            met.push(kind);
        }
        for kind in ["welcome", "drain", "cancel_drain", "rehearse", "power_off"] {
            assert!(met.contains(&kind), "{version} has no {kind}");
        }
    }
}
