//! What is asked of the account: IAM's roles, Service Quotas, types of instances, and the date of answers.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use spillway_emulator::Refuse;

use crate::support::{Client, running};

async fn iam(client: &Client, form: &str) -> (StatusCode, String) {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("{form}&Version=2010-05-08");
    let request = client.signed_for("iam", (Method::POST, &client.endpoint, &body), &headers, Duration::ZERO);
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.text().await.expect("a body"))
}

async fn quota(client: &Client, code: &str) -> (StatusCode, Value) {
    let target = ("x-amz-target", "ServiceQuotasV20190624.GetServiceQuota");
    let headers = [("content-type", "application/x-amz-json-1.1"), target];
    let body = json!({ "ServiceCode": "ec2", "QuotaCode": code }).to_string();
    let request = client.signed_for("servicequotas", (Method::POST, &client.endpoint, &body), &headers, Duration::ZERO);
    let answer = request.send().await.expect("an answer");
    (answer.status(), serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON"))
}

#[tokio::test]
async fn a_role_trusts_ec2_until_another_trust_is_set_and_refusals_are_iams() {
    let world = running().await;
    let (status, text) = iam(&world.client, "Action=GetInstanceProfile&InstanceProfileName=worker").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("<RoleName>worker</RoleName>") && text.contains("ec2.amazonaws.com"), "{text}");
    world.emulator().trust("worker", &json!({ "Statement": [] })).expect("a trust");
    let (_, text) = iam(&world.client, "Action=GetRole&RoleName=worker").await;
    assert!(text.contains("%7B%22Statement%22%3A%5B%5D%7D"), "percent-encoded: {text}");
    let fault = |code: &str| Refuse { action: "GetRole".to_owned(), code: code.to_owned(), calls: 1, message: None };
    for (code, expected) in [("NoSuchEntity", StatusCode::NOT_FOUND), ("AccessDenied", StatusCode::FORBIDDEN)] {
        world.emulator().refuse(fault(code)).expect("a fault");
        let (status, text) = iam(&world.client, "Action=GetRole&RoleName=worker").await;
        assert!(status == expected && text.contains(&format!("<Code>{code}</Code>")), "{status}: {text}");
    }
    for form in ["Action=GetRole", "Action=ListRoles", "Action=GetRole&RoleName=a&Path=b", "", "%%%"] {
        let (status, text) = iam(&world.client, form).await;
        assert!(status.is_client_error() && text.contains("<ErrorResponse"), "{form}: {text}");
    }
    let stranger = Client::new(world.client.endpoint.clone(), Some("another".to_owned()));
    assert_eq!(iam(&stranger, "Action=GetRole&RoleName=worker").await.0, StatusCode::UNAUTHORIZED);
    world.stop().await;
}

#[tokio::test]
async fn a_quota_has_the_value_that_was_set_and_an_unknown_one_is_none() {
    let world = running().await;
    let (_, usual) = quota(&world.client, "L-34B43A08").await;
    assert_eq!(usual["Quota"]["Value"], 256.0, "{usual}");
    world.emulator().quota("L-34B43A08", 5.0).expect("a quota");
    assert_eq!(quota(&world.client, "L-34B43A08").await.1["Quota"]["Value"], 5.0);
    let (status, unknown) = quota(&world.client, "L-00000000").await;
    assert_eq!((status, &unknown["__type"]), (StatusCode::BAD_REQUEST, &json!("NoSuchResourceException")));
    for (code, value) in [("L-00000000", 1.0), ("L-34B43A08", -1.0), ("L-34B43A08", f64::NAN)] {
        assert!(world.emulator().quota(code, value).is_err(), "{code} {value}");
    }
    world.stop().await;
}

#[tokio::test]
async fn types_have_vcpus_by_their_size() {
    let world = running().await;
    let form = [("InstanceType.1", "c6i.4xlarge"), ("InstanceType.2", "t3.micro")];
    let types = world.client.ok("DescribeInstanceTypes", &form).await;
    assert!(types.body.contains("<defaultVCpus>16</defaultVCpus>"), "{}", types.body);
    assert!(types.body.contains("<defaultVCpus>2</defaultVCpus>"), "{}", types.body);
    world.client.refused("DescribeInstanceTypes", &[("InstanceType.1", "nonsense")], "InvalidInstanceType").await;
    world.stop().await;
}

#[tokio::test]
async fn answers_are_dated_ahead_or_behind_as_it_is_set() {
    let world = running().await;
    let date = async || {
        let request = world.client.signed(Method::POST, &world.client.endpoint, "", Duration::ZERO);
        let answer = request.send().await.expect("an answer");
        answer.headers()["date"].to_str().expect("text").to_owned()
    };
    let now = date().await;
    world.emulator().date_off(-366 * 86_400).expect("a date");
    let then = date().await;
    assert!(then.ends_with(" GMT") && then.len() == now.len() && then[12..16] < now[12..16], "{then} {now}");
    world.emulator().clear_faults();
    assert_eq!(date().await[..16], now[..16]);
    assert!(world.emulator().date_off(i64::MAX).is_err());
    assert!(world.emulator().date_off(i64::MIN).is_err(), "no overflow");
    world.stop().await;
}

#[tokio::test]
async fn spot_prices_since_a_time_begin_with_the_one_that_held_then() {
    let world = running().await;
    let zone = ("AvailabilityZone", "us-east-1a");
    let form = |start: &'static str| [("InstanceType.1", "c6i.xlarge"), zone, ("StartTime", start)];
    let now = world.client.ok("DescribeSpotPriceHistory", &[("InstanceType.1", "c6i.xlarge"), zone]).await;
    assert_eq!(now.all("timestamp").len(), 1, "{}", now.body);
    assert_eq!(now.one("spotPrice"), "0.061200");
    let all = world.client.ok("DescribeSpotPriceHistory", &form("2019-01-21T09:00:43Z")).await;
    // Ninety days with four changes each.
    assert!((360..=361).contains(&all.all("timestamp").len()), "{}", all.all("timestamp").len());
    assert!(all.all("timestamp").is_sorted_by(|newer, older| newer > older));
    world.client.refused("DescribeSpotPriceHistory", &form("yesterday"), "InvalidParameterValue").await;
    world.stop().await;
}
