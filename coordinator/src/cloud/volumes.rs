//! Volumes: each is to be deleted with its instance. An image that was made from a machine whose owner keeps its disks
//! says the opposite of its devices, and every launch would leave its volumes behind, billed. Owns what a launch says
//! of them, and finds those that were left; deletes none.
//!
//! What is not permitted (`DescribeLaunchTemplateVersions`, `DescribeImages`, `DescribeVolumes`) is not known, and
//! launches go on without.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::describe_launch_template_versions::builders::DescribeLaunchTemplateVersionsFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, Filter, LaunchTemplateBlockDeviceMapping, ResponseLaunchTemplateData,
};
use spillway_brain::{RefusalClass, Timestamp};
use tokio::time::Instant;

use super::{Cloud, INSTALLATION_TAG, Refused};
use crate::clock;
use crate::config::Pool;

/// Where they cannot be read, what was read so lately is said again: a launch that is retried must ask for the same.
const KEPT: Duration = Duration::from_secs(120);
/// A launch does not wait longer to know its devices.
const WITHIN: Duration = Duration::from_secs(5);
/// How often volumes that were left behind are looked for.
const LOOKED_FOR: Duration = Duration::from_secs(3600);
/// The same while there are some: `status` names them until they are gone.
const LOOKED_AFTER: Duration = Duration::from_secs(60);
/// Ids that are named.
const NAMED: usize = 10;

/// What is known of launches' volumes, shared by all copies of a [`Cloud`].
#[derive(Clone, Debug, Default)]
pub(super) struct Volumes(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// What launches say of their devices, by template and version, and when that was read.
    devices: BTreeMap<(String, String), (Instant, Vec<BlockDeviceMapping>)>,
    looked_at: Option<Instant>,
    left: Option<LeftVolumes>,
}

/// Volumes of this installation's launches that no instance has any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftVolumes {
    /// When EC2 was asked.
    pub at: Timestamp,
    pub ids: Vec<String>,
}

impl Volumes {
    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Cloud {
    /// What a launch must say of its devices so that none of its volumes outlives it; empty where template and image
    /// say so. Read for each launch: the devices of a template that a deploy has replaced would be those of another
    /// image.
    pub(super) async fn devices(&self, pool: &Pool) -> Vec<BlockDeviceMapping> {
        let key = (pool.launch_template.clone(), pool.launch_template_version.clone());
        let problem = match tokio::time::timeout(WITHIN, self.read_devices(pool)).await {
            Ok(Ok(devices)) => return self.knows_devices(pool, key, devices),
            Ok(Err(Refused { code, message, .. })) => format!("{code}: {message}"),
            Err(_) => format!("EC2 has not answered for {} s", WITHIN.as_secs()),
        };
        let recent = |known: &mut Known| {
            let (at, devices) = known.devices.get(&key)?;
            (at.elapsed() < KEPT).then(|| devices.clone())
        };
        let known = self.volumes.with(recent);
        if known.is_none() {
            tracing::warn!(
                pool = pool.name,
                problem,
                "cannot read which devices launches have: volumes that image or launch template keep will stay, billed. Allow \
                 ec2:DescribeLaunchTemplateVersions and ec2:DescribeImages"
            );
        }
        known.unwrap_or_default()
    }

    fn knows_devices(
        &self,
        pool: &Pool,
        key: (String, String),
        devices: Vec<BlockDeviceMapping>,
    ) -> Vec<BlockDeviceMapping> {
        let before = self.volumes.with(|known| known.devices.insert(key, (Instant::now(), devices.clone())));
        if !devices.is_empty() && before.is_none_or(|(_, before)| before != devices) {
            let names: Vec<&str> = devices.iter().filter_map(BlockDeviceMapping::device_name).collect();
            tracing::warn!(
                pool = pool.name,
                devices = names.join(", "),
                "image or launch template leave volumes behind: launches say that each is deleted with its instance"
            );
        }
        devices
    }

    async fn read_devices(&self, pool: &Pool) -> Result<Vec<BlockDeviceMapping>, Refused> {
        let request = describe_version(&self.client, &pool.launch_template, &pool.launch_template_version);
        let answer = request.send().await.map_err(Refused::from)?;
        let template = answer.launch_template_versions().first().and_then(|version| version.launch_template_data());
        let Some(template) = template else { return Ok(Vec::new()) };
        let Some(image) = image_id(template)? else { return Ok(Vec::new()) };
        let answer = self.client.describe_images().image_ids(image).send().await.map_err(Refused::from)?;
        let image = answer.images().first().map(|image| image.block_device_mappings()).unwrap_or_default();
        Ok(overrides(template, image))
    }

    /// Volumes that were left behind, by EC2's last answer; None while there was none.
    pub fn left_volumes(&self) -> Option<LeftVolumes> {
        self.volumes.with(|known| known.left.clone())
    }

    /// Looks for volumes of this installation that no instance has any more, once in an hour, and once in a minute
    /// while there are some; names them in the log whenever they are others.
    pub async fn look_for_left_volumes(&self, installation: &str) {
        let is_due = |known: &mut Known| {
            let has_some = known.left.as_ref().is_some_and(|left| !left.ids.is_empty());
            let interval = if has_some { LOOKED_AFTER } else { LOOKED_FOR };
            let is_due = known.looked_at.is_none_or(|at| at.elapsed() >= interval);
            if is_due {
                known.looked_at = Some(Instant::now());
            }
            is_due
        };
        if !self.volumes.with(is_due) {
            return;
        }
        let at = clock::now();
        let ids = match self.read_left_volumes(installation).await {
            Ok(ids) => ids,
            Err(Refused { code, message, .. }) => {
                return tracing::debug!(code, detail = message, "cannot look for volumes that were left behind");
            }
        };
        let (count, named) = (ids.len(), ids[..ids.len().min(NAMED)].join(", "));
        let is_new = self.volumes.with(|known| {
            let is_new = known.left.as_ref().map_or(&[][..], |left| &left.ids) != ids;
            known.left = Some(LeftVolumes { at, ids });
            is_new
        });
        if is_new && count > 0 {
            tracing::warn!(
                count,
                volumes = named,
                "volumes that instances of this installation left behind are billed on: delete them if nobody needs them"
            );
        }
    }

    /// Ids of the volumes that this installation's launches made, and that no instance has any more.
    async fn read_left_volumes(&self, installation: &str) -> Result<Vec<String>, Refused> {
        let by = |name: String, value: &str| Filter::builder().name(name).values(value).build();
        let request = self.client.describe_volumes();
        let request = request.filters(by(format!("tag:{INSTALLATION_TAG}"), installation));
        let mut pages = request.filters(by("status".to_owned(), "available")).into_paginator().page_size(100).send();
        let mut left = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Refused::from)?;
            left.extend(page.volumes().iter().filter_map(|volume| volume.volume_id().map(str::to_owned)));
        }
        left.sort_unstable();
        Ok(left)
    }
}

/// Asks for one version of a launch template, with the image's id even where it names a parameter of Systems Manager.
pub(super) fn describe_version(
    client: &Client,
    template: &str,
    version: &str,
) -> DescribeLaunchTemplateVersionsFluentBuilder {
    let request = client.describe_launch_template_versions().versions(version).resolve_alias(true);
    match template.starts_with("lt-") {
        true => request.launch_template_id(template),
        false => request.launch_template_name(template),
    }
}

/// The image's id; an error where EC2 did not resolve the template's parameter, since devices of no known image would
/// be nobody's.
pub(super) fn image_id(template: &ResponseLaunchTemplateData) -> Result<Option<&str>, Refused> {
    match template.image_id() {
        Some(image) if !image.starts_with("ami-") => Err(Refused {
            class: RefusalClass::Retry,
            code: "UnresolvedImage".to_owned(),
            message: format!(
                "EC2 has not resolved the launch template's image {image}: allow ssm:GetParameters, or write the image's id (ami-…)"
            ),
        }),
        image => Ok(image),
    }
}

/// All devices of a launch, each deleted with its instance; none where they are so already. All of them, since a
/// request's devices may take the place of the template's.
fn overrides(template: &ResponseLaunchTemplateData, image: &[BlockDeviceMapping]) -> Vec<BlockDeviceMapping> {
    let of_template: BTreeMap<&str, &LaunchTemplateBlockDeviceMapping> =
        template.block_device_mappings().iter().filter_map(|it| Some((it.device_name()?, it))).collect();
    let of_image: BTreeMap<&str, &BlockDeviceMapping> =
        image.iter().filter_map(|it| Some((it.device_name()?, it))).collect();
    let is_deleted = |name: &str| {
        let (template, image) = (of_template.get(name), of_image.get(name));
        if template.is_some_and(|it| it.no_device().is_some()) {
            return true;
        }
        let by_template = template.and_then(|it| it.ebs());
        let by_image = image.and_then(|it| it.ebs());
        let is_volume = by_template.is_some() || by_image.is_some();
        let says = by_template
            .and_then(|it| it.delete_on_termination())
            .or(by_image.and_then(|it| it.delete_on_termination()));
        !is_volume || says.unwrap_or(false)
    };
    if of_template.keys().chain(of_image.keys()).all(|name| is_deleted(name)) {
        return Vec::new();
    }
    let size_on_image = |name: &str| of_image.get(name).and_then(|it| it.ebs()).and_then(EbsBlockDevice::volume_size);
    let mut devices: Vec<BlockDeviceMapping> =
        of_template.iter().map(|(name, it)| copied(it, size_on_image(name))).collect();
    let only_of_image = of_image.iter().filter(|(name, it)| !of_template.contains_key(**name) && it.ebs().is_some());
    // With the image's own size: not every EC2 takes a device that has neither a size nor a snapshot.
    devices.extend(only_of_image.map(|(name, _)| {
        let size = size_on_image(name);
        let ebs = EbsBlockDevice::builder().delete_on_termination(true).set_volume_size(size).build();
        BlockDeviceMapping::builder().device_name(*name).ebs(ebs).build()
    }));
    devices
}

/// A template's device as a request writes it, deleted with its instance; of the image's size where the template says
/// neither size nor snapshot.
fn copied(device: &LaunchTemplateBlockDeviceMapping, size_on_image: Option<i32>) -> BlockDeviceMapping {
    let ebs = device.ebs().map(|ebs| {
        let size = ebs.volume_size().or(size_on_image.filter(|_| ebs.snapshot_id().is_none()));
        EbsBlockDevice::builder()
            .delete_on_termination(true)
            .set_encrypted(ebs.encrypted())
            .set_iops(ebs.iops())
            .set_kms_key_id(ebs.kms_key_id().map(str::to_owned))
            .set_snapshot_id(ebs.snapshot_id().map(str::to_owned))
            .set_volume_size(size)
            .set_volume_type(ebs.volume_type().cloned())
            .set_throughput(ebs.throughput())
            .set_volume_initialization_rate(ebs.volume_initialization_rate())
            .set_ebs_card_index(ebs.ebs_card_index())
            .build()
    });
    BlockDeviceMapping::builder()
        .set_device_name(device.device_name().map(str::to_owned))
        .set_virtual_name(device.virtual_name().map(str::to_owned))
        .set_no_device(device.no_device().map(str::to_owned))
        .set_ebs(ebs)
        .build()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::config::BehaviorVersion;
    use aws_sdk_ec2::types::LaunchTemplateEbsBlockDevice;

    use super::*;

    fn on_image(name: &str, is_deleted: Option<bool>) -> BlockDeviceMapping {
        let ebs = EbsBlockDevice::builder().volume_size(8).set_delete_on_termination(is_deleted).build();
        BlockDeviceMapping::builder().device_name(name).ebs(ebs).build()
    }

    fn template(name: &str, size: i32, is_deleted: Option<bool>) -> ResponseLaunchTemplateData {
        let ebs =
            LaunchTemplateEbsBlockDevice::builder().volume_size(size).set_delete_on_termination(is_deleted).build();
        let device = LaunchTemplateBlockDeviceMapping::builder().device_name(name).ebs(ebs).build();
        ResponseLaunchTemplateData::builder().block_device_mappings(device).build()
    }

    fn said(devices: &[BlockDeviceMapping]) -> Vec<(&str, Option<bool>, Option<i32>)> {
        let of = |device: &'_ BlockDeviceMapping| {
            let ebs = device.ebs().expect("a volume");
            (ebs.delete_on_termination(), ebs.volume_size())
        };
        devices.iter().map(|it| (it.device_name().expect("a name"), of(it).0, of(it).1)).collect()
    }

    #[test]
    fn an_image_that_a_parameter_names_is_asked_for_and_one_that_is_not_told_is_an_error() {
        let configuration = aws_sdk_ec2::Config::builder().behavior_version(BehaviorVersion::latest()).build();
        let request = describe_version(&Client::from_conf(configuration), "lt-1", "$Default");
        assert_eq!(request.as_input().get_resolve_alias(), &Some(true));
        let with =
            |image: Option<&str>| ResponseLaunchTemplateData::builder().set_image_id(image.map(str::to_owned)).build();
        assert_eq!(image_id(&with(Some("ami-1"))).expect("an image"), Some("ami-1"));
        assert_eq!(image_id(&with(None)).expect("nothing to ask for"), None);
        for image in ["resolve:ssm:/worker/image", "resolve:ssm:/worker/image:3", "/worker/image"] {
            let Refused { message, .. } = image_id(&with(Some(image))).expect_err("whose devices?");
            assert!(message.contains(image) && message.contains("ssm:GetParameters"), "{message}");
        }
    }

    #[test]
    fn every_device_is_deleted_with_its_instance_whatever_image_and_template_say() {
        let nothing = ResponseLaunchTemplateData::builder().build();
        assert_eq!(overrides(&nothing, &[on_image("/dev/sda1", Some(true))]), []);
        assert_eq!(overrides(&nothing, &[]), []);
        let two = [on_image("/dev/sda1", Some(true)), on_image("/dev/sdb", Some(false))];
        let expected = [("/dev/sda1", Some(true), Some(8)), ("/dev/sdb", Some(true), Some(8))];
        assert_eq!(said(&overrides(&nothing, &two)), expected);
        // The template says it of the one that the image keeps, and its other words stay as they are.
        assert_eq!(overrides(&template("/dev/sdb", 40, Some(true)), &two), []);
        let expected = [("/dev/sdb", Some(true), Some(40)), ("/dev/sda1", Some(true), Some(8))];
        assert_eq!(said(&overrides(&template("/dev/sdb", 40, Some(false)), &two)), expected);
        // Where the template has only the flag, the image's size goes with it.
        let ebs = LaunchTemplateEbsBlockDevice::builder().delete_on_termination(false).build();
        let flag = LaunchTemplateBlockDeviceMapping::builder().device_name("/dev/sda1").ebs(ebs).build();
        let flag = ResponseLaunchTemplateData::builder().block_device_mappings(flag).build();
        assert_eq!(said(&overrides(&flag, &two[..1])), [("/dev/sda1", Some(true), Some(8))]);
        // A volume of the template alone, of which nothing is said, stays.
        let expected = [("/dev/sdc", Some(true), Some(10)), ("/dev/sda1", Some(true), Some(8))];
        assert_eq!(said(&overrides(&template("/dev/sdc", 10, None), &two[..1])), expected);
        // What has no volume is left as it is.
        let ephemeral = BlockDeviceMapping::builder().device_name("/dev/sdd").virtual_name("ephemeral0").build();
        assert_eq!(overrides(&nothing, &[ephemeral]), []);
    }
}
