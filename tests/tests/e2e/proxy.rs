//! AWS is reached through an HTTP proxy where the variables of AWS's own clients name one: calls and tunnels arrive
//! there with user and password, the names are looked up there, and this machine is never reached that way.

use std::path::Path;
use std::sync::{Arc, Mutex};

use spillway_proto::v1::Pool;
use spillway_tests::coordinator::{Coordinator, Environment, ServingStatus, spillway};
use spillway_tests::moto::{Moto, all};
use spillway_tests::process::{command, end_of, output, run, text};
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::{Setup, Stage, directory, environment};
use spillway_tests::{jobs, ports, programs, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A name that no resolver knows: whoever reaches it has asked the proxy.
const EC2: &str = "ec2.us-east-1.amazonaws.com.invalid";
/// `user:p@ss`.
const AUTHORIZATION: &str = "Basic dXNlcjpwQHNz";

/// A proxy that leads every name to one port of this machine, or nowhere.
#[derive(Clone)]
struct Proxy {
    port: u16,
    /// The head of the first request of each connection.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(target: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let proxy = Proxy { port, seen: Arc::default() };
        let seen = Arc::clone(&proxy.seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(lead(stream, target, Arc::clone(&seen)));
            }
        });
        proxy
    }

    fn url(&self) -> String {
        format!("http://user:p%40ss@127.0.0.1:{}", self.port)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("what it has seen").clone()
    }
}

async fn lead(mut client: TcpStream, target: Option<u16>, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let said = text(&head);
    seen.lock().expect("what it has seen").push(said.clone());
    let Some(target) = target else {
        let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await;
        return;
    };
    let mut server = TcpStream::connect(("127.0.0.1", target)).await.expect("the target");
    if said.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.expect("the client");
    } else {
        server.write_all(&head).await.expect("the target");
    }
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

/// A coordinator that is told of EC2 at `endpoint` and has these variables too.
async fn coordinator(
    at: &Path,
    redis: &RedisServer,
    endpoint: &str,
    template: &str,
    more: &[(&str, &str)],
) -> Coordinator {
    let mut environment = environment(&redis.url(), (endpoint, "test"), template, vec![]);
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    jobs::add(redis, 1, 1.0);
    Coordinator::start(at, &environment, ports::free()).await
}

async fn until_pool(coordinator: &Coordinator, what: &str, found: impl Fn(&Pool) -> bool) {
    let diagnosis = async || coordinator.process.tail();
    wait::until(what, diagnosis, async || coordinator.try_pool().await.filter(|pool| found(pool))).await;
}

async fn until_listed(coordinator: &Coordinator) {
    let diagnosis = async || coordinator.process.tail();
    wait::until("EC2 is listed", diagnosis, async || {
        (coordinator.try_health("spillway.cloud").await? == ServingStatus::Serving).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_through_the_proxy_with_user_and_password() {
    let directory = directory();
    let (moto, redis) = (Moto::start(directory.path()).await, RedisServer::start(directory.path()));
    let proxy = Proxy::start(Some(moto.port())).await;
    let image = all(&moto.call("DescribeImages", &[]).await, "imageId").into_iter().next().expect("moto has images");
    let parameters = [("LaunchTemplateName", "worker"), ("LaunchTemplateData.ImageId", image.as_str())];
    let template = all(&moto.call("CreateLaunchTemplate", &parameters).await, "launchTemplateId").remove(0);
    let endpoint = format!("http://{EC2}");
    let more = [("HTTP_PROXY", proxy.url()), ("HTTPS_PROXY", "http://127.0.0.1:1".to_owned())];
    let more = more.each_ref().map(|(name, url)| (*name, url.as_str()));
    let coordinator = coordinator(directory.path(), &redis, &endpoint, &template, &more).await;
    until_listed(&coordinator).await;
    jobs::add(&redis, 6, 1.0);
    until_pool(&coordinator, "an instance is launched", |pool| pool.instances.iter().any(|it| !it.id.is_empty())).await;
    let seen = proxy.seen();
    let is_call = |head: &String| {
        let head = head.to_lowercase();
        head.starts_with(&format!("post http://{EC2}/ ")) && head.contains(&AUTHORIZATION.to_lowercase())
    };
    assert!(!seen.is_empty() && seen.iter().all(is_call), "{seen:?}");
    let log = coordinator.process.log();
    assert!(!log.contains("p%40ss") && !log.contains("p@ss"), "{}", end_of(&log));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_goes_through_a_tunnel() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    let (certificate, key) = certificate(directory.path());
    let moto = Moto::start_tls(directory.path(), &certificate, &key).await;
    let proxy = Proxy::start(Some(moto.port())).await;
    let (url, trusted) = (proxy.url(), certificate.display().to_string());
    let more =
        [("https_proxy", url.as_str()), ("SSL_CERT_FILE", trusted.as_str()), ("NO_PROXY", "example.com,10.0.0.0/8")];
    let coordinator = coordinator(directory.path(), &redis, &format!("https://{EC2}"), "lt-0", &more).await;
    until_listed(&coordinator).await;
    let seen = proxy.seen();
    let is_tunnel = |head: &String| head.starts_with(&format!("CONNECT {EC2}:443 ")) && head.contains(AUTHORIZATION);
    assert!(!seen.is_empty() && seen.iter().all(is_tunnel), "{seen:?}");
    let log = coordinator.process.log();
    let said = format!("AWS is reached through a proxy proxy=http://127.0.0.1:{}", proxy.port);
    assert!(log.contains(&said) && !log.contains("p%40ss"), "{}", end_of(&log));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_proxy_names_is_not_asked_of_the_proxy_and_a_refusal_of_its_own_is_told() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    let proxy = Proxy::start(None).await;
    let url = proxy.url();
    let endpoint = format!("https://{EC2}");
    let refused = coordinator(directory.path(), &redis, &endpoint, "lt-0", &[("HTTPS_PROXY", &url)]).await;
    until_pool(&refused, "the proxy's refusal is told", |pool| {
        pool.listing_problem.contains("proxy authorization required")
    })
    .await;
    assert!(!proxy.seen().is_empty());
    drop(refused);
    let begun = proxy.seen().len();
    let more = [("HTTPS_PROXY", url.as_str()), ("no_proxy", ".amazonaws.com.invalid")];
    let direct = coordinator(directory.path(), &redis, &endpoint, "lt-0", &more).await;
    until_pool(&direct, "nobody knows the name", |pool| pool.listing_problem.contains("lookup")).await;
    assert_eq!(proxy.seen().len(), begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_machine_is_never_reached_through_it() {
    let proxy = Proxy::start(None).await;
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"];
    let environment = names.map(|name| (name, proxy.url())).to_vec();
    let stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    until_listed(stage.coordinator()).await;
    jobs::add(&stage.redis, 6, 1.0);
    stage.until_ready(1).await;
    assert_eq!(proxy.seen(), [""; 0]);
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_at_the_start() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    for (name, url) in
        [("HTTPS_PROXY", "socks5://user:sesame@proxy:1080"), ("http_proxy", "http://user:ses#ame@proxy:3128")]
    {
        let mut environment: Environment = environment(&redis.url(), ("http://127.0.0.1:1", "test"), "lt-0", vec![]);
        environment.insert(name.to_owned(), url.to_owned());
        let out = output(
            spillway(&environment).arg("run").env("SPILLWAY_GRPC_LISTEN", "127.0.0.1:0").current_dir(directory.path()),
        );
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(
            said.contains(&format!("environment: {name}: is ")) && said.contains("write http://HOST:PORT"),
            "{said}"
        );
        assert!(!said.contains("ses"), "{said}");
    }
}

/// A certificate of EC2's name that is trusted by itself, and its key: made by the cryptography that moto brings along.
fn certificate(directory: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    const MAKE: &str = "
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
name, certificate, key_file = sys.argv[1:]
key = ec.generate_private_key(ec.SECP256R1())
subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
made = made.serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False).sign(key, hashes.SHA256())
open(certificate, 'wb').write(made.public_bytes(serialization.Encoding.PEM))
none = serialization.NoEncryption()
open(key_file, 'wb').write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))
";
    let (certificate, key) = (directory.join("ec2.pem"), directory.join("ec2.key"));
    run(command(programs::tool("moto/bin/python")).args(["-c", MAKE, EC2]).arg(&certificate).arg(&key));
    (certificate, key)
}
