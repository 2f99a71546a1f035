//! URLs as ioredis reads them: each of this table was read by ioredis too, or is refused.

use spillway_redis_url::{RedisUrl, RedisUrlError};

/// What is shown, and the password.
fn read(url: &str) -> Result<(String, Option<String>), RedisUrlError> {
    let url = RedisUrl::parse(url)?;
    Ok((url.to_string(), url.connection_info().redis_settings().password().map(str::to_owned)))
}

#[test]
fn a_url_is_read_as_ioredis_reads_it() {
    for (url, shown, password) in [
        ("redis://h:6379?db=1", "redis://h:6379/1", None),
        ("redis://h:6379/?db=1", "redis://h:6379/1", None),
        ("redis://h/2?db=1", "redis://h:6379/2", None),
        ("redis://h?db=1&db=2", "redis://h:6379/2", None),
        ("redis://:p@h", "redis://:***@h:6379", Some("p")),
        ("redis://u@h:1/3", "redis://h:1/3", None),
        ("redis://:p%40ss@h", "redis://:***@h:6379", Some("p@ss")),
        ("redis://:p@ss@h", "redis://:***@h:6379", Some("p@ss")),
        ("redis://u:p:q@h", "redis://u:***@h:6379", Some("p:q")),
        ("redis://%75:p@h", "redis://u:***@h:6379", Some("p")),
        ("redis://u:@h", "redis://h:6379", None),
        ("redis://h:6379?password=p@x&username=u", "redis://u:***@h:6379", Some("p@x")),
        ("redis://[::1]:7/1", "redis://[::1]:7/1", None),
        ("REDIS://H:1/1", "redis://H:1/1", None),
        ("rediss://h/1?family=6&connectTimeout=5000&unknown=x", "rediss://h:6379/1", None),
        ("rediss://h#insecure", "rediss://h:6379", None),
        ("/tmp/s.sock", "unix:///tmp/s.sock", None),
        ("/tmp/s.sock?db=3", "unix:///tmp/s.sock?db=3", None),
        ("unix:///tmp/s.sock?db=3", "unix:///tmp/s.sock?db=3", None),
        ("redis+unix:///tmp/s?user=u&pass=p", "unix://u:***@/tmp/s", Some("p")),
        (" redis://h:1\n", "redis://h:1", None),
        ("valkey://h:1", "redis://h:1", None),
    ] {
        let expect = Ok((shown.to_owned(), password.map(str::to_owned)));
        assert_eq!(read(url), expect, "{url}");
    }
}

#[test]
fn what_is_refused_says_what_to_write() {
    for (url, remedy) in [
        ("redis://:pa/ss@h:6379", "/ as %2F"),
        ("redis://:pa#ss@h:6379", "# as %23"),
        ("redis://:pa?ss@h:6379", "? as %3F"),
        ("redis://:p?db=1@h", "? as %3F"),
        ("redis://u:pa?ss@h", "? as %3F"),
        ("redis://:100%@h", "% as %25"),
        ("redis://:sesame", "redis://USER:PASSWORD@HOST:6379"),
        ("redis://", "redis://HOST:6379"),
        ("redis:///1", "redis://HOST:6379"),
        ("redis://:6379", "redis://HOST:6379"),
        ("redis://h/abc", "/1 for database 1"),
        ("rediss://h/1/2", "/1 for database 1"),
        ("redis://h//1", "/1 for database 1"),
        ("redis://h?db=x", "/1 for database 1"),
        ("redis://h?db=-1", "/1 for database 1"),
        ("redis://h:99999", "HOST:6379"),
        ("redis://h:0", "HOST:6379"),
        ("redis://h h:1", "HOST:6379"),
        ("redis://[::1", "HOST:6379"),
        ("redis://h?keyPrefix=x", "prefix"),
        ("redis://h?tls=true", "rediss://"),
        ("redis://h?sentinels=x", "master"),
        ("redis://h/1#x", "remove it"),
        ("http://h:6379", "redis://HOST"),
        ("h:6379", "redis://HOST"),
        ("6379", "redis://HOST"),
        ("", "redis://HOST"),
        ("unix://tmp/s", "redis+unix:///PATH"),
    ] {
        let error = read(url).expect_err(url).to_string();
        assert!(error.contains(remedy), "{url}: {error}");
    }
}

#[test]
fn the_database_is_part_of_the_address_that_is_shown() {
    let address = |url: &str| RedisUrl::parse(url).expect(url).address();
    assert_eq!(address("redis://u:p@h"), "h:6379");
    assert_eq!(address("redis://u:p@h?db=4"), "h:6379/4");
    assert_eq!(address("/tmp/s"), "/tmp/s");
}

proptest::proptest! {
    /// However a password is mistaken for something else: it is not shown.
    #[test]
    fn a_password_is_never_shown(
        scheme in "redis|rediss|valkey|http|unix|redis\\+unix",
        user in "[a-z]{0,3}",
        before in "[@:/?#%&=.a-z0-9]{0,4}",
        after in "[@:/?#%&=.a-z0-9]{0,4}",
        place in "(h(:[0-9]{1,6})?)?(/[0-9a-z]{0,2})?",
    ) {
        let url = format!("{scheme}://{user}:{before}SESAME{after}@{place}");
        let shown = match RedisUrl::parse(&url) {
            Ok(url) => format!("{url} {url:?} {}", url.address()),
            Err(error) => format!("{error} {error:?}"),
        };
        // A socket's path is shown: there an @ is a letter like any other.
        let is_path = scheme.contains("unix") && user.is_empty() && shown.contains("unix://");
        proptest::prop_assert!(is_path || !shown.contains("SESAME"), "{} is shown as {}", url, shown);
    }

    #[test]
    fn any_text_is_a_url_or_an_error(text in "\\PC{0,60}|(redis|rediss|unix)://[\\PC]{0,40}") {
        let _ = RedisUrl::parse(&text).map(|url| url.address());
    }
}
