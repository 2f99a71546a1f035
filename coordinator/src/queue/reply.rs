//! Redis' answers read as what a producer may have written: what decorates a queue is unknown where it is anything
//! else.

use redis::{FromRedisValue, RedisResult, Value};

/// None where it is not what BullMQ writes.
pub(super) fn decoration<T: FromRedisValue>(answer: RedisResult<Value>) -> Option<T> {
    T::from_redis_value(answer.ok()?).ok()
}

pub(super) fn lossy(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A number as a producer may have written it: JavaScript's and Python's times have fractions.
pub(super) fn whole(value: Value) -> Option<u64> {
    let number: f64 = lossy(Option::<Vec<u8>>::from_redis_value(value).ok()??).trim().parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number below 2^63")]
    (0.0..9.2e18).contains(&number).then_some(number as u64)
}
