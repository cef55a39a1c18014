//! The rule by which gangs start.
//!
//! **Within a queue** gangs start strictly by priority, then age, then arrival. Nobody overtakes the head but in these
//! cases, in which waiting behind it would help nobody:
//! - it would not fit even if all of KOMPASS's pods were gone (then nodes are asked for; once there, it is the head
//!   again with all its rights);
//! - its namespace's resource quota has no room, another gate than KOMPASS's is closed, or its profile is not written;
//! - the API server has refused to open its gate three times in a row;
//! - by the rule of the module `backfill`, where that is switched on.
//!
//! Nor does a gang start that would bring its queue above its limit; it holds up its own queue, and no other.
//!
//! **Between queues** those within their guarantee are next, then the one with the smallest dominant share by weight (see
//! the module `share`), of equal ones the one that started least recently. While the head of a queue within its guarantee
//! waits for room, no queue starts that is not. Any other head that waits for room does not hold up other queues until
//! `overtakes_max` gangs have passed it (the same holds for a running gang that lost slots and for an ungated driver that
//! lost its plan); from then on nothing starts before it but what was passed over as often. A head whose driver is soon
//! given up by whoever has submitted it (`start_within_ms` of its profile) stands as if it had been passed that often, but
//! behind those that were. So, counting from the moment
//! at which a gang is the head and would fit without KOMPASS's pods, at most `overtakes_max` gangs of other queues start
//! before it, and one of each queue whose head is in the same state; after these it starts at the latest when all gangs
//! that run have ended, whatever is submitted behind it.
//!
//! Executors beyond a gang's minimum don't go to nodes that such a waiting gang could use.
//!
//! Room that is set aside for executors of client mode (see the module `client`) counts for those that wait as one gang more
//! that started before them, and whoever goes before all others gets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kompass_core::Resources;
use kompass_core::wait::WaitCode;

use crate::action::Action;
use crate::decide::Turn;
use crate::gang::{Behind, Gang, GangId, Lack, OrderKey, Stage, Verdict};
use crate::pack::{Ask, DriverAsk, Placement, View, looks_at, pack};
use crate::planner::{Planner, Target};
use crate::quota::Usage;

/// What became of a queue's head.
enum Head {
    /// Started.
    Started(GangId),
    /// Nobody of this queue can start now.
    Blocked,
    /// The budget of this call is used up.
    Unknown,
}

/// What the limit of a queue means for a gang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limited {
    Not,
    /// Until others of the queue have ended.
    Now,
    /// It alone would be above it.
    Always,
}

/// Ungated drivers of a queue that have no plan.
#[derive(Debug, Clone, Copy, Default)]
struct Lost {
    count: usize,
    /// One of them has a claim on room before all that wait.
    first: bool,
}

/// After this many refusals in a row a gang no longer holds up its queue.
const REFUSALS_MAX: u32 = 3;

impl Planner {
    /// Ungated drivers that lost their plan, the oldest first: they can't be gated again.
    pub(crate) fn place_unplanned(&mut self, turn: &mut Turn) {
        self.attend();
        let waits = |(id, gang): &(GangId, &Gang)| !gang.is_stuck() && !self.is_doomed(*id);
        let mut ids: Vec<GangId> = self.unplanned().filter(waits).map(|(id, _)| id).collect();
        ids.sort_by_key(|&id| self.gangs[id].key(id));
        for id in ids {
            if self.is_vain(id, turn) || !turn.may_pack() {
                continue;
            }
            match self.look(id, None) {
                Ok(placement) => self.hold(id, &placement, turn.now_ms),
                Err(lack) => match &mut self.gangs[id] {
                    // Only the node that the scheduler could not use would do: it has to ask for it itself.
                    Gang {
                        avoid: avoid @ Some(_),
                        stage: Stage::Open(open),
                        ..
                    } => {
                        *avoid = None;
                        open.stuck = true;
                    }
                    _ => self.condemn(id, lack, turn),
                },
            }
        }
    }

    /// Opens the gates of gangs whose turn has come and that fit.
    pub(crate) fn start_gangs(&mut self, turn: &mut Turn) {
        let mut blocked: BTreeSet<Arc<str>> = BTreeSet::new();
        let lost = self.lost_by_queue();
        // The head of a queue within its guarantee waits for room.
        let mut reclaims = false;
        let mut before = None;
        loop {
            self.attend();
            self.press(turn);
            let overdue = self.overdue();
            if overdue != before && before.is_some() {
                // Whoever was held up by it is not any more: it has started, or has no claim on room after all.
                blocked.clear();
                reclaims = false;
            }
            before = overdue;
            let next = self
                .queues_by_turn()
                .into_iter()
                .find(|(_, queue)| !blocked.contains(queue));
            let Some((guaranteed, queue)) = next else { break };
            let reclaimed = reclaims && !guaranteed;
            let mut judged = Vec::new();
            let judged_before = self.queues.take_judged(&queue);
            let lost = lost.get(&queue).copied().unwrap_or_default();
            let (held_up, head) = self.start_head(&queue, lost, overdue, reclaimed, &mut judged, turn);
            match head {
                Head::Started(id) => {
                    judged.extend(judged_before);
                    self.queues.started(&queue);
                    self.count_overtake(id, &queue);
                }
                Head::Blocked => {
                    let claims = |key: &OrderKey| self.gangs[key.gang].waiting.verdict.is_some_and(Verdict::is_now);
                    reclaims |= guaranteed && !held_up && judged.iter().any(claims);
                    self.forget_judged(&queue, judged_before, &mut judged, held_up);
                    blocked.insert(queue.clone());
                }
                Head::Unknown => {
                    judged.extend(judged_before);
                    turn.again = true;
                }
            }
            self.queues.put_judged(&queue, judged);
            if turn.again && matches!(head, Head::Unknown) {
                break;
            }
        }
    }

    /// What was said of gangs that were not come to this time is no longer true: others are before them.
    fn forget_judged(&mut self, queue: &str, before: Vec<OrderKey>, judged: &mut Vec<OrderKey>, held_up: bool) {
        let now: BTreeSet<OrderKey> = judged.iter().copied().collect();
        for key in before.into_iter().filter(|key| !now.contains(key)) {
            if !self.queues.holds(queue, &key) {
                continue;
            }
            let waiting = &mut self.gangs[key.gang].waiting;
            (waiting.code, waiting.behind) = (None, None);
            if held_up {
                judged.push(key);
            } else {
                // Only a head has a claim.
                (waiting.verdict, waiting.lacking_ms) = (None, None);
            }
        }
    }

    /// Ungated drivers without a plan.
    pub(crate) fn unplanned(&self) -> impl Iterator<Item = (GangId, &Gang)> {
        let opening = &self.attention.opening;
        let touched = self.gangs.touched().iter().filter(|id| !opening.contains(id));
        let ids = opening.iter().chain(touched);
        ids.filter_map(|&id| Some((id, self.gangs.get(id)?)))
            .filter(|(_, gang)| gang.is_unplanned())
    }

    /// Ungated drivers without a plan, by queue.
    fn lost_by_queue(&self) -> BTreeMap<Arc<str>, Lost> {
        let mut lost: BTreeMap<Arc<str>, Lost> = BTreeMap::new();
        for (_, gang) in self.unplanned() {
            let here = lost.entry(gang.queue.clone()).or_default();
            here.count += 1;
            here.first |= !gang.is_stuck() && gang.waiting.verdict.is_some_and(Verdict::is_now);
        }
        lost
    }

    /// The gang that was overtaken so often that nothing may start before it; or, where there is none, that is soon given
    /// up by whoever has submitted it.
    fn overdue(&self) -> Option<GangId> {
        let claiming = self.attention.claiming.iter().map(|&id| (id, &self.gangs[id]));
        claiming
            .filter(|(_, gang)| self.is_overdue(gang) && !gang.is_stuck())
            .map(|(id, gang)| (!self.is_passed(gang), gang.key(id)))
            .min()
            .map(|(_, key)| key.gang)
    }

    /// Whether the gang goes before all others once it has a claim on room.
    pub(crate) fn is_overdue(&self, gang: &Gang) -> bool {
        self.is_passed(gang) || gang.waiting.pressed
    }

    fn is_passed(&self, gang: &Gang) -> bool {
        gang.waiting.overtaken >= self.config.overtakes_max
    }

    /// Notes which of those that have a claim on room have little time left to run.
    fn press(&mut self, turn: &mut Turn) {
        for id in self.attention.claiming.iter().copied().collect::<Vec<_>>() {
            let gang = &self.gangs[id];
            let Some(within_ms) = gang
                .start_within_ms
                .filter(|_| !gang.waiting.pressed && !gang.is_bound())
            else {
                continue;
            };
            if turn.is_due(gang.created_ms, within_ms.saturating_sub(self.config.start_margin_ms)) {
                self.gangs[id].waiting.pressed = true;
                self.attend();
            }
        }
    }

    /// What becomes of a queue's head, and whether the queue is held up by others. Who was judged is added to `judged`.
    fn start_head(
        &mut self,
        queue: &Arc<str>,
        lost: Lost,
        overdue: Option<GangId>,
        reclaimed: bool,
        judged: &mut Vec<OrderKey>,
        turn: &mut Turn,
    ) -> (bool, Head) {
        let closed = lost.count >= self.config.unplanned_max;
        let here = |id: GangId| self.gangs[id].stage == Stage::Waiting && self.gangs[id].queue == *queue;
        let mine = overdue.is_some_and(here);
        let held_up = lost.first || (overdue.is_some() && !mine) || (reclaimed && !mine);
        let mut head = None;
        let mut before = None;
        while let Some(key) = self.queues.after(queue, before) {
            let id = key.gang;
            before = Some(key);
            judged.push(key);
            if let Some(code) = self.exempt(id, turn) {
                let waiting = &mut self.gangs[id].waiting;
                (waiting.code, waiting.verdict, waiting.lacking_ms) = (Some(code), None, None);
                continue;
            }
            if closed {
                // Without a claim on room: it would hold up all other queues, and can't start itself.
                let waiting = &mut self.gangs[id].waiting;
                (waiting.code, waiting.verdict, waiting.lacking_ms) = (Some(WaitCode::QueueLimit), None, None);
                continue;
            }
            match self.limits(id) {
                Limited::Not => {}
                // Waiting would help nobody.
                Limited::Always => {
                    let waiting = &mut self.gangs[id].waiting;
                    (waiting.code, waiting.verdict, waiting.lacking_ms) = (Some(WaitCode::QueueLimit), None, None);
                    continue;
                }
                Limited::Now => {
                    let waiting = &mut self.gangs[id].waiting;
                    (waiting.code, waiting.verdict, waiting.lacking_ms) = (Some(WaitCode::QueueLimit), None, None);
                    break;
                }
            }
            self.gangs[id].waiting.behind = None;
            if held_up {
                let waiting = &mut self.gangs[id].waiting;
                waiting.code = Some(WaitCode::BehindOthers);
                waiting.behind = Some(match overdue {
                    _ if lost.first => Behind::Lost,
                    Some(gang) if !mine => Behind::Overdue(gang),
                    _ => Behind::Guaranteed,
                });
                break;
            }
            if self.rests(id, turn) {
                self.gangs[id].waiting.code = Some(WaitCode::Replanning);
                break;
            }
            if !self.is_vain(id, turn) {
                let found = match self.lack_of_those_alike(id) {
                    Some(lack) => Err(lack),
                    None if !turn.may_pack() => return (held_up, Head::Unknown),
                    None => self.look(id, None),
                };
                match found {
                    Ok(placement) => {
                        self.start(id, &placement, turn);
                        return (held_up, Head::Started(id));
                    }
                    Err(lack) => self.condemn(id, lack, turn),
                }
            }
            let waiting = &mut self.gangs[id].waiting;
            match waiting.verdict.map(|verdict| verdict.lack) {
                Some(Lack::Ever) => waiting.code = Some(WaitCode::TooLarge),
                Some(Lack::Match) => waiting.code = Some(WaitCode::NoMatchingNode),
                Some(Lack::Now) | None => {
                    waiting.code = Some(WaitCode::NoRoom);
                    head = Some(id);
                    break;
                }
            }
        }
        if let Some(head) = head
            && let Some(started) = self.backfill(queue, head, turn)
        {
            return (held_up, Head::Started(started));
        }
        (held_up, Head::Blocked)
    }

    /// Whether the limit of its queue lets the gang start.
    pub(crate) fn limits(&self, id: GangId) -> Limited {
        let queue = &self.gangs[id].queue;
        if !self.is_limited(queue) {
            return Limited::Not;
        }
        let needs = self.needs(id);
        if self.over_limit(queue, &needs).is_none() {
            Limited::Not
        } else if self.over_limit_alone(queue, &needs).is_some() {
            Limited::Always
        } else {
            Limited::Now
        }
    }

    /// Why a gang neither starts now nor holds up others.
    pub(crate) fn exempt(&self, id: GangId, turn: &mut Turn) -> Option<WaitCode> {
        let gang = &self.gangs[id];
        if gang.foreign_gate {
            return Some(WaitCode::ForeignGate);
        }
        if gang.shape.is_none() {
            let until_ms = gang.created_ms.saturating_add(self.config.profile_hold_ms);
            if turn.now_ms < until_ms {
                turn.wake_at(until_ms);
                return Some(WaitCode::NoProfile);
            }
        }
        if self.is_doomed(id) {
            return Some(WaitCode::BehindOthers);
        }
        if gang.waiting.refusals >= REFUSALS_MAX && self.rests(id, turn) {
            return Some(WaitCode::Replanning);
        }
        self.short_quota(id, turn).is_some().then_some(WaitCode::ResourceQuota)
    }

    /// The driver is being deleted.
    pub(crate) fn is_doomed(&self, id: GangId) -> bool {
        self.pods.all[self.gangs[id].driver].deleting
    }

    /// Whether a write has failed lately and the object has not changed since.
    pub(crate) fn rests(&self, id: GangId, turn: &mut Turn) -> bool {
        let gang = &self.gangs[id];
        let Some((until_ms, version)) = &gang.waiting.rest else {
            return false;
        };
        *version == self.pods.all[gang.driver].version && !turn.is_due(*until_ms, 0)
    }

    /// The quota of the gang's namespace that can't take its executors.
    fn short_quota(&self, id: GangId, turn: &mut Turn) -> Option<&str> {
        let gang = &self.gangs[id];
        let shape = gang.shape.as_ref().filter(|shape| shape.minimum > 0)?;
        if !self.quotas.any(&gang.namespace) {
            return None;
        }
        let coming = turn
            .coming
            .entry(gang.namespace.clone())
            .or_insert_with(|| self.coming(&gang.namespace));
        let mut more = coming.clone();
        more.add(&shape.executor, shape.minimum);
        self.quotas.short_of(&gang.namespace, &more)
    }

    /// What gangs of the namespace that were let in have still to create.
    fn coming(&self, namespace: &str) -> Usage {
        let mut coming = Usage::default();
        for (_, gang) in self.gangs.iter().filter(|(_, gang)| *gang.namespace == *namespace) {
            if let (Some(shape), true) = (&gang.shape, gang.stage != Stage::Waiting) {
                let alive = gang
                    .executors
                    .iter()
                    .filter(|&&executor| !self.pods.all[executor].terminal)
                    .count();
                coming.add(&shape.executor, gang.minimum().saturating_sub(alive as u64));
            }
        }
        coming
    }

    /// Looks for room for a whole gang without a bound driver; `among` limits the driver's nodes. The gang must not
    /// hold a plan.
    pub(crate) fn look(&self, id: GangId, among: Option<&[bool]>) -> Result<Placement, Lack> {
        let gang = &self.gangs[id];
        let ask = self.ask(id, among);
        match self.pack_now(&ask) {
            Some(placement) if self.is_too_long(&placement) => return Err(Lack::Ever),
            Some(placement) => return Ok(placement),
            None => {}
        }
        let ask = Ask {
            room: View::Empty,
            driver: ask.driver.map(|driver| DriverAsk { among: None, ..driver }),
            ..ask
        };
        if pack(&self.nodes, &ask).is_some() {
            return Err(Lack::Now);
        }
        let any = |class| self.nodes.allowed_empty(class).contains(&true);
        let shape = gang.shape.as_ref().filter(|shape| shape.minimum > 0);
        let matched = any(gang.driver_class) && shape.is_none_or(|shape| any(shape.class));
        Err(if matched { Lack::Ever } else { Lack::Match })
    }

    /// Room for a gang now, in a plan that can be written.
    pub(crate) fn room_now(&self, ask: &Ask<'_>) -> Option<Placement> {
        self.pack_now(ask).filter(|placement| !self.is_too_long(placement))
    }

    fn pack_now(&self, ask: &Ask<'_>) -> Option<Placement> {
        (!self.is_short(ask)).then(|| pack(&self.nodes, ask)).flatten()
    }

    /// Whether there certainly is no room now; cheap.
    pub(crate) fn is_short(&self, ask: &Ask<'_>) -> bool {
        ask.count > 0 && !self.nodes.may_take(ask.executor, ask.count)
    }

    /// What a gang without a bound driver asks of the packing; `among` limits the driver's nodes.
    pub(crate) fn ask<'a>(&'a self, id: GangId, among: Option<&'a [bool]>) -> Ask<'a> {
        static NOTHING: Resources = Resources::new(0, 0);
        let gang = &self.gangs[id];
        let driver = &self.pods.all[gang.driver];
        Ask {
            driver: Some(DriverAsk {
                requests: &driver.requests,
                ports: &driver.ports,
                class: gang.driver_class,
                among,
                avoid: gang.avoid,
            }),
            executor: gang.shape.as_ref().map_or(&NOTHING, |shape| &shape.executor),
            class: gang.shape.as_ref().map(|shape| shape.class),
            spacing: gang.spacing(),
            held: &[],
            driver_at: gang.held.filter(|_| gang.is_bound()).map(|held| held.node),
            count: gang.minimum(),
            partial: false,
            near: None,
            room: View::Now(None),
            zone: None,
            packing: self.packing(&gang.queue),
        }
    }

    /// Whether looking for room again would give the same answer as the last time.
    pub(crate) fn is_vain(&self, id: GangId, turn: &mut Turn) -> bool {
        let Some(verdict) = self.gangs[id].waiting.verdict else {
            return false;
        };
        if verdict.grown == self.nodes.grown && verdict.capacity == self.nodes.capacity {
            return true;
        }
        // Gangs of many sizes that can't fit must not each be packed on every event.
        let again_ms = verdict.at_ms.saturating_add(HOPELESS_MS);
        if verdict.lack == Lack::Now || turn.now_ms < verdict.at_ms || turn.now_ms >= again_ms {
            return false;
        }
        let may_look =
            self.lack_of_those_alike(id).is_some() || turn.may_hope(2 * looks_at(&self.nodes, &self.ask(id, None)));
        if !may_look {
            turn.wake_at(again_ms);
        }
        !may_look
    }

    /// What was found for a gang that needs the same, with the nodes as they are.
    fn lack_of_those_alike(&self, id: GangId) -> Option<Lack> {
        let gang = &self.gangs[id];
        let listed = gang.listed.filter(|_| gang.avoid.is_none())?;
        let state = (self.nodes.grown, self.nodes.capacity);
        self.queues.lack(&gang.queue, listed, state)
    }

    /// Keeps the answer that there is no room.
    pub(crate) fn condemn(&mut self, id: GangId, lack: Lack, turn: &mut Turn) {
        let (grown, capacity) = (self.nodes.grown, self.nodes.capacity);
        let gang = &self.gangs[id];
        if let Some(listed) = gang.listed.filter(|_| gang.avoid.is_none()) {
            self.queues.note_lack(&gang.queue, listed, (grown, capacity), lack);
        }
        let waiting = &mut self.gangs[id].waiting;
        waiting.verdict = Some(Verdict {
            grown,
            capacity,
            at_ms: turn.now_ms,
            lack,
        });
        waiting.lacking_ms.get_or_insert(turn.now_ms);
    }

    pub(crate) fn start(&mut self, id: GangId, placement: &Placement, turn: &mut Turn) {
        self.keep_promise(id, turn.now_ms);
        self.hold(id, placement, turn.now_ms);
        let Some(plan) = self.render(id) else { return };
        let driver = self.gangs[id].driver;
        let resource_version = self.pods.all[driver].version.to_string();
        let order = self.order(
            turn,
            Action::OpenGate {
                driver: self.pods.reference(driver),
                resource_version,
                plan,
            },
            Some(Target::Gate(self.gangs.uid(id).clone())),
        );
        self.set_stage(
            id,
            Stage::Opening {
                order,
                since_ms: turn.now_ms,
            },
        );
        turn.coming.remove(&self.gangs[id].namespace);
    }

    /// One more gang has started before those that wait for room: heads of other queues and gangs that lost room.
    fn count_overtake(&mut self, started: GangId, queue: &Arc<str>) {
        self.attend();
        for id in self.attention.claiming.iter().copied().collect::<Vec<_>>() {
            let gang = &mut self.gangs[id];
            let other = gang.stage != Stage::Waiting || gang.queue != *queue;
            if id != started && other {
                gang.waiting.overtaken += 1;
            }
        }
    }
}

/// How long a gang that does not fit at all is not looked at again, where there are many.
const HOPELESS_MS: i64 = 250;
