//! Operators that are known by a token, or by their account on the Unix socket: who is answered, what the others are
//! told, and under which name a request is in the log and in `explain`.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::process::Output;

use spillway_tests::coordinator::{Environment, spillway};
use spillway_tests::jobs;
use spillway_tests::process::{output, text};
use spillway_tests::stage::{Setup, Stage};

const TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
/// Debian's nobody, where this is root and can be somebody else.
const NOBODY: u32 = 65534;

fn ask(server: &str, more: &[&str], uid: Option<u32>) -> Output {
    let mut command = spillway(&Environment::new());
    command.args(["status", "--server", server]).args(more).current_dir("/");
    if let Some(uid) = uid {
        command.uid(uid);
    }
    output(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_or_an_account_is_asked_of_operators_and_each_request_names_who_it_was() {
    let tokens = tempfile::tempdir().expect("a directory");
    let [right, wrong] = ["right", "wrong"].map(|name| tokens.path().join(name));
    std::fs::write(&right, format!("{TOKEN}\n")).expect("written");
    std::fs::write(&wrong, "00000000000000000000000000000000\n").expect("written");
    std::fs::set_permissions(&right, PermissionsExt::from_mode(0o600)).expect("a mode");
    let mut stage = Stage::without_coordinator(Setup {
        environment: vec![
            ("SPILLWAY_GRPC_OPERATORS", "token".to_owned()),
            ("SPILLWAY_GRPC_OPERATOR_TOKEN_FILE", right.display().to_string()),
        ],
        ..Setup::default()
    })
    .await;
    jobs::add(&stage.redis, 1, 1.0);
    stage.start_coordinator().await;
    let server = stage.coordinator().server();
    let with = |file: &std::path::Path| ["--token-file".to_owned(), file.display().to_string()];

    let refused = ask(&server, &[], None);
    assert!(!refused.status.success() && text(&refused.stderr).contains("operators show a token here"), "{refused:?}");
    let wrong = with(&wrong);
    let refused = ask(&server, &wrong.each_ref().map(|it| &**it), None);
    assert!(!refused.status.success() && text(&refused.stderr).contains("wrong operators' token"), "{refused:?}");
    let right = with(&right);
    let right = right.each_ref().map(|it| &**it);
    let answered = ask(&server, &right, None);
    assert!(answered.status.success() && text(&answered.stdout).contains("spillway"), "{answered:?}");

    let socket = format!("unix:{}", stage.directory.path().join("state/operators.sock").display());
    let answered = ask(&socket, &[], None);
    assert!(answered.status.success(), "its own account: {answered:?}");
    if rustix::process::geteuid().is_root() {
        let path = stage.directory.path();
        for directory in [path.to_owned(), path.join("state")] {
            std::fs::set_permissions(directory, PermissionsExt::from_mode(0o711)).expect("a mode");
        }
        let refused = ask(&socket, &[], Some(NOBODY));
        assert!(
            !refused.status.success() && text(&refused.stderr).contains("nobody (uid 65534) is no operator"),
            "{refused:?}"
        );
    }

    let mut hold = spillway(&Environment::new());
    hold.args(["hold", "--reason", "a test", "--server", &server]).args(right).current_dir("/");
    assert!(output(&mut hold).status.success());
    let explain = || {
        let mut explain = spillway(&Environment::new());
        explain.args(["explain", "--server", &socket]).current_dir("/");
        text(&output(&mut explain).stdout)
    };
    let who = "with the operators' token";
    stage.until("`explain` says who held the pool", || explain().contains(who)).await;
    let mut resume = spillway(&Environment::new());
    resume.args(["resume", "--server", &socket]).current_dir("/");
    assert!(output(&mut resume).status.success());
    let resumed = || explain().lines().any(|line| line.contains("an operator resumed the pool (by "));
    stage.until("`explain` says who resumed it", resumed).await;
    let explained = explain();
    let log = stage.coordinator().process.tail();
    assert!(log.contains(who), "{log}");
    assert!(!log.contains(TOKEN) && !explained.contains(TOKEN), "the token is shown nowhere");
}
