//! When more instances cannot help: the queue is paused, its global concurrency is used up, or no job waits.

use crate::backlog::Backlog;
use crate::note::Note;

/// Jobs wait in queues that are paused. Said whatever else is decided.
pub(super) fn paused(backlog: &Backlog) -> Option<Note> {
    let paused = backlog.queues.iter().filter(|queue| queue.paused);
    let waiting: u64 = paused.map(|queue| queue.waiting + queue.prioritized + queue.delayed_due).sum();
    (waiting > 0).then_some(Note::Paused { waiting })
}

/// Jobs wait in queues that a rate limit holds back. Said whatever else is decided.
pub(super) fn rate_limited(backlog: &Backlog) -> Option<Note> {
    let limited = backlog.queues.iter().filter(|queue| queue.is_rate_limited());
    let (queue, limit) =
        limited.filter_map(|queue| Some((queue, queue.rate_limit.as_ref()?))).max_by_key(|it| it.1.left)?;
    let waiting = queue.waiting + queue.prioritized + queue.delayed_due;
    Some(Note::RateLimited { queue: queue.queue.clone(), left: limit.left, waiting })
}

/// Why more instances could not help now.
pub(super) fn cannot_help(backlog: &Backlog, desired: u32) -> Option<Note> {
    if backlog.demand() == 0 {
        return Some(Note::NoDemandNoReplacement { desired });
    }
    let mut wanting = backlog.queues.iter().filter(|queue| queue.demand() > 0);
    if wanting.clone().all(|queue| queue.is_limited()) {
        let queue = wanting.next()?;
        return Some(Note::ConcurrencyReached { queue: queue.queue.clone(), limit: queue.concurrency.unwrap_or(0) });
    }
    None
}
