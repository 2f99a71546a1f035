//! An instance's agent as far as its registration goes, made by the test itself: with the credentials that the
//! instance's metadata gives out, and with whatever an attacker would sign or send instead. Signs with AWS's own crate.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value;
use spillway_emulator::InstanceRecord;
use spillway_proto::sts::{self, BOOT_KEY};
use spillway_proto::v1;
use spillway_proto::v1::agent_service_client::AgentServiceClient;
use spillway_proto::v1::register_request::Proof;
use spillway_proto::v1::register_response::Outcome;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::agent_session::AgentSession;
use crate::stage::Stage;

/// Which boot of its instance every prover is in, unless it says otherwise.
pub const BOOT: &str = "boot-1";

/// What is signed, as a change of the one request that is right.
#[derive(Clone, Debug)]
pub struct Signed {
    pub region: String,
    pub service: &'static str,
    pub host: Option<String>,
    pub body: &'static str,
    pub audience: String,
    pub nonce: Vec<u8>,
    /// Headers that are left out.
    pub without: &'static [&'static str],
    /// How long before now; negative: after.
    pub ago_seconds: i64,
}

impl Signed {
    /// As an agent answers this challenge.
    pub fn answering(challenge: &v1::Challenge) -> Self {
        Signed {
            region: "us-east-1".to_owned(),
            service: sts::SERVICE,
            host: None,
            body: sts::BODY,
            audience: challenge.audience.clone(),
            nonce: challenge.nonce.clone(),
            without: &[],
            ago_seconds: 0,
        }
    }
}

/// Whoever has an instance's credentials.
#[derive(Clone, Debug)]
pub struct Prover {
    pub id: String,
    /// From which it connects.
    pub address: IpAddr,
    pub boot: String,
    /// The coordinator.
    pub server: String,
    pub credentials: Credentials,
}

impl Prover {
    /// The agent of this instance.
    pub async fn of(stage: &Stage, record: &InstanceRecord) -> Self {
        let credentials = credentials(record.imds_port).await;
        let (id, address) = (record.id.clone(), record.private_ip.parse().expect("an address"));
        let server = stage.coordinator().server();
        Prover { id, address, boot: BOOT.to_owned(), server, credentials }
    }

    /// The same at another coordinator.
    pub fn at(&self, server: String) -> Self {
        Prover { server, ..self.clone() }
    }

    pub fn secrets(&self) -> [String; 2] {
        let token = self.credentials.session_token().unwrap_or_default();
        [self.credentials.secret_access_key().to_owned(), token.to_owned()]
    }

    pub async fn connect(&self) -> AgentServiceClient<Channel> {
        self.connect_from(self.address).await
    }

    pub async fn connect_from(&self, address: IpAddr) -> AgentServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.server)).expect("an address");
        let channel = endpoint.local_address(Some(address)).connect().await.expect("the coordinator");
        AgentServiceClient::new(channel)
    }

    pub fn request(&self, proof: Option<v1::StsProof>) -> v1::RegisterRequest {
        let (instance_id, boot_id) = (self.id.clone(), self.boot.clone());
        let identity = Some(v1::Identity { instance_id, boot_id, ..v1::Identity::default() });
        v1::RegisterRequest { identity, proof: proof.map(Proof::StsProof), can_prove: true, ..Default::default() }
    }

    pub async fn challenge(&self, client: &mut AgentServiceClient<Channel>) -> Result<v1::Challenge, Status> {
        match client.register(self.request(None)).await?.into_inner().outcome {
            Some(Outcome::Challenge(challenge)) => Ok(challenge),
            other => panic!("no challenge: {other:?}"),
        }
    }

    /// Signs it with this instance's credentials.
    #[expect(clippy::disallowed_methods, reason = "a signature is of the wall clock's time")]
    pub fn sign(&self, signed: &Signed) -> v1::StsProof {
        let host = signed.host.clone().unwrap_or_else(|| format!("sts.{}.amazonaws.com", signed.region));
        let nonce: String = signed.nonce.iter().map(|byte| format!("{byte:02x}")).collect();
        let headers = [
            ("accept", "application/json"),
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", &*host),
            ("x-spillway-audience", &*signed.audience),
            ("x-spillway-nonce", &*nonce),
        ];
        let headers = headers.into_iter().filter(|(name, _)| !signed.without.contains(name));
        let (now, ago) = (SystemTime::now(), Duration::from_secs(signed.ago_seconds.unsigned_abs()));
        let at = if signed.ago_seconds < 0 { now + ago } else { now - ago };
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder().identity(&identity).region(&signed.region).name(signed.service);
        let params = params.time(at).settings(SigningSettings::default()).build().expect("parameters").into();
        let (url, body) = (format!("https://{host}/"), SignableBody::Bytes(signed.body.as_bytes()));
        let request = SignableRequest::new(sts::METHOD, url, headers, body).expect("a request");
        let (instructions, signature) = sign(request, &params).expect("a signature").into_parts();
        let (_, date) = instructions.headers().find(|(name, _)| *name == "x-amz-date").expect("a date");
        v1::StsProof {
            access_key_id: self.credentials.access_key_id().to_owned(),
            session_token: self.credentials.session_token().expect("a token").to_owned(),
            amz_date: date.to_owned(),
            signature,
        }
    }

    pub async fn send(
        &self,
        client: &mut AgentServiceClient<Channel>,
        proof: v1::StsProof,
    ) -> Result<v1::Registered, Status> {
        match client.register(self.request(Some(proof))).await?.into_inner().outcome {
            Some(Outcome::Registered(registered)) => Ok(registered),
            other => panic!("not registered: {other:?}"),
        }
    }

    /// All of it, over one connection, with what `change` makes of the right answer.
    pub async fn register_with(&self, change: impl FnOnce(Signed) -> Signed) -> Result<v1::Registered, Status> {
        let mut client = self.connect().await;
        let challenge = self.challenge(&mut client).await?;
        self.send(&mut client, self.sign(&change(Signed::answering(&challenge)))).await
    }

    /// As the agent does it.
    pub async fn register(&self) -> Result<v1::Registered, Status> {
        self.register_with(|signed| signed).await
    }

    /// Opens a session with a token, from here and in this boot.
    pub async fn session(&self, token: &str) -> Result<AgentSession, Status> {
        let mut client = self.connect().await;
        let (sender, receiver) = mpsc::channel(64);
        let mut session = tonic::Request::new(ReceiverStream::new(receiver));
        let metadata = session.metadata_mut();
        metadata.insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
        metadata.insert(BOOT_KEY, self.boot.parse().expect("ASCII"));
        let commands = client.session(session).await?.into_inner();
        Ok(AgentSession { sender, commands })
    }
}

/// What everybody is who is not an instance.
pub const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a process in the instance reads from its metadata.
async fn credentials(imds_port: u16) -> Credentials {
    let base = format!("http://127.0.0.1:{imds_port}/latest");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let token = http.put(format!("{base}/api/token")).header("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = token.send().await.expect("metadata").text().await.expect("a token");
    let get = async |path: &str| {
        let request = http.get(format!("{base}/meta-data/iam/security-credentials/{path}"));
        let answer = request.header("x-aws-ec2-metadata-token", &token).send().await.expect("metadata");
        answer.text().await.expect("text")
    };
    let role = get("").await;
    let given: Value = serde_json::from_str(&get(&role).await).expect("JSON");
    let text = |key: &str| given[key].as_str().expect("a text").to_owned();
    Credentials::new(text("AccessKeyId"), text("SecretAccessKey"), Some(text("Token")), None, "metadata")
}
