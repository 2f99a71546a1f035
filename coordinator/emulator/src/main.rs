//! The emulator as a program of its own: `spillway-emulator run`, and its instances' init.

use std::process::ExitCode;

use clap::Parser;
use spillway_emulator::{cli, init};
use tracing_subscriber::EnvFilter;

/// The word behind which an instance's init gets its arguments.
const INIT: &str = "instance-init";

/// EC2's API and instance metadata on loopback; the instances are local processes
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Run an emulator until Ctrl-C
    Run(cli::Arguments),
    /// An instance's init; the emulator starts it
    #[command(name = INIT, hide = true)]
    InstanceInit,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if words.nth(1).is_some_and(|word| word == INIT) {
        return init::main(words);
    }
    let Command::Run(arguments) = Command::parse() else { return ExitCode::from(2) };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: cli::Arguments) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    cli::run(arguments, vec![program.into(), INIT.into()]).await
}
