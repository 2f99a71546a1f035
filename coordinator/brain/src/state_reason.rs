//! EC2's StateReason: why it ended an instance, and what that means. The codes are those of "StateReason" in the EC2
//! API Reference (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html>); others are read by
//! their names.
//!
//! They are no error codes, even where they are spelled like one: `Client.InternalError` is how EC2 says that it could
//! not use the key of an encrypted volume, and is not over by itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::refusal_class::RefusalClass;

/// EC2's StateReason: why it ends an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReason {
    code: String,
    message: String,
}

/// What EC2's reason for an end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The launch failed, whatever state was seen in between: a refusal that came after the launch was accepted.
    LaunchFailed(RefusalClass),
    /// EC2's own fault: of a launch where nothing ran yet, else of the hardware.
    Fault,
    /// EC2 took the spot instance back.
    Reclaimed,
    /// Stopped, as was announced for the hardware.
    Retired,
    /// A process on the instance powered it off.
    FromInside,
    /// Somebody called TerminateInstances, StopInstances or CreateImage.
    ByACall,
    /// A code that is in no list. The class, where nothing ran yet, is read from its name.
    Other(RefusalClass),
}

/// The documented codes.
const DOCUMENTED: [(&str, Meaning); 12] = [
    ("Server.InsufficientInstanceCapacity", Meaning::LaunchFailed(RefusalClass::Capacity)),
    ("Server.InternalError", Meaning::Fault),
    ("Server.ScheduledStop", Meaning::Retired),
    ("Server.SpotInstanceShutdown", Meaning::Reclaimed),
    ("Server.SpotInstanceTermination", Meaning::Reclaimed),
    ("Client.InstanceInitiatedShutdown", Meaning::FromInside),
    ("Client.InstanceTerminated", Meaning::ByACall),
    ("Client.InternalError", Meaning::LaunchFailed(RefusalClass::Configuration)),
    ("Client.InvalidSnapshot.NotFound", Meaning::LaunchFailed(RefusalClass::Configuration)),
    ("Client.UserInitiatedHibernate", Meaning::ByACall),
    ("Client.UserInitiatedShutdown", Meaning::ByACall),
    ("Client.VolumeLimitExceeded", Meaning::LaunchFailed(RefusalClass::Quota)),
];

impl StateReason {
    /// As EC2 writes them. Its messages begin with the code once more.
    pub fn new(code: impl Into<String>, message: &str) -> Self {
        let code = code.into();
        let message = message.strip_prefix(code.as_str()).unwrap_or(message).trim_start_matches([':', ' ']);
        StateReason { message: message.trim_end_matches(['.', ' ']).to_owned(), code }
    }

    pub fn code(&self) -> &str {
        &self.code
    }

    /// Empty where EC2 gives none.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn meaning(&self) -> Meaning {
        let documented = DOCUMENTED.iter().find(|(code, _)| *code == self.code);
        documented.map_or_else(|| meaning_by_name(&self.code), |(_, meaning)| *meaning)
    }
}

impl fmt::Display for StateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => f.write_str(&self.code),
            message => write!(f, "{}: {message}", self.code),
        }
    }
}

/// Of a code that the documentation does not have: errors of calls are known to come as state reasons too.
fn meaning_by_name(code: &str) -> Meaning {
    let name = code.strip_prefix("Client.").or_else(|| code.strip_prefix("Server.")).unwrap_or(code);
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if name.starts_with("Spot") && code.starts_with("Server.") {
        return Meaning::Reclaimed;
    }
    Meaning::Other(if has(&["Capacity"]) {
        RefusalClass::Capacity
    } else if has(&["LimitExceeded", "CountExceeded", "QuotaExceeded"]) {
        RefusalClass::Quota
    } else if has(&["Unauthorized", "AccessDenied", "AuthFailure", "NotPermitted"]) {
        RefusalClass::Permission
    } else if has(&["Invalid", "NotFound", "Malformed", "KMS", "Kms", "Unsupported"]) {
        RefusalClass::Configuration
    } else if code.starts_with("Server.") {
        RefusalClass::Retry
    } else {
        RefusalClass::Unknown
    })
}

/// What a person does about launches that EC2 ends with this code; None where its class says it.
pub(crate) fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "Client.InternalError" => {
            "Mostly the KMS key of an encrypted volume: allow the coordinator's role to use it (kms:CreateGrant, kms:Decrypt, \
             kms:DescribeKey, kms:GenerateDataKeyWithoutPlaintext, kms:ReEncrypt*), in its policy and in the key's, or fix the \
             image's devices"
        }
        "Client.InvalidSnapshot.NotFound" => {
            "A snapshot of the image's volumes does not exist: bake the image again, or fix the launch template's devices"
        }
        "Client.VolumeLimitExceeded" => "Ask AWS for a higher quota of EBS storage, or delete volumes that nobody uses",
        "Server.InternalError" => {
            "EC2 says no more. Where it goes on, look at the image's devices, their snapshots and their KMS key, or launch \
             another instance type"
        }
        "NoImageYet" => {
            "There is no image of the workers yet: make one with spillway bake, then spillway resume. One that was made by \
             hand needs the tag spillway:installation"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documentation's list, as of November 2026.
    const LIST: &str = "Server.InsufficientInstanceCapacity Server.InternalError Server.ScheduledStop \
        Server.SpotInstanceShutdown Server.SpotInstanceTermination Client.InstanceInitiatedShutdown \
        Client.InstanceTerminated Client.InternalError Client.InvalidSnapshot.NotFound Client.UserInitiatedHibernate \
        Client.UserInitiatedShutdown Client.VolumeLimitExceeded";

    fn meaning(code: &str) -> Meaning {
        StateReason::new(code, "").meaning()
    }

    #[test]
    fn every_documented_code_has_its_meaning_and_no_launch_fails_without_a_class() {
        let codes: Vec<&str> = LIST.split_whitespace().collect();
        assert_eq!(codes, DOCUMENTED.map(|(code, _)| code));
        for code in codes {
            match meaning(code) {
                Meaning::Other(class) => panic!("{code} is documented, and read by its name: {class:?}"),
                Meaning::LaunchFailed(class) => {
                    assert!(class.needs_a_person() || class == RefusalClass::Capacity, "{code}: {class:?}");
                    assert_eq!(remedy(code).is_some(), class.needs_a_person(), "{code}");
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_code_that_nobody_documents_is_read_by_its_name() {
        use RefusalClass::{Capacity, Configuration, Permission, Quota, Retry, Unknown};
        for (code, class) in [
            ("Server.InsufficientVolumeCapacity", Capacity),
            ("Server.InsufficientHostCapacity", Capacity),
            ("Client.VcpuLimitExceeded", Quota),
            ("Client.MaxSpotInstanceCountExceeded", Quota),
            ("Client.UnauthorizedOperation", Permission),
            ("Client.InvalidKMSKey.InvalidState", Configuration),
            ("Client.InvalidParameterValue", Configuration),
            ("Server.SomethingNew", Retry),
            ("Client.SomethingNew", Unknown),
            ("", Unknown),
        ] {
            assert_eq!(meaning(code), Meaning::Other(class), "{code}");
        }
        assert_eq!(meaning("Server.SpotInstanceSomethingNew"), Meaning::Reclaimed);
    }

    #[test]
    fn the_code_is_not_said_twice() {
        let reason = StateReason::new("Client.InternalError", "Client.InternalError: Client error on launch.");
        assert_eq!(reason.to_string(), "Client.InternalError: Client error on launch");
        assert_eq!(StateReason::new("Server.New", "").to_string(), "Server.New");
    }
}
