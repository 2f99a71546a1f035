//! Whose instance it is that EC2 lists and the ledger does not know. Every tag can be edited by anyone, and two
//! installations may use the same names: only the installation's own tag, or a token of this ledger's own making, makes
//! an instance ours.

use serde::{Deserialize, Serialize};

use crate::event::Listed;
use crate::id::{InstanceId, LaunchToken};
use crate::time::Timestamp;

/// Whose instance it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// This installation's: its tag says so, or its token is one that only this ledger can have made.
    Ours(LaunchToken),
    /// Another installation's, by its tag. Not counted, not touched.
    Anothers(String),
    /// It has a launch token and no installation's tag, as versions before the tag launched it: nobody can tell whose
    /// it is. It may be ours and bill, so it is counted; it may be another's and work, so it is not touched.
    Unknown,
    /// Launched by hand, or by another program. Counted, not touched.
    Unmanaged,
}

impl Whose {
    /// Of an instance that the ledger does not know. `nonce`: what this ledger's launch tokens begin with.
    pub(crate) fn of(entry: &Listed, installation: &str, nonce: &str) -> Self {
        let is_made_here = |token: &LaunchToken| {
            let number = token.0.strip_prefix(nonce).and_then(|rest| rest.strip_prefix('-'));
            number.is_some_and(|number| number.parse::<u64>().is_ok())
        };
        match (&entry.installation, &entry.token) {
            (Some(theirs), _) if theirs != installation || installation.is_empty() => Whose::Anothers(theirs.clone()),
            (Some(_), Some(token)) => Whose::Ours(token.clone()),
            (None, Some(token)) if is_made_here(token) => Whose::Ours(token.clone()),
            (None, Some(_)) => Whose::Unknown,
            (_, None) => Whose::Unmanaged,
        }
    }
}

/// An instance with the pool's tag and a launch token that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranger {
    pub id: InstanceId,
    /// Another installation's, by its tag; None: it has no such tag.
    pub installation: Option<String>,
    /// When a list last had it: lists that miss it for a moment do not make it news again.
    pub last_listed: Timestamp,
}

impl Stranger {
    /// It counts against the cap: nothing says that it is another's.
    pub fn may_be_ours(&self) -> bool {
        self.installation.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Ec2State;

    #[test]
    fn only_our_tag_or_a_token_of_our_own_making_makes_an_instance_ours() {
        let whose = |installation: Option<&str>, token: Option<&str>, ours: &str| {
            let token = token.map(|token| LaunchToken(token.to_owned()));
            let installation = installation.map(str::to_owned);
            let (id, state) = (InstanceId("i-1".to_owned()), Ec2State::Running);
            let launched_at = Timestamp(0);
            let entry =
                Listed { id, token, installation, retagged: None, image: None, state, state_reason: None, launched_at };
            Whose::of(&entry, ours, "spillway-a1")
        };
        let ours = |token: &str| Whose::Ours(LaunchToken(token.to_owned()));
        let anothers = |it: &str| Whose::Anothers(it.to_owned());
        assert_eq!(whose(Some("a"), Some("t-9"), "a"), ours("t-9"), "a wiped ledger finds its own by the tag");
        assert_eq!(
            whose(None, Some("spillway-a1-7"), "a"),
            ours("spillway-a1-7"),
            "an older copy of the ledger its own"
        );
        assert_eq!(whose(Some("b"), Some("t-9"), "a"), anothers("b"));
        assert_eq!(
            whose(Some("b"), Some("spillway-a1-7"), "a"),
            anothers("b"),
            "a copy of the ledger is another's too"
        );
        assert_eq!(whose(Some("a"), None, "a"), Whose::Unmanaged, "launched by hand with copied tags");
        assert_eq!(whose(None, Some("t-9"), "a"), Whose::Unknown);
        assert_eq!(whose(None, Some("spillway-a11-7"), "a"), Whose::Unknown, "another nonce that begins alike");
        assert_eq!(whose(None, Some("spillway-a1-x"), "a"), Whose::Unknown);
        assert_eq!(whose(None, None, "a"), Whose::Unmanaged);
        assert_eq!(whose(Some(""), Some("t-9"), ""), anothers(""), "no tag makes it ours while ours is not known");
    }
}
