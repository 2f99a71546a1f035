//! A port that leads to a server and can be led to another one, as a host name that moves with a fail-over: what is
//! open stays where it is.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;

pub struct Forward {
    pub port: u16,
    target: Arc<AtomicU16>,
    ends: Arc<AtomicBool>,
}

impl Forward {
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let (target, ends) = (Arc::new(AtomicU16::new(target)), Arc::new(AtomicBool::new(false)));
        let (to, is_over) = (Arc::clone(&target), Arc::clone(&ends));
        thread::spawn(move || {
            for from in listener.incoming().flatten() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // A server that is not there: its client is told so.
                if let Ok(to) = TcpStream::connect(("127.0.0.1", to.load(Ordering::Relaxed))) {
                    join(from, to);
                }
            }
        });
        Self { port, target, ends }
    }

    /// New connections lead to this port.
    pub fn lead_to(&self, target: u16) {
        self.target.store(target, Ordering::Relaxed);
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn join(a: TcpStream, b: TcpStream) {
    for (mut from, mut to) in [(a.try_clone(), b.try_clone()), (Ok(b), Ok(a))]
        .into_iter()
        .filter_map(|(from, to): (io::Result<TcpStream>, io::Result<TcpStream>)| Some((from.ok()?, to.ok()?)))
    {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
}
