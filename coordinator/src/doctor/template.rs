//! The launch template and its image: what launches rest on, as EC2 has it.

use super::Finding;
use crate::cloud::{Image, Template};
use crate::config::TrustKind;

pub(super) fn in_template(template: &Template, trust: TrustKind) -> Vec<Finding> {
    let mut found = Vec::new();
    found.push(match (template.profile.is_some(), trust) {
        (true, _) => Finding::ok("aws.template_profile", "instances have a profile"),
        (false, TrustKind::Token) => {
            Finding::ok("aws.template_profile", "none, and none is needed (grpc.trust = \"token\")")
        }
        (false, TrustKind::Aws) => Finding::fail(
            "aws.template_profile",
            "instances have no profile: their agents cannot prove which instance they are",
            "set IamInstanceProfile in the launch template",
        ),
    });
    found.push(match template.user_data.is_empty() {
        false => Finding::ok("aws.template_user_data", "instances have user data"),
        true => Finding::warn(
            "aws.template_user_data",
            "there is no user data: nothing starts the agent or tells it the coordinator's CA",
            "put ami/user-data.sh there, unless the image starts the agent by itself",
        ),
    });
    let is_near = template.hop_limit.is_none_or(|limit| limit <= 1);
    found.push(match template.requires_tokens && is_near {
        true => Finding::ok("aws.template_metadata", "metadata by IMDSv2 alone, and not from containers"),
        false => Finding::warn(
            "aws.template_metadata",
            "whoever can make the worker fetch a URL can read the instance's credentials",
            "set MetadataOptions to HttpTokens = required, HttpPutResponseHopLimit = 1",
        ),
    });
    found.push(match template.terminates_on_shutdown {
        true => Finding::ok("aws.template_shutdown", "an instance that powers itself off is terminated"),
        false => Finding::warn(
            "aws.template_shutdown",
            "the template does not say that a power-off terminates; launches of the coordinator say it",
            "set InstanceInitiatedShutdownBehavior = terminate, for launches by hand",
        ),
    });
    found
}

pub(super) fn in_image(id: &str, image: Option<&Image>) -> Finding {
    const ID: &str = "aws.image";
    match image {
        None => {
            Finding::fail(ID, format!("there is no image {id}"), "set the launch template's ImageId to one that exists")
        }
        Some(image) if !image.is_available => {
            Finding::fail(ID, format!("{id} is not available yet, or failed"), "wait for it, or make it again")
        }
        Some(image) if image.is_public => Finding::warn(
            ID,
            format!("{id} is public: whoever launches it reads the application's .env"),
            "aws ec2 reset-image-attribute --attribute launchPermission, and change what was in it",
        ),
        Some(image) => {
            let made = image.made_at.as_deref().map(|at| format!(", made {at}")).unwrap_or_default();
            Finding::ok(ID, format!("{id}{made}"))
        }
    }
}
