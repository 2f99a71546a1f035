//! Ports for servers that must know theirs before they start.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::bail;

/// Below the range from which the kernel takes ports for whoever does not choose: nobody gets one by accident.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;
const TRIES: u32 = 1000;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A port of 127.0.0.1 on which nobody listens, and that no other process of ours is given soon.
pub fn free() -> anyhow::Result<u16> {
    for _ in 0..TRIES {
        let number = std::process::id().wrapping_mul(61).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + number % COUNT)?;
        // Asked, not bound: a child that another thread forks would hold what is bound here until its exec.
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return Ok(port);
        }
    }
    bail!("no free port among {TRIES} of 127.0.0.1")
}
