//! Another client of the same EC2 account.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use spillway_emulator::Emulator;
use spillway_stage::ec2;

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
    send(stage.emulator(), form).await.is_ok()
}

/// A call to EC2: its answer, or the answer that it failed with.
pub async fn send(emulator: &Emulator, form: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<String, String> {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let body: Vec<String> =
        form.iter().map(|(name, value)| format!("{}={}", name.as_ref(), encoded(value.as_ref()))).collect();
    let body = format!("Version=2016-11-15&{}", body.join("&"));
    let form = ("content-type", "application/x-www-form-urlencoded");
    let mut request = http.post(emulator.endpoint()).header(form.0, form.1);
    for (name, value) in signature(emulator, "ec2", form, &body) {
        request = request.header(name, value);
    }
    let answer = request.body(body).send().await.map_err(|error| error.to_string())?;
    let (is_success, text) = (answer.status().is_success(), answer.text().await.unwrap_or_default());
    if is_success { Ok(text) } else { Err(text) }
}

/// Has a parameter of Systems Manager name an image.
pub async fn put_image(emulator: &Emulator, parameter: &str, image: &str) {
    let put = serde_json::json!({
        "Name": parameter, "Value": image, "Type": "String", "DataType": "aws:ec2:image", "Overwrite": true,
    });
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let (kind, body) = (("content-type", "application/x-amz-json-1.1"), put.to_string());
    let mut request =
        http.post(emulator.endpoint()).header(kind.0, kind.1).header("x-amz-target", "AmazonSSM.PutParameter");
    for (name, value) in signature(emulator, "ssm", kind, &body) {
        request = request.header(name, value);
    }
    let answer = request.body(body).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{:?}", answer.text().await);
}

/// Percent-encoded, as in a form.
fn encoded(value: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The headers that sign a call, by AWS's own crate.
#[expect(clippy::disallowed_methods, reason = "a signature is of the wall clock's time")]
fn signature(emulator: &Emulator, service: &str, header: (&str, &str), body: &str) -> Vec<(String, String)> {
    let identity = Credentials::new("other", ec2::secret(emulator), None, None, "test").into();
    let params = v4::SigningParams::builder().identity(&identity).region("us-east-1").name(service);
    let params = params.time(std::time::SystemTime::now()).settings(SigningSettings::default());
    let params = params.build().expect("parameters").into();
    let endpoint = emulator.endpoint();
    let body = SignableBody::Bytes(body.as_bytes());
    let request = SignableRequest::new("POST", &endpoint, [header].into_iter(), body).expect("a request");
    let (instructions, _) = sign(request, &params).expect("a signature").into_parts();
    instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
