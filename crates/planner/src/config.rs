//! The planner's limits. Every number has a reason beside it.

use std::str::FromStr;

/// Limits of the planner. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long a slot or room answered to Filter is kept for a pod that does not get bound.
    pub assume_ms: i64,
    /// After this long without a bind an ungated driver's plan is checked, and moved or dropped where the scheduler
    /// has shown that it can't use it.
    pub plan_check_ms: i64,
    /// After this long without a bind the plan of an ungated driver is dropped even if the scheduler has shown nothing.
    pub plan_hold_ms: i64,
    /// A gated driver without a profile is planned alone after this long: below the 4 minutes after which some
    /// operators give a driver up.
    pub profile_hold_ms: i64,
    /// After a refused or conflicting write the same is not tried again for this long unless the object has changed.
    pub retry_ms: i64,
    /// How many gangs may start before a gang of another queue, or a running gang that lost slots, that was passed over
    /// for lack of room: the bound on starvation between queues.
    pub overtakes_max: u64,
    /// So long before a driver is given up because it does not run, its gang goes before all others: for its image and its
    /// start.
    pub start_margin_ms: i64,
    /// Which nodes a gang gets, of those that have room for it, where its queue doesn't say.
    pub packing: Packing,
    /// Whether gangs may overtake the head of their queue while it waits for room.
    pub backfill: Backfill,
    /// How much later a head may start because of all that overtake it, in the worst case.
    pub backfill_delay_ms: i64,
    /// The worst case: so many times as long as nine of ten gangs like it runs a gang that overtakes.
    pub backfill_overrun: i64,
    /// How many gangs may overtake one head.
    pub backfills_max: u64,
    /// Of how many gangs the start must not be delayed with [`Backfill::Conservative`], at most.
    pub backfill_depth: usize,
    /// How many nodes, or kinds of nodes, are looked at for the sake of backfill in one decision, about: the next one goes
    /// on, and Filter comes between.
    pub backfill_nodes_per_decide: usize,
    /// How often it is looked at when waiting gangs will start; `None`: only when it is asked.
    pub forecast_ms: Option<i64>,
    /// How long a gang is expected to run while nothing at all is known.
    pub unknown_run_ms: i64,
    /// So many drivers per queue may be ungated without a plan; with more, no gate of that queue is opened.
    pub unplanned_max: usize,
    /// Executors reserved at least for a job with dynamic allocation, which by default starts with none: drivers alone
    /// would fill the cluster and none would ever get an executor.
    pub dynamic_floor: u64,
    /// For so long after its creation a node keeps room for DaemonSets whose pods have still to come.
    pub fresh_node_ms: i64,
    /// A slot that has been free for so long, while an executor of its gang sits beside the slots, is given up for it.
    pub compact_after_ms: i64,
    /// Slots of a job of fixed size for which it has created no executor for so long (ten times its own pause between
    /// batches, if that is more) are given up: Spark pauses a second. Ten times as long while it has created none at all,
    /// since much may come before Spark's own start in a driver.
    pub unclaimed_after_ms: i64,
    /// How long a gang lacks room before nodes are asked for.
    pub demand_after_ms: i64,
    /// How long one demand lasts.
    pub demand_ms: i64,
    /// Pause after a demand that brought nothing.
    pub demand_pause_ms: i64,
    /// Demands at once in one queue.
    pub demands_per_queue: usize,
    /// Demands at once.
    pub demands_max: usize,
    /// Pods in all demands together; a gang of more members is never asked for.
    pub demand_pods_max: u64,
    /// Whether empty nodes of a plan get markers.
    pub markers: bool,
    /// Not before the plan is this old: most executors come sooner, and no autoscaler is faster.
    pub marker_after_ms: i64,
    /// A pinned executor that can run nowhere is deleted after this long.
    pub stuck_executor_ms: i64,
    /// Packing runs in one call of `decide`: bounds how long Filter waits for the lock.
    pub packs_per_decide: u32,
    /// Orders in one call of `decide`, about.
    pub orders_per_decide: usize,
}

/// Which nodes a gang gets, of those that have room for it. Whether it has room does not depend on it, but with
/// [`Packing::SingleZone`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Packing {
    /// As few nodes as possible, those in use first, in one zone if there is room in one: traffic between zones costs
    /// money, and nodes without pods can be given back.
    #[default]
    SingleZonePreferred,
    /// The same, and never more than one zone: a gang waits until there is room in one.
    SingleZone,
    /// Left-over pieces first: few nodes, those in use before others, and no large piece of free room is broken into
    /// while smaller ones do.
    MinFragmentation,
    /// The fullest nodes first, each as full as it gets.
    Tight,
    /// Spread out evenly, over the emptiest nodes.
    Balanced,
}

/// In which order nodes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    FewNodes,
    FewPieces,
    Tight,
    Balanced,
}

/// What a policy says about zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zones {
    Any,
    OnePreferred,
    One,
}

impl Packing {
    /// Every policy.
    pub const ALL: [Self; 5] = [
        Self::SingleZonePreferred,
        Self::SingleZone,
        Self::MinFragmentation,
        Self::Tight,
        Self::Balanced,
    ];

    /// Its name on command lines and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SingleZonePreferred => "single-zone-preferred",
            Self::SingleZone => "single-zone",
            Self::MinFragmentation => "min-fragmentation",
            Self::Tight => "tight",
            Self::Balanced => "balanced",
        }
    }

    pub(crate) fn order(self) -> Order {
        match self {
            Self::SingleZonePreferred | Self::SingleZone => Order::FewNodes,
            Self::MinFragmentation => Order::FewPieces,
            Self::Tight => Order::Tight,
            Self::Balanced => Order::Balanced,
        }
    }

    pub(crate) fn zones(self) -> Zones {
        match self {
            Self::SingleZonePreferred => Zones::OnePreferred,
            Self::SingleZone => Zones::One,
            Self::MinFragmentation | Self::Tight | Self::Balanced => Zones::Any,
        }
    }

    /// Nodes in use are filled before others are touched.
    pub(crate) fn fills_used(self) -> bool {
        self != Self::Balanced
    }
}

/// By name; the error lists the names there are.
impl FromStr for Packing {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|packing| packing.as_str() == name);
        found.ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// Who may overtake the head of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backfill {
    /// Nobody.
    #[default]
    Off,
    /// Gangs that don't delay the head, nor any of the next ones in its queue, by the run times that are expected.
    Conservative,
    /// Gangs that don't delay the head, by the run times that are expected.
    Easy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            assume_ms: 10_000,
            plan_check_ms: 10_000,
            plan_hold_ms: 60_000,
            profile_hold_ms: 180_000,
            retry_ms: 1_000,
            overtakes_max: 16,
            start_margin_ms: 60_000,
            packing: Packing::default(),
            backfill: Backfill::Off,
            backfill_delay_ms: 4 * 3_600_000,
            backfill_overrun: 3,
            backfills_max: 1_000,
            backfill_depth: 16,
            backfill_nodes_per_decide: 10_000,
            forecast_ms: Some(5_000),
            unknown_run_ms: 3_600_000,
            unplanned_max: 8,
            dynamic_floor: 1,
            fresh_node_ms: 120_000,
            compact_after_ms: 60_000,
            unclaimed_after_ms: 60_000,
            demand_after_ms: 1_000,
            demand_ms: 600_000,
            demand_pause_ms: 300_000,
            demands_per_queue: 2,
            demands_max: 8,
            demand_pods_max: 2_000,
            markers: true,
            marker_after_ms: 5_000,
            stuck_executor_ms: 3_000,
            packs_per_decide: 32,
            orders_per_decide: 256,
        }
    }
}
