//! The coordinator itself, with the settings that the stack puts out: what it asks EC2 for is what its policy allows,
//! and the table's launch is the one that it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};

use spillway_tests::coordinator::Coordinator;
use spillway_tests::moto::Moto;
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::environment;
use spillway_tests::{jobs, ports, wait};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::account::Account;
use super::calls::{Tags, call};
use super::coordinator_calls::{launch, launch_tags};
use super::policy::allows;

type Form = BTreeMap<String, String>;

/// What RunInstances may say beside tags and devices: nothing that the template says.
const SAID: [&str; 9] = [
    "Action",
    "Version",
    "ClientToken",
    "MinCount",
    "MaxCount",
    "LaunchTemplate.LaunchTemplateId",
    "LaunchTemplate.Version",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions.MarketType",
];

/// Between a client and moto: keeps the forms that are sent.
struct Recorder {
    port: u16,
    seen: Arc<Mutex<Vec<Form>>>,
    task: JoinHandle<()>,
}

impl Recorder {
    async fn start(account: &Arc<Account>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen: Arc<Mutex<Vec<Form>>> = Arc::default();
        let (keeps, account) = (Arc::clone(&seen), Arc::clone(account));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (keeps, account) = (Arc::clone(&keeps), Arc::clone(&account));
                tokio::spawn(async move { pass_on(stream, &account.moto, &keeps).await });
            }
        });
        Recorder { port, seen, task }
    }

    fn seen(&self) -> Vec<Form> {
        self.seen.lock().expect("what it has seen").clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request and its answer. A client that goes away in between is none of ours.
async fn pass_on(stream: TcpStream, moto: &Moto, keeps: &Mutex<Vec<Form>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (mut authorization, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => value.clone_into(&mut authorization),
            "content-length" => length = value.parse().expect("a length"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    keeps.lock().expect("what it has seen").push(form_urlencoded::parse(&body).into_owned().collect());
    let (status, text) = moto.send(&authorization, String::from_utf8(body).expect("a form")).await;
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n", text.len());
    stream.write_all(format!("{head}connection: close\r\n\r\n{text}").as_bytes()).await.ok()
}

/// The tags of a launch, by what they are of.
fn tagged(form: &Form) -> BTreeMap<String, Tags> {
    let mut tags: BTreeMap<String, Tags> = BTreeMap::new();
    for number in (1..).take_while(|number| form.contains_key(&format!("TagSpecification.{number}.ResourceType"))) {
        let of = format!("TagSpecification.{number}");
        let these = tags.entry(form[&format!("{of}.ResourceType")].clone()).or_default();
        for tag in (1..).take_while(|tag| form.contains_key(&format!("{of}.Tag.{tag}.Key"))) {
            these.insert(form[&format!("{of}.Tag.{tag}.Key")].clone(), form[&format!("{of}.Tag.{tag}.Value")].clone());
        }
    }
    tags
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_coordinator_asks_for_is_what_its_policy_allows() {
    let account = Arc::new(Account::open().await);
    let stack = account.deploy("CreateStack", "spillway", &[]).await;
    let policy = account.coordinator_policy(&stack).await;
    let recorder = Recorder::start(&account).await;
    let redis = RedisServer::start(account.directory.path());
    let settings = account.directory.path().join("coordinator.toml");
    fs::write(&settings, &stack.outputs["CoordinatorSettings"]).expect("the settings");
    let more = vec![("SPILLWAY_CONFIG", settings.display().to_string())];
    let url = format!("http://127.0.0.1:{}", recorder.port);
    // The file takes precedence over the template that is named here.
    let environment = environment(&redis.url(), (&url, "test"), "lt-none", more);
    let coordinator = Coordinator::start(account.directory.path(), &environment, ports::free()).await;
    jobs::add(&redis, 6, 1.0);
    let diagnosis = async || coordinator.process.tail();
    let asked = wait::until("the coordinator launches", diagnosis, async || {
        recorder.seen().into_iter().find(|form| form["Action"] == "RunInstances")
    })
    .await;

    for name in asked.keys() {
        let is_known = SAID.contains(&name.as_str())
            || ["TagSpecification.", "InstanceMarketOptions.SpotOptions."].iter().any(|it| name.starts_with(it));
        assert!(is_known, "{name} is in no row of the table");
    }
    assert_eq!(asked["LaunchTemplate.LaunchTemplateId"], stack.template_id);
    assert_eq!(asked["LaunchTemplate.Version"], "$Latest");
    let tags = tagged(&asked);
    let kinds: BTreeSet<&str> = tags.keys().map(String::as_str).collect();
    assert_eq!(kinds, BTreeSet::from(["instance", "spot-instances-request", "volume"]));
    let said = launch(&account, &stack);
    for (kind, tags) in &tags {
        let mut expected = launch_tags(&stack.name);
        expected.insert("spillway:token".to_owned(), asked["ClientToken"].clone());
        assert_eq!(tags, &expected, "{kind}");
    }
    let launch = said.but(|launch| {
        asked["InstanceMarketOptions.MarketType"].clone_into(&mut launch.market);
        launch.tags.extend(tags);
    });
    for call in launch.calls() {
        assert!(allows(&policy, &call), "{call:?}");
    }
    let actions: BTreeSet<String> = recorder.seen().iter().map(|form| form["Action"].clone()).collect();
    println!("{actions:?}");
    for action in actions.iter().filter(|action| action.starts_with("Describe")) {
        assert!(allows(&policy, &call(&format!("ec2:{action}"), "*")), "{action}");
    }
    assert!(actions.contains("DescribeLaunchTemplateVersions"), "{actions:?}");
}
