//! Values against each other. What can never work is an error; what works differently from how it reads is a warning,
//! said once at the start.

use std::net::SocketAddr;

use spillway_schedule::Schedule;
use spillway_words::{counted, in_words};

use super::Check;
use super::policy::{IDLE_OF_STEPS, OF_WAIT};
use crate::config::loopback::for_operators;
use crate::config::{ConfigError, OperatorsKind, Pool, Settings, TrustKind};

pub(super) fn check(check: &Check<'_>, mut settings: Settings) -> Result<Settings, ConfigError> {
    addresses(check, &settings)?;
    for (index, pool) in settings.pools.iter().enumerate() {
        heartbeat(check, &settings, index, pool)?;
    }
    let warnings = settings.pools.iter().enumerate().filter_map(|(index, pool)| cap(check, index, pool));
    let late = settings.pools.iter().enumerate().filter_map(|(index, pool)| one_beat(check, &settings, index, pool));
    let floors = settings.pools.iter().enumerate().filter_map(|(index, pool)| floor(check, index, pool));
    let unread = settings.pools.iter().enumerate().filter_map(|(index, pool)| unread(check, index, pool));
    let idle = settings.pools.iter().enumerate().filter_map(|(index, pool)| idle(check, index, pool));
    let warnings: Vec<String> = warnings
        .chain(late)
        .chain(floors)
        .chain(unread)
        .chain(idle)
        .chain(trust(&settings))
        .chain(operators(&settings))
        .collect();
    settings.warnings.extend(warnings);
    Ok(settings)
}

/// gRPC, operators' loopback and HTTP are three listeners.
fn addresses(check: &Check<'_>, settings: &Settings) -> Result<(), ConfigError> {
    let (grpc, http) = (settings.grpc_listen, settings.http_listen);
    let meets = |a: SocketAddr, b: SocketAddr| {
        a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
    };
    if grpc.port() != 0 && (meets(grpc, http) || meets(for_operators(grpc), http)) {
        let grpc = check.origins.with(&grpc.to_string(), "grpc.listen");
        let detail = format!("{http} is the port of {grpc} too: give each a port of its own");
        return Err(check.bad("http.listen", detail));
    }
    Ok(())
}

/// An agent that reports less often than that is stale between any two reports.
fn heartbeat(check: &Check<'_>, settings: &Settings, index: usize, pool: &Pool) -> Result<(), ConfigError> {
    const BEAT: &str = "grpc.heartbeat_interval";
    let (interval, timeout) = (in_words(settings.heartbeat_interval), in_words(pool.brain.heartbeat_timeout));
    if settings.heartbeat_interval < pool.brain.heartbeat_timeout {
        return Ok(());
    }
    let path = format!("pool[{index}].heartbeat_timeout");
    let so = "so every instance would be stale between two heartbeats";
    // Whichever was written is the one to change.
    if check.origins.is_written(BEAT) {
        let timeout = check.origins.with(&timeout, &path);
        return Err(
            check.bad(BEAT, format!("{interval} is not shorter than {timeout}, {so}: write at most a third of that"))
        );
    }
    let interval = check.origins.with(&interval, BEAT);
    Err(check.bad(&path, format!("{timeout} is not longer than {interval}, {so}: write at least three times that")))
}

/// Settings of operators that have no effect.
fn operators(settings: &Settings) -> Option<String> {
    let has_more = settings.operator_token_file.is_some() || !settings.operator_accounts.is_empty();
    (settings.operators == OperatorsKind::Loopback && has_more).then(|| {
        "grpc.operator_token_file and grpc.operator_accounts are not used: grpc.operators is \"loopback\", and whoever is on this \
         host is an operator. Set it to \"token\""
            .to_owned()
    })
}

/// What agents are known by, where that is less than it could be, or not what is set.
fn trust(settings: &Settings) -> Option<String> {
    let is_local = settings.grpc_listen.ip().is_loopback();
    match (settings.trust, &settings.join_token) {
        (TrustKind::Token, Some(_)) if !is_local => Some(
            "grpc.trust is \"token\": whoever has the join token can register as any instance. With grpc.trust = \"aws\" each agent \
             proves by its instance profile which instance it is"
                .to_owned(),
        ),
        (TrustKind::Aws, Some(_)) => Some(
            "grpc.join_token is not used: grpc.trust is \"aws\", and agents prove themselves by their instance profile"
                .to_owned(),
        ),
        _ => None,
    }
}

fn one_beat(check: &Check<'_>, settings: &Settings, index: usize, pool: &Pool) -> Option<String> {
    let (interval, timeout) = (settings.heartbeat_interval, pool.brain.heartbeat_timeout);
    (timeout < interval * 2).then(|| {
        let timeout = check.origins.with(&in_words(timeout), &format!("pool[{index}].heartbeat_timeout"));
        format!(
            "pool {}: one late heartbeat makes an instance stale: {timeout} is less than two of grpc.heartbeat_interval, {}",
            pool.name,
            in_words(interval)
        )
    })
}

/// A schedule that asks for more than the cap lets.
fn floor(check: &Check<'_>, index: usize, pool: &Pool) -> Option<String> {
    let cap = pool.brain.max_instances;
    let most = pool.floors.iter().map(Schedule::instances).max().filter(|most| *most > cap)?;
    let written = check.origins.with(&counted(cap, "instance"), &format!("pool[{index}].max_instances"));
    let most = counted(most, "instance");
    Some(format!("pool {}: a schedule asks for {most}, and the cap is {written}: the cap holds", pool.name))
}

/// What the `steps` policy does not read.
fn unread(check: &Check<'_>, index: usize, pool: &Pool) -> Option<String> {
    let path = |key: &str| format!("pool[{index}].policy.{key}");
    let written = OF_WAIT.into_iter().map(path).find(|path| check.origins.is_written(path));
    let path = written.filter(|_| pool.brain.wait.is_none())?;
    let origin = check.origins.of(&path);
    Some(format!("pool {}: {origin} is not used: write policy.kind = \"wait\" for it", pool.name))
}

/// The plan's variable means the steps, and the `wait` policy has an idle time of its own.
fn idle(check: &Check<'_>, index: usize, pool: &Pool) -> Option<String> {
    let wait = pool.brain.wait.as_ref()?;
    let origin = check.origins.of(&format!("pool[{index}].policy.idle"));
    (origin.name == IDLE_OF_STEPS).then(|| {
        format!(
            "pool {}: {origin} is for policy.kind = \"steps\". With \"wait\" an instance is given back after {}: set policy.idle in \
             the file, or SPILLWAY_POOL_POLICY_IDLE, for another time",
            pool.name,
            in_words(wait.idle)
        )
    })
}

/// The cap and the largest step of the policy should be one number.
fn cap(check: &Check<'_>, index: usize, pool: &Pool) -> Option<String> {
    if pool.brain.wait.is_some() {
        // Its steps decide for a moment only.
        return None;
    }
    let cap = pool.brain.max_instances;
    let most = pool.brain.policy.steps.iter().map(|step| step.instances).max()?;
    let path = format!("pool[{index}].max_instances");
    let steps = format!("pool[{index}].policy.steps");
    if cap == most {
        return None;
    }
    let written = check.origins.with(&counted(cap, "instance"), &path);
    let of_steps = check.origins.of(&steps);
    let place = if check.origins.is_written(&steps) {
        of_steps.to_string()
    } else {
        "the default of pool.policy.steps".to_owned()
    };
    Some(if cap < most {
        format!(
            "pool {}: a policy step asks for {}, and the cap is {written}: the cap holds",
            pool.name,
            counted(most, "instance")
        )
    } else {
        format!(
            "pool {}: the cap is {written}, and no policy step asks for more than {}: add a step ({place})",
            pool.name,
            counted(most, "instance")
        )
    })
}
