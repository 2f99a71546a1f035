//! What `spillway doctor` looks at: the launch template as EC2 has it, its image, whether a launch would be accepted,
//! and whose instances are in the account. Nothing is launched or changed.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    Filter, ImageState, LaunchTemplateHttpTokensState, LaunchTemplateIamInstanceProfileSpecification, ShutdownBehavior,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use spillway_brain::{LaunchToken, RefusalClass};

use super::permitted::WOULD_SUCCEED;
use super::volumes::{describe_version, image_id};
use super::{Cloud, INSTALLATION_TAG, MANAGED_BY, Refused};
use crate::config::Pool;

/// What the version of a launch template says that launches rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pub image: Option<String>,
    pub instance_type: Option<String>,
    /// The name of its instance profile.
    pub profile: Option<String>,
    /// Decoded; empty where there is none.
    pub user_data: String,
    /// Metadata by IMDSv2 alone.
    pub requires_tokens: bool,
    /// Of metadata's answers; None where EC2's default holds.
    pub hop_limit: Option<i32>,
    pub terminates_on_shutdown: bool,
}

/// An image as EC2 has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub is_available: bool,
    pub owner: Option<String>,
    pub is_public: bool,
    /// As EC2 writes it.
    pub made_at: Option<String>,
}

/// The name, which is also the end of its ARN.
fn profile_name(profile: &LaunchTemplateIamInstanceProfileSpecification) -> String {
    let of_arn = || profile.arn().and_then(|arn| arn.rsplit('/').next());
    profile.name().or_else(of_arn).unwrap_or_default().to_owned()
}

/// What user data says; as it is where it is no base64, which is not taken here for nothing.
fn text_of(user_data: &str) -> String {
    match BASE64.decode(user_data) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => user_data.to_owned(),
    }
}

impl Cloud {
    /// The version of the launch template that launches name; None where there is none.
    pub async fn template(&self, pool: &Pool) -> Result<Option<Template>, Refused> {
        let request = describe_version(&self.client, &pool.launch_template, &pool.launch_template_version);
        let answer = request.send().await.map_err(Refused::from)?;
        let version = answer.launch_template_versions().first();
        let Some(data) = version.and_then(|version| version.launch_template_data()) else { return Ok(None) };
        let metadata = data.metadata_options();
        Ok(Some(Template {
            image: image_id(data)?.map(str::to_owned),
            instance_type: data.instance_type().map(|it| it.as_str().to_owned()),
            profile: data.iam_instance_profile().map(profile_name),
            user_data: data.user_data().map(text_of).unwrap_or_default(),
            requires_tokens: metadata.and_then(|it| it.http_tokens()) == Some(&LaunchTemplateHttpTokensState::Required),
            hop_limit: metadata.and_then(|it| it.http_put_response_hop_limit()),
            terminates_on_shutdown: data.instance_initiated_shutdown_behavior() == Some(&ShutdownBehavior::Terminate),
        }))
    }

    /// None where EC2 does not know it.
    pub async fn image(&self, id: &str) -> Result<Option<Image>, Refused> {
        let answer = self.client.describe_images().image_ids(id).send().await.map_err(Refused::from)?;
        Ok(answer.images().first().map(|image| Image {
            is_available: image.state() == Some(&ImageState::Available),
            owner: image.owner_id().map(str::to_owned),
            is_public: image.public().unwrap_or(false),
            made_at: image.creation_date().map(str::to_owned),
        }))
    }

    /// Whether EC2 would accept a launch as this pool makes it, and it would be made.
    pub async fn would_launch(&self, pool: &Pool, installation: &str) -> Result<(), Refused> {
        if let Some(refused) = self.no_image_yet(pool, installation).await {
            return Err(refused);
        }
        let token = LaunchToken("spillway-doctor".to_owned());
        let request = self.launch_request(pool, installation, &token).await;
        match request.dry_run(true).send().await.map_err(Refused::from) {
            Err(refused) if refused.code == WOULD_SUCCEED => Ok(()),
            // EC2 answers a dry run with an error: whatever this is, it has launched.
            Ok(_) => Err(Refused {
                class: RefusalClass::Configuration,
                code: "NoDryRun".to_owned(),
                message: "what answers as EC2 has launched an instance although a dry run was asked for: terminate it"
                    .to_owned(),
            }),
            Err(refused) => Err(refused),
        }
    }

    /// How many instances that are not terminated each installation has in the account.
    pub async fn installations(&self) -> Result<BTreeMap<String, usize>, Refused> {
        let by = |name: &str, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            Filter::builder().name(name).set_values(Some(values)).build()
        };
        let request = self.client.describe_instances().filters(by(&format!("tag:{}", MANAGED_BY.0), &[MANAGED_BY.1]));
        let living = by("instance-state-name", &["pending", "running", "stopping", "stopped"]);
        let mut pages = request.filters(living).into_paginator().page_size(100).send();
        let mut found = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Refused::from)?;
            for instance in page.reservations().iter().flat_map(|reservation| reservation.instances()) {
                let tag = instance.tags().iter().find(|tag| tag.key() == Some(INSTALLATION_TAG));
                let name = tag.and_then(|tag| tag.value()).unwrap_or_default();
                *found.entry(name.to_owned()).or_default() += 1;
            }
        }
        Ok(found)
    }
}
