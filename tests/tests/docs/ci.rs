//! `.ci/readme` takes the two commands out of the README, and notices a README that has other ones.

use std::fs;
use std::path::Path;
use std::process::Output;

use spillway_tests::binaries::workspace;
use spillway_tests::process::{command, output, text};

use super::pages;

/// `.ci/readme WHAT` with a README that has this block.
fn readme(what: &str, block: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("README.md");
    fs::write(&file, format!("# It\n\n## See it run\n\n{block}\n## More\n\n```sh\nspillway run\n```\n"))
        .expect("a file");
    ask(what, &file)
}

fn ask(what: &str, readme: &Path) -> Output {
    output(command(workspace().join(".ci/readme")).arg(what).env("README", readme))
}

#[test]
fn the_commands_are_those_of_the_readme_as_they_stand() {
    let out = ask("show", &workspace().join("README.md"));
    assert!(out.status.success(), "{}", text(&out.stderr));
    let shown = text(&out.stdout);
    let without_comments: Vec<&str> =
        shown.lines().map(|line| line.split(" #").next().unwrap_or_default().trim()).collect();
    assert_eq!(without_comments, ["tests/setup demo && cargo run -- demo", "tests/setup && cargo test --workspace"]);
    let block = pages::page("README.md").blocks().into_iter().find(|block| block.language == "sh").expect("a block");
    assert_eq!(block.text, shown, "its first block");
}

#[test]
fn ci_runs_both_and_no_command_of_its_own_in_their_place() {
    let run = fs::read_to_string(workspace().join(".ci/run")).expect(".ci/run");
    let at = |line: &str| run.lines().position(|it| it == line).unwrap_or_else(|| panic!(".ci/run has no: {line}"));
    assert!(at("section \"demo\" .ci/readme demo") < at("section \"tests\" .ci/readme tests"));
    for own in ["cargo run", "cargo test"] {
        assert!(!run.lines().any(|line| line.contains("section") && line.contains(own)), "{own}");
    }
}

#[test]
fn a_block_that_changed_is_noticed_before_anything_runs() {
    for (block, words) in [
        ("", "has no block of sh"),
        ("```sh\n```\n", "has no block of sh"),
        ("```sh\ncargo run -- demo\n```\n", "has 1 commands, not 2"),
        ("```sh\ncargo run -- demo\ncargo test --workspace\ncargo clippy\n```\n", "has 3 commands, not 2"),
        (
            "```sh\ncargo test --workspace\ncargo run -- demo\n```\n",
            "the first command of \"See it run\" is not the demo",
        ),
        ("```sh\ncargo run -- demo\ntrue\n```\n", "the second command of \"See it run\" is not the tests: true"),
    ] {
        for what in ["show", "demo", "tests"] {
            let out = readme(what, block);
            assert_eq!(out.status.code(), Some(1), "{what} {block}");
            assert!(text(&out.stderr).contains(words), "{what} {block}: {}", text(&out.stderr));
            assert_eq!(text(&out.stdout), "", "nothing was run");
        }
    }
}

#[test]
fn a_demo_that_fails_or_does_not_complete_its_jobs_fails() {
    let block = |demo: &str| format!("```sh\n{demo} # cargo run -- demo\ncargo test --workspace\n```\n");
    let good = "echo 40 of 40 jobs completed, 0 failed";
    let out = readme("demo", &block(good));
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = readme("demo", &block("echo 40 of 40 jobs completed, 0 failed: 40 on primary"));
    assert!(out.status.success(), "{}", text(&out.stderr));
    for bad in [
        "true",
        "echo 39 of 40 jobs completed, 0 failed",
        "echo 40 of 40 jobs completed, 1 failed",
        "echo 0 of 0 jobs completed, 0 failed",
        "echo 40 of 40 jobs completed, 0 failed; false",
        "no-such-program",
    ] {
        assert!(!readme("demo", &block(bad)).status.success(), "{bad}");
    }
}

#[test]
fn tests_that_fail_or_that_are_not_all_of_them_fail() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("README.md");
    let block = "```sh\ncargo run -- demo\ncargo test --workspace\n```\n";
    fs::write(&file, format!("## See it run\n\n{block}")).expect("a file");
    let tests = |ran: &str, code: u8| {
        let cargo = directory.path().join("cargo");
        let all = "echo '  Executable tests/a.rs (a)'; echo '  Executable tests/b.rs (b)'; exit 0";
        let script = format!("#!/bin/sh\ncase \"$*\" in *--no-run*) {all} ;; esac\n{ran}\nexit {code}\n");
        fs::write(&cargo, script).expect("a program");
        fs::set_permissions(&cargo, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
        let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").expect("PATH"));
        let mut ci = command(workspace().join(".ci/readme"));
        output(ci.arg("tests").env("README", &file).env("PATH", path))
    };
    let both = "echo '     Running tests/a.rs (a)'; echo '     Running tests/b.rs (b)'";
    let out = tests(both, 0);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(!tests(both, 101).status.success(), "a test fails");
    let panicked = "echo \"thread 'a::b' panicked at tests/a.rs:7:5:\"; echo the reason; seq 1000";
    let out = tests(&format!("{both}; {panicked}"), 101);
    let said = text(&out.stdout);
    let (_, end) = said.split_once("how the failures began:").expect("the end of what is said");
    assert!(!out.status.success() && end.contains("a.rs:7:5:\nthe reason\n") && end.lines().count() < 10, "{end}");
    let out = tests("echo '     Running tests/a.rs (a)'", 0);
    assert!(text(&out.stderr).contains("1 of the 2 test programs ran"), "{}", text(&out.stderr));
}
