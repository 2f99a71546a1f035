//! A second installation in the account of a stage: a Redis, a state directory, a queue and a coordinator of its own;
//! the same names everywhere.

use spillway_emulator::LaunchTemplate;
use spillway_proto::v1;
use spillway_stage::repository::Instance;
use tempfile::TempDir;

use crate::coordinator::{Coordinator, Environment};
use crate::redis_server::RedisServer;
use crate::stage::{Stage, directory, profile};
use crate::{binaries, ports, wait};

/// The second installation.
#[derive(Debug)]
pub struct Neighbor {
    pub coordinator: Coordinator,
    pub redis: RedisServer,
    pub environment: Environment,
    pub directory: TempDir,
}

impl Neighbor {
    /// Starts it; `more` of its coordinator's environment.
    pub async fn start(stage: &Stage, more: &[(&str, &str)]) -> Self {
        let directory = directory();
        let redis = RedisServer::start(directory.path());
        let grpc_port = ports::free();
        let (redis_url, ca_file) = (&redis.url(), &spillway_stage::coordinator::ca_file(directory.path()));
        let ca_file = Some(&**ca_file);
        let instance = Instance { redis_url, grpc_port, ca_file, agent: &binaries::agent(), keys: "", more: "" };
        let user_data = stage.app.user_data(instance).unwrap_or_else(|error| panic!("{error:#}"));
        let template = LaunchTemplate { user_data, instance_profile: profile(), ..LaunchTemplate::default() };
        let template = stage.emulator().create_launch_template("neighbor", template).expect("a launch template");
        let mut environment = stage.environment.clone();
        environment.insert("REDIS_URL".to_owned(), redis.url());
        environment.insert("EC2_LAUNCH_TEMPLATE_ID".to_owned(), template);
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let coordinator = Coordinator::start(directory.path(), &environment, grpc_port).await;
        Neighbor { coordinator, redis, environment, directory }
    }

    /// Waits until `found` returns something of its pool, and returns that.
    pub async fn until_pool<T>(&self, what: &str, mut found: impl FnMut(&v1::Pool) -> Option<T>) -> T {
        let diagnosis = async || self.coordinator.process.tail();
        wait::until(what, diagnosis, async || self.coordinator.try_pool().await.and_then(|pool| found(&pool))).await
    }

    /// Waits until it says this in its plans.
    pub async fn until_explained(&self, words: &str) {
        let diagnosis = async || self.coordinator.process.tail();
        wait::until(words, diagnosis, async || self.coordinator.explained(words).then_some(())).await;
    }
}
