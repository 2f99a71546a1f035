//! AWS, one thing after the other: region, endpoints, clock, credentials, permissions, the launch template with what it
//! names, whether a launch would be accepted, quotas, STS.

use spillway_brain::RefusalClass;
use spillway_proto::sts::Endpoint;

use super::quotas::Wanted;
use super::template::{in_image, in_template};
use super::{Finding, address, clocks, endpoints, permissions, quotas, roles};
use crate::cloud::{Cloud, Refused, Template};
use crate::config::{self, Pool, Settings, TrustKind};
use crate::installation;
use crate::registration;

/// A pool without a name of its own for its installation: what a launch is tried with.
const NOT_SETTLED: &str = "not-settled-yet";
/// EC2's words where it does not know whose signature it is, or takes it for an old one.
const UNKNOWN_SIGNER: [&str; 5] =
    ["AuthFailure", "SignatureDoesNotMatch", "InvalidClientTokenId", "ExpiredToken", "RequestExpired"];

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
    let environment = config::process_environment();
    if let Some(wrong) = endpoints::of_ec2(&environment) {
        return say(wrong);
    }
    endpoints::of_others(&environment).into_iter().for_each(&mut *say);
    say(clocks::aws(&cloud).await);
    let ours = match cloud.installations().await {
        Ok(found) => {
            say(Finding::ok("aws.credentials", "EC2 answers these credentials (ec2:DescribeInstances)"));
            let ours = installation::known(settings).await;
            say(others(&found, ours.as_deref()));
            ours
        }
        Err(refused) => return say(no_answer(&refused)),
    };
    permissions::examine(&cloud, ours.as_deref(), say).await;
    let mut wanted = Vec::new();
    for pool in &settings.pools {
        let template = of_pool(&cloud, pool, ours.as_deref().unwrap_or(NOT_SETTLED), settings, say).await;
        wanted.extend(template.and_then(|template| wants(pool, template, say)));
    }
    quotas::examine(&cloud, &wanted, ours.as_deref(), say).await;
    say(roles::spot(&cloud).await);
    if settings.trust == TrustKind::Aws {
        say(sts(settings, &region).await);
    }
}

fn no_answer(refused: &Refused) -> Finding {
    let remedy = match refused.class {
        _ if UNKNOWN_SIGNER.contains(&refused.code.as_str()) => {
            "compare the credentials with IAM's, and this machine's clock with EC2's (clock.aws)"
        }
        RefusalClass::Permission | RefusalClass::Configuration => {
            "allow ec2:DescribeInstances to the primary's role: ami/coordinator-policy.json"
        }
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

/// What is launched from a template, for the quotas.
fn wants(pool: &Pool, template: Template, say: &mut impl FnMut(Finding)) -> Option<Wanted> {
    let Some(instance_type) = template.instance_type else {
        let detail = "the launch template names no instance type, and EC2's default is an old one";
        say(Finding::warn("aws.template_type", detail, "set its InstanceType").of(&pool.name));
        return None;
    };
    Some(Wanted { instance_type, max_instances: pool.brain.max_instances })
}

/// What EC2 says of one pool; its template, where there is one.
async fn of_pool(
    cloud: &Cloud,
    pool: &Pool,
    installation: &str,
    settings: &Settings,
    say: &mut impl FnMut(Finding),
) -> Option<Template> {
    let mut say = |finding: Finding| say(finding.of(&pool.name));
    let template = cloud.template(pool).await;
    match &template {
        Ok(Some(template)) => {
            say(Finding::ok("aws.template", format!("{} {}", pool.launch_template, pool.launch_template_version)));
            in_template(template, settings.trust).into_iter().for_each(&mut say);
            say(address::examine(&template.user_data, settings.grpc_advertise.as_deref()).await);
            if let Some(profile) = &template.profile {
                say(roles::worker(cloud, profile, settings.role.as_deref(), settings.trust).await);
            }
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
        Ok(()) => Finding::ok("aws.launch", "EC2 would accept a launch, with its tags and role (dry run)"),
        Err(refused) => Finding::fail("aws.launch", refused.to_string(), launch_remedy(&refused)),
    });
    template.ok().flatten()
}

fn launch_remedy(refused: &Refused) -> &'static str {
    match refused.class {
        _ if refused.code == "NoImageYet" => "make the workers' image: spillway bake",
        RefusalClass::Permission | RefusalClass::Configuration => {
            "give the primary's role ami/coordinator-policy.json, and compare template and image"
        }
        RefusalClass::Quota => "ask AWS for a higher quota of spot instances",
        _ => "try again; a dry run neither reserves capacity nor tells whether there is any",
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
