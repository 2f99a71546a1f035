//! A private redis-server, and blocking commands to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::{Connection, FromRedisValue};

use crate::process::{Process, command};
use crate::{ports, programs};

const STARTS_WITHIN: Duration = Duration::from_secs(60);
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    directory: PathBuf,
    port: u16,
    more: Vec<String>,
}

impl RedisServer {
    pub fn start(directory: &Path) -> Self {
        RedisServer::with(directory, &[])
    }

    /// With more arguments of redis-server's.
    pub fn with(directory: &Path, more: &[&str]) -> Self {
        let port = ports::free();
        let more: Vec<String> = more.iter().map(|&argument| argument.to_owned()).collect();
        let mut server =
            RedisServer { process: start(directory, port, &more), directory: directory.to_owned(), port, more };
        server.wait();
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// One command; the default user's.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let mut connection = self.connect().unwrap_or_else(|error| panic!("{}: {error}", self.url()));
        command.query(&mut connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Answers nobody until `go_on`.
    pub fn freeze(&self) {
        self.process.signal(libc::SIGSTOP);
    }

    pub fn go_on(&self) {
        self.process.signal(libc::SIGCONT);
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Again on the same port, from what it had written to its directory.
    pub fn restart(&mut self) {
        self.process = start(&self.directory, self.port, &self.more);
        self.wait();
    }

    fn connect(&self) -> redis::RedisResult<Connection> {
        let connection = redis::Client::open(self.url())?.get_connection_with_timeout(ANSWERS_WITHIN)?;
        connection.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(connection)
    }

    /// Until this very server answers, with its data loaded: another one's port may have been taken in between.
    fn wait(&mut self) {
        let until = tokio::time::Instant::now() + STARTS_WITHIN;
        let ours = format!("process_id:{}", self.process.pid());
        let info =
            |server: &RedisServer| -> redis::RedisResult<String> { redis::cmd("INFO").query(&mut server.connect()?) };
        let is_up = |info: &str| info.lines().any(|line| line == ours) && info.lines().any(|line| line == "loading:0");
        while !info(self).is_ok_and(|info| is_up(&info)) {
            let status = self.process.ended();
            assert!(status.is_none(), "redis-server has ended: {status:?}\n{}", self.process.tail());
            assert!(tokio::time::Instant::now() < until, "redis-server does not answer\n{}", self.process.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn start(directory: &Path, port: u16, more: &[String]) -> Process {
    let mut server = command(programs::program("redis-server"));
    server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    server.args(["--maxmemory-policy", "noeviction", "--dir"]).arg(directory).args(more);
    Process::start("redis-server", &mut server, &directory.join("redis.log"))
}
