//! A private redis-server that keeps nothing on disk unless it is told to.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Connection};
use tokio::time::{Instant, sleep};

use crate::process::{Process, command};
use crate::{ports, programs};

const STARTS_WITHIN: Duration = Duration::from_secs(60);
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A connection to the Redis at this URL that is waited for: the client's own half second is too short on a busy
/// machine.
pub async fn connection_to(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWERS_WITHIN))
        .set_response_timeout(Some(ANSWERS_WITHIN));
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    directory: PathBuf,
    port: u16,
    password: Option<String>,
    more: Vec<String>,
}

impl RedisServer {
    /// Starts it in `directory` on a free port, with more arguments of redis-server's; does not wait for it.
    pub fn launch(directory: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let port = ports::free()?;
        let more: Vec<String> = more.iter().map(|&argument| argument.to_owned()).collect();
        let process = start(directory, port, &more)?;
        Ok(Self { process, directory: directory.to_owned(), port, password: None, more })
    }

    /// The same for who knows this password of letters and digits: another user of the machine could otherwise have it
    /// write files as this one.
    pub fn launch_with_password(directory: &Path, password: &str) -> anyhow::Result<Self> {
        // Not an argument, which every user of the machine can read.
        let file = directory.join("redis.conf");
        let mut options = std::fs::OpenOptions::new();
        let mut config = options.write(true).create(true).truncate(true).mode(0o600).open(&file)?;
        writeln!(config, "requirepass {password}")?;
        let file = file.to_str().context("the directory's name is not UTF-8")?;
        Ok(Self { password: Some(password.to_owned()), ..Self::launch(directory, &["--include", file])? })
    }

    /// Starts it again on the same port, from what it had written to its directory; does not wait for it.
    pub fn relaunch(&mut self) -> anyhow::Result<()> {
        self.process = start(&self.directory, self.port, &self.more)?;
        Ok(())
    }

    /// Waits until it answers.
    pub async fn until_up(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + STARTS_WITHIN;
        while !self.is_up()? {
            if Instant::now() > until {
                bail!("redis-server does not answer\n{}", self.process.tail(15));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether this very server answers, with its data loaded: another one's port may have been taken in between.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn is_up(&mut self) -> anyhow::Result<bool> {
        self.process.check()?;
        let ours = format!("process_id:{}", self.process.pid());
        let info = self.connect().and_then(|mut redis| redis::cmd("INFO").query::<String>(&mut redis));
        Ok(info.is_ok_and(|info| info.lines().any(|line| line == ours) && info.lines().any(|line| line == "loading:0")))
    }

    /// A connection that is waited for.
    pub fn connect(&self) -> redis::RedisResult<Connection> {
        let connection = redis::Client::open(self.url())?.get_connection_with_timeout(ANSWERS_WITHIN)?;
        connection.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(connection)
    }

    pub fn url(&self) -> String {
        let account = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{account}127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
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

    /// Its process, to look after.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn start(directory: &Path, port: u16, more: &[String]) -> anyhow::Result<Process> {
    let mut server = command(programs::need("redis-server")?);
    server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    server.args(["--maxmemory-policy", "noeviction", "--dir"]).arg(directory).args(more);
    Process::start("redis-server", &mut server, &directory.join("redis.log")).context("a private Redis")
}
