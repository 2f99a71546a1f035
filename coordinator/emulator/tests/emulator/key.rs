//! Who may command an emulator: whoever has its key. The requests are signed by AWS's own crate.

use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use spillway_emulator::Options;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::support::{Client, PROGRAM, Reply, World, records_only};

const DESCRIBE: &str = "Action=DescribeInstances&Version=2016-11-15";

async fn send(request: reqwest::RequestBuilder) -> Reply {
    let answer = request.send().await.expect("an answer");
    Reply { status: answer.status(), body: answer.text().await.expect("a body") }
}

#[tokio::test]
async fn an_emulator_has_a_key_unless_it_is_told_otherwise() {
    let world = records_only().await;
    let key = world.emulator().key().expect("a key").expose().to_owned();
    assert!(key.len() >= 64 && !format!("{:?}", world.emulator()).contains(&key));
    assert!(Options::new("/x", vec![]).key != Options::new("/x", vec![]).key, "another each time");
    let open = World::start_with(|options| options.key = None).await;
    assert!(open.client.key.is_none());
    open.client.run(&[]).await;
    assert_eq!(open.client.control(Method::GET, "instances", "").await.status, 200);
}

#[tokio::test]
async fn a_call_that_is_not_signed_with_the_key_does_nothing() {
    let world = records_only().await;
    world.client.order("refuse", r#"{ "action": "RunInstances", "code": "Unavailable", "calls": 1 }"#).await;
    let run = "Action=RunInstances&Version=2016-11-15&ImageId=ami-0123456789abcdef0&MinCount=1&MaxCount=1";
    let endpoint = world.client.endpoint.clone();
    let other = |key: Option<&str>| Client::new(endpoint.clone(), key.map(str::to_owned));
    let post = |client: &Client, ago| client.signed(Method::POST, &endpoint, run, ago);
    let right = other(world.client.key.as_deref());
    for (request, code) in [
        (world.client.http.post(&endpoint).body(run), "MissingAuthenticationToken"),
        (post(&other(None), Duration::ZERO), "AuthFailure"),
        (post(&other(Some("emulator")), Duration::ZERO), "AuthFailure"),
        (post(&right, Duration::from_secs(16 * 60)), "RequestExpired"),
        // What was signed was another body, another path's query.
        (right.signed(Method::POST, &endpoint, DESCRIBE, Duration::ZERO).body(run), "AuthFailure"),
        (right.http.get(format!("{endpoint}/?{run}")).header("authorization", "AWS4-HMAC-SHA256 "), "AuthFailure"),
    ] {
        let reply = send(request).await;
        assert_eq!(reply.one("Code"), code, "{}", reply.body);
    }
    assert_eq!(world.emulator().instances().len(), 0);
    assert_eq!(world.emulator().calls().calls.len(), 0, "the log is the owner's");
    world.client.refused("RunInstances", &[("ImageId", "ami-0123456789abcdef0")], "Unavailable").await;
}

#[tokio::test]
async fn a_signed_get_is_understood() {
    let world = records_only().await;
    let url = format!("{}/?{DESCRIBE}&Filter.1.Name=tag%3Aa%20b&Filter.1.Value.1=x%2By", world.client.endpoint);
    let reply = send(world.client.signed(Method::GET, &url, "", Duration::ZERO)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let stretched = url.replace("x%2By", "x%2Bz");
    let request = world.client.signed(Method::GET, &url, "", Duration::ZERO).build().expect("a request");
    let mut forged = reqwest::Request::new(Method::GET, stretched.parse().expect("a URL"));
    *forged.headers_mut() = request.headers().clone();
    let answer = world.client.http.execute(forged).await.expect("an answer");
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn the_control_api_wants_the_key_as_a_bearer_token() {
    let world = records_only().await;
    let id = world.client.run(&[]).await;
    for path in ["", "instances", "calls", "faults", "nothing", &format!("instances/{id}/console"), "interrupt"] {
        for key in [None, Some("Bearer emulator"), Some("Basic eDp5"), Some("Bearer")] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                let url = format!("{}/_emulator/{path}", world.client.endpoint);
                let mut request = world.client.http.request(method, url).body("{}");
                if let Some(key) = key {
                    request = request.header("authorization", key);
                }
                let answer = request.send().await.expect("an answer");
                assert_eq!(answer.status(), 401, "{path} {key:?}");
                assert_eq!(answer.headers()["www-authenticate"], "Bearer");
                let said = answer.text().await.expect("a body");
                assert!(said.contains("Authorization: Bearer KEY") && !said.contains(&id), "{said}");
            }
        }
    }
    assert_eq!(world.client.control(Method::GET, "instances", "").await.status, 200);
}

/// What the program says on its standard output, up to its end of the first message, and on its standard error.
async fn program(arguments: &[&str]) -> (String, String) {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["run", "--listen", "127.0.0.1:0"]).args(arguments).kill_on_drop(true).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut said = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        said += &format!("{line}\n");
        if line.starts_with('{') || line.starts_with("Ctrl-C") {
            break;
        }
    }
    child.start_kill().expect("still there, or ended");
    let mut errors = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut errors).await.expect("text");
    (said, errors)
}

#[tokio::test]
async fn the_program_makes_its_key_file_and_warns_without_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("my key");
    let name = file.to_str().expect("UTF-8");
    let (said, errors) = program(&["--key-file", name]).await;
    let key = std::fs::read_to_string(&file).expect("the key file").trim().to_owned();
    assert!(said.contains(&format!("export AWS_SECRET_ACCESS_KEY=\"$(cat '{name}')\"")), "{said}");
    assert!(!said.contains(&key) && !errors.contains(&key) && !errors.contains("WARN"), "{said}{errors}");
    let (said, _) = program(&["--key-file", name, "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(told["key_file"].as_str(), Some(name));
    assert_eq!(std::fs::read_to_string(&file).expect("the key file").trim(), key, "the same at the next start");
    let (said, errors) = program(&[]).await;
    assert!(said.contains("any credentials work") && errors.matches("no --key-file").count() == 1, "{said}{errors}");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("a mode");
    let (said, errors) = program(&["--key-file", name]).await;
    assert!(
        said.is_empty() && errors.contains("can be read by other users (mode 644): run chmod 600"),
        "{said}{errors}"
    );
}
