//! What an error of the SDK means.

use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};

use crate::error::{Error, Source};
use crate::operation::Operation;

/// What an error of the SDK means for an operation on a group (empty if it is about none).
pub(crate) fn judge<E>(operation: Operation, group: &str, limit: Duration, error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let timed_out = Error::TimedOut { operation, limit };
    match error {
        SdkError::TimeoutError(_) => timed_out,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => timed_out,
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            let refusal = context.err();
            let code = refusal.code().unwrap_or_default();
            if code.is_empty() && status < 500 {
                let what = format!("status {status} without a code");
                return Error::Malformed { operation, what };
            }
            by_code(operation, group, status, code, refusal.message().unwrap_or_default())
        }
        SdkError::ResponseError(context) => Error::Malformed {
            operation,
            what: format!("status {}", context.raw().status().as_u16()),
        },
        other => {
            let source = Source::from(other);
            if is_about_credentials(&*source) {
                Error::NoCredentials { operation, source }
            } else {
                Error::Unreachable { operation, source }
            }
        }
    }
}

fn is_about_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<CredentialsError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// What AWS's code and words mean. The services don't agree on codes: each line has those of all of them.
fn by_code(operation: Operation, group: &str, status: u16, code: &str, message: &str) -> Error {
    let (code, message) = (code.to_owned(), words(message));
    let group = group.to_owned();
    match code.as_str() {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "SlowDown" => Error::Throttled { operation, message },
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => Error::Denied { operation, message },
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "AuthFailure"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "IncompleteSignature"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "RequestTimeTooSkewed" => Error::Credentials {
            operation,
            code,
            message,
        },
        "AlreadyExists" if operation == Operation::SCHEDULE => Error::StartTimeTaken { operation, group },
        "ResourceContention" | "ScalingActivityInProgress" => Error::Unavailable {
            operation,
            code,
            message,
        },
        "ValidationError" if says(&message, &["start time", "past"]) => Error::StartTimePast { operation, group },
        "ValidationError" if says(&message, &["group", "not found"]) => Error::GroupGone { operation, group },
        _ if status >= 500 => Error::Unavailable {
            operation,
            code,
            message,
        },
        _ => Error::Refused {
            operation,
            code,
            message,
        },
    }
}

/// Whether a message has all of these words. AWS's texts differ by operation and are no contract; what is not recognised
/// is told as it is.
pub(crate) fn says(message: &str, words: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    words.iter().all(|word| message.contains(word))
}

/// In one line, and not too long.
fn words(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    line.join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_says_what_to_do() {
        let put = Operation::SCHEDULE;
        for (operation, status, code, message, kind, words) in [
            (put, 400, "Throttling", "Rate exceeded", "throttled", "Rate exceeded"),
            (put, 503, "RequestLimitExceeded", "", "throttled", "later"),
            (put, 403, "ExpiredToken", "expired", "credentials", "renew them"),
            (
                put,
                403,
                "AccessDenied",
                "not authorized",
                "denied",
                "autoscaling:PutScheduledUpdateGroupAction",
            ),
            (
                Operation::DESCRIBE_TYPES,
                403,
                "UnauthorizedOperation",
                "",
                "denied",
                "ec2:DescribeInstanceTypes",
            ),
            (
                put,
                400,
                "AlreadyExists",
                "Scheduled action with this scheduled start time already exists",
                "start_time_taken",
                "another minute",
            ),
            (Operation::TAG, 400, "AlreadyExists", "x", "refused", "AlreadyExists"),
            (
                put,
                400,
                "ValidationError",
                "Given start time is in the past",
                "start_time_past",
                "a later one",
            ),
            (
                Operation::UPDATE_GROUP,
                400,
                "ValidationError",
                "AutoScalingGroup name not found - null",
                "group_gone",
                "\"g\"",
            ),
            (
                Operation::UNSCHEDULE,
                400,
                "ValidationError",
                "Scheduled action name not found",
                "refused",
                "Scheduled action name not found",
            ),
            (put, 500, "InternalFailure", "", "unavailable", "later"),
            (
                put,
                400,
                "ResourceContention",
                "pending update",
                "unavailable",
                "pending",
            ),
        ] {
            let error = by_code(operation, "g", status, code, message);
            assert_eq!(error.kind(), kind, "{code} {message}");
            let text = error.to_string();
            assert!(text.starts_with("failed to ") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn long_words_are_cut() {
        let error = by_code(Operation::TAG, "g", 400, "Other", &"a\nb ".repeat(1_000));
        let text = error.to_string();
        assert!(text.len() < 400 && !text.contains('\n'), "{text}");
    }
}
