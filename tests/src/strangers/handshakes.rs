//! Strangers that speak TLS: so many new connections a second, each with a whole handshake, and no request after it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// How long a connection stays after its handshake: most of them are open at the same time.
const STAYS: Duration = Duration::from_secs(2);

/// Begins handshakes at this pace until it is stopped.
#[derive(Debug)]
pub struct Handshakes {
    begun: Arc<AtomicU64>,
    completed: Arc<AtomicU64>,
    began: Instant,
    task: JoinHandle<()>,
}

impl Handshakes {
    pub fn begin(port: u16, ca_file: &Path, per_second: u32) -> Self {
        let connector = connector(ca_file);
        let (begun, completed): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let (counts, done) = (Arc::clone(&begun), Arc::clone(&completed));
        let task = tokio::spawn(async move {
            let mut interval = tokio::time::interval(Duration::from_secs(1) / per_second);
            // Ends with this task.
            let mut all = JoinSet::new();
            loop {
                interval.tick().await;
                while all.try_join_next().is_some() {}
                counts.fetch_add(1, Ordering::Relaxed);
                let (connector, done) = (connector.clone(), Arc::clone(&done));
                all.spawn(async move {
                    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let host = ServerName::try_from("127.0.0.1").expect("an address");
                    if let Ok(_open) = connector.connect(host, stream).await {
                        done.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(STAYS).await;
                    }
                });
            }
        });
        Self { begun, completed, began: Instant::now(), task }
    }

    /// Stops; how many were begun and completed, and for how long.
    pub fn stop(self) -> (u64, u64, Duration) {
        self.task.abort();
        (self.begun.load(Ordering::Relaxed), self.completed.load(Ordering::Relaxed), self.began.elapsed())
    }
}

fn connector(ca_file: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).expect("a CA") {
        roots.add(certificate.expect("a certificate")).expect("a CA");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Each is a whole one.
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}
