//! Backfill: gangs that may start although the head of their queue waits for room.
//!
//! EASY (Lifka 1995; Mu'alem and Feitelson, IEEE TPDS 12(6), 2001), with run times that the system expects instead of
//! such as users state. The head has a *reservation*: the time at which it would fit if every gang that runs ends when it
//! is expected to. A gang behind it may start now if it
//! - is expected to have ended by then (its 90th percentile), or leaves the head enough room even if it has not,
//! - **and** costs the head at most the stated bound even if it and all others that overtook this head run a given
//!   multiple of their 90th percentile, as far as the gangs that ran before keep to what is expected of them.
//!
//! Once the head would fit without those that overtook it, nobody overtakes it any more. Of the gangs that may start the
//! one that is expected to run shortest goes first. Gangs of equal needs are tried once for all of them.

use std::sync::Arc;

use kompass_core::Resources;

use crate::classes::ClassId;
use crate::decide::Turn;
use crate::gang::{Gang, GangId, Stage};
use crate::nodes::NodeId;
use crate::outlook::Outlook;
use crate::pack::Placement;
use crate::planner::Planner;
use crate::runtimes::Known;

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
    /// When it would fit, everybody ending as expected.
    start_ms: i64,
    /// What it sees then.
    then: Outlook<'a>,
    /// The latest that it may start because of others, in the worst case.
    latest_ms: i64,
    /// What it sees then, in the worst case.
    worst: Outlook<'a>,
}

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
        if self.config.backfill == crate::config::Backfill::Off
            || self.gangs[head].waiting.backfilled >= self.config.backfills_max
        {
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
        for (need, run_ms, key) in candidates {
            let id = key.gang;
            if self.exempt(id, turn).is_some() || self.rests(id, turn) {
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
            if self.may_overtake(id, &placement, reservation, turn.now_ms) {
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
            .gangs
            .iter()
            .filter(|(_, gang)| gang.stage != Stage::Waiting && (gang.held.is_some() || gang.is_bound()))
            .map(|(id, gang)| (self.end_ms(gang, now_ms), gang.arrival, id))
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

        let mut without = now.clone();
        let mut without_ms = start_ms;
        if ends.iter().any(|&(.., id)| overtook(id)) {
            for &(.., id) in ends.iter().filter(|&&(.., id)| overtook(id)) {
                self.each_share(id, |node, requests, count| without.give(node, requests, count));
            }
            if without.fits() {
                return None;
            }
            for &(end_ms, _, id) in ends.iter().filter(|&&(.., id)| !overtook(id)) {
                self.each_share(id, |node, requests, count| without.give(node, requests, count));
                if without.fits() {
                    without_ms = end_ms;
                    break;
                }
            }
        }

        let mut worst = now;
        let latest_ms = without_ms.saturating_add(self.config.backfill_delay_ms);
        for &(end_ms, _, id) in &ends {
            let end_ms = if overtook(id) {
                self.worst_end_ms(&self.gangs[id], now_ms)
            } else {
                Some(end_ms)
            };
            if end_ms.is_some_and(|end_ms| end_ms <= latest_ms) {
                self.each_share(id, |node, requests, count| worst.give(node, requests, count));
            }
        }
        Some(Reservation {
            start_ms,
            then,
            latest_ms,
            worst,
        })
    }

    fn may_overtake(&self, id: GangId, placement: &Placement, head: &mut Reservation<'_>, now_ms: i64) -> bool {
        let gang = &self.gangs[id];
        let fits_beside = |outlook: &mut Outlook<'_>| {
            self.each_part(gang, placement, |node, requests, count| {
                outlook.take(node, requests, count);
            });
            let fits = outlook.fits();
            self.each_part(gang, placement, |node, requests, count| {
                outlook.give(node, requests, count);
            });
            fits
        };
        let ends_ms = now_ms.saturating_add(self.runtime(gang).p90_ms());
        let worst_ms = self.worst_end_ms(gang, now_ms).unwrap_or(i64::MAX);
        (ends_ms <= head.start_ms || fits_beside(&mut head.then))
            && (worst_ms <= head.latest_ms || fits_beside(&mut head.worst))
    }

    /// When a gang ends in the worst case; `None` where it has outrun even that, and nobody can tell.
    fn worst_end_ms(&self, gang: &Gang, now_ms: i64) -> Option<i64> {
        let started_ms = started_ms(gang, now_ms);
        let run_ms = self.runtime(gang).p90_ms().saturating_mul(self.config.backfill_overrun);
        Some(started_ms.saturating_add(run_ms)).filter(|&end_ms| end_ms > now_ms)
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
        for group in &gang.slots.groups {
            share(group.node, &gang.slots.request, group.free());
        }
        for &executor in &gang.executors {
            let pod = &self.pods.all[executor];
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
