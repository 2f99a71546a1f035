//! Refused registrations, and requests of those who are no operators. Whoever reaches the port can send them, as many
//! as they like: they cost their sender time and the log almost nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spillway_words::shown::cut;
use tokio::time::Instant;

/// An address may be refused so often before its answers wait: an agent whose launch is not saved yet asks again and
/// again.
const FREE: u32 = 10;
/// One more is free after each of these.
const REFILL: Duration = Duration::from_secs(1);
/// How long an answer then waits, up to twice that.
const WAIT: Duration = Duration::from_secs(1);
/// Addresses that are remembered.
const MOST_PEERS: usize = 1024;
/// Lines of the log in one window; what comes beyond is counted, and said in one line at its end.
const LINES: u32 = 5;
/// Bytes of a stranger's words in such a line, which has no more than 200 with them: the id of an instance, and why.
const INSTANCE: usize = 20;
const WHY: usize = 60;
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct State {
    /// Refusals that are still free, and since when.
    peers: BTreeMap<IpAddr, (u32, Instant)>,
    /// Answers that have waited.
    waited: u32,
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    unsaid: u64,
}

/// Shared by all requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    state: Arc<Mutex<State>>,
    /// Of operators' requests, not of registrations.
    of_operators: bool,
}

/// What to do about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    wait: Duration,
    is_said: bool,
    /// The first that is not said: at the window's end their number is.
    begins_silence: bool,
}

impl Refusals {
    /// Of requests by whoever is no operator.
    pub(super) fn of_operators() -> Self {
        Self { of_operators: true, ..Self::default() }
    }

    /// Notes a refusal, says it unless too many were said, and returns after the time that its answer must wait.
    pub(super) async fn refused(&self, peer: Option<IpAddr>, instance: &str, why: &str) {
        let verdict = self.note(peer, Instant::now());
        if verdict.is_said {
            let peer = peer.map(tracing::field::display);
            let (instance, why) = (cut(instance, INSTANCE), cut(why, WHY));
            if self.of_operators {
                tracing::warn!(peer, reason = why, "rejected: no operator");
            } else {
                tracing::warn!(instance, peer, reason = why, "registration rejected");
            }
        }
        if verdict.begins_silence {
            let refusals = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(WINDOW).await;
                let rejected = refusals.end_of_window();
                if refusals.of_operators {
                    tracing::warn!(
                        rejected,
                        "more requests were of no operators in the last minute, and are not listed"
                    );
                } else {
                    tracing::warn!(rejected, "more registrations were rejected in the last minute, and are not listed");
                }
            });
        }
        if !verdict.wait.is_zero() {
            tokio::time::sleep(verdict.wait).await;
        }
    }

    /// Returns after the time that an answer must wait which is no refusal, and worth nothing either: an instance that
    /// the ledger does not know yet, a session that is not known any more.
    pub(super) async fn asked_in_vain(&self, peer: Option<IpAddr>) {
        let wait = peer.map_or(Duration::ZERO, |peer| self.state().wait(peer.to_canonical(), Instant::now()));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn note(&self, peer: Option<IpAddr>, now: Instant) -> Verdict {
        let mut state = self.state();
        let wait = peer.map_or(Duration::ZERO, |peer| state.wait(peer.to_canonical(), now));
        let window = match &mut state.window {
            Some(window) if window.unsaid > 0 || now.duration_since(window.began) < WINDOW => window,
            other => other.insert(Window { began: now, lines: 0, unsaid: 0 }),
        };
        let is_said = window.lines < LINES;
        window.lines += u32::from(is_said);
        window.unsaid += u64::from(!is_said);
        Verdict { wait, is_said, begins_silence: window.unsaid == 1 && !is_said }
    }

    /// How many were not said; a new window begins with the next.
    fn end_of_window(&self) -> u64 {
        self.state().window.take().map_or(0, |window| window.unsaid)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, peer: IpAddr, now: Instant) -> Duration {
        if self.peers.len() >= MOST_PEERS && !self.peers.contains_key(&peer) {
            self.peers.retain(|_, (free, since)| *free == 0 && now.duration_since(*since) < REFILL * FREE);
            if self.peers.len() >= MOST_PEERS {
                // More addresses than a fleet has: whoever is new among them waits.
                return self.next_wait();
            }
        }
        let (free, since) = self.peers.entry(peer).or_insert((FREE, now));
        let refilled = u32::try_from(now.duration_since(*since).as_secs() / REFILL.as_secs()).unwrap_or(FREE);
        *since += REFILL * refilled;
        *free = free.saturating_add(refilled).min(FREE);
        if *free == 0 {
            return self.next_wait();
        }
        *free -= 1;
        Duration::ZERO
    }

    /// Those that came at once are not answered at once.
    fn next_wait(&mut self) -> Duration {
        self.waited = self.waited.wrapping_add(1);
        WAIT + WAIT * (self.waited % 32) / 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_minute_of_refusals_is_five_lines_and_a_number() {
        let refusals = Refusals::default();
        let now = Instant::now();
        let said = (0..10_000).filter(|_| refusals.note(ip(1), now).is_said).count();
        assert_eq!(said, 5);
        assert!(!refusals.note(ip(2), now + WINDOW * 2).is_said, "their number is not said yet");
        assert_eq!(refusals.end_of_window(), 10_001 - 5);
        assert!(refusals.note(ip(2), now + WINDOW * 2).is_said);
        let silences = (0..20).filter(|_| refusals.note(ip(2), now + WINDOW * 2).begins_silence).count();
        assert_eq!(silences, 1);
    }

    #[test]
    fn who_is_refused_again_and_again_waits_and_nobody_else_does() {
        let refusals = Refusals::default();
        let now = Instant::now();
        let waits = |peer, at| !refusals.note(ip(peer), at).wait.is_zero();
        assert_eq!((0..100).filter(|_| !waits(1, now)).count(), FREE as usize);
        assert!(!waits(2, now));
        let later = now + REFILL * 3;
        assert_eq!((0..100).filter(|_| !waits(1, later)).count(), 3);
        let much_later = now + REFILL * 1000;
        assert_eq!((0..100).filter(|_| !waits(1, much_later)).count(), FREE as usize);
        assert!(refusals.note(None, now).wait.is_zero());
    }

    #[test]
    fn the_addresses_that_are_remembered_are_bounded() {
        let refusals = Refusals::default();
        let now = Instant::now();
        for number in 0..100_000_u32 {
            refusals.note(Some(IpAddr::from(number.to_be_bytes())), now);
        }
        assert!(refusals.state().peers.len() <= MOST_PEERS);
    }
}
