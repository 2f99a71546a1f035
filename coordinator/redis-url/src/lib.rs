//! A Redis URL as ioredis reads it, which is what BullMQ's applications connect with, or refused with what to write
//! instead. Owns the parsing, for coordinator and agent; never connects. A password is in no message, whatever the URL
//! looks like.

mod errors;
mod parts;
mod role;

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

pub use errors::is_about_the_command;
use parts::{Authority, Query, decoded};
pub use role::Role;

/// Redis' port.
const DEFAULT_PORT: u16 = 6379;

/// Why a text is no Redis URL, with the remedy. Never holds a part of the text that may be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    /// Another scheme, or none.
    #[error("is no Redis URL: write redis://HOST:6379/0, rediss://HOST:6379/0 (TLS) or redis+unix:///PATH")]
    Scheme,
    /// A `/`, `?`, `#` of the password ends the host's part of a URL.
    #[error("has an @ after its host: in a user or password write / as %2F, ? as %3F, # as %23, @ as %40 and % as %25")]
    Unescaped,
    /// A `%` that begins no escape.
    #[error("has a % that is not followed by two hexadecimal digits: in a user or password write % as %25")]
    Percent,
    #[error("names no host: write redis://HOST:6379")]
    NoHost,
    #[error(
        "has a host or port that cannot be one: write redis://USER:PASSWORD@HOST:6379, and in a user or password / as \
         %2F, ? as %3F, # as %23, @ as %40 and % as %25"
    )]
    HostOrPort,
    #[error("has a database that is not a number: write redis://HOST:6379/1 for database 1")]
    Database,
    /// A parameter that says where or what to read, and is not understood here.
    #[error("has the parameter {name}, which is not supported: {remedy}")]
    Parameter { name: &'static str, remedy: &'static str },
    #[error("names no absolute path of a socket: write redis+unix:///PATH")]
    NoPath,
    #[error("has a fragment after #: remove it, or write # as %23 if it belongs to the password")]
    Fragment,
}

/// A Redis server, a database there, and whom to log in as.
#[derive(Clone)]
pub struct RedisUrl {
    info: ConnectionInfo,
}

impl RedisUrl {
    /// Reads `redis://`, `rediss://`, `redis+unix://`, `unix://` or the path of a socket.
    pub fn parse(url: &str) -> Result<Self, RedisUrlError> {
        let url = url.trim();
        // A bare path is a socket, as redis-cli and ioredis take it.
        if url.starts_with('/') && !url.starts_with("//") {
            return Self::socket(url);
        }
        let (scheme, rest) = url.split_once("://").ok_or(RedisUrlError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "redis" | "valkey" => Self::server(rest, false),
            "rediss" | "valkeys" => Self::server(rest, true),
            "unix" | "redis+unix" | "valkey+unix" => Self::socket(rest),
            _ => Err(RedisUrlError::Scheme),
        }
    }

    fn server(rest: &str, tls: bool) -> Result<Self, RedisUrlError> {
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (tail, fragment) = tail.split_once('#').map_or((tail, None), |(tail, fragment)| (tail, Some(fragment)));
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        if path.contains('@') || fragment.is_some_and(|text| text.contains('@')) {
            return Err(RedisUrlError::Unescaped);
        }
        let is_insecure = match fragment {
            None | Some("") => false,
            // redis-rs' own word for a certificate that is not verified.
            Some("insecure") if tls => true,
            Some(_) => return Err(RedisUrlError::Fragment),
        };
        let authority = Authority::parse(authority).map_err(|error| match query.contains('@') {
            true => RedisUrlError::Unescaped,
            false => error,
        })?;
        let query = Query::parse(query)?;
        let (host, port) = (authority.host, authority.port.unwrap_or(DEFAULT_PORT));
        let addr = match tls {
            true => ConnectionAddr::TcpTls { host, port, insecure: is_insecure, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        };
        let db = match path.strip_prefix('/').unwrap_or(path) {
            "" => query.db()?,
            db => number(db)?,
        };
        Self::at(addr, db, authority.username.or(query.username), authority.password.or(query.password))
    }

    fn socket(rest: &str) -> Result<Self, RedisUrlError> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.contains('@') && !path.starts_with('/') {
            return Err(RedisUrlError::NoPath);
        }
        if !path.starts_with('/') || path.len() < 2 {
            return Err(RedisUrlError::NoPath);
        }
        let query = Query::parse(query)?;
        let path = decoded(path)?;
        Self::at(ConnectionAddr::Unix(path.into()), query.db()?, query.username, query.password)
    }

    fn at(
        addr: ConnectionAddr,
        db: i64,
        username: Option<String>,
        password: Option<String>,
    ) -> Result<Self, RedisUrlError> {
        let mut settings = RedisConnectionInfo::default().set_db(db);
        // ioredis logs in only where there is a password, and by the password alone where no user is named.
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            settings = settings.set_password(password);
            if let Some(username) = username.filter(|username| !username.is_empty()) {
                settings = settings.set_username(username);
            }
        }
        let info = addr.into_connection_info().map_err(|_| RedisUrlError::HostOrPort)?;
        Ok(Self { info: info.set_redis_settings(settings) })
    }

    /// What the client connects by.
    pub fn connection_info(&self) -> ConnectionInfo {
        self.info.clone()
    }

    /// The database.
    pub fn db(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// Host and port or the socket's path, with the database where it is not 0: enough to find it, and no secret.
    pub fn address(&self) -> String {
        let db = match self.db() {
            0 => String::new(),
            db => format!("/{db}"),
        };
        match self.info.addr() {
            ConnectionAddr::Unix(path) if db.is_empty() => path.display().to_string(),
            ConnectionAddr::Unix(path) => format!("{}?db={}", path.display(), self.db()),
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } if host.contains(':') => {
                format!("[{host}]:{port}{db}")
            }
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}{db}"),
            _ => format!("Redis{db}"),
        }
    }
}

/// With its user, without its password.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.info.addr() {
            ConnectionAddr::Unix(_) => "unix",
            ConnectionAddr::TcpTls { .. } => "rediss",
            _ => "redis",
        };
        let settings = self.info.redis_settings();
        let account = match (settings.username(), settings.password()) {
            (_, None) => String::new(),
            (user, Some(_)) => format!("{}:***@", user.unwrap_or_default()),
        };
        write!(f, "{scheme}://{account}{}", self.address())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn number(text: &str) -> Result<i64, RedisUrlError> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain).ok_or(RedisUrlError::Database)
}
