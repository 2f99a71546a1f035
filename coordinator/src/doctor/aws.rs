//! AWS: region, credentials, the launch template and its image, whether a launch would be accepted, STS.

use spillway_brain::RefusalClass;
use spillway_proto::sts::Endpoint;

use super::Finding;
use crate::cloud::{Cloud, Image, Refused, Template};
use crate::config::{Pool, Settings, TrustKind};
use crate::installation;
use crate::registration;

/// A pool without a name of its own for its installation: what a launch is tried with.
const NOT_SETTLED: &str = "not-settled-yet";

pub(super) async fn examine(settings: &Settings, say: &mut impl FnMut(Finding)) {
    let cloud = match Cloud::connect(settings.region.as_deref(), &settings.proxies).await {
        Ok(cloud) => cloud,
        Err(error) => return say(Finding::fail("aws.proxy", error.to_string(), "set HTTPS_PROXY right, or unset it")),
    };
    let Some(region) = cloud.region() else {
        let remedy = "set AWS_REGION, or region under [ec2]";
        return say(Finding::fail("aws.region", "nothing says in which region instances are launched", remedy));
    };
    say(Finding::ok("aws.region", region.clone()));
    let ours = match cloud.installations().await {
        Ok(found) => {
            say(Finding::ok("aws.credentials", "EC2 answers these credentials (ec2:DescribeInstances)"));
            let ours = installation::known(settings).await;
            say(others(&found, ours.as_deref()));
            ours
        }
        Err(refused) => return say(no_answer(&refused)),
    };
    for pool in &settings.pools {
        of_pool(&cloud, pool, ours.as_deref().unwrap_or(NOT_SETTLED), settings.trust, say).await;
    }
    if settings.trust == TrustKind::Aws {
        say(sts(settings, &region).await);
    }
}

fn no_answer(refused: &Refused) -> Finding {
    let remedy = match refused.class {
        RefusalClass::Configuration => "allow ec2:DescribeInstances to the primary's role: ami/coordinator-policy.json",
        _ if refused.code == "NotSent" => {
            "give this machine a role (an instance profile), or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        }
        _ => "see whether this machine reaches EC2's endpoint: route, proxy, DNS",
    };
    Finding::fail("aws.credentials", refused.to_string(), remedy)
}

fn others(found: &std::collections::BTreeMap<String, usize>, ours: Option<&str>) -> Finding {
    const ID: &str = "aws.installations";
    let others: Vec<String> = found
        .iter()
        .filter(|(name, _)| Some(name.as_str()) != ours)
        .map(|(name, count)| match name.as_str() {
            "" => format!("{count} of none"),
            name => format!("{count} of {name}"),
        })
        .collect();
    match others.is_empty() {
        true => Finding::ok(ID, "no other installation has instances in this account and region"),
        false => Finding::warn(
            ID,
            format!("instances with ManagedBy = auto-scaler that are not ours: {}", others.join(", ")),
            "they are neither counted nor touched. Are all of them somebody's?",
        ),
    }
}

async fn of_pool(cloud: &Cloud, pool: &Pool, installation: &str, trust: TrustKind, say: &mut impl FnMut(Finding)) {
    let mut say = |finding: Finding| say(finding.of(&pool.name));
    match cloud.template(pool).await {
        Ok(Some(template)) => {
            say(Finding::ok("aws.template", format!("{} {}", pool.launch_template, pool.launch_template_version)));
            in_template(&template, trust).into_iter().for_each(&mut say);
            match &template.image {
                None => say(Finding::fail("aws.image", "the launch template names no image", "set its ImageId")),
                Some(id) => match cloud.image(id).await {
                    Ok(image) => say(in_image(id, image.as_ref())),
                    Err(refused) => say(Finding::warn("aws.image", refused.to_string(), "allow ec2:DescribeImages")),
                },
            }
        }
        Ok(None) => say(Finding::fail(
            "aws.template",
            format!("there is no version {} of {}", pool.launch_template_version, pool.launch_template),
            "compare pool.launch_template with `aws ec2 describe-launch-templates`",
        )),
        Err(refused) if refused.code.contains("NotFound") || refused.code.contains("Malformed") => say(Finding::fail(
            "aws.template",
            refused.to_string(),
            "compare pool.launch_template and region with `aws ec2 describe-launch-templates`",
        )),
        Err(refused) => say(Finding::warn(
            "aws.template",
            refused.to_string(),
            "allow ec2:DescribeLaunchTemplateVersions (and ssm:GetParameters, where the image is a parameter's)",
        )),
    }
    say(match cloud.would_launch(pool, installation).await {
        Ok(()) => Finding::ok("aws.launch", "EC2 would accept a launch (dry run)"),
        Err(refused) => Finding::fail("aws.launch", refused.to_string(), launch_remedy(&refused)),
    });
}

fn launch_remedy(refused: &Refused) -> &'static str {
    match refused.class {
        _ if refused.code == "NoImageYet" => "make the workers' image: spillway bake",
        RefusalClass::Configuration => {
            "give the primary's role ami/coordinator-policy.json, and compare template and image"
        }
        RefusalClass::Quota => "ask AWS for a higher quota of spot instances",
        _ => "try again; a dry run neither reserves capacity nor tells whether there is any",
    }
}

fn in_template(template: &Template, trust: TrustKind) -> Vec<Finding> {
    let mut found = Vec::new();
    found.push(match (template.has_profile, trust) {
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
    found.push(match template.has_user_data {
        true => Finding::ok("aws.template_user_data", "instances have user data"),
        false => Finding::warn(
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

fn in_image(id: &str, image: Option<&Image>) -> Finding {
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

/// Whether STS can be asked: agents cannot prove themselves otherwise.
async fn sts(settings: &Settings, region: &str) -> Finding {
    const ID: &str = "aws.sts";
    let endpoint = match Endpoint::of(region) {
        Ok(endpoint) => endpoint,
        Err(error) => return Finding::fail(ID, error.to_string(), "set AWS_REGION to a region"),
    };
    let host = endpoint.host();
    match registration::reaches_sts(endpoint, settings.sts_endpoint.clone(), &settings.proxies).await {
        Ok(()) => Finding::ok(ID, format!("{host} answers")),
        Err(why) => Finding::fail(ID, why, format!("let this machine reach https://{host}: route, proxy, DNS")),
    }
}
