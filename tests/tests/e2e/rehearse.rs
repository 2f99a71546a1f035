//! A rehearsed interruption takes the ordinary path, from the agent's notice on: the instance no longer counts as
//! capacity, is replaced, drained and terminated, and no job is lost. If it cannot rehearse one the answer says why.

use std::time::Duration;

use spillway_proto::v1;
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use spillway_tests::jobs;
use spillway_tests::stage::{Setup, Stage, in_phase};
use tonic::Code;

/// What the coordinator answers, or why it rejects the request.
async fn rehearse(stage: &Stage, id: &str, notice: Option<Duration>) -> Result<String, (Code, String)> {
    let address = format!("http://{}", stage.coordinator().server());
    let mut operator = OperatorServiceClient::connect(address).await.expect("the coordinator");
    let notice = notice.map(|notice| notice.try_into().expect("a duration"));
    let reply = operator.rehearse(v1::RehearseRequest { instance_id: id.to_owned(), notice }).await;
    reply.map(|reply| reply.into_inner().message).map_err(|status| (status.code(), status.message().to_owned()))
}

fn refused(code: Code, message: &str) -> Result<String, (Code, String)> {
    Err((code, message.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rehearsed_interruption_takes_the_ordinary_path() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 10, 3.0);
    let id = stage.until_ready(1).await.remove(0);
    let unknown = rehearse(&stage, "i-0", None).await;
    assert_eq!(unknown, refused(Code::NotFound, "no instance i-0 here: `spillway status --all` lists them"));
    for notice in [Duration::ZERO, Duration::from_secs(3601)] {
        let said = rehearse(&stage, &id, Some(notice)).await;
        assert_eq!(said, refused(Code::InvalidArgument, "notice must be between 1 s and 1 h"));
    }

    let said = rehearse(&stage, &id, Some(Duration::from_secs(20))).await.expect("the rehearsal is accepted");
    assert!(said.starts_with(&format!("{id} behaves as if EC2 reclaimed it in 20 s")), "{said}");
    let rehearsed = |it: &v1::Instance| it.notices.iter().any(|notice| notice.action == "rehearsal");
    stage
        .until_pool("the instance no longer counts as capacity", |pool| {
            in_phase(pool, "draining").find(|it| it.id == id && rehearsed(it)).map(drop)
        })
        .await;
    let (code, why) = rehearse(&stage, &id, None).await.expect_err("it goes already");
    assert_eq!(code, Code::FailedPrecondition);
    assert!(why.contains("only a booting or ready instance can rehearse an interruption"), "{why}");
    stage.until("the instance is replaced", || stage.instances().len() == 2).await;
    stage.until("the coordinator terminates it", || stage.instance(&id).ending_ms.is_some()).await;
    assert_eq!(stage.calls("TerminateInstances").len(), 1, "{}", stage.diagnosis().await);
    let words = String::from_utf8(stage.coordinator().command(&["status"]).stdout).expect("text");
    assert!(words.contains(&id), "{words}");
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 10).await;
    stage.until_zero().await;
    assert_eq!(jobs::failed(&stage.redis), 0);
    assert_eq!(stage.instances().len(), 2, "{}", stage.diagnosis().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_ec2_recommends_to_replace_works_until_its_replacement_is_ready() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 12, 3.0);
    let first = stage.until_ready(1).await.remove(0);
    stage.emulator().rebalance(&first).expect("a recommendation");
    let second = stage.until_replaced(&first).await;
    let explained = |words: &str| stage.coordinator().explained(words);
    assert!(explained(&format!("EC2 recommends a rebalance of {first}: its replacement is launched first")));
    assert!(explained(&format!("the replacement {second} is ready")), "{}", stage.diagnosis().await);
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 12).await;
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 2, "{}", stage.diagnosis().await);
    stage.assert_each_ran_once(12);
}
