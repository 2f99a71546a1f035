//! Classifies EC2's errors by what to do about them: by `codes.txt`, and by the status where it does not know the code.
//! Compares codes, never messages.

use std::error::Error;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use spillway_brain::RefusalClass;

use super::codes;

const MESSAGE_CHARS: usize = 300;

/// A call that EC2 refused, or did not answer: then it may have been carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refused {
    pub class: RefusalClass,
    /// EC2's error code, or why there was no answer.
    pub code: String,
    pub message: String,
}

impl<E: ProvideErrorMetadata + Error + 'static> From<SdkError<E, HttpResponse>> for Refused {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        if let SdkError::ServiceError(service) = &error {
            let status = service.raw().status().as_u16();
            let metadata = service.err().meta();
            let code = metadata.code().unwrap_or("UnknownError").to_owned();
            let message = metadata.message().unwrap_or("no message").trim().trim_end_matches('.');
            if message.len() > MESSAGE_CHARS {
                tracing::warn!(code, detail = message, "EC2 refused a call: its whole message");
            }
            return Refused { class: class_of(&code, status), code, message: cut(message) };
        }
        let (class, code) = match &error {
            SdkError::TimeoutError(_) => (RefusalClass::Retry, "NoAnswer"),
            SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
                (RefusalClass::Retry, "Unreachable")
            }
            // For example without credentials: a role may be attached, or its credentials renewed, at any time.
            SdkError::DispatchFailure(_) => (RefusalClass::Retry, "NotSent"),
            SdkError::ResponseError(_) => (RefusalClass::Retry, "AnswerUnreadable"),
            // The request could not be built: a setting is wrong.
            _ => (RefusalClass::Configuration, "BadRequest"),
        };
        Refused { class, code: code.to_owned(), message: innermost(&error) }
    }
}

/// The class of an error code with an HTTP status.
pub fn class_of(code: &str, status: u16) -> RefusalClass {
    let family = code.split('.').next().unwrap_or_default();
    match codes::class_of(code).or_else(|| codes::class_of(family)) {
        Some(class) => class,
        _ if code.starts_with("Throttl") || status == 429 => RefusalClass::Retry,
        // As the documentation says of every resource: `Client.Invalid<Resource>.NotFound`.
        _ if code.starts_with("Invalid") && (code.ends_with("NotFound") || code.ends_with("Malformed")) => {
            RefusalClass::Configuration
        }
        _ if status >= 500 => RefusalClass::Retry,
        _ => RefusalClass::Unknown,
    }
}

/// EC2's words, at most so many of them that status and ledger stay readable: an encoded authorization failure alone
/// has more than a thousand characters. The log has it all.
fn cut(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_CHARS) {
        None => message.to_owned(),
        Some((end, _)) => format!("{} …", message[..end].trim_end()),
    }
}

/// The innermost cause says what happened ("connection refused"); the outer ones only that the call failed.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    // After the first line the SDK lists what it tried.
    let text = cause.to_string();
    text.lines().next().unwrap_or_default().trim_end_matches(" Attempted:").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_classified_by_what_to_do() {
        use RefusalClass::{Capacity, Configuration, Permission, Quota, Retry, TokenEnded, TokenUsed, Unknown};
        for (code, status, class) in [
            ("RequestLimitExceeded", 503, Retry),
            ("ThrottlingException", 400, Retry),
            ("ThrottledByTheNextVersion", 400, Retry),
            ("SomethingNew", 500, Retry),
            ("SomethingNew", 429, Retry),
            ("InvalidInstanceID.NotFound", 400, Retry),
            ("InsufficientInstanceCapacity", 500, Capacity),
            ("Server.InsufficientInstanceCapacity", 500, Capacity),
            ("SpotMaxPriceTooLow", 400, Capacity),
            ("VcpuLimitExceeded", 400, Quota),
            ("UnauthorizedOperation", 403, Permission),
            ("PendingVerification", 400, Permission),
            ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", 403, Permission),
            ("AuthFailure.SomethingNew", 401, Permission),
            ("InvalidAMIID.NotFound", 400, Configuration),
            ("InvalidLaunchTemplateName.NotFoundException", 400, Configuration),
            ("InvalidSubnetID.NotFound", 400, Configuration),
            ("InvalidGroup.NotFound", 400, Configuration),
            ("InvalidParameterCombination", 400, Configuration),
            ("InvalidNewResourceID.NotFound", 400, Configuration),
            ("IdempotentParameterMismatch", 400, TokenUsed),
            ("IdempotentInstanceTerminated", 400, TokenEnded),
            ("SomethingNew", 400, Unknown),
            ("", 403, Unknown),
        ] {
            assert_eq!(class_of(code, status), class, "{code} {status}");
        }
    }

    #[test]
    fn long_messages_are_cut() {
        assert_eq!(cut("not authorized"), "not authorized");
        let long = cut(&"ö".repeat(2 * MESSAGE_CHARS));
        assert_eq!(long, format!("{} …", "ö".repeat(MESSAGE_CHARS)));
    }
}
