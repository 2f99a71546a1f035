//! This machine's clock beside those of Redis and of EC2: `clock.redis`, `clock.aws`.

use std::time::Duration;

use redis::pipe;
use spillway_brain::Timestamp;

use super::Finding;
use crate::clock;
use crate::cloud::Cloud;
use crate::redis_client::Redis;

const REDIS: &str = "clock.redis";
const AWS: &str = "clock.aws";
/// Clocks of two machines that keep time differ by less.
const SKEW: Duration = Duration::from_secs(2);
/// The same where the other tells whole seconds.
const SKEW_OF_SECONDS: Duration = Duration::from_secs(3);
/// From here on AWS refuses signatures, agents' proofs at STS among them.
const REFUSED: Duration = Duration::from_secs(5 * 60);
const REMEDY: &str = "have chrony or systemd-timesyncd set this machine's clock: on EC2, server 169.254.169.123";

pub(super) async fn redis(redis: &mut Redis) -> Finding {
    let before = clock::now();
    let Ok(((seconds, microseconds),)) = redis.query::<((u64, u64),)>(pipe().cmd("TIME")).await else {
        return Finding::warn(REDIS, "Redis does not tell its time", "allow TIME: spillway acl");
    };
    let skew = skew(before, clock::now(), seconds.saturating_mul(1000).saturating_add(microseconds / 1000));
    if skew <= SKEW {
        return Finding::ok(REDIS, format!("this machine's clock and Redis' differ by {} ms", skew.as_millis()));
    }
    let detail = format!("this machine's clock and Redis' differ by {}", spillway_words::in_words(skew));
    Finding::warn(REDIS, detail, "have chrony or systemd-timesyncd set both clocks: ages and deadlines compare them")
}

/// By the date of an answer of EC2's: it has one even where it refuses the signature because of this clock.
pub(super) async fn aws(cloud: &Cloud) -> Finding {
    let before = clock::now();
    match cloud.time().await {
        // Of the middle of its second.
        Some(time) => judged(skew(before, clock::now(), time.0.saturating_add(500))),
        None => Finding::warn(AWS, "EC2 does not tell its time", "fix what fails below, then run it again"),
    }
}

fn judged(skew: Duration) -> Finding {
    let words = spillway_words::in_words(Duration::from_secs(skew.as_secs()));
    if skew <= SKEW_OF_SECONDS {
        return Finding::ok(AWS, format!("this machine's clock and EC2's differ by {words}"));
    }
    if skew <= REFUSED {
        let detail = format!("this machine's clock and EC2's differ by {words}, and AWS refuses what is off by 5 min");
        return Finding::warn(AWS, detail, REMEDY);
    }
    let detail = format!("this machine's clock and EC2's differ by {words}: AWS refuses what is signed here");
    Finding::fail(AWS, detail, REMEDY)
}

/// Between this clock and another one, which was read in between.
fn skew(before: Timestamp, after: Timestamp, other_ms: u64) -> Duration {
    Duration::from_millis(before.0.midpoint(after.0).abs_diff(other_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_few_seconds_are_a_warning_and_what_aws_refuses_fails() {
        for (millis, level) in [
            (0, Level::Ok),
            (3_000, Level::Ok),
            (3_001, Level::Warn),
            (300_000, Level::Warn),
            (300_001, Level::Fail),
            (u64::MAX, Level::Fail),
        ] {
            assert_eq!(judged(Duration::from_millis(millis)).level, level, "{millis}");
        }
    }

    #[test]
    fn the_other_clock_was_read_in_the_middle() {
        assert_eq!(skew(Timestamp(1_000), Timestamp(3_000), 2_000), Duration::ZERO);
        assert_eq!(skew(Timestamp(1_000), Timestamp(1_000), 500), Duration::from_millis(500));
        assert_eq!(skew(Timestamp(0), Timestamp(0), u64::MAX), Duration::from_millis(u64::MAX));
    }
}
