//! `spillway`: the coordinator and its tools.

use std::process::ExitCode;

fn main() -> ExitCode {
    spillway_coordinator::cli::main()
}
