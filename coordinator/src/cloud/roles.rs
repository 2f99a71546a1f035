//! The roles that launches rest on, as IAM has them: the service-linked role for spot, and the one that instances
//! have. For `spillway doctor`; reads alone. IAM is one for a whole partition: the SDK knows its endpoint by the
//! region.

use super::{Cloud, Refused};

/// By which EC2 launches spot instances: one for each account.
pub const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";
/// IAM's word for what does not exist.
const NONE_SUCH: &str = "NoSuchEntity";

/// A role of an instance profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    /// The policy that says who may assume it, in JSON; empty where IAM does not tell it.
    pub trust: String,
}

impl Cloud {
    /// Whether the account has the service-linked role for spot.
    pub async fn has_spot_role(&self) -> Result<bool, Refused> {
        let answer = self.iam().get_role().role_name(SPOT_ROLE).send().await.map_err(Refused::from);
        match answer {
            Ok(_) => Ok(true),
            Err(refused) if refused.code == NONE_SUCH => Ok(false),
            Err(refused) => Err(refused),
        }
    }

    /// The role of an instance profile; None where there is no profile of this name, or it has no role. IAM tells the
    /// role with its profile: one permission is enough.
    pub async fn role_of_profile(&self, profile: &str) -> Result<Option<Role>, Refused> {
        let answer = self.iam().get_instance_profile().instance_profile_name(profile).send().await;
        let answer = match answer.map_err(Refused::from) {
            Ok(answer) => answer,
            Err(refused) if refused.code == NONE_SUCH => return Ok(None),
            Err(refused) => return Err(refused),
        };
        let role = answer.instance_profile().and_then(|profile| profile.roles().first());
        Ok(role.map(|role| Role {
            name: role.role_name().to_owned(),
            trust: decoded(role.assume_role_policy_document().unwrap_or_default()),
        }))
    }

    fn iam(&self) -> aws_sdk_iam::Client {
        aws_sdk_iam::Client::new(&self.config)
    }
}

/// What IAM sends percent-encoded. A plus stands for itself, unlike in a form.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_decoded_whatever_they_are() {
        for (encoded, text) in [
            ("%7B%22a%22%3A%20%22b%2Bc+d%22%7D", "{\"a\": \"b+c+d\"}"),
            ("{\"plain\":1}", "{\"plain\":1}"),
            ("%", "%"),
            ("%2", "%2"),
            ("%zz%+f", "%zz%+f"),
            ("%ff", "\u{fffd}"),
            ("ä%C3%A4", "ää"),
        ] {
            assert_eq!(decoded(encoded), text, "{encoded}");
        }
    }
}
