//! The roles that launches rest on: `aws.spot_role`, by which EC2 launches spot instances, and `aws.worker_role`, by
//! which agents prove themselves. A session of that role is named after its instance only where EC2 alone may assume
//! it.

use std::collections::BTreeSet;

use serde_json::Value;
use spillway_brain::RefusalClass;

use super::Finding;
use crate::cloud::{Cloud, Refused, Role, SPOT_ROLE};
use crate::config::TrustKind;

const SPOT: &str = "aws.spot_role";
const WORKER: &str = "aws.worker_role";
/// EC2 as roles name it, in China also with its own suffix.
const EC2: [&str; 2] = ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"];

/// EC2 makes the role by itself at the first request for a spot instance, if whoever asks may; the coordinator's policy
/// does not let it. So without the role its first launch is refused.
pub(super) async fn spot(cloud: &Cloud) -> Finding {
    match cloud.has_spot_role().await {
        Ok(true) => Finding::ok(SPOT, format!("the account has {SPOT_ROLE}")),
        Ok(false) => Finding::fail(
            SPOT,
            format!(
                "the account has no {SPOT_ROLE}: EC2 makes it at the first launch only for who has \
                 iam:CreateServiceLinkedRole, which ami/coordinator-policy.json does not give"
            ),
            "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
        ),
        Err(refused) => not_known(SPOT, &refused, "iam:GetRole"),
    }
}

/// `profile` is the launch template's. `expected` is the role's name, where it is not the profile's.
pub(super) async fn worker(cloud: &Cloud, profile: &str, expected: Option<&str>, kind: TrustKind) -> Finding {
    match cloud.role_of_profile(profile).await {
        Ok(Some(role)) => judged(&role, expected.unwrap_or(profile), kind),
        Ok(None) => Finding::fail(
            WORKER,
            format!("there is no instance profile {profile} with a role"),
            "make both (ami/README.md), or set IamInstanceProfile in the launch template to one that exists",
        ),
        Err(refused) => not_known(WORKER, &refused, "iam:GetInstanceProfile"),
    }
}

fn not_known(id: &'static str, refused: &Refused, permission: &str) -> Finding {
    let allow = format!("allow {permission} to the primary's role: ami/coordinator-policy.json");
    let remedy = match refused.class {
        RefusalClass::Permission => allow,
        _ => format!("let this machine reach IAM (route, proxy, DNS), and {allow}"),
    };
    Finding::warn(id, format!("it is not known: {refused}"), remedy)
}

fn judged(role: &Role, expected: &str, kind: TrustKind) -> Finding {
    let name = &role.name;
    let remedy = format!(
        "have its trust policy name ec2.amazonaws.com alone: aws iam update-assume-role-policy --role-name {name} \
         --policy-document file://trust.json (ami/README.md)"
    );
    let Some(Trust { ec2, others }) = Trust::read(&role.trust) else {
        return Finding::warn(WORKER, format!("IAM does not tell who may assume {name}"), remedy);
    };
    if !others.is_empty() {
        let others: Vec<String> = others.into_iter().collect();
        let detail = format!(
            "{name} can be assumed by {}: a session of theirs can have any instance's id as its name",
            others.join(", ")
        );
        // With the join token nobody is known by this role.
        return match kind {
            TrustKind::Aws => Finding::fail(WORKER, detail, remedy),
            TrustKind::Token => Finding::warn(WORKER, detail, remedy),
        };
    }
    if !ec2 {
        let detail = format!("EC2 may not assume {name}: instances get no credentials of it");
        return match kind {
            TrustKind::Aws => Finding::fail(WORKER, detail, remedy),
            TrustKind::Token => Finding::warn(WORKER, detail, remedy),
        };
    }
    if kind == TrustKind::Aws && name != expected {
        return Finding::fail(
            WORKER,
            format!("the role of the instance profile is {name}, and agents are expected to have {expected}"),
            format!("set grpc.role = \"{name}\""),
        );
    }
    Finding::ok(WORKER, format!("EC2 alone can assume {name}"))
}

/// Whom a trust policy lets assume its role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trust {
    ec2: bool,
    /// Each as the policy names it, with its kind.
    others: BTreeSet<String>,
}

impl Trust {
    /// Conditions are not looked at: whoever is named counts. None where it is no policy.
    fn read(document: &str) -> Option<Self> {
        let document: Value = serde_json::from_str(document).ok()?;
        let mut trust = Trust::default();
        for statement in list(document.get("Statement")?) {
            if statement.get("Effect")?.as_str()? != "Allow" {
                continue;
            }
            match (statement.get("Principal"), statement.get("NotPrincipal")) {
                (Some(Value::String(anybody)), _) => trust.add("", anybody),
                (Some(Value::Object(kinds)), _) => {
                    for (kind, named) in kinds {
                        list(named).iter().for_each(|it| trust.add(kind, it.as_str().unwrap_or("what is no name")));
                    }
                }
                (_, Some(_)) => trust.add("NotPrincipal", "everybody but some"),
                _ => return None,
            }
        }
        Some(trust)
    }

    fn add(&mut self, kind: &str, name: &str) {
        match (kind, name) {
            ("Service", name) if EC2.contains(&name) => self.ec2 = true,
            (_, "*") => _ = self.others.insert("* (everybody)".to_owned()),
            (kind, name) => _ = self.others.insert(format!("{kind} {name}")),
        }
    }
}

/// What JSON policies write as a list, or without one where it has one element.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    }
}

#[cfg(test)]
mod tests;
