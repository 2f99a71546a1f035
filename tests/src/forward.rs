//! A port that leads to a server and can be led to another one, as a host name that moves with a fail-over: what is
//! open stays where it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

#[derive(Debug)]
pub struct Forward {
    port: u16,
    target: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

impl Forward {
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let target = Arc::new(AtomicU16::new(target));
        let leads_to = Arc::clone(&target);
        let task = tokio::spawn(async move {
            // Ends with this task.
            let mut connections = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let leads_to = leads_to.load(Ordering::Relaxed);
                connections.spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(("127.0.0.1", leads_to)).await {
                        let _ = copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        Self { port, target, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// New connections lead to this port.
    pub fn lead_to(&self, target: u16) {
        self.target.store(target, Ordering::Relaxed);
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}
