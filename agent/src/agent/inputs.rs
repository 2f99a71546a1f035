//! What came in, told to the machine. Owns the log lines and records that belong to it.

use std::time::Duration;

use spillway_machine::{Event, Observation};
use spillway_proto::v1::session_request::Message;
use tokio::time::Instant;

use super::{Agent, Input, NOTICES_KEPT};
use crate::boot::Attempt;
use crate::boot::marker::Ticket;
use crate::imds::Notice;
use crate::imds::watch::Seen;
use crate::session::messages::{command_result, notice, step_ended};
use crate::session::{Heard, Registered, SessionError};
use crate::shim::Said;

/// Between two beats that jobs bring about.
const BEAT_FOR_JOBS: Duration = Duration::from_secs(1);

impl Agent {
    /// Tells the machine what came in.
    pub(super) fn take(&mut self, input: Input) {
        let event = match input {
            Input::Machine(event) => event,
            Input::Registered(registered) => self.registered(registered),
            Input::NotRegistered(error) => {
                tracing::warn!(%error, source = source(&error), "registration failed; will retry");
                self.failed(&error);
                Event::RegistrationFailed(error.refusal())
            }
            Input::Heard(number, heard) => match self.heard(number, heard) {
                Some(event) => event,
                None => return,
            },
            Input::SessionEnded(number, error) => match self.session_ended(number, &error) {
                Some(event) => event,
                None => return,
            },
            Input::StepEnded(index, attempt, Some(ended)) => self.step_ended(index, attempt, &ended),
            Input::StepEnded(_, _, None) => return,
            Input::Seen(seen) => match self.seen(seen) {
                Some(event) => event,
                None => return,
            },
            Input::Looked(generation, look) => {
                let (current, is_starting) = {
                    let watching = self.watching.borrow();
                    (watching.generation, watching.is_starting)
                };
                if generation != current || is_starting {
                    return;
                }
                let observation: Observation = look.observation.clone();
                self.reporter.looked(*look);
                Event::Observed(observation)
            }
            Input::Commit(commit) => return self.reporter.set_commit(commit),
            Input::Shim(Said::Event(event)) => event,
            Input::Shim(Said::Seen(processes, problems)) => {
                let changed = self.reporter.shims_seen(processes.clone(), problems);
                self.handle(Event::ShimsSeen(processes));
                if changed {
                    self.beat_for_jobs();
                }
                return;
            }
        };
        self.handle(event);
    }

    /// A job began or ended: the coordinator hears of it soon, but not of each of a flood of short ones.
    fn beat_for_jobs(&mut self) {
        if self.beat_for_jobs.elapsed() >= BEAT_FOR_JOBS {
            self.beat_for_jobs = Instant::now();
            self.beat();
        }
    }

    fn registered(&mut self, registered: Registered) -> Event {
        tracing::info!(pool = registered.pool, "registered");
        let ticket = Ticket { token: registered.token, heartbeat_interval: registered.heartbeat_interval };
        if let Err(error) = self.memory.set_ticket(&ticket) {
            let directory = self.config.state_directory.display();
            tracing::warn!(%error, %directory, "the session cannot be remembered: a restarted agent would register anew");
        }
        self.ticket = Some(ticket);
        Event::Registered
    }

    fn heard(&mut self, number: u64, heard: Heard) -> Option<Event> {
        let session = self.session.as_mut().filter(|session| session.number == number)?;
        match heard {
            Heard::Welcome { epoch, version } => {
                tracing::info!(epoch, version, "connected to the coordinator");
                session.welcomed = true;
                for step in self.flight.for_a_new_session() {
                    self.send(Message::BootStep(step));
                }
                for seen in self.notices.clone() {
                    self.send(Message::Notice(notice(&seen)));
                }
                Some(Event::Connected { epoch })
            }
            Heard::Command { epoch, id, command } => {
                tracing::info!(epoch, id, ?command, "the coordinator asks");
                Some(Event::Command { epoch, id, command: command.for_machine(self.clock) })
            }
            Heard::NotUnderstood { id } => {
                tracing::warn!(id, "a command of the coordinator is not understood");
                let refused = "not understood: update the agent, and give a drain its deadline";
                self.send(Message::CommandResult(command_result(&id, Some(refused))));
                None
            }
        }
    }

    fn session_ended(&mut self, number: u64, error: &SessionError) -> Option<Event> {
        self.session.take_if(|session| session.number == number)?;
        tracing::warn!(%error, source = source(error), "the session is over; will reconnect");
        self.failed(error);
        let token_refused = matches!(error, SessionError::Refused(_));
        Some(Event::Disconnected { token_refused })
    }

    fn step_ended(&mut self, index: usize, attempt: u32, ended: &Attempt) -> Event {
        self.step = None;
        let steps = &self.config.boot.steps;
        let (step, took_ms, tail) = (&steps[index].name, ended.took.as_millis() as u64, &ended.tail);
        if let Some(problem) = &ended.problem {
            tracing::warn!(step, attempt, took_ms, problem, tail, "boot step failed");
        } else {
            tracing::info!(step, attempt, took_ms, tail, "boot step succeeded");
            if let Err(error) = self.memory.set_steps_done(steps, index + 1) {
                let directory = self.config.state_directory.display();
                tracing::warn!(%error, %directory, "the boot cannot be remembered: a restarted agent would boot anew");
            }
        }
        let record = step_ended(index, steps.len(), &steps[index], attempt, ended);
        self.record(record);
        Event::StepFinished { index, outcome: ended.outcome() }
    }

    fn seen(&mut self, seen: Seen) -> Option<Event> {
        tracing::info!(notice = ?seen.notice, "EC2 gives notice");
        self.send(Message::Notice(notice(&seen)));
        let event = match &seen.notice {
            Notice::Interruption { at, .. } => Some(Event::Interruption { at: self.clock.at(*at) }),
            Notice::Rebalance { .. } | Notice::Maintenance { .. } => None,
        };
        if self.notices.len() < NOTICES_KEPT {
            self.notices.push(seen);
        }
        event
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
