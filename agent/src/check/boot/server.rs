//! The check's own redis-server, for the worker to connect to. Owns its process and its directory; nothing of it is
//! kept, and nobody but this machine reaches it.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{IntoConnectionInfo, RedisConnectionInfo};
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::environment::own_url;
use crate::boot::launcher::Launcher;
use crate::config::RedisUrl;

const STARTS_WITHIN: Duration = Duration::from_secs(20);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Somebody else may take a port between the look and the start.
const PORTS_TRIED: usize = 5;

/// A redis-server that ends with it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    directory: PathBuf,
    connection: MultiplexedConnection,
    /// Of 127.0.0.1.
    pub port: u16,
    /// With the account and the database of the real one.
    pub url: RedisUrl,
}

impl Server {
    /// Started, as the worker's user: `like` is the real one, as the application logs in there.
    ///
    /// # Errors
    /// In words.
    pub async fn start(launcher: &Launcher, state: &Path, like: &RedisUrl) -> Result<Self, String> {
        if launcher.find("redis-server").is_none() {
            return Err(
                "redis-server: command not found: install redis-server in the image, the boot check needs one of its \
                own (its service may stay disabled)"
                    .to_owned(),
            );
        }
        let directory = directory(launcher, state).map_err(|error| {
            format!("cannot make a directory in {}: {error}: run this as root, or set state_directory", state.display())
        })?;
        let mut problem = String::new();
        for _ in 0..PORTS_TRIED {
            match Self::try_start(launcher, &directory, like).await {
                Ok(server) => return Ok(server),
                Err(error) => problem = error,
            }
        }
        let _ = std::fs::remove_dir_all(&directory);
        Err(format!("redis-server does not start: {problem}"))
    }

    async fn try_start(launcher: &Launcher, directory: &Path, like: &RedisUrl) -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr()).map_err(failed)?;
        let port = free.port();
        let log = directory.join("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&log).map_err(failed)?;
        // By stdin: the arguments of a process are everybody's to read, and it shows its first one as its title.
        let mut command = launcher.program("redis-server", ["-"]);
        command.current_dir(directory).stdin(Stdio::piped()).stderr(file.try_clone().map_err(failed)?).stdout(file);
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that has ended says why in its log.
            let _ = stdin.write_all(settings(directory, port, like).as_bytes()).await;
        }
        match answers(&mut child, port, like).await {
            Ok(connection) => {
                let url = RedisUrl::parse(&own_url(like, port)).map_err(|error| format!("its own URL {error}"))?;
                Ok(Self { child, directory: directory.to_owned(), connection, port, url })
            }
            Err(problem) => {
                let _ = child.kill().await;
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                // What it repeats of its configuration may be the password.
                let last = said.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with(">>>"));
                Err(last.map_or_else(|| problem.clone(), |line| format!("{problem}: {}", line.trim())))
            }
        }
    }

    /// No job runs, whatever an application adds when it starts: its Workers wait as they do for an empty queue.
    pub async fn pause(&mut self, prefix: &str, queues: &[String]) -> Result<(), String> {
        for queue in queues {
            let mut pause = redis::cmd("HSET");
            pause.arg(format!("{prefix}:{queue}:meta")).arg("paused").arg(1);
            self.ask::<u32>(&pause).await?;
        }
        Ok(())
    }

    /// Connections that it ever took, this check's own among them.
    pub async fn connections(&mut self) -> Option<u64> {
        let info = self.ask::<String>(redis::cmd("INFO").arg("stats")).await.ok()?;
        info.lines().find_map(|line| line.strip_prefix("total_connections_received:"))?.trim().parse().ok()
    }

    /// Ends it, and removes what it had.
    pub async fn stop(mut self) {
        let _ = self.child.kill().await;
    }

    async fn ask<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, String> {
        match timeout(ANSWERS_WITHIN, command.query_async(&mut self.connection)).await {
            Ok(answer) => answer.map_err(|error| format!("the check's own Redis: {error}")),
            Err(_) => Err("the check's own Redis does not answer".to_owned()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The child is killed by its own drop.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// For the worker's user alone.
fn directory(launcher: &Launcher, state: &Path) -> std::io::Result<PathBuf> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(state)?;
    let directory = state.join(format!("boot-check-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    if let Some(account) = launcher.account().filter(|account| account.must_change()) {
        chown(&directory, Some(account.uid.as_raw()), Some(account.gid.as_raw()))?;
    }
    Ok(directory)
}

fn settings(directory: &Path, port: u16, like: &RedisUrl) -> String {
    let mut text = Vec::new();
    let databases = like.db().saturating_add(1).max(16);
    let directory = quoted(&directory.display().to_string());
    // A Vec takes whatever is written to it.
    let _ = write!(
        text,
        "port {port}\nbind 127.0.0.1\nprotected-mode yes\ndaemonize no\nsave \"\"\nappendonly no\ndir {directory}\n\
         databases {databases}\nmaxmemory-policy noeviction\n"
    );
    if let Some(password) = like.connection_info().redis_settings().password() {
        let _ = writeln!(text, "requirepass {}", quoted(password));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// As Redis' configuration has any text.
fn quoted(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'"' | b'\\' => format!("\\x{byte:02x}"),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    format!("\"{}\"", text.bytes().map(one).collect::<String>())
}

/// Connected to this very process, with the application's account made.
async fn answers(child: &mut Child, port: u16, like: &RedisUrl) -> Result<MultiplexedConnection, String> {
    let info = like.connection_info();
    let account = info.redis_settings();
    let mut own = RedisConnectionInfo::default().set_db(like.db());
    if let Some(password) = account.password() {
        own = own.set_password(password);
    }
    let address = ("127.0.0.1", port).into_connection_info().map_err(|error| error.to_string())?;
    let client = redis::Client::open(address.set_redis_settings(own)).map_err(|error| error.to_string())?;
    let limits = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWERS_WITHIN))
        .set_response_timeout(Some(ANSWERS_WITHIN));
    let begun = Instant::now();
    let mut problem = "it does not answer".to_owned();
    let mut connection = loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("it ended with {status}"));
        }
        if begun.elapsed() >= STARTS_WITHIN {
            return Err(problem);
        }
        match ours(&client, &limits, child.id()).await {
            Ok(connection) => break connection,
            Err(error) => problem = error,
        }
        sleep(Duration::from_millis(50)).await;
    };
    if let (Some(user), Some(password)) = (account.username().filter(|user| *user != "default"), account.password()) {
        let mut make = redis::cmd("ACL");
        make.arg("SETUSER").arg(user).arg("on").arg(format!(">{password}")).arg("~*").arg("+@all");
        make.query_async::<()>(&mut connection)
            .await
            .map_err(|error| format!("cannot make the user {user}: {error}"))?;
        // Redis 6.0 knows no channels, and permits them all.
        let _ = redis::cmd("ACL").arg("SETUSER").arg(user).arg("&*").query_async::<()>(&mut connection).await;
    }
    Ok(connection)
}

/// A connection, if it is this process that listens: another's may have been started at the port in between.
async fn ours(
    client: &redis::Client,
    limits: &redis::AsyncConnectionConfig,
    pid: Option<u32>,
) -> Result<MultiplexedConnection, String> {
    let in_words = |error: redis::RedisError| error.to_string();
    let mut connection = client.get_multiplexed_async_connection_with_config(limits).await.map_err(in_words)?;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await.map_err(in_words)?;
    let line = format!("process_id:{}", pid.unwrap_or_default());
    match info.lines().any(|it| it.trim() == line) {
        true => Ok(connection),
        false => Err(format!("another Redis listens at {}", client.get_connection_info().addr())),
    }
}
