//! Why the worker's processes have not loaded the shim, as their environment in `/proc` shows it. Owns the words; never
//! knows which processes have loaded it (the shims say so themselves).

use std::ffi::OsStr;
use std::path::Path;

use super::pm2::Process;
use super::proc;
use crate::boot::launcher::Launcher;

/// One of PM2's processes, and what it descends to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loading {
    /// All of its processes.
    pub pids: Vec<u32>,
    /// Why none of them can have loaded the shim; `None` where the environment passes it on.
    pub lost: Option<String>,
    /// What to look at where it is passed on and none says that it has loaded it.
    pub otherwise: String,
    /// It has run for long enough to have said so.
    pub is_old: bool,
}

/// A process that has not told the agent that it has the shim within it has not loaded it, or has no Worker.
const LOADED_WITHIN_S: u64 = 15;

/// Of each process that PM2 shows online; nothing where no shim is installed.
pub fn loading(launcher: &Launcher, processes: &[Process]) -> Vec<Loading> {
    let Some(socket) = launcher.variable("SPILLWAY_WORKER_SOCKET") else { return Vec::new() };
    let Some(file) = Path::new(socket).parent().map(|directory| directory.join("worker-shim.cjs")) else {
        return Vec::new();
    };
    let online = processes.iter().filter(|process| process.is_online());
    online.filter_map(|process| one(process, process.pid?, socket, &file.display().to_string())).collect()
}

fn one(process: &Process, root: u32, socket: &OsStr, file: &str) -> Option<Loading> {
    let pids: Vec<u32> = proc::tree([root]).into_iter().map(|known| known.pid).collect();
    let runtimes: Vec<(u32, Runtime)> = pids.iter().filter_map(|pid| Some((*pid, Runtime::of(*pid)?))).collect();
    let name = &process.name;
    let lost = match runtimes.is_empty() {
        true => {
            let program = proc::program(root).filter(|_| proc::has_environment(root))?;
            Some(format!("process {root} ({name}) runs {program}: only node and bun load it"))
        }
        // A process of them is the worker: which one is known by its shim alone.
        false => runtimes.iter().rev().find_map(|(pid, runtime)| runtime.lost(*pid, name, socket, file)),
    };
    let otherwise = format!(
        "process {root} ({name}) has it in its environment, and no BullMQ Worker with it: do not bundle bullmq into the worker, \
         and start the process of the Worker with this environment"
    );
    let is_old = proc::age_seconds(root).is_some_and(|age| age >= LOADED_WITHIN_S);
    Some(Loading { pids, lost, otherwise, is_old })
}

/// What runs JavaScript, and by which variable it is told to load a file first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    Node,
    Bun,
}

impl Runtime {
    fn of(pid: u32) -> Option<Self> {
        let program = proc::program(pid)?;
        // What npm installs as bun is a bun.exe, on Linux too.
        let program = program.trim_end_matches(".exe");
        let is = |name: &str| program == name || program.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
        let runtime = match program {
            _ if is("bun") => Self::Bun,
            "nodejs" => Self::Node,
            _ if is("node") => Self::Node,
            _ => return None,
        };
        proc::has_environment(pid).then_some(runtime)
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Node => "NODE_OPTIONS",
            Self::Bun => "BUN_OPTIONS",
        }
    }

    /// What of the environment is missing.
    fn lost(self, pid: u32, name: &str, socket: &OsStr, file: &str) -> Option<String> {
        let variable = self.variable();
        let options = proc::variable(pid, variable);
        if options.as_deref().is_some_and(|options| options.contains(file)) {
            let expected = socket.to_string_lossy();
            let missing = ["SPILLWAY_INSTANCE_ID", "SPILLWAY_WORKER_SOCKET"].into_iter().find(|name| {
                let value = proc::variable(pid, name);
                value.is_none() || (*name == "SPILLWAY_WORKER_SOCKET" && value.as_deref() != Some(&*expected))
            });
            return match missing {
                Some(missing) => {
                    Some(format!("process {pid} ({name}) was started without the agent's {missing}: {PASS_ON}"))
                }
                None => self.replaced(pid, name),
            };
        }
        let is = match options.filter(|options| !options.trim().is_empty()) {
            None => "it is not set there".to_owned(),
            Some(options) => format!("it is {:?} there", options.chars().take(120).collect::<String>()),
        };
        Some(format!(
            "{variable} of process {pid} ({name}) does not pass it on: {is}; write {variable}: \
             `${{process.env.{variable} || \"\"}} …` in the ecosystem file, or leave it out there"
        ))
    }

    /// A bunfig.toml whose `preload` bun takes instead, where it was started as `bun run FILE` (bun 1.4).
    fn replaced(self, pid: u32, name: &str) -> Option<String> {
        let arguments = proc::arguments(pid);
        let mut words = arguments.iter().skip(1).filter(|argument| !argument.starts_with('-'));
        if self != Self::Bun || words.next().is_none_or(|word| word != "run") {
            return None;
        }
        let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        // A script of package.json runs in a process of its own, with the environment.
        if !words.next().is_some_and(|script| directory.join(script).is_file()) {
            return None;
        }
        let file = directory.join("bunfig.toml");
        let table: toml::Table = std::fs::read_to_string(&file).ok()?.parse().ok()?;
        table.get("preload")?;
        Some(format!(
            "process {pid} ({name}) was started as `bun run FILE`, which loads the preload of {} instead: start the worker as \
             `bun FILE`",
            file.display()
        ))
    }
}

const PASS_ON: &str = "pass the boot steps' environment on to it";

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A node that waits, with this environment.
    fn node(environment: &[(&str, &str)]) -> Child {
        let mut command = Command::new("node");
        command.args(["-e", "setTimeout(() => {}, 60000)"]).env_remove("NODE_OPTIONS");
        command.envs(environment.iter().copied()).stdin(Stdio::null()).spawn().expect("node: run tests/setup")
    }

    #[test]
    fn a_preload_of_bunfig_takes_the_shims_place_only_in_bun_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        for (name, text) in [
            ("bunfig.toml", "preload = [\"./other.js\"]\n"),
            ("other.js", ""),
            ("shim.cjs", ""),
            ("w.js", "setTimeout(() => {}, 60000)"),
            ("package.json", "{ \"scripts\": { \"start\": \"bun w.js\" } }"),
        ] {
            std::fs::write(path(name), text).expect(name);
        }
        let file = path("shim.cjs").display().to_string();
        for (arguments, is_lost) in [(&["run", "w.js"][..], true), (&["w.js"], false), (&["run", "start"], false)] {
            let mut command = Command::new("bun");
            command.args(arguments).current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
            command.env("BUN_OPTIONS", format!("--preload={file}")).env("SPILLWAY_INSTANCE_ID", "i-1");
            command.env("SPILLWAY_WORKER_SOCKET", "/s").env_remove("NODE_OPTIONS").stderr(Stdio::null());
            let mut child = command.spawn().expect("bun: run tests/setup");
            let pid = child.id();
            while Runtime::of(pid) != Some(Runtime::Bun) || proc::arguments(pid).len() < 2 {
                assert_eq!(child.try_wait().expect("a child"), None, "{arguments:?} has ended");
                std::thread::yield_now();
            }
            let lost = Runtime::Bun.lost(pid, "w", OsStr::new("/s"), &file);
            for process in proc::tree([pid]) {
                process.signal(rustix::process::Signal::KILL);
            }
            child.wait().expect("it ends");
            assert_eq!(lost.is_some_and(|words| words.contains("loads the preload of")), is_lost, "{arguments:?}");
        }
    }

    #[test]
    fn what_the_environment_does_not_pass_on_is_named() {
        let shim = tempfile::NamedTempFile::with_suffix(".cjs").expect("a file");
        let file = shim.path().to_str().expect("a path");
        let require = format!("--require {file}");
        let all = [("NODE_OPTIONS", &*require), ("SPILLWAY_INSTANCE_ID", "i-1"), ("SPILLWAY_WORKER_SOCKET", "/s")];
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let table: [Row<'_>; 4] = [
            (&all, None),
            (&[("NODE_OPTIONS", "--max-old-space-size=4096")], Some("it is \"--max-old-space-size=4096\" there")),
            (&[], Some("it is not set there")),
            (&all[..2], Some("was started without the agent's SPILLWAY_WORKER_SOCKET")),
        ];
        for (environment, expect) in table {
            let mut child = node(environment);
            let process = Process { pid: Some(child.id()), name: "w".to_owned(), ..Process::default() };
            // Until it is node, and no longer this test's copy.
            while Runtime::of(child.id()).is_none() {
                std::thread::yield_now();
            }
            let found = one(&process, child.id(), OsStr::new("/s"), file).expect("it runs");
            let pid = child.id();
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            assert_eq!(found.pids, [pid]);
            match expect {
                None => assert_eq!(found.lost, None),
                Some(words) => {
                    let lost = found.lost.expect(words);
                    assert!(lost.contains(words) && lost.contains(&format!("process {pid} (w)")), "{lost}");
                }
            }
        }
    }
}
