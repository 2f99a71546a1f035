//! Who this instance is. Owns the source: the metadata service, or `SPILLWAY_INSTANCE_ID` where there is
//! none; never invents it. How it is proven is `proof`'s.

pub mod proof;

use std::time::Duration;

use tokio::time::sleep;

use crate::imds::{Document, Imds, ImdsError, back_off};

/// After the first attempt that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Where identity and notices come from, as the environment has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The metadata service, at another endpoint than EC2's where one is given.
    Imds(Option<String>),
    /// A name given from outside: development, without EC2.
    Given(String),
    /// The metadata service is switched off by the environment, and no name is given.
    Nothing,
}

impl Origin {
    /// Reads `SPILLWAY_INSTANCE_ID`, `AWS_EC2_METADATA_SERVICE_ENDPOINT` and `AWS_EC2_METADATA_DISABLED`.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name| variable(name).filter(|value| !value.is_empty());
        let disabled = get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        match (get("SPILLWAY_INSTANCE_ID"), get("AWS_EC2_METADATA_SERVICE_ENDPOINT")) {
            (_, Some(endpoint)) if !disabled => Self::Imds(Some(endpoint)),
            (Some(name), _) => Self::Given(name),
            (None, _) if disabled => Self::Nothing,
            (None, _) => Self::Imds(None),
        }
    }

    /// The metadata service, where there is one.
    pub fn imds(&self) -> Result<Option<Imds>, ImdsError> {
        match self {
            Self::Imds(endpoint) => Imds::new(endpoint.as_deref()).map(Some),
            Self::Given(_) | Self::Nothing => Ok(None),
        }
    }
}

/// Polls until the metadata service answers.
pub async fn learn(imds: &mut Imds) -> Document {
    let mut failures = 0_u32;
    loop {
        match imds.document().await {
            Ok(document) => return document,
            Err(error) => tracing::warn!(problem = %error, "cannot read the instance identity; will retry"),
        }
        sleep(back_off(PAUSE, failures)).await;
        failures = failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_where_identity_comes_from() {
        let table: &[(&[(&str, &str)], Origin)] = &[
            (&[], Origin::Imds(None)),
            (&[("SPILLWAY_INSTANCE_ID", "dev")], Origin::Given("dev".into())),
            (&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://h")], Origin::Imds(Some("http://h".into()))),
            (
                &[("SPILLWAY_INSTANCE_ID", "dev"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://h")],
                Origin::Imds(Some("http://h".into())),
            ),
            (&[("SPILLWAY_INSTANCE_ID", ""), ("AWS_EC2_METADATA_DISABLED", "true")], Origin::Nothing),
        ];
        for (variables, expect) in table {
            let variables: std::collections::BTreeMap<_, _> = variables.iter().copied().collect();
            assert_eq!(Origin::of(|name| variables.get(name).map(|value| (*value).to_owned())), *expect);
        }
    }
}
