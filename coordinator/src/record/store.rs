//! The record in Redis: a stream for each day, of entries as JSON, and how many bytes each has.
//!
//! Writes are a pool's own, apart from its state: a record that cannot be written delays no decision. None is written
//! where Redis is nearly full, or refuses: BullMQ's jobs need the room. Days that are too old, or too many for the
//! bound, are deleted whole.

use std::time::Duration;

use redis::pipe;
use spillway_record::{Frame, History};
use tokio::time::MissedTickBehavior;

use super::{Frames, Past};
use crate::clock;
use crate::redis_client::{Redis, RedisProblem};

const DAY_MS: u64 = 86_400_000;
/// Days that are kept.
const DAYS: u64 = 30;
/// Entries are written, and those of another leader read, this often.
const EACH: Duration = Duration::from_secs(2);
/// Entries of one round trip.
const CHUNK: usize = 500;
/// Entries that wait for Redis; beyond, details are dropped first.
const WAITING: usize = 5000;
/// Nothing is written while Redis uses so many per cent of its maxmemory.
const FULL_PERCENT: u64 = 90;
/// Entries of later than this are of a clock that was wrong.
const AHEAD_MS: u64 = 3_600_000;
/// Bytes that an entry takes in a stream beside its text: 18.5 of 100,000 looks of 63 each, by MEMORY USAGE of Redis 7.
const OVERHEAD: usize = 19;

/// An entry of a stream: its id, and its fields.
type Entry = (String, Vec<(Vec<u8>, Vec<u8>)>);

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
    pub async fn run(mut self, mut frames: Frames) {
        let mut interval = tokio::time::interval(EACH);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => self.turn().await,
                more = frames.recv() => match more {
                    Some(more) => self.keep(more),
                    None => return self.turn().await,
                },
            }
        }
    }

    fn keep(&mut self, frames: Vec<Frame>) {
        self.waiting.extend(frames);
        if self.waiting.len() > WAITING {
            self.waiting.retain(|frame| !frame.is_detail());
            let left_out = self.waiting.len().saturating_sub(WAITING);
            self.waiting.drain(..left_out);
        }
    }

    async fn turn(&mut self) {
        let done = async {
            self.catch_up().await?;
            self.write().await
        };
        let text = done.await.err().map(|problem| problem.to_string());
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
        let answer = self.redis.query_each(pipe().cmd("HGETALL").arg(self.bytes())).await?.into_iter().next();
        let answer = answer.unwrap_or(Ok(redis::Value::Nil)).and_then(|it| Ok(redis::from_redis_value(it)?));
        let days: Vec<(String, String)> = match answer {
            Ok(days) => days,
            // Something else was put into its place: it is begun anew, and the days that there are expire.
            Err(error) if error.code() == Some("WRONGTYPE") => {
                self.redis.query::<()>(pipe().cmd("DEL").arg(self.bytes()).ignore()).await?;
                Vec::new()
            }
            Err(error) => return Err(self.redis.failed(error)),
        };
        let mut days: Vec<(u64, u64)> =
            days.into_iter().filter_map(|(day, bytes)| Some((day.parse().ok()?, bytes.parse().unwrap_or(0)))).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// Reads what was written since: all of it at the start, later what another leader writes. What this store wrote
    /// itself, without hearing of it, waits no longer.
    async fn catch_up(&mut self) -> Result<(), RedisProblem> {
        let today = clock::now().0 / DAY_MS;
        let mut whole = match &self.read {
            Some(_) => None,
            None => Some(History::default()),
        };
        let days: Vec<u64> = match &self.read {
            Some((first, _)) => ((*first).min(today)..=today).collect(),
            None => self.days().await?.into_iter().map(|(day, _)| day).filter(|day| is_kept(*day, today)).collect(),
        };
        let mut read = self.read.clone();
        for day in days {
            loop {
                let after = read.as_ref().filter(|(read, _)| *read == day);
                let after = after.map_or_else(|| "-".to_owned(), |(_, id)| format!("({id}"));
                let mut range = pipe();
                range.cmd("XRANGE").arg(self.day(day)).arg(after).arg("+").arg("COUNT").arg(CHUNK);
                let answer = self.redis.query_each(&mut range).await?.into_iter().next();
                // A day that somebody has replaced does not hide the others.
                let Some(entries) = answer.and_then(|it| redis::from_redis_value::<Vec<Entry>>(it.ok()?).ok()) else {
                    break;
                };
                let Some((last, _)) = entries.last() else { break };
                read = Some((day, last.clone()));
                let is_all = entries.len() < CHUNK;
                let texts = entries.iter().flat_map(|(_, fields)| fields).map(|(_, text)| text.as_slice());
                let frames = self.unknown(texts);
                match &mut whole {
                    Some(whole) => frames.iter().for_each(|frame| whole.add(frame, false)),
                    None => self.past.add(&frames),
                }
                if is_all {
                    break;
                }
            }
        }
        if let Some(whole) = whole {
            self.past.is_read(whole);
        }
        self.read = read.or_else(|| Some((today, "0-0".to_owned())));
        Ok(())
    }

    /// Of these entries those that this store did not write itself. One that is damaged, or of a time to come, is
    /// skipped.
    fn unknown<'a>(&mut self, texts: impl Iterator<Item = &'a [u8]>) -> Vec<Frame> {
        let latest = clock::now().0.saturating_add(AHEAD_MS);
        let mut frames = Vec::new();
        let mut own = 0;
        for text in texts {
            // They were written in this order.
            if self.waiting.get(own).is_some_and(|frame| serde_json::to_vec(frame).is_ok_and(|it| it == text)) {
                own += 1;
                continue;
            }
            frames.extend(serde_json::from_slice::<Frame>(text).ok().filter(|frame| frame.at() <= latest));
        }
        self.waiting.drain(..own);
        frames
    }

    async fn write(&mut self) -> Result<(), RedisProblem> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if let Some(percent) = self.used_percent().await?.filter(|percent| *percent >= FULL_PERCENT) {
            return Err(self.refused(format!("it uses {percent} % of its maxmemory")));
        }
        let today = clock::now().0 / DAY_MS;
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(CHUNK);
            self.write_some(today, count).await?;
        }
        self.trim(today).await
    }

    /// Adds the first entries to the day, and their bytes to its size.
    async fn write_some(&mut self, today: u64, count: usize) -> Result<(), RedisProblem> {
        let (mut pipeline, mut bytes) = (pipe(), 0);
        for frame in &self.waiting[..count] {
            let text = serde_json::to_string(frame).unwrap_or_default();
            bytes += text.len() + OVERHEAD;
            pipeline.cmd("XADD").arg(self.day(today)).arg("*").arg("f").arg(text);
        }
        pipeline.cmd("PEXPIRE").arg(self.day(today)).arg((DAYS + 2) * DAY_MS);
        let mut answers = self.redis.query_each(&mut pipeline).await?.into_iter();
        let mut written = 0;
        for answer in answers.by_ref().take(count) {
            let id = answer.map_err(|error| self.redis.failed(error));
            let id = match id {
                Ok(id) => redis::from_redis_value::<String>(id).unwrap_or_default(),
                Err(problem) => {
                    self.waiting.drain(..written);
                    return Err(problem);
                }
            };
            written += 1;
            self.read = Some((today, id));
        }
        self.waiting.drain(..written);
        // By itself: what fails here is written all the same.
        let counted =
            self.redis.query::<()>(pipe().cmd("HINCRBY").arg(self.bytes()).arg(today).arg(bytes).ignore()).await;
        match counted {
            // Somebody has put something else into its place.
            Err(RedisProblem::Refused { .. }) => {
                self.redis.query(pipe().cmd("HSET").arg(self.bytes()).arg(today).arg(bytes).ignore()).await
            }
            other => other,
        }
    }

    fn refused(&self, detail: String) -> RedisProblem {
        RedisProblem::Refused { address: self.redis.address().to_owned(), detail }
    }

    /// Deletes days that are too old, and the oldest while all are too many bytes. A day that is too large by itself
    /// begins anew: it cannot grow without a bound.
    async fn trim(&mut self, today: u64) -> Result<(), RedisProblem> {
        let mut days = self.days().await?;
        let mut bytes: u64 = days.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let mut gone: Vec<u64> = days.iter().map(|(day, _)| *day).filter(|day| !is_kept(*day, today)).collect();
        days.retain(|(day, of_day)| {
            let is_kept = is_kept(*day, today);
            bytes = if is_kept { bytes } else { bytes.saturating_sub(*of_day) };
            is_kept
        });
        // Today is the last to go.
        days.sort_by_key(|(day, _)| (*day == today, *day));
        for (day, of_day) in days {
            if bytes <= self.most {
                break;
            }
            tracing::warn!(
                key = self.prefix,
                day,
                bytes,
                most = self.most,
                "a day of the record is deleted: it is at its bound"
            );
            gone.push(day);
            bytes = bytes.saturating_sub(of_day);
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

/// A day that is neither too old nor of a time to come.
fn is_kept(day: u64, today: u64) -> bool {
    day.saturating_add(DAYS) >= today && day <= today.saturating_add(1)
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

    #[test]
    fn days_of_any_number_are_judged() {
        let kept = [0, 69, 70, 100, 101, 102, u64::MAX].map(|day| is_kept(day, 100));
        assert_eq!(kept, [false, false, true, true, true, false, false]);
    }
}
