//! The parts of a URL: who logs in where, and the parameters after `?`.

use super::{RedisUrlError, number};

/// What stands between `//` and the path.
pub(crate) struct Authority {
    pub username: Option<String>,
    pub password: Option<String>,
    pub host: String,
    pub port: Option<u16>,
}

impl Authority {
    pub(crate) fn parse(text: &str) -> Result<Self, RedisUrlError> {
        // The last @: those of a password may be written as they are.
        let (account, place) = text.rsplit_once('@').map_or((None, text), |(account, place)| (Some(account), place));
        let (username, password) = match account.map(|account| account.split_once(':').unwrap_or((account, ""))) {
            None => (None, None),
            Some((username, password)) => (Some(decoded(username)?), Some(decoded(password)?)),
        };
        let (host, port) = match place.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(None) => return Err(RedisUrlError::HostOrPort),
            Some(Some((host, rest))) => {
                let port = rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(""));
                let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
                (host, port.filter(|_| is_address).ok_or(RedisUrlError::HostOrPort)?)
            }
            None => {
                let (host, port) = place.split_once(':').unwrap_or((place, ""));
                let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
                if !host.chars().all(plain) {
                    return Err(RedisUrlError::HostOrPort);
                }
                (host, port)
            }
        };
        let port = match port {
            "" => None,
            port => Some(port.parse().ok().filter(|port| *port > 0).ok_or(RedisUrlError::HostOrPort)?),
        };
        if host.is_empty() {
            return Err(RedisUrlError::NoHost);
        }
        Ok(Self { username, password, host: host.to_owned(), port })
    }
}

/// The parameters that are read. ioredis takes any option of its own from there.
#[derive(Default)]
pub(crate) struct Query {
    db: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
}

/// Options that would have the application read something else than is read here.
const OTHERS: [(&str, &str); 11] = [
    ("keyPrefix", "BullMQ does not support it: set the queue's prefix instead"),
    ("sentinels", "name the master itself"),
    ("name", "name the master itself"),
    ("role", "name the master itself"),
    ("host", "write redis://HOST:6379"),
    ("port", "write redis://HOST:6379"),
    ("path", "write redis+unix:///PATH"),
    ("tls", "write rediss:// for TLS"),
    ("ssl", "write rediss:// for TLS"),
    ("readOnly", "a replica cannot be written to: name the master"),
    ("scaleReads", "a replica may be behind: name the master"),
];

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let mut found = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = || decoded(&value.replace('+', " "));
            match name {
                "db" => found.db = Some(value()?),
                "username" | "user" => found.username = Some(value()?),
                "password" | "pass" => found.password = Some(value()?),
                _ => {
                    if let Some((name, remedy)) = OTHERS.iter().find(|(other, _)| *other == name) {
                        return Err(RedisUrlError::Parameter { name, remedy });
                    }
                    // An @ where no value has one: a password with a ?.
                    if pair.contains('@') {
                        return Err(RedisUrlError::Unescaped);
                    }
                }
            }
        }
        Ok(found)
    }

    pub(crate) fn db(&self) -> Result<i64, RedisUrlError> {
        self.db.as_deref().filter(|db| !db.is_empty()).map_or(Ok(0), number)
    }
}

/// `%40` as `@`.
pub(crate) fn decoded(text: &str) -> Result<String, RedisUrlError> {
    let mut bytes = text.bytes();
    let mut found = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            found.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = digit().zip(digit()).ok_or(RedisUrlError::Percent)?;
        found.push(u8::try_from(high * 16 + low).map_err(|_| RedisUrlError::Percent)?);
    }
    String::from_utf8(found).map_err(|_| RedisUrlError::Percent)
}
