//! The agent's inputs, passed on to the machine as events. Owns the log lines and records that belong to them.

use std::time::Duration;

use spillway_machine::{Event, Observation, Timestamp, when_reclaimed};
use spillway_proto::v1::session_request::Message;
use tokio::time::Instant;

use super::{Agent, Input, NOTICES_KEPT};
use crate::boot::Attempt;
use crate::imds::poll::{ReadNotice, Seen};
use crate::imds::{Notice, ScheduledEvent};
use crate::session::messages::{command_result, notice, step_ended};
use crate::session::{Inbound, Registered, SessionError};
use crate::shim::ShimUpdate;

/// Between two heartbeats that jobs cause.
const BEAT_FOR_JOBS: Duration = Duration::from_secs(1);

impl Agent {
    /// Passes an input on to the machine.
    pub(super) fn take(&mut self, input: Input) {
        let event = match input {
            Input::Machine(event) => event,
            Input::Registered(registered) => self.registered(registered),
            Input::NotRegistered(error) => {
                tracing::warn!(problem = %error, source = source(&error), "registration failed; will retry");
                self.session_failed(&error);
                Event::RegistrationFailed(error.refusal())
            }
            Input::Inbound(number, inbound) => match self.received(number, inbound) {
                Some(event) => event,
                None => return,
            },
            Input::SessionEnded(number, error) => match self.session_ended(number, &error) {
                Some(event) => event,
                None => return,
            },
            Input::StepEnded(index, attempt, Some(ended)) => self.step_ended(index, attempt, ended),
            Input::StepEnded(_, _, None) => return,
            Input::Outlook(Seen::Notice(seen)) => match self.notice_read(seen) {
                Some(event) => event,
                None => return,
            },
            Input::Outlook(Seen::Schedule(events)) => return self.schedule_read(events),
            Input::WorkerChecked(generation, check) => {
                let (current, is_starting) = {
                    let schedule = self.schedule.borrow();
                    (schedule.generation, schedule.is_starting)
                };
                if generation != current || is_starting {
                    return;
                }
                let observation: Observation = check.observation.clone();
                if let Some(why) = self.reporter.worker_checked(*check) {
                    tracing::warn!(reason = why, "a process of the worker runs without the shim");
                }
                Event::Observed(observation)
            }
            Input::Commit(commit) => return self.reporter.set_commit(commit),
            Input::Lockfile(hash) => return self.reporter.set_lockfile(hash),
            Input::Shim(ShimUpdate::Event(event)) => event,
            Input::Shim(ShimUpdate::Seen(seen)) => {
                let processes = seen.processes.clone();
                let changed = self.reporter.shims_seen(seen);
                self.handle(Event::ShimsSeen(processes));
                if changed {
                    self.beat_for_jobs();
                }
                return;
            }
        };
        self.handle(event);
    }

    /// A job began or ended: a heartbeat reports it soon, but not one for each of many short jobs.
    fn beat_for_jobs(&mut self) {
        if self.beat_for_jobs.elapsed() >= BEAT_FOR_JOBS {
            self.beat_for_jobs = Instant::now();
            self.beat();
        }
    }

    fn registered(&mut self, registered: Registered) -> Event {
        tracing::info!(pool = registered.pool, "registered");
        self.registration = Some(registered);
        Event::Registered
    }

    fn received(&mut self, number: u64, inbound: Inbound) -> Option<Event> {
        let session = self.session.as_mut().filter(|session| session.number == number)?;
        match inbound {
            Inbound::Welcome { epoch, version } => {
                tracing::info!(epoch, version, "connected to the coordinator");
                session.welcomed = true;
                for step in self.flight.for_a_new_session() {
                    self.send(Message::BootStep(step));
                }
                for (seen, ends_at) in self.notices.clone() {
                    self.send_notice(&seen, ends_at);
                }
                Some(Event::Connected { epoch })
            }
            Inbound::Command { epoch, id, command } => {
                tracing::info!(epoch, command_id = id, ?command, "received a command");
                Some(Event::Command { epoch, id, command: command.for_machine(self.clock) })
            }
            Inbound::Unknown { id } => {
                tracing::warn!(command_id = id, "received an unknown command: update the agent");
                let refused = "unknown command, or one without its deadline: update the agent";
                self.send(Message::CommandResult(command_result(&id, Some(refused))));
                None
            }
        }
    }

    fn session_ended(&mut self, number: u64, error: &SessionError) -> Option<Event> {
        self.session.take_if(|session| session.number == number)?;
        tracing::warn!(problem = %error, source = source(error), "the session ended; will reconnect");
        self.session_failed(error);
        let token_refused = matches!(error, SessionError::Refused(_));
        Some(Event::Disconnected { token_refused })
    }

    fn step_ended(&mut self, index: usize, attempt: u32, mut ended: Attempt) -> Event {
        self.step = None;
        if let (Some(problem), Some(foreign)) = (&mut ended.problem, self.pm2.foreign_daemon()) {
            *problem = format!("{problem}; {foreign}");
        }
        let ended = &ended;
        let steps = &self.config.boot.steps;
        let (step, took_ms, tail) = (&steps[index].name, ended.took.as_millis() as u64, &ended.tail);
        if let Some(problem) = &ended.problem {
            tracing::warn!(step, attempt, took_ms, problem, tail, "boot step failed");
        } else {
            tracing::info!(step, attempt, took_ms, tail, "boot step succeeded");
            if let Err(error) = self.saved.save_steps_done(steps, index + 1) {
                let directory = self.config.state_directory.display();
                tracing::warn!(problem = %error, %directory, "cannot save the boot progress: an agent that restarts must boot \
                    again");
            }
        }
        let record = step_ended(index, steps.len(), &steps[index], attempt, ended);
        self.record(record);
        Event::StepFinished { index, outcome: ended.outcome() }
    }

    fn notice_read(&mut self, seen: ReadNotice) -> Option<Event> {
        tracing::info!(notice = ?seen.notice, "notice from EC2");
        let ends_at = match &seen.notice {
            Notice::Interruption { at, .. } => Some(when_reclaimed(self.clock.now(), self.clock.at(*at))),
            Notice::Rebalance { .. } | Notice::Maintenance { .. } => None,
        };
        self.send_notice(&seen, ends_at);
        if self.notices.len() < NOTICES_KEPT {
            self.notices.push((seen, ends_at));
        }
        ends_at.map(|at| Event::Interruption { at })
    }

    /// What is no longer scheduled is not told to the next session either.
    fn schedule_read(&mut self, events: Vec<ScheduledEvent>) {
        tracing::info!(?events, "scheduled by EC2");
        let is_open = |notice: &Notice| match notice {
            Notice::Maintenance { code, at } => {
                events.iter().any(|event| event.code == *code && event.at.is_none_or(|it| it == *at))
            }
            Notice::Interruption { .. } | Notice::Rebalance { .. } => true,
        };
        self.notices.retain(|(seen, _)| is_open(&seen.notice));
        self.reporter.set_schedule(events);
        self.beat();
    }

    /// `ends_at`: when EC2 takes the instance, by an interruption notice.
    fn send_notice(&mut self, seen: &ReadNotice, ends_at: Option<Timestamp>) {
        let left = ends_at.map(|at| at.since(self.clock.now()));
        self.send(Message::Notice(notice(seen, left)));
    }
}

fn source(error: &dyn std::error::Error) -> String {
    let mut words = Vec::new();
    let mut next = error.source();
    while let Some(error) = next {
        words.push(error.to_string());
        next = error.source();
    }
    words.join(": ")
}
