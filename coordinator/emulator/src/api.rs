//! The EC2 API: its actions, and each call from its parameters to its answer.
//!
//! Effects happen under the lock, synchronously. HTTP stands in `server`, faults of the answer's way in `faults`.

mod describe;
mod filters;
mod fleet;
mod groups;
mod images;
mod instances;
mod launch;
mod network;
mod pages;
mod run;
mod snapshots;
mod spot;
mod tag_actions;
mod template_actions;
mod template_xml;
mod types;
mod volumes;

use std::sync::Arc;

use crate::error::ApiError;
use crate::query::Params;
use crate::resources::Resources;
use crate::shared::{Shared, State};
use crate::xml::Xml;

pub(crate) use fleet::Outcome as FleetOutcome;
pub(crate) use launch::{register_image, root_device};
pub(crate) use template_actions::{add as add_template, check_new as check_new_template};

/// Every action that the emulator implements.
const ACTIONS: &[&str] = &[
    "AuthorizeSecurityGroupEgress",
    "CancelSpotInstanceRequests",
    "CreateFleet",
    "CreateImage",
    "CreateLaunchTemplate",
    "CreateLaunchTemplateVersion",
    "CreateSecurityGroup",
    "CreateTags",
    "DeleteLaunchTemplate",
    "DeleteSnapshot",
    "DeleteTags",
    "DeleteVolume",
    "DeregisterImage",
    "DescribeAvailabilityZones",
    "DescribeImages",
    "DescribeInstanceStatus",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeLaunchTemplateVersions",
    "DescribeLaunchTemplates",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeSpotInstanceRequests",
    "DescribeSpotPriceHistory",
    "DescribeSubnets",
    "DescribeTags",
    "DescribeVolumes",
    "GetConsoleOutput",
    "ModifyLaunchTemplate",
    "RevokeSecurityGroupEgress",
    "RunInstances",
    "TerminateInstances",
];

pub(crate) fn is_action(name: &str) -> bool {
    ACTIONS.contains(&name)
}

/// What a call that changes something works with.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) state: &'a mut State,
    pub(crate) now_ms: u64,
    pub(crate) dry_run: bool,
}

impl Change<'_> {
    /// To be called when a request is known to be valid, before its effect.
    pub(crate) fn stop_if_dry_run(&self) -> Result<(), ApiError> {
        if self.dry_run { Err(ApiError::dry_run()) } else { Ok(()) }
    }
}

/// What a call that only reads works with: the resources as they are now, or an older snapshot.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) resources: &'a Resources,
    pub(crate) now_ms: u64,
    pub(crate) page_size: Option<usize>,
}

/// Carries out one call. The parameters no longer contain `Action` and `Version`.
pub(crate) fn call(shared: &Arc<Shared>, action: &str, mut params: Params) -> Result<Xml, ApiError> {
    if !is_action(action) {
        return Err(ApiError::new(
            "InvalidAction",
            format!(
                "The action {action} is not valid for this web service, or the emulator does not emulate it. It knows: {}",
                ACTIONS.join(", ")
            ),
        ));
    }
    let dry_run = params.boolean("DryRun")?.unwrap_or(false);
    if action.starts_with("Describe") || action == "GetConsoleOutput" {
        let (resources, now_ms, page_size) = {
            let state = shared.state();
            let now_ms = shared.clock.now_ms();
            let resources = match state.faults.stale_ms() {
                0 => state.resources.clone(),
                lag => state.history.at(now_ms.saturating_sub(lag)),
            };
            (resources, now_ms, state.faults.page_size())
        };
        let answer = describe(&View { shared, resources: &resources, now_ms, page_size }, action, params)?;
        return if dry_run { Err(ApiError::dry_run()) } else { Ok(answer) };
    }
    shared.change(|state, now_ms| change(&mut Change { shared, state, now_ms, dry_run }, action, params))
}

fn describe(view: &View<'_>, action: &str, params: Params) -> Result<Xml, ApiError> {
    match action {
        "DescribeAvailabilityZones" => network::availability_zones(view, params),
        "DescribeImages" => images::describe(view, params),
        "DescribeInstanceStatus" => describe::instance_status(view, params),
        "DescribeInstanceTypes" => types::describe(view, params),
        "DescribeInstances" => describe::instances(view, params),
        "DescribeLaunchTemplateVersions" => template_xml::describe_versions(view, params),
        "DescribeLaunchTemplates" => template_xml::describe_templates(view, params),
        "DescribeSecurityGroups" => groups::describe(view, params),
        "DescribeSnapshots" => snapshots::describe(view, params),
        "DescribeSpotInstanceRequests" => spot::describe(view, params),
        "DescribeSpotPriceHistory" => network::spot_prices(view, params),
        "DescribeSubnets" => network::subnets(view, params),
        "DescribeTags" => tag_actions::describe(view, params),
        "DescribeVolumes" => volumes::describe(view, params),
        "GetConsoleOutput" => instances::console(view, params),
        _ => Err(ApiError::new("InvalidAction", action)),
    }
}

fn change(change: &mut Change<'_>, action: &str, params: Params) -> Result<Xml, ApiError> {
    match action {
        "AuthorizeSecurityGroupEgress" => groups::authorize_egress(change, params),
        "CancelSpotInstanceRequests" => spot::cancel(change, params),
        "CreateFleet" => fleet::create(change, params),
        "CreateImage" => images::create(change, params),
        "CreateLaunchTemplate" => template_actions::create(change, params),
        "CreateLaunchTemplateVersion" => template_actions::create_version(change, params),
        "CreateSecurityGroup" => groups::create(change, params),
        "CreateTags" => tag_actions::create(change, params),
        "DeleteLaunchTemplate" => template_actions::delete(change, params),
        "DeleteSnapshot" => snapshots::delete(change, params),
        "DeleteTags" => tag_actions::delete(change, params),
        "DeleteVolume" => volumes::delete(change, params),
        "DeregisterImage" => images::deregister(change, params),
        "ModifyLaunchTemplate" => template_actions::modify(change, params),
        "RevokeSecurityGroupEgress" => groups::revoke_egress(change, params),
        "RunInstances" => run::run_instances(change, params),
        "TerminateInstances" => instances::terminate(change, params),
        _ => Err(ApiError::new("InvalidAction", action)),
    }
}
