//! What STS answers: read strictly, since the whole identity is taken from it. One JSON document of a known form and
//! nothing behind it; a key that counts is there once.

use serde::Deserialize;
use thiserror::Error;

/// Whose signature it was, by STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub account: String,
    /// As in an ARN.
    pub partition: String,
    pub role: String,
    /// Of an instance profile's credentials: the instance's id.
    pub session: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Unreadable {
    #[error("its answer is no JSON of the form that GetCallerIdentity has")]
    NotJson,
    #[error("the ARN in its answer is of no assumed role")]
    NotARole,
    #[error("its answer contradicts itself")]
    Contradiction,
}

#[derive(Deserialize)]
struct Whole {
    #[serde(rename = "GetCallerIdentityResponse")]
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "GetCallerIdentityResult")]
    result: Told,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    account: String,
    arn: String,
    user_id: String,
}

/// Reads the body of an answer with status 200.
///
/// # Errors
/// It is not exactly what STS answers for an assumed role.
pub(super) fn read(body: &[u8]) -> Result<Caller, Unreadable> {
    // Serde would take a list for a structure.
    let is_object = body.first() == Some(&b'{') && !body.contains(&b'[');
    let whole: Whole = serde_json::from_slice(body).ok().filter(|_| is_object).ok_or(Unreadable::NotJson)?;
    let Told { account, arn, user_id } = whole.response.result;
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", partition, "sts", "", of_account, resource] = parts[..] else { return Err(Unreadable::NotARole) };
    let ["assumed-role", role, session] = resource.split('/').collect::<Vec<_>>()[..] else {
        return Err(Unreadable::NotARole);
    };
    let is_number = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    if role.is_empty() || session.is_empty() || !is_number {
        return Err(Unreadable::NotARole);
    }
    // It says the account twice, and the session.
    let of_user = user_id.split_once(':').map(|(_, session)| session);
    if of_account != account || of_user != Some(session) {
        return Err(Unreadable::Contradiction);
    }
    let (partition, role, session) = (partition.to_owned(), role.to_owned(), session.to_owned());
    Ok(Caller { account, partition, role, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Account":"123456789012",
        "Arn":"arn:aws:sts::123456789012:assumed-role/worker/i-0abc","UserId":"AROA1:i-0abc"},
        "ResponseMetadata":{"RequestId":"01234567-89ab-cdef-0123-456789abcdef"}}}"#;

    #[test]
    fn the_form_that_sts_has_is_read() {
        let caller = read(GOOD.as_bytes()).expect("read");
        let expect = ("123456789012", "aws", "worker", "i-0abc");
        assert_eq!((&*caller.account, &*caller.partition, &*caller.role, &*caller.session), expect);
    }

    #[test]
    fn whatever_is_not_exactly_that_is_refused() {
        let xml = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/worker/i-0abc\
                   </Arn></GetCallerIdentityResult></GetCallerIdentityResponse>";
        let twice = format!("{GOOD}{GOOD}");
        let behind = format!("{GOOD} x");
        let inside = format!(r#"{{"GetCallerIdentityResponse":"{}"}}"#, GOOD.replace('"', "\\\""));
        let listed = r#"[["123456789012","arn:aws:sts::123456789012:assumed-role/worker/i-0abc","AROA1:i-0abc"]]"#;
        let in_a_list = format!(r#"{{"GetCallerIdentityResponse":{{"GetCallerIdentityResult":{}}}}}"#, &listed[1..]);
        let key_twice = GOOD.replace(r#""Account""#, r#""Account":"123456789012","Account""#);
        for text in ["", "{}", "null", xml, &twice, &behind, &inside, listed, &in_a_list, &key_twice, "\u{feff}{}"] {
            assert_eq!(read(text.as_bytes()), Err(Unreadable::NotJson), "{text}");
        }
        for (from, to, why) in [
            ("assumed-role/worker/i-0abc", "assumed-role/worker/i-0abc/x", Unreadable::NotARole),
            ("assumed-role/worker/i-0abc", "assumed-role/worker", Unreadable::NotARole),
            ("assumed-role/worker/i-0abc", "assumed-role//i-0abc", Unreadable::NotARole),
            ("sts::123456789012:assumed-role/worker/i-0abc", "iam::123456789012:user/i-0abc", Unreadable::NotARole),
            ("\"Account\":\"123456789012\"", "\"Account\":\"123456789013\"", Unreadable::Contradiction),
            ("\"Account\":\"123456789012\"", "\"Account\":\"12\"", Unreadable::NotARole),
            ("AROA1:i-0abc", "AROA1:i-0abd", Unreadable::Contradiction),
            ("AROA1:i-0abc", "AROA1", Unreadable::Contradiction),
        ] {
            assert_eq!(read(GOOD.replace(from, to).as_bytes()), Err(why), "{to}");
        }
    }

    proptest::proptest! {
        #[test]
        fn damage_is_refused_or_changes_no_part_that_counts(at in 0..GOOD.len(), byte in proptest::prelude::any::<u8>()) {
            let mut body = GOOD.as_bytes().to_vec();
            body[at] = byte;
            if let Ok(caller) = read(&body) {
                // The id stands there twice: one changed byte makes it contradict itself.
                assert_eq!((caller.session.as_str(), caller.account.as_str()), ("i-0abc", "123456789012"));
            }
        }
    }
}
