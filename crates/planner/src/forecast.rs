//! When gangs that wait are expected to start.
//!
//! The first gangs of the queues are started on paper, in their order: time goes on from one expected end to the next
//! until the gang fits, it takes its room, and is expected to end in its turn. Twice: with everybody running as long as
//! half of those like it, and as long as nine of ten of them. Between queues the order is that of their turns now, and
//! nobody overtakes: with backfill, or where a gang of another queue passes, a gang may start earlier than told.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backfill::started_ms;
use crate::gang::{GangId, Lack};
use crate::paper::OnPaper;
use crate::planner::Planner;
use crate::space::Spaces;
use crate::start::Limited;

/// Nodes times gangs that one forecast looks at, at most: Filter waits meanwhile.
pub(crate) const WORK_MAX: usize = 20_000;
/// Gangs in one forecast, at most.
const GANGS_MAX: usize = 32;

/// When a gang is expected to start, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedStart {
    /// In half of the cases not later.
    pub p50_ms: i64,
    /// In nine of ten cases not later, if all that is before it takes that long.
    pub p90_ms: i64,
}

impl Planner {
    /// Expected starts of the first gangs that wait, by the driver's UID. Those further behind have none, nor have those
    /// whose start does not depend on room.
    pub fn expected_starts(&self, now_ms: i64) -> BTreeMap<Arc<str>, ExpectedStart> {
        let order = self.first_to_start();
        let (p50, p90) = (self.starts(&order, 50, now_ms), self.starts(&order, 90, now_ms));
        let both = order.iter().zip(p50.into_iter().zip(p90));
        both.map(|(&id, (p50_ms, p90_ms))| {
            let expected = ExpectedStart {
                p50_ms,
                p90_ms: p90_ms.max(p50_ms),
            };
            (self.gangs.uid(id).clone(), expected)
        })
        .collect()
    }

    /// Gangs that wait for room or for their turn, in the order in which they are expected to start: one of each queue
    /// in turn.
    fn first_to_start(&self) -> Vec<GangId> {
        let limit = (WORK_MAX / self.nodes.free().len().max(1)).clamp(1, GANGS_MAX);
        let waits = |id: &GangId| self.waits_for_room(*id);
        let queues: Vec<Vec<GangId>> = self
            .queues_by_turn()
            .iter()
            .map(|(_, queue)| self.queues.order(queue).filter(waits).take(limit).collect())
            .collect();
        let rounds = (0..limit).flat_map(|round| queues.iter().filter_map(move |queue| queue.get(round)));
        rounds.copied().take(limit).collect()
    }

    /// When these gangs start one after the other; fewer where it can't be told any further.
    fn starts(&self, order: &[GangId], percent: usize, now_ms: i64) -> Vec<i64> {
        let running = self.shares.holders().map(|id| {
            let gang = &self.gangs[id];
            let end = self.runtime(gang).ends_by(percent, started_ms(gang, now_ms), now_ms);
            (end.end_ms, gang.arrival, id)
        });
        let mut paper = OnPaper::new(now_ms, Some(Spaces::now(&self.nodes)), running);
        let mut starts = Vec::with_capacity(order.len());
        for &id in order {
            let Some((start_ms, outlook)) = paper.next(self, id) else {
                break;
            };
            if !paper.start(self, id, outlook, percent) {
                break;
            }
            starts.push(start_ms);
        }
        starts
    }

    /// Whether what a waiting gang lacks is room or its turn.
    pub(crate) fn waits_for_room(&self, id: GangId) -> bool {
        let gang = &self.gangs[id];
        let hopeless = gang.waiting.verdict.is_some_and(|verdict| verdict.lack != Lack::Now);
        gang.shape.is_some()
            && !gang.foreign_gate
            && !hopeless
            && !self.is_doomed(id)
            && self.limits(id) == Limited::Not
    }
}
