//! `spillway`: the coordinator and its tools. Exit status: 0 done, 1 failed, 2 bad usage or configuration.
//!
//! A library, so that `packaging` makes completions and man pages from the command line's own definition; `main.rs` is
//! the program.
//!
//! - `arguments`: what may be written on the command line
//! - `run`: the coordinator itself; `queues`: what Redis shows, without a coordinator
//! - `operators`: `status`, `drain`, `hold`, `resume`; `top`: the fleet live, on a `terminal` of its own
//! - `past`: `explain`, `history`; `when`: times as they are written there
//! - `drill`: launches instances, sees them ready, and has them ended
//! - `gameday`: interrupts one instance and scores what became of its jobs
//! - `init`: the settings of a primary, by what is found there
//! - `notify`: a test message
//! - `replay`: what policies would have cost, and how long jobs would have waited
//! - `acl`: Redis' users; `config`: the settings, checked and shown; `doctor`: what they rest on
//! - `demo`: the whole thing on this machine

// What is printed may go unread: see `spillway_output`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod acl;
pub mod arguments;
mod bake;
mod config;
mod demo;
mod doctor;
mod drill;
mod gameday;
mod init;
mod notify;
mod operators;
mod past;
mod queues;
mod replay;
mod run;
mod terminal;
mod top;
mod uninstall;
mod when;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use spillway_coordinator::acl::Overlap;
use spillway_coordinator::config::ConfigError;
use spillway_coordinator::installation::IdentityProblem;
use spillway_coordinator::redis_client::RedisProblem;
use spillway_coordinator::telemetry;
use spillway_coordinator::tls::TlsProblem;
use spillway_output::{errln, outln};

use arguments::{Arguments, Command};

/// Bad usage or configuration: a person must change something before it can work.
const USAGE: u8 = 2;

/// The whole program.
pub fn main() -> ExitCode {
    // An emulated instance's init is this program too; it must not start a runtime first.
    let mut given = std::env::args_os().skip(1);
    if given.next().is_some_and(|first| first == spillway_emulator::init::WORD) {
        return spillway_emulator::init::main(given);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return if is_help { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let usual = match arguments.command {
        // They have a screen of their own.
        Command::Demo(_) | Command::Top { .. } => "error",
        // What the AWS SDK warns of is a finding, in words of its own.
        Command::Doctor { .. } => "error,spillway_coordinator=warn",
        _ => "info",
    };
    if let Err(problem) = telemetry::install_logs(arguments.log.as_deref(), usual, arguments.log_json) {
        errln!("spillway: --log or SPILLWAY_LOG: {problem}");
        return ExitCode::from(USAGE);
    }
    // TLS of Redis and EC2: one provider for the process. A second one is refused, and the first does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("cannot start")),
    };
    spillway_output::ended(match runtime.block_on(dispatch(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    })
}

async fn dispatch(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.config.as_deref();
    match arguments.command {
        Command::Run => run::run(config).await,
        Command::Queues { json } => queues::queues(config, json).await,
        Command::Status { options, pool, server, json } => {
            operators::status(&server.address(config), pool, options, json).await
        }
        Command::Top { pool, server } => top::run(&server.address(config), pool).await,
        Command::Explain { pool, limit, of, server, json } => {
            past::explain(&server.address(config), pool, limit, of, json).await
        }
        Command::History { pool, range, server, json } => {
            past::history(&server.address(config), pool, range, json).await
        }
        Command::Drain { instance, cancel, reason, server, json } => {
            operators::drain(&server.address(config), instance, cancel, reason, json).await
        }
        Command::Hold { pool, reason, server, json } => {
            operators::hold(&server.address(config), pool, reason, json).await
        }
        Command::Resume { pool, server, json } => operators::resume(&server.address(config), pool, json).await,
        Command::Drill { options, pool, server, json } => {
            drill::run(&server.address(config), options, pool, json).await
        }
        Command::Gameday { options, server, json } => {
            gameday::run(config, &server.address(config), options, json).await
        }
        Command::Init(options) => init::init(options).await,
        Command::Doctor { json } => doctor::doctor(config, json).await,
        Command::Notify { test: _ } => notify::test(config).await,
        Command::Replay(options) => replay::replay(options),
        Command::Config { what } => config::config(config, &what),
        Command::Bake(options) => bake::bake(options).await,
        Command::Uninstall { options, server } => uninstall::uninstall(&server.address(config), options).await,
        Command::Acl => acl::acl(config).await,
        Command::Demo(options) => demo::run(options).await,
        Command::Emulator(arguments) => spillway_emulator::cli::run(arguments).await,
    }
}

/// Says an error on standard output as well, where that is to be JSON.
fn or_json(result: anyhow::Result<()>, as_json: bool) -> anyhow::Result<()> {
    if let (Err(error), true) = (&result, as_json) {
        outln!("{}", serde_json::json!({ "ok": false, "error": format!("{error:#}") }));
    }
    result
}

fn failed(error: &anyhow::Error) -> ExitCode {
    errln!("spillway: {error:#}");
    let bad_url = matches!(error.downcast_ref(), Some(RedisProblem::BadUrl { .. }));
    let refused = matches!(error.downcast_ref(), Some(IdentityProblem::Refused(_) | IdentityProblem::InUse(_)));
    let overlap = error.downcast_ref::<Overlap>().is_some();
    let settings = error.downcast_ref::<ConfigError>().is_some() || error.downcast_ref::<TlsProblem>().is_some();
    let is_usage = error.downcast_ref::<replay::BadUsage>().is_some() || bad_url || refused || overlap || settings;
    if is_usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}
