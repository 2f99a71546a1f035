//! A policy as it is written: `wait:5m`, or a TOML file.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use spillway_replay::{AWS_IDLE, BUILDKITE_IDLE, KEDA_IDLE, Policy};
use spillway_replay::{Step, Steps, Wait};
use spillway_settings::duration;

const WRITE: &str = "write steps, cron, wait:5m, keda:5, aws:300s, buildkite:4, or a file that ends in .toml";

/// # Errors
/// What is wrong, with what was written.
pub(super) fn parse(text: &str) -> Result<Policy, String> {
    if text.ends_with(".toml") {
        return file(Path::new(text));
    }
    let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value)));
    let wants = |example: &str| format!("{text}: {name} needs a value: write {name}:{example}");
    let span = |example: &str| {
        let span = duration(value.ok_or_else(|| wants(example))?).map_err(|problem| format!("{text}: {problem}"))?;
        if span.is_zero() { Err(format!("{text}: 0 is no wait: write {name}:{example}")) } else { Ok(span) }
    };
    let jobs =
        |example: &str| number(value.ok_or_else(|| wants(example))?).map_err(|problem| format!("{text}: {problem}"));
    match name {
        "steps" | "cron" if value.is_some() => Err(format!("{text}: {name} takes no value: write {name}")),
        "steps" => Ok(Policy::Steps(Steps::default())),
        "cron" => Ok(Policy::Cron),
        "wait" => Ok(Policy::Wait(Wait { target: span("5m")?, ..Wait::default() })),
        "keda" => Ok(Policy::Keda { jobs: jobs("5")?, idle: KEDA_IDLE }),
        "aws" => Ok(Policy::Aws { latency: span("300s")?, idle: AWS_IDLE }),
        "buildkite" => Ok(Policy::Buildkite { jobs: jobs("4")?, idle: BUILDKITE_IDLE }),
        _ => Err(format!("{text}: there is no such policy: {WRITE}")),
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("\"{text}\" is no number of jobs above 0"))
}

/// What a policy's file may have: as `[pool.policy]` has it, and what others compute.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Written {
    Steps { steps: Option<Vec<WrittenStep>>, idle: Option<Span> },
    Wait { target: Option<Span>, quantile: Option<f64>, idle: Option<Span>, slots: Option<Slots> },
    Cron {},
    Keda { jobs: f64, idle: Option<Span> },
    Aws { latency: Span, idle: Option<Span> },
    Buildkite { jobs: f64, idle: Option<Span> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    jobs: u64,
    r#for: Span,
    instances: u32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Slots {
    Number(u32),
    Measured(String),
}

/// A duration as `5m`.
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration(&text).map(Span).map_err(serde::de::Error::custom)
    }
}

fn file(path: &Path) -> Result<Policy, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: it cannot be read: {error}"))?;
    let written: Written =
        toml::from_str(&text).map_err(|error| format!("{name}: {}", error.to_string().trim_end()))?;
    policy(written).map_err(|problem| format!("{name}: {problem}"))
}

fn policy(written: Written) -> Result<Policy, String> {
    let or = |span: Option<Span>, usual: Duration| span.map_or(usual, |Span(span)| span);
    let above_0 = |jobs: f64| number(&jobs.to_string()).map_err(|problem| format!("jobs: {problem}"));
    Ok(match written {
        Written::Steps { steps, idle } => {
            let usual = Steps::default();
            let step = |it: WrittenStep| Step { jobs: it.jobs, over: it.r#for.0, instances: it.instances };
            let steps = steps.map_or(usual.steps, |steps| steps.into_iter().map(step).collect());
            if steps.is_empty() {
                return Err("steps: has no step, so nothing would ever be launched: add one".to_owned());
            }
            Policy::Steps(Steps { steps, idle: or(idle, usual.idle) })
        }
        Written::Wait { target, quantile, idle, slots } => {
            let usual = Wait::default();
            let quantile = quantile.unwrap_or(usual.quantile);
            if !(quantile > 0.0 && quantile <= 1.0) {
                return Err(format!("quantile: {quantile} is not a share of the jobs: write 0.95"));
            }
            let slots = match slots {
                None => None,
                Some(Slots::Measured(text)) if text == "measured" => None,
                Some(Slots::Number(slots)) if slots > 0 => Some(slots),
                Some(_) => return Err("slots: write a number above 0, or \"measured\"".to_owned()),
            };
            let target = or(target, usual.target);
            if target.is_zero() {
                return Err("target: 0 is no wait: write 5m".to_owned());
            }
            Policy::Wait(Wait { target, quantile, idle: or(idle, usual.idle), slots })
        }
        Written::Cron {} => Policy::Cron,
        Written::Keda { jobs, idle } => Policy::Keda { jobs: above_0(jobs)?, idle: or(idle, KEDA_IDLE) },
        Written::Aws { latency: Span(latency), idle } if !latency.is_zero() => {
            Policy::Aws { latency, idle: or(idle, AWS_IDLE) }
        }
        Written::Aws { .. } => return Err("latency: 0 is no wait: write 300s".to_owned()),
        Written::Buildkite { jobs, idle } => Policy::Buildkite { jobs: above_0(jobs)?, idle: or(idle, BUILDKITE_IDLE) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_they_are_written() {
        assert_eq!(parse("steps"), Ok(Policy::Steps(Steps::default())));
        let target = Duration::from_secs(90);
        assert_eq!(parse("wait:90s"), Ok(Policy::Wait(Wait { target, ..Wait::default() })));
        assert_eq!(parse("keda:2.5"), Ok(Policy::Keda { jobs: 2.5, idle: KEDA_IDLE }));
        let written = "kind = \"wait\"\ntarget = \"90s\"\nidle = \"0s\"\nslots = 8\nquantile = 1.0";
        let wait = Wait { target, quantile: 1.0, idle: Duration::ZERO, slots: Some(8) };
        assert_eq!(policy(toml::from_str(written).expect("it is read")), Ok(Policy::Wait(wait)));
        let written = "kind = \"steps\"\nsteps = [{ jobs = 3, for = \"1m\", instances = 1 }]\nidle = \"5m\"";
        let steps = vec![Step { jobs: 3, over: Duration::from_secs(60), instances: 1 }];
        let steps = Steps { steps, idle: Duration::from_secs(300) };
        assert_eq!(policy(toml::from_str(written).expect("it is read")), Ok(Policy::Steps(steps)));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        for (text, said) in [
            ("wait", "wait: wait needs a value: write wait:5m"),
            ("wait:5", "wait:5: \"5\" has no unit: write 5s for seconds, 5m for minutes"),
            ("wait:0s", "wait:0s: 0 is no wait: write wait:5m"),
            ("steps:5", "steps:5: steps takes no value: write steps"),
            ("keda:-1", "keda:-1: \"-1\" is no number of jobs above 0"),
            ("slo:5m", "slo:5m: there is no such policy: write steps, cron,"),
            ("/nowhere/p.toml", "/nowhere/p.toml: it cannot be read: No such file"),
        ] {
            let problem = parse(text).expect_err(text);
            assert!(problem.starts_with(said), "{problem}");
        }
        for (written, said) in [
            ("kind = \"wait\"\ntarget = 5", "invalid type: integer `5`"),
            ("kind = \"wait\"\ntargets = \"5m\"", "unknown field `targets`"),
            ("kind = \"slo\"", "unknown variant `slo`"),
            ("target = \"5m\"", "missing field `kind`"),
        ] {
            let problem = toml::from_str::<Written>(written).err().expect(written).to_string();
            assert!(problem.contains(said), "{problem}");
        }
        let quantile = toml::from_str("kind = \"wait\"\nquantile = 95.0").expect("it is read");
        assert_eq!(policy(quantile), Err("quantile: 95 is not a share of the jobs: write 0.95".to_owned()));
    }
}
