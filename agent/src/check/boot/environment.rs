//! The variables by which an application finds its Redis, with another one in its place. Owns which those are; reads
//! and sets no variable.

use std::collections::BTreeMap;

use redis::ConnectionAddr;

use crate::config::RedisUrl;

/// What connects without a port of its own.
const DEFAULT_PORT: u16 = 6379;

/// A place where Redis listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As the URL has it: an address or a name.
    pub host: String,
    pub port: u16,
}

impl Place {
    /// Where this one listens; `None` where that is a socket of this machine's.
    pub fn of(url: &RedisUrl) -> Option<Self> {
        match url.connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Self { host: host.clone(), port: *port })
            }
            _ => None,
        }
    }

    fn is(&self, host: &str, port: u16) -> bool {
        host.eq_ignore_ascii_case(&self.host) && port == self.port
    }
}

/// Of these variables those that lead to one of the `real` places, each with `own` in its place, a port of 127.0.0.1.
/// TLS is left out: that server has no certificate.
pub fn replaced<'a>(
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    real: &[Place],
    own: u16,
) -> BTreeMap<String, String> {
    let changed = variables.into_iter().filter_map(|(name, value)| {
        let value = value.trim();
        let found = real.iter().find_map(|real| url(value, real, own).or_else(|| part(name, value, real, own)))?;
        Some((name.to_owned(), found))
    });
    changed.collect()
}

/// A URL for this account and database at a port of 127.0.0.1.
pub fn own_url(like: &RedisUrl, own: u16) -> String {
    let info = like.connection_info();
    let settings = info.redis_settings();
    let account = settings
        .password()
        .map(|password| format!("{}:{}@", escaped(settings.username().unwrap_or_default()), escaped(password)));
    format!("redis://{}127.0.0.1:{own}/{}", account.unwrap_or_default(), like.db())
}

/// A URL of that place, whatever it is for: its account, path and parameters stay.
fn url(value: &str, real: &Place, own: u16) -> Option<String> {
    let (scheme, rest) = value.split_once("://")?;
    let (plain, default) = match scheme.to_ascii_lowercase().as_str() {
        "rediss" => ("redis", Some(DEFAULT_PORT)),
        "valkeys" => ("valkey", Some(DEFAULT_PORT)),
        "redis" | "valkey" => (scheme, Some(DEFAULT_PORT)),
        _ => (scheme, None),
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let tail = tail.split_once('#').map_or(tail, |(tail, _)| tail);
    let (account, place) = authority.rfind('@').map_or(("", authority), |at| authority.split_at(at + 1));
    let (host, port) = host_and_port(place, default)?;
    real.is(host, port).then(|| format!("{plain}://{account}127.0.0.1:{own}{tail}"))
}

/// A host alone, a port alone, or both, where the variable's name says what they are of.
fn part(name: &str, value: &str, real: &Place, own: u16) -> Option<String> {
    let name = name.to_ascii_uppercase();
    if !name.contains("REDIS") {
        return None;
    }
    if value.trim_matches(['[', ']']).eq_ignore_ascii_case(&real.host) {
        return Some("127.0.0.1".to_owned());
    }
    if name.contains("PORT") && value.parse() == Ok(real.port) {
        return Some(own.to_string());
    }
    let (host, port) = host_and_port(value, None)?;
    real.is(host, port).then(|| format!("127.0.0.1:{own}"))
}

fn host_and_port(place: &str, default: Option<u16>) -> Option<(&str, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match port.strip_prefix(':') {
        None | Some("") => default?,
        Some(port) => port.parse().ok()?,
    };
    Some((host, port))
}

/// All but letters and digits as a URL has it.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced_at(real: &str, variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let real = Place::of(&RedisUrl::parse(real).unwrap()).unwrap();
        replaced(variables.iter().copied(), &[real], 7000).into_iter().collect()
    }

    #[test]
    fn whatever_leads_to_the_real_redis_leads_to_the_other_one() {
        for (name, value, expect) in [
            ("REDIS_URL", "redis://10.0.0.5", "redis://127.0.0.1:7000"),
            ("REDIS_URL", " redis://10.0.0.5:6379/3\n", "redis://127.0.0.1:7000/3"),
            ("CACHE", "rediss://me:s%40:@x@10.0.0.5:6379/1?a=b#insecure", "redis://me:s%40:@x@127.0.0.1:7000/1?a=b"),
            ("QUEUE", "valkeys://10.0.0.5", "valkey://127.0.0.1:7000"),
            ("Q", "tcp://10.0.0.5:6379", "tcp://127.0.0.1:7000"),
            ("redis_host", "10.0.0.5", "127.0.0.1"),
            ("REDIS_PORT", "6379", "7000"),
            ("APP_REDIS_ADDRESS", "10.0.0.5:6379", "127.0.0.1:7000"),
        ] {
            let found = replaced_at("redis://:pw@10.0.0.5/1", &[(name, value)]);
            assert_eq!(found, [(name.to_owned(), expect.to_owned())]);
        }
        let six = [("A", "redis://u:p@[FD00::5]:6380"), ("REDIS_HOST", "fd00::5"), ("REDIS_AT", "[fd00::5]:6380")];
        let found: Vec<String> = replaced_at("redis://[fd00::5]:6380", &six).into_iter().map(|(_, it)| it).collect();
        assert_eq!(found, ["redis://u:p@127.0.0.1:7000", "127.0.0.1:7000", "127.0.0.1"]);
    }

    #[test]
    fn whatever_leads_elsewhere_stays() {
        let others = [
            ("REDIS_URL", "redis://10.0.0.6"),
            ("OTHER_PORT_URL", "redis://10.0.0.5:6380"),
            ("API", "http://10.0.0.5/x"),
            ("PG", "postgres://u:p@10.0.0.5:5432/app"),
            ("GIT_HOST", "10.0.0.5"),
            ("PORT", "6379"),
            ("REDIS_DB", "6"),
            ("REDIS_NOTE", "see redis://"),
            ("REDIS_PASSWORD", "hush"),
            ("NOTHING", ""),
        ];
        assert_eq!(replaced_at("redis://10.0.0.5", &others), []);
    }

    #[test]
    fn an_own_url_has_the_same_account_and_database() {
        for url in
            ["redis://us%20er:p%40s%2Fs:@h/3", "redis://:pw@h", "redis://h/1", "/run/redis.sock?db=2&password=a%26b"]
        {
            let real = RedisUrl::parse(url).unwrap();
            let own = RedisUrl::parse(&own_url(&real, 7000)).unwrap();
            let settings = |url: &RedisUrl| format!("{:?}", url.connection_info().redis_settings().clone());
            assert_eq!((settings(&own), Place::of(&own).map(|it| it.port)), (settings(&real), Some(7000)), "{url}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(name in "[A-Z_]{0,8}", value in "[a-z0-9:/@\\[\\]#?.é]{0,30}") {
            let real = Place { host: "a".to_owned(), port: 1 };
            let _ = replaced([(name.as_str(), value.as_str())], &[real], 7000);
        }
    }
}
