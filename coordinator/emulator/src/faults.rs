//! Injected faults: errors, launches that fail after they were accepted, lost answers, delays, stale answers, small
//! pages, insufficient capacity, a wrong date.
//!
//! Each is bounded by a number of calls or lasts until it is cleared. `*` as an action means every action.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, ControlError};
use crate::model::{Lifecycle, StateReason};
use crate::resources::HISTORY_MS;

/// Faults of one kind that may be pending at once.
const MAX_FAULTS: usize = 256;
const MAX_DELAY_MS: u64 = 5 * 60 * 1000;
const MAX_DATE_OFF_SECONDS: u64 = 366 * 86_400;

/// The next `calls` calls of `action` are answered with this error, and have no effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refuse {
    pub action: String,
    pub code: String,
    pub calls: u32,
    #[serde(default)]
    pub message: Option<String>,
}

/// A [`Refuse`] as the control API takes it, and as it is pending.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefuseOrder {
    action: String,
    code: String,
    calls: u32,
    #[serde(default)]
    message: Option<String>,
    /// The answer's HTTP status: 400 to 599. Without one it is that of the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl From<Refuse> for RefuseOrder {
    fn from(Refuse { action, code, calls, message }: Refuse) -> Self {
        RefuseOrder { action, code, calls, message, status: None }
    }
}

impl RefuseOrder {
    pub(crate) fn with_status(fault: Refuse, status: u16) -> Self {
        RefuseOrder { status: Some(status), ..fault.into() }
    }
}

/// The next `launches` instances that are launched end when they would run, with this StateReason.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailLaunch {
    /// As EC2 writes it, with what stands before the point: `Server.InsufficientInstanceCapacity`.
    pub code: String,
    #[serde(default)]
    pub message: Option<String>,
    pub launches: u32,
}

/// The next `calls` calls of `action` have their effect, and then the connection is dropped without an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lose {
    pub action: String,
    pub calls: u32,
}

/// The next `calls` calls of `action` are handled only after a delay.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    pub action: String,
    pub milliseconds: u64,
    pub calls: u32,
}

/// The next `calls` calls of `GetCallerIdentity` whose signature is good are answered with just this.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canned {
    pub action: String,
    pub calls: u32,
    /// HTTP's.
    pub status: u16,
    pub body: String,
    /// `application/json` unless it is set.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Where a redirection leads.
    #[serde(default)]
    pub location: Option<String>,
}

/// Where there is capacity, or none. What is absent matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    #[serde(default)]
    pub instance_type: Option<String>,
    #[serde(default)]
    pub availability_zone: Option<String>,
    /// `spot` or `on-demand`.
    #[serde(default)]
    pub lifecycle: Option<String>,
    pub available: bool,
}

/// All faults that are pending.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Faults {
    refuse: VecDeque<RefuseOrder>,
    fail_launch: VecDeque<FailLaunch>,
    lose: VecDeque<Lose>,
    delay: VecDeque<Delay>,
    answer: VecDeque<Canned>,
    /// Pools without capacity.
    exhausted: VecDeque<Capacity>,
    stale_ms: u64,
    page_size: Option<usize>,
    /// By how much the date of answers is off.
    date_off_seconds: i64,
}

impl Faults {
    pub(crate) fn refuse(&mut self, fault: RefuseOrder) -> Result<(), ControlError> {
        check(&fault.action, fault.calls)?;
        if fault.code.is_empty() {
            return Err(ControlError::BadRequest("code must not be empty".to_owned()));
        }
        if let Some(status) = fault.status.filter(|status| !(400..600).contains(status)) {
            return Err(ControlError::BadRequest(format!("status must be between 400 and 599, not {status}")));
        }
        push(&mut self.refuse, fault)
    }

    pub(crate) fn fail_launch(&mut self, fault: FailLaunch) -> Result<(), ControlError> {
        if !["Server.", "Client."].iter().any(|side| fault.code.len() > side.len() && fault.code.starts_with(side)) {
            let code = &fault.code;
            return Err(ControlError::BadRequest(format!(
                "code must begin with Server. or Client., unlike \"{code}\""
            )));
        }
        if fault.launches == 0 {
            return Err(ControlError::BadRequest("launches must be at least 1".to_owned()));
        }
        push(&mut self.fail_launch, fault)
    }

    pub(crate) fn lose(&mut self, fault: Lose) -> Result<(), ControlError> {
        check(&fault.action, fault.calls)?;
        push(&mut self.lose, fault)
    }

    pub(crate) fn delay(&mut self, fault: Delay) -> Result<(), ControlError> {
        check(&fault.action, fault.calls)?;
        if fault.milliseconds > MAX_DELAY_MS {
            return Err(ControlError::BadRequest(format!("milliseconds must be at most {MAX_DELAY_MS}")));
        }
        push(&mut self.delay, fault)
    }

    pub(crate) fn answer(&mut self, fault: Canned) -> Result<(), ControlError> {
        check(&fault.action, fault.calls)?;
        if fault.action != crate::sts::ACTION {
            let action = crate::sts::ACTION;
            return Err(ControlError::BadRequest(format!("only {action} can be answered with something else")));
        }
        if !(200..600).contains(&fault.status) {
            let status = fault.status;
            return Err(ControlError::BadRequest(format!("status must be between 200 and 599, not {status}")));
        }
        push(&mut self.answer, fault)
    }

    pub(crate) fn stale(&mut self, seconds: f64) -> Result<(), ControlError> {
        let most = HISTORY_MS / 1000;
        let lag = Duration::try_from_secs_f64(seconds).ok().filter(|lag| lag.as_secs() <= most);
        let Some(lag) = lag else {
            return Err(ControlError::BadRequest(format!("seconds must be between 0 and {most}")));
        };
        self.stale_ms = u64::try_from(lag.as_millis()).unwrap_or(0);
        Ok(())
    }

    pub(crate) fn date(&mut self, off_seconds: i64) -> Result<(), ControlError> {
        if off_seconds.unsigned_abs() > MAX_DATE_OFF_SECONDS {
            return Err(ControlError::BadRequest(format!("seconds must be at most {MAX_DATE_OFF_SECONDS}")));
        }
        self.date_off_seconds = off_seconds;
        Ok(())
    }

    pub(crate) fn date_off_seconds(&self) -> i64 {
        self.date_off_seconds
    }

    pub(crate) fn pages(&mut self, size: usize) -> Result<(), ControlError> {
        if size > 1_000 {
            return Err(ControlError::BadRequest("size must be at most 1000".to_owned()));
        }
        self.page_size = Some(size).filter(|size| *size > 0);
        Ok(())
    }

    pub(crate) fn capacity(&mut self, change: Capacity) -> Result<(), ControlError> {
        if let Some(lifecycle) = &change.lifecycle
            && lifecycle != Lifecycle::Spot.name()
            && lifecycle != Lifecycle::OnDemand.name()
        {
            return Err(ControlError::BadRequest(format!("lifecycle is spot or on-demand, not {lifecycle}")));
        }
        if change.available {
            self.exhausted.retain(|rule| !change.covers(rule));
            return Ok(());
        }
        if self.exhausted.contains(&change) {
            return Ok(());
        }
        push(&mut self.exhausted, change)
    }

    pub(crate) fn take_refusal(&mut self, action: &str) -> Option<ApiError> {
        let fault = take(&mut self.refuse, action, |fault| (&fault.action, &mut fault.calls))?;
        let message = fault.message.unwrap_or_else(|| message_for(&fault.code).to_owned());
        let status = fault.status.and_then(|status| StatusCode::from_u16(status).ok());
        Some(ApiError { code: fault.code, message, status })
    }

    /// Why the instance that is launched now will end.
    pub(crate) fn take_failure(&mut self) -> Option<StateReason> {
        let fault = self.fail_launch.front_mut()?;
        fault.launches -= 1;
        let taken = fault.clone();
        if taken.launches == 0 {
            self.fail_launch.pop_front();
        }
        let message = taken.message.unwrap_or_else(|| failure_message(&taken.code).to_owned());
        let message =
            message.strip_prefix(&taken.code).map_or(message.as_str(), |rest| rest.trim_start_matches([':', ' ']));
        Some(StateReason::new(&taken.code, message))
    }

    pub(crate) fn take_loss(&mut self, action: &str) -> bool {
        take(&mut self.lose, action, |fault| (&fault.action, &mut fault.calls)).is_some()
    }

    pub(crate) fn take_canned(&mut self, action: &str) -> Option<Canned> {
        take(&mut self.answer, action, |fault| (&fault.action, &mut fault.calls))
    }

    pub(crate) fn take_delay(&mut self, action: &str) -> Option<Duration> {
        let fault = take(&mut self.delay, action, |fault| (&fault.action, &mut fault.calls))?;
        Some(Duration::from_millis(fault.milliseconds))
    }

    pub(crate) fn stale_ms(&self) -> u64 {
        self.stale_ms
    }

    pub(crate) fn page_size(&self) -> Option<usize> {
        self.page_size
    }

    pub(crate) fn has_capacity(&self, instance_type: &str, zone: &str, lifecycle: Lifecycle) -> bool {
        !self.exhausted.iter().any(|rule| {
            matches(rule.instance_type.as_deref(), instance_type)
                && matches(rule.availability_zone.as_deref(), zone)
                && matches(rule.lifecycle.as_deref(), lifecycle.name())
        })
    }
}

impl Capacity {
    /// Whether this rule matches everything that `rule` matches.
    fn covers(&self, rule: &Self) -> bool {
        let covers = |own: &Option<String>, other: &Option<String>| own.is_none() || own == other;
        covers(&self.instance_type, &rule.instance_type)
            && covers(&self.availability_zone, &rule.availability_zone)
            && covers(&self.lifecycle, &rule.lifecycle)
    }
}

fn matches(rule: Option<&str>, value: &str) -> bool {
    rule.is_none_or(|rule| rule == value)
}

fn check(action: &str, calls: u32) -> Result<(), ControlError> {
    let is_known = crate::api::is_action(action)
        || [crate::sts::ACTION, crate::quotas::ACTION].contains(&action)
        || crate::ssm::is_action(action)
        || crate::iam::is_action(action);
    if action != "*" && !is_known {
        return Err(ControlError::BadRequest(format!("unknown action {action}: `*` stands for every action")));
    }
    if calls == 0 {
        return Err(ControlError::BadRequest("calls must be at least 1".to_owned()));
    }
    Ok(())
}

fn push<T>(faults: &mut VecDeque<T>, fault: T) -> Result<(), ControlError> {
    if faults.len() >= MAX_FAULTS {
        return Err(ControlError::BadRequest(format!(
            "{MAX_FAULTS} faults of this kind are pending already: DELETE /_emulator/faults clears them"
        )));
    }
    faults.push_back(fault);
    Ok(())
}

/// Uses up one call of the first fault for `action`.
fn take<T: Clone>(faults: &mut VecDeque<T>, action: &str, parts: impl Fn(&mut T) -> (&String, &mut u32)) -> Option<T> {
    let index = faults.iter_mut().position(|fault| {
        let (of, _) = parts(fault);
        of == action || of == "*"
    })?;
    let fault = faults.get_mut(index)?;
    let (_, calls) = parts(fault);
    *calls = calls.saturating_sub(1);
    let used_up = *calls == 0;
    let taken = fault.clone();
    if used_up {
        faults.remove(index);
    }
    Some(taken)
}

fn message_for(code: &str) -> &'static str {
    match code {
        "RequestLimitExceeded" => "Request limit exceeded.",
        "AccessDenied" | "AccessDeniedException" => "User is not authorized to perform this action",
        "NoSuchEntity" => "The name cannot be found.",
        "UnauthorizedOperation" => "You are not authorized to perform this operation.",
        "InternalError" => "An internal error has occurred",
        "InsufficientInstanceCapacity" => "There is no Spot capacity available that matches your request.",
        "MaxSpotInstanceCountExceeded" => "Max spot instance count exceeded",
        _ => "Refused by a fault that was set with the emulator's control API",
    }
}

fn failure_message(code: &str) -> &'static str {
    match code {
        "Server.InsufficientInstanceCapacity" => "Insufficient capacity to satisfy instance request",
        "Server.InternalError" => "Internal error on launch",
        "Server.SpotInstanceTermination" => "Spot instance termination",
        "Client.InternalError" => "Client error on launch",
        "Client.InvalidSnapshot.NotFound" => "The specified snapshot was not found",
        "Client.VolumeLimitExceeded" => "Volume limit exceeded",
        _ => "Failed by a fault that was set with the emulator's control API",
    }
}
