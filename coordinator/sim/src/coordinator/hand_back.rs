//! An attempt to hand an ended instance's jobs back, at Redis.

use std::time::Duration;

use spillway_handback_rule as rule;
use spillway_pool::{Attempt, Input};

use super::number;
use crate::agenda::{C, CoordinatorEv};
use crate::bull::Held;
use crate::clock::SECOND;
use crate::counts::Occurrence;
use crate::say;
use crate::setup::Naming;
use crate::world::World;

const QUEUE: &str = "q";

impl World {
    pub(super) fn hand_back_now(&mut self, c: C, mut attempt: Attempt) {
        let n = number(&attempt.id);
        let mut answers_at = self.now + self.net.latency(self.now, &mut self.rng);
        if !self.net.coordinator_redis(c, self.now) {
            answers_at += self.rng.between(1, 10) * SECOND;
            attempt.fails("Redis does not answer");
            return self.put_coordinator(c, answers_at, CoordinatorEv::Input(Box::new(Input::HandedBack(attempt))));
        }
        let occurrence = if attempt.certain { Occurrence::HandedBackCertain } else { Occurrence::HandedBackCautious };
        let up = super::up(self.now);
        for held in self.held_by(n) {
            let shown = self.as_redis_shows(held);
            let Some(way) = attempt.finds((up, up), QUEUE, &shown) else { continue };
            if self.moves_back(held, way, occurrence) {
                attempt.hands_back(QUEUE, &shown, way);
                self.check_bounded(held.job, n, way);
            }
        }
        for suspect in attempt.suspects.iter().filter(|suspect| suspect.is_left) {
            self.left_to_stall_check(suspect);
        }
        self.dispatch();
        if attempt.handed_back > 0 || attempt.left > 0 {
            say!(self, "{} jobs of i-{n} are handed back, {} are left", attempt.handed_back, attempt.left);
        }
        if !self.is_calm && self.rng.per_mille(self.setup.calls.lost_answer) {
            // The jobs are handed back, but the answer is lost.
            attempt.handed_back = 0;
            attempt.fails("Redis does not answer");
            answers_at += self.rng.between(1, 30) * SECOND;
        }
        self.put_coordinator(c, answers_at, CoordinatorEv::Input(Box::new(Input::HandedBack(attempt))));
    }

    /// With the lock's token as the worker writes it: with the shim it begins with the instance's id.
    fn as_redis_shows(&self, held: Held) -> rule::Held {
        let token = held.token.map(|run| match self.bull.runs[run].at {
            Some((at, _)) if self.setup.naming == Naming::Shim => format!("i-{at}:{run}:0"),
            _ => format!("{run}:0"),
        });
        let lock_left = held.left.map(Duration::from_millis);
        let job = &self.bull.jobs[held.job];
        let (sudden_ends, stalls) = (job.sudden_ends, job.stalls);
        rule::Held { id: held.job.to_string(), token, lock_left, claim: held.claim, sudden_ends, stalls }
    }
}
