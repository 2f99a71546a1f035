//! DescribeInstances and DescribeSpotInstanceRequests, page by page.

use std::collections::BTreeSet;

use aws_sdk_ec2::operation::describe_instances::builders::DescribeInstancesFluentBuilder;
use aws_sdk_ec2::types::{Filter, Instance, InstanceLifecycleType, InstanceStateName, Reservation};
use spillway_brain::{Ec2State, InstanceId, LaunchToken, Listed, StateReason, Timestamp};

use super::tags::Tags;
use super::{Cloud, MANAGED_BY, POOL_TAG, Refused};
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
    /// The account that it is in, and the name of its instance profile; empty where EC2 does not tell.
    pub account: String,
    pub profile: String,
}

/// A spot request that EC2 interrupts, and its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interruption {
    pub id: InstanceId,
    /// EC2's status code, such as `marked-for-termination`.
    pub status: String,
}

/// What the ledger knows of instances whatever their tags are: anyone can edit those.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// EC2's ids.
    pub ids: BTreeSet<InstanceId>,
    /// Launches that EC2 has not answered: it shows their instances by their client token, which nobody can edit.
    pub unanswered: BTreeSet<LaunchToken>,
}

/// What EC2 answered to one listing.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Of the pool: by its tags, or known by their ids.
    pub instances: Vec<ListedInstance>,
    /// Pools whose tag this installation's other instances carry.
    pub other_pools: BTreeSet<String>,
    /// The account that the instances are in; None where there is none.
    pub account: Option<String>,
}

/// Characters of EC2's message on why an instance ended: all that are known have fewer.
const LONGEST_MESSAGE: usize = 500;

/// Instances asked for one by one where EC2 does not know one of several ids (invariant 10).
const ONE_BY_ONE: usize = 10;

impl Cloud {
    /// All instances that carry the pool's tags, including terminated ones that EC2 still lists; and those that are
    /// `known`, whatever their tags are now.
    pub async fn list(&self, pool: &Pool, installation: &str, known: &Known) -> Result<Listing, Refused> {
        // Filtered by ManagedBy alone: an instance that is renamed in the AWS console must not be missing here.
        let filter = Filter::builder().name(format!("tag:{}", MANAGED_BY.0)).values(MANAGED_BY.1).build();
        let mut pages = self.client.describe_instances().filters(filter).into_paginator().page_size(100).send();
        let mut listing = Listing::default();
        let mut unseen = known.clone();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Refused::from)?;
            for reservation in page.reservations() {
                listing.account = listing.account.or_else(|| reservation.owner_id().map(str::to_owned));
                for instance in reservation.instances() {
                    listing.take_in(instance, reservation.owner_id(), pool, installation, &mut unseen);
                }
            }
        }
        for (instance, owner) in self.by_ids(unseen.ids.iter().map(|id| id.0.clone()).collect()).await? {
            listing.take_in(&instance, owner.as_deref(), pool, installation, &mut unseen);
        }
        let tokens = unseen.unanswered.iter().map(|token| token.0.clone()).collect();
        for (instance, owner) in self.by_tokens(tokens).await? {
            listing.take_in(&instance, owner.as_deref(), pool, installation, &mut unseen);
        }
        Ok(listing)
    }

    /// The instances that these launch tokens launched.
    async fn by_tokens(&self, tokens: Vec<String>) -> Result<Vec<Owned>, Refused> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let filter = Filter::builder().name("client-token").set_values(Some(tokens)).build();
        described(self.client.describe_instances().filters(filter)).await
    }

    /// The instances with these ids that EC2 knows. Without a filter: their tags may be what was changed.
    async fn by_ids(&self, ids: Vec<String>) -> Result<Vec<Owned>, Refused> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let with = |ids| described(self.client.describe_instances().set_instance_ids(Some(ids)));
        match with(ids.clone()).await {
            // One id that EC2 does not know fails the whole call.
            Err(refused) if is_unknown_id(&refused) && ids.len() > 1 => {
                let mut found = Vec::new();
                for id in ids.into_iter().take(ONE_BY_ONE) {
                    match with(vec![id]).await {
                        Err(refused) if is_unknown_id(&refused) => {}
                        answer => found.extend(answer?),
                    }
                }
                Ok(found)
            }
            Err(refused) if is_unknown_id(&refused) => Ok(Vec::new()),
            answer => answer,
        }
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

/// An instance, and the account that it is in.
type Owned = (Instance, Option<String>);

/// Without paging: a handful.
async fn described(request: DescribeInstancesFluentBuilder) -> Result<Vec<Owned>, Refused> {
    let reservations = request.send().await.map_err(Refused::from)?.reservations.unwrap_or_default();
    let of = |reservation: Reservation| {
        let owner = reservation.owner_id;
        reservation.instances.unwrap_or_default().into_iter().map(move |instance| (instance, owner.clone()))
    };
    Ok(reservations.into_iter().flat_map(of).collect())
}

impl Listing {
    fn take_in(
        &mut self,
        instance: &Instance,
        owner: Option<&str>,
        pool: &Pool,
        installation: &str,
        unseen: &mut Known,
    ) {
        let Some(id) = instance.instance_id().map(|id| InstanceId(id.to_owned())) else { return };
        let launch = instance.client_token().map(|token| LaunchToken(token.to_owned()));
        let launch = launch.filter(|token| unseen.unanswered.remove(token));
        let is_known = unseen.ids.remove(&id) || launch.is_some();
        let tags = Tags::of(instance);
        if is_known || tags.name_pool(&pool.name) {
            let retagged = is_known.then(|| tags.changed(&pool.name, installation)).flatten();
            let mut found = read(instance, id, &tags, retagged);
            found.listed.token = launch.or(found.listed.token);
            found.account = owner.unwrap_or_default().to_owned();
            self.instances.push(found);
        } else if let Some(other) = tags.our_pool(installation).filter(|_| !has_ended(instance)) {
            self.other_pools.insert(other.to_owned());
        }
    }
}

fn has_ended(instance: &Instance) -> bool {
    matches!(state(instance.state().and_then(|it| it.name())), Ec2State::ShuttingDown | Ec2State::Terminated)
}

fn is_unknown_id(refused: &Refused) -> bool {
    refused.code.starts_with("InvalidInstanceID")
}

fn read(instance: &Instance, id: InstanceId, tags: &Tags<'_>, retagged: Option<String>) -> ListedInstance {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let launched_ms = instance.launch_time().and_then(|time| time.to_millis().ok()).unwrap_or_default();
    ListedInstance {
        listed: Listed {
            id,
            token: tags.token(),
            installation: tags.installation().map(str::to_owned),
            retagged,
            image: instance.image_id().filter(|id| !id.is_empty()).map(str::to_owned),
            state: state(instance.state().and_then(|state| state.name())),
            state_reason: instance.state_reason().and_then(state_reason),
            launched_at: Timestamp(u64::try_from(launched_ms).unwrap_or_default()),
        },
        instance_type: text(instance.instance_type().map(|kind| kind.as_str())),
        availability_zone: text(instance.placement().and_then(|placement| placement.availability_zone())),
        image_id: text(instance.image_id()),
        is_spot: instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
        private_ip: text(instance.private_ip_address()),
        account: String::new(),
        profile: profile(instance),
    }
}

/// The name in its ARN, behind the path.
fn profile(instance: &Instance) -> String {
    let arn = instance.iam_instance_profile().and_then(|profile| profile.arn()).unwrap_or_default();
    arn.rsplit_once('/').map(|(_, name)| name.to_owned()).unwrap_or_default()
}

/// Why EC2 changed its state last; a running one has none.
fn state_reason(reason: &aws_sdk_ec2::types::StateReason) -> Option<StateReason> {
    let code = reason.code().filter(|code| !code.is_empty())?;
    let message: String = reason.message().unwrap_or_default().chars().take(LONGEST_MESSAGE).collect();
    Some(StateReason::new(code, &message))
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
