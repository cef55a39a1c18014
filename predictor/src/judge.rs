//! What decisions would have been good for, as far as it is known an hour later. Pure.

use std::collections::VecDeque;

use kompass_capacity::{Shape, Submitted};

/// Most gangs of a tick are known so long after it; of those that only counters tell, the ones that have ended.
pub(crate) const LATER_MS: i64 = 3_600_000;
/// Decisions that may wait for that; more are forgotten, as in days without a view.
const WAITING_MAX: usize = 24;

/// Decisions that are still to be judged.
#[derive(Debug)]
pub struct Judge {
    tick_ms: i64,
    waiting: VecDeque<(i64, u32)>,
}

/// What came of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Gangs that all of their pods had a held node for, wherever else there was room.
    pub hits: u64,
    /// Gangs that had not.
    pub misses: u64,
    /// Nodes held that nobody took, times the time, node-milliseconds.
    pub idle_node_ms: u64,
}

impl Judge {
    /// Has nothing to judge.
    pub const fn new(tick_ms: i64) -> Self {
        Self {
            tick_ms,
            waiting: VecDeque::new(),
        }
    }

    /// Remembers a decision.
    pub fn held(&mut self, at_ms: i64, nodes: u32) {
        self.waiting.push_back((at_ms, nodes));
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
        }
    }

    /// Judges what can be judged when all submissions (in order of time) are known until a moment.
    pub fn judge(&mut self, submitted: &[Submitted], known_until_ms: i64, shape: Shape) -> Verdict {
        let mut verdict = Verdict::default();
        while let Some(&(at_ms, nodes)) = self.waiting.front() {
            if at_ms + self.tick_ms + LATER_MS > known_until_ms {
                break;
            }
            self.waiting.pop_front();
            let from = submitted.partition_point(|gang| gang.at_ms <= at_ms);
            let to = submitted.partition_point(|gang| gang.at_ms <= at_ms + self.tick_ms);
            let mut left = nodes;
            for gang in submitted.get(from..to).unwrap_or_default() {
                let needed = shape.nodes(u128::from(gang.size), 1_000);
                if needed <= left {
                    left -= needed;
                    verdict.hits += 1;
                } else {
                    verdict.misses += 1;
                }
            }
            verdict.idle_node_ms += u64::from(left) * self.tick_ms.unsigned_abs();
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use kompass_history::End;

    use super::*;
    use crate::past::Known;
    use crate::past::tests::gang;
    use crate::settings::tests::settings;

    const TICK_MS: i64 = 300_000;

    #[test]
    fn a_gang_is_a_hit_if_nodes_are_left_for_all_of_it() {
        let shape = settings(1, 1).shape;
        // Two nodes (one and a half), three, two.
        let gangs = [(1, 1), (2, 2), (3, 1)].map(|(at_ms, executors)| gang(at_ms, Some(1), End::Succeeded, executors));
        let known = Known::new(&gangs, shape);
        let mut judge = Judge::new(TICK_MS);
        judge.held(0, 5);
        judge.held(TICK_MS, 2);
        let until_ms = TICK_MS + LATER_MS;
        assert_eq!(judge.judge(&known.submitted, until_ms - 1, shape), Verdict::default());
        let idle_node_ms = 0;
        let (hits, misses) = (2, 1);
        assert_eq!(
            judge.judge(&known.submitted, until_ms, shape),
            Verdict {
                hits,
                misses,
                idle_node_ms
            }
        );
        let idle = judge.judge(&known.submitted, until_ms + TICK_MS, shape);
        assert_eq!((idle.hits, idle.idle_node_ms), (0, 600_000));
        assert_eq!(
            judge.judge(&known.submitted, i64::MAX / 2, shape),
            Verdict::default(),
            "each is judged once"
        );
    }

    #[test]
    fn what_can_not_be_judged_for_long_is_forgotten() {
        let mut judge = Judge::new(TICK_MS);
        (0..1_000).for_each(|tick| judge.held(tick * TICK_MS, 1));
        let verdict = judge.judge(&[], 2_000 * TICK_MS, settings(1, 1).shape);
        assert_eq!(verdict.idle_node_ms, 24 * 300_000);
    }
}
