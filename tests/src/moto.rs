//! moto, somebody else's AWS: a server that knows nothing of Spillway, and its wire API by hand.

use std::ffi::OsStr;
use std::path::Path;

use crate::process::{Process, command};
use crate::{ports, programs, wait};

/// A service that speaks AWS's query protocol: its name in a signature, and the version of its API.
pub type Service = (&'static str, &'static str);

pub const EC2: Service = ("ec2", "2016-11-15");
pub const IAM: Service = ("iam", "2010-05-08");
pub const CLOUDFORMATION: Service = ("cloudformation", "2010-05-15");

/// A running moto.
#[derive(Debug)]
pub struct Moto {
    pub process: Process,
    http: reqwest::Client,
    url: String,
    port: u16,
}

impl Moto {
    pub async fn start(directory: &Path) -> Self {
        Self::start_with(directory, "http", &[]).await
    }

    /// With TLS, by this certificate and its key.
    pub async fn start_tls(directory: &Path, certificate: &Path, key: &Path) -> Self {
        let options = ["--ssl-cert".as_ref(), certificate.as_os_str(), "--ssl-key".as_ref(), key.as_os_str()];
        Self::start_with(directory, "https", &options).await
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    async fn start_with(directory: &Path, scheme: &str, options: &[&OsStr]) -> Self {
        let port = ports::free();
        let mut server = command(programs::tool("moto/bin/moto_server"));
        server.args(["-H", "127.0.0.1", "-p", &port.to_string()]).args(options).current_dir(directory);
        let process = Process::start("moto", &mut server, &directory.join("moto.log"));
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let moto = Moto { process, http, url: format!("{scheme}://127.0.0.1:{port}"), port };
        wait::until(
            "moto answers",
            async || moto.process.tail(),
            async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok(),
        )
        .await;
        moto
    }

    /// EC2's answer.
    pub async fn call(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        self.ask(EC2, action, parameters).await
    }

    /// The answer of a service.
    pub async fn ask(&self, (service, version): Service, action: &str, parameters: &[(&str, &str)]) -> String {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("Action", action).append_pair("Version", version).extend_pairs(parameters);
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let (status, text) = self.send(&scope, body.finish()).await;
        assert!(status.is_success(), "{action}: {status} {text}\n{}", self.process.tail());
        text
    }

    /// Status and answer to a form with this `Authorization`.
    pub async fn send(&self, authorization: &str, form: String) -> (reqwest::StatusCode, String) {
        let request = self.http.post(&self.url).header("authorization", authorization);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await.unwrap_or_else(|error| panic!("moto: {error}\n{}", self.process.tail()));
        (answer.status(), answer.text().await.expect("a body"))
    }
}

/// The texts of all elements of this name.
pub fn all(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
}
