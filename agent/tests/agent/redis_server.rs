//! A redis-server of one test's own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::ports;

const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Started, and its port. It answers by itself: another's port may have been taken in between.
pub fn start(directory: &Path) -> (Child, u16) {
    for _ in 0..20 {
        let port = ports::free();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
        let server = command.arg(directory).stdout(Stdio::null()).spawn();
        let mut server = server.unwrap_or_else(|error| panic!("redis-server: {error}; run tests/setup"));
        let ours = format!("process_id:{}\r", server.id());
        let begun = Instant::now();
        while server.try_wait().expect("redis-server").is_none() && begun.elapsed() < STARTS_WITHIN {
            let client = redis::Client::open(("127.0.0.1", port)).expect("an address");
            let info = client.get_connection().and_then(|mut redis| redis::cmd("INFO").query::<String>(&mut redis));
            if info.is_ok_and(|info| info.contains(&ours)) {
                return (server, port);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = server.kill();
        let _ = server.wait();
    }
    panic!("redis-server does not start");
}
