//! An impostor registers as an instance that is working, and reports what is not true. Only an instance's newest
//! session is heard, and no report of an agent ends a job whose lock is being renewed.

use std::time::Duration;

use spillway_proto::v1;
use spillway_proto::v1::agent_service_client::AgentServiceClient;
use spillway_proto::v1::session_request::Message as Said;
use spillway_proto::v1::session_response::Command;
use spillway_tests::agent_session::AgentSession;
use spillway_tests::process::end_of;
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{QUEUE, jobs, wait};
use tonic::transport::Endpoint;

/// A session whose messages the test makes up.
struct Session(AgentSession);

impl Session {
    async fn open(stage: &Stage, id: &str) -> Self {
        let mut session = AgentSession::open(&stage.coordinator().server(), id).await;
        let first = session.commands.message().await.expect("a message").expect("a welcome");
        assert!(matches!(first.command, Some(Command::Welcome(_))), "{first:?}");
        Self(session)
    }

    async fn say(&self, said: Said) {
        self.0.sender.send(v1::SessionRequest { message: Some(said) }).await.expect("the session is open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_not_the_newest_is_not_heard() {
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let stage = Stage::start(Setup { user_data, trusts: true, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let id = stage.until_booting().await;
    let says = async |expected: &str| {
        let pool = stage.coordinator().try_pool().await?;
        let instance = pool.instances.into_iter().find(|it| it.id == id)?;
        instance.heartbeat.filter(|it| it.problem == expected).map(drop)
    };
    let diagnosis = async || stage.diagnosis().await;
    let beat = |problem: &str| {
        let phase = v1::AgentPhase::Booting.into();
        Said::Heartbeat(v1::Heartbeat { phase, problem: problem.to_owned(), ..v1::Heartbeat::default() })
    };
    let mut old = Session::open(&stage, &id).await;
    old.say(beat("the first says")).await;
    wait::until("the first is heard", diagnosis, || says("the first says")).await;
    let new = Session::open(&stage, &id).await;
    // Whether it still gets through or not: it is not heard.
    let _ = old.0.sender.send(v1::SessionRequest { message: Some(beat("the first says more")) }).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        while old.0.commands.message().await.is_ok_and(|it| it.is_some()) {}
    });
    ended.await.expect("the older session is ended");
    new.say(beat("the second says")).await;
    wait::until("the second is heard", diagnosis, || says("the second says")).await;
    assert!(says("the first says more").await.is_none());
    let log = stage.coordinator().process.log();
    assert!(log.contains("the instance registered again, or opened a newer session"), "{}", end_of(&log));
}

/// Where no STS has to be asked, nothing else would hold up who registers again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_registers_so_often_and_no_more() {
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let stage = Stage::start(Setup { user_data, trusts: true, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let id = stage.until_booting().await;
    let channel = Endpoint::from_shared(format!("http://{}", stage.coordinator().server())).expect("an address");
    let mut client = AgentServiceClient::new(channel.connect().await.expect("the coordinator"));
    let identity = Some(v1::Identity { instance_id: id.clone(), ..v1::Identity::default() });
    let request = v1::RegisterRequest { identity, ..v1::RegisterRequest::default() };
    let mut refused = None;
    for _ in 0..200 {
        refused = client.register(request.clone()).await.err();
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("of 200 at once not all are registered");
    assert_eq!(refused.code(), tonic::Code::Unavailable, "an agent retries it: {refused}");
    assert!(refused.message().contains("too many registrations"), "{refused}");
    let diagnosis = async || stage.diagnosis().await;
    let registered = async || client.clone().register(request.clone()).await.ok();
    wait::until("its turn comes again", diagnosis, registered).await;
}

/// A typo in the image: the agent calls its worker ready, for a queue that is not the pool's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_another_queue_is_not_ready_and_both_names_are_said() {
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let stage = Stage::start(Setup { user_data, trusts: true, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let id = stage.until_booting().await;
    let session = Session::open(&stage, &id).await;
    let beat = |queue: &str| {
        let worker = Some(v1::WorkerProof { proven: true, fetching: true, connections: 1, ..Default::default() });
        let queues =
            vec![v1::WorkerQueue { queue: queue.to_owned(), prefix: "bull".to_owned(), ..v1::WorkerQueue::default() }];
        Said::Heartbeat(v1::Heartbeat { phase: v1::AgentPhase::Ready.into(), worker, queues, ..Default::default() })
    };
    session.say(beat("vidoe-processing")).await;
    let words = format!(
        "its worker works queue \"vidoe-processing\" (prefix bull), but this pool's is \"{QUEUE}\" (prefix bull)"
    );
    let status = || String::from_utf8(stage.coordinator().command(&["status"]).stdout).expect("text");
    stage.until("status names both", || status().contains(&words)).await;
    assert_eq!(stage.until_booting().await, id, "it is no capacity");
    session.say(beat(QUEUE)).await;
    assert_eq!(stage.until_ready(1).await, [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_word_of_an_agent_ends_a_job_whose_lock_is_being_renewed() {
    let environment = vec![("EC2_SPOT_MAX_COUNT", "1".to_owned())];
    let stage = Stage::start(Setup { environment, trusts: true, ..Setup::default() }).await;
    jobs::add(&stage.redis, 5, 90.0);
    let id = stage.until_ready(1).await.remove(0);
    stage
        .until_pool("the instance runs a job", |_| {
            let mine = |job: &String| jobs::job(&stage.redis, job).by.as_deref() == Some(&*id);
            jobs::active(&stage.redis).iter().find(|job| mine(job)).map(drop)
        })
        .await;
    let job = jobs::active(&stage.redis).remove(0);
    stage.coordinator().json(&["drain", &id]);
    // The true agent reconnects when its session is ended, and the impostor ends that session too.
    let drained = Said::Drained(v1::Drained { clean: true, jobs_left: Some(0), ..v1::Drained::default() });
    let phase = v1::AgentPhase::Drained.into();
    let beat = Said::Heartbeat(v1::Heartbeat { phase, active_jobs: Some(0), ..v1::Heartbeat::default() });
    for _ in 0..3 {
        let impostor = Session::open(&stage, &id).await;
        impostor.say(drained.clone()).await;
        impostor.say(beat.clone()).await;
        let keeps = async || {
            let pool = stage.coordinator().try_pool().await;
            let instance = pool.and_then(|pool| pool.instances.into_iter().find(|it| it.id == id));
            instance.is_none_or(|it| it.jobs_handed_back == 0 && it.ec2_state == "running")
        };
        wait::throughout(
            Duration::from_secs(12),
            "the instance keeps its job",
            async || stage.diagnosis().await,
            keeps,
        )
        .await;
    }
    assert!(jobs::active(&stage.redis).contains(&job), "{}", stage.diagnosis().await);
    assert_eq!(jobs::runs(&stage.redis)[&format!("{QUEUE}:{job}")], 1);
    assert!(stage.calls("TerminateInstances").is_empty(), "{}", stage.diagnosis().await);
}
