//! What is written to the cloud for a floor: never a desired capacity.

use std::fmt;

use crate::tag::Tag;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Writes the tag [`crate::group::FLOOR_TAG`], not propagated to instances.
    Tag(Tag),
    /// Makes or moves the one-time scheduled action [`crate::group::RELEASE_ACTION`], which sets `MinSize` alone.
    Schedule {
        /// The `MinSize` that it sets.
        base: u32,
        /// When it runs, milliseconds since 1970 UTC, whole seconds.
        start_ms: i64,
    },
    /// Sets `MinSize` alone.
    SetMin(u32),
    /// Deletes the scheduled action; that there is none is as good.
    Unschedule,
    /// Deletes the tag.
    Untag,
}

/// Sooner than so long ahead no release is scheduled.
const AHEAD_MS: i64 = 4 * 60_000;

impl Write {
    /// The same a minute earlier, for a scheduled release at whose time another is to start: AWS takes no two. None if
    /// there is no time left for that.
    pub fn a_minute_earlier(&self, now_ms: i64) -> Option<Self> {
        match *self {
            Self::Schedule { base, start_ms } if start_ms - 60_000 >= now_ms + AHEAD_MS => Some(Self::Schedule {
                base,
                start_ms: start_ms - 60_000,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(out, "tag the group: {tag}"),
            Self::Schedule { base, start_ms } => {
                let at = jiff::Timestamp::from_millisecond(*start_ms).unwrap_or_default();
                write!(out, "schedule MinSize {base} at {at}")
            }
            Self::SetMin(nodes) => write!(out, "set MinSize to {nodes}"),
            Self::Unschedule => write!(out, "delete the scheduled release"),
            Self::Untag => write!(out, "delete the tag"),
        }
    }
}
