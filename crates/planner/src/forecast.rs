//! When gangs that wait are expected to start.
//!
//! The first gangs of the queues are started on paper, in their order: time goes on from one expected end to the next
//! until the gang fits, it takes its room, and is expected to end in its turn. Twice: with everybody running as long as
//! half of those like it, and as long as nine of ten of them. Between queues the order is that of their turns now, and
//! nobody overtakes: with backfill, or where a gang of another queue passes, a gang may start earlier than told.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backfill::started_ms;
use crate::gang::{GangId, Lack, Stage};
use crate::paper::OnPaper;
use crate::planner::Planner;
use crate::space::Spaces;
use crate::start::Limited;

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

/// A forecast that is being made, gang by gang.
#[derive(Debug)]
pub(crate) struct Forecast {
    /// Who is to come, with their arrival: they may be gone before.
    order: std::vec::IntoIter<(GangId, u64)>,
    p50: OnPaper,
    p90: OnPaper,
    starts: Vec<(GangId, u64, ExpectedStart)>,
}

impl Forecast {
    /// Of what there is now; nobody has started yet.
    pub(crate) fn new(planner: &Planner, now_ms: i64) -> Self {
        let order = planner.first_to_start().into_iter();
        let order: Vec<_> = order.map(|id| (id, planner.gangs[id].arrival)).collect();
        let rooms = Spaces::now(&planner.nodes);
        let paper = |percent, rooms| {
            // Who is asked between two decisions, as whoever does not lead is, still counts gangs that have gone since.
            let holding = planner.shares.holders().filter_map(|id| {
                let gang = planner.gangs.get(id)?;
                (gang.stage != Stage::Waiting).then_some((id, gang))
            });
            let running = holding.map(|(id, gang)| {
                let end = planner.runtime(gang).ends_by(percent, started_ms(gang, now_ms), now_ms);
                (end.end_ms, gang.arrival, id)
            });
            OnPaper::new(now_ms, Some(rooms), running)
        };
        Self {
            order: order.into_iter(),
            p50: paper(50, rooms.clone()),
            p90: paper(90, rooms),
            starts: Vec::new(),
        }
    }

    /// One gang more; false where there is none, or none of which it can be told.
    pub(crate) fn add(&mut self, planner: &Planner) -> bool {
        let waits = |&(id, arrival): &(GangId, u64)| {
            let gang = planner.gangs.get(id);
            gang.is_some_and(|gang| gang.arrival == arrival && gang.stage == Stage::Waiting)
                && planner.waits_for_room(id)
        };
        let Some((id, arrival)) = self.order.find(waits) else {
            return false;
        };
        let start = |paper: &mut OnPaper, percent| {
            let (start_ms, outlook) = paper.next(planner, id)?;
            paper.start(planner, id, outlook, percent).then_some(start_ms)
        };
        let starts = (start(&mut self.p50, 50), start(&mut self.p90, 90));
        let (Some(p50_ms), Some(p90_ms)) = starts else {
            return false;
        };
        let expected = ExpectedStart {
            p50_ms,
            p90_ms: p90_ms.max(p50_ms),
        };
        self.starts.push((id, arrival, expected));
        true
    }

    /// What was found, of those that still are there.
    pub(crate) fn starts<'a>(&'a self, planner: &'a Planner) -> impl Iterator<Item = (GangId, ExpectedStart)> + 'a {
        let still = |&(id, arrival, expected): &(GangId, u64, ExpectedStart)| {
            let gang = planner.gangs.get(id).filter(|gang| gang.arrival == arrival);
            gang.map(|_| (id, expected))
        };
        self.starts.iter().filter_map(still)
    }
}

impl Planner {
    /// Expected starts of the first gangs that wait, by the driver's UID. Those further behind have none, nor have those
    /// whose start does not depend on room.
    pub fn expected_starts(&self, now_ms: i64) -> BTreeMap<Arc<str>, ExpectedStart> {
        let mut forecast = Forecast::new(self, now_ms);
        while forecast.add(self) {}
        let starts = forecast.starts(self);
        starts.map(|(id, start)| (self.gangs.uid(id).clone(), start)).collect()
    }

    /// Gangs that wait for room or for their turn, in the order in which they are expected to start: one of each queue
    /// in turn.
    fn first_to_start(&self) -> Vec<GangId> {
        let waits = |id: &GangId| self.waits_for_room(*id);
        let queues: Vec<Vec<GangId>> = self
            .queues_by_turn()
            .iter()
            .take(GANGS_MAX)
            .map(|(_, queue)| self.queues.order(queue).filter(waits).take(GANGS_MAX).collect())
            .collect();
        let rounds = (0..GANGS_MAX).flat_map(|round| queues.iter().filter_map(move |queue| queue.get(round)));
        rounds.copied().take(GANGS_MAX).collect()
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
