//! A pool's log lines: a constant message and fields.

use std::time::Duration;

use spillway_brain::{Decision, Planned, in_words};
use spillway_pool::{Denied, Granted, Happening, Wish};

use super::{Reconciler, Request};

/// Characters of an operator's reason in the log.
const LONGEST_REASON: usize = 200;

impl Reconciler {
    pub(super) fn log(&self, happening: Happening) {
        let pool = &self.config.name;
        match happening {
            Happening::ClockStepped { by_ms, is_elsewhen } => {
                let (by, is_ahead) = (in_words(Duration::from_millis(by_ms.unsigned_abs())), by_ms > 0);
                let way = if is_ahead { "forward" } else { "back" };
                if is_elsewhen {
                    tracing::warn!(
                        pool,
                        by,
                        way,
                        "the ledger's times are of a clock that showed another time, or this one was set since: they move with it, and \
                         no deadline comes sooner or later"
                    );
                } else {
                    tracing::warn!(
                        pool,
                        by,
                        way,
                        "the wall clock was set: deadlines and timers move with it, and none comes sooner or later. Check this \
                         machine's time synchronization"
                    );
                }
            }
            Happening::LedgerRead { instances } => tracing::info!(pool, instances, "ledger read"),
            Happening::NoLedgerYet => tracing::info!(pool, "no ledger in Redis: starting with an empty one"),
            Happening::LedgerUnreadable { problem } => {
                tracing::error!(pool, problem, "cannot read the ledger: no scaling until this works again")
            }
            Happening::LedgerUnwritable { problem } => {
                tracing::warn!(pool, problem, "cannot write the ledger: no scaling until this works again");
            }
            Happening::Leads { epoch } => tracing::info!(pool, epoch, "became the leader"),
            Happening::LeadsNoLonger => tracing::warn!(pool, "no longer the leader"),
            Happening::QueuesUnknown { problem } => {
                tracing::warn!(pool, problem, "cannot read the queues: no scaling until this works again");
            }
            Happening::QueuesKnownAgain => tracing::info!(pool, "the queues can be read again"),
            Happening::InstancesUnknown { problem } => {
                tracing::warn!(pool, problem, "cannot list EC2's instances: no scaling until this works again");
            }
            Happening::InstancesKnownAgain => tracing::info!(pool, "EC2's instances can be listed again"),
            Happening::Rehearsed { id, notice } => {
                tracing::info!(pool, instance = %id, ?notice, "the agent rehearses an interruption");
            }
            change => self.log_change(change),
        }
    }

    /// What has changed since the last save.
    fn log_change(&self, change: Happening) {
        let pool = &self.config.name;
        match change {
            Happening::Adopted { id, token } => {
                tracing::info!(pool, instance = id, %token, "instance adopted: EC2 lists it with a launch token of this installation");
            }
            Happening::PhaseChanged { id, phase, after: Some(after), reason } => {
                tracing::info!(pool, instance = id, after = in_words(after), reason, "instance {phase}");
            }
            Happening::PhaseChanged { id, phase, after: None, reason } => {
                tracing::info!(pool, instance = id, reason, "instance {phase}");
            }
            Happening::BootFailed { id, log } => {
                tracing::warn!(pool, instance = id, log, "boot failed: the end of its worker's log");
            }
            Happening::Kept { id, over } => {
                let over = in_words(over);
                tracing::warn!(
                    pool,
                    instance = id,
                    over,
                    "boot failed: the instance is kept for a person, with its worker stopped"
                );
            }
            Happening::DrillBegan { instances, asked } => tracing::info!(pool, instances, asked, "drill begun"),
            Happening::DrillEnded { asked, ready, failed: 0, why } => {
                tracing::info!(pool, asked, ready, reason = why, "drill over: each instance was ready");
            }
            Happening::DrillEnded { asked, ready, failed, why } => {
                tracing::warn!(pool, asked, ready, failed, reason = why, "drill over: instances were not ready");
            }
            Happening::DesiredChanged { from, to, reason } => {
                tracing::info!(pool, from, to, reason, "desired capacity changed");
            }
            Happening::BackOffBegan { code, message, wait } => {
                let wait = wait.map_or_else(|| "until an operator acts".to_owned(), in_words);
                tracing::info!(pool, code, detail = message, wait, "back-off begun: no launches");
            }
            Happening::BackOffEnded { code } => tracing::info!(pool, code, "back-off ended"),
            Happening::BreakerOpened { failures, wait } => {
                tracing::info!(pool, failures, wait = in_words(wait), "breaker open: no launches");
            }
            Happening::BreakerClosed => tracing::info!(pool, "breaker closed"),
            Happening::WindowBegan { jobs, over, instances } => {
                tracing::info!(
                    pool,
                    jobs,
                    over = in_words(over),
                    instances,
                    "demand meets a threshold: its window begins"
                );
            }
            // The rest has its line in `log`.
            _ => {}
        }
    }

    /// Who asked for what, and what is done about it.
    pub(super) fn log_operator(&self, Request { wish, by }: &Request, answer: &Result<Granted, Denied>) {
        let (action, instance, given) = match wish {
            Wish::Hold { reason } => ("hold", "", reason.as_str()),
            Wish::Resume { .. } => ("resume", "", ""),
            Wish::Drain { id, reason } => ("drain", id.0.as_str(), reason.as_str()),
            Wish::CancelDrain { id, .. } => ("cancel drain", id.0.as_str(), ""),
            Wish::Drill { reason, .. } => ("drill", "", reason.as_str()),
            Wish::Rehearse { id, .. } => ("rehearse", id.0.as_str(), ""),
        };
        let pool = &self.config.name;
        let given: String = given.chars().filter(|it| !it.is_control()).take(LONGEST_REASON).collect();
        match answer {
            Ok(granted) => {
                let answer = granted.to_string();
                tracing::info!(pool, by, action, instance, reason = given, answer, "operator's request");
            }
            Err(denied) => {
                let answer = denied.to_string();
                tracing::info!(pool, by, action, instance, reason = given, answer, "operator's request rejected");
            }
        }
    }

    pub(super) fn log_decision(&self, planned: &Planned) {
        let (pool, reason) = (&self.config.name, planned.reason.to_string());
        let (kind, subject) = (planned.decision.kind(), planned.decision.subject());
        match &planned.decision {
            Decision::Alert { .. } => tracing::error!(pool, reason, "alert"),
            _ => tracing::info!(pool, decision = kind, instance = subject, reason, "decided"),
        }
    }
}
