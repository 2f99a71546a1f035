//! The network: which pairs are partitioned, and until when. A pair that is cut again stays cut for the longer of the
//! two.

use crate::agenda::{C, N};
use crate::rng::Rng;

/// One cut: from when until when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    pub from: u64,
    pub until: u64,
}

impl Cut {
    pub fn is_down(self, now: u64) -> bool {
        now < self.until
    }

    pub fn cut(&mut self, now: u64, until: u64) {
        if !self.is_down(now) {
            self.from = now;
        }
        self.until = self.until.max(until);
    }
}

/// All pairs.
#[derive(Debug, Default)]
pub struct Net {
    pub ec2: [Cut; 2],
    pub redis: [Cut; 2],
    /// Redis itself does not answer.
    pub redis_down: Cut,
    /// Another program's value is where the queue's list was: coordinators cannot read it, and nothing else notices.
    pub unreadable: Cut,
    /// By instance: to each coordinator, and to Redis.
    pub session: Vec<[Cut; 2]>,
    pub worker: Vec<Cut>,
    /// Everything takes longer.
    pub slow: Cut,
}

impl Net {
    pub fn coordinator_redis(&self, c: C, now: u64) -> bool {
        !self.redis[c].is_down(now) && !self.redis_down.is_down(now)
    }

    pub fn host_redis(&self, n: N, now: u64) -> bool {
        !self.worker[n].is_down(now) && !self.redis_down.is_down(now)
    }

    /// One way.
    pub fn latency(&self, now: u64, rng: &mut Rng) -> u64 {
        if self.slow.is_down(now) { rng.between(50, 3000) } else { rng.between(1, 20) }
    }

    pub fn is_cut(&self, now: u64) -> bool {
        self.redis_down.is_down(now) || self.ec2.iter().chain(&self.redis).any(|cut| cut.is_down(now))
    }

    pub fn heal_all(&mut self, now: u64) {
        let heal = |cut: &mut Cut| cut.until = cut.until.min(now);
        self.ec2.iter_mut().chain(&mut self.redis).for_each(heal);
        self.session.iter_mut().flatten().chain(&mut self.worker).for_each(heal);
        heal(&mut self.redis_down);
        heal(&mut self.unreadable);
        heal(&mut self.slow);
    }
}
