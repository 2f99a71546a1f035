//! The attacks on an agent's identity that are known from other systems, by number: each is tried against the real
//! coordinator, with the emulator's STS, which checks signatures. What waits for another part is named so, and is not
//! counted as held.

mod proofs;
mod sessions;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use spillway_emulator::InstanceRecord;
use spillway_proto::v1;
use spillway_tests::jobs;
use spillway_tests::prover::Prover;
use spillway_tests::stage::{Setup, Stage, in_phase};
use tonic::{Code, Status};

/// Instances whose agents the attacks are: each attack takes one of its own.
const INSTANCES: usize = 40;

type Trial<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

enum Held {
    /// By what is tried here.
    Here(for<'a> fn(&'a Scene) -> Trial<'a>),
    /// By another test.
    There(&'static str),
    /// Not yet: by what is to come.
    Waits(&'static str),
}

struct Attack {
    number: u32,
    name: &'static str,
    held: Held,
}

/// A stage whose instances run nothing.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    taken: AtomicUsize,
    /// Secrets that no output may show.
    planted: std::sync::Mutex<Vec<String>>,
}

impl Scene {
    async fn start() -> Self {
        let steps = format!("[{{ jobs = 1, for = \"1s\", instances = {INSTANCES} }}]");
        let environment = vec![
            ("SPILLWAY_POOL_POLICY_STEPS", steps),
            ("SPILLWAY_POOL_POLICY_IDLE", "1h".to_owned()),
            ("SPILLWAY_POOL_MAX_INSTANCES", INSTANCES.to_string()),
            ("SPILLWAY_POOL_LAUNCHES_PER_TICK", INSTANCES.to_string()),
            ("SPILLWAY_POOL_BOOT_TIMEOUT", "1h".to_owned()),
            ("SPILLWAY_POOL_DRAIN_TIMEOUT", "1h".to_owned()),
        ];
        let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
        let mut stage = Stage::without_coordinator(Setup { user_data, environment, ..Setup::default() }).await;
        stage.hide_launch_image();
        stage.start_coordinator().await;
        jobs::add(&stage.redis, 1, 1.0);
        let known = |pool: &v1::Pool| {
            (in_phase(pool, "booting").filter(|it| it.ec2_state == "running").count() == INSTANCES).then_some(())
        };
        stage.until_pool("all instances are booting", known).await;
        Scene { stage, taken: AtomicUsize::new(0), planted: std::sync::Mutex::default() }
    }

    /// An instance that no attack had before.
    pub(crate) fn record(&self) -> InstanceRecord {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        self.stage.instances().into_iter().nth(number).expect("enough instances")
    }

    /// Its agent.
    pub(crate) async fn agent(&self) -> Prover {
        let agent = Prover::of(&self.stage, &self.record()).await;
        self.plant(agent.secrets());
        agent
    }

    pub(crate) fn planted(&self) -> Vec<String> {
        self.planted.lock().expect("it is there").clone()
    }

    pub(crate) fn plant(&self, secrets: impl IntoIterator<Item = String>) {
        self.planted.lock().expect("it is there").extend(secrets);
    }

    /// How often STS was asked.
    pub(crate) fn asked(&self) -> u64 {
        self.stage.emulator().calls().counts.get("GetCallerIdentity").copied().unwrap_or(0)
    }

    /// That this was refused so, and whether STS was asked for it.
    pub(crate) fn refused<T: std::fmt::Debug>(&self, what: &str, answer: Result<T, Status>, code: Code, words: &str) {
        let status = answer.expect_err(what);
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(status.message().contains(words), "{what}: {status}");
    }
}

const ATTACKS: [Attack; 28] = [
    held(1, "a proof is captured and sent again", |scene| Box::pin(proofs::sent_again(scene))),
    held(2, "a proof that was made for another server", |scene| Box::pin(proofs::for_another_server(scene))),
    held(3, "the nonce is there, and not signed", |scene| Box::pin(proofs::nonce_not_signed(scene))),
    held(4, "parameters or headers in a field", |scene| Box::pin(proofs::injected(scene))),
    held(5, "another action", |scene| Box::pin(proofs::another_action(scene))),
    held(6, "another host", |scene| Box::pin(proofs::another_host(scene))),
    held(7, "another region or partition", |scene| Box::pin(proofs::another_region(scene))),
    held(8, "the answer is a redirection", |scene| Box::pin(proofs::redirected(scene))),
    held(9, "the answer is read leniently", |scene| Box::pin(proofs::lenient_answers(scene))),
    held(10, "what is verified is not what is used", |scene| Box::pin(proofs::another_claim(scene))),
    held(11, "several registrations at once", |scene| Box::pin(sessions::at_once(scene))),
    held(12, "an instance that is not expected", |scene| Box::pin(sessions::not_expected(scene))),
    held(13, "a role assumed by hand, with an instance's name", |scene| Box::pin(proofs::assumed_by_hand(scene))),
    held(14, "the same role elsewhere", |scene| Box::pin(proofs::the_role_elsewhere(scene))),
    held(15, "credentials used from elsewhere", |scene| Box::pin(proofs::used_elsewhere(scene))),
    held(16, "a process registers before the agent", |scene| Box::pin(sessions::before_the_agent(scene))),
    waits(17, "a root volume in another instance", "a comparison of attach times, which is optional and not built"),
    held(18, "an old or a future date", |scene| Box::pin(proofs::of_another_time(scene))),
    held(19, "secrets in logs and outputs", |scene| Box::pin(sessions::secrets_in_outputs(scene))),
    held(20, "oversized fields", |scene| Box::pin(proofs::oversized(scene))),
    held(21, "work before the cheap checks", |scene| Box::pin(proofs::much_work(scene))),
    held(22, "STS is down or throttles", |scene| Box::pin(proofs::sts_is_down(scene))),
    held(23, "a stolen session token", |scene| Box::pin(sessions::stolen(scene))),
    there(
        24,
        "the join token is the only secret",
        "settings: `a_token_off_loopback_is_warned_of`, which doctor shows as well",
    ),
    there(
        25,
        "a public image of the same name",
        "`bake::before_the_first_bake_nothing_is_launched_and_the_remedy_is_said`: by the tag, which no other account sets",
    ),
    there(26, "a permission to tag is one to launch", "the rows `CreateTags` of the table in tests/tests/stack"),
    there(
        27,
        "another CA, or none",
        "`tls::an_agent_trusts_the_cas_of_its_file_and_no_other_and_never_plaintext_over_the_network`",
    ),
    there(
        28,
        "a page in the operator's browser",
        "`page::browsers_get_the_page_terminals_get_text_and_other_sites_nothing`",
    ),
];

const fn held(number: u32, name: &'static str, trial: for<'a> fn(&'a Scene) -> Trial<'a>) -> Attack {
    Attack { number, name, held: Held::Here(trial) }
}

const fn there(number: u32, name: &'static str, test: &'static str) -> Attack {
    Attack { number, name, held: Held::There(test) }
}

const fn waits(number: u32, name: &'static str, what: &'static str) -> Attack {
    Attack { number, name, held: Held::Waits(what) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_28_attacks_by_number() {
    let numbers: BTreeSet<u32> = ATTACKS.iter().map(|attack| attack.number).collect();
    assert_eq!(numbers, (1..=28).collect(), "each once");
    let scene = Scene::start().await;
    let only = std::env::var("ATTACK").ok().and_then(|number| number.parse().ok());
    // The last looks at what the others have left in the outputs.
    let (outputs, others): (Vec<_>, Vec<_>) = ATTACKS.into_iter().partition(|attack| attack.number == 19);
    for Attack { number, name, held } in others.into_iter().chain(outputs) {
        if only.is_some_and(|only: u32| only != number) {
            continue;
        }
        match held {
            Held::Here(trial) => {
                trial(&scene).await;
                println!("{number:>2} held: {name}");
            }
            Held::There(test) => println!("{number:>2} held elsewhere: {name}: {test}"),
            Held::Waits(what) => println!("{number:>2} NOT HELD YET: {name}: waits for {what}"),
        }
    }
    let log = scene.stage.coordinator().process.log();
    assert_eq!(log.lines().find(|line| line.contains("panicked")), None);
}
