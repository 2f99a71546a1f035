//! A private redis-server and blocking commands to it: the one of `spillway-stage`, whose errors fail the test.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use redis::FromRedisValue;
use spillway_stage::redis_server;

const STARTS_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct RedisServer(redis_server::RedisServer);

impl RedisServer {
    pub fn start(directory: &Path) -> Self {
        Self::with(directory, &[])
    }

    /// With further arguments of redis-server.
    pub fn with(directory: &Path, more: &[&str]) -> Self {
        let launched = redis_server::RedisServer::launch(directory, more);
        let mut server = Self(launched.unwrap_or_else(|error| panic!("{error:#}")));
        server.wait();
        server
    }

    /// One command as the default user.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let mut connection = self.connect().unwrap_or_else(|error| panic!("{}: {error}", self.url()));
        command.query(&mut connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Restarts it on the same port, from what it had written to its directory.
    pub fn restart(&mut self) {
        self.relaunch().unwrap_or_else(|error| panic!("{error:#}"));
        self.wait();
    }

    fn wait(&mut self) {
        let until = tokio::time::Instant::now() + STARTS_WITHIN;
        while !self.is_up().unwrap_or_else(|error| panic!("{error:#}")) {
            assert!(tokio::time::Instant::now() < until, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Deref for RedisServer {
    type Target = redis_server::RedisServer;

    fn deref(&self) -> &redis_server::RedisServer {
        &self.0
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut redis_server::RedisServer {
        &mut self.0
    }
}
