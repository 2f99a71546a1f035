//! In which turn jobs start, of all of a pool's queues together: what the `wait` policy looks at.

use std::time::Duration;

use crate::backlog::{Backlog, QueueBacklog};
use crate::work::{Waiting, Work};

/// The waiting jobs that could start, those that start first come first. Each queue keeps its own order, and of several
/// the one whose next job has waited longest is taken from: their workers take from all at once.
///
/// How many there are is the observation's to say: a look at the jobs is made a moment later, and a rate limit lets
/// only some of them start.
pub(super) fn turns(work: &Work, backlog: &Backlog) -> Vec<Waiting> {
    let mut queues: Vec<Vec<Waiting>> = backlog.queues.iter().map(|queue| of_queue(work, queue)).collect();
    queues.iter_mut().for_each(|queue| queue.reverse());
    let mut turns = Vec::new();
    while let Some(queue) = queues.iter_mut().filter(|it| !it.is_empty()).max_by_key(|it| it.last().map(|it| it.age)) {
        turns.extend(queue.pop());
    }
    turns
}

fn of_queue(work: &Work, queue: &QueueBacklog) -> Vec<Waiting> {
    let mut left = queue.demand();
    let mut seen = Vec::new();
    for waiting in work.waiting.get(&queue.queue).into_iter().flatten() {
        let jobs = waiting.jobs.min(left);
        left -= jobs;
        seen.extend((jobs > 0).then_some(Waiting { age: waiting.age, jobs }));
    }
    // The look did not show them: those that came last, or all of them.
    let age = if seen.is_empty() { queue.oldest_age.unwrap_or_default() } else { Duration::ZERO };
    seen.extend((left > 0).then_some(Waiting { age, jobs: left }));
    seen
}

/// How many jobs of those queues may run at once, by the queues' global concurrency; None: one of those in which jobs
/// could start has none.
pub(super) fn most_at_once(backlog: &Backlog) -> Option<u64> {
    backlog.queues.iter().filter(|queue| queue.demand() > 0).map(|queue| queue.concurrency).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backlog::RateLimit;

    fn queue(name: &str, waiting: u64) -> QueueBacklog {
        QueueBacklog { queue: name.to_owned(), waiting, ..QueueBacklog::default() }
    }

    fn seen(queues: &[(&str, &[(u64, u64)])]) -> Work {
        let of = |(age, jobs): &(u64, u64)| Waiting { age: Duration::from_secs(*age), jobs: *jobs };
        let waiting = queues.iter().map(|(name, jobs)| ((*name).to_owned(), jobs.iter().map(of).collect()));
        Work { waiting: waiting.collect(), ..Work::default() }
    }

    fn told(work: &Work, queues: Vec<QueueBacklog>) -> Vec<(u64, u64)> {
        turns(work, &Backlog { queues }).into_iter().map(|it| (it.age.as_secs(), it.jobs)).collect()
    }

    #[test]
    fn queues_keep_their_order_and_the_longest_waiting_comes_first() {
        let work = seen(&[("a", &[(90, 1), (20, 2)]), ("b", &[(50, 1), (70, 3), (10, 1)])]);
        let all = told(&work, vec![queue("a", 3), queue("b", 5)]);
        assert_eq!(all, [(90, 1), (50, 1), (70, 3), (20, 2), (10, 1)], "a priority goes before an older job");
    }

    #[test]
    fn so_many_wait_as_the_observation_says() {
        let work = seen(&[("a", &[(90, 2), (20, 2)])]);
        assert_eq!(told(&work, vec![queue("a", 3)]), [(90, 2), (20, 1)], "one more came after it");
        assert_eq!(told(&work, vec![queue("a", 6)]), [(90, 2), (20, 2), (0, 2)], "some started before the look");
        let oldest_age = Some(Duration::from_secs(40));
        assert_eq!(told(&seen(&[]), vec![QueueBacklog { oldest_age, ..queue("a", 3) }]), [(40, 3)]);
        assert_eq!(told(&work, vec![QueueBacklog { paused: true, ..queue("a", 4) }]), []);
        let rate_limit = Some(RateLimit { left: Duration::from_secs(30), started: 9, allows: Some(1) });
        assert_eq!(told(&work, vec![QueueBacklog { rate_limit, ..queue("a", 4) }]), [(90, 1)]);
    }

    #[test]
    fn a_global_concurrency_bounds_what_runs_where_each_wanting_queue_has_one() {
        let limited = |name, waiting, limit| QueueBacklog { concurrency: Some(limit), ..queue(name, waiting) };
        let most = |queues| most_at_once(&Backlog { queues });
        assert_eq!(most(vec![limited("a", 1, 4), limited("b", 2, 3), queue("c", 0)]), Some(7));
        assert_eq!(most(vec![limited("a", 1, 4), queue("b", 2)]), None);
    }
}
