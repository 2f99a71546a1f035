//! A machine in a world that the test writes: what its scenarios share.

use core::time::Duration;

use spillway_machine::{
    Action, Command, Config, DrainOutcome, Event, Evidence, Graceful, Jobs, Machine, Observation, Phase, Report,
    Timestamp, Worker,
};

pub const SECOND: u64 = 1000;
pub const T0: u64 = 100_000;

/// A machine and what it has wanted; reports of its state and talk with the coordinator aside.
pub struct Life {
    pub machine: Machine,
    pub now: u64,
    pub did: Vec<Action>,
}

impl Life {
    pub fn new(config: Config) -> Self {
        Self { machine: Machine::new(config), now: T0, did: Vec::new() }
    }

    /// Booted and ready.
    pub fn ready(config: Config) -> Self {
        let mut life = Self::new(Config { first_step: config.step_retries.len(), ..config });
        life.on(Event::Identified);
        life.look(seen(Graceful::Yes, 0, Some(0)));
        assert!(matches!(life.machine.phase(), Phase::Ready { .. }), "{:?}", life.machine.phase());
        life.did.clear();
        life
    }

    pub fn on(&mut self, event: Event) -> &mut Self {
        self.machine.handle(Timestamp(self.now), event);
        self.poll()
    }

    pub fn look(&mut self, mut seen: Observation) -> &mut Self {
        if let Some(jobs) = &mut seen.jobs {
            jobs.at = Timestamp(self.now);
        }
        self.on(Event::Observed(seen))
    }

    pub fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = T0 + seconds * SECOND;
        self.poll()
    }

    pub fn poll(&mut self) -> &mut Self {
        let quiet =
            |action: &Action| matches!(action, Action::Register | Action::Connect | Action::Report(Report::Beat));
        self.did.extend(self.machine.poll(Timestamp(self.now)).into_iter().filter(|action| !quiet(action)));
        self
    }

    pub fn drain(&mut self, id: &str, deadline_seconds: u64) -> &mut Self {
        let deadline = Timestamp(T0 + deadline_seconds * SECOND);
        self.on(Event::Command { epoch: 1, id: id.into(), command: Command::Drain { deadline } })
    }

    pub fn cancel(&mut self) -> &mut Self {
        self.on(Event::Command { epoch: 1, id: "c".into(), command: Command::CancelDrain })
    }

    pub fn interrupt(&mut self, at_seconds: u64) -> &mut Self {
        self.on(Event::Interruption { at: Timestamp(T0 + at_seconds * SECOND) })
    }

    /// It stopped, and so many of its jobs are left for good.
    pub fn stopped(&mut self, killed: bool, jobs_left: Option<u32>) -> &mut Self {
        self.on(Event::WorkerStopped { killed });
        self.on(Event::HandedBackOutside { jobs: 0, left: jobs_left, again: false })
    }

    /// What was done since the last call, answers to commands aside.
    pub fn did_all(&mut self) -> Vec<Action> {
        let did = std::mem::take(&mut self.did);
        did.into_iter().filter(|action| !matches!(action, Action::Report(Report::CommandResult { .. }))).collect()
    }

    /// The same without what concerns the shim and Redis.
    pub fn did(&mut self) -> Vec<Action> {
        let aside = |action: &Action| matches!(action, Action::Fence | Action::Unfence | Action::HandBackOutside);
        self.did_all().into_iter().filter(|action| !aside(action)).collect()
    }

    pub fn refused(&mut self) -> Option<String> {
        let refused = self.did.iter().rev().find_map(|action| match action {
            Action::Report(Report::CommandResult { refused, .. }) => Some(refused.clone()),
            _ => None,
        });
        self.did.clear();
        refused.expect("no answer to the command")
    }

    pub fn outcome(&self) -> DrainOutcome {
        match self.machine.phase() {
            Phase::Drained(outcome) => outcome.clone(),
            other => panic!("not drained: {other:?}"),
        }
    }
}

pub fn config(retries: &[u32]) -> Config {
    Config::new(retries.to_vec())
}

/// A worker that is up, connected, with so many restarts and active jobs.
pub fn seen(graceful: Graceful, restarts: u32, active: Option<u32>) -> Observation {
    Observation {
        worker: Some(Worker { processes: 1, errored: 0, restarts, graceful, patience: Duration::from_secs(86_400) }),
        evidence: Some(Evidence { connections: 1, fetching: true, fresh: true, unlisted: false }),
        jobs: Some(Jobs { at: Timestamp(0), active, live_locks: active.unwrap_or(0), limited: false }),
        server: None,
    }
}
