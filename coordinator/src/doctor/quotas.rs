//! Whether the account's quotas of vCPUs have room for the workers: `aws.quota_spot`, `aws.quota_on_demand`. A quota
//! that cannot be read is a warning: launches do not need to read it.

use std::collections::{BTreeMap, BTreeSet};

use spillway_brain::RefusalClass;

use super::Finding;
use crate::cloud::{Cloud, Market, Refused, RunningInstance, VcpuQuota};

const SPOT: &str = "aws.quota_spot";
const ON_DEMAND: &str = "aws.quota_on_demand";
const SEE_OTHERS: &str = "allow ec2:DescribeInstances and ec2:DescribeInstanceTypes to the primary's role: without them, compare what \
                          runs in this region with the quota in the console of Service Quotas";
const ALLOW: &str = "allow servicequotas:GetServiceQuota to the primary's role: ami/coordinator-policy.json";

/// What one pool may launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Of its launch template.
    pub instance_type: String,
    pub max_instances: u32,
}

/// Instances that count against one quota.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Need {
    /// vCPUs of all pools at their `max_instances`.
    all: u64,
    /// Of the largest single instance.
    one: u64,
    /// `2 × c6i.xlarge`.
    words: Vec<String>,
    /// vCPUs that other instances have; None where that cannot be seen.
    others: Option<u64>,
}

pub(super) async fn examine(cloud: &Cloud, wanted: &[Wanted], ours: Option<&str>, say: &mut impl FnMut(Finding)) {
    if wanted.is_empty() {
        return;
    }
    let running = cloud.running().await.ok();
    let types = wanted.iter().map(|it| &it.instance_type);
    let types = types.chain(running.iter().flatten().map(|it| &it.instance_type)).cloned().collect();
    let vcpus = match vcpus(cloud, wanted, types).await {
        Ok(vcpus) => vcpus,
        Err(refused) => {
            let detail = format!("it is not known how many vCPUs an instance has: {refused}");
            let remedy =
                "allow ec2:DescribeInstanceTypes to the primary's role, and compare the template's InstanceType";
            return [SPOT, ON_DEMAND].into_iter().for_each(|id| say(Finding::warn(id, detail.clone(), remedy)));
        }
    };
    for (id, market) in [(SPOT, Market::Spot), (ON_DEMAND, Market::OnDemand)] {
        let (needs, unknown) = needs(wanted, market, &vcpus, running.as_deref(), ours);
        for instance_type in unknown {
            let detail = format!("it is not known here which quota {instance_type} counts against");
            say(Finding::warn(id, detail, "compare EC2's quotas in the console of Service Quotas"));
        }
        for (quota, need) in needs {
            say(match (cloud.quota(quota).await, market) {
                (Ok(value), Market::Spot) => spot(quota, value, &need),
                (Ok(value), Market::OnDemand) => on_demand(quota, value, &need),
                (Err(refused), _) => not_known(id, quota, &refused),
            });
        }
    }
}

/// Of all types; or of the pools' alone, where EC2 does not know one of the others.
async fn vcpus(cloud: &Cloud, wanted: &[Wanted], all: BTreeSet<String>) -> Result<BTreeMap<String, u64>, Refused> {
    let own: BTreeSet<String> = wanted.iter().map(|it| it.instance_type.clone()).collect();
    match cloud.vcpus(&all).await {
        Err(refused) if refused.class == RefusalClass::Configuration && all != own => cloud.vcpus(&own).await,
        answer => answer,
    }
}

/// What counts against each quota, and the types of which no quota is known.
fn needs(
    wanted: &[Wanted],
    market: Market,
    vcpus: &BTreeMap<String, u64>,
    running: Option<&[RunningInstance]>,
    ours: Option<&str>,
) -> (BTreeMap<VcpuQuota, Need>, BTreeSet<String>) {
    let (mut needs, mut unknown) = (BTreeMap::<VcpuQuota, Need>::new(), BTreeSet::new());
    for Wanted { instance_type, max_instances } in wanted {
        let (Some(quota), Some(each)) = (VcpuQuota::of(instance_type, market), vcpus.get(instance_type)) else {
            unknown.insert(instance_type.clone());
            continue;
        };
        let need = needs.entry(quota).or_default();
        need.all = need.all.saturating_add(each.saturating_mul(u64::from(*max_instances)));
        need.one = need.one.max(*each);
        need.words.push(match market {
            Market::Spot => format!("{max_instances} × {instance_type}"),
            Market::OnDemand => instance_type.clone(),
        });
    }
    for (quota, need) in &mut needs {
        need.words.dedup();
        // Ours are in `all` already; of on-demand instances none is.
        let is_other = |it: &&RunningInstance| {
            it.is_spot == (market == Market::Spot)
                && VcpuQuota::of(&it.instance_type, market) == Some(*quota)
                && (market == Market::OnDemand || ours.is_none() || it.installation.as_deref() != ours)
        };
        let of_type = |it: &RunningInstance| vcpus.get(&it.instance_type).copied();
        need.others = running.and_then(|running| running.iter().filter(is_other).map(of_type).sum());
    }
    (needs, unknown)
}

fn spot(quota: VcpuQuota, value: f64, need: &Need) -> Finding {
    let Need { all, one, words, others } = need;
    let detail = format!(
        "quota {}, of spot instances {}: {value} vCPUs; max_instances ({}) needs {all}{}",
        quota.code,
        quota.families,
        words.join(", "),
        in_use(*others)
    );
    let needed = all.saturating_add(others.unwrap_or(0));
    if (*one as f64) > value {
        let detail = format!("{detail}: EC2 refuses every launch of an instance with {one}");
        return Finding::fail(SPOT, detail, raise(quota, needed));
    }
    if needed as f64 > value {
        let detail = format!("{detail}: EC2 refuses launches before max_instances is reached");
        return Finding::warn(SPOT, detail, format!("{}; or lower pool.max_instances", raise(quota, needed)));
    }
    fits(SPOT, detail, need)
}

/// The coordinator launches none, `spillway bake` one at a time: never a failure.
fn on_demand(quota: VcpuQuota, value: f64, need: &Need) -> Finding {
    let Need { one, words, others, .. } = need;
    let detail = format!(
        "quota {}, of on-demand instances {}: {value} vCPUs{}; the coordinator launches spot instances alone, and spillway bake \
         one on-demand instance ({}) at a time, with {one}",
        quota.code,
        quota.families,
        in_use(*others),
        words.join(", ")
    );
    let needed = one.saturating_add(others.unwrap_or(0));
    if needed as f64 > value {
        let detail = format!("{detail}: EC2 refuses it");
        return Finding::warn(ON_DEMAND, detail, format!("{}, before a bake", raise(quota, needed)));
    }
    fits(ON_DEMAND, detail, need)
}

/// As far as it can be seen: it is no promise where others' instances cannot.
fn fits(id: &'static str, detail: String, need: &Need) -> Finding {
    match need.others {
        Some(_) => Finding::ok(id, detail),
        None => Finding::warn(id, detail, SEE_OTHERS),
    }
}

fn in_use(others: Option<u64>) -> String {
    match others {
        Some(0) => String::new(),
        Some(vcpus) => format!(", and {vcpus} are in use by other instances"),
        None => "; it cannot be seen how many are in use".to_owned(),
    }
}

fn raise(quota: VcpuQuota, to: u64) -> String {
    format!(
        "aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {} --desired-value {to}",
        quota.code
    )
}

fn not_known(id: &'static str, quota: VcpuQuota, refused: &Refused) -> Finding {
    let detail = format!("quota {} is not known: {refused}", quota.code);
    let remedy = match refused.class {
        RefusalClass::Permission => ALLOW.to_owned(),
        _ if refused.code == "NoSuchResourceException" => {
            "the account has no value of its own: see its default in the console of Service Quotas".to_owned()
        }
        _ => format!("let this machine reach Service Quotas (route, proxy, DNS), and {ALLOW}"),
    };
    Finding::warn(id, detail, remedy)
}

#[cfg(test)]
mod tests;
