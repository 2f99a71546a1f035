//! How long jobs took that have ended between two looks. Of those that Redis keeps, their hashes say it. Of those that
//! BullMQ removes at once, the looks say it: one that ran at the last look ended in between, and of those that came and
//! went in between their number is known and the time that slots were taken.

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_brain::Finished;

/// Jobs that are told of one queue: those beyond it are left out evenly.
const TOLD: usize = 200;

/// One queue, as far as it tells how long jobs take.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// By Redis' clock.
    pub at_ms: u64,
    /// By id.
    pub running: BTreeMap<String, Started>,
    /// Those that ended since the look before, of which Redis keeps the hash; newest first.
    pub kept: Vec<Ended>,
    /// These are all.
    pub has_all_kept: bool,
    /// Jobs that ever ended; None: it cannot be known.
    pub finished: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Started {
    pub name: String,
    pub at_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub id: String,
    pub name: String,
    pub at_ms: u64,
    pub took_ms: u64,
}

/// How long those took that ended after `before`; without it, those that Redis keeps.
pub(super) fn since(before: Option<&Look>, now: &Look) -> Vec<Finished> {
    let told = |name: &str, took_ms: u64| Finished { took: Duration::from_millis(took_ms), name: name.to_owned() };
    let mut ended: Vec<Finished> = now.kept.iter().map(|it| told(&it.name, it.took_ms)).collect();
    // With more than are read the newest tell for all.
    if let Some(before) = before.filter(|_| now.has_all_kept) {
        let is_kept = |id: &str| now.kept.iter().any(|it| it.id == id);
        let middle = before.at_ms + now.at_ms.saturating_sub(before.at_ms) / 2;
        let gone = before.running.iter().filter(|(id, run)| now.running.get(*id) != Some(*run) && !is_kept(id));
        let gone: Vec<&Started> = gone.map(|(_, run)| run).collect();
        ended.extend(gone.iter().map(|run| told(&run.name, middle.saturating_sub(run.at_ms))));
        let (number, each_ms) = unseen(before, now, gone.len());
        ended.extend((0..number).map(|_| told("", each_ms)));
    }
    if ended.len() > TOLD {
        let each = ended.len() as f64 / TOLD as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
        return (0..TOLD).map(|nth| ended[(nth as f64 * each) as usize].clone()).collect();
    }
    ended
}

/// Jobs that started and ended in between and are removed: how many, and how long each took on average. Their slots
/// were taken for as long as all slots were, but for what is known of the others.
fn unseen(before: &Look, now: &Look, gone: usize) -> (usize, u64) {
    let span = now.at_ms.saturating_sub(before.at_ms);
    let finished = before.finished.zip(now.finished).and_then(|(then, now)| now.checked_sub(then)).unwrap_or(0);
    let number = usize::try_from(finished).unwrap_or(usize::MAX).saturating_sub(now.kept.len() + gone);
    if number == 0 || span == 0 {
        return (0, 0);
    }
    let taken = (before.running.len() + now.running.len()) as u64 * span / 2;
    let within = |started: u64, ended: u64| ended.min(now.at_ms).saturating_sub(started.max(before.at_ms));
    let running: u64 = now.running.values().map(|run| within(run.at_ms, now.at_ms)).sum();
    let kept: u64 = now.kept.iter().map(|it| within(it.at_ms.saturating_sub(it.took_ms), it.at_ms)).sum();
    let known = running + kept + gone as u64 * span / 2;
    // A queue may remove thousands between two looks: as many as are told are enough.
    (number.min(10 * TOLD), (taken.saturating_sub(known) / number as u64).clamp(1, span))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(jobs: &[(&str, u64)]) -> BTreeMap<String, Started> {
        let of = |(id, at_ms): &(&str, u64)| ((*id).to_owned(), Started { name: "encode".to_owned(), at_ms: *at_ms });
        jobs.iter().map(of).collect()
    }

    fn look(at_ms: u64, jobs: &[(&str, u64)], finished: u64) -> Look {
        Look { at_ms, running: running(jobs), kept: Vec::new(), has_all_kept: true, finished: Some(finished) }
    }

    fn took(before: &Look, now: &Look) -> Vec<u64> {
        since(Some(before), now).iter().map(|it| it.took.as_secs()).collect()
    }

    fn kept(id: &str, at_ms: u64, took_ms: u64) -> Ended {
        Ended { id: id.to_owned(), name: "encode".to_owned(), at_ms, took_ms }
    }

    #[test]
    fn a_job_that_redis_keeps_tells_how_long_it_took_and_is_told_once() {
        let before = look(100_000, &[("1", 40_000)], 5);
        let now = Look { kept: vec![kept("1", 104_000, 64_000), kept("2", 109_000, 3000)], ..look(110_000, &[], 7) };
        assert_eq!(took(&before, &now), [64, 3]);
        assert_eq!(since(None, &now).len(), 2, "the first look tells them too");
        let many = Look { has_all_kept: false, ..now };
        assert_eq!(took(&before, &Look { finished: Some(900), ..many }), [64, 3], "the newest tell for all");
    }

    #[test]
    fn a_job_that_is_removed_ended_about_between_the_looks() {
        let before = look(100_000, &[("1", 40_000), ("2", 90_000)], 5);
        assert_eq!(took(&before, &look(110_000, &[("2", 90_000)], 6)), [65]);
        // It was put back, and taken again.
        assert_eq!(took(&before, &look(110_000, &[("1", 108_000), ("2", 90_000)], 5)), [65]);
    }

    #[test]
    fn jobs_that_came_and_went_between_the_looks_share_the_time_of_the_slots() {
        // Four slots that were always busy ended 400 jobs in 10 s.
        let slots = |second: u64| [("a", second - 50), ("b", second - 50), ("c", second - 50), ("d", second - 50)];
        let before = look(100_000, &slots(100_000), 0);
        let now = Look { running: running(&[("e", 109_950)]), ..look(110_000, &[], 400) };
        let all = since(Some(&before), &Look { running: now.running.clone(), ..now.clone() });
        assert_eq!(all.len(), TOLD, "not more than are kept");
        let mean = all.iter().map(|it| it.took.as_millis()).sum::<u128>() / all.len() as u128;
        assert!((50..=125).contains(&mean), "{mean}");
        // None is made up where the count does not tell of any.
        assert_eq!(took(&before, &look(110_000, &slots(100_000), 0)), [0; 0]);
        assert_eq!(took(&before, &Look { finished: None, ..look(110_000, &slots(100_000), 0) }), [0; 0]);
    }
}
