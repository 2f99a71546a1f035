//! `check` and `watch`, and what every command says to the shell.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use spillway_proto::v1::AgentPhase;

use crate::stage::Stage;

/// The exit status, stdout and stderr.
fn ran(command: &mut Command) -> (Option<i32>, String, String) {
    let out = command.output().expect("spillway-agent");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

#[test]
fn bad_usage_and_bad_configuration_exit_with_2_and_say_what_to_do() {
    let stage = Stage::new("worker.js");
    let bare = |arguments: &[&str]| ran(Command::new(env!("CARGO_BIN_EXE_spillway-agent")).env_clear().args(arguments));
    assert_eq!(bare(&[]).0, Some(2));
    assert_eq!(bare(&["fly"]).0, Some(2));
    let (code, help, _) = bare(&["-h"]);
    assert!(
        code == Some(0) && ["run", "check", "watch", "Exit status"].iter().all(|word| help.contains(word)),
        "{help}"
    );
    let (code, _, error) = bare(&["run", "--config", "/nonexistent.toml"]);
    assert!(code == Some(2) && error.contains("/nonexistent.toml: the file cannot be read"), "{error}");
    std::fs::write(stage.path("empty.toml"), "").expect("empty.toml");
    let empty = stage.path("empty.toml").display().to_string();
    let (code, _, error) = bare(&["run", "--config", &empty]);
    assert!(code == Some(2) && error.contains("set it, or $SPILLWAY_COORDINATOR"), "{error}");
    for level in ["a=b=c", "loud"] {
        let (code, _, error) = ran(stage.program(&["check"]).env("RUST_LOG", level));
        assert!(code == Some(2) && error.contains("RUST_LOG: ") && error.contains("is not a log level"), "{error}");
    }
    stage.configure("usr = \"x\"", "");
    let (code, _, error) = ran(&mut stage.program(&["run"]));
    assert!(
        code == Some(2) && error.contains("boot.usr is not a key of the agent: did you mean boot.user?"),
        "{error}"
    );
    stage.configure("user = \"nobody-of-this-name\"", "");
    let (code, _, error) = ran(&mut stage.program(&["run"]));
    assert!(code == Some(2) && error.contains("user nobody-of-this-name does not exist"), "{error}");
}

#[test]
fn check_says_what_is_wrong_and_then_that_all_is_well() {
    let mut stage = Stage::new("deaf.js");
    stage.configure("steps = [{ name = \"bad\", run = \"no-such-program --now\" }]", "");
    let (code, out, _) = ran(&mut stage.program(&["check"]));
    assert_eq!(code, Some(1), "{out}");
    for line in [
        "FAILED   step bad: no-such-program: command not found",
        "warning  queue: q does not exist in Redis yet",
        "FAILED   coordinator: cannot reach http://127.0.0.1",
    ] {
        assert!(out.contains(line), "{out}\ndoes not say: {line}");
    }
    stage.configure("", "");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    let (code, out, error) = ran(&mut stage.program(&["check", "--json"]));
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("worker does not handle SIGINT") && !out.contains("\"failed\""), "{out}");
    let (code, out, _) = ran(stage.program(&["check"]).env("SPILLWAY_JOIN_TOKEN", "wrong"));
    assert!(code == Some(1) && out.contains("the coordinator rejected this agent: wrong join token"), "{out}");
    assert!(!out.contains(crate::coordinator::JOIN_TOKEN), "{out}");
}

#[test]
fn check_image_removes_credentials_where_it_is_told_to_and_then_checks() {
    let stage = Stage::new("worker.js");
    let (root, env, record) = (stage.path("machine"), stage.path("app/.env"), stage.path("removed"));
    std::fs::create_dir_all(root.join("etc")).expect("a directory");
    std::fs::write(root.join("etc/passwd"), format!("x:x:{}:0::/x:/bin/sh\n", rustix::process::geteuid().as_raw()))
        .expect("passwd");
    std::fs::write(&env, "A=1\nAWS_SECRET_ACCESS_KEY=hush-hush\n# AWS_SECRET_ACCESS_KEY=old-one\n").expect(".env");
    let run = |arguments: &[&str]| ran(stage.program(&[&["check-image"], arguments].concat()).arg("--root").arg(&root));
    let (code, out, _) = run(&[]);
    assert!(code == Some(1) && out.contains(".env:2: AWS_SECRET_ACCESS_KEY: AWS credentials"), "{out}");
    let told = record.display().to_string();
    assert_eq!(run(&["--removed", &told]).0, Some(2), "without --remove it has no meaning");
    let (code, out, _) = run(&["--remove", "--removed", &told]);
    let removed = format!("removed {}:2: AWS_SECRET_ACCESS_KEY: AWS credentials\n", env.display());
    assert!(code == Some(1) && out.starts_with(&removed) && !out.contains("hush-hush"), "{out}");
    assert!(out.contains(".env:2: AWS_SECRET_ACCESS_KEY: AWS"), "a comment is a person's to remove: {out}");
    assert_eq!(std::fs::read_to_string(&record).expect("a record"), "hush-hush\n");
    std::fs::write(&env, "A=1\nAWS_SECRET_ACCESS_KEY=hush-hush\n").expect(".env");
    let (code, out, error) = run(&["--remove", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &json["removed"][0]["line"], &json["found"]),
        (Some(0), &2.into(), &serde_json::json!([])),
        "{out}{error}"
    );
    assert_eq!(stage.log("app/.env"), "A=1\n");
    assert!(run(&["--remove"]).1.starts_with("no AWS credentials and no secrets"));
}

#[test]
fn watch_prints_notices_as_they_come() {
    let stage = Stage::new("worker.js");
    stage.imds.answer(
        "meta-data/events/maintenance/scheduled",
        r#"[{"NotBefore":"21 Jan 2099 09:00:43 GMT","Code":"system-reboot","Description":"x","EventId":"e",
            "NotAfter":"21 Jan 2099 09:17:23 GMT","State":"active"}]"#,
    );
    let mut watch = stage.program(&["watch", "--json"]);
    // Metadata is never asked of a proxy.
    watch.envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:1")));
    let mut child = watch.stdout(Stdio::piped()).spawn().expect("watch");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines().map_while(Result::ok);
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap_or_default()).expect("JSON");
    assert_eq!((&first["kind"], &first["action"]), (&"maintenance".into(), &"system-reboot".into()));
    stage.imds.interrupt("2099-01-01T00:00:00Z");
    let second: serde_json::Value = serde_json::from_str(&lines.next().unwrap_or_default()).expect("JSON");
    assert_eq!((&second["kind"], &second["at"]), (&"interruption".into(), &"2099-01-01T00:00:00Z".into()));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .expect("watch");
    assert!(child.wait().expect("watch").success());
}
