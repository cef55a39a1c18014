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

use kompass_core::{Resources, Spacing};

use crate::classes::ClassId;
use crate::config::Backfill;
use crate::decide::Turn;
use crate::gang::{Gang, GangId, OrderKey, Stage};
use crate::lookahead::Reservation;
use crate::nodes::NodeId;
use crate::outlook::{Fits, Outlook};
use crate::pack::{Placement, looks_at};
use crate::paper::{Next, WORK_OF_ONE};
use crate::planner::Planner;
use crate::pods::{PodEntry, Seat};
use crate::queue::{Candidate, Kept};
use crate::runtimes::Known;
use crate::start::Limited;

/// What a gang needs, by which gangs are equal to the packing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Need {
    pub(crate) size: Size,
    /// Executors.
    pub(crate) minimum: u64,
}

/// All of a need but how many executors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Size {
    driver: Resources,
    ports: Box<[u16]>,
    driver_class: ClassId,
    executor: Resources,
    class: ClassId,
    spacing: Option<Arc<Spacing>>,
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

/// What is kept of a queue's head between decisions.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    reservation: Option<Reservation>,
    next: Option<Next>,
    /// The one before found that nothing was on paper.
    asks_paper: bool,
    /// The work of one decision was not enough: the next goes on.
    cut_short: bool,
    /// The last one that was tried, if so.
    tried: Option<(i64, OrderKey)>,
}

/// Heads of which something is kept at a time.
const AHEAD_MAX: usize = 16;

impl Planner {
    /// The need of a gang whose profile is known.
    pub(crate) fn need(&self, id: GangId) -> Option<Need> {
        let gang = &self.gangs[id];
        let shape = gang.shape.as_ref()?;
        let driver = &self.pods.all[gang.driver];
        Some(Need {
            size: Size {
                driver: driver.requests.clone(),
                ports: driver.ports.clone(),
                driver_class: gang.driver_class,
                executor: shape.executor.clone(),
                class: shape.class,
                spacing: shape.spacing.clone(),
            },
            minimum: shape.minimum,
        })
    }

    /// What is known of a gang's run time.
    pub(crate) fn runtime(&self, gang: &Gang) -> Known<'_> {
        let (job, unknown_ms) = (gang.profile_key.as_deref(), self.config.unknown_run_ms);
        self.runtimes.known(gang.estimate, job, &gang.queue, unknown_ms).0
    }

    /// Starts one gang behind the head, if one may; the head has just been found to lack room.
    pub(crate) fn backfill(&mut self, queue: &Arc<str>, head: GangId, turn: &mut Turn) -> Option<GangId> {
        if self.config.backfill == Backfill::Off || self.gangs[head].waiting.backfilled >= self.config.backfills_max {
            return None;
        }
        let mut ahead = match self.ahead.remove(queue) {
            Some(ahead) => ahead,
            None if self.makes_place_ahead() => Ahead::default(),
            None => return None,
        };
        turn.work_at_least_once();
        let went_on = std::mem::take(&mut ahead.cut_short);
        let picked = self.pick(queue, head, turn, &mut ahead);
        if went_on && !ahead.cut_short && self.ahead.len() + 1 >= AHEAD_MAX {
            // Another that found no place may have this one.
            turn.go_on();
        }
        self.ahead.insert(queue.clone(), ahead);
        let (id, placement) = picked?;
        self.gangs[id].overtook = Some(self.gangs[head].arrival);
        self.gangs[head].waiting.backfilled += 1;
        self.start(id, &placement, turn);
        Some(id)
    }

    /// Makes place for one more head, unless all are being worked at: what was done for them must not be done again and
    /// again, or none would ever be done with.
    fn makes_place_ahead(&mut self) -> bool {
        if self.ahead.len() < AHEAD_MAX {
            return true;
        }
        let waits = |id: GangId| self.gangs.get(id).is_some_and(|gang| gang.stage == Stage::Waiting);
        let goes_on = |ahead: &Ahead| {
            ahead.cut_short
                && ahead
                    .reservation
                    .as_ref()
                    .is_some_and(|reservation| waits(reservation.of()))
        };
        let idle = self.ahead.iter().find(|(_, ahead)| !goes_on(ahead));
        let idle = idle.map(|(queue, _)| queue.clone());
        idle.is_some_and(|queue| self.ahead.remove(&queue).is_some())
    }

    /// A gang that may pass the head, and where it goes.
    fn pick(&mut self, queue: &str, head: GangId, turn: &mut Turn, ahead: &mut Ahead) -> Option<(GangId, Placement)> {
        let arrival = self.gangs[head].arrival;
        let mut reserved = None;
        let mut before = ahead.tried.take();
        for candidate in self.candidates(queue, head, before) {
            let Candidate { run_ms, key, .. } = candidate;
            let id = key.gang;
            if self.exempt(id, turn).is_some() || self.rests(id, turn) || self.limits(id) != Limited::Not {
                continue;
            }
            if self.is_short(&self.ask(id, None)) || self.surely_lacks_room(queue, candidate, turn) {
                self.note_vain(queue, candidate, None);
                continue;
            }
            if self.is_surely_in_the_way(id, head) {
                self.note_vain(queue, candidate, Some((arrival, run_ms)));
                continue;
            }
            let start_ms = *reserved.get_or_insert_with(|| self.reserve(head, ahead, turn.now_ms));
            let Some(start_ms) = start_ms else {
                // Noted, or the same would be tried at every decision, at the expense of other queues.
                self.note_vain(queue, candidate, Some((arrival, run_ms)));
                return None;
            };
            let ask = self.ask(id, None);
            if !self.put_on_paper(queue, head, ahead, turn)
                || !turn.may_work(looks_at(&self.nodes, &ask))
                || !turn.may_pack()
            {
                (ahead.cut_short, ahead.tried) = (true, before);
                return None;
            }
            // Only whether there is room now matters here, not what is lacking.
            let Some(placement) = self.room_now(&ask) else {
                self.note_vain(queue, candidate, None);
                before = Some((run_ms, key));
                continue;
            };
            if self.may_pass(key, &placement, start_ms, ahead, turn.now_ms) {
                return Some((id, placement));
            }
            self.note_vain(queue, candidate, Some((arrival, run_ms)));
            before = Some((run_ms, key));
        }
        None
    }

    /// Whether there is no room for a gang now, by what is kept of its size: false where nothing is.
    ///
    /// Each end of a gang makes all that wait worth another try. Gangs of one size differ in how many executors they want,
    /// and how many fit is one number for all of them, which follows the nodes that have changed.
    fn surely_lacks_room(&mut self, queue: &str, candidate: Candidate, turn: &mut Turn) -> bool {
        let gang = &self.gangs[candidate.key.gang];
        let (minimum, is_plain) = (gang.minimum(), gang.avoid.is_none() && gang.spacing().is_none());
        if minimum == 0 || !is_plain {
            return false;
        }
        let lacks = match self.queues.fits(queue, candidate, &self.nodes) {
            Kept::There(fits) => fits.lacks(minimum),
            Kept::NotWorth => false,
            Kept::NotYet => {
                if !turn.may_count_once() || !turn.may_work(self.nodes.free().len()) {
                    return false;
                }
                let fits = Fits::new(&self.nodes, self.wanted(candidate.key.gang));
                let lacks = fits.lacks(minimum);
                self.queues.keep_fits(queue, candidate, fits);
                lacks
            }
        };
        debug_assert!(
            !lacks || self.room_now(&self.ask(candidate.key.gang, None)).is_none(),
            "it has room after all"
        );
        lacks
    }

    /// For each need that is not known to be hopeless the gang that is expected to run shortest, the shortest first; from
    /// the one after `tried` on.
    fn candidates(&self, queue: &str, head: GangId, tried: Option<(i64, OrderKey)>) -> Vec<Candidate> {
        let (grown, capacity, arrival) = (self.nodes.grown, self.nodes.capacity, self.gangs[head].arrival);
        let hopeless = |known: &Vain, run_ms: i64| {
            (known.grown, known.capacity) == (grown, capacity)
                && known
                    .delays
                    .is_none_or(|(of, too_long_ms)| of == arrival && run_ms >= too_long_ms)
        };
        let mut candidates = self.queues.shortest(queue, head, hopeless);
        candidates.sort_unstable();
        let first = candidates.partition_point(|candidate| Some((candidate.run_ms, candidate.key)) <= tried);
        candidates.rotate_left(first);
        candidates
    }

    fn note_vain(&mut self, queue: &str, of: Candidate, delays: Option<(u64, i64)>) {
        let attempt = Vain {
            grown: self.nodes.grown,
            capacity: self.nodes.capacity,
            delays,
        };
        self.queues.note_vain(queue, of, attempt);
    }

    /// When the head would start. `None`: nobody may overtake, because it waits for those that did already, or for nobody
    /// can tell what.
    fn reserve(&mut self, head: GangId, ahead: &mut Ahead, now_ms: i64) -> Option<i64> {
        self.refresh_ends(now_ms);
        let reservation = ahead.reservation.get_or_insert_with(|| Reservation::new(self, head));
        let start_ms = reservation.follow(self, head);
        debug_assert_eq!(
            start_ms,
            Reservation::new(self, head).follow(self, head),
            "kept and made anew"
        );
        start_ms
    }

    /// With conservative backfill: the next gangs of the queue as they would start on paper, one after the other behind the
    /// head. Tells whether they are all there; if not, the next decision goes on.
    fn put_on_paper(&self, queue: &str, head: GangId, ahead: &mut Ahead, turn: &mut Turn) -> bool {
        if self.config.backfill != Backfill::Conservative {
            return true;
        }
        let Some(reservation) = &ahead.reservation else {
            return true;
        };
        let kept = ahead.next.take();
        let kept = kept.filter(|next| next.is_of(&self.gangs[head], turn.now_ms));
        let work = WORK_OF_ONE * self.nodes.free().len();
        if kept.is_none() {
            // The head alone takes one decision's work, and this one has looked at what has changed.
            let asked = std::mem::replace(&mut ahead.asks_paper, true);
            if !asked || !turn.may_work(work) {
                turn.go_on();
                return false;
            }
        }
        ahead.asks_paper = false;
        let next = ahead
            .next
            .insert(kept.unwrap_or_else(|| Next::new(self, head, reservation, turn.now_ms)));
        while !next.is_done(self.config.backfill_depth) {
            if !turn.may_work(work) {
                return false;
            }
            next.add(self, queue);
        }
        true
    }

    /// Whether a gang may start there now, before the head and the others that are before it. If so it takes its place on
    /// paper.
    fn may_pass(&self, key: OrderKey, placement: &Placement, start_ms: i64, ahead: &mut Ahead, now_ms: i64) -> bool {
        let Some(reservation) = &mut ahead.reservation else {
            return false;
        };
        let gang = &self.gangs[key.gang];
        let ends_ms = now_ms.saturating_add(self.runtime(gang).p90_ms());
        let ends_in_time = self.worst_ms(gang) <= self.config.backfill_delay_ms
            || !self.is_in_the_way(gang, placement, reservation.of());
        let delays_nobody = ends_in_time
            && (ends_ms <= start_ms
                || (!self.keep_apart(gang, &self.gangs[reservation.of()])
                    && self.fits_beside(gang, placement, reservation.then())))
            && ahead
                .next
                .as_mut()
                .is_none_or(|next| next.let_pass(self, gang, key, placement, ends_ms));
        if let Some(next) = ahead.next.as_mut().filter(|_| delays_nobody) {
            next.passed(self, gang, placement, ends_ms);
        }
        delays_nobody
    }

    /// Whether the gang of the outlook still fits once this placement is taken.
    pub(crate) fn fits_beside(&self, gang: &Gang, placement: &Placement, outlook: &mut Outlook) -> bool {
        self.each_part(gang, placement, |node, requests, count| {
            outlook.take(&self.nodes, node, requests, count);
        });
        let fits = outlook.fits(&self.nodes);
        self.each_part(gang, placement, |node, requests, count| {
            outlook.give(&self.nodes, node, requests, count);
        });
        fits
    }

    /// How long a gang runs in the worst case.
    fn worst_ms(&self, gang: &Gang) -> i64 {
        let run_ms = self.runtime(gang).p90_ms();
        run_ms.saturating_mul(self.config.backfill_overrun)
    }

    /// Whether a gang would be in the head's way for longer than it may, wherever it went: cheap, and not all of them.
    fn is_surely_in_the_way(&self, id: GangId, head: GangId) -> bool {
        let (gang, head) = (&self.gangs[id], &self.gangs[head]);
        gang.driver_class == head.driver_class && self.worst_ms(gang) > self.config.backfill_delay_ms
    }

    /// Whether a placement takes nodes that the head might use.
    fn is_in_the_way(&self, gang: &Gang, placement: &Placement, head: GangId) -> bool {
        let head = &self.gangs[head];
        let classes = [Some(head.driver_class), head.shape.as_ref().map(|shape| shape.class)];
        let mut taken = self.keep_apart(gang, head);
        self.each_part(gang, placement, |node, _, _| {
            let of_head = |class| self.nodes.allowed_empty(class)[node.index()];
            taken |= classes.into_iter().flatten().any(of_head);
        });
        taken
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
