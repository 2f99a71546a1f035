//! Which image a launch would take now: the launch template's, with what stands behind its parameter, and when it was
//! made. What cannot be read is not known, and never guessed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use spillway_brain::Timestamp;
use tokio::time::Instant;

use super::volumes::{describe_version, image_id};
use super::{Cloud, Refused};
use crate::clock;
use crate::config::Pool;

/// A bake changes the image some times a day: EC2 is asked no more often than this.
const ASKED_EACH: Duration = Duration::from_secs(60);
/// An answer that is older says nothing of launches any more. Of a coordinator that has stopped asking.
const KEPT: Duration = Duration::from_secs(180);

/// The image that launches of a pool take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchImage {
    pub id: String,
    /// None where EC2 does not tell.
    pub made_at: Option<Timestamp>,
    /// When EC2 was asked.
    pub at: Timestamp,
}

/// What EC2 answered last, by pool; shared by all copies of a [`Cloud`].
#[derive(Clone, Debug, Default)]
pub(super) struct LaunchImages(Arc<Mutex<BTreeMap<String, Known>>>);

#[derive(Clone, Debug)]
struct Known {
    asked_at: Instant,
    /// None while it is not known.
    answer: Option<LaunchImage>,
}

impl LaunchImages {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Known>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it is time to ask; then it counts as asked, and what was answered before stays until the next answer.
    fn is_due(&self, of: &str, now: Instant) -> bool {
        self.with(|known| match known.get_mut(of) {
            Some(known) if now.duration_since(known.asked_at) < ASKED_EACH => false,
            Some(known) => {
                known.asked_at = now;
                true
            }
            None => known.insert(of.to_owned(), Known { asked_at: now, answer: None }).is_none(),
        })
    }

    /// The id that was answered before.
    fn answered(&self, of: &str, now: Instant, answer: Option<LaunchImage>) -> Option<String> {
        let before = self.with(|known| known.insert(of.to_owned(), Known { asked_at: now, answer }));
        Some(before?.answer?.id)
    }

    fn known(&self, of: &str, now: Instant) -> Option<LaunchImage> {
        let is_recent = |known: &&Known| now.duration_since(known.asked_at) < KEPT;
        self.with(|known| known.get(of).filter(is_recent)?.answer.clone())
    }
}

impl Cloud {
    /// The image that a launch of this pool would take, by EC2's last answer; None where that is not known.
    pub fn launch_image(&self, pool: &Pool) -> Option<LaunchImage> {
        self.launch_images.known(&pool.name, Instant::now())
    }

    /// Asks EC2 for it, once in a minute: the image's id, where EC2 tells it. None before it is time to ask.
    pub async fn look_for_launch_image(&self, pool: &Pool) -> Option<Option<String>> {
        if !self.launch_images.is_due(&pool.name, Instant::now()) {
            return None;
        }
        let answer = self.read_launch_image(pool).await.unwrap_or_else(|Refused { code, message, .. }| {
            tracing::debug!(pool = pool.name, code, detail = message, "cannot read which image launches take");
            None
        });
        let image = answer.as_ref().map(|image| image.id.clone());
        let before = self.launch_images.answered(&pool.name, Instant::now(), answer);
        if let (Some(before), Some(image)) = (before, &image)
            && before != *image
        {
            tracing::info!(pool = pool.name, image, before, "launches take another image");
        }
        Some(image)
    }

    async fn read_launch_image(&self, pool: &Pool) -> Result<Option<LaunchImage>, Refused> {
        let at = clock::now();
        let request = describe_version(&self.client, &pool.launch_template, &pool.launch_template_version);
        let answer = request.send().await.map_err(Refused::from)?;
        let template = answer.launch_template_versions().first().and_then(|version| version.launch_template_data());
        let Some(template) = template else { return Ok(None) };
        let Some(id) = image_id(template)?.map(str::to_owned) else { return Ok(None) };
        // Where only its age cannot be read, the image is known all the same.
        let made_at = match self.image(&id).await {
            Ok(image) => image.and_then(|image| image.made_at).and_then(|text| timestamp(&text)),
            Err(Refused { code, message, .. }) => {
                tracing::debug!(pool = pool.name, code, detail = message, "cannot read when an image was made");
                None
            }
        };
        Ok(Some(LaunchImage { id, made_at, at }))
    }
}

/// A time as EC2 writes it.
fn timestamp(text: &str) -> Option<Timestamp> {
    let millis = DateTime::from_str(text, DateTimeFormat::DateTime).ok()?.to_millis().ok()?;
    u64::try_from(millis).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ec2_is_asked_once_in_a_minute_and_what_it_does_not_answer_is_not_known() {
        let (images, began) = (LaunchImages::default(), Instant::now());
        let (of, another) = ("video", "audio");
        let at = |seconds| began + Duration::from_secs(seconds);
        let image = |id: &str| Some(LaunchImage { id: id.to_owned(), made_at: None, at: Timestamp(1) });
        assert_eq!([0, 0, 59].map(|seconds| images.is_due(of, at(seconds))), [true, false, false]);
        assert!(images.is_due(another, at(0)) && images.known(of, at(0)).is_none());
        assert_eq!(images.answered(of, at(1), image("ami-1")), None);
        assert!(images.is_due(of, at(61)));
        assert_eq!(images.known(of, at(62)), image("ami-1"), "while EC2 is asked again");
        assert_eq!(images.answered(of, at(62), image("ami-2")).as_deref(), Some("ami-1"));
        assert_eq!(images.known(of, at(62 + 179)), image("ami-2"));
        assert_eq!(images.known(of, at(62 + 180)), None, "nobody has asked since");
        assert_eq!(images.known(another, at(1)), None);
        images.answered(of, at(300), None);
        assert_eq!(images.known(of, at(300)), None);
    }

    #[test]
    fn a_time_of_ec2s_is_read_and_nonsense_is_none() {
        assert_eq!(timestamp("1970-01-01T00:00:01.500Z"), Some(Timestamp(1500)));
        assert_eq!(["", "yesterday", "1969-01-01T00:00:00.000Z"].map(timestamp), [None; 3]);
    }
}
