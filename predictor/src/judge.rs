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
    /// How long a node that is asked for is waited for.
    ready_ms: i64,
    waiting: VecDeque<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    at_ms: i64,
    nodes: u32,
    /// They were not only thought of.
    acted: bool,
}

/// What came of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Of all of them: what would have come of them.
    pub all: Counts,
    /// Of those whose nodes were held in truth.
    pub acted: Counts,
}

/// What came of some decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Gangs that all of their pods had a held node for, wherever else there was room.
    pub hits: u64,
    /// Gangs that had not.
    pub misses: u64,
    /// Nodes held that nobody took, times the time, node-milliseconds.
    pub idle_node_ms: u64,
    /// The time that the nodes of the hits would have booted, times their node-sizes, node-milliseconds.
    pub saved_node_ms: u64,
}

impl Judge {
    /// Has nothing to judge.
    pub const fn new(tick_ms: i64, ready_ms: i64) -> Self {
        Self {
            tick_ms,
            ready_ms,
            waiting: VecDeque::new(),
        }
    }

    /// Remembers a decision. `acted`: its nodes are held in truth.
    pub fn held(&mut self, at_ms: i64, nodes: u32, acted: bool) {
        self.waiting.push_back(Held { at_ms, nodes, acted });
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
        }
    }

    /// Judges what can be judged when all submissions (in order of time) are known until a moment.
    pub fn judge(&mut self, submitted: &[Submitted], known_until_ms: i64, shape: Shape) -> Verdict {
        let mut verdict = Verdict::default();
        while let Some(held) = self.waiting.front().copied() {
            if held.at_ms + self.tick_ms + LATER_MS > known_until_ms {
                break;
            }
            self.waiting.pop_front();
            let counts = self.count(held, submitted, shape);
            verdict.all.add(counts);
            if held.acted {
                verdict.acted.add(counts);
            }
        }
        verdict
    }

    fn count(&self, held: Held, submitted: &[Submitted], shape: Shape) -> Counts {
        let from = submitted.partition_point(|gang| gang.at_ms <= held.at_ms);
        let to = submitted.partition_point(|gang| gang.at_ms <= held.at_ms + self.tick_ms);
        let mut left = held.nodes;
        let mut counts = Counts::default();
        for gang in submitted.get(from..to).unwrap_or_default() {
            let needed = shape.nodes(u128::from(gang.size), 1_000);
            if needed <= left {
                left -= needed;
                counts.hits += 1;
                let saved =
                    u128::from(gang.size) * u128::from(self.ready_ms.unsigned_abs()) / u128::from(shape.parts());
                counts.saved_node_ms += u64::try_from(saved).unwrap_or(u64::MAX);
            } else {
                counts.misses += 1;
            }
        }
        counts.idle_node_ms = u64::from(left) * self.tick_ms.unsigned_abs();
        counts
    }
}

impl Counts {
    const fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.idle_node_ms += other.idle_node_ms;
        self.saved_node_ms = self.saved_node_ms.saturating_add(other.saved_node_ms);
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
        let mut judge = Judge::new(TICK_MS, 160_000);
        judge.held(0, 5, true);
        judge.held(TICK_MS, 2, false);
        let until_ms = TICK_MS + LATER_MS;
        assert_eq!(judge.judge(&known.submitted, until_ms - 1, shape), Verdict::default());
        let counts = Counts {
            hits: 2,
            misses: 1,
            idle_node_ms: 0,
            // One and a half nodes and two and a half.
            saved_node_ms: 640_000,
        };
        let verdict = judge.judge(&known.submitted, until_ms, shape);
        assert_eq!((verdict.all, verdict.acted), (counts, counts));
        let idle = judge.judge(&known.submitted, until_ms + TICK_MS, shape);
        assert_eq!((idle.all.hits, idle.all.idle_node_ms), (0, 600_000));
        assert_eq!(idle.acted, Counts::default(), "that one was not acted on");
        assert_eq!(
            judge.judge(&known.submitted, i64::MAX / 2, shape),
            Verdict::default(),
            "each is judged once"
        );
    }

    #[test]
    fn what_can_not_be_judged_for_long_is_forgotten() {
        let mut judge = Judge::new(TICK_MS, 160_000);
        (0..1_000).for_each(|tick| judge.held(tick * TICK_MS, 1, true));
        let verdict = judge.judge(&[], 2_000 * TICK_MS, settings(1, 1).shape);
        assert_eq!(verdict.all.idle_node_ms, 24 * 300_000);
    }
}
