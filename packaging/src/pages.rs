//! Completions and man pages of both programs.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

/// The shells, each with its directory.
const SHELLS: [(Shell, &str); 3] = [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")];
const MANUAL: &str = "Spillway";

fn programs() -> [clap::Command; 2] {
    [spillway::arguments::Arguments::command(), spillway_agent::cli::Cli::command()]
}

/// Writes them below `directory`, under the names by which shells and `man` look for them.
pub fn write(directory: &Path) -> anyhow::Result<()> {
    for program in programs() {
        let name = program.get_name().to_owned();
        for (shell, subdirectory) in SHELLS {
            let place = made(&directory.join(subdirectory))?;
            let file = match shell {
                Shell::Zsh => format!("_{name}"),
                Shell::Fish => format!("{name}.fish"),
                _ => name.clone(),
            };
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut program.clone(), &name, &mut text);
            put(&place.join(file), &text)?;
        }
        let mut whole = program.disable_help_subcommand(true);
        // Gives each command the name `spillway-config-check`, by which its page is called.
        whole.build();
        manual(whole, &made(&directory.join("man"))?)?;
    }
    Ok(())
}

/// One page for a command, and one for each below it.
fn manual(command: clap::Command, directory: &Path) -> anyhow::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        manual(below.clone(), directory)?;
    }
    // The version's date is not known here, and the day of the build would make each build another.
    let man = Man::new(command).manual(MANUAL).source(format!("Spillway {}", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render(&mut text)?;
    put(&directory.join(man.get_filename()), &text)
}

fn made(directory: &Path) -> anyhow::Result<std::path::PathBuf> {
    fs::create_dir_all(directory).with_context(|| format!("{}", directory.display()))?;
    Ok(directory.to_owned())
}

fn put(file: &Path, text: &[u8]) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("{}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(command: &clap::Command, name: &str, found: &mut Vec<String>) {
        found.push(name.to_owned());
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            all(below, &format!("{name}-{}", below.get_name()), found);
        }
    }

    #[test]
    fn each_command_that_is_shown_has_a_man_page_and_is_completed_by_each_shell() {
        let directory = tempfile::tempdir().expect("a directory");
        write(directory.path()).expect("the pages");
        let read = |file: &str| {
            fs::read_to_string(directory.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
        };
        let mut count = 0;
        for program in programs() {
            let name = program.get_name().to_owned();
            let shells =
                [read(&format!("bash/{name}")), read(&format!("zsh/_{name}")), read(&format!("fish/{name}.fish"))];
            for below in program.get_subcommands() {
                assert!(shells.iter().all(|shell| shell.contains(below.get_name())), "{name} {}", below.get_name());
            }
            let mut commands = Vec::new();
            all(&program, &name, &mut commands);
            count += commands.len();
            for command in commands {
                let page = read(&format!("man/{command}.1"));
                assert!(page.contains(&format!(".TH {command} 1 ")), "{page}");
                assert!(page.contains(".SH OPTIONS") && page.contains(env!("CARGO_PKG_VERSION")), "{page}");
            }
        }
        assert!(count > 15, "only {count} commands");
        assert!(read("man/spillway.1").contains("SPILLWAY_CONFIG"), "variables are named beside their options");
    }

    #[test]
    fn two_runs_make_the_same_bytes_whatever_the_environment_is() {
        let (first, second) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        write(first.path()).expect("the pages");
        write(second.path()).expect("the pages");
        for subdirectory in ["bash", "zsh", "fish", "man"] {
            for entry in fs::read_dir(first.path().join(subdirectory)).expect("files").flatten() {
                let again = second.path().join(subdirectory).join(entry.file_name());
                assert_eq!(fs::read(entry.path()).expect("a file"), fs::read(&again).expect("a file"), "{again:?}");
            }
        }
    }
}
