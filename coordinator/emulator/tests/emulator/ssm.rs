//! Parameter Store, and images behind its parameters.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Reply, World, running};

const NAME: &str = "/spillway/demo/image";
const FIRST: &str = "ami-0aaaaaaaaaaaaaaaa";
const SECOND: &str = "ami-0bbbbbbbbbbbbbbbb";

async fn ask(client: &Client, action: &'static str, body: Value) -> Result<Value, String> {
    let target: &'static str = Box::leak(format!("AmazonSSM.{action}").into_boxed_str());
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
    let body = body.to_string();
    let request = client.signed_for("ssm", (Method::POST, &client.endpoint, &body), &headers, Duration::ZERO);
    let answer = request.send().await.expect("an answer");
    let is_ok = answer.status().is_success();
    let said: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    if is_ok { Ok(said) } else { Err(said["__type"].as_str().expect("a type").to_owned()) }
}

fn image(value: &str) -> Value {
    json!({ "Name": NAME, "Value": value, "Type": "String", "DataType": "aws:ec2:image", "Overwrite": true })
}

async fn template(world: &World, name: &str, code: Option<&str>) -> Reply {
    let image = format!("resolve:ssm:{NAME}");
    let form = [("LaunchTemplateName", name), ("LaunchTemplateData.ImageId", &image)];
    match code {
        None => world.client.ok("CreateLaunchTemplate", &form).await,
        Some(code) => world.client.refused("CreateLaunchTemplate", &form, code).await,
    }
}

async fn launched_from(world: &World, name: &str) -> String {
    let form = [("LaunchTemplate.LaunchTemplateName", name), ("MinCount", "1"), ("MaxCount", "1")];
    world.client.ok("RunInstances", &form).await.one("imageId")
}

#[tokio::test]
async fn a_template_names_a_parameter_and_launches_take_the_image_that_it_has_then() {
    let world = running().await;
    template(&world, "early", Some("SsmInvalidParameter")).await;
    let plain = json!({ "Name": NAME, "Value": FIRST, "Type": "String" });
    ask(&world.client, "PutParameter", plain).await.expect("put");
    template(&world, "text", Some("SsmInvalidParameter")).await;
    let put = ask(&world.client, "PutParameter", image(FIRST)).await.expect("put");
    assert_eq!(put["Version"], 2);
    template(&world, "worker", None).await;
    assert_eq!(launched_from(&world, "worker").await, FIRST);
    ask(&world.client, "PutParameter", image(SECOND)).await.expect("put");
    assert_eq!(launched_from(&world, "worker").await, SECOND);

    let versions = async |resolves: &str| {
        let form = [("LaunchTemplateName", "worker"), ("LaunchTemplateVersion.1", "1"), ("ResolveAlias", resolves)];
        world.client.ok("DescribeLaunchTemplateVersions", &form).await.one("imageId")
    };
    assert_eq!(versions("true").await, SECOND);
    assert_eq!(versions("false").await, format!("resolve:ssm:{NAME}"));
    let fixed = format!("resolve:ssm:{NAME}:2");
    let form = [("ImageId", &*fixed), ("MinCount", "1"), ("MaxCount", "1")];
    assert_eq!(world.client.ok("RunInstances", &form).await.one("imageId"), FIRST, "a version by its number");

    ask(&world.client, "DeleteParameter", json!({ "Name": NAME })).await.expect("deleted");
    let form = [("LaunchTemplate.LaunchTemplateName", "worker"), ("MinCount", "1"), ("MaxCount", "1")];
    world.client.refused("RunInstances", &form, "SsmInvalidParameter").await;
    world.stop().await;
}

#[tokio::test]
async fn parameters_have_versions_a_history_and_an_owner() {
    let world = running().await;
    let of_name = || json!({ "Name": NAME });
    assert_eq!(ask(&world.client, "GetParameter", of_name()).await, Err("ParameterNotFound".to_owned()));
    ask(&world.client, "PutParameter", image(FIRST)).await.expect("put");
    let again = json!({ "Name": NAME, "Value": SECOND, "Type": "String", "DataType": "aws:ec2:image" });
    assert_eq!(ask(&world.client, "PutParameter", again).await, Err("ParameterAlreadyExists".to_owned()));
    assert_eq!(ask(&world.client, "PutParameter", image("no-image")).await, Err("ValidationException".to_owned()));
    ask(&world.client, "PutParameter", image(SECOND)).await.expect("put");
    let newest = ask(&world.client, "GetParameter", of_name()).await.expect("it");
    assert_eq!((&newest["Parameter"]["Value"], &newest["Parameter"]["Version"]), (&json!(SECOND), &json!(2)));
    let history = ask(&world.client, "GetParameterHistory", of_name()).await.expect("it");
    let values: Vec<_> = history["Parameters"].as_array().expect("versions").iter().map(|it| &it["Value"]).collect();
    assert_eq!(values, [FIRST, SECOND]);
    let several = ask(&world.client, "GetParameters", json!({ "Names": [NAME, "/another"] })).await.expect("them");
    assert_eq!(
        (&several["Parameters"][0]["Value"], &several["InvalidParameters"][0]),
        (&json!(SECOND), &json!("/another"))
    );
    let stranger = Client::new(world.client.endpoint.clone(), Some("another".to_owned()));
    assert_eq!(ask(&stranger, "GetParameter", of_name()).await, Err("AuthFailure".to_owned()));
    world.stop().await;
}
