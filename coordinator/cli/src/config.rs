//! `spillway config`: the settings as they are, checked before anything runs by them.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;
use spillway_coordinator::config::{self, DEFAULT_FILE, EffectiveSetting};
use spillway_output::{errln, outln};

use crate::or_json;

/// What a new installation begins with.
const EXAMPLE: &str = include_str!("../../deploy/coordinator.toml");
/// Where a value's origin stands beside it, unless the value is longer.
const COLUMN: usize = 52;

#[derive(Debug, Subcommand)]
pub enum What {
    /// Read the settings as `run` would, and say what is wrong; changes nothing and connects to nothing
    Check {
        /// Instead of --config
        file: Option<PathBuf>,
        #[arg(long, help = crate::arguments::JSON)]
        json: bool,
    },
    /// Print what is set, with where it comes from; passwords and tokens are masked
    Show {
        /// The defaults too
        #[arg(long)]
        effective: bool,
        #[arg(long, help = crate::arguments::JSON)]
        json: bool,
    },
    /// Print a commented coordinator.toml to start from
    Example,
}

pub(super) fn config(file: Option<&Path>, what: &What) -> anyhow::Result<()> {
    match what {
        What::Check { file: given, json } => or_json(check(given.as_deref().or(file), *json), *json),
        What::Show { effective, json } => or_json(show(file, *effective, *json), *json),
        What::Example => {
            outln!("{}", EXAMPLE.trim_end());
            Ok(())
        }
    }
}

fn check(file: Option<&Path>, as_json: bool) -> anyhow::Result<()> {
    let (settings, checked) = config::effective(file, &config::process_environment())?;
    let set = settings.iter().filter(|setting| !setting.is_default).count();
    if as_json {
        outln!("{}", json!({ "ok": true, "settings": set, "warnings": checked.warnings }));
        return Ok(());
    }
    for warning in &checked.warnings {
        errln!("warning: {warning}");
    }
    let pools: Vec<&str> = checked.pools.iter().map(|pool| pool.name.as_str()).collect();
    let file = file.unwrap_or(Path::new(DEFAULT_FILE));
    let read =
        if file.exists() { format!("{} and the environment", file.display()) } else { "the environment".to_owned() };
    outln!("ok: {set} settings from {read}; pools: {}", pools.join(", "));
    Ok(())
}

fn show(file: Option<&Path>, with_defaults: bool, as_json: bool) -> anyhow::Result<()> {
    let (mut settings, _) = config::effective(file, &config::process_environment())?;
    settings.retain(|setting| with_defaults || !setting.is_default);
    if as_json {
        outln!("{}", serde_json::to_string_pretty(&settings)?);
        return Ok(());
    }
    let (mut section, mut is_first) = (String::new(), true);
    for EffectiveSetting { key, value, origin, .. } in &settings {
        let (of, name) = key.rsplit_once('.').unwrap_or(("", key));
        if of != section {
            outln!("{}{}", if is_first { "" } else { "\n" }, header(of));
            of.clone_into(&mut section);
        }
        is_first = false;
        match value {
            Some(value) => {
                let line = format!("{name} = {value}");
                outln!("{line:<COLUMN$} # {origin}");
            }
            None => {
                let line = format!("# {name}");
                outln!("{line:<COLUMN$} # not set");
            }
        }
    }
    Ok(())
}

/// `[redis]`, `[[pool]]`, `[pool.policy]`.
fn header(section: &str) -> String {
    match section.strip_prefix("pool[").and_then(|rest| rest.split_once(']')) {
        Some((_, "")) => "[[pool]]".to_owned(),
        Some((_, rest)) => format!("[pool{rest}]"),
        None => format!("[{section}]"),
    }
}
