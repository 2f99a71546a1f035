//! Images, commits and what boots cost, in the reader's words.

use std::time::{Duration, SystemTime};

use spillway_proto::v1;
use spillway_words::in_words;

use crate::times::{ago, span};

/// An install that takes longer is worth an image of its own.
const SLOW_INSTALL: Duration = Duration::from_secs(20);

/// Characters of a commit that are shown.
const COMMIT: usize = 8;

/// Which image launches take and how old it is, and what it lacks; nothing where that is not known.
pub(crate) fn of_pool(pool: &v1::Pool, now: SystemTime) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(image) = &pool.launch_image {
        lines.push(match &image.made_at {
            Some(at) => format!("launches take {}, made {}", image.id, ago(Some(at), now)),
            None => format!("launches take {}", image.id),
        });
    }
    let slow = pool.step_medians.iter().filter(|step| step.installs);
    let slow = slow.filter_map(|step| Some((&step.name, span(step.took.as_ref()?))));
    let slow = slow.filter(|(_, took)| *took > SLOW_INSTALL);
    lines.extend(slow.map(|(name, took)| format!("{name} takes {} of each boot: spillway bake", in_words(took))));
    lines
}

/// How an instance differs from what is launched now.
pub(crate) fn of_instance(instance: &v1::Instance, pool: &v1::Pool) -> Vec<String> {
    let mut words = Vec::new();
    if instance.other_image == Some(true) {
        // After a rollback launches take an image that was made before it.
        let made_at = pool.launch_image.as_ref().and_then(|image| image.made_at.as_ref());
        let seconds = |at: &prost_types::Timestamp| (at.seconds, at.nanos);
        let launched_at = instance.launched_at.as_ref();
        let is_older = made_at.zip(launched_at).is_some_and(|(made, launched)| seconds(launched) < seconds(made));
        words.push(if is_older { "older image" } else { "another image" }.to_owned());
    }
    let commit = instance.heartbeat.as_ref().map_or("", |beat| beat.git_commit.as_str());
    let is_known = instance.phase != "gone" && ![commit, &pool.newest_commit].contains(&"");
    if instance.other_commit == Some(true) {
        words.push(format!("commit {} (primary {})", short(commit), short(&pool.primary_commit)));
    } else if instance.other_commit.is_none() && is_known && commit != pool.newest_commit {
        words.push(format!("commit {} (newest {})", short(commit), short(&pool.newest_commit)));
    }
    words
}

fn short(commit: &str) -> String {
    commit.chars().take(COMMIT).collect()
}

#[cfg(test)]
mod tests {
    use spillway_proto::times::{duration, timestamp};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn pool(made_at: Option<u64>, install: u64) -> v1::Pool {
        let made_at = made_at.map(|seconds| timestamp(at(seconds)));
        let took = Some(duration(Duration::from_secs(install)));
        let step = |name: &str, installs| v1::StepMedian { name: name.to_owned(), took, boots: 3, installs };
        v1::Pool {
            launch_image: Some(v1::LaunchImage { id: "ami-2".to_owned(), made_at, at: None }),
            step_medians: vec![step("pull", false), step("install", true)],
            newest_commit: "bbbbbbbbbbbb".to_owned(),
            ..v1::Pool::default()
        }
    }

    #[test]
    fn a_pool_says_how_old_its_image_is_and_what_a_slow_install_costs() {
        let lines = |pool: &v1::Pool| of_pool(pool, at(3 * 3600 + 100));
        assert_eq!(lines(&pool(Some(100), 20)), ["launches take ami-2, made 3 h ago"]);
        assert_eq!(lines(&pool(None, 70))[0], "launches take ami-2");
        assert!(lines(&pool(None, 70))[1].starts_with("install takes "), "{:?}", lines(&pool(None, 70)));
        assert!(lines(&pool(None, 70))[1].ends_with(" of each boot: spillway bake"));
        assert_eq!(lines(&v1::Pool::default()), [""; 0]);
    }

    #[test]
    fn an_instance_says_how_it_differs_from_what_is_launched_now() {
        let words = |other_image: Option<bool>, launched_at: u64, commit: &str| {
            let heartbeat = Some(v1::Heartbeat { git_commit: commit.to_owned(), ..v1::Heartbeat::default() });
            let launched_at = Some(timestamp(at(launched_at)));
            let instance = v1::Instance { other_image, launched_at, heartbeat, ..v1::Instance::default() };
            of_instance(&instance, &pool(Some(100), 1)).join(", ")
        };
        assert_eq!(words(Some(true), 99, "bbbbbbbbbbbb"), "older image");
        assert_eq!(words(Some(true), 100, ""), "another image");
        assert_eq!(words(Some(false), 99, "aaaaaaaaaaaa"), "commit aaaaaaaa (newest bbbbbbbb)");
        assert_eq!(words(None, 99, ""), "");
        let of_primary = |other_commit| {
            let heartbeat = Some(v1::Heartbeat { git_commit: "aaaaaaaaaaaa".to_owned(), ..v1::Heartbeat::default() });
            let pool = v1::Pool { primary_commit: "cccccccccccc".to_owned(), ..pool(None, 1) };
            of_instance(&v1::Instance { other_commit, heartbeat, ..v1::Instance::default() }, &pool).join(", ")
        };
        assert_eq!(of_primary(Some(true)), "commit aaaaaaaa (primary cccccccc)");
        assert_eq!(of_primary(Some(false)), "", "the newest instance has pulled what the primary has not");
    }
}
