//! Values that must not be seen. Owns their masking: neither `Debug` nor `Display` gives them away.

use std::fmt;

/// A text that is shown as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for those whom it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Redis's address, shown without its password.
#[derive(Clone)]
pub struct RedisUrl {
    info: redis::ConnectionInfo,
}

impl RedisUrl {
    /// Reads a `redis://`, `rediss://` or `unix://` address.
    pub fn new(url: &str) -> Result<Self, &'static str> {
        use redis::IntoConnectionInfo;
        let known = ["redis://", "rediss://", "unix://", "redis+unix://"].iter().any(|scheme| url.starts_with(scheme));
        if !known {
            return Err("is not a redis://, rediss:// or unix:// address");
        }
        // The parser's own error may repeat the address.
        url.into_connection_info().map(|info| Self { info }).map_err(|_| "is not a valid address")
    }

    /// What the client connects by.
    pub fn connection_info(&self) -> redis::ConnectionInfo {
        self.info.clone()
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.info.redis_settings();
        let account = match (settings.username(), settings.password()) {
            (None, None) => String::new(),
            (user, password) => {
                format!("{}{}@", user.unwrap_or_default(), if password.is_some() { ":***" } else { "" })
            }
        };
        match self.info.addr() {
            redis::ConnectionAddr::Unix(path) => write!(f, "unix://{account}{}", path.display()),
            redis::ConnectionAddr::TcpTls { host, port, .. } => write!(f, "rediss://{account}{host}:{port}"),
            redis::ConnectionAddr::Tcp(host, port) => write!(f, "redis://{account}{host}:{port}"),
            _ => f.write_str("redis"),
        }?;
        match settings.db() {
            0 => Ok(()),
            db => write!(f, "/{db}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
