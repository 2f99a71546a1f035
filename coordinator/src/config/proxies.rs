//! The HTTP proxies by which AWS is reached, from the variables that AWS's own clients read ("Using an HTTP proxy for
//! the AWS CLI"): of a variable that is set in both spellings the small one counts. Owns what a usable proxy is; which
//! request takes one is `cloud`'s.

use std::fmt;

use hyper_util::client::proxy::matcher::Matcher;
use tonic::transport::Uri;

use super::ConfigError;
use super::variables::{Variable, Variables};

const REMEDY: &str =
    "write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with special characters percent-encoded (@ is %40)";

/// The proxies, and what is reached without one.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http://`.
    pub http: Option<ProxyUrl>,
    /// For `https://`, as EC2 is.
    pub https: Option<ProxyUrl>,
    /// Hosts, suffixes, addresses and networks, each perhaps with a port; `*` is everything.
    pub no_proxy: Vec<String>,
    /// Another metadata service than EC2's: reached without a proxy as well.
    pub metadata: Option<String>,
}

/// `http://` or `https://`, which may have a user and a password.
#[derive(Clone)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    /// With its password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        write!(f, "{scheme}://{}", rest.rsplit('@').next().unwrap_or_default())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Proxies {
    /// # Errors
    /// A variable has no proxy's URL. Its value is not repeated: it may be half a password.
    pub(super) fn of(variables: &Variables) -> Result<Self, ConfigError> {
        let either = |small: &'static str| {
            let capital = small.to_uppercase();
            let found = variables.get(small).map(|it| (small.to_owned(), it));
            found.or_else(|| variables.get(&capital).map(|it| (capital, it)))
        };
        let proxy = |small| {
            let found = either(small).or_else(|| either("all_proxy"));
            found.map(|(name, variable)| checked(&name, variable)).transpose()
        };
        let no_proxy = either("no_proxy").map(|(_, variable)| variable.text.clone()).unwrap_or_default();
        let blank = |c: char| c == ',' || c.is_whitespace();
        Ok(Self {
            http: proxy("http_proxy")?,
            https: proxy("https_proxy")?,
            no_proxy: no_proxy.split(blank).filter(|it| !it.is_empty()).map(str::to_owned).collect(),
            metadata: variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").map(|it| it.text.clone()),
        })
    }
}

fn checked(name: &str, variable: &Variable) -> Result<ProxyUrl, ConfigError> {
    let text = variable.text.trim();
    let bad = |problem: &str| ConfigError::Bad {
        origin: variable.place.clone(),
        key: name.to_owned(),
        detail: format!("{problem}: {REMEDY}"),
    };
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    if scheme.starts_with("socks") {
        return Err(bad("is a SOCKS proxy, which is not supported"));
    }
    if !["http", "https"].contains(&scheme) {
        return Err(bad("is not a proxy's URL"));
    }
    let authority = rest.trim_end_matches('/');
    let host = authority.rsplit('@').next().unwrap_or_default();
    let is_placeholder = spillway_settings::in_value(text).is_some() || spillway_settings::in_variable(text).is_some();
    if is_placeholder || host.is_empty() || authority.matches('@').count() > 1 || authority.contains(['/', '?', '#']) {
        return Err(bad("is not a proxy's URL"));
    }
    let parsed: Uri = url.parse().map_err(|_| bad("is not a proxy's URL"))?;
    let written_port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
    if written_port.is_some() && parsed.port_u16().is_none_or(|port| port == 0) {
        return Err(bad("has no valid port"));
    }
    // The client's own reading of it: a URL that it cannot use, it would pass over and connect without a proxy.
    let any = Uri::from_static("https://example.invalid");
    match Matcher::builder().all(url.as_str()).build().intercept(&any) {
        Some(_) => Ok(ProxyUrl(url)),
        None => Err(bad("is not a proxy's URL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Proxies, ConfigError> {
        let pairs = pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Proxies::of(&Variables::of_process(&pairs))
    }

    fn shown(proxy: Option<ProxyUrl>) -> String {
        proxy.map(|it| it.expose().to_owned()).unwrap_or_default()
    }

    #[test]
    fn the_variables_are_those_of_awss_clients() {
        for (pairs, http, https) in [
            (&[][..], "", ""),
            (&[("HTTPS_PROXY", "http://p:3128")], "", "http://p:3128"),
            (&[("HTTP_PROXY", "http://p:3128")], "http://p:3128", ""),
            (&[("https_proxy", "http://small:1"), ("HTTPS_PROXY", "http://capital:1")], "", "http://small:1"),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "http://capital:1")], "", "http://capital:1"),
            (&[("ALL_PROXY", "http://all:1"), ("HTTPS_PROXY", "http://s:1")], "http://all:1", "http://s:1"),
            (&[("all_proxy", "p")], "http://p", "http://p"),
            (&[("HTTPS_PROXY", "proxy:3128/")], "", "http://proxy:3128/"),
            (&[("HTTPS_PROXY", "https://u:p%40ss@[fd00::1]:3128")], "", "https://u:p%40ss@[fd00::1]:3128"),
        ] {
            let proxies = of(pairs).unwrap_or_else(|error| panic!("{pairs:?}: {error}"));
            assert_eq!((shown(proxies.http), shown(proxies.https)), (http.to_owned(), https.to_owned()), "{pairs:?}");
        }
        let proxies = of(&[("NO_PROXY", "a, .b  10.0.0.0/8,,*")]).expect("proxies");
        assert_eq!(proxies.no_proxy, ["a", ".b", "10.0.0.0/8", "*"]);
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_by_the_variables_name_and_without_the_password() {
        for text in [
            "socks5://u:sesame@h:1",
            "ftp://u:sesame@h:1",
            "http://u:sesame@",
            "http://u:sesame@h:port",
            "http://u:sesame@h:0",
            "http://u:sesame@h:99999",
            "http://u:sesame#1@h:1",
            "http://u:sesame/1@h:1",
            "http://u:sesame@1@h:1",
            "http://u:sesame 1@h:1",
            "http://h:1/sesame",
            "http://sesame@<proxy>:3128",
            "\"http://u:sesame@h:1\"",
            "http://",
            "http:/sesame",
            "://sesame",
        ] {
            for name in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"] {
                let error = of(&[(name, text)]).map(|it| format!("{it:?}")).expect_err(text).to_string();
                assert!(error.contains(name) && error.contains("write http://HOST:PORT"), "{text}: {error}");
                assert!(!error.contains("sesame"), "{error}");
            }
        }
        let proxies = of(&[("ALL_PROXY", "http://u:sesame@h:1")]).expect("proxies");
        assert!(!format!("{proxies:?}").contains("sesame") && format!("{proxies:?}").contains("http://h:1"));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(https?://)?[a-z0-9:@/%.\\[\\]# é]{0,30}") {
            let _ = of(&[("ALL_PROXY", &text)]);
        }
    }
}
