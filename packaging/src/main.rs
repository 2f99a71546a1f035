//! What the packages hold beside the programs and what is in the repository: completions and man pages, made from the
//! programs' own command lines, and the licences of the crates that are linked in. `packaging/build` runs it; it is in
//! no package itself, so that the programs are not larger for it.

mod notices;
mod pages;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Makes files for the packages of spillway and spillway-agent.
#[derive(Debug, Parser)]
#[command(name = "spillway-packaging", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write completions and man pages of both programs
    Pages {
        /// Below it: bash/, zsh/, fish/ and man/
        directory: PathBuf,
    },
    /// Print the licences of all crates that are linked into a program
    Notices {
        /// The program's crate: spillway-cli or spillway-agent
        package: String,
        /// What it is built for
        #[arg(long, value_name = "TRIPLE", default_value = "x86_64-unknown-linux-gnu")]
        target: String,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Pages { directory } => pages::write(&directory),
        Command::Notices { package, target } => notices::print(&package, &target),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spillway-packaging: {error:#}");
            ExitCode::FAILURE
        }
    }
}
