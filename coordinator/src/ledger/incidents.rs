//! A pool's incidents in the ledger (`pool:<name>:incidents`): what was told of them, so that the next leader tells
//! nothing twice and forgets nothing. Written under the lease, as the state is, and apart from it: nothing waits for
//! them.

use std::time::Duration;

use redis::{Script, pipe};
use spillway_attention::Kept;

use super::LedgerProblem;
use crate::clock;
use crate::redis_client::Redis;

/// Nobody needs what is older: incidents are anew by then.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// All pools' incidents.
#[derive(Debug)]
pub struct Incidents {
    redis: Redis,
    prefix: String,
    save: Script,
    /// Number of save attempts.
    saves: u64,
}

impl Incidents {
    /// `prefix`: of the ledger's keys.
    pub fn new(redis: Redis, prefix: &str) -> Self {
        let save = Script::new(
            "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
             local epoch, number = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+) (%d+)\\n')
             local newer = tonumber(epoch or 0) - tonumber(ARGV[2])
             if newer > 0 or (newer == 0 and tonumber(number) >= tonumber(ARGV[3])) then return -2 end
             redis.call('SET', KEYS[2], ARGV[2] .. ' ' .. ARGV[3] .. '\\n' .. ARGV[4], 'PX', ARGV[5])
             return math.max(redis.call('PTTL', KEYS[1]), 0)",
        );
        Incidents { redis, prefix: prefix.to_owned(), save, saves: 0 }
    }

    /// What was saved last, and in which epoch. What cannot be parsed is as if there were nothing: it is told anew.
    pub async fn load(&mut self, pool: &str) -> Result<(Kept, u64), LedgerProblem> {
        let (text,): (Option<Vec<u8>>,) = self.redis.query(pipe().cmd("GET").arg(self.key(pool, "incidents"))).await?;
        Ok(text.and_then(|text| read(&text)).unwrap_or_default())
    }

    /// Saves them, if this holder still has the lease. Returns how long the lease is certain to last, as
    /// [`super::Ledger::save`] does, by `clock::up`.
    pub async fn save(&mut self, pool: &str, holder: &str, epoch: u64, kept: &Kept) -> Result<Duration, LedgerProblem> {
        let key = self.key(pool, "incidents");
        let text =
            serde_json::to_string(kept).map_err(|source| LedgerProblem::Unreadable { key: key.clone(), source })?;
        self.saves += 1;
        let mut invocation = self.save.prepare_invoke();
        invocation.key(self.key(pool, "leader")).key(key);
        invocation.arg(holder).arg(epoch).arg(self.saves).arg(text);
        invocation.arg(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX));
        let sent_at = clock::up();
        let left: i64 = self.redis.invoke(&invocation).await?;
        if left == -2 {
            return Err(LedgerProblem::Overtaken);
        }
        let left = u64::try_from(left).map_err(|_| LedgerProblem::NotLeader)?;
        Ok(sent_at + Duration::from_millis(left))
    }

    fn key(&self, pool: &str, part: &str) -> String {
        format!("{}pool:{pool}:{part}", self.prefix)
    }
}

fn read(text: &[u8]) -> Option<(Kept, u64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (head, body) = text.split_once('\n')?;
    let epoch = head.split_once(' ')?.0.parse().ok()?;
    Some((serde_json::from_str(body).ok()?, epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_as_if_there_were_nothing() {
        let kept = Kept { digest: Some("2026-11-29".to_owned()), ..Kept::default() };
        let text = format!("7 12\n{}", serde_json::to_string(&kept).expect("JSON"));
        assert_eq!(read(text.as_bytes()), Some((kept, 7)));
        // Of a later version, which keeps more.
        assert!(read(b"7 12\n{\"more\":1}").is_some());
        for bad in ["", "7 12", "x 1\n{}", "7 12\n{", "7 12\n[1]"] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
    }
}
