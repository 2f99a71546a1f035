//! Which BullMQ queues a Redis has, whatever their names and prefixes: for `spillway init`.

use redis::{Value, pipe};

use crate::redis_client::{Redis, RedisProblem};

/// Keys that Redis looks at in one call.
const PER_CALL: u32 = 10_000;
/// A Redis with more keys than this many calls see is not searched to its end.
const CALLS: u32 = 1_000;
const MOST: usize = 100;

/// A queue that BullMQ has made: its hash `PREFIX:QUEUE:meta` is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundQueue {
    pub prefix: String,
    pub queue: String,
}

/// All queues, by prefix and name; false where there were too many keys to see them all.
///
/// # Errors
/// Redis does not answer, or does not permit SCAN.
pub async fn discover(redis: &mut Redis) -> Result<(Vec<FoundQueue>, bool), RedisProblem> {
    let (mut found, mut cursor, mut calls) = (Vec::new(), "0".to_owned(), 0);
    loop {
        let mut scan = pipe();
        scan.cmd("SCAN").arg(&cursor).arg("MATCH").arg("*:meta").arg("COUNT").arg(PER_CALL).arg("TYPE").arg("hash");
        let ((next, keys),): ((String, Vec<String>),) = redis.query(&scan).await?;
        for key in keys {
            found.extend(is_queues(redis, &key).await?.then(|| parsed(&key)).flatten());
        }
        calls += 1;
        let is_over = next == "0";
        if is_over || calls == CALLS || found.len() >= MOST {
            found.sort();
            found.dedup();
            found.truncate(MOST);
            return Ok((found, is_over));
        }
        cursor = next;
    }
}

/// Whether the hash is one of BullMQ's: another program may call one `meta` too.
async fn is_queues(redis: &mut Redis, key: &str) -> Result<bool, RedisProblem> {
    let mut look = pipe();
    look.cmd("HMGET").arg(key).arg("version").arg("opts.maxLenEvents");
    let (fields,): (Vec<Value>,) = redis.query(&look).await?;
    Ok(fields.iter().any(|field| !matches!(field, Value::Nil)))
}

/// A queue's name has no colon; a prefix may have some.
fn parsed(key: &str) -> Option<FoundQueue> {
    let (prefix, queue) = key.strip_suffix(":meta")?.rsplit_once(':')?;
    let is_whole = !prefix.is_empty() && !queue.is_empty();
    is_whole.then(|| FoundQueue { prefix: prefix.to_owned(), queue: queue.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_prefix_and_queue() {
        let found = |prefix: &str, queue: &str| Some(FoundQueue { prefix: prefix.to_owned(), queue: queue.to_owned() });
        assert_eq!(parsed("bull:video-processing:meta"), found("bull", "video-processing"));
        assert_eq!(parsed("{my}:app:mail:meta"), found("{my}:app", "mail"));
        assert_eq!(parsed("bull::meta"), None);
        assert_eq!(parsed("meta"), None);
    }
}
