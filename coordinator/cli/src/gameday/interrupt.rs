//! How the instance is taken. The emulator's control API does what EC2 does; on real EC2 the agent is told to behave as
//! if it had read a notice, and the coordinator terminates the instance once it is drained.

use std::time::Duration;

use anyhow::{Context as _, bail};
use spillway_console::client::refused;
use spillway_emulator::Key;
use spillway_proto::v1;
use spillway_stage::ec2;
use spillway_words::in_words;

use super::Scene;
use super::target::Target;

/// Where the emulator is, by the AWS SDK's own name.
const ENDPOINT: &str = "AWS_ENDPOINT_URL_EC2";
/// Where the emulator's key is.
const KEY_FILE: &str = ec2::KEY_FILE;
/// For one answer of the emulator's.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// EC2's emulator.
    Emulator(Control),
    /// Its agent, through the coordinator.
    Agent,
}

impl Way {
    pub(super) fn in_words(&self) -> &'static str {
        match self {
            Way::Emulator(_) => "the emulator interrupts it",
            Way::Agent => "its agent rehearses an interruption",
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Way::Emulator(_) => "emulator",
            Way::Agent => "agent",
        }
    }
}

/// The emulator's control API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Control {
    endpoint: String,
    key: Option<Key>,
}

impl Control {
    /// Of the emulator that the environment names, if it does.
    fn find() -> anyhow::Result<Option<Self>> {
        let variable = |name| std::env::var(name).ok().filter(|it| !it.is_empty());
        let Some(endpoint) = variable(ENDPOINT) else { return Ok(None) };
        let key = variable(KEY_FILE).map(|path| Key::read(path.as_ref()));
        let key = key.transpose().with_context(|| format!("${KEY_FILE}"))?;
        Ok(Some(Self { endpoint: endpoint.trim_end_matches('/').to_owned(), key }))
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        // It is on loopback, whatever proxy the environment names.
        let client = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
        let request = client.request(method, format!("{}/_emulator/{path}", self.endpoint)).timeout(TIMEOUT);
        match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }
}

/// The emulator's where it has this instance, else its agent's: why is said.
pub(super) async fn way(scene: &Scene, target: &Target, notice: Duration) -> anyhow::Result<Way> {
    if let Some(control) = Control::find()? {
        let asked = control.request(reqwest::Method::GET, &format!("instances/{}", target.instance)).send().await;
        let why = match asked.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => return Ok(Way::Emulator(control)),
            Ok(reqwest::StatusCode::UNAUTHORIZED) => bail!(
                "the emulator at {} has a key: set ${KEY_FILE} to the file that `spillway emulator --key-file` was given",
                control.endpoint
            ),
            Ok(reqwest::StatusCode::NOT_FOUND) => format!("it is no emulator, or one without {}", target.instance),
            Ok(status) => format!("it answered {status}"),
            Err(error) if error.is_timeout() => format!("it has not answered within {}", in_words(TIMEOUT)),
            Err(error) => format!("it does not answer: {}", anyhow::Error::from(error).root_cause()),
        };
        scene.warn(&format!("${ENDPOINT} is {}, and cannot interrupt {}: {why}", control.endpoint, target.instance));
    }
    if notice.is_zero() {
        bail!("only the emulator can interrupt without notice: set ${ENDPOINT} to it, or use --notice 120s");
    }
    Ok(Way::Agent)
}

pub(super) async fn interrupt(scene: &mut Scene, way: &Way, target: &Target, notice: Duration) -> anyhow::Result<()> {
    match way {
        Way::Emulator(control) => {
            let order =
                serde_json::json!({ "instance": target.instance, "notice_seconds": notice.as_secs_f64() }).to_string();
            let request = control.request(reqwest::Method::POST, "interrupt");
            let answer = request.header("content-type", "application/json").body(order).send().await;
            let answer = answer.with_context(|| format!("the emulator at {} does not answer", control.endpoint))?;
            if !answer.status().is_success() {
                bail!("the emulator refused: {}", answer.text().await.unwrap_or_default());
            }
        }
        Way::Agent => {
            let notice = prost_types::Duration::try_from(notice).context("the notice is too long")?;
            let request = v1::RehearseRequest { instance_id: target.instance.clone(), notice: Some(notice) };
            let said = scene.coordinator.rehearse(request).await.map_err(refused)?.into_inner().message;
            scene.say(&said);
        }
    }
    Ok(())
}
