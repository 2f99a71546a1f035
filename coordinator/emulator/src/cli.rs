//! The command line of the emulator, for a program of its own and for `spillway emulator`.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Key, Options, init};

/// EC2's API and instance metadata on loopback; the instances are local processes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to listen on: loopback only; port 0 takes a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7470")]
    pub listen: SocketAddr,
    /// Parent of the instances' directories [default: a temporary directory, removed on exit]
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// How long an instance is pending
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    pub pending: Duration,
    /// How long an instance is shutting down
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    pub shutting_down: Duration,
    /// Region to emulate
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub region: String,
    /// File with the key that clients must know; made, for its owner alone, where there is none. Without a key every
    /// user of this machine can run programs as you
    #[arg(long, value_name = "FILE", env = "SPILLWAY_EMULATOR_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Boot instances as machines, by systemd-nspawn and as root: FOLDER has the images, each a directory tree ami-…
    #[arg(long, value_name = "FOLDER")]
    pub machines: Option<PathBuf>,
    /// Run nothing in instances: they have states, addresses and metadata alone, up to 5,000 at once
    #[arg(long, conflicts_with = "machines")]
    pub empty: bool,
    /// Print the endpoint as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs an emulator until SIGINT or SIGTERM; then ends all instances.
///
/// The program that calls this must hand `instance-init` as its first argument to [`init::main`]; see
/// [`init::command_line`].
pub async fn run(args: Args) -> anyhow::Result<()> {
    // Before the start, so that no instance is left when the signal comes early.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let key = args.key_file.as_deref().map(Key::read_or_create).transpose()?;
    if key.is_none() {
        tracing::warn!("no --key-file: every user of this machine can run programs as this one, through this emulator");
    }
    let (directory, temporary) = match args.directory.clone() {
        Some(directory) => (directory, None),
        None => {
            let temporary =
                tempfile::Builder::new().prefix("ec2-").permissions(Permissions::from_mode(0o700)).tempdir();
            let temporary = temporary.context("cannot create a temporary directory")?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let emulator = crate::start(Options {
        listen: args.listen,
        directory: directory.clone(),
        pending: args.pending,
        shutting_down: args.shutting_down,
        init: init::command_line().context("cannot find the path of this program")?,
        region: args.region.clone(),
        key,
        machines: args.machines.clone(),
        empty: args.empty,
        environment: Vec::new(),
    })
    .await?;
    announce(&emulator.endpoint(), &args, &directory)?;
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
    emulator.stop().await;
    if let Some(temporary) = temporary {
        temporary.close().context("cannot remove the temporary directory")?;
    }
    Ok(())
}

fn announce(endpoint: &str, args: &Args, directory: &Path) -> anyhow::Result<()> {
    use std::io::Write as _;
    let region = &args.region;
    let key_file =
        args.key_file.as_ref().map(std::path::absolute).transpose().context("cannot find the key file's path")?;
    let text = if args.json {
        let mut line = json!({
            "endpoint": endpoint,
            "control": format!("{endpoint}/_emulator/"),
            "region": region,
            "directory": directory,
            "pid": std::process::id(),
        });
        if let Some(key_file) = key_file {
            line["key_file"] = json!(key_file);
        }
        line.to_string()
    } else {
        let (credentials, secret, control) = match key_file {
            None => ("any credentials work", "emulator".to_owned(), String::new()),
            Some(file) => {
                let quoted = format!("'{}'", file.display().to_string().replace('\'', "'\\''"));
                (
                    "its key is the secret",
                    format!("\"$(cat {quoted})\""),
                    // Not as an argument of curl's, which every user of the machine can read.
                    format!(
                        ":\n\n    printf 'Authorization: Bearer %s' \"$(cat {quoted})\" | curl -H @- {endpoint}/_emulator/"
                    ),
                )
            }
        };
        format!(
            "EC2 emulator at {endpoint}\n\
             Instances in {}\n\
             Control API at {endpoint}/_emulator/{control}\n\n\
             Point AWS clients at it ({credentials}):\n\n    \
             export AWS_ENDPOINT_URL_EC2={endpoint}\n    \
             export AWS_ENDPOINT_URL_STS={endpoint}\n    \
             export AWS_ENDPOINT_URL_IAM={endpoint}\n    \
             export AWS_ENDPOINT_URL_SERVICE_QUOTAS={endpoint}\n    \
             export AWS_REGION={region}\n    \
             export AWS_ACCESS_KEY_ID=emulator\n    \
             export AWS_SECRET_ACCESS_KEY={secret}\n\n\
             Ctrl-C stops it and all its instances.",
            directory.display()
        )
    };
    let mut out = std::io::stdout();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot print the endpoint")
}
