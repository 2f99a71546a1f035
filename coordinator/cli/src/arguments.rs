//! What may be written on the command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use spillway_console::client::Address;
use spillway_coordinator::{config, operators};

/// Runs a BullMQ queue's overflow on EC2 spot instances, and loses no job doing it.
#[derive(Debug, Parser)]
#[command(name = "spillway", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit status: 0 done, 1 failed, 2 bad usage or configuration.")]
pub struct Arguments {
    /// Configuration file [default: /etc/spillway/coordinator.toml where it exists; REDIS_URL, QUEUE_NAMES,
    /// EC2_LAUNCH_TEMPLATE_ID, … are enough without a file]
    #[arg(long, global = true, value_name = "FILE", env = "SPILLWAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Log level: error, warn, info, debug, or a filter as in RUST_LOG; json for JSON lines, also json,debug [default:
    /// info; demo: error]
    #[arg(long, global = true, value_name = "LEVEL", env = "SPILLWAY_LOG")]
    pub log: Option<String>,
    /// Log in JSON lines, as --log json does
    #[arg(long, global = true, env = "SPILLWAY_LOG_JSON")]
    pub log_json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the coordinator: observe, decide, launch, drain (what the systemd service runs)
    Run,
    /// Show the fleet in a screenful: each pool's queue, what needs attention, instances, and the last plan
    Status {
        #[command(flatten)]
        options: crate::operators::StatusOptions,
        #[command(flatten)]
        pool: PoolArgument,
        #[command(flatten)]
        server: Server,
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// Watch the fleet on a terminal: backlog, instances, decisions, what needs attention; q quits, ? shows the keys
    Top {
        #[command(flatten)]
        pool: PoolArgument,
        #[command(flatten)]
        server: Server,
    },
    /// Show the plans: what was decided and why, and why nothing more
    Explain {
        /// Number of plans, newest first
        #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        of: crate::past::Which,
        #[command(flatten)]
        pool: PoolArgument,
        #[command(flatten)]
        server: Server,
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// Tell the floods of the past: when each rose, what was launched, how long jobs waited
    History {
        #[command(flatten)]
        range: crate::past::Range,
        #[command(flatten)]
        pool: PoolArgument,
        #[command(flatten)]
        server: Server,
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// Show the queues as Redis has them; needs only REDIS_URL and QUEUE_NAMES
    Queues {
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// Drain an instance: no new jobs, finish the current ones, then terminate it
    Drain {
        /// Instance id, as in `spillway status`
        instance: String,
        /// Cancel the drain instead: the instance takes jobs again
        #[arg(long)]
        cancel: bool,
        /// Reason, for `spillway explain`
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        #[command(flatten)]
        server: Server,
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// Stop launches and scale-in until `resume`; drains and boots in progress continue
    Hold {
        /// Reason, for `spillway explain`
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        #[command(flatten)]
        pool: PoolArgument,
        #[command(flatten)]
        server: Server,
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// End a hold, forget back-offs after EC2's refusals, and close the boot-failure breaker; says what it cleared
    Resume {
        #[command(flatten)]
        pool: PoolArgument,
        #[command(flatten)]
        server: Server,
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// Launch instances, see each become ready, and end them: a test without a flood, within max_instances
    Drill {
        #[command(flatten)]
        options: crate::drill::Options,
        #[command(flatten)]
        pool: PoolArgument,
        #[command(flatten)]
        server: Server,
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// Interrupt one instance as EC2 would, and report what became of its jobs
    Gameday {
        #[command(flatten)]
        options: crate::gameday::Options,
        #[command(flatten)]
        server: Server,
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// On a primary: find out what can be found out, ask for the rest, and write the settings; overwrites nothing
    Init(crate::init::Options),
    /// Look at what `run` rests on (Redis, queues, AWS, ports, certificates), and say what to do; changes nothing
    Doctor {
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// Replay arrivals of jobs under policies, and compare waits and cost: reads neither configuration, Redis nor AWS
    Replay(crate::replay::ReplayOptions),
    /// Send a test message to the webhook of the settings, and say what it answered
    Notify {
        /// Send one message now
        #[arg(long, required = true)]
        test: bool,
    },
    /// Check or print the settings
    Config {
        #[command(subcommand)]
        what: crate::config::What,
    },
    /// Make the workers' image from a copy of the primary, try it, and have launches take it; for operators and CI
    Bake(crate::bake::Options),
    /// Hold and drain the fleet, then remove images, snapshots and the parameter; says what stays
    Uninstall {
        #[command(flatten)]
        options: crate::uninstall::Options,
        #[command(flatten)]
        server: Server,
    },
    /// Print Redis' ACL commands: users for BullMQ, the coordinator, the agents and the ledger, each with what it needs
    Acl,
    /// See it work: everything on this machine, no AWS account
    Demo(crate::demo::Options),
    /// Emulate EC2 and instance metadata on loopback; instances are local processes
    Emulator(spillway_emulator::cli::Args),
}

pub(crate) const JSON: &str = "Print JSON";

/// The coordinator to talk to.
#[derive(Debug, Args)]
pub struct Server {
    /// gRPC address of the coordinator, or unix:PATH of its operators' socket; without a token it accepts operators
    /// from its own machine only [default: where this machine's settings say that it listens, else 127.0.0.1:7443]
    #[arg(long, value_name = "HOST:PORT", env = "SPILLWAY_SERVER")]
    pub server: Option<String>,
    /// File with the operators' token, where the coordinator asks for one (grpc.operators = "token")
    #[arg(long, value_name = "FILE", env = "SPILLWAY_OPERATOR_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// CA of the coordinator (its ca.pem), to ask one on another machine
    #[arg(long, value_name = "FILE", env = "SPILLWAY_CA_FILE")]
    pub ca_file: Option<PathBuf>,
}

impl Server {
    /// `config` is the file that the settings are read from.
    pub fn address(&self, config: Option<&Path>) -> Address {
        let given = |file: &Option<PathBuf>| file.clone().filter(|file| !file.as_os_str().is_empty());
        let (token_file, ca_file) = (given(&self.token_file), given(&self.ca_file));
        let (address, doubt) = match self.server.as_ref().filter(|server| !server.is_empty()) {
            Some(server) => (server.clone(), None),
            None => {
                let found = config::operator_address(config, &config::process_environment());
                let socket = operators::default_socket();
                if found.asks_for_token && token_file.is_none() && socket.exists() {
                    (format!("unix:{}", socket.display()), found.problem)
                } else {
                    (found.address.to_string(), found.problem)
                }
            }
        };
        Address { address, doubt, token_file, ca_file }
    }
}

#[derive(Debug, Args)]
pub struct PoolArgument {
    /// Only this pool
    #[arg(long, value_name = "NAME", default_value = "")]
    pub pool: String,
}
