//! One decision: what has run out of time, what broke, who starts, what is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::{Action, Decision, Failure, Order, OrderId};
use crate::gang::{GangId, Stage};
use crate::planner::{Planner, Target};
use crate::pods::{Place, PodId};
use crate::quota::Usage;

/// The working state of one decision.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) now_ms: i64,
    pub(crate) orders: Vec<Order>,
    pub(crate) again: bool,
    /// What is still to come in namespaces with quotas.
    pub(crate) coming: BTreeMap<Arc<str>, Usage>,
    packs_left: u32,
    /// Nodes that may still be looked at for the sake of backfill and forecasts.
    work_left: usize,
    /// All nodes were counted for one size.
    has_counted: bool,
    /// The same for the sake of gangs that did not fit at all a moment ago.
    hope_left: usize,
    wake_ms: Option<i64>,
}

impl Turn {
    /// Something is due at this time even if nothing is fed.
    pub(crate) fn wake_at(&mut self, at_ms: i64) {
        self.wake_ms = Some(self.wake_ms.map_or(at_ms, |known| known.min(at_ms)));
    }

    /// Whether `since + after` has come; if not, this is a time to wake at.
    pub(crate) fn is_due(&mut self, since_ms: i64, after_ms: i64) -> bool {
        let due_ms = since_ms.saturating_add(after_ms);
        if self.now_ms < due_ms {
            self.wake_at(due_ms);
        }
        self.now_ms >= due_ms
    }

    /// Takes one run of the packing from the budget.
    pub(crate) fn may_pack(&mut self) -> bool {
        let may = self.packs_left > 0;
        self.packs_left = self.packs_left.saturating_sub(1);
        self.again |= !may;
        may
    }

    /// Takes some of what may be looked at for gangs that did not fit at all a moment ago.
    pub(crate) fn may_hope(&mut self, nodes: usize) -> bool {
        let may = self.hope_left > 0;
        self.hope_left = self.hope_left.saturating_sub(nodes);
        may
    }

    /// However many queues there are, each gets on by some work.
    pub(crate) fn work_at_least_once(&mut self) {
        self.work_left = self.work_left.max(1);
    }

    /// There is more to be done, by the next decision.
    pub(crate) fn go_on(&mut self) {
        self.again = true;
    }

    /// Takes some work from what one decision may cost: Filter waits meanwhile. The rest is for the next.
    /// Whether this decision may count all nodes for a size. It does so once at most: other sizes are packed as ever, and
    /// counted in a later decision.
    pub(crate) fn may_count_once(&mut self) -> bool {
        !std::mem::replace(&mut self.has_counted, true)
    }

    pub(crate) fn may_work(&mut self, nodes: usize) -> bool {
        let may = self.work_left > 0;
        self.work_left = self.work_left.saturating_sub(nodes);
        self.again |= !may;
        may
    }
}

/// Nodes that one decision looks at for gangs that did not fit at all a moment ago, about.
const HOPE_MAX: usize = 15_000;

impl Planner {
    /// Decides what has to be done. Cheap when nothing has changed. Empty while not synced or not leading.
    pub fn decide(&mut self, now_ms: i64) -> Decision {
        let Some(earliest_ms) = self.lead.filter(|_| self.synced) else {
            return Decision::default();
        };
        if !self.changed && self.wake_ms.is_none_or(|wake_ms| now_ms < wake_ms) {
            return Decision::default();
        }
        self.changed = false;
        let packs_left = self.config.packs_per_decide.max(1);
        let mut turn = Turn {
            now_ms,
            orders: Vec::new(),
            again: false,
            coming: BTreeMap::new(),
            packs_left,
            work_left: self.config.backfill_nodes_per_decide.max(1),
            has_counted: false,
            hope_left: HOPE_MAX,
            wake_ms: None,
        };
        self.expire(&mut turn);
        self.check_open(&mut turn);
        self.keep_headroom(&mut turn);
        self.repair(now_ms);
        self.compact(&mut turn);
        self.give_up_unclaimed(&mut turn);
        self.hold_back(now_ms < earliest_ms);
        if self.holds_back {
            turn.wake_at(earliest_ms);
        } else {
            self.place_missing(&mut turn);
            self.place_unplanned(&mut turn);
            self.keep_client_room(&mut turn);
            self.start_gangs(&mut turn);
            self.yield_client_room(&mut turn);
            self.claim();
            self.open_executors(&mut turn);
        }
        self.write_plans(&mut turn);
        self.ask_for_nodes(&mut turn);
        self.keep_nodes(&mut turn);
        self.free_stuck_executors(&mut turn);
        // Whoever is told why it waits is told until when, too.
        if self.holds_back || self.promise(&mut turn) {
            self.explain(&mut turn);
        }
        for finished in std::mem::take(&mut self.finished) {
            self.order(&mut turn, Action::Finished(Box::new(finished)), None);
        }
        if let Some(&(until_ms, _)) = self.assumed.first() {
            turn.wake_at(until_ms);
        }
        self.changed |= turn.again || self.nodes.any_worse();
        self.wake_ms = turn.wake_ms;
        Decision {
            orders: turn.orders,
            again: self.changed,
        }
    }

    /// Whether it leads and does not plan yet: every gang that waits has that for its reason.
    fn hold_back(&mut self, holds_back: bool) {
        if std::mem::replace(&mut self.holds_back, holds_back) != holds_back {
            self.gangs.touch_all();
        }
    }

    /// When `decide` has to be called at the latest even if nothing is fed; `None`: not before the next feed.
    pub fn next_wake(&self) -> Option<i64> {
        self.wake_ms
    }

    /// Gives an order its number; `target` where its failure matters.
    pub(crate) fn order(&mut self, turn: &mut Turn, action: Action, target: Option<Target>) -> OrderId {
        self.last_order += 1;
        if let Some(target) = target {
            if self.in_flight.len() >= IN_FLIGHT_MAX {
                self.in_flight
                    .retain(|_, (_, at_ms)| turn.now_ms.saturating_sub(*at_ms) < IN_FLIGHT_MS);
            }
            self.in_flight.insert(self.last_order, (target, turn.now_ms));
        }
        turn.orders.push(Order {
            id: self.last_order,
            action,
        });
        self.last_order
    }

    /// An order could not be carried out. Successes are not reported: the watch shows them.
    pub fn action_failed(&mut self, id: OrderId, failure: Failure, now_ms: i64) {
        let Some((target, _)) = self.in_flight.get(&id).cloned() else {
            return;
        };
        self.changed = true;
        if failure != Failure::Unknown {
            self.in_flight.remove(&id);
        }
        match target {
            Target::Gate(uid) => self.gate_failed(&uid, id, failure, now_ms),
            Target::ExecutorGate(uid) => self.executor_gate_failed(&uid, id, failure, now_ms),
            Target::Plan(uid) => {
                let gang = self.gangs.id(&uid).map(|id| &mut self.gangs[id]);
                if let Some(writing) = gang.and_then(|gang| gang.writing.as_mut())
                    && writing.0 == id
                {
                    // Written again after the rest, by counting from here.
                    writing.2 = now_ms.saturating_sub(WRITE_MS).saturating_add(self.config.retry_ms);
                }
            }
            Target::Demand(uid) => {
                if let Some(gang) = self.gangs.id(&uid) {
                    let demand = &mut self.gangs[gang].demand;
                    match &mut demand.active {
                        // Asked again after a while, in case it was not written.
                        Some(active) if active.order == id && failure == Failure::Unknown => active.pods = 0,
                        Some(active) if active.order == id => {
                            demand.active = None;
                            demand.rest_ms = Some(now_ms.saturating_add(10 * self.config.retry_ms));
                        }
                        _ => {}
                    }
                }
            }
            Target::Marker(uid, node) => {
                if let Some(gang) = self.gangs.id(&uid)
                    && let Some(asked) = self.gangs[gang].markers.get_mut(&node)
                    && asked.0 == id
                {
                    asked.1 = now_ms.saturating_sub(WRITE_MS).saturating_add(self.config.retry_ms);
                }
            }
        }
    }

    fn gate_failed(&mut self, uid: &str, order: OrderId, failure: Failure, now_ms: i64) {
        let Some(id) = self.gangs.id(uid) else { return };
        let gang = &self.gangs[id];
        if !matches!(gang.stage, Stage::Opening { order: opening, .. } if opening == order) {
            return;
        }
        // Whether it was written will be seen, or checked after a while.
        if failure == Failure::Unknown {
            return;
        }
        let version = self.pods.all[self.gangs[id].driver].version.clone();
        let waiting = &mut self.gangs[id].waiting;
        waiting.refusals = if failure == Failure::Refused {
            waiting.refusals.saturating_add(1)
        } else {
            0
        };
        let rest_ms = self.config.retry_ms.saturating_mul(1 << waiting.refusals.min(6));
        waiting.rest = Some((now_ms.saturating_add(rest_ms), version));
        self.close_again(id, now_ms);
    }

    /// The gate was certainly not opened: back to the queue, at the same place.
    fn close_again(&mut self, id: GangId, now_ms: i64) {
        self.drop_plan(id, now_ms);
        self.set_stage(id, Stage::Waiting);
    }

    /// Gives up what was assumed and did not come true.
    fn expire(&mut self, turn: &mut Turn) {
        while let Some(&(until_ms, id)) = self.assumed.first() {
            let binding = match self.pods.all.get(id).map(|pod| pod.place) {
                Some(Place::Assumed {
                    until_ms: still_ms,
                    binding,
                    ..
                }) if still_ms == until_ms => binding,
                _ => {
                    self.assumed.pop_first();
                    continue;
                }
            };
            if turn.now_ms < until_ms {
                turn.wake_at(until_ms);
                return;
            }
            self.assumed.pop_first();
            if binding {
                self.prolong(id, turn.now_ms);
                let pod = self.pods.reference(id);
                self.order(turn, Action::Check { pod }, None);
            } else {
                self.vacate(id, turn.now_ms);
                if let Some(executor) = self.pods.all[id].executor_mut() {
                    executor.opening = None;
                }
            }
        }
    }

    /// Assumed for another while.
    pub(crate) fn prolong(&mut self, id: PodId, now_ms: i64) {
        let until = now_ms.saturating_add(self.config.assume_ms);
        if let Place::Assumed { until_ms, .. } = &mut self.pods.all[id].place {
            *until_ms = until;
            self.assumed.insert((until, id));
        }
    }

    /// Gates whose opening is not seen, and ungated drivers that are not bound.
    fn check_open(&mut self, turn: &mut Turn) {
        self.attend();
        for id in self.attention.opening.iter().copied().collect::<Vec<_>>() {
            let driver = self.gangs[id].driver;
            match self.gangs[id].stage {
                Stage::Opening { order, since_ms } if turn.is_due(since_ms, self.config.plan_check_ms) => {
                    self.set_stage(
                        id,
                        Stage::Opening {
                            order,
                            since_ms: turn.now_ms,
                        },
                    );
                    let pod = self.pods.reference(driver);
                    self.order(turn, Action::Check { pod }, None);
                }
                Stage::Open(mut open) if self.gangs[id].held.is_some() => {
                    if !turn.is_due(open.since_ms, self.config.plan_check_ms) {
                        continue;
                    }
                    if open
                        .checked_ms
                        .is_none_or(|at_ms| turn.is_due(at_ms, self.config.plan_check_ms))
                    {
                        open.checked_ms = Some(turn.now_ms);
                        self.set_stage(id, Stage::Open(open));
                        let pod = self.pods.reference(driver);
                        self.order(turn, Action::Check { pod }, None);
                    }
                    let asked = self.scheduler_ms.is_some_and(|asked_ms| asked_ms >= open.since_ms);
                    let grace = open.since_ms.saturating_add(2 * self.config.plan_check_ms);
                    let waited = turn.is_due(open.since_ms, self.config.plan_hold_ms);
                    if open.binding.is_none() && (waited || (asked && turn.is_due(grace, 0))) {
                        self.abandon(id, turn.now_ms);
                    }
                }
                // Where the scheduler asks nothing here, it may ask another planner, which waits for a new plan.
                Stage::Open(mut open) if open.stuck => {
                    let since_ms = self
                        .scheduler_ms
                        .map_or(open.since_ms, |asked_ms| asked_ms.max(open.since_ms));
                    if turn.is_due(since_ms, self.config.plan_hold_ms) {
                        open.stuck = false;
                        self.set_stage(id, Stage::Open(open));
                    }
                }
                _ => {}
            }
        }
    }

    /// The scheduler does not bind a driver to its planned node: tries another node, or waits for it to ask again.
    fn abandon(&mut self, id: GangId, now_ms: i64) {
        let planned = self.gangs[id].held.map(|held| held.node);
        let seen = matches!(self.gangs[id].stage, Stage::Open(open) if open.absent_ms.is_some());
        self.drop_plan(id, now_ms);
        let gang = &mut self.gangs[id];
        // One node is avoided at a time: after another failure the first may do again.
        gang.avoid = planned.filter(|_| seen);
        if let Stage::Open(open) = &mut gang.stage {
            open.stuck = !seen;
        }
    }

    /// The answer to [`Action::Check`]: the pod as the API server has it, `None` if it is gone (or has another UID).
    pub fn checked(&mut self, uid: &str, pod: Option<&kompass_core::Pod>, now_ms: i64) {
        let Some(pod) = pod.filter(|pod| pod.uid == uid) else {
            self.delete_pod(uid, now_ms);
            return;
        };
        self.apply_pod(pod, now_ms);
        self.changed = true;
        let Some(id) = self.pods.all.id(uid) else { return };
        if let Some(gang) = self.gangs.id(uid)
            && let Stage::Opening { order, .. } = self.gangs[gang].stage
            && self.gangs[gang].gated
        {
            self.in_flight.remove(&order);
            self.close_again(gang, now_ms);
        }
        // What was read is older than the end of a Bind that is under way.
        if self.binds.contains_key(uid) {
            return;
        }
        if let Some(gang) = self.gangs.id(uid) {
            self.not_bound(gang, now_ms);
        }
        self.not_binding(id);
    }

    /// Writes plans that have changed since they were written.
    fn write_plans(&mut self, turn: &mut Turn) {
        self.attend();
        for id in self.attention.unwritten.iter().copied().collect::<Vec<_>>() {
            let gang = &self.gangs[id];
            if gang.writing.is_some_and(|(_, _, at_ms)| !turn.is_due(at_ms, WRITE_MS)) {
                continue;
            }
            let before_ms = gang
                .written
                .as_ref()
                .map(|plan| plan.planned_ms)
                .max(gang.writing.map(|writing| writing.1));
            if let Some(held) = &mut self.gangs[id].held {
                held.planned_ms = held
                    .planned_ms
                    .max(before_ms.map_or(i64::MIN, |ms| ms.saturating_add(1)));
            }
            let Some(plan) = self.render(id) else { continue };
            let planned_ms = plan.planned_ms;
            let driver = self.pods.reference(self.gangs[id].driver);
            let target = Target::Plan(self.gangs.uid(id).clone());
            let order = self.order(turn, Action::Replan { driver, plan }, Some(target));
            self.gangs[id].writing = Some((order, planned_ms, turn.now_ms));
            turn.wake_at(turn.now_ms.saturating_add(WRITE_MS));
        }
    }
}

/// A write that is neither seen nor failed by then is ordered again.
pub(crate) const WRITE_MS: i64 = 10_000;
/// Orders remembered, and for how long when there are more.
const IN_FLIGHT_MAX: usize = 8_192;
const IN_FLIGHT_MS: i64 = 60_000;
