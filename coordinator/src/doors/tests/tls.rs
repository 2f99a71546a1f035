//! Doors with TLS: who may speak plaintext, what becomes of a handshake that stalls, and that no session ends by a
//! renewal.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::clock;
use crate::tls::{self, Authority, CA_FILE, Keeper, Lifetime, Names};

/// What it serves is due at each look.
const SHORT: Lifetime = Lifetime {
    lasts: Duration::from_secs(30),
    renewed_before: Duration::from_secs(60),
    every: Duration::from_secs(60),
};

struct Stage {
    keeper: Keeper,
    door: Door,
    place: tempfile::TempDir,
}

impl Stage {
    async fn start(limits: Limits) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let listen = "127.0.0.1:1".parse().expect("an address");
        let naming = Box::new(move || Names::of_this_machine(listen, None, &[]));
        let keeper = Keeper::of_authority(&place.path().join("tls"), None, naming, SHORT).expect("a keeper");
        let door = door(limits).await.with_tls(Some(tls::acceptor(&keeper).expect("TLS")));
        Self { keeper, door, place }
    }

    /// The server's end, whoever connects.
    async fn accept(&mut self) -> (TcpStream, Connection) {
        connected(&mut self.door).await
    }

    /// Both ends once they have spoken, and what was served.
    async fn speak(&mut self) -> (TlsStream<TcpStream>, Connection, CertificateDer<'static>) {
        let (client, server) = self.accept().await;
        let tls = self.place.path().join("tls");
        let (client, server) = tokio::join!(connect(client, &tls), exchange(server));
        let mut client = client.expect("a handshake");
        let certificate = client.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned();
        let mut answer = [0; 2];
        client.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"ok");
        (client, server.expect("what it says is read"), certificate)
    }
}

/// As an agent that pins the CA of this directory; says "hi".
async fn connect(stream: TcpStream, directory: &Path) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let file = directory.join(CA_FILE);
    for certificate in CertificateDer::pem_file_iter(&file).expect("a file") {
        roots.add(certificate.expect("a certificate")).expect("a CA");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let host = ServerName::try_from("127.0.0.1").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(host, stream).await?;
    stream.write_all(b"hi").await?;
    Ok(stream)
}

/// Writes first, as HTTP/2 does, and reads what is said.
async fn exchange(mut server: Connection) -> io::Result<Connection> {
    server.write_all(b"ok").await?;
    server.flush().await?;
    let mut said = [0; 2];
    server.read_exact(&mut said).await?;
    assert_eq!(&said, b"hi");
    drop(connect_info(&server).pass.asks(Instant::now()));
    Ok(server)
}

#[tokio::test]
async fn a_renewal_is_for_new_connections_and_ends_none() {
    let mut stage = Stage::start(limits(8, 8)).await;
    let (mut client, mut server, first) = stage.speak().await;
    stage.keeper.look(clock::system_now());
    let (.., second) = stage.speak().await;
    assert_ne!(first, second, "a new connection gets the new certificate");
    client.write_all(b"still here").await.expect("it is open");
    client.flush().await.expect("it is open");
    let mut said = [0; 10];
    server.read_exact(&mut said).await.expect("it is open");
    assert_eq!(&said, b"still here");
}

#[tokio::test]
async fn an_agent_of_another_ca_ends_the_handshake() {
    let mut stage = Stage::start(limits(8, 8)).await;
    let other = tempfile::tempdir().expect("a directory");
    let theirs = other.path().join("tls");
    drop(Authority::open(&theirs, clock::system_now()).expect("a CA"));
    let (client, server) = stage.accept().await;
    let (client, server) = tokio::join!(connect(client, &theirs), exchange(server));
    let error = client.expect_err("another CA").to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let error = server.expect_err("it is told");
    assert!(error.to_string().contains("UnknownCA"), "{error}");
}

#[tokio::test]
async fn plaintext_is_answered_on_this_host_and_nowhere_else() {
    let mut stage = Stage::start(limits(8, 8)).await;
    let (mut client, server) = stage.accept().await;
    client.write_all(b"hi").await.expect("sent");
    let mut server = exchange(server).await.expect("loopback may speak plaintext");
    server.write_all(b"more").await.expect("sent");

    for peer in ["10.0.0.7:4711", "[fd00::7]:4711", "[::ffff:10.0.0.7]:4711"] {
        let mut server = from(&mut stage, peer, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let error = server.write(b"settings").await.expect_err(peer);
        assert_eq!(error.to_string(), "plaintext, where TLS is needed", "{peer}");
        assert!(server.read(&mut [0; 16]).await.is_err(), "{peer}");
    }
    let mut server = from(&mut stage, "[::ffff:127.0.0.1]:4711", b"PRI").await;
    assert!(server.write(b"settings").await.is_ok(), "the same host, in the other family");
}

/// A connection from this address that begins so.
async fn from(stage: &mut Stage, peer: &str, first: &[u8]) -> Connection {
    let address = stage.door.local_addr().expect("an address");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), stage.door.listener.accept());
    let mut client = client.expect("a connection");
    client.write_all(first).await.expect("sent");
    // It stays open for as long as the test runs.
    std::mem::forget(client);
    let place = stage.door.guests.admit(IpAddr::from([10, 0, 0, 7]), Instant::now()).expect("room");
    stage.door.connection((accepted.expect("accepted").0, peer.parse().expect("an address")), place)
}

#[tokio::test]
async fn a_handshake_that_stalls_is_closed_in_time_and_makes_room() {
    for first in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut stage = Stage::start(limits(8, 8)).await;
        let mut server = from(&mut stage, "10.0.0.7:4711", first).await;
        // HTTP/2 writes before it reads.
        let error = server.write(b"settings").await.expect_err("it ends");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{first:?}");
    }
    let mut stage = Stage::start(limits(8, 1)).await;
    let (mut client, mut server) = stage.accept().await;
    client.write_all(b"\x16\x03\x01").await.expect("sent");
    let writing = tokio::spawn(async move { server.write(b"settings").await.map_err(|error| error.kind()) });
    tokio::task::yield_now().await;
    let _second = stage.accept().await;
    assert_eq!(writing.await.expect("no panic"), Err(io::ErrorKind::ConnectionAborted));
}

#[tokio::test]
async fn what_is_no_handshake_ends_at_once() {
    let mut stage = Stage::start(limits(8, 8)).await;
    let began = Instant::now();
    for rest in [&b"\x03\x01\x00\x04oops"[..], b"\xff\xff\xff\xff", b"\x03\x01\x00\x00"] {
        let mut server = from(&mut stage, "10.0.0.7:4711", &[b"\x16", rest].concat()).await;
        let error = server.write(b"settings").await.expect_err("no handshake");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{rest:?}: {error}");
    }
    assert!(began.elapsed() < SOON * 100);
}
