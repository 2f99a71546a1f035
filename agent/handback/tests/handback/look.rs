//! A look at a queue with more active jobs than one round trip asks for, some of which are nobody's.

use spillway_handback::{Queue, held_by};

use crate::world::RedisServer;

#[tokio::test]
async fn all_active_jobs_are_looked_at() {
    const ACTIVE: usize = 2500;
    let server = RedisServer::start().await;
    let mut redis = server.connect().await;
    let mut pipeline = redis::pipe();
    // No BullMQ has made it: it must not hide the others.
    pipeline.lpush("p:q:active", b"\xff\xfe").ignore();
    for id in 1..=ACTIVE {
        let holder = if id % 10 == 0 { "i-1" } else { "i-10" };
        pipeline.lpush("p:q:active", id).ignore();
        pipeline.set(format!("p:q:{id}:lock"), format!("{holder}:uuid:{id}")).ignore();
    }
    pipeline.query_async::<()>(&mut redis).await.expect("Redis answers");
    let queue = Queue { prefix: "p", name: "q" };
    let held = held_by(&mut redis, queue, "i-1").await.expect("Redis answers");
    let newest_first: Vec<String> = (1..=ACTIVE).rev().filter(|id| id % 10 == 0).map(|id| id.to_string()).collect();
    assert_eq!(held.iter().map(|held| held.id.clone()).collect::<Vec<_>>(), newest_first);
    assert_eq!(held_by(&mut redis, queue, "").await.expect("Redis answers"), []);
    assert_eq!(held_by(&mut redis, Queue { prefix: "p", name: "none" }, "i-1").await.expect("Redis answers"), []);
}
