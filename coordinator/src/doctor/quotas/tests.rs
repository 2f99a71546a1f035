//! Quotas, what counts against them, and how that comes out.

use super::*;
use crate::doctor::Level;

fn wanted(types: &[(&str, u32)]) -> Vec<Wanted> {
    let wanted = |(instance_type, max_instances): &(&str, u32)| Wanted {
        instance_type: (*instance_type).to_owned(),
        max_instances: *max_instances,
    };
    types.iter().map(wanted).collect()
}

fn running(instance_type: &str, is_spot: bool, installation: Option<&str>) -> RunningInstance {
    let installation = installation.map(str::to_owned);
    RunningInstance { instance_type: instance_type.to_owned(), is_spot, installation }
}

fn vcpus() -> BTreeMap<String, u64> {
    [("c6i.xlarge", 4), ("m7i.2xlarge", 8), ("g5.xlarge", 4), ("hpc7a.12xlarge", 24)]
        .map(|(name, count)| (name.to_owned(), count))
        .into()
}

#[test]
fn pools_of_one_quota_are_summed_and_only_other_instances_of_it_come_on_top() {
    let running = [
        running("c6i.xlarge", true, Some("ours")),
        running("c6i.xlarge", true, Some("theirs")),
        running("m7i.2xlarge", true, None),
        running("m7i.2xlarge", false, None),
        running("g5.xlarge", true, None),
    ];
    let pools = wanted(&[("c6i.xlarge", 2), ("m7i.2xlarge", 3), ("g5.xlarge", 1), ("hpc7a.12xlarge", 1)]);
    let (needs, unknown) = needs(&pools, Market::Spot, &vcpus(), Some(&running), Some("ours"));
    assert_eq!(unknown.into_iter().collect::<Vec<_>>(), ["hpc7a.12xlarge"]);
    let of = |code: &str| needs.iter().find(|(quota, _)| quota.code == code).expect(code).1.clone();
    let words = vec!["2 × c6i.xlarge".to_owned(), "3 × m7i.2xlarge".to_owned()];
    assert_eq!(of("L-34B43A08"), Need { all: 32, one: 8, words, others: Some(12) });
    let words = vec!["1 × g5.xlarge".to_owned()];
    assert_eq!(of("L-3819A6DF"), Need { all: 4, one: 4, words, others: Some(4) });

    let (needs, _) = self::needs(&pools[..1], Market::OnDemand, &vcpus(), Some(&running), Some("ours"));
    assert_eq!(needs.values().next().expect("one").others, Some(8), "what runs on demand");
    let (needs, _) = self::needs(&pools[..1], Market::Spot, &vcpus(), None, Some("ours"));
    assert_eq!(needs.values().next().expect("one").others, None, "nobody can see it");
}

#[test]
fn a_quota_below_one_instance_fails_below_all_warns_and_of_on_demand_never_fails() {
    let quota = VcpuQuota::of("c6i.xlarge", Market::Spot).expect("a quota");
    let need = |others| Need { all: 8, one: 4, words: vec!["2 × c6i.xlarge".to_owned()], others };
    for (value, others, level) in [
        (3.0, Some(0), Level::Fail),
        (4.0, Some(0), Level::Warn),
        (7.0, None, Level::Warn),
        (8.0, Some(0), Level::Ok),
        (8.0, Some(1), Level::Warn),
        (9.0, Some(1), Level::Ok),
    ] {
        let found = spot(quota, value, &need(others));
        assert_eq!((found.id, found.level), (SPOT, level), "{value} {others:?}: {found:?}");
        assert_eq!(found.remedy.is_none(), level == Level::Ok, "{found:?}");
        let remedy = found.remedy.unwrap_or_default();
        let to = 8 + others.unwrap_or(0);
        assert!(level == Level::Ok || remedy.contains(&format!("L-34B43A08 --desired-value {to}")), "{remedy}");
    }
    for (value, others, level) in [(3.0, Some(0), Level::Warn), (4.0, Some(1), Level::Warn)] {
        let found = on_demand(quota, value, &need(others));
        assert_eq!((found.id, found.level), (ON_DEMAND, level), "{value} {others:?}: {found:?}");
        assert!(found.detail.contains("launches spot instances alone"), "{found:?}");
    }
}

#[test]
fn what_others_have_in_use_and_cannot_be_seen_is_a_warning_that_names_the_permission() {
    let need = Need { all: 8, one: 4, words: vec!["2 × c6i.xlarge".to_owned()], others: None };
    let of = |market| VcpuQuota::of("c6i.xlarge", market).expect("a quota");
    for found in [spot(of(Market::Spot), 64.0, &need), on_demand(of(Market::OnDemand), 64.0, &need)] {
        assert_eq!(found.level, Level::Warn, "{found:?}");
        assert!(found.remedy.unwrap_or_default().contains("ec2:DescribeInstances"));
    }
}

#[test]
fn a_quota_that_cannot_be_read_is_a_warning_that_names_the_permission() {
    let quota = VcpuQuota::of("c6i.xlarge", Market::Spot).expect("a quota");
    for (class, code) in [
        (RefusalClass::Permission, "AccessDeniedException"),
        (RefusalClass::Retry, "Unreachable"),
        (RefusalClass::Retry, "NoAnswer"),
    ] {
        let refused = Refused { class, code: code.to_owned(), message: "no".to_owned() };
        let found = not_known(SPOT, quota, &refused);
        let remedy = found.remedy.unwrap_or_default();
        assert!(found.level == Level::Warn && remedy.contains("servicequotas:GetServiceQuota"), "{code}: {remedy}");
    }
}
