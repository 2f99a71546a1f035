//! TLS of gRPC: what whoever reaches the port over the network may know and do, and that an agent trusts the CA that it
//! pins and nobody else.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use spillway_coordinator::doors::{Doors, WatchedLayer};
use spillway_coordinator::tls::{self, Keeper, Lifetime, Names};
use spillway_proto::v1;
use spillway_proto::v1::agent_service_client::AgentServiceClient;
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use spillway_tests::coordinator::{Coordinator, ServingStatus, spillway};
use spillway_tests::process::{command, output, text};
use spillway_tests::stage::{Setup, Stage, directory};
use spillway_tests::{authority, binaries, jobs, ports, programs, secure};
use time::OffsetDateTime;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const TOKEN: &str = "5f2c1c6d7f0e4c0a";

/// A coordinator that listens everywhere, as on a primary, and this machine's address; None where it has none.
async fn on_the_network(stage: &mut Stage) -> Option<(IpAddr, Coordinator)> {
    let Some(address) = secure::own_address() else {
        println!("NOT RUN: this machine has no address but loopback");
        return None;
    };
    let (grpc_port, run) = (ports::free(), stage.directory.path().join("run"));
    fs::create_dir(&run).expect("a directory");
    let mut program = spillway(&stage.environment);
    program.env("SPILLWAY_GRPC_JOIN_TOKEN", TOKEN).env("RUNTIME_DIRECTORY", &run).env_remove("SPILLWAY_GRPC_TLS_MODE");
    let directory = stage.directory.path();
    Some((address, Coordinator::launch_at(program, directory, "0.0.0.0", grpc_port).await))
}

/// The one grpcurl that is installed; None where there is none.
fn grpcurl() -> Option<PathBuf> {
    let found = Some(programs::tools().join("bin/grpcurl")).filter(|file| file.is_file());
    let found = found.or_else(|| programs::find("grpcurl"));
    if found.is_none() {
        assert!(programs::find("go").is_none(), "Go is there and grpcurl is not: run tests/setup");
        println!("NOT RUN: there is no grpcurl, and no Go to build it");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_network_health_is_answered_with_the_ca_and_nothing_else_is_shown() {
    let mut stage = Stage::without_coordinator(Setup::default()).await;
    jobs::add(&stage.redis, 1, 1.0);
    let Some((address, coordinator)) = on_the_network(&mut stage).await else { return };
    let serves = async || coordinator.try_health("").await == Some(ServingStatus::Serving);
    stage.until_async("it serves", serves).await;
    // Published for everybody, whatever the umask says.
    let published = stage.directory.path().join("run/ca.pem");
    assert_eq!(fs::read(&published).expect("published"), fs::read(stage.ca_file()).expect("the CA"));
    assert_eq!(fs::metadata(&published).expect("published").permissions().mode() & 0o777, 0o644);

    if let Some(grpcurl) = grpcurl() {
        let server = format!("{address}:{}", coordinator.grpc_port);
        let ask = |before: &[&str], server: &str, after: &[&str]| {
            output(command(&grpcurl).args(before).arg(server).args(after))
        };
        let ca = published.display().to_string();
        let with_ca = ["-cacert", &ca];
        let health = ask(&with_ca, &server, &["grpc.health.v1.Health/Check"]);
        assert!(text(&health.stdout).contains("\"SERVING\""), "{health:?}");
        let listed = text(&ask(&with_ca, &server, &["list"]).stdout);
        assert!(listed.contains("grpc.health.v1.Health") && !listed.contains("spillway"), "{listed}");
        for symbol in ["spillway.v1.OperatorService", "spillway.v1.AgentService", "spillway.v1.RegisterRequest"] {
            let described = ask(&with_ca, &server, &["describe", symbol]);
            assert!(!described.status.success(), "{symbol}: {described:?}");
        }
        assert!(!ask(&["-plaintext", "-max-time", "5"], &server, &["list"]).status.success());
        // On this host as before.
        let here = format!("127.0.0.1:{}", coordinator.grpc_port);
        for before in [&["-plaintext"][..], &with_ca] {
            let listed = text(&ask(before, &here, &["list"]).stdout);
            assert!(listed.contains("spillway.v1.OperatorService"), "{before:?}: {listed}");
        }
    }
    assert!(coordinator.command(&["status"]).status.success(), "operators need no CA on this host");
    let from_elsewhere = coordinator.command(&["status", "--server", &format!("{address}:{}", coordinator.grpc_port)]);
    assert!(text(&from_elsewhere.stderr).contains("operators are answered over loopback only"), "{from_elsewhere:?}");
    whoever_shows_nothing_is_answered_nothing(&format!("{address}:{}", coordinator.grpc_port), &stage.ca_file()).await;
    let log = coordinator.process.log();
    assert!(log.contains("a connection without TLS is refused"), "{log}");
}

async fn whoever_shows_nothing_is_answered_nothing(server: &str, ca_file: &Path) {
    let plain = Endpoint::from_shared(format!("http://{server}")).expect("an address").connect().await;
    if let Ok(plain) = plain {
        let health = HealthClient::new(plain).check(HealthCheckRequest::default()).await;
        assert!(health.is_err(), "{health:?}");
    }
    let channel = secure::connect(server, ca_file).await.expect("a connection");
    let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    assert!(health.is_ok(), "{health:?}");
    let mut operator = OperatorServiceClient::new(channel.clone());
    let fleet = operator.get_fleet(v1::GetFleetRequest::default()).await.expect_err("no operator");
    assert_eq!(fleet.code(), Code::PermissionDenied, "{fleet:?}");
    let mut agent = AgentServiceClient::new(channel.clone());
    let identity = |id: &str| Some(v1::Identity { instance_id: id.to_owned(), ..v1::Identity::default() });
    let request = v1::RegisterRequest { identity: identity("i-0"), ..v1::RegisterRequest::default() };
    let refused = agent.register(request).await.expect_err("no token");
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let session = agent.session(tokio_stream::empty()).await.expect_err("no session token");
    assert_eq!(session.code(), Code::Unauthenticated, "{session:?}");
    // Not even read.
    for (length, code) in [(60 * 1024, Code::InvalidArgument), (70 * 1024, Code::OutOfRange)] {
        let request = v1::RegisterRequest { identity: identity(&"0".repeat(length)), ..v1::RegisterRequest::default() };
        let refused = agent.register(request).await.expect_err("too long");
        assert_eq!(refused.code(), code, "{length}: {refused:?}");
        let request = v1::DrainRequest { instance_id: "0".repeat(length), reason: String::new() };
        let refused = operator.drain(request).await.expect_err("too long");
        assert!([Code::PermissionDenied, Code::OutOfRange].contains(&refused.code()), "{length}: {refused:?}");
    }
}

/// A gRPC server behind a door, whose certificate lasts for seconds; its port.
async fn short_lived(directory: &Path) -> (u16, tokio::task::JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listen = listener.local_addr().expect("an address");
    let (lasts, renewed_before) = (Duration::from_secs(4), Duration::from_secs(2));
    let lifetime = Lifetime { lasts, renewed_before, every: Duration::from_millis(200) };
    let naming = Box::new(move || Names::of_this_machine(listen, None, &[]));
    let keeper = Keeper::of_authority(directory, None, naming, lifetime).expect("a keeper");
    let door = Doors::new().door(listener, "a test").with_tls(Some(tls::acceptor(&keeper).expect("TLS")));
    let (_, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder().layer(WatchedLayer).add_service(health);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(keeper.run());
    tasks.spawn(async move { server.serve_with_incoming(door.incoming()).await.expect("it serves") });
    (listen.port(), tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_the_certificate_that_it_began_with_and_new_ones_get_a_new_one() {
    let place = directory();
    let (port, _tasks) = short_lived(&place.path().join("tls")).await;
    let (server, ca_file) = (format!("127.0.0.1:{port}"), place.path().join("tls/ca.pem"));
    let request = HealthCheckRequest::default;
    let first = secure::connect(&server, &ca_file).await.expect("a connection");
    let mut first = HealthClient::new(first);
    let mut watched = first.watch(request()).await.expect("a stream").into_inner();
    assert!(watched.message().await.expect("it is open").is_some());
    // Three times what the first certificate lasts.
    let until = tokio::time::Instant::now() + Duration::from_secs(12);
    while tokio::time::Instant::now() < until {
        let another = secure::connect(&server, &ca_file).await.expect("what is served is valid");
        assert!(HealthClient::new(another).check(request()).await.is_ok());
        let nothing = tokio::time::timeout(Duration::from_millis(500), watched.message()).await;
        assert!(nothing.is_err(), "the stream ended: {nothing:?}");
    }
    assert!(first.check(request()).await.is_ok(), "the connection of the first certificate still works");
}

/// `spillway-agent check` of this configuration.
fn agent_check(place: &Path, coordinator: &str, ca_file: &Path) -> Output {
    let config = place.join("agent.toml");
    let keys = format!("coordinator = \"{coordinator}\"\nca_file = \"{}\"\n", ca_file.display());
    fs::write(&config, keys + "[boot]\ndirectory = \"/tmp\"\n[worker]\nqueues = [\"q\"]\n").expect("written");
    let mut check: Command = command(binaries::agent());
    check.arg("check").arg("--config").arg(&config).env("REDIS_URL", "redis://127.0.0.1:1").env("RUST_LOG", "error");
    output(check.env("SPILLWAY_INSTANCE_ID", "i-0"))
}

fn said(out: &Output) -> String {
    text(&out.stdout) + &text(&out.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_trusts_the_cas_of_its_file_and_no_other_and_never_plaintext_over_the_network() {
    let stage = Stage::start(Setup::default()).await;
    let (place, other) = (directory(), directory());
    let server = stage.coordinator().server();
    let theirs = other.path().join("tls/ca.pem");
    authority::share(&theirs, other.path());
    let checked = |ca_file: &Path, url: &str| said(&agent_check(place.path(), url, ca_file));
    let url = format!("https://{server}");
    let good = checked(&stage.ca_file(), &url);
    assert!(good.contains(&format!("{url} answers")), "{good}");
    // While one CA takes another's place, either is trusted.
    let bundle = place.path().join("bundle.pem");
    let both = [fs::read(&theirs).expect("a CA"), fs::read(stage.ca_file()).expect("a CA")].concat();
    fs::write(&bundle, both).expect("written");
    assert!(checked(&bundle, &url).contains(&format!("{url} answers")));

    let refused = checked(&theirs, &url);
    let why = "its certificate is of another CA than those in ca_file";
    assert!(refused.contains(why) && refused.contains("copy its ca.pem there"), "{refused}");
    stage
        .until("the coordinator says so too", || {
            stage.coordinator().process.log().contains("a client refuses this coordinator's certificate")
        })
        .await;
    let not_tls = checked(&stage.ca_file(), &format!("https://127.0.0.1:{}", stage.coordinator().http_port));
    assert!(not_tls.contains("it does not speak TLS"), "{not_tls}");
    let plain = agent_check(place.path(), "http://10.0.0.5:7443", &stage.ca_file());
    assert_eq!(plain.status.code(), Some(2), "{}", said(&plain));
    assert!(said(&plain).contains("coordinator is in plaintext, which is for loopback alone"), "{}", said(&plain));
}

/// A CA of the operator's own, and certificates of it.
struct Own {
    place: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Own {
    fn new() -> Self {
        let (place, key) = (directory(), KeyPair::generate().expect("a key"));
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(place.path().join("ca.pem"), certificate.pem()).expect("written");
        Self { place, issuer: Issuer::new(params, key) }
    }

    /// Both in one file, for this address, valid from and until so many days from now.
    fn certificate(&self, address: &str, from: i64, until: i64) -> String {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(address.parse().expect("an address"))];
        let now = OffsetDateTime::from(spillway_coordinator::clock::system_now());
        let days = time::Duration::days;
        (params.not_before, params.not_after) = (now + days(from), now + days(until));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = self.place.path().join("server.pem");
        fs::write(&file, certificate.pem() + &key.serialize_pem()).expect("written");
        file.display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_certificate_is_served_and_one_that_is_not_valid_is_refused_with_the_reason() {
    let own = Own::new();
    let ca_file = own.place.path().join("ca.pem");
    let place = directory();
    for (address, from, until, says) in [
        ("127.0.0.1", -1, 1, "answers"),
        ("127.0.0.1", -20, -10, "its certificate has expired, by this machine's clock"),
        ("127.0.0.1", 10, 20, "its certificate is not valid yet, by this machine's clock"),
        ("10.0.0.5", -1, 1, "its certificate is not for this host: add the host to grpc.tls.names"),
    ] {
        let file = own.certificate(address, from, until);
        let setup = Setup { environment: vec![("SPILLWAY_GRPC_TLS_CERTIFICATE_FILE", file)], ..Setup::default() };
        let stage = Stage::start(setup).await;
        let server = stage.coordinator().server();
        let checked = said(&agent_check(place.path(), &format!("https://{server}"), &ca_file));
        assert!(checked.contains(says), "{address} {from} {until}: {checked}");
        assert!(!stage.ca_file().exists(), "no CA is made beside it");
        let log = stage.coordinator().process.log();
        let warns = log.contains("TLS: this certificate ends") || log.contains("TLS: this certificate is not valid");
        assert!(warns, "each of them ends in less than two weeks: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_that_is_damaged_keeps_it_from_starting_and_stays_as_it_is() {
    let mut stage = Stage::start(Setup::default()).await;
    let key = stage.ca_file().with_file_name("ca.key");
    assert_eq!(fs::metadata(&key).expect("the key").permissions().mode() & 0o777, 0o600);
    let mut coordinator = stage.coordinator.take().expect("it runs");
    coordinator.process.signal(libc::SIGTERM);
    coordinator.process.end_within(Duration::from_secs(20)).await;
    let whole = fs::read_to_string(stage.ca_file()).expect("the CA");
    fs::write(stage.ca_file(), &whole[..whole.len() / 2]).expect("written");
    let mut run = spillway(&stage.environment);
    run.arg("run").env("SPILLWAY_STATE_DIRECTORY", stage.directory.path().join("state"));
    run.env("SPILLWAY_GRPC_LISTEN", "127.0.0.1:0").env("SPILLWAY_HTTP_LISTEN", "127.0.0.1:0");
    let out = output(&mut run);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    let said = said(&out);
    assert!(
        said.contains("ca.pem: it is damaged") && said.contains("so no new one is made: put ca.pem and ca.key back"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(stage.ca_file()).expect("it is there").len(), whole.len() / 2);
}
