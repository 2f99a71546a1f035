//! One connection to Redis, opened on demand and dropped when it fails. Never retries: the caller's next tick does.
//! Knows nothing of queues or the ledger.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, RedisResult, Value};
use spillway_redis_url::{RedisUrl, Role, is_about_the_command};
use thiserror::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What went wrong, classified by what to do about it.
#[derive(Debug, Error)]
pub enum RedisProblem {
    /// An operator must fix the URL.
    #[error("{name} {detail}")]
    BadUrl { name: String, detail: String },
    /// Retried at the next tick.
    #[error("Redis at {address} does not answer: {detail}")]
    Unreachable { address: String, detail: String },
    /// Retried at the next tick, over another connection.
    #[error("Redis at {address} cannot serve this connection, which is dropped: {detail}")]
    Unusable { address: String, detail: String },
    /// Redis returned an error: a wrong password, a missing permission, or a key of another type than BullMQ's.
    #[error("Redis at {address} returned an error: {detail}")]
    Refused { address: String, detail: String },
}

/// A Redis server by its URL.
#[derive(Debug)]
pub struct Redis {
    client: Client,
    address: String,
    connection: Option<MultiplexedConnection>,
    /// Of the connection's server.
    role: Role,
}

impl Redis {
    /// `name` is the key or variable that the URL came from, for the error. Does not connect yet.
    pub fn new(name: &str, url: &str) -> Result<Self, RedisProblem> {
        let bad = |detail: String| RedisProblem::BadUrl { name: name.to_owned(), detail };
        let url = RedisUrl::parse(url).map_err(|error| bad(error.to_string()))?;
        let address = url.address();
        // The client's own error may repeat the URL.
        let client = Client::open(url.connection_info()).map_err(|error| bad(error.category().to_owned()))?;
        Ok(Redis { client, address, connection: None, role: Role::default() })
    }

    /// Host and port, or the socket's path; never the password.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends the pipeline in one round trip.
    pub async fn query<T: FromRedisValue>(&mut self, pipeline: &Pipeline) -> Result<T, RedisProblem> {
        let mut connection = self.connected().await?;
        match pipeline.query_async(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Sends the pipeline in one round trip, and returns each answer by itself: a command that is refused for its own
    /// sake does not take the others' answers away.
    pub async fn query_each(&mut self, pipeline: &mut Pipeline) -> Result<Vec<RedisResult<Value>>, RedisProblem> {
        let mut connection = self.connected().await?;
        let answers: RedisResult<Vec<RedisResult<Value>>> = pipeline.ignore_errors().query_async(&mut connection).await;
        let answers = answers.map_err(|error| self.failed(error))?;
        let of_connection =
            |answer: &RedisResult<Value>| answer.as_ref().err().filter(|it| !is_about_the_command(it)).cloned();
        match answers.iter().find_map(of_connection) {
            Some(error) => Err(self.failed(error)),
            None => Ok(answers),
        }
    }

    /// Judges the server by its `INFO replication`, and drops the connection where another may lead to the master.
    pub fn check_role(&mut self, info: &str) -> Result<(), RedisProblem> {
        self.role.check(info).map_err(|detail| {
            self.connection = None;
            RedisProblem::Unusable { address: self.address.clone(), detail: detail.to_owned() }
        })
    }

    /// Runs a Lua script, and loads it first if Redis does not have it.
    pub async fn invoke<T: FromRedisValue>(&mut self, script: &redis::ScriptInvocation<'_>) -> Result<T, RedisProblem> {
        let mut connection = self.connected().await?;
        match script.invoke_async(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The open connection, for a library that sends commands itself.
    pub async fn connected(&mut self) -> Result<MultiplexedConnection, RedisProblem> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                self.role = Role::default();
                Ok(self.connection.insert(connection).clone())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Classifies an error, and drops the connection unless any other would be told the same: after a failover the one
    /// that is open leads to a server that is no master any more.
    pub fn failed(&mut self, error: RedisError) -> RedisProblem {
        let address = self.address.clone();
        let is_reply = error.code().is_some();
        if is_reply && is_about_the_command(&error) {
            return RedisProblem::Refused { address, detail: error.to_string() };
        }
        self.connection = None;
        match error.code() {
            None if is_broken(&error) => RedisProblem::Unreachable { address, detail: error.to_string() },
            // Not an error reply of Redis, and no broken connection: the protocol stream may be out of sync, or a
            // password wrong.
            None => RedisProblem::Refused { address, detail: error.to_string() },
            Some("ERR" | "NOAUTH" | "WRONGPASS") => RedisProblem::Refused { address, detail: error.to_string() },
            Some(_) => RedisProblem::Unusable { address, detail: error.to_string() },
        }
    }
}

fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_timeout() || error.is_connection_refusal()
}
