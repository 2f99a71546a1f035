//! The record in Redis: a stream for each day, of entries as JSON, and how many bytes each has.
//!
//! Writes are a pool's own, apart from its state: a record that cannot be written delays no decision. None is written
//! where Redis is nearly full, or refuses: BullMQ's jobs need the room. Days that are too old, or too many for the
//! bound, are deleted whole.

use std::time::Duration;

use redis::{Pipeline, pipe};
use spillway_record::Frame;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Past;
use crate::clock;
use crate::redis_client::{Redis, RedisProblem};

const DAY_MS: u64 = 86_400_000;
/// Days that are kept.
const DAYS: u64 = 30;
/// Entries are written, and those of another leader read, this often.
const EACH: Duration = Duration::from_secs(2);
/// A Redis that does not answer keeps no coordinator from ending.
const AT_THE_END: Duration = Duration::from_secs(1);
/// Entries of one round trip.
const CHUNK: usize = 500;
/// Bytes of entries that wait for Redis; beyond, details are dropped first.
const WAITING: usize = 1024 * 1024;
/// Nothing is written while Redis uses so many per cent of its maxmemory.
const FULL_PERCENT: u64 = 90;
/// What an entry takes in a stream beside its text, measured with Redis 7: about a tenth, and a few bytes.
const OVERHEAD: usize = 16;

/// An entry of a stream: its id, and its fields.
type Entry = (String, Vec<(String, String)>);

/// One pool's record.
#[derive(Debug)]
pub struct Store {
    redis: Redis,
    prefix: String,
    /// Bytes of all days together.
    most: u64,
    past: Past,
    /// The newest entry that was read or written: its day and its id there.
    read: Option<(u64, String)>,
    waiting: Vec<Frame>,
    /// Why nothing is written, as it was logged.
    problem: Option<String>,
}

impl Store {
    /// `prefix`: of the ledger's keys; `most`: bytes in Redis.
    pub fn new(redis: Redis, prefix: &str, pool: &str, most: u64, past: Past) -> Self {
        let prefix = format!("{prefix}pool:{pool}:record");
        Store { redis, prefix, most, past, read: None, waiting: Vec::new(), problem: None }
    }

    /// Runs until the other end of the channel is gone; then what waits is written once more.
    pub async fn run(mut self, mut frames: mpsc::UnboundedReceiver<Vec<Frame>>) {
        let mut interval = tokio::time::interval(EACH);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => self.turn().await,
                more = frames.recv() => match more {
                    Some(more) => self.keep(more),
                    None => return drop(tokio::time::timeout(AT_THE_END, self.turn()).await),
                },
            }
        }
    }

    fn keep(&mut self, frames: Vec<Frame>) {
        self.waiting.extend(frames);
        // About 200 bytes each.
        if self.waiting.len() > WAITING / 200 {
            self.waiting.retain(|frame| !frame.is_detail());
            let left_out = self.waiting.len().saturating_sub(WAITING / 200);
            self.waiting.drain(..left_out);
        }
    }

    async fn turn(&mut self) {
        let done = async {
            self.catch_up().await?;
            self.write().await
        };
        let problem = done.await.err();
        let text = problem.as_ref().map(ToString::to_string);
        if let Some(problem) = text.as_ref().filter(|text| self.problem.as_ref() != Some(*text)) {
            tracing::warn!(
                key = self.prefix,
                problem,
                "the record is not written: decisions go on, and history has a gap"
            );
        } else if text.is_none() && self.problem.is_some() {
            tracing::info!(key = self.prefix, "the record is written again");
        }
        self.problem = text;
    }

    fn day(&self, day: u64) -> String {
        format!("{}:{day}", self.prefix)
    }

    fn bytes(&self) -> String {
        format!("{}:bytes", self.prefix)
    }

    /// Days that there are, with their bytes, oldest first.
    async fn days(&mut self) -> Result<Vec<(u64, u64)>, RedisProblem> {
        let (days,): (Vec<(String, String)>,) = self.redis.query(pipe().cmd("HGETALL").arg(self.bytes())).await?;
        let mut days: Vec<(u64, u64)> =
            days.into_iter().filter_map(|(day, bytes)| Some((day.parse().ok()?, bytes.parse().unwrap_or(0)))).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// Reads what was written since: all of it at the start, later what another leader writes.
    async fn catch_up(&mut self) -> Result<(), RedisProblem> {
        let today = clock::now().0 / DAY_MS;
        let first = self.read.as_ref().map(|(day, _)| *day);
        let days: Vec<u64> = match first {
            Some(first) => (first..=today).collect(),
            None => self.days().await?.into_iter().map(|(day, _)| day).filter(|day| *day + DAYS >= today).collect(),
        };
        for day in days {
            loop {
                let after = self.read.as_ref().filter(|(read, _)| *read == day);
                let after = after.map_or_else(|| "-".to_owned(), |(_, id)| format!("({id}"));
                let mut range = pipe();
                range.cmd("XRANGE").arg(self.day(day)).arg(after).arg("+").arg("COUNT").arg(CHUNK);
                let (entries,): (Vec<Entry>,) = self.redis.query(&range).await?;
                let Some((last, _)) = entries.last() else { break };
                self.read = Some((day, last.clone()));
                let is_all = entries.len() < CHUNK;
                let mut past = self.past.look();
                for (_, text) in entries.iter().flat_map(|(_, fields)| fields) {
                    // One that is damaged does not hide the others.
                    if let Ok(frame) = serde_json::from_str(text) {
                        past.add(&frame, false);
                    }
                }
                if is_all {
                    break;
                }
            }
        }
        if self.read.is_none() {
            self.read = Some((today, "0-0".to_owned()));
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), RedisProblem> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if let Some(percent) = self.used_percent().await?.filter(|percent| *percent >= FULL_PERCENT) {
            let (address, detail) = (self.redis.address().to_owned(), format!("it uses {percent} % of its maxmemory"));
            return Err(RedisProblem::Refused { address, detail });
        }
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(CHUNK);
            let (pipeline, days) = self.pipeline(count);
            let ids: Vec<redis::Value> = self.redis.query(&pipeline).await?;
            self.waiting.drain(..count);
            // The last entry's id; those after it are of the bytes.
            let id = ids.get(count - 1).and_then(|id| redis::from_redis_value_ref::<String>(id).ok());
            if let (Some(id), Some(day)) = (id, days.last()) {
                self.read = Some((*day, id));
            }
        }
        self.trim().await
    }

    /// Adds the first entries to their days.
    fn pipeline(&self, count: usize) -> (Pipeline, Vec<u64>) {
        let (mut pipeline, mut days) = (pipe(), Vec::<(u64, usize)>::new());
        // Of the day on which it is written: entries of a stream are in order.
        let today = clock::now().0 / DAY_MS;
        for frame in &self.waiting[..count] {
            let text = serde_json::to_string(frame).unwrap_or_default();
            match days.last_mut() {
                Some((_, bytes)) => *bytes += text.len() + OVERHEAD,
                None => days.push((today, text.len() + OVERHEAD)),
            }
            pipeline.cmd("XADD").arg(self.day(today)).arg("*").arg("f").arg(text);
        }
        for (day, bytes) in &days {
            pipeline.cmd("HINCRBY").arg(self.bytes()).arg(day).arg(*bytes).ignore();
            let over = (DAYS + 2) * DAY_MS;
            pipeline.cmd("PEXPIRE").arg(self.day(*day)).arg(over).ignore();
        }
        (pipeline, days.into_iter().map(|(day, _)| day).collect())
    }

    /// Deletes days that are too old, and the oldest while all are too many bytes.
    async fn trim(&mut self) -> Result<(), RedisProblem> {
        let mut days = self.days().await?;
        let today = clock::now().0 / DAY_MS;
        let mut bytes: u64 = days.iter().map(|(_, bytes)| bytes).sum();
        let mut gone = Vec::new();
        while let Some((day, of_day)) = days.first().copied() {
            let is_too_old = day + DAYS < today;
            if !is_too_old && (bytes <= self.most || days.len() == 1) {
                break;
            }
            if !is_too_old {
                tracing::warn!(
                    key = self.prefix,
                    bytes,
                    most = self.most,
                    "the record's oldest day is deleted: it is at its bound"
                );
            }
            gone.push(day);
            bytes = bytes.saturating_sub(of_day);
            days.remove(0);
        }
        if gone.is_empty() {
            return Ok(());
        }
        let mut pipeline = pipe();
        for day in gone {
            pipeline.cmd("DEL").arg(self.day(day)).ignore();
            pipeline.cmd("HDEL").arg(self.bytes()).arg(day).ignore();
        }
        self.redis.query(&pipeline).await
    }

    /// How much of its maxmemory Redis uses; None where it has none, or does not tell this user.
    async fn used_percent(&mut self) -> Result<Option<u64>, RedisProblem> {
        let answer = self.redis.query_each(pipe().cmd("INFO").arg("memory")).await?.into_iter().next();
        let text = answer.and_then(Result::ok).and_then(|text| redis::from_redis_value::<String>(text).ok());
        Ok(text.and_then(|text| percent(&text)))
    }
}

/// By `INFO memory`.
fn percent(info: &str) -> Option<u64> {
    let number = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<u64>().ok())
    };
    let most = number("maxmemory").filter(|most| *most > 0)?;
    Some(number("used_memory")?.saturating_mul(100) / most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_per_cent_of_its_bound_and_unknown_without_one() {
        assert_eq!(percent("# Memory\r\nused_memory:95\r\nmaxmemory:100\r\nmaxmemory_human:100B\r\n"), Some(95));
        assert_eq!(percent("used_memory:95\r\nmaxmemory:0\r\n"), None);
        assert_eq!(percent("NOPERM"), None);
    }
}
