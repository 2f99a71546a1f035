//! What is made, ended and deleted. Each call can be repeated: images are named after their bake, launches have a
//! client token of it, and what is gone already counts as deleted.

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, InstanceMetadataOptionsRequest, InstanceType, ResourceType,
    ShutdownBehavior, TagSpecification,
};
use aws_sdk_ssm::types::ParameterType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use super::{Images, Launch, Part};
use crate::cloud::Refused;
use crate::cloud::permitted::WOULD_SUCCEED;

/// The data type of a parameter that has an image's id.
const OF_AN_IMAGE: &str = "aws:ec2:image";

impl Images {
    /// An image of an instance, without a reboot: its id, or None where there is an image of that name already.
    pub async fn create_image(
        &self,
        instance: &str,
        name: &str,
        (bake, part): (&str, Part),
        dry_run: bool,
    ) -> Result<Option<String>, Refused> {
        let tags = |kind| TagSpecification::builder().resource_type(kind).set_tags(Some(self.tags(bake, part))).build();
        let request = self.ec2.create_image().instance_id(instance).name(name).no_reboot(true).dry_run(dry_run);
        let request = request.tag_specifications(tags(ResourceType::Image));
        let request = request.tag_specifications(tags(ResourceType::Snapshot));
        match request.send().await.map_err(Refused::from) {
            Ok(answer) => Ok(answer.image_id().map(str::to_owned)),
            Err(refused) if refused.code == "InvalidAMIName.Duplicate" || refused.code == WOULD_SUCCEED => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    /// Launches an instance of a bake, on demand; the same one however often it is asked for.
    pub async fn launch(&self, launch: &Launch<'_>) -> Result<String, Refused> {
        let Launch { bake, part, image, instance_type, subnet, groups, user_data } = launch;
        let tags =
            |kind| TagSpecification::builder().resource_type(kind).set_tags(Some(self.tags(bake, *part))).build();
        // Without a name the volumes of an image whose primary keeps its disks would stay.
        let devices = image.devices.iter().map(|(name, _)| {
            let ebs = EbsBlockDevice::builder().delete_on_termination(true).encrypted(true).build();
            BlockDeviceMapping::builder().device_name(name).ebs(ebs).build()
        });
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(1)
            .build();
        let request = self
            .ec2
            .run_instances()
            .client_token(self.client_token(bake, *part))
            .image_id(&image.id)
            .instance_type(InstanceType::from(*instance_type))
            .min_count(1)
            .max_count(1)
            .set_subnet_id(subnet.map(str::to_owned))
            .set_security_group_ids(Some(groups.to_vec()))
            .set_block_device_mappings(Some(devices.collect()))
            .metadata_options(metadata)
            // Stopped, it can be looked at, and made an image of.
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Stop)
            .user_data(BASE64.encode(user_data))
            .tag_specifications(tags(ResourceType::Instance))
            .tag_specifications(tags(ResourceType::Volume))
            .tag_specifications(tags(ResourceType::NetworkInterface));
        let answer = request.send().await.map_err(Refused::from)?;
        Ok(answer.instances().first().and_then(|instance| instance.instance_id()).unwrap_or_default().to_owned())
    }

    /// Of one bake's launch in one installation: EC2's tokens belong to the whole account.
    fn client_token(&self, bake: &str, part: Part) -> String {
        let digest = Sha256::digest(format!("{}/{bake}/{}", self.installation, part.name()));
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    pub async fn terminate(&self, instance: &str) -> Result<(), Refused> {
        let answer = self.ec2.terminate_instances().instance_ids(instance).send().await;
        gone(answer.map(drop).map_err(Refused::from))
    }

    /// With its snapshots.
    pub async fn deregister(&self, image: &str) -> Result<(), Refused> {
        let request = self.ec2.deregister_image().image_id(image).delete_associated_snapshots(true);
        gone(request.send().await.map(drop).map_err(Refused::from))
    }

    pub async fn delete_snapshot(&self, snapshot: &str) -> Result<(), Refused> {
        gone(self.ec2.delete_snapshot().snapshot_id(snapshot).send().await.map(drop).map_err(Refused::from))
    }

    /// Has launches take this image from now on.
    pub async fn set(&self, parameter: &str, image: &str) -> Result<(), Refused> {
        let request = self.ssm.put_parameter().name(parameter).value(image).overwrite(true);
        let request = request.r#type(ParameterType::String).data_type(OF_AN_IMAGE);
        request.send().await.map(drop).map_err(Refused::from)
    }

    /// So that a template that names it can no longer be launched.
    pub async fn delete_parameter(&self, parameter: &str) -> Result<(), Refused> {
        gone(self.ssm.delete_parameter().name(parameter).send().await.map(drop).map_err(Refused::from))
    }
}

/// What is not there any more is deleted.
fn gone(answer: Result<(), Refused>) -> Result<(), Refused> {
    match answer {
        Err(refused) if is_gone(&refused.code) => Ok(()),
        answer => answer,
    }
}

fn is_gone(code: &str) -> bool {
    code.ends_with("NotFound") || code == "InvalidAMIID.Unavailable"
}
