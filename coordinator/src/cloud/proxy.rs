//! Which request goes through a proxy. The tunnels and the matching of hosts are the SDK's and hyper's own; they are
//! combined here, since the SDK's `ProxyConfig` has either the variables of the process or one proxy for one scheme,
//! and lets neither keep instance metadata from going through it.

use std::sync::Arc;

use aws_smithy_http_client::proxy::{ProxyConfig, ProxyError};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use hyper_util::client::proxy::matcher::Matcher;
use tonic::transport::Uri;

use crate::config::{Proxies, ProxyUrl};

/// Never through a proxy: this machine, and what only it can ask. The metadata of EC2, and the credentials of
/// containers.
const ALWAYS_DIRECT: &str = "localhost,127.0.0.0/8,::1,::ffff:127.0.0.0/104,169.254.0.0/16,fd00:ec2::/32";

/// A client that takes the proxy where a request's host and scheme ask for one.
///
/// # Errors
/// The SDK cannot use a proxy's URL.
pub(super) fn client(proxies: &Proxies) -> Result<SharedHttpClient, ProxyError> {
    let through = |proxy: &Option<ProxyUrl>| proxy.as_ref().map(|proxy| ProxyConfig::all(proxy.expose())).transpose();
    Ok(SharedHttpClient::new(Routed {
        direct: plain(ProxyConfig::disabled()),
        http: through(&proxies.http)?.map(plain),
        https: through(&proxies.https)?.map(plain),
        bypass: Bypass::of(proxies),
    }))
}

/// Requests that are no calls of the SDK's, over the same proxies and the same TLS. Follows no redirection.
///
/// # Errors
/// The SDK cannot use a proxy's URL.
pub(crate) fn connector(proxies: &Proxies) -> Result<SharedHttpConnector, ProxyError> {
    let plain = |proxy: ProxyConfig| {
        let connector = Connector::builder().proxy_config(proxy).tls_provider(Provider::Rustls(CryptoMode::Ring));
        SharedHttpConnector::new(connector.build())
    };
    let through = |proxy: &Option<ProxyUrl>| proxy.as_ref().map(|proxy| ProxyConfig::all(proxy.expose())).transpose();
    Ok(SharedHttpConnector::new(Connectors {
        direct: plain(ProxyConfig::disabled()),
        http: through(&proxies.http)?.map(plain),
        https: through(&proxies.https)?.map(plain),
        bypass: Bypass::of(proxies),
    }))
}

/// A client of which every request takes this proxy. As the SDK's own `build_https`, but for the proxy.
fn plain(proxy: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Connector::builder().proxy_config(proxy.clone());
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    })
}

/// Three clients, each with connections of its own.
#[derive(Debug)]
struct Routed {
    direct: SharedHttpClient,
    http: Option<SharedHttpClient>,
    https: Option<SharedHttpClient>,
    bypass: Bypass,
}

impl HttpClient for Routed {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let of = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(Connectors {
            direct: of(&self.direct),
            http: self.http.as_ref().map(of),
            https: self.https.as_ref().map(of),
            bypass: self.bypass.clone(),
        })
    }
}

#[derive(Debug)]
struct Connectors {
    direct: SharedHttpConnector,
    http: Option<SharedHttpConnector>,
    https: Option<SharedHttpConnector>,
    bypass: Bypass,
}

impl HttpConnector for Connectors {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let proxied = request.uri().parse().ok().filter(|uri| !self.bypass.has(uri)).and_then(|uri: Uri| {
            match uri.scheme_str() {
                Some("http") => self.http.as_ref(),
                Some("https") => self.https.as_ref(),
                _ => None,
            }
        });
        proxied.unwrap_or(&self.direct).call(request)
    }
}

/// What is reached without a proxy.
#[derive(Clone, Debug)]
struct Bypass(Arc<Vec<Rule>>);

/// Intercepts what needs a proxy; a rule with a port says nothing of other ports.
type Rule = (Matcher, Option<u16>);

impl Bypass {
    fn of(proxies: &Proxies) -> Self {
        // It intercepts whatever `no` does not name.
        let matcher = |no: String| Matcher::builder().all("http://proxy.invalid").no(no).build();
        let metadata = proxies.metadata.as_ref().and_then(|url| Some(url.parse::<Uri>().ok()?.host()?.to_owned()));
        let mut everywhere = vec![ALWAYS_DIRECT.to_owned()];
        everywhere.extend(metadata.map(|host| host.trim_matches(['[', ']']).to_owned()));
        let mut rules = Vec::new();
        for entry in &proxies.no_proxy {
            match split_port(entry) {
                (host, None) => everywhere.push(host.to_owned()),
                (host, port) => rules.push((matcher(host.to_owned()), port)),
            }
        }
        rules.push((matcher(everywhere.join(",")), None));
        Self(Arc::new(rules))
    }

    fn has(&self, uri: &Uri) -> bool {
        let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(usual);
        self.0.iter().any(|(matcher, only)| only.is_none_or(|only| only == port) && matcher.intercept(uri).is_none())
    }
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`, `ADDRESS` of IPv6, `*.SUFFIX`.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    let entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
    let split = entry.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    match split.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => (host.trim_matches(['[', ']']), Some(port)),
        None => (entry.trim_matches(['[', ']']), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_direct(no_proxy: &[&str], url: &str) -> bool {
        let no_proxy = no_proxy.iter().map(|it| (*it).to_owned()).collect();
        let metadata = Some("http://metadata.example:8080/x".to_owned());
        let proxies = Proxies { no_proxy, metadata, ..Proxies::default() };
        Bypass::of(&proxies).has(&url.parse().expect("a URL"))
    }

    #[test]
    fn this_machine_and_instance_metadata_are_never_reached_through_a_proxy() {
        for url in [
            "http://169.254.169.254/latest/api/token",
            "http://[fd00:ec2::254]/latest/api/token",
            "http://169.254.170.2/v2/credentials",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://127.0.0.1:7470/",
            "http://127.8.0.1:7470/",
            "http://localhost:7470/",
            "http://LOCALHOST/",
            "http://[::1]:7470/",
            "http://metadata.example:8080/latest",
        ] {
            assert!(is_direct(&[], url), "{url}");
        }
        for url in
            ["https://ec2.us-east-1.amazonaws.com/", "http://10.0.0.5/", "https://notlocalhost/", "http://[fd00::254]/"]
        {
            assert!(!is_direct(&[], url), "{url}");
        }
    }

    #[test]
    fn no_proxy_has_hosts_suffixes_networks_ports_and_everything() {
        let ec2 = "https://ec2.us-east-1.amazonaws.com/";
        for (entry, url, expect) in [
            ("ec2.us-east-1.amazonaws.com", ec2, true),
            ("EC2.us-east-1.AmazonAWS.com", ec2, true),
            ("amazonaws.com", ec2, true),
            (".amazonaws.com", ec2, true),
            ("*.amazonaws.com", ec2, true),
            ("zonaws.com", ec2, false),
            ("ec2", ec2, false),
            ("*", ec2, true),
            ("amazonaws.com:443", ec2, true),
            ("amazonaws.com:80", ec2, false),
            ("10.0.0.0/8", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("10.1.2.3:8080", "http://10.1.2.3:8080/", true),
            ("10.1.2.3:8080", "http://10.1.2.3/", false),
            ("fd00::/16", "http://[fd00::5]/", true),
            ("[fd00::5]:8080", "http://[fd00::5]:8080/", true),
            ("[fd00::5]:8080", "http://[fd00::5]:8081/", false),
            ("fd00::5", "http://[fd00::5]/", true),
        ] {
            assert_eq!(is_direct(&["other.example", entry], url), expect, "{entry} {url}");
        }
    }
}
