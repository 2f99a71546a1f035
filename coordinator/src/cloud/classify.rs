//! Classifies EC2's errors by what to do about them. Compares codes, never messages.

use std::error::Error;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use spillway_brain::RefusalClass;

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
            let message = metadata.message().unwrap_or("no message").trim_end_matches('.').to_owned();
            return Refused { class: class_of(&code, status), code, message };
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
            _ => (RefusalClass::Fatal, "BadRequest"),
        };
        Refused { class, code: code.to_owned(), message: innermost(&error) }
    }
}

/// The class of an error code with an HTTP status.
pub fn class_of(code: &str, status: u16) -> RefusalClass {
    match code {
        "RequestLimitExceeded"
        | "EC2ThrottledException"
        | "InternalError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "Unavailable"
        | "RequestExpired" => RefusalClass::Retry,
        _ if code.starts_with("Throttling") => RefusalClass::Retry,
        "InsufficientInstanceCapacity"
        | "UnfulfillableCapacity"
        | "SpotMaxPriceTooLow"
        | "Unsupported"
        | "InsufficientFreeAddressesInSubnet"
        | "InsufficientHostCapacity"
        | "InsufficientCapacityOnOutpost" => RefusalClass::Capacity,
        "MaxSpotInstanceCountExceeded" | "VcpuLimitExceeded" | "MaxFleetCountExceeded" | "InstanceLimitExceeded" => {
            RefusalClass::Quota
        }
        "UnauthorizedOperation"
        | "IdempotentParameterMismatch"
        | "InvalidParameterValue"
        | "OptInRequired"
        | "PendingVerification"
        | "Blocked" => RefusalClass::Fatal,
        _ if is_fatal_family(code) => RefusalClass::Fatal,
        _ if status >= 500 => RefusalClass::Retry,
        // Unknown: retried after a long back-off, with an alert for the operator.
        _ => RefusalClass::Quota,
    }
}

fn is_fatal_family(code: &str) -> bool {
    [
        "AuthFailure",
        "InvalidAMIID",
        "InvalidLaunchTemplate",
        "InvalidUserData",
        "InvalidClientTokenId",
        "UnrecognizedClient",
    ]
    .iter()
    .any(|family| code.starts_with(family))
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
        use RefusalClass::{Capacity, Fatal, Quota, Retry};
        for (code, status, class) in [
            ("RequestLimitExceeded", 503, Retry),
            ("ThrottlingException", 400, Retry),
            ("SomethingNew", 500, Retry),
            ("InsufficientInstanceCapacity", 500, Capacity),
            ("SpotMaxPriceTooLow", 400, Capacity),
            ("VcpuLimitExceeded", 400, Quota),
            ("SomethingNew", 400, Quota),
            ("UnauthorizedOperation", 403, Fatal),
            ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", 403, Fatal),
            ("InvalidAMIID.NotFound", 400, Fatal),
            ("InvalidLaunchTemplateName.NotFoundException", 400, Fatal),
            ("IdempotentParameterMismatch", 400, Fatal),
        ] {
            assert_eq!(class_of(code, status), class, "{code} {status}");
        }
    }
}
