//! The command line. Owns what can be typed; what it says is done elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Boots the worker on this instance, proves that it processes jobs, watches for the end, drains.
#[derive(Debug, Parser)]
#[command(name = "spillway-agent", version, after_help = AFTER, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is logged to stderr: error, warn, info, debug, trace, or a filter such as spillway_agent=debug.
    #[arg(long, global = true, env = "RUST_LOG", default_value = "info", value_name = "LEVEL")]
    pub log: String,
}

const AFTER: &str = "\
Each key of the configuration can be set as SPILLWAY_KEY: SPILLWAY_COORDINATOR, SPILLWAY_BOOT_DIRECTORY,
SPILLWAY_WORKER_QUEUES=a,b. Without EC2, SPILLWAY_INSTANCE_ID names the instance;
AWS_EC2_METADATA_SERVICE_ENDPOINT is another metadata service than EC2's.

Exit status: 0 done, 1 failed, 2 bad usage or configuration.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent. On SIGTERM or SIGINT it leaves; the worker goes on.
    Run(ConfigFile),
    /// Check the configuration and all that it names, and say what a drain will not protect here.
    Check {
        /// Where the configuration is.
        #[command(flatten)]
        file: ConfigFile,
        /// Boot the worker too, with a Redis of the check's own, and stop it again. The real Redis is unreachable
        /// meanwhile, so that no job is taken. For an instance that is thrown away, as root.
        #[arg(long)]
        boot: bool,
        /// How long the worker may take to wait for a job once the boot steps are done.
        #[arg(long, value_name = "TIME", default_value = "5m", requires = "boot", value_parser = within)]
        within: Duration,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check that no AWS credentials and no secrets of the coordinator's would be baked into an image of this machine.
    CheckImage {
        /// Where the configuration is.
        #[command(flatten)]
        file: ConfigFile,
        /// A variable, or a file, that the worker needs all the same. May be given several times.
        #[arg(long, value_name = "NAME|FILE")]
        allow: Vec<String>,
        /// First remove them from the application's .env files: whole assignments, in place. Nothing else is changed.
        #[arg(long)]
        remove: bool,
        /// Write the removed values there, one a line: a new file that only root can read, best on a tmpfs such as
        /// /run.
        #[arg(long, value_name = "FILE", requires = "remove")]
        removed: Option<PathBuf>,
        /// Where /etc and the homes that its passwd names are, such as a mounted image. The configuration's own paths
        /// stay as they are.
        #[arg(long, value_name = "DIR", hide = true)]
        root: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print EC2's notices as they come.
    Watch {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

fn within(text: &str) -> Result<Duration, String> {
    crate::config::duration(text, Duration::from_secs(1)..=Duration::from_secs(86_400))
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration [default: /etc/spillway/agent.toml, which may be absent where the environment says it all]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
