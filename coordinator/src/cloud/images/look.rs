//! What is there.

use aws_sdk_ec2::types::{Filter, Image, ImageState as State, Instance, InstanceStateName, IpPermission, Snapshot};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{
    BakeInstance, Baked, BakedImage, BakedSnapshot, FROM_TAG, Group, ImageState, Images, InstanceState, Source,
    WorkerTemplate, of_bake, tag,
};
use crate::cloud::{INSTALLATION_TAG, MANAGED_BY, Refused};

const PAGE: i32 = 100;

impl Images {
    /// Everything that this installation's bakes have made, and what the parameter says.
    pub async fn look(&self, parameter: &str) -> Result<Baked, Refused> {
        let mut baked = Baked::default();
        let request = self.ec2.describe_images().owners("self").set_filters(Some(self.ours()));
        let mut pages = request.into_paginator().page_size(PAGE).send();
        let mut images = Vec::new();
        while let Some(page) = pages.next().await {
            images.extend(page.map_err(Refused::from)?.images().iter().map(image));
        }
        let request = self.ec2.describe_snapshots().owner_ids("self").set_filters(Some(self.ours()));
        let mut pages = request.into_paginator().page_size(PAGE).send();
        while let Some(page) = pages.next().await {
            baked.snapshots.extend(page.map_err(Refused::from)?.snapshots().iter().map(snapshot));
        }
        let mut pages = self.ec2.describe_instances().into_paginator().page_size(PAGE).send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Refused::from)?;
            for each in page.reservations().iter().flat_map(|reservation| reservation.instances()) {
                let is_ours = self.ours().iter().all(|filter| has(each, filter));
                let found = instance(each);
                if let (true, Some(image)) = (found.state != InstanceState::Ended, each.image_id()) {
                    baked.in_use.entry(image.to_owned()).or_default().push(found.id.clone());
                }
                baked.instances.extend(Some(found).filter(|_| is_ours));
            }
        }
        baked.images = images;
        // Last: an image that launches take by now is seen to be one of those.
        baked.history = self.history(parameter).await?;
        Ok(baked)
    }

    /// The newest version of the workers' launch template; None where there is none.
    pub async fn template(&self, name: &str) -> Result<Option<WorkerTemplate>, Refused> {
        let request = self.ec2.describe_launch_template_versions().versions("$Latest");
        let request = match name.starts_with("lt-") {
            true => request.launch_template_id(name),
            false => request.launch_template_name(name),
        };
        let answer = match request.send().await.map_err(Refused::from) {
            Err(refused) if refused.code.contains("NotFound") => return Ok(None),
            answer => answer?,
        };
        let version = answer.launch_template_versions().first();
        let Some(data) = version.and_then(|version| version.launch_template_data()) else { return Ok(None) };
        let interface = data.network_interfaces().first();
        let groups = interface.map(|interface| interface.groups()).unwrap_or_default();
        let user_data = data.user_data().map(|text| BASE64.decode(text).unwrap_or_default()).unwrap_or_default();
        Ok(Some(WorkerTemplate {
            image: data.image_id().unwrap_or_default().to_owned(),
            instance_type: data.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
            subnet: interface.and_then(|interface| interface.subnet_id()).map(str::to_owned),
            groups: [groups, data.security_group_ids()].concat(),
            user_data: String::from_utf8_lossy(&user_data).into_owned(),
        }))
    }

    /// The machine of this id, or all that may be copied for this installation.
    pub async fn sources(&self, id: Option<&str>) -> Result<Vec<Source>, Refused> {
        let request = self.ec2.describe_instances();
        let request = match id {
            Some(id) => request.instance_ids(id),
            None => {
                let by = Filter::builder().name(format!("tag:{FROM_TAG}")).values(&self.installation).build();
                request.filters(by)
            }
        };
        let answer = request.send().await.map_err(Refused::from)?;
        let found = answer.reservations().iter().flat_map(|reservation| reservation.instances());
        let sources = found.map(|instance| Source {
            id: instance.instance_id().unwrap_or_default().to_owned(),
            state: state_of(instance).as_str().to_owned(),
            name: tag(instance.tags(), "Name").unwrap_or_default().to_owned(),
            bake_from: tag(instance.tags(), FROM_TAG).map(str::to_owned),
        });
        Ok(sources.filter(|source| source.state != "terminated" && source.state != "shutting-down").collect())
    }

    /// The security groups of this name; one of each VPC that has it.
    pub async fn groups(&self, name: &str) -> Result<Vec<Group>, Refused> {
        let by = Filter::builder().name("group-name").values(name).build();
        let answer = self.ec2.describe_security_groups().filters(by).send().await.map_err(Refused::from)?;
        let groups = answer.security_groups().iter().map(|group| Group {
            id: group.group_id().unwrap_or_default().to_owned(),
            open_to: [group.ip_permissions(), group.ip_permissions_egress()]
                .concat()
                .iter()
                .flat_map(open_to)
                .collect(),
        });
        Ok(groups.collect())
    }

    /// The end of an instance's console; empty where there is none yet.
    pub async fn console(&self, instance: &str) -> Result<String, Refused> {
        let request = self.ec2.get_console_output().instance_id(instance);
        let answer = match request.clone().latest(true).send().await.map_err(Refused::from) {
            // Instances that are not of the Nitro system have what was last kept, and nothing newer.
            Err(refused) if refused.code == "UnsupportedOperation" => request.send().await.map_err(Refused::from)?,
            answer => answer?,
        };
        let bytes = answer.output().map(|text| BASE64.decode(text.replace(['\r', '\n'], "")).unwrap_or_default());
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    }

    /// What the parameter has been, the newest last; empty where there is none.
    async fn history(&self, parameter: &str) -> Result<Vec<String>, Refused> {
        let mut pages = self.ssm.get_parameter_history().name(parameter).into_paginator().send();
        let mut values = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page.map_err(Refused::from) {
                Err(refused) if refused.code == "ParameterNotFound" => return Ok(Vec::new()),
                page => page?,
            };
            values.extend(page.parameters().iter().map(|it| (it.version(), it.value().unwrap_or_default().to_owned())));
        }
        values.sort();
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }

    /// Instances that the coordinator has launched for this installation and that are not terminated.
    pub async fn workers(&self) -> Result<Vec<String>, Refused> {
        let by = |key: &str, value: &str| Filter::builder().name(format!("tag:{key}")).values(value).build();
        let request = self.ec2.describe_instances().filters(by(MANAGED_BY.0, MANAGED_BY.1));
        let mut pages =
            request.filters(by(INSTALLATION_TAG, &self.installation)).into_paginator().page_size(PAGE).send();
        let mut workers = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Refused::from)?;
            let found = page.reservations().iter().flat_map(|reservation| reservation.instances());
            workers.extend(found.map(instance).filter(|it| it.state != InstanceState::Ended).map(|it| it.id));
        }
        Ok(workers)
    }

    /// Whether it is an image of this installation's workers that can be launched: a plain server's, which the
    /// parameter names at first, does not have the tag.
    pub async fn is_workers(&self, image: &str) -> Result<bool, Refused> {
        let request = self.ec2.describe_images().owners("self").image_ids(image);
        let answer = match request.send().await.map_err(Refused::from) {
            Err(refused) if refused.code.starts_with("InvalidAMIID") => return Ok(false),
            answer => answer?,
        };
        Ok(answer.images().iter().any(|image| {
            let is_ours = tag(image.tags(), INSTALLATION_TAG) == Some(self.installation());
            is_ours && image.state() == Some(&State::Available)
        }))
    }
}

fn has(instance: &Instance, filter: &Filter) -> bool {
    let key = filter.name().unwrap_or_default().trim_start_matches("tag:");
    tag(instance.tags(), key).is_some_and(|value| filter.values().iter().any(|wanted| wanted == value))
}

fn image(image: &Image) -> BakedImage {
    let (bake, part) = of_bake(image.tags());
    let devices = image.block_device_mappings().iter().filter_map(|device| {
        let snapshot = device.ebs()?.snapshot_id()?;
        Some((device.device_name()?.to_owned(), snapshot.to_owned()))
    });
    BakedImage {
        id: image.image_id().unwrap_or_default().to_owned(),
        name: image.name().unwrap_or_default().to_owned(),
        part,
        bake,
        state: match image.state() {
            Some(State::Available) => ImageState::Available,
            Some(State::Pending) | None => ImageState::Pending,
            Some(other) => {
                let why = image.state_reason().and_then(|reason| reason.message()).unwrap_or_default();
                ImageState::Failed(format!("{} {why}", other.as_str()).trim().to_owned())
            }
        },
        made_at: image.creation_date().unwrap_or_default().to_owned(),
        source: image.source_instance_id().map(str::to_owned),
        devices: devices.collect(),
    }
}

fn state_of(instance: &Instance) -> InstanceStateName {
    instance.state().and_then(|state| state.name()).cloned().unwrap_or(InstanceStateName::Pending)
}

fn instance(instance: &Instance) -> BakeInstance {
    let (bake, part) = of_bake(instance.tags());
    let reason = instance.state_reason().and_then(|reason| reason.message());
    BakeInstance {
        id: instance.instance_id().unwrap_or_default().to_owned(),
        part,
        bake,
        state: match state_of(instance) {
            InstanceStateName::Stopped => InstanceState::Stopped,
            InstanceStateName::ShuttingDown | InstanceStateName::Terminated => InstanceState::Ended,
            _ => InstanceState::Alive,
        },
        reason: reason.map(str::to_owned),
    }
}

fn snapshot(snapshot: &Snapshot) -> BakedSnapshot {
    let (bake, _) = of_bake(snapshot.tags());
    let progress = snapshot.progress().and_then(|text| text.trim_end_matches('%').parse().ok());
    BakedSnapshot { id: snapshot.snapshot_id().unwrap_or_default().to_owned(), bake, progress }
}

/// Whom a rule lets pass; nobody where it names this machine alone, which never leaves it.
fn open_to(rule: &IpPermission) -> Vec<String> {
    let ranges = rule.ip_ranges().iter().filter_map(|range| range.cidr_ip());
    let ranges = ranges.filter(|range| !range.starts_with("127."));
    let v6 = rule.ipv6_ranges().iter().filter_map(|range| range.cidr_ipv6());
    let groups = rule.user_id_group_pairs().iter().filter_map(|pair| pair.group_id());
    let lists = rule.prefix_list_ids().iter().filter_map(|list| list.prefix_list_id());
    ranges.chain(v6).chain(groups).chain(lists).map(str::to_owned).collect()
}
