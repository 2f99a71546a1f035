//! How the instance is taken. The emulator's control API does what EC2 does; on real EC2 the agent is told to behave as if
//! it had read a notice, and the coordinator terminates the instance once it is drained.

use std::time::Duration;

use anyhow::{Context as _, bail};
use spillway_console::client::refused;
use spillway_proto::v1;

use super::Scene;
use super::target::Target;

/// Where the emulator is, by the AWS SDK's own name.
const ENDPOINT: &str = "AWS_ENDPOINT_URL_EC2";

/// Who takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// EC2's emulator, at this address.
    Emulator(String),
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

/// The emulator's where it has this instance, else its agent's.
pub(super) async fn way(target: &Target, notice: Duration) -> anyhow::Result<Way> {
    if let Some(endpoint) = std::env::var(ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty()) {
        let url = format!("{}/_emulator/instances/{}", endpoint.trim_end_matches('/'), target.instance);
        if reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(Way::Emulator(endpoint.trim_end_matches('/').to_owned()));
        }
    }
    if notice.is_zero() {
        bail!("only the emulator can interrupt without notice: set ${ENDPOINT} to it, or use --notice 120s");
    }
    Ok(Way::Agent)
}

pub(super) async fn interrupt(scene: &mut Scene, way: &Way, target: &Target, notice: Duration) -> anyhow::Result<()> {
    match way {
        Way::Emulator(endpoint) => {
            let order =
                serde_json::json!({ "instance": target.instance, "notice_seconds": notice.as_secs_f64() }).to_string();
            let request = reqwest::Client::new().post(format!("{endpoint}/_emulator/interrupt"));
            let answer = request.header("content-type", "application/json").body(order).send().await;
            let answer = answer.with_context(|| format!("the emulator at {endpoint} does not answer"))?;
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
