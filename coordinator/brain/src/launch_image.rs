//! The image that launches take, as EC2 answers. What is not known is never guessed: an image that was known stays what
//! it was for replacements under way, and begins none.

use serde::{Deserialize, Serialize};

use crate::stepped::Stepped;
use crate::time::Timestamp;

/// The image that a launch would take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchImage {
    /// EC2's id.
    pub id: String,
    /// When it was first told: what was launched after that took it, or will not be replaced for it.
    pub since: Timestamp,
    /// By EC2's last answer to this leadership.
    pub is_known: bool,
}

impl LaunchImage {
    /// What is known after an answer; None: EC2 did not tell.
    pub(crate) fn told(before: Option<Self>, now: Timestamp, answer: Option<String>) -> Option<Self> {
        match (before, answer) {
            (Some(before), Some(id)) if before.id == id => Some(Self { is_known: true, ..before }),
            (_, Some(id)) => Some(Self { id, since: now, is_known: true }),
            (before, None) => before.map(|before| Self { is_known: false, ..before }),
        }
    }
}

impl Stepped for LaunchImage {
    fn step(&mut self, by: i64) {
        let Self { id: _, since, is_known: _ } = self;
        since.step(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_as_old_as_its_first_answer_and_an_answer_that_fails_makes_it_unknown() {
        let told = |before, at, id: Option<&str>| LaunchImage::told(before, Timestamp(at), id.map(str::to_owned));
        let image =
            |id: &str, since, is_known| Some(LaunchImage { id: id.to_owned(), since: Timestamp(since), is_known });
        assert_eq!(told(None, 1, None), None);
        assert_eq!(told(None, 1, Some("ami-1")), image("ami-1", 1, true));
        assert_eq!(told(image("ami-1", 1, true), 2, None), image("ami-1", 1, false));
        assert_eq!(told(image("ami-1", 1, false), 3, Some("ami-1")), image("ami-1", 1, true));
        assert_eq!(told(image("ami-1", 1, true), 4, Some("ami-2")), image("ami-2", 4, true));
    }
}
