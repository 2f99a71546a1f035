//! A launch, from the request to running instances: RunInstances and CreateFleet share it.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use super::{Change, volumes};
use crate::credentials::{Credentials, loopback_address};
use crate::error::ApiError;
use crate::launch_data::{LaunchData, decode_user_data};
use crate::lifecycle;
use crate::model::{
    Device, Image, ImageState, Instance, InstanceState, Lifecycle, MetadataOptions, ShutdownBehavior, SpotRequest,
    StateReason, Tags,
};
use crate::region::{ACCOUNT_ID, Zone, check_instance_type};
use crate::resources::MAX_INSTANCES;
use crate::shared::{State, new_id};
use crate::ssm;
use crate::tags;

/// Instances that may live at once: each is a process tree and a port on this host.
const MAX_ALIVE: usize = 200;
/// The same where nothing runs in them, and each is a port.
const MAX_ALIVE_EMPTY: usize = 5000;

/// A launch that was found valid.
#[derive(Debug)]
pub(super) struct Launch {
    data: LaunchData,
    image_id: String,
    pub(super) instance_type: String,
    pub(super) lifecycle: Lifecycle,
    user_data: Option<Arc<[u8]>>,
    pub(super) zones: Vec<Zone>,
    metadata: MetadataOptions,
    instance_tags: Tags,
}

impl Launch {
    /// Checks all that can be checked without capacity. `template` is the template and version in use.
    pub(super) fn new(
        change: &Change<'_>,
        data: LaunchData,
        template: Option<(String, u64)>,
    ) -> Result<Self, ApiError> {
        let image_id = data.image_id.as_deref().ok_or_else(|| ApiError::missing("ImageId"))?;
        let image_id = ssm::resolved(&change.state.resources.parameters, image_id)?;
        if change.state.resources.images.get(&image_id).is_some_and(|image| image.deregistered) {
            return Err(ApiError::new("InvalidAMIID.NotFound", format!("The image id '[{image_id}]' does not exist")));
        }
        if change.shared.machines.as_ref().is_some_and(|machines| machines.image(&image_id).is_none()) {
            return Err(no_tree(change, &image_id));
        }
        let instance_type = data.instance_type.clone().unwrap_or_else(|| "m1.small".to_owned());
        check_instance_type(&instance_type)?;
        let region = &change.shared.region;
        let zones = region.zones_for(data.subnet_id.as_deref(), data.availability_zone.as_deref())?;
        let lifecycle = match data.market {
            Some(Some(_)) => Lifecycle::Spot,
            Some(None) | None => Lifecycle::OnDemand,
        };
        if lifecycle == Lifecycle::OnDemand && data.tags.contains_key("spot-instances-request") {
            return Err(ApiError::invalid_value(
                "'spot-instances-request' is not a valid taggable resource type for this operation.",
            ));
        }
        let metadata = MetadataOptions {
            enabled: data.metadata.http_endpoint != Some("disabled"),
            tokens_required: data.metadata.http_tokens != Some("optional"),
            instance_tags: data.metadata.instance_metadata_tags == Some("enabled"),
            hop_limit: data.metadata.hop_limit.unwrap_or(2),
        };
        let mut instance_tags = data.tags.get("instance").cloned().unwrap_or_default();
        tags::check_count(&instance_tags)?;
        if metadata.instance_tags {
            tags::check_for_metadata(&instance_tags)?;
        }
        if let Some((id, version)) = template {
            instance_tags.insert("aws:ec2launchtemplate:id".to_owned(), id);
            instance_tags.insert("aws:ec2launchtemplate:version".to_owned(), version.to_string());
        }
        let user_data = match &data.user_data {
            None => None,
            Some(encoded) => Some(Arc::from(decode_user_data(encoded)?)),
        };
        let zones = zones.into_iter().cloned().collect();
        Ok(Self { image_id, instance_type, lifecycle, user_data, zones, metadata, instance_tags, data })
    }

    pub(super) fn tag(&mut self, key: &str, value: &str) {
        self.instance_tags.insert(key.to_owned(), value.to_owned());
    }

    /// The first zone that has capacity, or EC2's error for why there is none.
    pub(super) fn zone_with_capacity(&self, change: &Change<'_>) -> Result<Zone, ApiError> {
        let has = |zone: &&Zone| change.state.faults.has_capacity(&self.instance_type, &zone.name, self.lifecycle);
        let Some(zone) = self.zones.iter().find(has) else {
            return Err(ApiError::new(
                "InsufficientInstanceCapacity",
                match self.lifecycle {
                    Lifecycle::Spot => "There is no Spot capacity available that matches your request.".to_owned(),
                    Lifecycle::OnDemand => format!(
                        "We currently do not have sufficient {} capacity in the Availability Zone you requested.",
                        self.instance_type
                    ),
                },
            ));
        };
        let price = change.shared.region.price(&self.instance_type, &zone.name, self.lifecycle);
        if let Some(limit) = self.max_price()
            && limit.parse::<f64>().is_ok_and(|limit| limit < price)
        {
            return Err(ApiError::new(
                "SpotMaxPriceTooLow",
                format!(
                    "Your Spot request price of {limit} is lower than the minimum required Spot request fulfillment price of {price:.4}."
                ),
            ));
        }
        Ok(zone.clone())
    }

    fn max_price(&self) -> Option<&str> {
        self.data.market.as_ref()?.as_ref()?.max_price.as_deref()
    }

    /// Creates instances: as many as there is room for, up to `max_count`, or none below `min_count`.
    pub(super) fn start(
        &self,
        change: &mut Change<'_>,
        zone: &Zone,
        min_count: usize,
        max_count: usize,
        token: Option<&str>,
    ) -> Result<Vec<String>, ApiError> {
        let max_alive = if change.shared.options.empty { MAX_ALIVE_EMPTY } else { MAX_ALIVE };
        let room = MAX_INSTANCES
            .saturating_sub(change.state.resources.instances.len())
            .min(max_alive.saturating_sub(change.state.commands.len()));
        if room < min_count {
            return Err(ApiError::new(
                "InstanceLimitExceeded",
                format!(
                    "You have requested more instances ({min_count}) than the emulator still has room for ({room})"
                ),
            ));
        }
        let Some(alive) = change.state.alive.clone() else {
            return Err(ApiError::new("Unavailable", "The emulator is stopping"));
        };
        let listeners: Vec<TcpListener> = (0..max_count.min(room))
            .map(|_| {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .collect::<std::io::Result<_>>()
            .map_err(|error| {
                ApiError::new("InternalError", format!("Cannot open a port for the metadata service: {error}"))
            })?;
        register_image(change.state, change.now_ms, &self.image_id);
        let image = change.state.resources.images.get(&self.image_id);
        let devices = volumes::devices(image.map_or(&[], |image| &image.devices), &self.data.block_devices);
        let volume_tags = self.data.tags.get("volume").cloned().unwrap_or_default();
        let reservation_id = new_id("r-");
        let mut ids = Vec::with_capacity(listeners.len());
        for (index, listener) in (0_u32..).zip(listeners) {
            let port = listener.local_addr().map(|address| address.port()).unwrap_or(0);
            let mut instance = self.instance(change, zone, token, port);
            instance.reservation_id.clone_from(&reservation_id);
            instance.launch_index = index;
            if self.lifecycle == Lifecycle::Spot {
                let request = self.spot_request(change, &instance);
                instance.spot_request_id = Some(request.id.clone());
                change.state.resources.spot_requests.insert(request.id.clone(), Arc::new(request));
            }
            volumes::create(change.state, change.now_ms, &instance, &devices, &volume_tags);
            let commands = lifecycle::begin(change.shared, &instance.id, listener, alive.clone());
            change.state.commands.insert(instance.id.clone(), commands);
            ids.push(instance.id.clone());
            change.state.resources.instances.insert(instance.id.clone(), Arc::new(instance));
        }
        Ok(ids)
    }

    fn instance(&self, change: &mut Change<'_>, zone: &Zone, token: Option<&str>, imds_port: u16) -> Instance {
        let seq = change.state.next_seq();
        let (high, low) = (seq / 250 % 16, seq % 250 + 4);
        let security_groups = match (&self.data.security_group_ids, &self.data.security_groups) {
            (ids, names) if ids.is_empty() && names.is_empty() => vec!["sg-0e000000000000001".to_owned()],
            (ids, names) => ids.iter().chain(names).cloned().collect(),
        };
        Instance {
            seq,
            id: new_id("i-"),
            reservation_id: String::new(),
            launch_index: 0,
            state: InstanceState::Pending,
            state_reason: Some(StateReason { code: "pending".to_owned(), message: "pending".to_owned() }),
            transition_reason: String::new(),
            image_id: self.image_id.clone(),
            instance_type: self.instance_type.clone(),
            lifecycle: self.lifecycle,
            client_token: token.map(str::to_owned),
            spot_request_id: None,
            availability_zone: zone.name.clone(),
            subnet_id: zone.subnet_id.clone(),
            // A machine has a network; a process connects from an address of its own below 127.
            private_ip: match change.shared.machines {
                Some(_) => format!("10.0.{}.{low}", u64::from(zone.network) * 16 + high),
                None => loopback_address(seq),
            },
            mac: format!("0e:00:00:{:02x}:{high:02x}:{low:02x}", zone.network),
            key_name: self.data.key_name.clone(),
            security_groups,
            profile: profile(&self.data),
            credentials: Arc::new(Credentials::random()),
            tags: self.instance_tags.clone(),
            user_data: self.user_data.clone(),
            metadata: self.metadata,
            shutdown_behavior: self.data.shutdown_behavior.unwrap_or(ShutdownBehavior::Stop),
            termination_protected: self.data.termination_protected.unwrap_or(false),
            launch_ms: change.now_ms,
            running_ms: None,
            ending_ms: None,
            ended_ms: None,
            imds_port,
            init_pid: None,
            fails_with: change.state.faults.take_failure(),
            notice: None,
            rebalance_ms: None,
            maintenance: Vec::new(),
        }
    }

    fn spot_request(&self, change: &mut Change<'_>, instance: &Instance) -> SpotRequest {
        let on_demand =
            change.shared.region.price(&self.instance_type, &instance.availability_zone, Lifecycle::OnDemand);
        SpotRequest {
            seq: change.state.next_seq(),
            id: new_id("sir-"),
            state: "active",
            status_code: "fulfilled",
            status_message: "Your spot request is fulfilled.",
            update_ms: change.now_ms,
            create_ms: change.now_ms,
            instance_id: instance.id.clone(),
            availability_zone: instance.availability_zone.clone(),
            subnet_id: instance.subnet_id.clone(),
            image_id: instance.image_id.clone(),
            instance_type: instance.instance_type.clone(),
            max_price: self.max_price().map_or_else(|| format!("{on_demand:.6}"), str::to_owned),
            tags: self.data.tags.get("spot-instances-request").cloned().unwrap_or_default(),
        }
    }
}

/// Why a machine cannot be launched from an image.
fn no_tree(change: &Change<'_>, id: &str) -> ApiError {
    match change.state.resources.images.get(id).map(|image| image.state) {
        Some(ImageState::Pending) => {
            ApiError::new("InvalidAMIID.Unavailable", format!("The image id '[{id}]' is not available yet"))
        }
        _ => ApiError::new("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist")),
    }
}

fn profile(data: &LaunchData) -> Option<(String, String)> {
    let name = match (&data.profile_name, &data.profile_arn) {
        (Some(name), _) => name.clone(),
        (None, Some(arn)) => arn.rsplit('/').next().unwrap_or(arn).to_owned(),
        (None, None) => return None,
    };
    let arn = data.profile_arn.clone().unwrap_or_else(|| format!("arn:aws:iam::{ACCOUNT_ID}:instance-profile/{name}"));
    Some((name, arn))
}

/// A root volume that is deleted with its instance, as of most images.
pub(crate) fn root_device() -> Device {
    Device { snapshot_id: new_id("snap-"), delete_on_termination: true, ..Device::empty("/dev/sda1") }
}

/// An image exists from the first request that names it, so that it can be described.
pub(crate) fn register_image(state: &mut State, now_ms: u64, id: &str) {
    if state.resources.images.contains_key(id) {
        return;
    }
    let image = Image {
        seq: state.next_seq(),
        id: id.to_owned(),
        name: format!("emulated-{id}"),
        description: "Exists because a launch or a launch template names it".to_owned(),
        source_instance: None,
        create_ms: now_ms,
        devices: vec![root_device()],
        tags: Tags::new(),
        state: ImageState::Available,
        deregistered: false,
    };
    state.resources.images.insert(id.to_owned(), Arc::new(image));
}
