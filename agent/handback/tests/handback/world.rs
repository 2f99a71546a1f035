//! A private Redis, BullMQ's side of the test, and what Redis holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::time::Instant;

const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// A program that ends with the test.
#[derive(Debug)]
pub struct Ending(pub Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A redis-server of the test's own, on a socket in its directory: there is no port to take.
#[derive(Debug)]
pub struct RedisServer {
    pub url: String,
    _server: Ending,
    _directory: tempfile::TempDir,
}

impl RedisServer {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("redis.sock");
        let mut server = Command::new("redis-server");
        server.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
        server.arg("--dir").arg(directory.path()).stdout(Stdio::null());
        let server = Ending(server.spawn().expect("redis-server is installed: run tests/setup"));
        let url = format!("redis+unix://{}", socket.display());
        let started = RedisServer { url, _server: server, _directory: directory };
        let until = Instant::now() + Duration::from_secs(60);
        while started.try_connect("").await.is_err() {
            assert!(Instant::now() < until, "redis-server does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        started
    }

    pub async fn connect(&self) -> MultiplexedConnection {
        self.connect_as("").await
    }

    /// `login` is a part of the URL's query: `&user=…&pass=…`.
    pub async fn connect_as(&self, login: &str) -> MultiplexedConnection {
        self.try_connect(login).await.expect("Redis answers")
    }

    async fn try_connect(&self, login: &str) -> redis::RedisResult<MultiplexedConnection> {
        let client = redis::Client::open(format!("{}?db=0{login}", self.url))?;
        // The client's own half second is too short on a busy machine.
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWERS_WITHIN));
        client.get_multiplexed_async_connection_with_config(&config).await
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handback")
}

/// `node`, with a script beside this file.
pub fn node(script: &str) -> Command {
    let modules = here().join("../../../../tests/js/node_modules/bullmq5");
    assert!(modules.is_dir(), "tests/js has no BullMQ: run tests/setup");
    let mut node = Command::new("node");
    node.arg(here().join(script));
    node
}

/// `driver.mjs`.
#[derive(Debug)]
pub struct Driver {
    _node: Ending,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    version: u32,
    redis: String,
}

impl Driver {
    pub fn start(redis: &RedisServer, version: u32) -> Self {
        let mut node = node("driver.mjs").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node");
        let orders = node.stdin.take().expect("a pipe");
        let answers = BufReader::new(node.stdout.take().expect("a pipe"));
        Driver { _node: Ending(node), orders, answers, version, redis: redis.url.clone() }
    }

    /// Its answer to a command with more fields.
    pub fn ask(&mut self, command: &str, mut more: Value) -> Value {
        more["cmd"] = command.into();
        more["version"] = self.version.into();
        more["redis"] = self.redis.clone().into();
        writeln!(self.orders, "{more}").expect("the driver runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the driver answers");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{more}: {error} in {line:?}"));
        assert!(answer.get("error").is_none(), "{more}: {}", answer["error"]);
        answer
    }

    pub fn tell(&mut self, command: &str) -> Value {
        self.ask(command, json!({}))
    }
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Text(String),
    List(Vec<String>),
    Set(BTreeSet<String>),
    Sorted(BTreeMap<String, f64>),
    Hash(BTreeMap<String, String>),
    /// The entries' fields.
    Stream(Vec<Vec<String>>),
}

/// All that Redis holds, by key.
pub type Contents = BTreeMap<String, Content>;

pub async fn contents(connection: &mut MultiplexedConnection) -> Contents {
    let keys: Vec<String> = ask(connection, &["KEYS", "*"]).await;
    let mut contents = Contents::new();
    for key in keys {
        let kind: String = ask(connection, &["TYPE", &key]).await;
        let content = match kind.as_str() {
            "string" => Content::Text(ask(connection, &["GET", &key]).await),
            "list" => Content::List(ask(connection, &["LRANGE", &key, "0", "-1"]).await),
            "set" => Content::Set(ask(connection, &["SMEMBERS", &key]).await),
            "zset" => Content::Sorted(ask(connection, &["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await),
            "hash" => Content::Hash(ask(connection, &["HGETALL", &key]).await),
            "stream" => {
                let entries: Vec<(String, Vec<String>)> = ask(connection, &["XRANGE", &key, "-", "+"]).await;
                Content::Stream(entries.into_iter().map(|(_, fields)| fields).collect())
            }
            // It has expired since.
            _ => continue,
        };
        contents.insert(key, content);
    }
    contents
}

pub async fn ask<T: redis::FromRedisValue>(connection: &mut MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(connection).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}
