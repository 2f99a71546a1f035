//! An instance's metadata: every path and its content, and the listings of directories.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::clock::{event_time, iso_seconds};
use crate::credentials::Credentials;
use crate::model::{Instance, Lifecycle};
use crate::region::{ACCOUNT_ID, Region, VPC_ID};

/// How long the credentials claim to be good.
const CREDENTIALS_MS: u64 = 6 * 60 * 60 * 1000;
/// The service's other names for `latest`: the first ones that cloud-init asks for, in its data source for EC2.
const VERSIONS: &[&str] = &["2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "2021-07-15", "latest"];

/// The content at `path`, or none: 404.
pub(super) fn read(instance: &Instance, region: &Region, now_ms: u64, path: &str) -> Option<Vec<u8>> {
    let path = decode(path.trim_start_matches('/'));
    if path.is_empty() {
        return Some(VERSIONS.join("\n").into_bytes());
    }
    let (version, rest) = path.split_once('/').unwrap_or((&path, ""));
    if !VERSIONS.contains(&version) {
        return None;
    }
    let rest = rest.trim_start_matches('/');
    if rest == "user-data" {
        return instance.user_data.as_deref().map(<[u8]>::to_vec);
    }
    let leaves = leaves(instance, region, now_ms);
    let rest = rest.trim_end_matches('/');
    leaves.get(rest).cloned().or_else(|| list(&leaves, rest)).map(String::into_bytes)
}

/// The names in a directory, those of directories with a slash.
fn list(leaves: &BTreeMap<String, String>, directory: &str) -> Option<String> {
    let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let names: BTreeSet<String> = leaves
        .keys()
        .filter_map(|leaf| leaf.strip_prefix(&prefix))
        .map(|rest| rest.split_once('/').map_or_else(|| rest.to_owned(), |(name, _)| format!("{name}/")))
        .collect();
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join("\n"))
}

fn leaves(instance: &Instance, region: &Region, now_ms: u64) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    let mut set = |path: &str, content: String| drop(leaves.insert(path.to_owned(), content));
    set("dynamic/instance-identity/document", identity(instance, region));
    let mut set = |path: &str, content: String| set(&format!("meta-data/{path}"), content);
    set("ami-id", instance.image_id.clone());
    set("ami-launch-index", instance.launch_index.to_string());
    set("hostname", instance.private_dns());
    set("instance-action", "none".to_owned());
    set("instance-id", instance.id.clone());
    set("instance-life-cycle", instance.lifecycle.name().to_owned());
    set("instance-type", instance.instance_type.clone());
    set("local-hostname", instance.private_dns());
    set("local-ipv4", instance.private_ip.clone());
    set("mac", instance.mac.clone());
    for (name, content) in [
        ("device-number", "0".to_owned()),
        ("local-ipv4s", instance.private_ip.clone()),
        ("mac", instance.mac.clone()),
        ("security-group-ids", instance.security_groups.join("\n")),
        ("subnet-id", instance.subnet_id.clone()),
        ("vpc-id", VPC_ID.to_owned()),
    ] {
        set(&format!("network/interfaces/macs/{}/{name}", instance.mac), content);
    }
    set("placement/availability-zone", instance.availability_zone.clone());
    if let Ok(zone) = region.zone(&instance.availability_zone) {
        set("placement/availability-zone-id", zone.id.clone());
    }
    set("placement/region", region.name.clone());
    set("profile", "default-hvm".to_owned());
    set("reservation-id", instance.reservation_id.clone());
    set("security-groups", instance.security_groups.join("\n"));
    set("services/domain", "amazonaws.com".to_owned());
    set("services/partition", "aws".to_owned());
    if instance.metadata.instance_tags {
        for (key, value) in &instance.tags {
            set(&format!("tags/instance/{key}"), value.clone());
        }
    }
    if let Some((name, arn)) = &instance.profile {
        set("iam/info", iam_info(arn, now_ms));
        set(&format!("iam/security-credentials/{name}"), credentials(&instance.credentials, now_ms));
    }
    set("events/maintenance/scheduled", maintenance(instance, true));
    set("events/maintenance/history", maintenance(instance, false));
    if let Some(at_ms) = instance.rebalance_ms {
        set("events/recommendations/rebalance", json!({ "noticeTime": iso_seconds(at_ms) }).to_string());
    }
    if let Some(notice) = instance.notice.filter(|_| instance.lifecycle == Lifecycle::Spot) {
        let time = iso_seconds(notice.at_ms);
        set("spot/instance-action", format!("{{\"action\":\"{}\",\"time\":\"{time}\"}}", notice.action.name()));
        if notice.action == crate::model::Interruption::Terminate {
            set("spot/termination-time", time);
        }
    }
    leaves
}

fn identity(instance: &Instance, region: &Region) -> String {
    let document = json!({
        "accountId": ACCOUNT_ID,
        "architecture": "x86_64",
        "availabilityZone": instance.availability_zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "kernelId": null,
        "pendingTime": iso_seconds(instance.launch_ms),
        "privateIp": instance.private_ip,
        "ramdiskId": null,
        "region": region.name,
        "version": "2017-09-30",
    });
    pretty(&document)
}

fn iam_info(arn: &str, now_ms: u64) -> String {
    pretty(&json!({
        "Code": "Success",
        "LastUpdated": iso_seconds(now_ms),
        "InstanceProfileArn": arn,
        "InstanceProfileId": "AIPAEMULATEDPROFILE01",
    }))
}

/// Credentials that no AWS service accepts but this emulator's STS.
fn credentials(of: &Credentials, now_ms: u64) -> String {
    pretty(&json!({
        "Code": "Success",
        "LastUpdated": iso_seconds(now_ms),
        "Type": "AWS-HMAC",
        "AccessKeyId": of.access_key_id,
        "SecretAccessKey": of.secret_access_key,
        "Token": of.session_token,
        "Expiration": iso_seconds(now_ms + CREDENTIALS_MS),
    }))
}

fn maintenance(instance: &Instance, scheduled: bool) -> String {
    let events: Vec<_> = instance
        .maintenance
        .iter()
        .filter(|event| (event.state == "active") == scheduled)
        .map(|event| {
            json!({
                "NotBefore": event_time(event.not_before_ms),
                "Code": event.code,
                "Description": event.description,
                "EventId": event.event_id,
                "NotAfter": event_time(event.not_after_ms),
                "State": event.state,
            })
        })
        .collect();
    if events.is_empty() { "[]".to_owned() } else { pretty(&events.into()) }
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Undoes percent-encoding, so that a tag's key may contain any character.
fn decode(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let encoded = (*first == b'%')
            .then(|| std::str::from_utf8(behind.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match encoded {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_listed() {
        let leaves = ["meta-data/a", "meta-data/b/c", "meta-data/b/d"].map(|leaf| (leaf.to_owned(), String::new()));
        let leaves = BTreeMap::from(leaves);
        assert_eq!(list(&leaves, "meta-data").as_deref(), Some("a\nb/"));
        assert_eq!(list(&leaves, "meta-data/b").as_deref(), Some("c\nd"));
        assert_eq!(list(&leaves, "meta-data/none"), None);
        assert_eq!(decode("tags/a%3Ab%zz%"), "tags/a:b%zz%");
    }
}
