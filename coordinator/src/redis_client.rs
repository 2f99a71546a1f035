//! One connection to Redis, opened on demand and dropped when it fails. Never retries: the caller's next tick does. Knows
//! nothing of queues or the ledger.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError};
use thiserror::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What went wrong, classified by what to do about it.
#[derive(Debug, Error)]
pub enum RedisProblem {
    /// An operator must fix the URL.
    #[error("{name} is not a Redis URL (redis://, rediss:// or redis+unix://): {detail}")]
    BadUrl { name: String, detail: String },
    /// Retried at the next tick.
    #[error("Redis at {address} does not answer: {detail}")]
    Unreachable { address: String, detail: String },
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
}

impl Redis {
    /// `name` is the key or variable that the URL came from, for the error. Does not connect yet.
    pub fn new(name: &str, url: &str) -> Result<Self, RedisProblem> {
        let bad = |error: RedisError| RedisProblem::BadUrl { name: name.to_owned(), detail: error.to_string() };
        // A bare path is a unix socket, as redis-cli and ioredis take it.
        let url = if url.starts_with('/') { format!("redis+unix://{url}") } else { url.to_owned() };
        let info = url.as_str().into_connection_info().map_err(bad)?;
        let address = info.addr().to_string();
        let client = Client::open(info).map_err(bad)?;
        Ok(Redis { client, address, connection: None })
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
            Ok(connection) => Ok(self.connection.insert(connection).clone()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Classifies an error, and drops the connection if it may be broken.
    pub fn failed(&mut self, error: RedisError) -> RedisProblem {
        let address = self.address.clone();
        let unreachable = error.is_io_error()
            || error.is_connection_dropped()
            || error.is_timeout()
            || error.is_connection_refusal()
            || matches!(error.code(), Some("LOADING" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN"));
        if unreachable {
            self.connection = None;
            return RedisProblem::Unreachable { address, detail: error.to_string() };
        }
        if error.code().is_none() {
            // Not an error reply of Redis: the protocol stream may be out of sync.
            self.connection = None;
        }
        RedisProblem::Refused { address, detail: error.to_string() }
    }
}
