//! Session tokens of a metadata service.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE as BASE64;

pub(super) const MAX_TTL_SECONDS: u32 = 21_600;
/// Beyond this, the oldest token is forgotten: its holder gets 401, and requests a new one.
const MAX_TOKENS: usize = 1_000;

/// Tokens and when they expire.
#[derive(Debug, Default)]
pub(super) struct Tokens(VecDeque<(String, u64)>);

impl Tokens {
    pub(super) fn grant(&mut self, ttl_seconds: u32, now_ms: u64) -> String {
        self.0.retain(|(_, expires_ms)| *expires_ms > now_ms);
        if self.0.len() >= MAX_TOKENS {
            self.0.pop_front();
        }
        let mut bytes = Vec::with_capacity(32);
        bytes.extend(uuid::Uuid::new_v4().as_bytes());
        bytes.extend(uuid::Uuid::new_v4().as_bytes());
        let token = BASE64.encode(bytes);
        self.0.push_back((token.clone(), now_ms + u64::from(ttl_seconds) * 1000));
        token
    }

    /// None when the token is unknown or has expired.
    pub(super) fn seconds_left(&self, token: &str, now_ms: u64) -> Option<u64> {
        let (_, expires_ms) = self.0.iter().find(|(known, _)| known == token)?;
        let left_ms = expires_ms.checked_sub(now_ms)?;
        (left_ms > 0).then(|| left_ms.div_ceil(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_expire() {
        let mut tokens = Tokens::default();
        let token = tokens.grant(2, 1_000);
        assert_eq!(tokens.seconds_left(&token, 1_000), Some(2));
        assert_eq!(tokens.seconds_left(&token, 2_999), Some(1));
        assert_eq!(tokens.seconds_left(&token, 3_000), None);
        assert_eq!(tokens.seconds_left("other", 1_000), None);
    }
}
