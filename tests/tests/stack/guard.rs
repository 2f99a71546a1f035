//! cfn-guard, with the rules of `ami/guard`: each does what its cases say, and the stack meets them all. Without it the
//! tests print `NOT RUN`, as `.ci/run` does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use spillway_tests::binaries::workspace;
use spillway_tests::process::{command, output, run, text};
use spillway_tests::programs;

/// Judges what the stack does not have.
const ABOUT_NOTHING: [&str; 1] = ["secret_parameters_have_no_default_and_are_not_shown"];

fn cfn_guard() -> Option<Command> {
    let program = programs::tools().join("bin/cfn-guard");
    if program.is_file() {
        return Some(command(program));
    }
    println!("NOT RUN: cfn-guard is not installed (tests/setup)");
    None
}

fn rules() -> Vec<PathBuf> {
    let files = fs::read_dir(workspace().join("ami/guard")).expect("ami/guard").flatten().map(|entry| entry.path());
    let mut rules: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|it| it == "guard")).collect();
    rules.sort();
    assert!(rules.len() >= 4, "{rules:?}");
    rules
}

/// What the rules say of a template: the names of those that it meets, that have nothing to judge, and that it breaks.
fn judged(mut guard: Command, template: &str) -> [Vec<String>; 3] {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("stack.yaml");
    fs::write(&file, template).expect("a file");
    guard.arg("validate").arg("--rules").arg(workspace().join("ami/guard")).arg("--data").arg(&file);
    let out = output(guard.args(["--structured", "--output-format", "json", "--show-summary", "none"]));
    let said = text(&out.stdout);
    let answer: Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{}", text(&out.stderr)));
    let names = |part: &str| -> Vec<String> {
        let of_files = answer.as_array().expect("a list").iter().flat_map(|file| file[part].as_array()).flatten();
        let name = |it: &Value| it.as_str().or(it["Rule"]["name"].as_str()).expect("a name").to_owned();
        let mut names: Vec<String> = of_files.map(name).collect();
        names.sort();
        names
    };
    ["compliant", "not_applicable", "not_compliant"].map(names)
}

#[test]
fn each_rule_has_tests_that_it_passes_and_fails() {
    for rules in rules() {
        let tests =
            rules.with_file_name(format!("{}-tests.yaml", rules.file_stem().expect("a name").to_string_lossy()));
        let cases = fs::read_to_string(&tests).unwrap_or_else(|error| panic!("{}: {error}", tests.display()));
        let text = fs::read_to_string(&rules).expect("rules");
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("rule ")?.split(' ').next()).collect();
        for name in names {
            for expected in ["PASS", "FAIL"] {
                let line = format!("{name}: {expected}");
                assert!(cases.contains(&line), "{} has no case with {line}", tests.display());
            }
        }
        let Some(mut guard) = cfn_guard() else { continue };
        run(guard.arg("test").arg("--rules-file").arg(&rules).arg("--test-data").arg(&tests));
    }
}

#[test]
fn the_stack_meets_every_rule() {
    let Some(guard) = cfn_guard() else { return };
    let [met, about_nothing, broken] = judged(guard, &super::account::body());
    assert!(broken.is_empty(), "{broken:?}");
    assert_eq!(about_nothing, ABOUT_NOTHING);
    assert!(met.len() >= 15, "{met:?}");
}

#[test]
fn a_stack_without_a_protection_breaks_its_rule() {
    for (text, instead, rule) in [
        ("HttpTokens: required", "HttpTokens: optional", "metadata_needs_a_token"),
        ("HttpPutResponseHopLimit: 1", "HttpPutResponseHopLimit: 2", "metadata_is_one_hop_away"),
        ("Encrypted: true, ", "", "volumes_are_encrypted"),
        ("Encrypted: true, DeleteOnTermination: true", "Encrypted: true", "nothing_outlives_its_instance"),
        ("InstanceInitiatedShutdownBehavior: terminate", "EbsOptimized: true", "power_off_terminates"),
        ("SourceSecurityGroupId: !Ref WorkerGroup", "CidrIp: 0.0.0.0/0", "ingress_admits_no_world"),
        ("workers to Redis", "workers to BullMQ's Redis", "descriptions_have_characters_that_ec2_takes"),
        ("CidrIp: 127.0.0.1/32", "CidrIp: 10.0.0.0/8", "builders_are_closed"),
        ("Resource: !GetAtt WorkerRole.Arn", "Resource: \"*\"", "mutations_name_their_resources"),
        ("Resource: !GetAtt WorkerProfile.Arn", "Resource: \"*\"", "roles_are_read_by_name"),
        (
            "StringEquals: { \"iam:PassedToService\": ec2.amazonaws.com }",
            "Bool: { a: true }",
            "roles_are_passed_to_ec2",
        ),
        (
            "{ Service: ec2.amazonaws.com }",
            "{ Service: ec2.amazonaws.com, AWS: x }",
            "roles_of_instances_trust_ec2_alone",
        ),
        ("Default: c6i.xlarge", "Default: AKIAIOSFODNN7EXAMPLE", "defaults_are_no_secrets"),
    ] {
        let Some(guard) = cfn_guard() else { return };
        let body = super::account::body();
        assert!(body.contains(text), "the stack has no {text}");
        let [_, _, broken] = judged(guard, &body.replacen(text, instead, 1));
        assert_eq!(broken, [rule], "{instead}");
    }
}
