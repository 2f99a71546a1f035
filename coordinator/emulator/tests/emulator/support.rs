//! A started emulator and a client that speaks its wire by hand: forms in, XML out.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::StatusCode;
use spillway_emulator::{Emulator, InstanceRecord, InstanceState, Options};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Generous, for a loaded machine; what is waited for takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
pub const NEVER: Duration = Duration::from_secs(3600);
pub const SOON: Duration = Duration::from_millis(30);
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_spillway-emulator");

/// An emulator whose instances stay pending: nothing but records.
pub async fn records_only() -> World {
    World::start(NEVER, SOON).await
}

/// An emulator whose instances run at once.
pub async fn running() -> World {
    World::start(SOON, SOON).await
}

pub struct World {
    pub emulator: Option<Emulator>,
    pub client: Client,
    pub directory: TempDir,
}

impl World {
    pub async fn start(pending: Duration, shutting_down: Duration) -> Self {
        Self::start_with(|options| (options.pending, options.shutting_down) = (pending, shutting_down)).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::Builder::new().prefix("e").tempdir().expect("a temporary directory");
        let init: Vec<OsString> = vec![PROGRAM.into(), "instance-init".into()];
        let mut options = Options::new(directory.path(), init);
        (options.pending, options.shutting_down) = (SOON, SOON);
        change(&mut options);
        let emulator = spillway_emulator::start(options).await.expect("starts");
        let key = emulator.key().map(|key| key.expose().to_owned());
        Self { client: Client::new(emulator.endpoint(), key), emulator: Some(emulator), directory }
    }

    pub fn emulator(&self) -> &Emulator {
        self.emulator.as_ref().expect("not stopped")
    }

    pub async fn stop(mut self) {
        self.emulator.take().expect("not stopped").stop().await;
    }

    pub fn record(&self, id: &str) -> InstanceRecord {
        self.emulator().instances().into_iter().find(|record| record.id == id).expect("an instance of this id")
    }

    pub async fn until(&self, id: &str, state: InstanceState) -> InstanceRecord {
        eventually(&format!("{id} is {state:?}"), || async { self.record(id).state == state }).await;
        self.record(id)
    }

    pub fn home(&self, id: &str) -> PathBuf {
        self.directory.path().join(id).join("home")
    }

    /// The content of a file in an instance's home, once it is there and not empty.
    pub async fn home_file(&self, id: &str, name: &str) -> String {
        file(self.home(id).join(name)).await
    }

    /// Launches one instance with this script, and waits until it runs, or did.
    pub async fn launch(&self, script: &str, more: &[(&str, &str)]) -> String {
        let user_data = BASE64.encode(script);
        let mut form = vec![("UserData", user_data.as_str())];
        form.extend_from_slice(more);
        let id = self.client.run(&form).await;
        eventually("it is no longer pending", || async { self.record(&id).state != InstanceState::Pending }).await;
        id
    }
}

pub const SPOT: (&str, &str) = ("InstanceMarketOptions.MarketType", "spot");

pub struct Client {
    pub endpoint: String,
    /// What it signs with.
    pub key: Option<String>,
    pub http: reqwest::Client,
}

pub struct Reply {
    pub status: StatusCode,
    pub body: String,
}

impl Client {
    pub fn new(endpoint: String, key: Option<String>) -> Self {
        // Connections are not kept: a lost answer costs its own call only.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().build().expect("a client");
        Self { endpoint, key, http }
    }

    /// A request that is signed as AWS's SDK signs it, `ago` before now; without a key, with what nobody checks.
    pub fn signed(&self, method: reqwest::Method, url: &str, body: &str, ago: Duration) -> reqwest::RequestBuilder {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        self.signed_for("ec2", (method, url, body), &form, ago)
    }

    /// The same for another service.
    #[expect(clippy::disallowed_methods, reason = "a signature is of the wall clock's time")]
    pub fn signed_for(
        &self,
        service: &str,
        (method, url, body): (reqwest::Method, &str, &str),
        headers: &[(&'static str, &'static str)],
        ago: Duration,
    ) -> reqwest::RequestBuilder {
        let request = self.http.request(method.clone(), url).body(body.to_owned());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let Some(key) = &self.key else {
            let scope = format!("AWS4-HMAC-SHA256 Credential=any/20240101/us-east-1/{service}/aws4_request");
            return request.header("authorization", scope);
        };
        let identity = Credentials::new("any", key, None, None, "test").into();
        let params = v4::SigningParams::builder().identity(&identity).region("us-east-1").name(service);
        let params = params.time(std::time::SystemTime::now() - ago).settings(SigningSettings::default());
        let params = params.build().expect("parameters").into();
        let signable = SignableBody::Bytes(body.as_bytes());
        let signable =
            SignableRequest::new(method.as_str(), url, headers.iter().copied(), signable).expect("a request");
        let (instructions, _) = sign(signable, &params).expect("a signature").into_parts();
        instructions.headers().fold(request, |request, (name, value)| request.header(name, value))
    }

    pub async fn try_call(&self, action: &str, form: &[(&str, &str)]) -> Result<Reply, reqwest::Error> {
        let mut body = format!("Action={action}&Version=2016-11-15");
        for (name, value) in form {
            body.push_str(&format!("&{name}={}", encode(value)));
        }
        let answer = self.signed(reqwest::Method::POST, &self.endpoint, &body, Duration::ZERO).send().await?;
        Ok(Reply { status: answer.status(), body: answer.text().await? })
    }

    pub async fn call(&self, action: &str, form: &[(&str, &str)]) -> Reply {
        self.try_call(action, form).await.expect("an answer")
    }

    /// The answer of a call that must succeed.
    pub async fn ok(&self, action: &str, form: &[(&str, &str)]) -> Reply {
        let reply = self.call(action, form).await;
        assert_eq!(reply.status, 200, "{action}: {}", reply.body);
        reply
    }

    /// A call that must fail with this code.
    pub async fn refused(&self, action: &str, form: &[(&str, &str)], code: &str) -> Reply {
        let reply = self.call(action, form).await;
        assert_ne!(reply.status, 200, "{action}: {}", reply.body);
        assert_eq!(reply.one("Code"), code, "{action}: {}", reply.body);
        reply
    }

    /// Launches one instance.
    pub async fn run(&self, more: &[(&str, &str)]) -> String {
        let mut form = vec![("ImageId", "ami-0123456789abcdef0"), ("MinCount", "1"), ("MaxCount", "1")];
        form.extend_from_slice(more);
        self.ok("RunInstances", &form).await.one("instanceId")
    }

    pub async fn control(&self, method: reqwest::Method, path: &str, body: &str) -> Reply {
        let url = format!("{}/_emulator/{path}", self.endpoint);
        let mut request = self.http.request(method, url).body(body.to_owned());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.expect("an answer");
        Reply { status: answer.status(), body: answer.text().await.expect("a body") }
    }

    /// An order that must be accepted.
    pub async fn order(&self, path: &str, body: &str) {
        let reply = self.control(reqwest::Method::POST, path, body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    }
}

impl Reply {
    /// Texts of all elements of this name, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let pieces = self.body.split(&open).skip(1);
        pieces.filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
    }

    pub fn one(&self, name: &str) -> String {
        let mut all = self.all(name);
        assert!(!all.is_empty(), "no {name} in {}", self.body);
        all.remove(0)
    }
}

pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub async fn file(path: PathBuf) -> String {
    eventually(&format!("{} has content", path.display()), || async {
        std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))
    })
    .await;
    std::fs::read_to_string(path).expect("was there").trim().to_owned()
}

/// Whether a process of this id exists, other than as a zombie.
pub fn exists(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}

/// Processes that carry an instance's name.
pub fn processes_of(instance: &str) -> Vec<String> {
    let mark = format!("SPILLWAY_EMULATOR_INSTANCE={instance}");
    let entries = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    entries
        .filter(|entry| {
            std::fs::read(entry.path().join("environ"))
                .is_ok_and(|text| text.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()))
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// A daemon that detaches itself as PM2's does, and does not listen to SIGTERM. Its id is in `daemon`.
pub const DAEMON: &str = "#!/bin/sh
(setsid sh -c 'trap \"\" TERM HUP INT; echo $$ >\"$HOME/daemon\"; while :; do sleep 1; done' >/dev/null 2>&1 &)
";

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
