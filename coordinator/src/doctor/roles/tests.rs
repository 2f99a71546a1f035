//! Trust policies, and how each comes out.

use serde_json::json;

use super::*;
use crate::doctor::Level;

fn statement(principal: &Value) -> Value {
    json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" })
}

fn role(trust: &Value) -> Role {
    Role { name: "spillway-worker".to_owned(), trust: trust.to_string() }
}

#[test]
fn whoever_else_may_assume_the_role_is_named_and_fails_where_agents_prove_themselves_by_it() {
    let ec2 = json!({ "Service": "ec2.amazonaws.com" });
    for (principals, level, named) in [
        (vec![ec2.clone()], Level::Ok, "EC2 alone"),
        (vec![json!({ "Service": ["ec2.amazonaws.com"] })], Level::Ok, "EC2 alone"),
        (vec![json!({ "Service": "ec2.amazonaws.com.cn" })], Level::Ok, "EC2 alone"),
        (vec![json!("*")], Level::Fail, "* (everybody)"),
        (vec![ec2.clone(), json!({ "AWS": "*" })], Level::Fail, "* (everybody)"),
        (vec![ec2.clone(), json!({ "AWS": "arn:aws:iam::1:root" })], Level::Fail, "AWS arn:aws:iam::1:root"),
        (
            vec![json!({ "Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"] })],
            Level::Fail,
            "Service lambda.amazonaws.com",
        ),
        (vec![json!({ "Federated": "accounts.google.com" })], Level::Fail, "Federated accounts.google.com"),
        (vec![], Level::Fail, "EC2 may not assume"),
    ] {
        let trust = json!({ "Statement": principals.iter().map(statement).collect::<Vec<_>>() });
        let found = judged(&role(&trust), "spillway-worker", TrustKind::Aws);
        assert_eq!((found.id, found.level), (WORKER, level), "{trust}: {found:?}");
        assert!(found.detail.contains(named), "{trust}: {found:?}");
        let by_token = judged(&role(&trust), "spillway-worker", TrustKind::Token);
        assert_eq!(by_token.level, if level == Level::Ok { Level::Ok } else { Level::Warn }, "{by_token:?}");
    }
    let one = json!({ "Statement": statement(&ec2) });
    assert_eq!(judged(&role(&one), "spillway-worker", TrustKind::Aws).level, Level::Ok, "a statement without a list");
    let denied = json!({ "Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole" });
    let denied = json!({ "Statement": [statement(&ec2), denied] });
    assert_eq!(judged(&role(&denied), "spillway-worker", TrustKind::Aws).level, Level::Ok, "a denial lets nobody in");
    let but = json!({ "Statement": [{ "Effect": "Allow", "NotPrincipal": { "AWS": "x" }, "Action": "*" }] });
    assert_eq!(judged(&role(&but), "spillway-worker", TrustKind::Aws).level, Level::Fail);
}

#[test]
fn a_role_that_is_not_named_as_agents_are_expected_to_be_fails_and_says_the_setting() {
    let trust = json!({ "Statement": [statement(&json!({ "Service": "ec2.amazonaws.com" }))] });
    let found = judged(&role(&trust), "another", TrustKind::Aws);
    assert_eq!(found.level, Level::Fail, "{found:?}");
    assert_eq!(found.remedy.as_deref(), Some("set grpc.role = \"spillway-worker\""));
    assert_eq!(judged(&role(&trust), "another", TrustKind::Token).level, Level::Ok);
}

#[test]
fn what_is_no_policy_is_not_taken_for_a_good_one() {
    for text in ["", "{}", "[]", "nonsense", "{\"Statement\":[{}]}", "{\"Statement\":[{\"Effect\":\"Allow\"}]}"] {
        let found = judged(&Role { name: "r".to_owned(), trust: text.to_owned() }, "r", TrustKind::Aws);
        assert_eq!(found.level, Level::Warn, "{text}: {found:?}");
    }
}

#[test]
fn what_cannot_be_read_is_a_warning_that_names_the_permission() {
    for class in [RefusalClass::Permission, RefusalClass::Retry] {
        let refused = Refused { class, code: "AccessDenied".to_owned(), message: "no".to_owned() };
        let found = not_known(SPOT, &refused, "iam:GetRole");
        assert!(found.level == Level::Warn && found.remedy.unwrap_or_default().contains("iam:GetRole"));
    }
}
