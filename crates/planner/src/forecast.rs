//! When gangs that wait are expected to start.
//!
//! The first gangs of the queues are started on paper, in their order: time goes on from one expected end to the next
//! until the gang fits, it takes its room, and is expected to end in its turn. Twice: with everybody running as long as
//! half of those like it, and as long as nine of ten of them. Between queues the order is that of their turns now, and
//! nobody overtakes: with backfill, or where a gang of another queue passes, a gang may start earlier than told.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use kompass_core::Resources;

use crate::backfill::started_ms;
use crate::gang::{GangId, Lack, Stage};
use crate::nodes::NodeId;
use crate::outlook::Outlook;
use crate::planner::Planner;

/// Nodes times gangs that one forecast looks at, at most: Filter waits meanwhile.
const WORK_MAX: usize = 20_000;
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

/// Room that is given back at some time.
enum Share {
    Gang(GangId),
    Planned(Vec<(NodeId, Resources, u64)>),
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
        let waits = |id: &GangId| {
            let gang = &self.gangs[*id];
            let hopeless = gang.waiting.verdict.is_some_and(|verdict| verdict.lack != Lack::Now);
            gang.shape.is_some() && !gang.foreign_gate && !hopeless && !self.is_doomed(*id)
        };
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
        let mut shares: Vec<Share> = Vec::new();
        let mut ends: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
        for (id, gang) in self.gangs.iter() {
            if gang.stage != Stage::Waiting && (gang.held.is_some() || gang.is_bound()) {
                let end_ms = self.runtime(gang).ends_by_ms(percent, started_ms(gang, now_ms), now_ms);
                ends.push(Reverse((end_ms, shares.len())));
                shares.push(Share::Gang(id));
            }
        }
        let mut starts = Vec::with_capacity(order.len());
        let mut at_ms = now_ms;
        let mut rooms = self.nodes.free().to_vec();
        for &id in order {
            let mut outlook = Outlook::of(&self.nodes, self.ask(id, None), rooms);
            while !outlook.fits() {
                let Some(Reverse((end_ms, share))) = ends.pop() else {
                    return starts;
                };
                // Later than the one before: what is put in ends after the present time.
                at_ms = end_ms;
                self.give_share(&shares[share], &mut outlook);
            }
            let Some(placement) = outlook.place() else {
                return starts;
            };
            let gang = &self.gangs[id];
            let mut parts = Vec::new();
            self.each_part(gang, &placement, |node, requests, count| {
                outlook.take(node, requests, count);
                parts.push((node, requests.clone(), count));
            });
            starts.push(at_ms);
            ends.push(Reverse((
                self.runtime(gang).ends_by_ms(percent, at_ms, at_ms),
                shares.len(),
            )));
            shares.push(Share::Planned(parts));
            rooms = outlook.into_rooms();
        }
        starts
    }

    fn give_share(&self, share: &Share, outlook: &mut Outlook<'_>) {
        match share {
            Share::Gang(id) => self.each_share(*id, |node, requests, count| outlook.give(node, requests, count)),
            Share::Planned(parts) => {
                for (node, requests, count) in parts {
                    outlook.give(*node, requests, *count);
                }
            }
        }
    }
}
