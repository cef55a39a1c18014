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
use crate::gang::{Gang, GangId, Lack, Stage};
use crate::nodes::NodeId;
use crate::outlook::{Outlook, Rooms};
use crate::planner::Planner;
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
        let holds = |gang: &Gang| gang.stage != Stage::Waiting && (gang.held.is_some() || gang.is_bound());
        let running = self.gangs.iter().filter(|(_, gang)| holds(gang));
        let ends: Vec<(i64, GangId)> = running
            .map(|(id, gang)| {
                let end_ms = self.runtime(gang).ends_by_ms(percent, started_ms(gang, now_ms), now_ms);
                (end_ms, id)
            })
            .collect();
        let mut paper = OnPaper::new(now_ms, &ends).with(Rooms::now(&self.nodes));
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

/// The cluster as time goes on, on paper: gangs end when they are expected to, others start one after the other.
pub(crate) struct OnPaper<'a> {
    at_ms: i64,
    /// What is free; `None` while it is with one that is about to start.
    rooms: Option<Rooms<'a>>,
    shares: Vec<Share>,
    ends: BinaryHeap<Reverse<(i64, usize)>>,
}

impl<'a> OnPaper<'a> {
    /// At a time when these gangs have still to end. What is free then comes with the first that starts, or by
    /// [`Self::with`].
    pub(crate) fn new(at_ms: i64, ends: &[(i64, GangId)]) -> Self {
        Self {
            at_ms,
            rooms: None,
            shares: ends.iter().map(|&(_, id)| Share::Gang(id)).collect(),
            ends: ends
                .iter()
                .zip(0..)
                .map(|(&(end_ms, _), share)| Reverse((end_ms, share)))
                .collect(),
        }
    }

    /// With this room.
    pub(crate) fn with(self, rooms: Rooms<'a>) -> Self {
        Self {
            rooms: Some(rooms),
            ..self
        }
    }

    /// Lets time go on until the gang fits: when that is, and what it sees then, for [`Self::start`]. `None`: it never does.
    pub(crate) fn next(&mut self, planner: &'a Planner, id: GangId) -> Option<(i64, Outlook<'a>)> {
        let mut outlook = Outlook::of(&planner.nodes, planner.ask(id, None), self.rooms.take()?);
        while !outlook.fits() {
            let Reverse((end_ms, share)) = self.ends.pop()?;
            // Never before the one before: whoever is put in ends after the present time.
            self.at_ms = self.at_ms.max(end_ms);
            match &self.shares[share] {
                Share::Gang(id) => {
                    planner.each_share(*id, |node, requests, count| outlook.give(node, requests, count));
                }
                Share::Planned(parts) => {
                    for (node, requests, count) in parts {
                        outlook.give(*node, requests, *count);
                    }
                }
            }
        }
        Some((self.at_ms, outlook))
    }

    /// The gang takes its place in what it sees, and is expected to end in its turn, as so many percent of those like it.
    /// Tells whether there was a place.
    pub(crate) fn start(&mut self, planner: &Planner, id: GangId, mut sees: Outlook<'a>, percent: usize) -> bool {
        let Some(placement) = sees.place() else { return false };
        let gang = &planner.gangs[id];
        let mut parts = Vec::new();
        planner.each_part(gang, &placement, |node, requests, count| {
            sees.take(node, requests, count);
            parts.push((node, requests.clone(), count));
        });
        let end_ms = planner.runtime(gang).ends_by_ms(percent, self.at_ms, self.at_ms);
        self.ends.push(Reverse((end_ms, self.shares.len())));
        self.shares.push(Share::Planned(parts));
        self.rooms = Some(sees.into_rooms());
        true
    }
}
