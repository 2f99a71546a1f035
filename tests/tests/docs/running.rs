//! What pages show of a running coordinator is asked of one.

use spillway_emulator::InstanceState;
use spillway_stage::ec2;
use spillway_tests::coordinator::ServingStatus;
use spillway_tests::process::{command, output, text};
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::{Setup, Stage, directory};
use spillway_tests::{QUEUE, binaries, jobs, other_client, programs, stack};

use super::pages;
use super::shell::{lines, simple_commands};

/// Commands of the blocks that ask a coordinator or its Redis.
fn shown(program: &str) -> Vec<String> {
    let blocks: Vec<pages::Block> = pages::all().iter().flat_map(pages::Page::blocks).collect();
    let commands = blocks.iter().flat_map(lines).flat_map(|line| simple_commands(&line.text));
    commands.filter(|it| it.split(' ').next() == Some(program)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_and_probes_are_answered_as_shown() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 1, 1.0);
    stage
        .until_async("it serves", async || stage.coordinator().try_health("").await == Some(ServingStatus::Serving))
        .await;
    // For `spillway bake`: the stack, and a primary.
    stack::make(stage.emulator(), "#!/bin/sh\n").await;
    assert!(other_client::launch(&stage, &[("spillway:bake-from", stack::NAME)]).await);
    stage.until("the primary runs", || stage.instances().iter().all(|it| it.state == InstanceState::Running)).await;
    let programs = binaries::spillway().parent().expect("a directory").to_owned();
    let grpcurl = programs::tools().join("bin");
    let path = std::env::var("PATH").expect("PATH");
    let ask = |shown: &str| {
        let shown = shown.replace("HOST:7443", &stage.coordinator().server());
        let shown = shown.replace("/run/spillway/ca.pem", &stage.ca_file().display().to_string());
        let shown = shown.replace("http://127.0.0.1:7470", &stage.emulator().endpoint());
        let mut bash = command("bash");
        bash.args(["-c", &shown]).current_dir(stage.directory.path());
        bash.env("PATH", format!("{}:{}:{path}", programs.display(), grpcurl.display()));
        bash.env("SPILLWAY_SERVER", stage.coordinator().server());
        bash.env("REDIS_URL", stage.redis.url()).env("QUEUE_NAMES", QUEUE);
        bash.envs(ec2::client_environment(stage.emulator())).env("AWS_REGION", "us-east-1");
        let out = output(&mut bash);
        assert!(out.status.success(), "{shown}: {}{}", text(&out.stdout), text(&out.stderr));
        text(&out.stdout)
    };

    let spillway = shown("spillway");
    assert!(spillway.len() > 3, "{spillway:?}");
    for shown in spillway {
        let words = match &*shown {
            "spillway queues" => QUEUE,
            "spillway bake" => "launches take ami-",
            "spillway bake --dry-run" => "Nothing was made",
            _ => "demand",
        };
        let said = ask(&shown);
        assert!(said.contains(words) || shown == "spillway status" && said.contains("max 2"), "{shown}: {said}");
    }
    let control =
        pages::page("coordinator/README.md").blocks().iter().flat_map(lines).find(|it| it.text.contains("curl"));
    assert!(ask(&control.expect("the emulator's control API").text).contains("interrupt"), "what can be ordered");

    if programs::find("go").is_none() && !grpcurl.join("grpcurl").is_file() {
        println!("NOT RUN: there is no grpcurl, and no Go to build it");
        return;
    }
    let grpcurl = shown("grpcurl");
    assert!(grpcurl.len() >= 3, "{grpcurl:?}");
    for shown in grpcurl {
        let words = if shown.ends_with("list") { "spillway.v1.OperatorService" } else { "\"SERVING\"" };
        assert!(ask(&shown).contains(words), "{shown}");
    }
}

#[test]
fn redis_accepts_the_users_permissions() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    let blocks = pages::page("coordinator/deploy/README.md").blocks();
    let block = blocks.iter().find(|block| block.text.starts_with("ACL SETUSER")).expect("the least permissions");
    let words: Vec<&str> = block.text.split_whitespace().collect();
    assert_eq!(redis.ask::<String>(&words), "OK");
    let rules: Vec<redis::Value> = redis.ask(&["ACL", "GETUSER", "spillway"]);
    assert!(format!("{rules:?}").contains("~spillway:*"), "{rules:?}");
}
