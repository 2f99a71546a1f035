//! Checks of `[notify]`. The URL is a secret: no error repeats it.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use spillway_attention::Schedule;
use tonic::transport::Uri;

use super::Check;
use crate::config::{ConfigError, Notify, NotifySection, WebhookUrl};

pub(super) fn check(check: &Check<'_>, section: NotifySection) -> Result<Notify, ConfigError> {
    let NotifySection { webhook_url, digest_at, timezone } = section;
    let webhook = match webhook_url.filter(|url| !url.is_empty()) {
        Some(url) => Some(webhook(&url).map_err(|detail| check.bad("notify.webhook_url", detail))?),
        None => None,
    };
    let at = match digest_at.as_deref().unwrap_or("08:00") {
        "off" | "" => None,
        text => Some(time(text).ok_or_else(|| {
            let detail =
                format!("\"{text}\" is not a time of the day: write \"08:00\", for example, or \"off\" for no digest");
            check.bad("notify.digest_at", detail)
        })?),
    };
    let name = timezone.as_deref().filter(|name| !name.is_empty()).unwrap_or("UTC");
    let zone = TimeZone::get(name).map_err(|_| {
        let detail = format!(
            "\"{name}\" is not a time zone of the IANA database: write \"UTC\" or \"Europe/Berlin\", for example"
        );
        check.bad("notify.timezone", detail)
    })?;
    Ok(Notify { webhook, digest: Schedule { at, zone } })
}

/// Hours and minutes with two digits each.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let is_number = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| is_number(text).then(|| text.parse::<i8>().ok())?;
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

fn webhook(url: &str) -> Result<WebhookUrl, &'static str> {
    const WRITE: &str = "is not a webhook's URL: write https://HOST/PATH, as whoever receives the messages gives it";
    let uri: Uri = url.trim().parse().map_err(|_| WRITE)?;
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else { return Err(WRITE) };
    if authority.as_str().contains('@') {
        return Err("has a user before its host, which no webhook takes: remove what stands before the @");
    }
    // The request would go to the scheme's own port.
    let has_port = authority.as_str().len() > host.len();
    if has_port && uri.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is none: write a number from 1 to 65535 behind the host, or nothing");
    }
    match uri.scheme_str() {
        Some("https") => Ok(WebhookUrl(url.trim().to_owned())),
        Some("http") if is_loopback(host) => Ok(WebhookUrl(url.trim().to_owned())),
        Some("http") => {
            Err("would send the messages, and the URL, in plaintext: write https://; http:// is for this machine \
                             (127.0.0.1) alone")
        }
        _ => Err(WRITE),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
