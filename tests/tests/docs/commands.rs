//! Every command that a page shows is known, and does what it can here: our programs are asked whether they understand
//! their arguments, cargo's targets exist, scripts exist, what only rewrites files is run. What needs AWS, root or
//! another machine is listed with the reason. A command of no class fails: give it one.

use std::fs;
use std::path::{Path, PathBuf};

use spillway_tests::binaries::{self, workspace};
use spillway_tests::process::{command, output, run, text};

use super::pages::{self, Page};
use super::shell::{check_syntax, lines, simple_commands, words};

/// What cannot run here, and why.
const ELSEWHERE: [(&str, &str); 7] = [
    ("apt", "needs root, and the packages"),
    ("aws", "needs an AWS account"),
    ("sudo", "needs root on a primary or a builder"),
    ("sync", "flushes the disk of the machine that is copied next"),
    ("systemctl", "needs root and a running systemd"),
    ("install", "writes to /usr/local and /etc as root; its sources must exist"),
    ("scp", "needs another machine; its sources must exist"),
];

/// Programs that run for minutes or hours; the end-to-end tests of the same name run them short.
const LONG: [&str; 3] = ["chaos", "figures", "interruptions"];

/// Prefixes of a span of code that is a command.
const IN_PROSE: [&str; 8] =
    ["spillway ", "spillway-agent ", "spillway-sim ", "cargo ", "tests/setup", ".ci/run", ".ci/readme", "packaging/"];

#[test]
fn every_command_in_a_block_is_known_and_does_what_it_can_here() {
    let mut count = 0;
    for page in pages::all() {
        for block in page.blocks() {
            let at = page.at(block.line);
            assert!(["sh", "text"].contains(&block.language.as_str()), "{at}: mark the block as sh or text");
            if block.language == "sh" {
                check_syntax(&block, &at);
            }
            for line in lines(&block) {
                for command in simple_commands(&line.text) {
                    count += 1;
                    check(&page.at(line.number), &command);
                }
            }
        }
    }
    assert!(count > 40, "only {count} commands were found");
}

#[test]
fn every_command_in_the_prose_is_understood() {
    let mut count = 0;
    for page in pages::all() {
        for (line, span) in page.spans() {
            if IN_PROSE.iter().any(|prefix| span.starts_with(prefix)) && !span.contains(" | ") {
                count += 1;
                check(&page.at(line), &span);
            }
        }
    }
    assert!(count > 40, "only {count} commands were found");
}

#[test]
fn the_list_of_commands_is_the_programs() {
    for (path, program) in [("coordinator/README.md", binaries::spillway()), ("agent/README.md", binaries::agent())] {
        let help = run(command(&program).arg("--help"));
        let listed = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("its commands");
        let name = program.file_name().expect("a name").to_string_lossy().into_owned();
        for line in listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let subcommand = line.split_whitespace().next().expect("a word");
            let row = format!("| `{name} {subcommand}");
            let has = |page: &Page| page.text.lines().any(|line| line.starts_with(&row));
            assert!(subcommand == "help" || has(&pages::page(path)), "{path} has no row for {name} {subcommand}");
        }
    }
}

#[test]
fn what_makes_files_makes_good_ones() {
    let scratch = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(workspace().join("ami"), scratch.path().join("ami")).expect("a link");
    fs::write(scratch.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").expect("a file");
    for block in pages::page("ami/README.md").blocks().iter().filter(|block| block.language == "sh") {
        for line in lines(block) {
            if ["sed ", "cat "].iter().any(|it| line.text.starts_with(it)) {
                run(command("bash").args(["-euc", &line.text]).current_dir(scratch.path()));
            }
        }
    }
    let mut made = Vec::new();
    // `authority` looks at what is made for the CA.
    let is_json = |path: &Path| path.extension().is_some_and(|extension| extension == "json");
    for entry in fs::read_dir(scratch.path()).expect("the directory").flatten().filter(|it| is_json(&it.path())) {
        let file = fs::read_to_string(entry.path()).expect("a file");
        let parsed = serde_json::from_str::<serde_json::Value>(&file);
        assert!(parsed.is_ok(), "{:?}: {parsed:?}", entry.path());
        made.push(entry.file_name().into_string().expect("a name"));
    }
    made.sort();
    assert_eq!(made, ["policy.json", "template.json", "trust.json"]);
}

fn check(at: &str, shown: &str) {
    // Options in brackets are given, placeholders filled in, and where the output goes is the shell's.
    let shown = shown.replace(['[', ']'], "");
    let words: Vec<String> = words(shown.split(" >").next().unwrap_or_default()).iter().map(|it| filled(it)).collect();
    let (program, arguments) = words.split_first().expect("a word");
    for word in arguments.iter().filter(|word| ["ami/", "coordinator/"].iter().any(|it| word.starts_with(it))) {
        assert!(workspace().join(word).exists(), "{at}: there is no {word}");
    }
    match program.as_str() {
        "spillway" => understood(at, &binaries::spillway(), arguments),
        "spillway-agent" => understood(at, &binaries::agent(), arguments),
        "spillway-sim" => understood(at, &built("spillway-sim"), arguments),
        "cargo" => cargo(at, arguments),
        "tests/setup" | "tests/browser/run" | ".ci/run" | ".ci/readme" => script(at, program, arguments),
        // Other spans are files.
        name if name.starts_with("packaging/") => {
            assert!(workspace().join(name).exists(), "{at}: there is no {name}");
            if !arguments.is_empty() {
                script(at, name, arguments);
            }
        }
        // `running` runs them, `authority`, and `what_makes_files_makes_good_ones`.
        "grpcurl" | "sed" | "cat" | "printf" | "curl" | "openssl" => {}
        other => assert!(ELSEWHERE.iter().any(|(name, _)| *name == other), "{at}: {other}: how is it checked?"),
    }
}

/// What stands for something is given something.
fn filled(word: &str) -> String {
    match word {
        "ID" | "i-…" => "i-0",
        "N" | "S" => "3",
        "TIME" => "2h",
        "TEXT" | "NAME" | "FILE" => "x",
        "HOST:PORT" => "127.0.0.1:7443",
        other => other,
    }
    .to_owned()
}

/// The program accepts the arguments, as far as it can be asked without doing it.
fn understood(at: &str, program: &Path, arguments: &[String]) {
    let out = output(command(program).args(arguments).arg("--help").env_remove("SEED"));
    assert!(out.status.success(), "{at}: {} {arguments:?}: {}", program.display(), text(&out.stderr));
}

fn script(at: &str, name: &str, arguments: &[String]) {
    let text = fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{at}: {name}: {error}"));
    let help: Vec<&str> = text.lines().skip(1).take_while(|line| line.starts_with('#')).collect();
    for argument in arguments {
        assert!(help.join("\n").contains(argument.as_str()), "{at}: {name} does not explain {argument}");
    }
}

fn cargo(at: &str, arguments: &[String]) {
    let arguments = unaliased(arguments);
    let (own, given) = match arguments.iter().position(|it| it == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (&arguments[..], &[][..]),
    };
    let (subcommand, options) = own.split_first().unwrap_or_else(|| panic!("{at}: cargo alone"));
    let mut program = "spillway".to_owned();
    let mut test = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut value = || options.next().unwrap_or_else(|| panic!("{at}: {option} has no value"));
        match option.as_str() {
            "--workspace" | "--all" | "--all-targets" | "--release" | "--check" | "--locked" | "--bins" => {}
            "-p" => {
                value().clone_into(&mut program);
                assert!(package(&program).is_some(), "{at}: there is no package {program}");
            }
            "--bin" => {
                value().clone_into(&mut program);
                assert!(is_program(&program), "{at}: there is no program {program}");
            }
            "--profile" => assert!(manifest(workspace()).contains(&format!("[profile.{}]", value())), "{at}"),
            "--test" => {
                let name = value();
                test = members().into_iter().map(|member| member.join("tests").join(name)).find(|it| it.is_dir());
                assert!(test.is_some(), "{at}: there is no test program {name}");
            }
            filter => {
                let module = filter.strip_suffix("::").unwrap_or_else(|| panic!("{at}: what is {filter}?"));
                let file = test.as_ref().map(|test| test.join(module.replace("::", "/")).with_extension("rs"));
                assert!(file.is_some_and(|file| file.is_file()), "{at}: there is no module {module}");
            }
        }
    }
    match subcommand.as_str() {
        "run" if LONG.contains(&program.as_str()) => {
            let is_known = |it: &&str| it.parse::<u64>().is_ok() || (program == "chaos" && *it == "--installations");
            assert!(given.iter().map(AsRef::as_ref).all(|it| is_known(&it)), "{at}: {given:?}");
        }
        "run" if program == "spillway-sim" => simulator(at, given),
        "run" => understood(at, &built(&program), given),
        "test" => assert!(given.iter().all(|it| it == "--nocapture"), "{at}: {given:?}"),
        "clippy" => assert_eq!(given.join(" "), "-D warnings", "{at}"),
        "build" | "fmt" | "tree" => {}
        other => panic!("{at}: cargo {other}: how is it checked?"),
    }
}

/// Runs it with few seeds and a short time. Mutants are copies that are compiled: minutes each.
fn simulator(at: &str, arguments: &[String]) {
    if arguments.iter().any(|it| it == "mutants" || it == "--help") {
        return understood(at, &built("spillway-sim"), arguments);
    }
    let mut short: Vec<String> = arguments.to_vec();
    for index in 1..short.len() {
        match short[index - 1].as_str() {
            "--seeds" => "0..2".clone_into(&mut short[index]),
            "--days" => "0.02".clone_into(&mut short[index]),
            _ => {}
        }
    }
    let mut sim = command(built("spillway-sim"));
    sim.args(&short).env_remove("SEED");
    if !arguments.iter().any(|it| it == "--seeds") {
        // One seed, with its timeline.
        sim.env("SEED", "194");
    }
    let out = output(&mut sim);
    assert!(out.status.success(), "{at}: {short:?}: {}{}", text(&out.stdout), text(&out.stderr));
}

/// A short name of `.cargo/config.toml` is what it stands for.
fn unaliased(arguments: &[String]) -> Vec<String> {
    let config = fs::read_to_string(workspace().join(".cargo/config.toml")).unwrap_or_default();
    let (first, rest) = arguments.split_first().expect("a subcommand");
    let alias = config.lines().find_map(|line| line.strip_prefix(&format!("{first} = \"")));
    let alias = alias.map(|it| it.split('"').next().unwrap_or_default().split(' ').map(str::to_owned));
    alias.map_or_else(|| arguments.to_vec(), |alias| alias.chain(rest.iter().cloned()).collect())
}

/// A program of the workspace, built by the programs under test.
fn built(name: &str) -> PathBuf {
    // Builds all of them.
    let _ = binaries::spillway();
    let test = std::env::current_exe().expect("this test's path");
    let program = test.ancestors().nth(2).expect("target/debug").join(name);
    assert!(program.is_file(), "{} is not built", program.display());
    program
}

fn manifest(directory: &Path) -> String {
    fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
}

fn members() -> Vec<PathBuf> {
    let manifest = manifest(workspace());
    let line = manifest.lines().find(|line| line.starts_with("members")).expect("the workspace's members");
    line.split('"').skip(1).step_by(2).map(|member| workspace().join(member)).collect()
}

fn package(name: &str) -> Option<PathBuf> {
    let has = |member: &PathBuf| manifest(member).lines().any(|line| line == format!("name = \"{name}\""));
    members().into_iter().find(has)
}

fn is_program(name: &str) -> bool {
    let bins = |member: PathBuf| {
        let bin = member.join("src/bin").join(name);
        let named = package(name).is_some_and(|it| it == member && member.join("src/main.rs").is_file());
        bin.is_dir() || bin.with_extension("rs").is_file() || named
    };
    let declared = |member: &PathBuf| manifest(member).contains(&format!("[[bin]]\nname = \"{name}\""));
    members().iter().any(declared) || members().into_iter().any(bins)
}
