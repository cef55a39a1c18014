//! Why AWS did not do what it was asked, and what to do about it.

use std::time::Duration;

use crate::operation::Operation;

/// What the SDK says.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody has said which region.
    #[error("failed to find the AWS region: give --aws-region, or set AWS_REGION")]
    Region,
    /// Our own limit.
    #[error("failed to {operation}: too many requests of our own wait already; it is tried again")]
    Busy {
        /// What was asked for.
        operation: Operation,
    },
    /// The account's limit.
    #[error(
        "failed to {operation}: AWS throttles this account ({message}); it is tried again later, and other programs that \
         ask too often are to be slowed down"
    )]
    Throttled {
        /// What was asked for.
        operation: Operation,
        /// AWS's words.
        message: String,
    },
    /// There are none, or they can't be had.
    #[error(
        "failed to {operation}: there are no AWS credentials; give the service account a role (IRSA or Pod Identity), or \
         set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    NoCredentials {
        /// What was asked for.
        operation: Operation,
        /// What was looked for where.
        #[source]
        source: Source,
    },
    /// They have expired, or AWS doesn't know them.
    #[error(
        "failed to {operation}: AWS does not take the credentials ({code}: {message}); renew them, and check the clock of \
         this machine"
    )]
    Credentials {
        /// What was asked for.
        operation: Operation,
        /// AWS's code.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// The role lacks a right.
    #[error("failed to {operation}: the role may not; allow it the action {action} ({message})", action = .operation.action())]
    Denied {
        /// What was asked for.
        operation: Operation,
        /// AWS's words.
        message: String,
    },
    /// A write may have been done nevertheless.
    #[error("failed to {operation} within {limit:?}: no answer; whether it was done must be read")]
    TimedOut {
        /// What was asked for.
        operation: Operation,
        /// How long was waited.
        limit: Duration,
    },
    /// No connection. A write may have been done nevertheless.
    #[error("failed to reach AWS to {operation}: check the network, the region, and AWS_ENDPOINT_URL if it is set")]
    Unreachable {
        /// What was asked for.
        operation: Operation,
        /// What happened.
        #[source]
        source: Source,
    },
    /// AWS has trouble of its own, or another change is under way.
    #[error("failed to {operation}: AWS can't now ({code}: {message}); it is tried again later")]
    Unavailable {
        /// What was asked for.
        operation: Operation,
        /// AWS's code.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// Deleted, or never there.
    #[error(
        "failed to {operation}: there is no Auto Scaling group {group:?} any more; nothing is left to be done for it"
    )]
    GroupGone {
        /// What was asked for.
        operation: Operation,
        /// The group.
        group: String,
    },
    /// Two actions of a group never start at the same time.
    #[error(
        "failed to {operation}: group {group:?} has a scheduled action with that start already; choose another minute"
    )]
    StartTimeTaken {
        /// What was asked for.
        operation: Operation,
        /// The group.
        group: String,
    },
    /// It must be in the future.
    #[error("failed to {operation}: the start for group {group:?} has passed; choose a later one, and check the clock")]
    StartTimePast {
        /// What was asked for.
        operation: Operation,
        /// The group.
        group: String,
    },
    /// Anything else that AWS does not do.
    #[error("failed to {operation}: AWS refuses it ({code}): {message}")]
    Refused {
        /// What was asked for.
        operation: Operation,
        /// AWS's code.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// What came is no answer of AWS.
    #[error("failed to read the answer to {operation}: {what}; is AWS_ENDPOINT_URL right?")]
    Malformed {
        /// What was asked for.
        operation: Operation,
        /// What is wrong with it.
        what: String,
    },
}

impl Error {
    /// In one word, for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Busy { .. } => "busy",
            Self::Throttled { .. } => "throttled",
            Self::NoCredentials { .. } | Self::Credentials { .. } => "credentials",
            Self::Denied { .. } => "denied",
            Self::TimedOut { .. } => "timed_out",
            Self::Unreachable { .. } => "unreachable",
            Self::Unavailable { .. } => "unavailable",
            Self::GroupGone { .. } => "group_gone",
            Self::StartTimeTaken { .. } => "start_time_taken",
            Self::StartTimePast { .. } => "start_time_past",
            Self::Refused { .. } => "refused",
            Self::Malformed { .. } => "malformed",
        }
    }

    /// Whether the same may go well a little later.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::Throttled { .. }
                | Self::TimedOut { .. }
                | Self::Unreachable { .. }
                | Self::Unavailable { .. }
        )
    }

    /// Whether a write may have been done although this came back.
    pub const fn is_uncertain(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. } | Self::Unreachable { .. } | Self::Unavailable { .. } | Self::Malformed { .. }
        )
    }
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
