//! Backfill: gangs that may start although the head of their queue waits for room.
//!
//! EASY (Lifka 1995; Mu'alem and Feitelson, IEEE TPDS 12(6), 2001), with run times that the system expects instead of
//! such as users state. The head has a *reservation*: the time at which it would fit if every gang that runs ends when it
//! is expected to. A gang behind it may start now if it
//! - is expected to have ended by then (its 90th percentile), or leaves the head enough room even if it has not,
//! - **and** ends within the stated bound even if it runs a given multiple of its 90th percentile, or takes no node that
//!   the head could use.
//!
//! Once the head would fit without those that overtook it, nobody overtakes it any more. So whatever the gangs before it
//! do, it starts at most the stated bound later than without backfill, as long as no gang that overtook it runs longer
//! than that multiple. A reservation alone gives no such bound: where gangs end earlier than expected the head could
//! start earlier, and those that overtook it in good faith are in its way.
//!
//! Of the gangs that may start the one that is expected to run shortest goes first. Gangs of equal needs are tried once
//! for all of them.
//!
//! With conservative backfill the first of these rules holds for the next gangs behind the head too: each has the start
//! that it would have on paper, everybody starting in order, and nobody behind it may delay that.

use std::sync::Arc;

use kompass_core::Resources;

use crate::classes::ClassId;
use crate::config::Backfill;
use crate::decide::Turn;
use crate::forecast::{OnPaper, WORK_MAX};
use crate::gang::{Gang, GangId, OrderKey};
use crate::nodes::NodeId;
use crate::outlook::Outlook;
use crate::pack::Placement;
use crate::planner::Planner;
use crate::pods::{PodEntry, Seat};
use crate::runtimes::Known;
use crate::start::Limited;

/// What a gang needs, by which gangs are equal to the packing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Need {
    driver: Resources,
    ports: Box<[u16]>,
    driver_class: ClassId,
    executor: Resources,
    class: ClassId,
    minimum: u64,
}

/// A vain attempt to start a gang of some need behind a head: the state in which it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vain {
    grown: u64,
    capacity: u64,
    /// Arrival of the head that would have been delayed, and the expected run time that was too long; `None` where there
    /// was no room at all.
    delays: Option<(u64, i64)>,
}

/// A head's reservation.
struct Reservation<'a> {
    of: GangId,
    /// When it would fit, everybody ending as expected.
    start_ms: i64,
    /// What it sees then.
    then: Outlook<'a>,
    /// Who ends after that, and when.
    later: Vec<(i64, GangId)>,
}

/// A gang behind the head: when it would start, and what it sees then.
struct Behind<'a> {
    key: OrderKey,
    start_ms: i64,
    then: Outlook<'a>,
}

/// What percentage of gangs like it have ended when one on paper is expected to.
const PERCENT: usize = 75;

impl Planner {
    /// The need of a gang whose profile is known.
    pub(crate) fn need(&self, id: GangId) -> Option<Need> {
        let gang = &self.gangs[id];
        let shape = gang.shape.as_ref()?;
        let driver = &self.pods.all[gang.driver];
        Some(Need {
            driver: driver.requests.clone(),
            ports: driver.ports.clone(),
            driver_class: gang.driver_class,
            executor: shape.executor.clone(),
            class: shape.class,
            minimum: shape.minimum,
        })
    }

    /// What is known of a gang's run time.
    pub(crate) fn runtime(&self, gang: &Gang) -> Known<'_> {
        let (job, unknown_ms) = (gang.profile_key.as_deref(), self.config.unknown_run_ms);
        self.runtimes.known(gang.estimate, job, &gang.queue, unknown_ms)
    }

    /// Starts one gang behind the head, if one may; the head has just been found to lack room.
    pub(crate) fn backfill(&mut self, queue: &Arc<str>, head: GangId, turn: &mut Turn) -> Option<GangId> {
        if self.config.backfill == Backfill::Off || self.gangs[head].waiting.backfilled >= self.config.backfills_max {
            return None;
        }
        let mut vain = Vec::new();
        let picked = self.pick(queue, head, turn, &mut vain);
        for (need, attempt) in vain {
            self.queues.note_vain(queue, &need, attempt);
        }
        let (id, placement) = picked?;
        self.gangs[id].overtook = Some(self.gangs[head].arrival);
        self.gangs[head].waiting.backfilled += 1;
        self.start(id, &placement, turn);
        Some(id)
    }

    fn pick(
        &self,
        queue: &str,
        head: GangId,
        turn: &mut Turn,
        vain: &mut Vec<(Arc<Need>, Vain)>,
    ) -> Option<(GangId, Placement)> {
        let (grown, capacity, arrival) = (self.nodes.grown, self.nodes.capacity, self.gangs[head].arrival);
        let hopeless = |known: &Vain, run_ms: i64| {
            (known.grown, known.capacity) == (grown, capacity)
                && known
                    .delays
                    .is_none_or(|(of, too_long_ms)| of == arrival && run_ms >= too_long_ms)
        };
        let mut candidates = self.queues.shortest(queue, head, hopeless);
        candidates.sort_unstable_by_key(|&(_, run_ms, key)| (run_ms, key));
        let mut reservation = None;
        let mut behind = None;
        for (need, run_ms, key) in candidates {
            let id = key.gang;
            if self.exempt(id, turn).is_some() || self.rests(id, turn) || self.limits(id) != Limited::Not {
                continue;
            }
            let failed = |delays| Vain {
                grown,
                capacity,
                delays,
            };
            let ask = self.ask(id, None);
            if self.is_short(&ask) {
                vain.push((need.clone(), failed(None)));
                continue;
            }
            if !turn.may_pack() {
                return None;
            }
            // Only whether there is room now matters here, not what is lacking.
            let placement = self.room_now(&ask);
            let Some(placement) = placement else {
                vain.push((need.clone(), failed(None)));
                continue;
            };
            let reservation = reservation.get_or_insert_with(|| self.reservation(head, turn.now_ms));
            let Some(reservation) = reservation else {
                // Noted, or the same would be tried at every decision, at the expense of other queues.
                vain.push((need.clone(), failed(Some((arrival, run_ms)))));
                return None;
            };
            let behind = behind.get_or_insert_with(|| self.behind(queue, head, reservation));
            if self.may_overtake(id, &placement, reservation, turn.now_ms)
                && self.may_pass(id, &placement, behind, turn.now_ms)
            {
                return Some((id, placement));
            }
            vain.push((need.clone(), failed(Some((arrival, run_ms)))));
        }
        None
    }

    /// `None`: nobody may overtake, because the head waits for those that did already, or for nobody can tell what.
    fn reservation(&self, head: GangId, now_ms: i64) -> Option<Reservation<'_>> {
        let arrival = self.gangs[head].arrival;
        let mut ends: Vec<(i64, u64, GangId)> = self
            .shares
            .holders()
            .map(|id| {
                let gang = &self.gangs[id];
                (self.end_ms(gang, now_ms), gang.arrival, id)
            })
            .collect();
        ends.sort_unstable();
        let overtook = |id: GangId| self.gangs[id].overtook == Some(arrival);
        let now = Outlook::now(&self.nodes, self.ask(head, None));

        let mut then = now.clone();
        let mut start_ms = None;
        for &(end_ms, _, id) in &ends {
            self.each_share(id, |node, requests, count| then.give(node, requests, count));
            if then.fits() {
                start_ms = Some(end_ms);
                break;
            }
        }
        let start_ms = start_ms?;

        let mut without = now;
        for &(.., id) in ends.iter().filter(|&&(.., id)| overtook(id)) {
            self.each_share(id, |node, requests, count| without.give(node, requests, count));
        }
        if without.fits() {
            return None;
        }
        let later = ends.into_iter().filter(|&(end_ms, ..)| end_ms > start_ms);
        let later = later.map(|(end_ms, _, id)| (end_ms, id)).collect();
        Some(Reservation {
            of: head,
            start_ms,
            then,
            later,
        })
    }

    /// The next gangs of the queue as they would start on paper, one after the other behind the head.
    fn behind<'a>(&'a self, queue: &str, head: GangId, first: &Reservation<'a>) -> Vec<Behind<'a>> {
        let mut behind = Vec::new();
        if self.config.backfill != Backfill::Conservative {
            return behind;
        }
        let depth = self
            .config
            .backfill_depth
            .min(WORK_MAX / self.nodes.free().len().max(1))
            .max(1);
        let mut paper = OnPaper::new(first.start_ms, &first.later);
        if !paper.start(self, head, first.then.clone(), PERCENT) {
            return behind;
        }
        let next = self
            .queues
            .order(queue)
            .filter(|&id| id != head && self.waits_for_room(id));
        for id in next.take(depth - 1) {
            let Some((start_ms, then)) = paper.next(self, id) else {
                break;
            };
            if !paper.start(self, id, then.clone(), PERCENT) {
                break;
            }
            behind.push(Behind {
                key: self.gangs[id].key(id),
                start_ms,
                then,
            });
        }
        behind
    }

    /// Whether none of those that are before the gang starts later because of it.
    fn may_pass(&self, id: GangId, placement: &Placement, behind: &mut [Behind<'_>], now_ms: i64) -> bool {
        let gang = &self.gangs[id];
        let (key, ends_ms) = (gang.key(id), now_ms.saturating_add(self.runtime(gang).p90_ms()));
        let mut before = behind
            .iter_mut()
            .filter(|other| other.key < key && other.start_ms < ends_ms);
        before.all(|other| self.fits_beside(gang, placement, &mut other.then))
    }

    /// Whether the gang of the outlook still fits once this placement is taken.
    fn fits_beside(&self, gang: &Gang, placement: &Placement, outlook: &mut Outlook<'_>) -> bool {
        self.each_part(gang, placement, |node, requests, count| {
            outlook.take(node, requests, count);
        });
        let fits = outlook.fits();
        self.each_part(gang, placement, |node, requests, count| {
            outlook.give(node, requests, count);
        });
        fits
    }

    fn may_overtake(&self, id: GangId, placement: &Placement, head: &mut Reservation<'_>, now_ms: i64) -> bool {
        let gang = &self.gangs[id];
        let run_ms = self.runtime(gang).p90_ms();
        let ends_ms = now_ms.saturating_add(run_ms);
        let worst_ms = run_ms.saturating_mul(self.config.backfill_overrun);
        (worst_ms <= self.config.backfill_delay_ms || !self.is_in_the_way(gang, placement, head.of))
            && (ends_ms <= head.start_ms || self.fits_beside(gang, placement, &mut head.then))
    }

    /// Whether a placement takes nodes that the head might use.
    fn is_in_the_way(&self, gang: &Gang, placement: &Placement, head: GangId) -> bool {
        let head = &self.gangs[head];
        let classes = [Some(head.driver_class), head.shape.as_ref().map(|shape| shape.class)];
        let mut taken = false;
        self.each_part(gang, placement, |node, _, _| {
            let of_head = |class| self.nodes.allowed(class)[node.index()];
            taken |= classes.into_iter().flatten().any(of_head);
        });
        taken
    }

    /// When a gang that holds room is expected to end.
    pub(crate) fn end_ms(&self, gang: &Gang, now_ms: i64) -> i64 {
        self.runtime(gang).end_ms(started_ms(gang, now_ms), now_ms)
    }

    /// All room that a gang holds: its driver's, its free slots', its executors'.
    pub(crate) fn each_share(&self, id: GangId, mut share: impl FnMut(NodeId, &Resources, u64)) {
        let gang = &self.gangs[id];
        let driver = &self.pods.all[gang.driver];
        if let Some(node) = self
            .reserved_for_driver(id)
            .or_else(|| driver.seat().map(|seat| seat.0))
        {
            share(node, &driver.requests, 1);
        }
        let request = &gang.slots.request;
        let on_slot = |pod: &PodEntry| matches!(pod.seat(), Some((_, Seat::Slot))) && pod.requests == *request;
        let executors = || gang.executors.iter().map(|&executor| &self.pods.all[executor]);
        // Nearly always executors are as large as their slots, and a node is told once for all of them.
        let taken: u64 = gang.slots.groups.iter().map(|group| group.taken).sum();
        let alike = executors().filter(|pod| on_slot(pod)).count() as u64 == taken;
        for group in &gang.slots.groups {
            share(group.node, request, if alike { group.total } else { group.free() });
        }
        for pod in executors().filter(|pod| !(alike && on_slot(pod))) {
            if let Some((node, _)) = pod.seat() {
                share(node, &pod.requests, 1);
            }
        }
    }

    /// All room that a placement takes.
    pub(crate) fn each_part(&self, gang: &Gang, placement: &Placement, mut part: impl FnMut(NodeId, &Resources, u64)) {
        if let Some(node) = placement.driver {
            part(node, &self.pods.all[gang.driver].requests, 1);
        }
        if let Some(shape) = &gang.shape {
            for &(node, count) in &placement.executors {
                part(node, &shape.executor, count);
            }
        }
    }
}

/// Since when a gang runs; now, where it is about to.
pub(crate) fn started_ms(gang: &Gang, now_ms: i64) -> i64 {
    gang.times.started_ms.or(gang.times.bound_ms).unwrap_or(now_ms)
}
