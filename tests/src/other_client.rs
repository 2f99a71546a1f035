//! Another client of the same EC2 account.

use crate::stage::Stage;

/// Launches one instance with these tags; whether EC2 accepted.
pub async fn launch(stage: &Stage, tags: &[(&str, &str)]) -> bool {
    let mut form: Vec<(String, String)> = [
        ("Action", "RunInstances"),
        ("ImageId", "ami-0e000000000000001"),
        ("InstanceType", "t3.micro"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    if !tags.is_empty() {
        form.push(("TagSpecification.1.ResourceType".to_owned(), "instance".to_owned()));
    }
    for (number, (key, value)) in tags.iter().enumerate() {
        let tag = format!("TagSpecification.1.Tag.{}", number + 1);
        form.push((format!("{tag}.Key"), (*key).to_owned()));
        form.push((format!("{tag}.Value"), (*value).to_owned()));
    }
    call(stage, &form).await
}

/// A call to EC2; whether it succeeded. EC2's faults hit it as any other call.
pub async fn call(stage: &Stage, form: &[(impl AsRef<str>, impl AsRef<str>)]) -> bool {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let body: Vec<String> =
        form.iter().map(|(name, value)| format!("{}={}", name.as_ref(), value.as_ref().replace(':', "%3A"))).collect();
    let request = http
        .post(stage.emulator().endpoint())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", "AWS4-HMAC-SHA256 Credential=other/20260101/us-east-1/ec2/aws4_request")
        .body(format!("Version=2016-11-15&{}", body.join("&")));
    request.send().await.is_ok_and(|answer| answer.status().is_success())
}
