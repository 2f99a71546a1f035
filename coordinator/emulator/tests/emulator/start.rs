//! What an emulator does not start with.

use std::net::SocketAddr;
use std::time::Duration;

use spillway_emulator::{Options, StartError, start};

async fn check(change: impl FnOnce(&mut Options), expected: impl FnOnce(&StartError) -> bool) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = Options::new(directory.path().join("new"), vec!["init".into()]);
    change(&mut options);
    match start(options).await {
        Ok(emulator) => panic!("starts at {}", emulator.endpoint()),
        Err(error) => assert!(expected(&error), "{error}"),
    }
}

#[tokio::test]
async fn bad_options_are_refused() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    check(|options| options.listen = everywhere, |error| matches!(error, StartError::NotLoopback(_))).await;
    check(|options| options.init.clear(), |error| matches!(error, StartError::NoInit)).await;
    check(|options| options.region = "Nowhere!".to_owned(), |error| matches!(error, StartError::Region(_))).await;
    check(|options| options.pending = Duration::MAX, |error| matches!(error, StartError::Delay(_))).await;
    check(|options| options.directory = "/dev/null/x".into(), |error| matches!(error, StartError::Directory { .. }))
        .await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    check(|options| options.listen = address, |error| matches!(error, StartError::Listen { .. })).await;
}

#[tokio::test]
async fn an_init_that_cannot_be_started_ends_the_instance() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = Options::new(directory.path(), vec!["/nowhere/init".into()]);
    options.key = None;
    options.pending = Duration::ZERO;
    options.shutting_down = Duration::ZERO;
    let emulator = start(options).await.expect("starts");
    let client = reqwest::Client::new();
    let form = "Action=RunInstances&Version=2016-11-15&ImageId=ami-0123456789abcdef0&MinCount=1&MaxCount=1";
    let request = client.post(emulator.endpoint()).header("authorization", "AWS4-HMAC-SHA256 any").body(form);
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    loop {
        let record = emulator.instances().remove(0);
        if record.state == spillway_emulator::InstanceState::Terminated {
            assert_eq!(record.state_reason.expect("a reason").code, "Server.InternalError");
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    emulator.stop().await;
}
