//! User data: a script that begins with `#!`. Anything else that cloud-init would understand is refused.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Pid;

use super::console::Console;

/// Why user data is not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRun {
    #[error("cannot read it: {0}")]
    Unreadable(#[source] io::Error),
    #[error("it is {0}, and the emulator runs only scripts that begin with #!")]
    NotAScript(&'static str),
    #[error("cannot start {interpreter}: {source}")]
    Interpreter { interpreter: String, source: io::Error },
}

/// The interpreter of a script, and its one argument.
#[derive(Debug, PartialEq, Eq)]
struct Interpreter {
    program: String,
    argument: Option<String>,
}

/// Starts the user data of the instance in `directory`; its output goes to the console.
pub(super) fn start(directory: &Path, console: &mut Console) -> Result<Pid, NotRun> {
    let path = directory.join("user-data");
    let text = fs::read(&path).map_err(NotRun::Unreadable)?;
    let Interpreter { program, argument } = interpreter(&text)?;
    let failed = |source| NotRun::Interpreter { interpreter: program.clone(), source };
    let out = console.writer().map_err(failed)?;
    // The interpreter is started by name, as the kernel would: the script needs no permission to be executed.
    let mut command = Command::new(&program);
    command.args(argument).arg(&path).current_dir(directory.join("home"));
    command.stdin(Stdio::null()).stdout(out.try_clone().map_err(failed)?).stderr(out);
    let child = command.process_group(0).spawn().map_err(failed)?;
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| failed(io::Error::other("it has no process id")))
}

fn interpreter(text: &[u8]) -> Result<Interpreter, NotRun> {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let Some(line) = first.strip_prefix("#!") else {
        return Err(NotRun::NotAScript(match first.trim_end() {
            "" => "empty",
            "#cloud-config" => "a #cloud-config",
            line if line.starts_with("Content-Type: multipart") || line.starts_with("MIME-Version") => "multipart",
            line if line.starts_with('\u{1f}') => "compressed",
            _ => "not a script",
        }));
    };
    let line = line.trim();
    let (program, argument) = match line.split_once([' ', '\t']) {
        Some((program, argument)) => (program, Some(argument.trim().to_owned())),
        None => (line, None),
    };
    if program.is_empty() {
        return Err(NotRun::NotAScript("a script without an interpreter"));
    }
    Ok(Interpreter { program: program.to_owned(), argument })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters() {
        let check = |text: &str, program: &str, argument: Option<&str>| {
            let found = interpreter(text.as_bytes()).expect("a script");
            assert_eq!((found.program.as_str(), found.argument.as_deref()), (program, argument), "{text:?}");
        };
        check("#!/bin/sh\necho", "/bin/sh", None);
        check("#! /usr/bin/env bash \n", "/usr/bin/env", Some("bash"));
        check("#!/bin/bash -e -x\r\n", "/bin/bash", Some("-e -x"));
    }

    #[test]
    fn what_is_no_script_is_refused_by_name() {
        let check = |text: &str, name: &str| {
            let refused = interpreter(text.as_bytes()).expect_err("no script").to_string();
            assert!(refused.contains(name), "{text:?}: {refused}");
        };
        check("#cloud-config\nruncmd: []", "#cloud-config");
        check("", "empty");
        check("Content-Type: multipart/mixed; boundary=x", "multipart");
        check("echo hello", "not a script");
    }
}
