//! What headroom may cost: node-hours in any hour and in any day.

use std::collections::VecDeque;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How much may be held. Both count in node-milliseconds, so that a limit of 3 nodes in an hour is 3 × 3,600,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In any 60 minutes.
    pub hour_node_ms: u64,
    /// In any 24 hours.
    pub day_node_ms: u64,
}

/// Which limit was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// That of the hour.
    Hour,
    /// That of the day.
    Day,
}

/// What may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Nodes, at most those that were asked for.
    pub nodes: u32,
    /// What keeps it from being more.
    pub by: Option<Limit>,
}

/// Remembers what was held, and lets no more be held than the limits allow.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    tick_ms: i64,
    /// When how many nodes were held, each for one tick; of the last day.
    held: VecDeque<(i64, u32)>,
}

impl Budget {
    /// Nothing held yet; each decision holds for `tick_ms`.
    pub const fn new(limits: Limits, tick_ms: i64) -> Self {
        Self {
            limits,
            tick_ms,
            held: VecDeque::new(),
        }
    }

    /// How many of the wanted nodes may be held until the next tick; they count as held then. Ticks come in order.
    pub fn allow(&mut self, now_ms: i64, wanted: u32) -> Allowed {
        let ends_ms = now_ms.saturating_add(self.tick_ms);
        while self
            .held
            .front()
            .is_some_and(|(at_ms, _)| at_ms + self.tick_ms <= ends_ms - DAY_MS)
        {
            self.held.pop_front();
        }
        let hour = self.left(self.limits.hour_node_ms, ends_ms - HOUR_MS);
        let day = self.left(self.limits.day_node_ms, ends_ms - DAY_MS);
        let nodes = u64::from(wanted).min(hour).min(day);
        let by = match nodes {
            nodes if nodes == u64::from(wanted) => None,
            nodes if nodes == hour => Some(Limit::Hour),
            _ => Some(Limit::Day),
        };
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        self.held.push_back((now_ms, nodes));
        Allowed { nodes, by }
    }

    /// Nodes that can be held for a tick within what a limit leaves of the time from `from_ms` on.
    fn left(&self, limit_node_ms: u64, from_ms: i64) -> u64 {
        let held = self.held.iter().map(|&(at_ms, nodes)| {
            // The part of the tick that is in the window.
            let inside_ms = (at_ms + self.tick_ms - from_ms).clamp(0, self.tick_ms);
            inside_ms.unsigned_abs().saturating_mul(u64::from(nodes))
        });
        let left = limit_node_ms.saturating_sub(held.sum());
        left.checked_div(self.tick_ms.unsigned_abs()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK_MS: i64 = 300_000;
    const NODE_HOUR: u64 = 3_600_000;

    fn limits(hour: u64, day: u64) -> Limits {
        Limits {
            hour_node_ms: hour * NODE_HOUR,
            day_node_ms: day * NODE_HOUR,
        }
    }

    #[test]
    fn the_hour_and_the_day_are_kept() {
        let mut budget = Budget::new(limits(2, 3), TICK_MS);
        let told: Vec<Allowed> = (0..36).map(|tick| budget.allow(tick * TICK_MS, 4)).collect();
        let nodes: Vec<u32> = told.iter().map(|allowed| allowed.nodes).collect();
        // Two node-hours are six ticks of four nodes; then nothing until the first of them are an hour old.
        let hour = [[4; 6], [0; 6]].concat();
        assert_eq!(nodes[..12], hour[..]);
        assert_eq!((told[0].by, told[6].by), (None, Some(Limit::Hour)));
        // In the second hour a third node-hour, and then nothing more that day.
        assert_eq!(nodes[12..15], [4; 3]);
        assert_eq!(nodes[15..], [0; 21]);
        assert_eq!(told[35].by, Some(Limit::Day));
        assert_eq!(budget.allow(DAY_MS, 9).nodes, 4, "the first tick is a day ago");
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_its_limit(
            wanted in prop::collection::vec(0_u32..10, 1..400), hour in 0_u64..6, day in 0_u64..60,
        ) {
            let mut budget = Budget::new(limits(hour, day), TICK_MS);
            let held: Vec<u64> = wanted.iter().enumerate()
                .map(|(tick, &wanted)| {
                    let allowed = budget.allow(i64::try_from(tick).unwrap() * TICK_MS, wanted);
                    assert_eq!(allowed.nodes == wanted, allowed.by.is_none());
                    u64::from(allowed.nodes)
                })
                .collect();
            for (ticks, nodes) in [(12, hour), (288, day)] {
                prop_assert!(held.windows(ticks.min(held.len())).all(|window| window.iter().sum::<u64>() <= nodes * 12));
            }
        }
    }
}
