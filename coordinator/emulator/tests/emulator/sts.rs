//! STS: who an instance is, by the credentials of its metadata, in the form that the request accepts. The requests are
//! signed by AWS's own crate.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::{Value, json};

use crate::support::{Client, Reply, World, records_only};

const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const HOST: &str = "sts.us-east-1.amazonaws.com";

/// A request, before it is signed.
#[derive(Clone, Debug)]
struct Asked {
    region: &'static str,
    service: &'static str,
    accept: &'static str,
    body: &'static str,
    nonce: &'static str,
    ago: Duration,
}

fn asked() -> Asked {
    let (accept, nonce) = ("application/json", "00ff");
    Asked { region: "us-east-1", service: "sts", accept, body: BODY, nonce, ago: Duration::ZERO }
}

struct Sts<'a> {
    client: &'a Client,
    credentials: Credentials,
}

impl Sts<'_> {
    /// Signs it and sends it; `change` may meddle in between.
    #[expect(clippy::disallowed_methods, reason = "a signature is of the wall clock's time")]
    async fn ask(
        &self,
        asked: Asked,
        change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Reply {
        let form = "application/x-www-form-urlencoded";
        let own = [("accept", asked.accept), ("content-type", form), ("host", HOST), ("x-spillway-nonce", asked.nonce)];
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder().identity(&identity).region(asked.region).name(asked.service);
        let params = params.time(SystemTime::now() - asked.ago).settings(SigningSettings::default());
        let params = params.build().expect("parameters").into();
        let signable = SignableBody::Bytes(asked.body.as_bytes());
        let url = format!("https://{HOST}/");
        let signable = SignableRequest::new("POST", url, own.into_iter(), signable).expect("a request");
        let (instructions, _) = sign(signable, &params).expect("a signature").into_parts();
        let headers = own.iter().copied().chain(instructions.headers());
        let request = self.client.http.post(&self.client.endpoint).body(asked.body);
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        let answer = change(request).send().await.expect("an answer");
        Reply { status: answer.status(), body: answer.text().await.expect("a body") }
    }

    async fn code(&self, asked: Asked) -> (u16, String) {
        let reply = self.ask(asked, |request| request).await;
        let body: Value = serde_json::from_str(&reply.body).unwrap_or_else(|_| panic!("{}", reply.body));
        (reply.status.as_u16(), body["Error"]["Code"].as_str().unwrap_or("OK").to_owned())
    }
}

/// An instance with a profile, and what its metadata gives out.
async fn instance(world: &World) -> (String, Credentials) {
    let id = world.client.run(&[("IamInstanceProfile.Name", "worker")]).await;
    let port = world.record(&id).imds_port;
    let base = format!("http://127.0.0.1:{port}/latest");
    let http = &world.client.http;
    let token = http.put(format!("{base}/api/token")).header("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = token.send().await.expect("an answer").text().await.expect("a token");
    let get = async |path: &str| {
        let request = http.get(format!("{base}/meta-data/{path}")).header("x-aws-ec2-metadata-token", &token);
        request.send().await.expect("an answer").text().await.expect("text")
    };
    assert_eq!(get("iam/security-credentials/").await, "worker");
    let address = get("local-ipv4").await;
    assert_eq!(address, world.record(&id).private_ip);
    assert!(address.starts_with("127.") && address != "127.0.0.1", "a process can connect from it: {address}");
    let given: Value = serde_json::from_str(&get("iam/security-credentials/worker").await).expect("JSON");
    let text = |key: &str| given[key].as_str().expect("a text").to_owned();
    let credentials = Credentials::new(text("AccessKeyId"), text("SecretAccessKey"), Some(text("Token")), None, "t");
    (id, credentials)
}

#[tokio::test]
async fn an_instance_is_told_who_it_is_in_the_form_that_it_accepts() {
    let world = records_only().await;
    let (id, credentials) = instance(&world).await;
    let sts = Sts { client: &world.client, credentials };
    let reply = sts.ask(asked(), |request| request).await;
    let said: Value = serde_json::from_str(&reply.body).expect("JSON");
    let expect = json!({
        "Account": "123456789012",
        "Arn": format!("arn:aws:sts::123456789012:assumed-role/worker/{id}"),
        "UserId": format!("AROAEMULATEDROLE00001:{id}"),
    });
    assert_eq!(said["GetCallerIdentityResponse"]["GetCallerIdentityResult"], expect, "{}", reply.body);
    let xml = sts.ask(Asked { accept: "*/*", ..asked() }, |request| request).await;
    assert_eq!(xml.one("Arn"), format!("arn:aws:sts::123456789012:assumed-role/worker/{id}"));
    assert_eq!(world.emulator().calls().counts["GetCallerIdentity"], 2);
}

#[tokio::test]
async fn what_is_not_signed_so_is_refused_as_sts_refuses_it() {
    let world = records_only().await;
    let (_, credentials) = instance(&world).await;
    let (_, other) = instance(&world).await;
    let sts = Sts { client: &world.client, credentials: credentials.clone() };
    for (what, asked) in [
        ("an old signature", Asked { ago: Duration::from_secs(301), ..asked() }),
        ("another region", Asked { region: "eu-west-1", ..asked() }),
    ] {
        assert_eq!(sts.code(asked).await, (403, "SignatureDoesNotMatch".to_owned()), "{what}");
    }
    assert_eq!(
        sts.code(Asked { body: "Action=GetSessionToken&Version=2011-06-15", ..asked() }).await.1,
        "InvalidAction"
    );
    let forged = |name: &'static str, value: &'static str| {
        sts.ask(asked(), move |request| {
            let mut request = request.build().expect("a request");
            request.headers_mut().insert(name, value.parse().expect("a value"));
            reqwest::RequestBuilder::from_parts(reqwest::Client::new(), request)
        })
    };
    for (name, value) in [("x-spillway-nonce", "00fe"), ("host", "localhost"), ("x-amz-other", "not signed")] {
        let reply = forged(name, value).await;
        assert_eq!(reply.status, 403, "{name}: {}", reply.body);
        assert!(reply.body.contains("SignatureDoesNotMatch"), "{name}: {}", reply.body);
    }
    let mixed =
        |id: &str, secret: &str, token: Option<&str>| Credentials::new(id, secret, token.map(str::to_owned), None, "t");
    let (id, secret) = (credentials.access_key_id(), credentials.secret_access_key());
    for (what, credentials, code) in [
        (
            "another's secret",
            mixed(id, other.secret_access_key(), credentials.session_token()),
            "SignatureDoesNotMatch",
        ),
        ("another's token", mixed(id, secret, other.session_token()), "InvalidClientTokenId"),
        ("no token", mixed(id, secret, None), "InvalidClientTokenId"),
        ("an unknown key", mixed("ASIA0000000000000000", secret, credentials.session_token()), "InvalidClientTokenId"),
    ] {
        let sts = Sts { client: &world.client, credentials };
        assert_eq!(sts.code(asked()).await, (403, code.to_owned()), "{what}");
    }
    let ec2 = Sts { client: &world.client, credentials };
    let reply = ec2.ask(Asked { service: "ec2", ..asked() }, |request| request).await;
    assert_eq!(reply.one("Code"), "AuthFailure", "EC2's API takes the emulator's key alone: {}", reply.body);
}

#[tokio::test]
async fn its_faults_are_set_by_the_actions_name() {
    let world = records_only().await;
    let (_, credentials) = instance(&world).await;
    let sts = Sts { client: &world.client, credentials };
    world.client.order("refuse", r#"{"action":"GetCallerIdentity","code":"Throttling","calls":1}"#).await;
    assert_eq!(sts.code(asked()).await, (400, "Throttling".to_owned()));
    let answer =
        r#"{"action":"GetCallerIdentity","calls":1,"status":302,"body":"<moved>","location":"http://127.0.0.1:1/"}"#;
    world.client.order("answer", answer).await;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
    let sts = Sts {
        client: &Client { http: http.expect("a client"), ..Client::new(world.client.endpoint.clone(), None) },
        ..sts
    };
    let reply = sts.ask(asked(), |request| request).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (302, "<moved>"));
    assert_eq!(sts.code(asked()).await, (200, "OK".to_owned()));
    let other = answer.replace("GetCallerIdentity", "RunInstances");
    assert_eq!(world.client.control(reqwest::Method::POST, "answer", &other).await.status, 400);
}

/// DNS rebinding: only AWS's own name is taken, which no page can have.
#[tokio::test]
async fn a_page_that_names_sts_is_still_a_page() {
    let world = records_only().await;
    let ask = |host: &'static str, origin: bool| {
        let request = world.client.http.post(&world.client.endpoint).header("host", host).body(BODY);
        if origin { request.header("origin", "http://example.com") } else { request }.send()
    };
    for (host, origin, is_served) in [
        (HOST, false, true),
        (HOST, true, false),
        ("sts.us-east-1.amazonaws.com.example.com", false, false),
        ("ec2.us-east-1.amazonaws.com", false, false),
        ("sts.amazonaws.com", false, false),
    ] {
        let answer = ask(host, origin).await.expect("an answer");
        let body = answer.text().await.expect("a body");
        assert_eq!(!body.contains("serves local programs only"), is_served, "{host}: {body}");
    }
}
