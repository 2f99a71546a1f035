//! What these credentials may do, tried with EC2's DryRun, which carries nothing out; and EC2's clock, which its
//! refusal of a dry run has in its head. For `spillway doctor`.

use std::error::Error;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::Filter;
use aws_smithy_types::date_time::{DateTime, Format};
use spillway_brain::{InstanceId, RefusalClass, Timestamp};

use super::{Cloud, INSTALLATION_TAG, MANAGED_BY, Refused};

/// EC2's word for a call that would have been carried out.
pub(super) const WOULD_SUCCEED: &str = "DryRunOperation";

impl Cloud {
    /// An instance of this installation that is not terminated; None where there is none.
    pub async fn own_instance(&self, installation: &str) -> Result<Option<InstanceId>, Refused> {
        let by = |name: &str, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            Filter::builder().name(name).set_values(Some(values)).build()
        };
        let request = self
            .client
            .describe_instances()
            .filters(by(&format!("tag:{}", MANAGED_BY.0), &[MANAGED_BY.1]))
            .filters(by(&format!("tag:{INSTALLATION_TAG}"), &[installation]))
            .filters(by("instance-state-name", &["pending", "running", "stopping", "stopped"]));
        let mut pages = request.into_paginator().page_size(100).send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Refused::from)?;
            let mut instances = page.reservations().iter().flat_map(|reservation| reservation.instances());
            if let Some(id) = instances.find_map(|instance| instance.instance_id()) {
                return Ok(Some(InstanceId(id.to_owned())));
            }
        }
        Ok(None)
    }

    /// Whether EC2 would terminate it.
    pub async fn would_terminate(&self, id: &InstanceId) -> Result<(), Refused> {
        would(self.client.terminate_instances().instance_ids(&id.0).dry_run(true).send().await)
    }

    /// Whether EC2 would list spot requests.
    pub async fn would_list_spot_requests(&self) -> Result<(), Refused> {
        or_listed(self.client.describe_spot_instance_requests().dry_run(true).send().await)
    }

    /// Whether EC2 would list volumes.
    pub async fn would_list_volumes(&self) -> Result<(), Refused> {
        or_listed(self.client.describe_volumes().dry_run(true).send().await)
    }

    /// What time it is for EC2, to the second; None where no answer says so. Whoever it is that asks is told.
    pub async fn time(&self) -> Option<Timestamp> {
        let refused = self.client.describe_instances().dry_run(true).send().await.err()?;
        let date = DateTime::from_str(refused.raw_response()?.headers().get("date")?, Format::HttpDate).ok()?;
        Some(Timestamp(u64::try_from(date.to_millis().ok()?).ok()?))
    }
}

/// What EC2 says to a dry run, which it always answers with an error.
fn would<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Result<(), Refused>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match answer.map_err(Refused::from) {
        Err(refused) if refused.code == WOULD_SUCCEED => Ok(()),
        Err(refused) => Err(refused),
        Ok(_) => Err(Refused {
            class: RefusalClass::Configuration,
            code: "NoDryRun".to_owned(),
            message: "what answers as EC2 has carried out a call although a dry run was asked for".to_owned(),
        }),
    }
}

/// The same of a list: what answers as EC2 and lists all the same has changed nothing.
pub(super) fn or_listed<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Result<(), Refused>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if answer.is_ok() { Ok(()) } else { would(answer) }
}
