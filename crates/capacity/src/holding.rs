//! From what a rule wants to what is held: never more than a number, not let go at once, within a budget. In this order, as
//! the predictor does it.

use crate::budget::{Budget, Limits};
use crate::hysteresis::Hysteresis;

/// What stands between a rule and the nodes. Without anything set, what is wanted is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holding {
    /// No more nodes are ever held.
    pub nodes_max: Option<u32>,
    /// So long after it was last wanted a node is held, milliseconds.
    pub hold_ms: i64,
    /// What may be held in an hour and in a day.
    pub limits: Option<Limits>,
}

impl Holding {
    /// What is held of what is wanted at one tick after the other, from `begin_ms` on.
    pub fn held(self, wanted: &[u32], begin_ms: i64, tick_ms: i64) -> Vec<u32> {
        let mut hysteresis = Hysteresis::new(self.hold_ms);
        let mut budget = self.limits.map(|limits| Budget::new(limits, tick_ms));
        let mut now_ms = begin_ms;
        let each = wanted.iter().map(|&wanted| {
            let capped = self.nodes_max.map_or(wanted, |most| wanted.min(most));
            let held = hysteresis.hold(now_ms, capped);
            let allowed = budget.as_mut().map_or(held, |budget| budget.allow(now_ms, held).nodes);
            now_ms += tick_ms;
            allowed
        });
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK_MS: i64 = 300_000;

    fn day(node_hours: u64) -> Limits {
        Limits {
            hour_node_ms: u64::MAX,
            day_node_ms: node_hours * 3_600_000,
        }
    }

    #[test]
    fn the_most_counts_before_the_hold_and_the_budget_after_it() {
        let holding = Holding {
            nodes_max: Some(3),
            hold_ms: 2 * TICK_MS,
            limits: None,
        };
        assert_eq!(holding.held(&[9, 0, 0, 1, 0], 0, TICK_MS), [3, 3, 0, 1, 1]);
        // One node-hour is four ticks of three nodes.
        let bounded = Holding {
            limits: Some(day(1)),
            ..holding
        };
        assert_eq!(bounded.held(&[9, 0, 9, 0, 9], 0, TICK_MS), [3, 3, 3, 3, 0]);
    }

    proptest! {
        #[test]
        fn no_limit_is_passed_and_without_any_what_is_wanted_is_held(
            wanted in prop::collection::vec(0_u32..9, 1..300), most in 0_u32..9, hours in 0_u64..50, begin_ms in 0_i64..9_000_000,
        ) {
            prop_assert_eq!(&Holding::default().held(&wanted, begin_ms, TICK_MS), &wanted);
            let holding = Holding { nodes_max: Some(most), hold_ms: 600_000, limits: Some(day(hours)) };
            let held = holding.held(&wanted, begin_ms, TICK_MS);
            prop_assert!(held.len() == wanted.len() && held.iter().all(|nodes| *nodes <= most));
            for ticks in held.windows(288.min(held.len())) {
                prop_assert!(ticks.iter().map(|nodes| u64::from(*nodes)).sum::<u64>() <= hours * 12);
            }
        }
    }
}
