//! CreateFleet of type `instant`: one synchronous attempt over a list of overrides.
//!
//! It succeeds even with no instance at all; its errors then say why. Only whole instances count as capacity.

use super::Change;
use super::launch::Launch;
use crate::error::ApiError;
use crate::idempotency::Outcome as Remembered;
use crate::launch_data::{LaunchData, Spot};
use crate::model::{Lifecycle, Tags};
use crate::query::Params;
use crate::ssm;
use crate::tags;
use crate::templates::TemplateName;
use crate::xml::Xml;

const MAX_OVERRIDES: usize = 300;

/// What came of a fleet.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    fleet_id: String,
    instances: Vec<(Pool, Vec<String>)>,
    errors: Vec<(Pool, ApiError)>,
}

/// One place where instances may come from.
#[derive(Clone, Debug)]
struct Pool {
    template_id: String,
    version: u64,
    /// As in the request, for the answer.
    instance_type: Option<String>,
    subnet_id: Option<String>,
    zone: Option<String>,
    image_id: Option<String>,
    max_price: Option<String>,
    priority: Option<f64>,
    lifecycle: Lifecycle,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    spot: usize,
    on_demand: usize,
}

pub(super) fn create(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let token = params.take("ClientToken").filter(|token| !token.is_empty());
    let fingerprint = params.fingerprint();
    if let Some(Remembered::Fleet(outcome)) =
        change.state.tokens.earlier("CreateFleet", token.as_deref(), &fingerprint)?
    {
        change.stop_if_dry_run()?;
        return Ok(answer(&outcome));
    }
    if params.one_of("Type", &["instant"])?.is_none() {
        return Err(ApiError::invalid_value("Only fleets of Type 'instant' are emulated"));
    }
    let target = read_target(&mut params)?;
    let (spot_strategy, spot_minimum) = read_options(
        &mut params.structure("SpotOptions"),
        &[
            "lowest-price",
            "diversified",
            "capacity-optimized",
            "capacity-optimized-prioritized",
            "price-capacity-optimized",
        ],
    )?;
    let (_, on_demand_minimum) =
        read_options(&mut params.structure("OnDemandOptions"), &["lowest-price", "prioritized"])?;
    let tags = tags::read_specifications(&mut params)?.remove("instance").unwrap_or_default();
    params.without_effect(&["ExcessCapacityTerminationPolicy", "ReplaceUnhealthyInstances"]);
    let pools = read_pools(change, &mut params)?;
    params.finish()?;
    let mut launches = Vec::new();
    for lifecycle in [Lifecycle::Spot, Lifecycle::OnDemand] {
        let (wanted, minimum) = match lifecycle {
            Lifecycle::Spot => (target.spot, spot_minimum),
            Lifecycle::OnDemand => (target.on_demand, on_demand_minimum),
        };
        if wanted > 0 {
            let mut prepared = prepare(change, &pools, lifecycle, &tags)?;
            sort(change, &mut prepared, spot_strategy);
            launches.push((wanted, minimum, prepared));
        }
    }
    change.stop_if_dry_run()?;
    let mut outcome = Outcome { fleet_id: fleet_id(), instances: Vec::new(), errors: Vec::new() };
    for (wanted, minimum, prepared) in launches {
        fill(change, &mut outcome, wanted, minimum, prepared);
    }
    let answer = answer(&outcome);
    change.state.tokens.remember("CreateFleet", token.as_deref(), fingerprint, Remembered::Fleet(outcome));
    Ok(answer)
}

fn fleet_id() -> String {
    format!("fleet-{}", uuid::Uuid::new_v4())
}

fn read_target(params: &mut Params) -> Result<Target, ApiError> {
    let mut target = params.structure("TargetCapacitySpecification");
    let total =
        target.number::<usize>("TotalTargetCapacity")?.ok_or_else(|| ApiError::missing("TotalTargetCapacity"))?;
    let spot = target.number::<usize>("SpotTargetCapacity")?.unwrap_or(0);
    let on_demand = target.number::<usize>("OnDemandTargetCapacity")?.unwrap_or(0);
    let default = target.one_of("DefaultTargetCapacityType", &["spot", "on-demand"])?.unwrap_or("on-demand");
    target.one_of("TargetCapacityUnitType", &["units"])?;
    target.finish()?;
    let Some(rest) = spot.checked_add(on_demand).and_then(|named| total.checked_sub(named)) else {
        return Err(ApiError::invalid_value("TotalTargetCapacity is less than the sum of its parts"));
    };
    if total == 0 {
        return Err(ApiError::invalid_value("TotalTargetCapacity is 0"));
    }
    Ok(match default {
        "spot" => Target { spot: spot + rest, on_demand },
        _ => Target { spot, on_demand: on_demand + rest },
    })
}

/// The allocation strategy and the least capacity.
fn read_options(options: &mut Params, strategies: &[&'static str]) -> Result<(Option<&'static str>, usize), ApiError> {
    let strategy = options.one_of("AllocationStrategy", strategies)?;
    options.one_of("InstanceInterruptionBehavior", &["terminate"])?;
    let minimum = options.number::<usize>("MinTargetCapacity")?.unwrap_or(0);
    let mut rest = std::mem::take(options);
    // All instances of an instant fleet come from one pool here, unless that has no room.
    rest.without_effect(&["SingleInstanceType", "SingleAvailabilityZone", "InstancePoolsToUseCount"]);
    rest.finish()?;
    Ok((strategy, minimum))
}

fn read_pools(change: &Change<'_>, params: &mut Params) -> Result<Vec<Pool>, ApiError> {
    let mut pools = Vec::new();
    for mut config in params.structures("LaunchTemplateConfigs") {
        let mut specification = config.structure("LaunchTemplateSpecification");
        let name = TemplateName::require(&mut specification)?;
        let wanted = specification.take("Version").ok_or_else(|| ApiError::missing(&specification.name("Version")))?;
        specification.finish()?;
        let template = name.find(&change.state.resources)?;
        let version = template.version(&wanted)?.number;
        let plain = Pool {
            template_id: template.id.clone(),
            version,
            instance_type: None,
            subnet_id: None,
            zone: None,
            image_id: None,
            max_price: None,
            priority: None,
            lifecycle: Lifecycle::Spot,
        };
        let mut overrides = config.structures("Overrides");
        config.finish()?;
        if overrides.is_empty() {
            pools.push(plain.clone());
        }
        for mut over in overrides.drain(..) {
            let pool = Pool {
                instance_type: over.take("InstanceType"),
                subnet_id: over.take("SubnetId"),
                zone: over.take("AvailabilityZone"),
                image_id: over.take("ImageId"),
                max_price: over.take("MaxPrice"),
                priority: over.number("Priority")?,
                ..plain.clone()
            };
            if over.number::<f64>("WeightedCapacity")?.is_some_and(|weight| (weight - 1.0).abs() > f64::EPSILON) {
                return Err(ApiError::invalid_value("A WeightedCapacity other than 1 is not emulated"));
            }
            over.finish()?;
            if let Some(image_id) = &pool.image_id {
                ssm::check(image_id)?;
            }
            // One subnet per override: EC2 takes a list here, and so do its callers.
            let subnets: Vec<Option<String>> = match &pool.subnet_id {
                None => vec![None],
                Some(list) => list.split(',').map(|subnet| Some(subnet.trim().to_owned())).collect(),
            };
            pools.extend(subnets.into_iter().map(|subnet_id| Pool { subnet_id, ..pool.clone() }));
        }
    }
    if pools.is_empty() {
        return Err(ApiError::missing("LaunchTemplateConfigs"));
    }
    if pools.len() > MAX_OVERRIDES {
        return Err(ApiError::invalid_value(format!("More than {MAX_OVERRIDES} overrides")));
    }
    Ok(pools)
}

type Prepared = Vec<(Pool, Result<Launch, ApiError>)>;

/// A pool that cannot be launched from is an error of the fleet, not of the call.
fn prepare(change: &Change<'_>, pools: &[Pool], lifecycle: Lifecycle, tags: &Tags) -> Result<Prepared, ApiError> {
    let mut prepared = Vec::new();
    for pool in pools {
        let pool = Pool { lifecycle, ..pool.clone() };
        let template = TemplateName::Id(pool.template_id.clone());
        let template = template.find(&change.state.resources)?;
        let version = template.version(&pool.version.to_string())?;
        if version.data.market.is_some() {
            return Err(ApiError::combination(
                "A launch template with InstanceMarketOptions cannot be used with CreateFleet: the fleet's target capacity says what is spot",
            ));
        }
        let own = LaunchData {
            instance_type: pool.instance_type.clone(),
            subnet_id: pool.subnet_id.clone(),
            availability_zone: pool.zone.clone(),
            image_id: pool.image_id.clone(),
            market: Some(match lifecycle {
                Lifecycle::Spot => Some(Spot { max_price: pool.max_price.clone() }),
                Lifecycle::OnDemand => None,
            }),
            tags: std::iter::once(("instance".to_owned(), tags.clone())).collect(),
            ..LaunchData::default()
        };
        let mut data = own.over(&version.data);
        if lifecycle == Lifecycle::OnDemand {
            data.tags.remove("spot-instances-request");
        }
        prepared.push((pool.clone(), Launch::new(change, data, Some((pool.template_id.clone(), pool.version)))));
    }
    Ok(prepared)
}

/// Puts the pools in the order in which they are tried: by priority, or by price.
fn sort(change: &Change<'_>, prepared: &mut Prepared, spot_strategy: Option<&str>) {
    let price = |launch: &Result<Launch, ApiError>| match launch {
        Ok(launch) => launch
            .zones
            .iter()
            .map(|zone| change.shared.region.price(&launch.instance_type, &zone.name, launch.lifecycle))
            .fold(f64::INFINITY, f64::min),
        Err(_) => f64::INFINITY,
    };
    let by_priority = spot_strategy == Some("capacity-optimized-prioritized");
    prepared.sort_by(|(a, launch_a), (b, launch_b)| {
        let priority = |pool: &Pool| pool.priority.unwrap_or(f64::INFINITY);
        if by_priority { priority(a).total_cmp(&priority(b)) } else { price(launch_a).total_cmp(&price(launch_b)) }
    });
}

fn fill(change: &mut Change<'_>, outcome: &mut Outcome, wanted: usize, minimum: usize, prepared: Prepared) {
    let mut missing = wanted;
    for (pool, launch) in prepared {
        if missing == 0 {
            break;
        }
        let token = format!("{}-{}", outcome.fleet_id, outcome.instances.len());
        let started = launch.and_then(|mut launch| {
            launch.tag("aws:ec2:fleet-id", &outcome.fleet_id);
            let zone = launch.zone_with_capacity(change)?;
            launch.start(change, &zone, minimum.clamp(1, missing), missing, Some(&token))
        });
        match started {
            Ok(ids) => {
                missing -= ids.len();
                outcome.instances.push((pool, ids));
            }
            Err(error) => outcome.errors.push((pool, error)),
        }
    }
}

fn answer(outcome: &Outcome) -> Xml {
    let mut xml = Xml::new();
    xml.text("fleetId", &outcome.fleet_id);
    xml.list("errorSet", &outcome.errors, |xml, (pool, error)| {
        pool_xml(xml, pool);
        xml.text("errorCode", &error.code).text("errorMessage", &error.message);
    });
    xml.list("fleetInstanceSet", &outcome.instances, |xml, (pool, ids)| {
        pool_xml(xml, pool);
        xml.texts("instanceIds", ids).optional("instanceType", pool.instance_type.as_deref());
    });
    xml
}

fn pool_xml(xml: &mut Xml, pool: &Pool) {
    xml.node("launchTemplateAndOverrides", |xml| {
        xml.node("launchTemplateSpecification", |xml| {
            xml.text("launchTemplateId", &pool.template_id).number("version", pool.version);
        });
        xml.node("overrides", |xml| {
            xml.optional("instanceType", pool.instance_type.as_deref());
            xml.optional("spotPrice", pool.max_price.as_deref()).optional("subnetId", pool.subnet_id.as_deref());
            xml.optional("availabilityZone", pool.zone.as_deref()).optional("imageId", pool.image_id.as_deref());
            xml.optional("priority", pool.priority.map(|priority| priority.to_string()));
        });
    });
    xml.text("lifecycle", pool.lifecycle.name());
}
