//! What a pool's status says of images, commits and boot steps: which instances are of another image than launches
//! take, and what the last boots spent their time with. For operators and metrics: nothing is decided by it.

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_proto::times::{duration, from_duration};
use spillway_proto::v1;

use crate::cloud::LaunchImage;
use crate::wire_time::timestamp;

/// Steps of a pool that are told: their names are agents' words.
const STEPS: usize = 16;

/// Programs that install packages, and how they are told to.
const INSTALLERS: [(&str, &str); 8] = [
    ("bun", "install"),
    ("bun", "i"),
    ("npm", "ci"),
    ("npm", "install"),
    ("npm", "i"),
    ("pnpm", "install"),
    ("pnpm", "i"),
    ("yarn", "install"),
];

/// Adds it to the status of a pool whose launches take this image; None where that is not known.
pub fn add(pool: &mut v1::Pool, image: Option<LaunchImage>) {
    pool.newest_commit = newest_commit(&pool.instances).unwrap_or_default();
    pool.step_medians = step_medians(&pool.instances);
    if let Some(LaunchImage { id, made_at, at }) = image {
        for instance in pool.instances.iter_mut().filter(|instance| instance.phase != "gone") {
            instance.other_image = image_of(instance).map(|of| of != id);
        }
        pool.launch_image = Some(v1::LaunchImage { id, made_at: made_at.map(timestamp), at: Some(timestamp(at)) });
    }
}

/// Adds how instances compare with the commit of the primary's application; None where that is not known.
pub fn add_primary(pool: &mut v1::Pool, commit: Option<&str>) {
    let Some(commit) = commit else { return };
    for instance in pool.instances.iter_mut().filter(|instance| instance.phase != "gone") {
        let of = instance.heartbeat.as_ref().map(|beat| beat.git_commit.as_str()).filter(|of| !of.is_empty());
        instance.other_commit = of.map(|of| !is_same(of, commit));
    }
    commit.clone_into(&mut pool.primary_commit);
}

/// An agent may tell the beginning of one.
fn is_same(one: &str, other: &str) -> bool {
    const LEAST: usize = 7;
    let length = one.len().min(other.len());
    length >= LEAST && one.is_char_boundary(length) && one[..length].eq_ignore_ascii_case(&other[..length])
}

/// EC2's word before the agent's.
fn image_of(instance: &v1::Instance) -> Option<&str> {
    let by_agent = instance.heartbeat.as_ref().map(|beat| beat.image_id.as_str());
    [Some(instance.image_id.as_str()), by_agent].into_iter().flatten().find(|id| !id.is_empty())
}

/// What the ready instance that was launched last runs: it pulled after all the others.
fn newest_commit(instances: &[v1::Instance]) -> Option<String> {
    let commit = |instance: &v1::Instance| {
        let commit = instance.heartbeat.as_ref().map(|beat| beat.git_commit.clone())?;
        let at = instance.launched_at.as_ref()?;
        (instance.phase == "ready" && !commit.is_empty()).then_some((at.seconds, at.nanos, commit))
    };
    instances.iter().filter_map(commit).max().map(|(_, _, commit)| commit)
}

/// In the order in which the steps run.
fn step_medians(instances: &[v1::Instance]) -> Vec<v1::StepMedian> {
    let mut steps: BTreeMap<(u32, &str), (Vec<Duration>, bool)> = BTreeMap::new();
    for step in instances.iter().flat_map(|instance| &instance.boot_steps) {
        let Some(took) = step.took.as_ref().and_then(from_duration) else { continue };
        if step.state() != v1::StepState::Succeeded {
            continue;
        }
        let (times, installs) = steps.entry((step.index, &step.name)).or_default();
        times.push(took);
        *installs |= step.name == "install" || is_install(&step.command);
    }
    let median = |((_, name), (mut times, installs)): ((u32, &str), (Vec<Duration>, bool))| {
        times.sort_unstable();
        let (took, boots) = (duration(times[times.len() / 2]), u32::try_from(times.len()).unwrap_or(u32::MAX));
        v1::StepMedian { name: name.to_owned(), took: Some(took), boots, installs }
    };
    steps.into_iter().take(STEPS).map(median).collect()
}

fn is_install(command: &str) -> bool {
    command.split(['&', ';', '|', '\n', '(', ')']).any(|one| {
        let words: Vec<&str> = one.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word)).collect();
        words == ["yarn"] || words.windows(2).any(|pair| INSTALLERS.contains(&(pair[0], pair[1])))
    })
}

#[cfg(test)]
mod tests {
    use spillway_brain::Timestamp;

    use super::*;

    fn instance(id: &str, phase: &str, launched_at: u64, commit: &str) -> v1::Instance {
        v1::Instance {
            id: id.to_owned(),
            phase: phase.to_owned(),
            launched_at: Some(timestamp(Timestamp(launched_at))),
            heartbeat: Some(v1::Heartbeat { git_commit: commit.to_owned(), ..v1::Heartbeat::default() }),
            ..v1::Instance::default()
        }
    }

    fn booted(name: &str, command: &str, seconds: u64, state: v1::StepState) -> v1::Instance {
        let step = v1::BootStep {
            name: name.to_owned(),
            command: command.to_owned(),
            took: Some(duration(Duration::from_secs(seconds))),
            state: state.into(),
            ..v1::BootStep::default()
        };
        v1::Instance { boot_steps: vec![step], ..v1::Instance::default() }
    }

    #[test]
    fn an_instance_of_another_image_is_told_by_ec2s_word_first_and_unknown_is_neither() {
        let by_ec2 = |id: &str, image: &str, by_agent: &str| {
            let heartbeat = Some(v1::Heartbeat { image_id: by_agent.to_owned(), ..v1::Heartbeat::default() });
            v1::Instance { image_id: image.to_owned(), heartbeat, ..instance(id, "ready", 1, "") }
        };
        let instances = vec![
            by_ec2("same", "ami-2", "ami-1"),
            by_ec2("another", "ami-1", "ami-2"),
            by_ec2("by its agent", "", "ami-1"),
            by_ec2("not known", "", ""),
            v1::Instance { phase: "gone".to_owned(), ..by_ec2("gone", "ami-1", "") },
        ];
        let mut pool = v1::Pool { instances, ..v1::Pool::default() };
        let told = |pool: &v1::Pool| pool.instances.iter().map(|it| it.other_image).collect::<Vec<_>>();
        add(&mut pool, None);
        assert_eq!((told(&pool), &pool.launch_image), (vec![None; 5], &None));
        add(&mut pool, Some(LaunchImage { id: "ami-2".to_owned(), made_at: Some(Timestamp(5)), at: Timestamp(9) }));
        assert_eq!(told(&pool), [Some(false), Some(true), Some(true), None, None]);
        assert_eq!(pool.launch_image.and_then(|image| image.made_at), Some(timestamp(Timestamp(5))));
    }

    #[test]
    fn an_instance_of_another_commit_than_the_primary_is_told_and_unknown_is_neither() {
        let primary = "0123456789abcdef0123456789abcdef01234567";
        let commits = [primary, "0123456", "0123450", "", "é", "012345"];
        let mut instances: Vec<_> = commits.iter().map(|commit| instance("i", "ready", 1, commit)).collect();
        instances.push(instance("gone", "gone", 1, "ffffffff"));
        let mut pool = v1::Pool { instances, ..v1::Pool::default() };
        let told = |pool: &v1::Pool| pool.instances.iter().map(|it| it.other_commit).collect::<Vec<_>>();
        add_primary(&mut pool, None);
        assert_eq!((told(&pool), pool.primary_commit.as_str()), (vec![None; 7], ""));
        add_primary(&mut pool, Some(primary));
        let (same, other) = (Some(false), Some(true));
        assert_eq!(told(&pool), [same, same, other, None, other, other, None]);
        assert_eq!(pool.primary_commit, primary);
    }

    #[test]
    fn the_newest_commit_is_that_of_the_ready_instance_that_was_launched_last() {
        let of = |instances: &[v1::Instance]| newest_commit(instances).unwrap_or_default();
        let (first, second) = (instance("i-1", "ready", 1000, "ffff"), instance("i-2", "ready", 2000, "aaaa"));
        assert_eq!(of(&[first.clone(), second.clone()]), "aaaa");
        assert_eq!(of(&[second, first.clone(), instance("i-3", "booting", 3000, "bbbb")]), "aaaa");
        assert_eq!(of(&[first, instance("i-4", "ready", 4000, "")]), "ffff", "one that tells none");
        assert_eq!(of(&[]), "");
    }

    #[test]
    fn the_median_of_each_step_counts_what_succeeded() {
        use v1::StepState::{Failed, Running, Succeeded};
        let boots = [(70, Succeeded), (10, Succeeded), (80, Succeeded), (5, Failed), (1, Running)];
        let medians = step_medians(&boots.map(|(took, state)| booted("install", "make", took, state)));
        let expected = v1::StepMedian {
            name: "install".to_owned(),
            took: Some(duration(Duration::from_secs(70))),
            boots: 3,
            installs: true,
        };
        assert_eq!(medians, [expected]);
        let many: Vec<_> = (0..100).map(|n| booted(&n.to_string(), "true", 1, Succeeded)).collect();
        assert_eq!(step_medians(&many).len(), STEPS);
    }

    #[test]
    fn a_command_that_installs_packages_is_known_by_its_words() {
        for command in ["bun install --frozen-lockfile", "cd app && /usr/bin/npm ci", "git pull; yarn", "(pnpm i)"] {
            assert!(is_install(command), "{command}");
        }
        for command in ["git pull", "npm run install-hooks", "bun run start", "yarn build", "echo bun; install x"] {
            assert!(!is_install(command), "{command}");
        }
    }
}
