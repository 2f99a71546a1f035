//! A condition on a key that the service does not tell of a resource denies every call on it. Which keys EC2 tells of
//! which resources is in cfn-lint's data, which are AWS's service reference.

use std::fs;

use serde_json::Value;
use spillway_tests::programs;

use super::account::Account;
use super::table::{policies, stacks};

/// Keys that are told of an action, whatever it is on.
const OF_ACTIONS: [(&str, &str); 2] = [("ec2:CreateTags", "ec2:CreateAction"), ("iam:PassRole", "iam:PassedToService")];

fn reference() -> Value {
    let lib = programs::tools().join("moto/lib");
    let python = fs::read_dir(&lib).unwrap_or_else(|error| panic!("{}: {error}; run tests/setup", lib.display()));
    let python = python.flatten().next().expect("one version of Python").path();
    let file = python.join("site-packages/cfnlint/data/AdditionalSpecs/Policies.json");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map_or_else(|| vec![value], |list| list.iter().collect())
        .into_iter()
        .flat_map(Value::as_str)
        .collect()
}

/// What is wrong with a statement's actions, and with its conditions on each of its resources.
fn problems(statement: &Value, reference: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for action in texts(&statement["Action"]) {
        let (service, name) = action.split_once(':').expect("service:Action");
        let known = &reference[service]["Actions"][name.to_lowercase()];
        if known.is_null() {
            problems.push(format!("there is no action {action}"));
        }
        for resource in texts(&statement["Resource"]).into_iter().filter(|resource| *resource != "*") {
            let kind = resource.splitn(6, ':').nth(5).and_then(|rest| rest.split('/').next()).expect("a kind");
            if !texts(&known["Resources"]).contains(&kind) {
                problems.push(format!("{action} is not authorized on {kind}"));
            }
            let keys = texts(&reference[service]["Resources"][kind]["ConditionKeys"]);
            let is_told = |key: &str| {
                let of_tags = key.split_once('/').map(|(of, _)| format!("{of}/${{TagKey}}"));
                keys.iter().any(|it| *it == of_tags.as_deref().unwrap_or(key)) || OF_ACTIONS.contains(&(action, key))
            };
            let conditions = statement["Condition"].as_object().into_iter().flatten();
            let used = conditions.flat_map(|(_, keys)| keys.as_object().expect("keys").keys());
            problems
                .extend(used.filter(|key| !is_told(key)).map(|key| format!("{key} is not told of {kind} ({action})")));
        }
    }
    problems
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_condition_is_on_a_key_that_is_told_of_the_resource() {
    let reference = reference();
    let account = Account::open().await;
    let (plain, full) = stacks(&account).await;
    for (of, policy) in policies(&account, &plain, &full).await {
        for statement in policy["Statement"].as_array().expect("statements") {
            let problems = problems(statement, &reference);
            assert!(problems.is_empty(), "{of:?} {}: {}", statement["Sid"], problems.join("; "));
        }
    }
}

#[test]
fn a_condition_that_would_deny_every_call_is_noticed() {
    let statement = |action: &str, kind: &str, key: &str| {
        serde_json::json!({
            "Action": action,
            "Resource": format!("arn:aws:ec2:us-east-1:1:{kind}/*"),
            "Condition": { "StringEquals": { key: "x" } },
        })
    };
    let reference = reference();
    let of = |action: &str, kind: &str, key: &str| problems(&statement(action, kind, key), &reference);
    assert_eq!(of("ec2:RunInstances", "instance", "ec2:LaunchTemplate"), Vec::<String>::new());
    assert_eq!(of("ec2:CreateTags", "instance", "ec2:CreateAction"), Vec::<String>::new());
    for (action, kind, key) in [
        ("ec2:RunInstances", "spot-instances-request", "ec2:LaunchTemplate"),
        ("ec2:RunInstances", "image", "ec2:InstanceMarketType"),
        ("ec2:TerminateInstances", "instance", "ec2:CreateAction"),
        ("ec2:TerminateInstances", "volume", "aws:ResourceTag/a"),
        ("ec2:RunInstance", "instance", "ec2:InstanceType"),
    ] {
        assert!(!of(action, kind, key).is_empty(), "{action} {kind} {key}");
    }
}
