//! Why a gang waits.

use serde::{Deserialize, Serialize};

/// Why a gang waits and until when: on `/v1/gangs`, as an event on the driver, in metrics by code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitReason {
    /// What kind of reason.
    pub code: WaitCode,
    /// The reason in words, with what to do where the user can do something.
    pub text: String,
    /// Place in its queue, 1 = head.
    pub position: u64,
    /// Expected start, median, milliseconds since 1970; `None` while it can't be told.
    pub start_p50: Option<i64>,
    /// Expected start, 90th percentile, milliseconds since 1970.
    pub start_p90: Option<i64>,
    /// How many of the last gangs that were told when they would start have started.
    #[serde(default)]
    pub starts_told: u64,
    /// How many of these did no later than the median that they were told first.
    #[serde(default)]
    pub starts_held_p50: u64,
    /// The same for the 90th percentile.
    #[serde(default)]
    pub starts_held_p90: u64,
}

/// Kinds of reasons to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitCode {
    /// The profile isn't written yet.
    NoProfile,
    /// Others of the queue are ahead.
    BehindOthers,
    /// The whole minimum does not fit on the free room.
    NoRoom,
    /// Room is asked for and nodes are expected.
    NodesRequested,
    /// More than the cluster can ever hold.
    TooLarge,
    /// No node satisfies the pods' own rules.
    NoMatchingNode,
    /// The namespace's ResourceQuota has no room for the gang.
    ResourceQuota,
    /// A limit of the queue.
    QueueLimit,
    /// Another gate than KOMPASS's is closed.
    ForeignGate,
    /// A plan lost its room and is planned again.
    Replanning,
    /// The planner has just taken over and still catches up.
    TakingOver,
}

impl WaitCode {
    /// Every code, in a fixed order.
    pub const ALL: [Self; 11] = [
        Self::NoProfile,
        Self::BehindOthers,
        Self::NoRoom,
        Self::NodesRequested,
        Self::TooLarge,
        Self::NoMatchingNode,
        Self::ResourceQuota,
        Self::QueueLimit,
        Self::ForeignGate,
        Self::Replanning,
        Self::TakingOver,
    ];

    /// The code as it stands in JSON and in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoProfile => "no-profile",
            Self::BehindOthers => "behind-others",
            Self::NoRoom => "no-room",
            Self::NodesRequested => "nodes-requested",
            Self::TooLarge => "too-large",
            Self::NoMatchingNode => "no-matching-node",
            Self::ResourceQuota => "resource-quota",
            Self::QueueLimit => "queue-limit",
            Self::ForeignGate => "foreign-gate",
            Self::Replanning => "replanning",
            Self::TakingOver => "taking-over",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_the_same_in_json_and_in_labels() {
        for code in WaitCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
