//! What an instance is launched with: from a launch template, from the request, or from both.
//!
//! RunInstances and launch templates name these parameters alike, so that both are read here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::ApiError;
use crate::model::{ShutdownBehavior, Tags};
use crate::query::Params;
use crate::ssm;
use crate::tags;

/// EC2's limit for user data, before its base64 encoding.
const MAX_USER_DATA_BYTES: usize = 16 * 1024;

/// Structures and values that are accepted and have no effect here: hardware, network and access of an instance.
const WITHOUT_EFFECT: &[&str] = &[
    "AdditionalInfo",
    "CpuOptions",
    "CreditSpecification",
    "DisableApiStop",
    "EbsOptimized",
    "EnclaveOptions",
    "MaintenanceOptions",
    "Monitoring",
    "PrivateDnsNameOptions",
];

/// How the instance is to be paid for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spot {
    /// Dollars per hour; none = the on-demand price.
    pub(crate) max_price: Option<String>,
}

/// What a launch says of a device: the root volume or another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BlockDevice {
    pub(crate) device_name: String,
    pub(crate) size_gib: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) delete_on_termination: Option<bool>,
    pub(crate) encrypted: Option<bool>,
}

/// Metadata options, where given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MetadataRequest {
    pub(crate) http_tokens: Option<&'static str>,
    pub(crate) http_endpoint: Option<&'static str>,
    pub(crate) instance_metadata_tags: Option<&'static str>,
    pub(crate) hop_limit: Option<u16>,
}

/// All parameters of a launch; `None` where the request does not name one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LaunchData {
    pub(crate) image_id: Option<String>,
    pub(crate) instance_type: Option<String>,
    pub(crate) key_name: Option<String>,
    pub(crate) user_data: Option<String>,
    pub(crate) profile_name: Option<String>,
    pub(crate) profile_arn: Option<String>,
    pub(crate) security_group_ids: Vec<String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) subnet_id: Option<String>,
    pub(crate) availability_zone: Option<String>,
    /// Outer: was a market named at all. Inner: none is on-demand.
    pub(crate) market: Option<Option<Spot>>,
    /// By resource type.
    pub(crate) tags: std::collections::BTreeMap<String, Tags>,
    pub(crate) metadata: MetadataRequest,
    pub(crate) shutdown_behavior: Option<ShutdownBehavior>,
    pub(crate) termination_protected: Option<bool>,
    pub(crate) block_devices: Vec<BlockDevice>,
}

impl LaunchData {
    /// Takes out of `params` all that belongs here.
    pub(crate) fn read(params: &mut Params) -> Result<Self, ApiError> {
        let mut data = Self {
            image_id: params.take("ImageId"),
            instance_type: params.take("InstanceType"),
            key_name: params.take("KeyName"),
            user_data: params.take("UserData"),
            security_group_ids: params.list("SecurityGroupId"),
            security_groups: params.list("SecurityGroup"),
            subnet_id: params.take("SubnetId"),
            tags: tags::read_specifications(params)?,
            termination_protected: params.boolean("DisableApiTermination")?,
            ..Self::default()
        };
        params.without_effect(WITHOUT_EFFECT);
        data.shutdown_behavior = match params.one_of("InstanceInitiatedShutdownBehavior", &["stop", "terminate"])? {
            None => None,
            Some("terminate") => Some(ShutdownBehavior::Terminate),
            Some(_) => Some(ShutdownBehavior::Stop),
        };
        if let Some(user_data) = &data.user_data {
            decode_user_data(user_data)?;
        }
        if let Some(image_id) = &data.image_id {
            ssm::check(image_id)?;
        }
        data.read_profile(params)?;
        data.read_placement(params)?;
        data.read_market(params)?;
        data.read_metadata(params)?;
        data.read_block_devices(params)?;
        data.read_network_interfaces(params)?;
        Ok(data)
    }

    fn read_profile(&mut self, params: &mut Params) -> Result<(), ApiError> {
        let mut profile = params.structure("IamInstanceProfile");
        self.profile_name = profile.take("Name");
        self.profile_arn = profile.take("Arn");
        if self.profile_name.is_some() && self.profile_arn.is_some() {
            return Err(ApiError::combination(
                "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'",
            ));
        }
        profile.finish()
    }

    fn read_placement(&mut self, params: &mut Params) -> Result<(), ApiError> {
        let mut placement = params.structure("Placement");
        self.availability_zone = placement.take("AvailabilityZone").filter(|zone| !zone.is_empty());
        placement.one_of("Tenancy", &["default"])?;
        placement.finish()
    }

    fn read_market(&mut self, params: &mut Params) -> Result<(), ApiError> {
        let mut market = params.structure("InstanceMarketOptions");
        let kind = market.one_of("MarketType", &["spot", "on-demand"])?;
        let mut options = market.structure("SpotOptions");
        let has_options = !options.is_empty();
        let spot = Spot { max_price: options.take("MaxPrice") };
        options.one_of("SpotInstanceType", &["one-time"])?;
        options.one_of("InstanceInterruptionBehavior", &["terminate"])?;
        options.finish()?;
        market.finish()?;
        if let Some(price) = &spot.max_price
            && !price.parse::<f64>().is_ok_and(|price| price.is_finite() && price > 0.0)
        {
            return Err(ApiError::invalid_value(format!("Invalid value '{price}' for maxPrice")));
        }
        self.market = match kind {
            Some("spot") => Some(Some(spot)),
            _ if has_options => {
                return Err(ApiError::combination("SpotOptions are only for the market type 'spot'"));
            }
            Some(_) => Some(None),
            None => None,
        };
        Ok(())
    }

    fn read_metadata(&mut self, params: &mut Params) -> Result<(), ApiError> {
        let mut metadata = params.structure("MetadataOptions");
        self.metadata = MetadataRequest {
            http_tokens: metadata.one_of("HttpTokens", &["required", "optional"])?,
            http_endpoint: metadata.one_of("HttpEndpoint", &["enabled", "disabled"])?,
            instance_metadata_tags: metadata.one_of("InstanceMetadataTags", &["enabled", "disabled"])?,
            hop_limit: metadata.number("HttpPutResponseHopLimit")?,
        };
        metadata.one_of("HttpProtocolIpv6", &["disabled"])?;
        metadata.finish()
    }

    pub(crate) fn read_block_devices(&mut self, params: &mut Params) -> Result<(), ApiError> {
        for mut device in params.structures("BlockDeviceMapping") {
            let mut ebs = device.structure("Ebs");
            self.block_devices.push(BlockDevice {
                device_name: device.take("DeviceName").unwrap_or_default(),
                size_gib: ebs.number::<u32>("VolumeSize")?.map(|size| size.to_string()),
                kind: ebs.take("VolumeType"),
                delete_on_termination: ebs.boolean("DeleteOnTermination")?,
                encrypted: ebs.boolean("Encrypted")?,
            });
            ebs.without_effect(&["Iops", "Throughput", "KmsKeyId", "SnapshotId"]);
            device.without_effect(&["NoDevice", "VirtualName"]);
            ebs.finish()?;
            device.finish()?;
        }
        Ok(())
    }

    fn read_network_interfaces(&mut self, params: &mut Params) -> Result<(), ApiError> {
        for mut interface in params.structures("NetworkInterface") {
            let subnet = interface.take("SubnetId");
            let groups = interface.list("SecurityGroupId");
            if interface.number::<u32>("DeviceIndex")?.unwrap_or(0) == 0 {
                self.subnet_id = subnet.or(self.subnet_id.take());
                self.security_group_ids.extend(groups);
            }
            interface.without_effect(&[
                "AssociatePublicIpAddress",
                "DeleteOnTermination",
                "Description",
                "InterfaceType",
                "Ipv6AddressCount",
                "NetworkCardIndex",
            ]);
            interface.finish()?;
        }
        Ok(())
    }

    /// The values of `self`, and those of `base` where `self` has none. Tags are merged; `self` wins.
    pub(crate) fn over(self, base: &Self) -> Self {
        let base = base.clone();
        let mut tags = base.tags;
        for (kind, specified) in self.tags {
            tags.entry(kind).or_default().extend(specified);
        }
        // A subnet implies its zone, so a request that names either overrides both.
        let placed = self.subnet_id.is_some() || self.availability_zone.is_some();
        let (name, arn) = if self.profile_name.is_some() || self.profile_arn.is_some() {
            (self.profile_name, self.profile_arn)
        } else {
            (base.profile_name, base.profile_arn)
        };
        Self {
            image_id: self.image_id.or(base.image_id),
            instance_type: self.instance_type.or(base.instance_type),
            key_name: self.key_name.or(base.key_name),
            user_data: self.user_data.or(base.user_data),
            profile_name: name,
            profile_arn: arn,
            security_group_ids: first_filled(self.security_group_ids, base.security_group_ids),
            security_groups: first_filled(self.security_groups, base.security_groups),
            subnet_id: if placed { self.subnet_id } else { base.subnet_id },
            availability_zone: if placed { self.availability_zone } else { base.availability_zone },
            market: self.market.or(base.market),
            tags,
            metadata: MetadataRequest {
                http_tokens: self.metadata.http_tokens.or(base.metadata.http_tokens),
                http_endpoint: self.metadata.http_endpoint.or(base.metadata.http_endpoint),
                instance_metadata_tags: self.metadata.instance_metadata_tags.or(base.metadata.instance_metadata_tags),
                hop_limit: self.metadata.hop_limit.or(base.metadata.hop_limit),
            },
            shutdown_behavior: self.shutdown_behavior.or(base.shutdown_behavior),
            termination_protected: self.termination_protected.or(base.termination_protected),
            block_devices: first_filled(self.block_devices, base.block_devices),
        }
    }
}

fn first_filled<T>(own: Vec<T>, base: Vec<T>) -> Vec<T> {
    if own.is_empty() { base } else { own }
}

/// User data as it came, in base64, to what the instance is to run.
pub(crate) fn decode_user_data(encoded: &str) -> Result<Vec<u8>, ApiError> {
    let compact: String = encoded.split_ascii_whitespace().collect();
    let decoded = BASE64
        .decode(compact)
        .map_err(|_| ApiError::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."))?;
    if decoded.len() > MAX_USER_DATA_BYTES {
        return Err(ApiError::new(
            "InvalidUserData.Malformed",
            format!("User data is limited to {MAX_USER_DATA_BYTES} bytes"),
        ));
    }
    Ok(decoded)
}

pub(crate) fn check_image_id(id: &str) -> Result<(), ApiError> {
    if is_id(id, "ami-") {
        Ok(())
    } else {
        Err(ApiError::new("InvalidAMIID.Malformed", format!("Invalid id: \"{id}\" (expecting \"ami-...\")")))
    }
}

/// `prefix` and 8 to 17 hexadecimal digits.
pub(crate) fn is_id(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|digits| {
        (8..=17).contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}
