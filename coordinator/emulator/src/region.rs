//! The emulated region: three availability zones with one subnet each, and prices.

use crate::error::ApiError;
use crate::model::Lifecycle;

pub(crate) const ACCOUNT_ID: &str = "123456789012";
pub(crate) const VPC_ID: &str = "vpc-0e000000000000001";

/// One availability zone and its only subnet.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) subnet_id: String,
    /// Third number of the subnet's addresses.
    pub(crate) network: u8,
}

/// The region.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) zones: Vec<Zone>,
}

impl Region {
    /// None when `name` is not the name of a region.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let valid = (3..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !valid {
            return None;
        }
        let zones = (1_u8..=3)
            .zip(["a", "b", "c"])
            .map(|(number, letter)| Zone {
                name: format!("{name}{letter}"),
                id: format!("{}-az{number}", name.replace('-', "")),
                subnet_id: format!("subnet-0e00000000000000{letter}"),
                network: number - 1,
            })
            .collect();
        Some(Self { name: name.to_owned(), zones })
    }

    pub(crate) fn zone(&self, name: &str) -> Result<&Zone, ApiError> {
        self.zones
            .iter()
            .find(|zone| zone.name == name)
            .ok_or_else(|| ApiError::invalid_value(format!("Invalid availability zone: [{name}]")))
    }

    pub(crate) fn subnet(&self, id: &str) -> Result<&Zone, ApiError> {
        self.zones
            .iter()
            .find(|zone| zone.subnet_id == id)
            .ok_or_else(|| ApiError::new("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist")))
    }

    /// Zones that a launch may use: one when it names a subnet or a zone, else all.
    pub(crate) fn zones_for(&self, subnet: Option<&str>, zone: Option<&str>) -> Result<Vec<&Zone>, ApiError> {
        match (subnet, zone) {
            (None, None) => Ok(self.zones.iter().collect()),
            (None, Some(zone)) => Ok(vec![self.zone(zone)?]),
            (Some(subnet), zone) => {
                let found = self.subnet(subnet)?;
                if zone.is_some_and(|zone| zone != found.name) {
                    return Err(ApiError::combination("The subnet is not in the availability zone"));
                }
                Ok(vec![found])
            }
        }
    }

    /// Plausible dollars per hour: by the instance type's size, spot by zone as well.
    pub(crate) fn price(&self, instance_type: &str, zone: &str, lifecycle: Lifecycle) -> f64 {
        let on_demand = 0.17 * size_factor(instance_type);
        match lifecycle {
            Lifecycle::OnDemand => on_demand,
            Lifecycle::Spot => {
                let place = self.zones.iter().position(|candidate| candidate.name == zone).unwrap_or(0);
                on_demand * [0.36, 0.40, 0.46].get(place).copied().unwrap_or(0.4)
            }
        }
    }
}

/// Size in units of an `xlarge`.
fn size_factor(instance_type: &str) -> f64 {
    let size = instance_type.split_once('.').map_or("", |(_, size)| size);
    match size {
        "nano" => 1.0 / 32.0,
        "micro" => 1.0 / 16.0,
        "small" => 1.0 / 8.0,
        "medium" => 1.0 / 4.0,
        "large" => 1.0 / 2.0,
        "xlarge" => 1.0,
        "metal" => 32.0,
        other => other.strip_suffix("xlarge").and_then(|times| times.parse::<u8>().ok()).map_or(1.0, f64::from),
    }
}

/// As many as current families have in this size.
pub(crate) fn vcpus(instance_type: &str) -> u32 {
    let of_xlarge = (4.0 * size_factor(instance_type)) as u32;
    // No size of a current family has less.
    of_xlarge.max(2)
}

/// `family.size`.
pub(crate) fn check_instance_type(name: &str) -> Result<(), ApiError> {
    let valid = name.split_once('.').is_some_and(|(family, size)| {
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() <= 20
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        plain(family) && plain(size)
    });
    if valid {
        return Ok(());
    }
    Err(ApiError::invalid_value(format!("Invalid value '{name}' for InstanceType.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_follow_size_zone_and_lifecycle() {
        let region = Region::new("us-east-1").expect("a region");
        assert!((region.price("c6i.xlarge", "us-east-1a", Lifecycle::OnDemand) - 0.17).abs() < 1e-9);
        assert!((region.price("c6i.4xlarge", "us-east-1a", Lifecycle::OnDemand) - 0.68).abs() < 1e-9);
        let spot = |zone| region.price("c6i.xlarge", zone, Lifecycle::Spot);
        assert!(spot("us-east-1a") < spot("us-east-1b") && spot("us-east-1b") < 0.17);
        assert!(Region::new("Nowhere!").is_none());
    }

    #[test]
    fn vcpus_follow_the_size() {
        let types = ["t3.micro", "c6i.large", "c6i.xlarge", "m7i.4xlarge", "c6i.metal"];
        assert_eq!(types.map(vcpus), [2, 2, 4, 16, 128]);
    }
}
