//! What others compute from the length of the queue. Every one of them is given what helps it most: it looks each ten
//! seconds, and an instance that is not wanted drains, so that no job is killed.
//!
//! The formulas: KEDA's `redis` list scaler under a HorizontalPodAutoscaler, `ceil(waiting / jobs)`; AWS's backlog per
//! instance, `waiting / (latency / mean duration)` with an instance's slots; buildkite-agent-scaler,
//! `ceil((waiting + running) / jobs)`. An idle instance stays for `idle`.

use std::collections::VecDeque;
use std::time::Duration;

use super::Acts;
use crate::world::{Action, Phase, World};

const INTERVAL: u64 = 10_000;
/// Durations that the mean is taken of, and what is taken for it while there is none.
const DURATIONS: usize = 200;
const ASSUMED_DURATION: f64 = 60_000.0;

#[derive(Clone, Copy, Debug)]
pub(super) enum Wants {
    Keda { jobs: f64 },
    Aws { latency: Duration },
    Buildkite { jobs: f64 },
}

#[derive(Debug)]
pub(super) struct Formula {
    wants: Wants,
    idle: u64,
    durations: VecDeque<u64>,
}

impl Formula {
    pub(super) fn new(wants: Wants, idle: Duration) -> Self {
        Formula { wants, idle: idle.as_millis() as u64, durations: VecDeque::new() }
    }

    fn desired(&self, world: &World<'_>) -> u32 {
        let waiting = world.queue.len() as f64;
        let desired = match self.wants {
            Wants::Keda { jobs } => waiting / jobs,
            Wants::Aws { latency } => {
                let sum: u64 = self.durations.iter().sum();
                let mean = if sum == 0 { ASSUMED_DURATION } else { sum as f64 / self.durations.len() as f64 };
                waiting / (latency.as_millis() as f64 / mean * f64::from(world.model.slots))
            }
            Wants::Buildkite { jobs } => {
                let running: u32 = world.live.iter().map(|worker| world.workers[*worker].busy).sum();
                (waiting + f64::from(running)) / jobs
            }
        };
        (desired.ceil() as u32).min(world.model.max_instances)
    }
}

impl Acts for Formula {
    fn interval(&self) -> u64 {
        INTERVAL
    }

    fn look(&mut self, world: &World<'_>) -> Vec<Action> {
        self.durations.extend(&world.finished);
        self.durations.drain(..self.durations.len().saturating_sub(DURATIONS));
        let desired = self.desired(world) as usize;
        let phase = |worker: &usize| world.workers[*worker].phase;
        let (draining, up): (Vec<usize>, Vec<usize>) =
            world.live.iter().copied().partition(|worker| phase(worker) == Phase::Draining);
        if desired > up.len() {
            let missing = desired - up.len();
            let can_go_on = |worker: &&usize| world.workers[**worker].reclaimed_at.is_none();
            let cancelled: Vec<usize> = draining.iter().filter(can_go_on).copied().take(missing).collect();
            let room = (world.model.max_instances as usize).saturating_sub(world.live.len());
            let launches = (missing - cancelled.len()).min(room);
            let cancel = cancelled.into_iter().map(Action::CancelDrain);
            return cancel.chain(std::iter::repeat_n(Action::Launch, launches)).collect();
        }
        let is_idle = |worker: &usize| {
            let it = &world.workers[*worker];
            it.phase == Phase::Ready && it.busy == 0 && world.now - it.idle_since >= self.idle
        };
        let unwanted = up.len() - desired;
        up.into_iter().filter(is_idle).take(unwanted).map(Action::Drain).collect()
    }
}
