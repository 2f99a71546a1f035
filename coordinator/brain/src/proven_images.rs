//! The images on which an instance of this pool has become ready, by EC2's listed image of that instance and not by its
//! agent's word. What is not among them has not run here yet.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

/// As many are kept: images that a parameter may be rolled back to.
const KEPT: usize = 8;

/// EC2's ids, the last one proven last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProvenImages(VecDeque<String>);

impl ProvenImages {
    /// An instance of it became ready for the first time.
    pub(crate) fn became_ready(&mut self, image: String) {
        self.0.retain(|known| *known != image);
        self.0.push_back(image);
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// Of an instance that was ready before its image was known. One that is known keeps its place.
    pub(crate) fn was_ready(&mut self, image: &str) {
        if !self.contains(image) {
            self.became_ready(image.to_owned());
        }
    }

    pub fn contains(&self, image: &str) -> bool {
        self.0.iter().any(|known| known == image)
    }

    /// The last one proven.
    pub fn last(&self) -> Option<&str> {
        self.0.back().map(String::as_str)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An image of which every boot since the last success failed, and on which no instance has ever become ready here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeverRan {
    pub image: String,
    /// The last image that has run here; None where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<String>,
}

impl fmt::Display for NeverRan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, last_good } = self;
        match last_good {
            Some(good) => write!(
                f,
                "All were of image {image}, which has never run here; the last one that has is {good}: run `spillway bake \
                 --rollback {good}`"
            ),
            None => write!(
                f,
                "All were of image {image}, and no image has run here yet: see why they failed, bake again, then run \
                 `spillway resume`"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_eight_are_kept_and_one_that_becomes_ready_again_is_the_newest() {
        let mut images = ProvenImages::default();
        assert!(images.is_empty() && images.last().is_none() && !images.contains("ami-0"));
        (0..8).for_each(|n| images.became_ready(format!("ami-{n}")));
        images.became_ready("ami-0".to_owned());
        assert_eq!((images.last(), images.0.len()), (Some("ami-0"), 8));
        images.was_ready("ami-3");
        assert_eq!(images.last(), Some("ami-0"), "it was known");
        images.was_ready("ami-8");
        assert_eq!((images.last(), images.0.len()), (Some("ami-8"), 8));
        assert!(images.contains("ami-0") && !images.contains("ami-1"), "the oldest one is forgotten");
    }
}
