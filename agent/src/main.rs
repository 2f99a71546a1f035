//! `spillway-agent`: reads the command line, sets up the runtime, and hands over.

// What is printed may go unread: see `spillway_output`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use spillway_agent::agent::{self, AgentError};
use spillway_agent::check::boot::Options;
use spillway_agent::check::{self, Finding, State};
use spillway_agent::cli::{Cli, Command, ConfigFile};
use spillway_agent::config::{Config, ConfigError, DEFAULT_PATH, Source};
use spillway_agent::identity::Origin;
use spillway_agent::image::{self, Places, Removed};
use spillway_agent::imds::Notice;
use spillway_agent::imds::poll::{self, ReadNotice, Seen};
use spillway_output::{errln, outln};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    spillway_output::ended(match start(cli) {
        Ok(code) => code,
        Err(error) => {
            errln!("spillway-agent: {error:#}");
            let bad_usage = error.is::<ConfigError>() || error.is::<AgentError>() || error.is::<BadLog>();
            ExitCode::from(if bad_usage { BAD_USAGE } else { 1 })
        }
    })
}

/// `--log` makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("--log or RUST_LOG: {0}")]
struct BadLog(String);

fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    // `Targets` rather than `EnvFilter`: nobody filters an agent's log by regular expressions, which are a megabyte.
    let filter: Targets = spillway_settings::log_filter(&cli.log).map_err(BadLog)?.parse().map_err(|_| {
        BadLog(format!("{:?} is not a filter: write a level such as info, or spillway_agent=debug", cli.log))
    })?;
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    // redis's TLS takes the process's.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the async runtime")?;
    let origin = Origin::of(|name| std::env::var(name).ok());
    runtime.block_on(async {
        match cli.command {
            Command::Run(file) => {
                let config = load(&file)?;
                tracing::info!(version = env!("CARGO_PKG_VERSION"), redis = %config.redis, "agent started");
                agent::run(config, origin, shutdown_signal()?).await?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Check { file, boot, within, json } => {
                let boot = boot.then(|| Options { path: path(&file), within });
                check(&load(&file)?, &origin, boot.as_ref(), json).await
            }
            Command::CheckImage { file, allow, remove, removed, root, json } => {
                let remove = remove.then_some(removed.as_deref());
                check_image(&file, &allow, remove, root.as_deref(), json)
            }
            Command::Watch { json } => print_notices(&origin, json).await,
        }
    })
}

fn path(file: &ConfigFile) -> PathBuf {
    file.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_PATH))
}

fn load(file: &ConfigFile) -> Result<Config, ConfigError> {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::load(&Source::read(&path(file), file.config.is_some(), variables)?)
}

fn shutdown_signal() -> anyhow::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot install a signal handler")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot install a signal handler")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "the agent received SIGTERM",
            _ = interrupt.recv() => "the agent received SIGINT",
        }
    })
}

async fn check(config: &Config, origin: &Origin, boot: Option<&Options>, json: bool) -> anyhow::Result<ExitCode> {
    // A person sees each finding as it comes: a boot takes minutes.
    let mut say = |finding: &Finding| {
        if !json {
            let state = match finding.state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Failed => "FAILED",
            };
            outln!("{state:<8} {}: {}", finding.what, finding.detail);
        }
    };
    let mut findings = check::check(config, origin).await;
    findings.iter().for_each(&mut say);
    if let Some(options) = boot {
        // A terminal that goes must not leave a worker behind, and rules.
        let mut hangup = signal(SignalKind::hangup()).context("cannot install a signal handler")?;
        let shutdown = shutdown_signal()?;
        let leave = async {
            tokio::select! {
                why = shutdown => why,
                _ = hangup.recv() => "the agent received SIGHUP",
            }
        };
        findings.extend(check::boot::boot(config, origin, options, leave, &mut say).await);
    }
    if json {
        outln!("{}", serde_json::to_string_pretty(&findings)?);
    }
    let failed = findings.iter().any(|finding| finding.state == State::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `remove`: credentials are removed first, and where their values are written to.
fn check_image(
    file: &ConfigFile,
    allowed: &[String],
    remove: Option<Option<&Path>>,
    root: Option<&Path>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    // The file alone: what is in this shell's environment is not in the image.
    let path = path(file);
    let places = Places::of(&path, &Source::read(&path, file.config.is_some(), [])?, root)?;
    let removed = remove.map(|record| image::remove(&places, allowed, record)).transpose()?;
    if let Some(Removed { removed, not_changed }) = removed.as_ref().filter(|_| !json) {
        removed.iter().for_each(|it| outln!("removed {it}"));
        not_changed.iter().for_each(|it| outln!("{}: not changed: {}", it.place.display(), it.why));
    }
    let report = image::check(&places, allowed)?;
    if json {
        let mut printed = serde_json::to_value(&report)?;
        if let (Some(printed), Some(removed)) = (printed.as_object_mut(), &removed) {
            printed.extend(serde_json::to_value(removed)?.as_object().cloned().unwrap_or_default());
        }
        outln!("{}", serde_json::to_string_pretty(&printed)?);
    } else {
        report.found.iter().for_each(|finding| outln!("{finding}"));
        report.not_searched.iter().for_each(|skipped| outln!("{skipped}"));
        outln!("{}", report.conclusion());
    }
    Ok(if report.found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn print_notices(origin: &Origin, json: bool) -> anyhow::Result<ExitCode> {
    let imds = origin.imds()?.context(
        "SPILLWAY_INSTANCE_ID or AWS_EC2_METADATA_DISABLED turns the instance metadata service off: unset it",
    )?;
    let (seen, mut notices) = mpsc::channel(8);
    tokio::spawn(poll::poll(imds, Duration::from_secs(1), seen));
    let leave = shutdown_signal()?;
    tokio::pin!(leave);
    loop {
        tokio::select! {
            Some(seen) = notices.recv() => {
                if let Seen::Notice(seen) = seen {
                    outln!("{}", line(&seen, json));
                    if spillway_output::is_unread() {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
            _ = &mut leave => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn line(seen: &ReadNotice, json: bool) -> String {
    let stamp = |at| humantime::format_rfc3339_seconds(at).to_string();
    let (kind, action, at) = match &seen.notice {
        Notice::Interruption { action, at } => ("interruption", action.as_str(), *at),
        Notice::Rebalance { at } => ("rebalance", "", *at),
        Notice::Maintenance { code, at } => ("maintenance", code.as_str(), *at),
    };
    if json {
        let value = serde_json::json!({ "kind": kind, "action": action, "at": stamp(at), "seen_at": stamp(seen.at) });
        return value.to_string();
    }
    format!("{} {kind} {action} at {}", stamp(seen.at), stamp(at))
}
