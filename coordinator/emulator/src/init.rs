//! An instance's init: the process at the root of an instance's process tree.
//!
//! It runs the user data, reaps, collects the console, and ends the whole tree on request. As a child subreaper it
//! keeps daemons that detach themselves. It ends with its parent, however that dies: its input is then closed, and the
//! kernel sends SIGTERM.
//!
//! Where the instance is a machine, the tree below it is systemd-nspawn's, and user data is cloud-init's there.
//!
//! Commands on standard input: `boot` (a machine, once its network is in use), `terminate MILLISECONDS`, `kill`.
//! Reports on standard output: `network PID` (a machine's network is made; it is the process'), `poweroff`.

mod console;
pub(crate) mod machine;
mod shims;
pub(crate) mod tree;
mod user_data;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use console::Console;
use machine::{Machine, Plan};

/// The subcommand after which a program's arguments are an init's.
pub const WORD: &str = "instance-init";

/// How often an ending tree is reaped, in case a SIGCHLD is missed.
const REAP_INTERVAL: Duration = Duration::from_millis(50);
/// Processes that survive SIGKILL for this long are stuck in the kernel; init leaves them.
const KILL_TIMEOUT: Duration = Duration::from_secs(8);

/// What the emulator starts an init with, behind [`Options::init`](crate::Options::init).
#[derive(Debug)]
struct Arguments {
    directory: PathBuf,
    grace: Duration,
    has_user_data: bool,
    machine: Option<Plan>,
}

/// This program as an init: for [`Options::init`](crate::Options::init), if it passes the arguments after [`WORD`] to
/// [`main`].
pub fn command_line() -> io::Result<Vec<OsString>> {
    Ok(vec![std::env::current_exe()?.into(), WORD.into()])
}

/// Runs as an instance's init, with the arguments that the emulator put behind its command line prefix.
///
/// To be called in a process of its own, early: the caller's other threads are of no use to an instance.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match parse(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return fail(2, &error),
    };
    // A thread of its own: the caller may be inside a runtime, where another one cannot be started.
    let thread = std::thread::spawn(move || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { Init::start(arguments)?.run().await })
    });
    match thread.join() {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(1, &error.to_string()),
        Err(_) => ExitCode::from(101),
    }
}

fn fail(code: u8, error: &str) -> ExitCode {
    // Not `eprintln!`, which panics if stderr is closed.
    drop(writeln!(io::stderr(), "instance-init: {error}"));
    ExitCode::from(code)
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, String> {
    let mut arguments = arguments.into_iter();
    let mut parsed =
        Arguments { directory: PathBuf::new(), grace: Duration::ZERO, has_user_data: false, machine: None };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument:?} needs a value"));
        match argument.to_str() {
            Some("--directory") => parsed.directory = value()?.into(),
            Some("--grace-ms") => {
                let value = value()?;
                let milliseconds = value.to_str().and_then(|text| text.parse().ok());
                parsed.grace = Duration::from_millis(milliseconds.ok_or_else(|| format!("{value:?} is not a number"))?);
            }
            Some("--user-data") => parsed.has_user_data = true,
            Some(Plan::ARGUMENT) => parsed.machine = Some(Plan::parse(value)?),
            _ => {
                return Err(format!(
                    "unknown argument {argument:?}: this program is started by the emulator, not by hand"
                ));
            }
        }
    }
    if parsed.directory.as_os_str().is_empty() {
        return Err("--directory is missing: this program is started by the emulator, not by hand".to_owned());
    }
    Ok(parsed)
}

/// How the tree is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// SIGTERM, and after the grace SIGKILL.
    Orderly(Duration),
    AtOnce,
}

struct Init {
    me: Pid,
    arguments: Arguments,
    console: Console,
    commands: Lines<BufReader<tokio::io::Take<pipe::Receiver>>>,
    power: Lines<BufReader<pipe::Receiver>>,
    children: SignalStream,
    terminate: SignalStream,
    /// The user data's process, while it runs.
    script: Option<Pid>,
    machine: Option<Machine>,
    power_off_at: Option<Instant>,
}

impl Init {
    fn start(arguments: Arguments) -> io::Result<Self> {
        let me = rustix::process::getpid();
        // A new session: what is typed at the emulator's terminal is not for the instance.
        let _already_one = rustix::process::setsid();
        rustix::process::set_child_subreaper(Some(me))?;
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        let commands = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
        let power = shims::install(&arguments.directory)?;
        Ok(Self {
            me,
            console: Console::open(&arguments.directory)?,
            commands: BufReader::new(commands.take(64 * 1024)).lines(),
            power: BufReader::new(power).lines(),
            children: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            script: None,
            machine: None,
            power_off_at: None,
            arguments,
        })
    }

    async fn run(mut self) -> io::Result<()> {
        match self.arguments.machine.clone() {
            Some(plan) => self.machine = Some(Machine::start(&plan, &self.arguments.directory, &mut self.console)?),
            None => self.run_user_data(),
        }
        let ending = self.live().await;
        if let Ending::Orderly(grace) = ending {
            self.terminate_tree(grace).await;
        }
        self.kill_tree().await;
        if let Some(machine) = &self.machine {
            machine.remove_groups();
        }
        self.console.drain().await;
        self.console.say("instance ended");
        Ok(())
    }

    fn run_user_data(&mut self) {
        if !self.arguments.has_user_data {
            self.console.say("no user data");
            return;
        }
        match user_data::start(&self.arguments.directory, &mut self.console) {
            Ok(script) => {
                self.console.say("running user data");
                self.script = Some(script);
            }
            Err(error) => self.console.say(&format!("cannot run the user data: {error}")),
        }
    }

    /// Runs until there is a reason to end; returns how.
    async fn live(&mut self) -> Ending {
        loop {
            tokio::select! {
                command = self.commands.next_line() => match (command, &mut self.machine) {
                    (Ok(Some(command)), Some(machine)) if command == "boot" => machine.boot(),
                    (command, _) => if let Some(ending) = ending(command) { return ending },
                },
                _ = self.terminate.recv() => return Ending::AtOnce,
                _ = self.children.recv() => {
                    self.reap();
                    if self.machine.as_ref().is_some_and(|machine| machine.has_ended) { return Ending::AtOnce }
                }
                line = self.power.next_line() => self.power_line(line),
                () = at(self.power_off_at) => {
                    self.console.say("a process in the instance powered it off");
                    report("poweroff");
                    return Ending::Orderly(self.arguments.grace);
                }
                () = self.console.pump() => (),
            }
        }
    }

    /// What a shim wrote: `poweroff SECONDS` or `cancel`.
    fn power_line(&mut self, line: io::Result<Option<String>>) {
        let line = line.ok().flatten().unwrap_or_default();
        match line.split_once(' ').map(|(word, seconds)| (word, seconds.parse::<u32>())) {
            Some(("poweroff", Ok(seconds))) => {
                self.power_off_at = Some(Instant::now() + Duration::from_secs(seconds.into()));
            }
            None if line == "cancel" => self.power_off_at = None,
            None if line == "network" => {
                if let Some(machine) = &self.machine {
                    report(&format!("network {}", machine.pid));
                }
            }
            _ => self.console.say(&format!("unknown request from a power-off program: {line:?}")),
        }
    }

    /// Reaps the children that have ended. False if no child is left, and so no process in the tree.
    fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if self.script == Some(pid) {
                        self.script = None;
                        let how = match (status.exit_status(), status.terminating_signal()) {
                            (Some(code), _) => format!("user data ended with exit status {code}"),
                            (None, Some(signal)) => format!("user data was killed by signal {signal}"),
                            (None, None) => "user data ended".to_owned(),
                        };
                        self.console.say(&how);
                    }
                    if let Some(machine) = self.machine.as_mut().filter(|machine| machine.pid == pid) {
                        machine.has_ended = true;
                        if status.exit_status() == Some(0) {
                            self.console.say("the machine was powered off");
                            report("poweroff");
                        } else {
                            self.console.say(&format!("the machine ended with {status:?}"));
                        }
                    }
                }
                Ok(None) => return true,
                Err(Errno::INTR) => (),
                Err(_) => return false,
            }
        }
    }

    async fn terminate_tree(&mut self, grace: Duration) {
        let until = Instant::now() + grace;
        if let Some(machine) = &self.machine {
            machine.power_off();
        } else {
            tree::signal_all(self.me, Signal::TERM);
            // A stopped process handles SIGTERM only once it is continued.
            tree::signal_all(self.me, Signal::CONT);
        }
        while self.reap() && Instant::now() < until {
            tokio::select! {
                command = self.commands.next_line() => if ending(command) == Some(Ending::AtOnce) { return },
                _ = self.terminate.recv() => return,
                _ = self.children.recv() => (),
                () = self.console.pump() => (),
                () = sleep_until(until) => (),
                () = sleep(REAP_INTERVAL) => (),
            }
        }
    }

    async fn kill_tree(&mut self) {
        let until = Instant::now() + KILL_TIMEOUT;
        while self.reap() {
            if Instant::now() > until {
                self.console.say("some processes survived SIGKILL: giving up on them");
                return;
            }
            tree::kill_all(self.me);
            drop(timeout(REAP_INTERVAL, self.children.recv()).await);
        }
    }
}

/// What a command means; the end of the input means that the emulator has ended.
fn ending(command: io::Result<Option<String>>) -> Option<Ending> {
    let Ok(Some(command)) = command else { return Some(Ending::AtOnce) };
    match command.split_once(' ') {
        Some(("terminate", milliseconds)) => {
            Some(Ending::Orderly(Duration::from_millis(milliseconds.parse().unwrap_or(0))))
        }
        None if command == "kill" => Some(Ending::AtOnce),
        _ => None,
    }
}

fn report(line: &str) {
    let mut out = io::stdout();
    // Fails if the emulator has ended, which the end of the input shows too.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_their_end() {
        let check = |command: Option<&str>, expected| assert_eq!(ending(Ok(command.map(str::to_owned))), expected);
        check(Some("terminate 1500"), Some(Ending::Orderly(Duration::from_millis(1500))));
        check(Some("kill"), Some(Ending::AtOnce));
        check(Some("dance"), None);
        check(None, Some(Ending::AtOnce));
    }
}
