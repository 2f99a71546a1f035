//! One observation of a queue with a million waiting jobs, 200,000 delayed and 200,000 prioritized.

use spillway_coordinator::queue::QueueObserver;
use spillway_coordinator::redis_client::Redis;
use spillway_tests::QUEUE;
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::directory;
use tokio::time::Instant;

use crate::{say, spread};

const OBSERVATIONS: usize = 2000;

/// Adds the jobs' ids; only the first and last jobs need a hash.
const FILL: &str = "
    local p = KEYS[1]
    for i = 1, 1000000 do redis.call('LPUSH', p .. ':wait', i) end
    for i = 1, 200000 do redis.call('ZADD', p .. ':delayed', (4102444800000 + i) * 4096, 'd' .. i) end
    for i = 1, 200000 do redis.call('ZADD', p .. ':prioritized', (i % 5 + 1) * 4294967296 + i, 'p' .. i) end
    for _, id in ipairs({'1', '1000000', 'p1', 'p2', 'p3', 'p4', 'p5'}) do
      redis.call('HSET', p .. ':' .. id, 'timestamp', '1700000000000', 'opts', '{}')
    end
    redis.call('HSET', p .. ':meta', 'opts.maxLenEvents', '10000')
    redis.call('SET', p .. ':id', 1400000)
    return redis.call('LLEN', p .. ':wait')";

pub(crate) async fn with_a_million_jobs() {
    let directory = directory();
    let redis = RedisServer::with(directory.path(), &["--lua-time-limit", "0"]);
    let filled: u64 = redis.ask(&["EVAL", FILL, "1", &format!("bull:{QUEUE}")]);
    assert_eq!(filled, 1_000_000);
    let client = Redis::new("REDIS_URL", &redis.url()).expect("a URL");
    let mut observer = QueueObserver::new(client, "bull", &[QUEUE.to_owned()]);
    let mut samples = Vec::new();
    for _ in 0..OBSERVATIONS {
        let began = Instant::now();
        let (seen, _) = observer.observe().await.expect("an observation");
        samples.push(began.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(seen.demand(), 1_200_000);
    }
    say("observation, 1 M waiting + 200 k delayed + 200 k prioritized", &spread(samples, "ms"));
}
