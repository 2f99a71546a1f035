//! TerminateInstances, GetConsoleOutput.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::describe::state_xml;
use super::{Change, View};
use crate::clock::iso_milliseconds;
use crate::endings;
use crate::error::ApiError;
use crate::instance_control;
use crate::lifecycle::{self, Command};
use crate::model::InstanceState;
use crate::query::Params;
use crate::xml::Xml;

pub(super) fn terminate(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let ids: BTreeSet<String> = params.list("InstanceId").into_iter().collect();
    params.boolean("Force")?;
    let skip_shutdown = params.boolean("SkipOsShutdown")?.unwrap_or(false);
    params.finish()?;
    if ids.is_empty() {
        return Err(ApiError::missing("InstanceId"));
    }
    // One bad id fails all.
    for id in &ids {
        let instance = change.state.resources.instance(id)?;
        if instance.termination_protected && instance.is_alive() {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
                ),
            ));
        }
    }
    change.stop_if_dry_run()?;
    let mut changes = Vec::new();
    for id in ids {
        let Some(before) = change.state.resources.instances.get(&id).map(|instance| instance.state) else { continue };
        if !matches!(before, InstanceState::ShuttingDown | InstanceState::Terminated) {
            endings::user_terminates(change.state, change.now_ms, &id);
            if !lifecycle::send(change.state, &id, Command::Terminate { at_once: skip_shutdown }) {
                tracing::warn!(instance = id, "a termination is not taken");
            }
        }
        let after = change.state.resources.instances.get(&id).map_or(before, |instance| instance.state);
        changes.push((id, before, after));
    }
    let mut xml = Xml::new();
    xml.list("instancesSet", changes, |xml, (id, before, after)| {
        xml.text("instanceId", id);
        state_xml(xml, "currentState", after);
        state_xml(xml, "previousState", before);
    });
    Ok(xml)
}

/// Whatever its state: the console of an instance that has ended can still be read for a while.
pub(super) fn console(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let id = params.require("InstanceId")?;
    params.boolean("Latest")?;
    params.finish()?;
    view.resources.instance(&id)?;
    let text = instance_control::console(view.shared, &id)
        .map_err(|error| ApiError::new("InternalError", error.to_string()))?;
    let mut xml = Xml::new();
    xml.text("instanceId", &id).text("timestamp", iso_milliseconds(view.now_ms)).text("output", BASE64.encode(text));
    Ok(xml)
}
