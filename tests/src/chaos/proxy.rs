//! A TCP proxy on loopback with faults on request: it delays, stalls, drops answers after their requests have passed,
//! or resets. It knows nothing of what it carries but a text that it counts in requests.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// A fault of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFault {
    None,
    /// Everything is delayed by this.
    Delay(Duration),
    /// A partition: nothing passes and no connection ends, old or new. What was sent arrives when it is over.
    Stall,
    /// Requests pass and have their effect. After so many answers (on connections from before: none) the next one is
    /// dropped, and its connection ends.
    LoseAnswers(u32),
    /// Every connection is reset, old and new.
    Reset,
}

#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    fault: watch::Sender<LinkFault>,
    target: AtomicU16,
    counted: &'static [u8],
    seen: AtomicU32,
    terminated: Mutex<BTreeSet<String>>,
    answers_lost: AtomicU32,
}

impl Proxy {
    /// Forwards to this port of loopback; requests that contain `counted` are counted.
    pub async fn start(target: u16, counted: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            fault: watch::Sender::new(LinkFault::None),
            target: AtomicU16::new(target),
            counted: counted.as_bytes(),
            seen: AtomicU32::new(0),
            terminated: Mutex::default(),
            answers_lost: AtomicU32::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Proxy { port, shared, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections go there.
    pub fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::Relaxed);
    }

    pub fn set(&self, fault: LinkFault) {
        self.shared.fault.send_replace(fault);
    }

    /// Requests so far that contain the counted text.
    pub fn seen(&self) -> u32 {
        self.shared.seen.load(Ordering::Relaxed)
    }

    /// Instances that a request has asked EC2 to terminate.
    pub fn terminated(&self) -> BTreeSet<String> {
        self.shared.terminated.lock().expect("nothing panics with it").clone()
    }

    pub fn answers_lost(&self) -> u32 {
        self.shared.answers_lost.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => drop(connections.spawn(carry(client, Arc::clone(&shared)))),
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(mut client: TcpStream, shared: Arc<Shared>) {
    let mut fault = shared.fault.subscribe();
    let is_partitioned = |fault: &LinkFault| *fault == LinkFault::Stall;
    let _ = fault.wait_for(|fault| !is_partitioned(fault)).await;
    let target = shared.target.load(Ordering::Relaxed);
    let Ok(mut server) = connect_as(&client, target).await else {
        reset(&client);
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    // A connection from before the fault: its next answer is lost.
    let answers = match *fault.borrow() {
        LinkFault::LoseAnswers(after) => after,
        _ => 0,
    };
    let resets = {
        let mut fault = shared.fault.subscribe();
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            () = requests(from_client, to_server, &shared) => false,
            lost = self::answers(from_server, to_client, answers, &shared) => lost,
            _ = fault.wait_for(|fault| *fault == LinkFault::Reset) => true,
        }
    };
    if resets {
        reset(&client);
        reset(&server);
    }
}

/// From the address that the client has: an instance's own.
async fn connect_as(client: &TcpStream, target: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(client.peer_addr()?.ip(), 0))?;
    socket.connect(SocketAddr::from(([127, 0, 0, 1], target))).await
}

async fn requests(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, shared: &Shared) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let chunk = &buffer[..length];
        late(shared).await;
        if to.write_all(chunk).await.is_err() {
            return;
        }
        if !shared.counted.is_empty() && chunk.windows(shared.counted.len()).any(|text| text == shared.counted) {
            shared.seen.fetch_add(1, Ordering::Relaxed);
        }
        let text = String::from_utf8_lossy(chunk);
        if let Some(id) = text.split_once("Action=TerminateInstances").and_then(|(_, rest)| rest.split("=i-").nth(1)) {
            let id: String = id.chars().take_while(char::is_ascii_alphanumeric).collect();
            shared.terminated.lock().expect("nothing panics with it").insert(format!("i-{id}"));
        }
    }
}

/// True if it ended because an answer was lost.
async fn answers(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut may_pass: u32, shared: &Shared) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return false };
        late(shared).await;
        if matches!(*shared.fault.borrow(), LinkFault::LoseAnswers(_)) {
            if may_pass == 0 {
                shared.answers_lost.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            may_pass -= 1;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return false;
        }
    }
}

/// Waits until a partition is over, or for the delay.
async fn late(shared: &Shared) {
    let mut fault = shared.fault.subscribe();
    let now = match fault.wait_for(|fault| *fault != LinkFault::Stall).await {
        Ok(now) => *now,
        Err(_) => return,
    };
    if let LinkFault::Delay(by) = now {
        sleep(by).await;
    }
}

/// The connection will end with a reset.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}
