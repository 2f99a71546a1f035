//! The temporary credentials of the instance profile, as the metadata service gives them out. Owns their reading; never
//! keeps them, since they are renewed several times a day.

use serde::Deserialize;

use super::{Imds, ImdsError};
use crate::secret::Secret;

const PATH: &str = "meta-data/iam/security-credentials";

/// What a request is signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// In the clear in every signature.
    pub access_key_id: String,
    /// Never leaves this instance.
    pub secret_access_key: Secret,
    /// Goes with every signature.
    pub session_token: Secret,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    code: String,
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

impl Imds {
    /// The instance profile's credentials; None where the instance has no profile.
    ///
    /// # Errors
    /// The service does not answer, or says that it has none yet.
    pub async fn credentials(&mut self) -> Result<Option<Credentials>, ImdsError> {
        let Some(roles) = self.get(&format!("{PATH}/")).await? else { return Ok(None) };
        // There is one role; a name that would lead to another path is none.
        let is_plain = |role: &&str| role.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#%".contains(&byte));
        let Some(role) = roles.lines().map(str::trim).find(|role| !role.is_empty()).filter(is_plain) else {
            return Ok(None);
        };
        let Some(text) = self.get(&format!("{PATH}/{role}")).await? else { return Ok(None) };
        credentials(&text).map(Some).ok_or(ImdsError::Unreadable("the instance profile's credentials"))
    }
}

fn credentials(text: &str) -> Option<Credentials> {
    let answer: Answer = serde_json::from_str(text).ok()?;
    (answer.code == "Success").then(|| Credentials {
        access_key_id: answer.access_key_id,
        secret_access_key: Secret::new(answer.secret_access_key),
        session_token: Secret::new(answer.token),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_own_example_is_read_and_what_failed_is_not() {
        let text = r#"{"Code":"Success","LastUpdated":"2026-11-27T10:00:00Z","Type":"AWS-HMAC",
            "AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"hush","Token":"also-hush","Expiration":"2026-11-27T16:00:00Z"}"#;
        let read = credentials(text).expect("credentials");
        assert_eq!((read.access_key_id.as_str(), read.secret_access_key.expose()), ("ASIAIOSFODNN7EXAMPLE", "hush"));
        assert!(!format!("{read:?}").contains("hush"), "{read:?}");
        let failed = text.replace("Success", "AssumeRoleUnauthorizedAccess");
        for text in [&*failed, "", "[]", "<html>", r#"{"Code":"Success"}"#] {
            assert_eq!(credentials(text), None, "{text}");
        }
    }
}
