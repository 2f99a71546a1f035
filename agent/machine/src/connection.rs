//! When to register, when to connect, how long to wait between. Owns the back-off and its jitter; never sends.

use core::time::Duration;

use crate::{Action, Config, Refusal, Timestamp};

#[derive(Debug)]
pub(crate) struct Connection {
    state: State,
    failures: u32,
    random: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Identity is not known yet.
    Off,
    /// Do this at that time.
    Due(Timestamp, Action),
    /// Waiting for an answer.
    Asked,
    Up,
}

impl Connection {
    pub(crate) fn new(seed: u64) -> Self {
        // xorshift stays at zero for ever when it starts there.
        Self { state: State::Off, failures: 0, random: seed | 1 }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(crate) fn identified(&mut self, now: Timestamp, config: &Config) {
        if self.state == State::Off {
            self.state = State::Due(now, if config.registered { Action::Connect } else { Action::Register });
        }
    }

    pub(crate) fn registered(&mut self, now: Timestamp) {
        self.state = State::Due(now, Action::Connect);
    }

    pub(crate) fn refused(&mut self, now: Timestamp, refusal: Refusal, config: &Config) {
        let pause = match refusal {
            Refusal::Unavailable => self.back_off(config),
            Refusal::Refused => self.jittered(config.refused_pause),
        };
        self.state = State::Due(now.plus(pause), Action::Register);
    }

    pub(crate) fn connected(&mut self) {
        self.state = State::Up;
        self.failures = 0;
    }

    pub(crate) fn lost(&mut self, now: Timestamp, token_refused: bool, config: &Config) {
        let pause = self.back_off(config);
        self.state = State::Due(now.plus(pause), if token_refused { Action::Register } else { Action::Connect });
    }

    pub(crate) fn poll(&mut self, now: Timestamp) -> Option<Action> {
        match &self.state {
            State::Due(at, action) if *at <= now => {
                let action = action.clone();
                self.state = State::Asked;
                Some(action)
            }
            _ => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match &self.state {
            State::Due(at, _) => Some(*at),
            _ => None,
        }
    }

    fn back_off(&mut self, config: &Config) -> Duration {
        let doubled = config.reconnect_first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.jittered(doubled.min(config.reconnect_most))
    }

    /// Between half of `most` and all of it, so that a fleet does not come back as one.
    fn jittered(&mut self, most: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = most / 2;
        let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        half + Duration::from_millis(self.random % spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(0);

    #[test]
    fn back_off_doubles_within_its_bounds_and_is_reset_by_a_connection() {
        let config = Config::new(vec![]);
        let mut connection = Connection::new(7);
        connection.identified(T0, &config);
        assert_eq!(connection.poll(T0), Some(Action::Register));
        assert_eq!(connection.poll(T0), None, "asked once");
        for most in [500, 1000, 2000, 4000, 8000, 15000, 15000] {
            connection.refused(T0, Refusal::Unavailable, &config);
            let at = connection.deadline().map(|at| at.0).unwrap_or_default();
            assert!((most / 2..=most).contains(&at), "{at} is not in {}..={most}", most / 2);
        }
        connection.connected();
        connection.lost(T0, false, &config);
        assert!(connection.deadline().is_some_and(|at| at.0 <= 500));
    }

    #[test]
    fn a_refused_token_registers_again_and_a_lost_session_only_reconnects() {
        let config = Config::new(vec![]);
        for (token_refused, expect) in [(true, Action::Register), (false, Action::Connect)] {
            let mut connection = Connection::new(0);
            connection.registered(T0);
            assert_eq!(connection.poll(T0), Some(Action::Connect));
            connection.lost(T0, token_refused, &config);
            assert_eq!(connection.poll(T0), None, "not at once");
            assert_eq!(connection.poll(Timestamp(500)), Some(expect));
        }
    }

    #[test]
    fn a_refusal_is_asked_again_slowly() {
        let config = Config::new(vec![]);
        let mut connection = Connection::new(3);
        connection.refused(T0, Refusal::Refused, &config);
        assert!(connection.deadline().is_some_and(|at| (30_000..=60_000).contains(&at.0)));
    }
}
