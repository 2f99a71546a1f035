//! RunInstances.

use std::sync::Arc;

use super::launch::Launch;
use super::{Change, describe};
use crate::error::ApiError;
use crate::idempotency::Outcome;
use crate::launch_data::LaunchData;
use crate::model::{Instance, InstanceState};
use crate::query::Params;
use crate::templates::TemplateName;
use crate::xml::Xml;

pub(super) fn run_instances(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let token = params.take("ClientToken").filter(|token| !token.is_empty());
    let fingerprint = params.fingerprint();
    let earlier = change.state.tokens.earlier("RunInstances", token.as_deref(), &fingerprint)?;

    let min_count = params.number::<usize>("MinCount")?.ok_or_else(|| ApiError::missing("MinCount"))?;
    let max_count = params.number::<usize>("MaxCount")?.ok_or_else(|| ApiError::missing("MaxCount"))?;
    if min_count < 1 || max_count < min_count {
        return Err(ApiError::invalid_value(format!(
            "Value ({min_count}) for parameter minCount is invalid. It must be at least 1 and at most maxCount ({max_count})"
        )));
    }
    let mut template = params.structure("LaunchTemplate");
    let named = TemplateName::read(&mut template)?;
    let version = template.take("Version").unwrap_or_default();
    template.finish()?;
    let own = LaunchData::read(&mut params)?;
    params.finish()?;
    if let Some(Outcome::Instances(ids)) = earlier {
        change.stop_if_dry_run()?;
        return reservation(change, &ids);
    }
    let (data, from) = match named {
        None => (own, None),
        Some(named) => {
            let template = named.find(&change.state.resources)?;
            let version = template.version(&version)?;
            (own.over(&version.data), Some((template.id.clone(), version.number)))
        }
    };
    let launch = Launch::new(change, data, from)?;
    change.stop_if_dry_run()?;
    let zone = launch.zone_with_capacity(change)?;
    let ids = launch.start(change, &zone, min_count, max_count, token.as_deref())?;
    change.state.tokens.remember("RunInstances", token.as_deref(), fingerprint, Outcome::Instances(ids.clone()));
    reservation(change, &ids)
}

fn reservation(change: &Change<'_>, ids: &[String]) -> Result<Xml, ApiError> {
    let alive = |instance: &&Arc<Instance>| instance.state != InstanceState::Terminated;
    let find = |id: &String| change.state.resources.instances.get(id).filter(alive);
    let instances: Option<Vec<&Arc<Instance>>> = ids.iter().map(find).collect();
    // Of a new launch all are there. One that is shutting down is still an answer.
    let Some(instances) = instances else {
        return Err(ApiError::new(
            "IdempotentInstanceTerminated",
            "The request to launch an instance uses the same client token as a previous request for which the instance has been terminated.",
        ));
    };
    let mut xml = Xml::new();
    describe::reservation_xml(&mut xml, &change.shared.region, &change.state.resources, &instances);
    Ok(xml)
}
