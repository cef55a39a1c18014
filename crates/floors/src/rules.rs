//! What floors are kept by, and why one is not raised.

use std::collections::BTreeSet;

use jiff::Timestamp;

const MINUTE_MS: i64 = 60_000;

/// `MinSize` of a group is written at most so often.
pub const WRITE_PAUSE_MS: i64 = MINUTE_MS;
/// So close to its start, before and after, the scheduled release is left alone: AWS may be running it.
pub const START_MARGIN_MS: i64 = 3 * MINUTE_MS;
/// AWS runs scheduled actions up to so late.
pub const LATE_MS: i64 = 2 * MINUTE_MS;
/// A floor is lowered at most so often, so that nodes between two gangs don't move it up and down.
pub const LOWER_PAUSE_MS: i64 = 5 * MINUTE_MS;
/// No floor ends sooner by itself: a third of it must be longer than [`START_MARGIN_MS`].
pub const TTL_MIN_MS: i64 = 12 * MINUTE_MS;

/// What floors are kept by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Who writes, for the tag.
    pub owner: String,
    /// A floor that nobody renews ends after so long; at least [`TTL_MIN_MS`].
    pub ttl_ms: i64,
    /// Instances are in service so long after they are asked for, or there are none to be had.
    pub boot_ms: i64,
    /// The tag by which the autoscaler finds its groups. Of others it does not read the `MinSize` anew.
    pub discovery_tag: String,
    /// Groups that the autoscaler is told of one by one (`--nodes`): it does not read their `MinSize` anew either. None where
    /// that is not known yet.
    pub listed: Option<BTreeSet<String>>,
}

/// Why a floor is not raised, or was given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only the API of EKS may change it.
    #[error("it belongs to an EKS node group, which only EKS may change; use capacity buffers")]
    Eks,
    /// The autoscaler would not notice.
    #[error("cluster-autoscaler does not find it by tags ({0} is missing), so that it would not notice a floor")]
    NotDiscovered(String),
    /// The autoscaler would not notice.
    #[error(
        "cluster-autoscaler is told of it by --nodes, so that it would not notice a floor; let it find the group by tags"
    )]
    Listed,
    /// Nobody could be asked yet.
    #[error("it is not known yet whether cluster-autoscaler is told of it by --nodes")]
    ListedUnknown,
    /// It could not be released, or not raised.
    #[error("its process {0} is suspended")]
    Suspended(String),
    /// Somebody else's.
    #[error("it has a scheduled action of somebody else: {0}")]
    ForeignAction(String),
    /// Somebody else's.
    #[error("it has a scaling policy: {0}")]
    Policy(String),
    /// It is about to change.
    #[error("{desired} instances are desired and {in_service} in service: it is on its way")]
    Unsettled {
        /// Wanted by the autoscaler.
        desired: u32,
        /// There.
        in_service: u32,
    },
    /// The autoscaler is at work, and writes sizes that it has worked out before.
    #[error("pods wait for the autoscaler to add nodes")]
    Pending,
    /// No room above what it has in any case.
    #[error("its MaxSize is {max}, and {base} instances it has in any case")]
    Full {
        /// Its `MaxSize`.
        max: u32,
        /// Its `MinSize`.
        base: u32,
    },
    /// `MinSize` is not what was written.
    #[error("its MinSize is {found}, which is not ours (base {base}, floor {floor}): hands off")]
    ForeignMin {
        /// What it is.
        found: u32,
        /// What it was before us.
        base: u32,
        /// What was written.
        floor: u32,
    },
    /// The release is gone or is another.
    #[error("somebody has changed or deleted the scheduled release: the floor is given back")]
    Tampered,
    /// AWS did not run the release.
    #[error("AWS has not run the scheduled release in time: the floor is given back")]
    Overdue,
    /// No instances are to be had.
    #[error("{in_service} of {floor} instances were in service after {minutes} minutes: the floor is given back")]
    NoCapacity {
        /// There.
        in_service: u32,
        /// Wanted.
        floor: u32,
        /// After so long.
        minutes: i64,
    },
    /// Its tag was changed.
    #[error("its tag kompass.dev/floor can't be read: delete it once MinSize is what it should be")]
    Malformed(#[source] crate::tag::Error),
    /// The release of a floor without a tag is on its way.
    #[error("a scheduled release of a floor without a tag is still to run")]
    Stray,
    /// After something went wrong.
    #[error("it is left alone until {}", at(*.until_ms))]
    BackingOff {
        /// When it is tried again, milliseconds since 1970 UTC.
        until_ms: i64,
    },
}

impl Refusal {
    /// Its name in metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Eks => "eks",
            Self::NotDiscovered(_) => "not-discovered",
            Self::Listed => "listed",
            Self::ListedUnknown => "listed-unknown",
            Self::Suspended(_) => "suspended",
            Self::ForeignAction(_) => "foreign-action",
            Self::Policy(_) => "policy",
            Self::Unsettled { .. } => "unsettled",
            Self::Pending => "pending",
            Self::Full { .. } => "full",
            Self::ForeignMin { .. } => "foreign-min",
            Self::Tampered => "tampered",
            Self::Overdue => "overdue",
            Self::NoCapacity { .. } => "no-capacity",
            Self::Malformed(_) => "malformed",
            Self::Stray => "stray",
            Self::BackingOff { .. } => "backing-off",
        }
    }

    /// All names, for metrics that start at 0.
    pub const CODES: [&'static str; 17] = [
        "eks",
        "not-discovered",
        "listed",
        "listed-unknown",
        "suspended",
        "foreign-action",
        "policy",
        "unsettled",
        "pending",
        "full",
        "foreign-min",
        "tampered",
        "overdue",
        "no-capacity",
        "malformed",
        "stray",
        "backing-off",
    ];

    /// Whether it passes by itself within a minute or two.
    pub const fn is_short(&self) -> bool {
        matches!(self, Self::Unsettled { .. } | Self::Pending | Self::ListedUnknown)
    }

    /// Whether something went wrong, so that the group is left alone for a while.
    pub const fn is_strike(&self) -> bool {
        matches!(
            self,
            Self::ForeignMin { .. } | Self::Tampered | Self::Overdue | Self::NoCapacity { .. }
        )
    }
}

fn at(at_ms: i64) -> Timestamp {
    Timestamp::from_second(at_ms.div_euclid(1_000)).unwrap_or_default()
}
