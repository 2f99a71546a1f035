//! The emulator as a program of its own: `spillway-emulator run`, and its instances' init.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use spillway_emulator::{cli, init};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// EC2's API and instance metadata on loopback; the instances are local processes
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Run an emulator until Ctrl-C
    Run(cli::Args),
    /// An instance's init; the emulator starts it
    #[command(name = init::WORD, hide = true)]
    InstanceInit,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if words.nth(1).is_some_and(|word| word == init::WORD) {
        return init::main(words);
    }
    let Command::Run(args) = Command::parse() else { return ExitCode::from(2) };
    let level = std::env::var("RUST_LOG").ok().filter(|level| !level.is_empty()).unwrap_or_else(|| "info".to_owned());
    // A word that is no level would be taken for a target, and silence everything else.
    let mut plain = level.split(',').map(str::trim).filter(|it| !it.is_empty() && !it.contains(['=', '[']));
    if let Some(word) = plain.find(|it| it.parse::<LevelFilter>().is_err()) {
        eprintln!(
            "spillway-emulator: RUST_LOG: \"{word}\" is not a log level: write error, warn, info, debug, trace or off"
        );
        return ExitCode::from(2);
    }
    let filter = EnvFilter::new(level);
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: cli::Args) -> anyhow::Result<()> {
    cli::run(args).await
}
