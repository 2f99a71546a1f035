//! What the account lets run: its quotas of vCPUs, by Service Quotas, and how much of them is taken. For `spillway
//! doctor`; nothing else rests on it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, InstanceLifecycleType, InstanceType};
use spillway_brain::RefusalClass;

use super::{Cloud, INSTALLATION_TAG, Refused};

/// Of one DescribeInstanceTypes.
const TYPES_PER_CALL: usize = 100;

/// How an instance is bought: each market has quotas of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Market {
    Spot,
    OnDemand,
}

/// One of EC2's quotas of vCPUs: of all instances of some families, in one market and region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VcpuQuota {
    /// The same in every region and account.
    pub code: &'static str,
    /// Whose it is, as in the quota's name.
    pub families: &'static str,
}

/// Families, with the codes of their quotas of spot and of on-demand instances.
const QUOTAS: [(&[&str], &str, &str, &str); 8] = [
    (
        &["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"],
        "Standard (A, C, D, H, I, M, R, T, Z)",
        "L-34B43A08",
        "L-1216C47A",
    ),
    (&["f"], "F", "L-88CF9481", "L-74FC7D96"),
    (&["g", "gr", "vt"], "G and VT", "L-3819A6DF", "L-DB2E81BA"),
    (&["p"], "P", "L-7212CCBC", "L-417A185B"),
    (&["x"], "X", "L-E3A00192", "L-7295265B"),
    (&["inf"], "Inf", "L-B5D1601B", "L-1945791B"),
    (&["trn"], "Trn", "L-5480EFD2", "L-2C3B7624"),
    (&["dl"], "DL", "L-85EED4F7", "L-6E869C2A"),
];

impl VcpuQuota {
    /// The quota that instances of this type count against; None where it is not known here.
    pub fn of(instance_type: &str, market: Market) -> Option<Self> {
        // All letters before the first digit: `dl1` is no D.
        let family = instance_type.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
        let generation = instance_type[family.len()..].chars().next().and_then(|digit| digit.to_digit(10));
        // P5 and later have quotas of their own.
        if family == "p" && generation.is_none_or(|number| number > 4) {
            return None;
        }
        let (_, families, spot, on_demand) = QUOTAS.iter().find(|(letters, ..)| letters.contains(&family))?;
        let code = match market {
            Market::Spot => spot,
            Market::OnDemand => on_demand,
        };
        Some(VcpuQuota { code, families })
    }
}

/// An instance of the account that counts against a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningInstance {
    pub instance_type: String,
    pub is_spot: bool,
    /// Whose it says that it is, by its tag.
    pub installation: Option<String>,
}

impl Cloud {
    /// How many vCPUs each of these types has.
    pub async fn vcpus(&self, types: &BTreeSet<String>) -> Result<BTreeMap<String, u64>, Refused> {
        let types: Vec<&String> = types.iter().collect();
        let mut found = BTreeMap::new();
        for some in types.chunks(TYPES_PER_CALL) {
            let some = some.iter().map(|name| InstanceType::from(name.as_str())).collect();
            let request = self.client.describe_instance_types().set_instance_types(Some(some));
            let answer = request.send().await.map_err(Refused::from)?;
            found.extend(answer.instance_types().iter().filter_map(|it| {
                let vcpus = it.v_cpu_info()?.default_v_cpus()?;
                Some((it.instance_type()?.as_str().to_owned(), u64::try_from(vcpus).ok()?))
            }));
        }
        Ok(found)
    }

    /// All instances of the account and region that count against a quota, whosever they are.
    pub async fn running(&self) -> Result<Vec<RunningInstance>, Refused> {
        let living = Filter::builder().name("instance-state-name").values("pending").values("running").build();
        let mut pages = self.client.describe_instances().filters(living).into_paginator().page_size(1000).send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Refused::from)?;
            let instances = page.reservations().iter().flat_map(|reservation| reservation.instances());
            found.extend(instances.map(|instance| {
                let tag = instance.tags().iter().find(|tag| tag.key() == Some(INSTALLATION_TAG));
                RunningInstance {
                    instance_type: instance.instance_type().map(|it| it.as_str().to_owned()).unwrap_or_default(),
                    is_spot: instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
                    installation: tag.and_then(|tag| tag.value()).map(str::to_owned),
                }
            }));
        }
        Ok(found)
    }

    /// The account's value of one of EC2's quotas, in this region.
    pub async fn quota(&self, quota: VcpuQuota) -> Result<f64, Refused> {
        let client = aws_sdk_servicequotas::Client::new(&self.config);
        let request = client.get_service_quota().service_code("ec2").quota_code(quota.code);
        let answer = request.send().await.map_err(Refused::from)?;
        answer.quota().and_then(|it| it.value()).ok_or_else(|| Refused {
            class: RefusalClass::Unknown,
            code: "NoValue".to_owned(),
            message: format!("Service Quotas knows {} and tells no value of it", quota.code),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_types_quota_is_that_of_all_letters_of_its_family() {
        for (instance_type, spot, on_demand) in [
            ("c6i.xlarge", "L-34B43A08", "L-1216C47A"),
            ("t3.micro", "L-34B43A08", "L-1216C47A"),
            ("im4gn.large", "L-34B43A08", "L-1216C47A"),
            ("d3en.xlarge", "L-34B43A08", "L-1216C47A"),
            ("g5.xlarge", "L-3819A6DF", "L-DB2E81BA"),
            ("vt1.3xlarge", "L-3819A6DF", "L-DB2E81BA"),
            ("p4de.24xlarge", "L-7212CCBC", "L-417A185B"),
            ("x2gd.medium", "L-E3A00192", "L-7295265B"),
            ("inf2.xlarge", "L-B5D1601B", "L-1945791B"),
            ("trn1.2xlarge", "L-5480EFD2", "L-2C3B7624"),
            ("dl1.24xlarge", "L-85EED4F7", "L-6E869C2A"),
        ] {
            let code = |market| VcpuQuota::of(instance_type, market).map(|quota| quota.code);
            assert_eq!((code(Market::Spot), code(Market::OnDemand)), (Some(spot), Some(on_demand)), "{instance_type}");
        }
        for unknown in ["p5.48xlarge", "u-6tb1.metal", "hpc7a.12xlarge", "mac2.metal", "", "5", "ß.large", "p"] {
            assert_eq!(VcpuQuota::of(unknown, Market::Spot), None, "{unknown}");
        }
    }
}
