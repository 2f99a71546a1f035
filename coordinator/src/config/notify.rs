//! Settings of `[notify]`, checked: where messages go, and when the digest is sent.

use std::fmt;

use spillway_attention::Schedule;

/// Who is told of what needs a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// None: nobody.
    pub webhook: Option<WebhookUrl>,
    pub digest: Schedule,
}

/// A webhook's URL. Whoever knows it can write there: it is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(pub(super) String);

impl WebhookUrl {
    /// For the request alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookUrl(***)")
    }
}
