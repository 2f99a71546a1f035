//! DescribeInstances and DescribeSpotInstanceRequests, page by page.

use aws_sdk_ec2::types::{Filter, Instance, InstanceLifecycleType, InstanceStateName, Tag};
use spillway_brain::{Ec2State, InstanceId, LaunchToken, Listed, Timestamp};

use super::{Cloud, MANAGED_BY, POOL_TAG, Refused, TOKEN_TAG};
use crate::config::Pool;

/// One instance as EC2 lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedInstance {
    pub listed: Listed,
    pub instance_type: String,
    pub availability_zone: String,
    pub image_id: String,
    pub is_spot: bool,
    pub private_ip: String,
}

/// A spot request that EC2 interrupts, and its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interruption {
    pub id: InstanceId,
    /// EC2's status code, such as `marked-for-termination`.
    pub status: String,
}

impl Cloud {
    /// All instances that carry the pool's tags, including terminated ones that EC2 still lists.
    pub async fn list(&self, pool: &Pool) -> Result<Vec<ListedInstance>, Refused> {
        // Filtered by ManagedBy alone: an instance that is renamed in the AWS console must not be missing here.
        let filter = Filter::builder().name(format!("tag:{}", MANAGED_BY.0)).values(MANAGED_BY.1).build();
        let mut pages = self.client.describe_instances().filters(filter).into_paginator().page_size(100).send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Refused::from)?;
            let instances = page.reservations().iter().flat_map(|reservation| reservation.instances());
            found.extend(instances.filter(|instance| belongs_to(instance, pool)).filter_map(read));
        }
        Ok(found)
    }

    /// Interruptions by EC2's spot requests: also of instances whose agent could not report its notice.
    pub async fn interruptions(&self, pool: &Pool) -> Result<Vec<Interruption>, Refused> {
        let by = |name: String, values: Vec<String>| Filter::builder().name(name).set_values(Some(values)).build();
        let codes = [
            "marked-for-termination",
            "marked-for-stop",
            "instance-terminated-no-capacity",
            "instance-terminated-by-price",
        ];
        let requests = self
            .client
            .describe_spot_instance_requests()
            .filters(by(format!("tag:{POOL_TAG}"), vec![pool.name.clone()]))
            .filters(by("status-code".to_owned(), codes.map(str::to_owned).to_vec()));
        let mut pages = requests.into_paginator().page_size(100).send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for request in page.map_err(Refused::from)?.spot_instance_requests() {
                if let (Some(id), Some(status)) = (request.instance_id(), request.status().and_then(|it| it.code())) {
                    found.push(Interruption { id: InstanceId(id.to_owned()), status: status.to_owned() });
                }
            }
        }
        Ok(found)
    }
}

/// Belongs by the pool's tag; or by its Name if it has no pool tag, because it may have been launched by hand and is billed.
fn belongs_to(instance: &Instance, pool: &Pool) -> bool {
    match tag(instance.tags(), POOL_TAG) {
        Some(name) => name == pool.name,
        None => tag(instance.tags(), "Name") == Some(pool.name.as_str()),
    }
}

fn tag<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key))?.value()
}

fn read(instance: &Instance) -> Option<ListedInstance> {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let launched_ms = instance.launch_time().and_then(|time| time.to_millis().ok()).unwrap_or_default();
    // A launch token counts only together with the pool's tag: both are set in the same call.
    let has_pool_tag = tag(instance.tags(), POOL_TAG).is_some();
    let token = tag(instance.tags(), TOKEN_TAG).filter(|_| has_pool_tag).map(|token| LaunchToken(token.to_owned()));
    Some(ListedInstance {
        listed: Listed {
            id: InstanceId(instance.instance_id()?.to_owned()),
            token,
            state: state(instance.state().and_then(|state| state.name())),
            state_reason: instance.state_reason().and_then(|reason| reason.code()).map(|code| code.to_owned().into()),
            launched_at: Timestamp(u64::try_from(launched_ms).unwrap_or_default()),
        },
        instance_type: text(instance.instance_type().map(|kind| kind.as_str())),
        availability_zone: text(instance.placement().and_then(|placement| placement.availability_zone())),
        image_id: text(instance.image_id()),
        is_spot: instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
        private_ip: text(instance.private_ip_address()),
    })
}

/// An unknown state counts as running: the instance may be billed, and is not gone.
fn state(name: Option<&InstanceStateName>) -> Ec2State {
    match name {
        Some(InstanceStateName::Pending) => Ec2State::Pending,
        Some(InstanceStateName::ShuttingDown) => Ec2State::ShuttingDown,
        Some(InstanceStateName::Terminated) => Ec2State::Terminated,
        Some(InstanceStateName::Stopping) => Ec2State::Stopping,
        Some(InstanceStateName::Stopped) => Ec2State::Stopped,
        _ => Ec2State::Running,
    }
}
