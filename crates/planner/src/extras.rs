//! Executors beyond the minimum: let through when there is room that nobody has reserved and no waiting gang claims.
//! And executors that can run nowhere.

use std::collections::BTreeMap;

use kompass_core::{Constraints, Resources, Spacing};

use crate::action::{Action, Failure};
use crate::classes::ClassId;
use crate::decide::Turn;
use crate::gang::{GangId, OrderKey, Stage};
use crate::nodes::NodeId;
use crate::pack::{Ask, View, pack};
use crate::planner::{Planner, Target};
use crate::pods::{Place, PodId, Seat};

/// Classes of rules of gangs that wait for room which they could have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claims(Vec<ClassId>);

/// A vain attempt to place executors: the state in which it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tried {
    grown: u64,
    gated: usize,
    claims: Claims,
    /// Since when none of them has found room.
    pub(crate) since_ms: i64,
    /// How many found none, though the limit of the queue lets them through.
    pub(crate) lacking: u64,
}

/// Executors that ask for the same.
struct Equals {
    requests: Resources,
    ports: Box<[u16]>,
    rules: Constraints,
    ids: Vec<PodId>,
}

impl Planner {
    /// Notes which gangs have a claim on room.
    pub(crate) fn claim(&mut self) {
        let mut classes: Vec<ClassId> = Vec::new();
        if !self.gated.is_empty() {
            self.attend();
            for &id in &self.attention.claiming {
                let gang = &self.gangs[id];
                if !gang.is_stuck() {
                    classes.extend(gang.shape.as_ref().map(|shape| shape.class));
                    classes.extend((!gang.is_bound()).then_some(gang.driver_class));
                }
            }
            classes.sort_unstable();
            classes.dedup();
        }
        self.claims = Claims(classes);
    }

    /// Opens the gates of executors that have a free slot, or for which there is unreserved room.
    pub(crate) fn open_executors(&mut self, turn: &mut Turn) {
        let mut gangs: BTreeMap<OrderKey, Vec<PodId>> = BTreeMap::new();
        for &id in &self.gated {
            if let Some(gang) = self.pods.all[id].gang()
                && self.gangs[gang].is_bound()
                && !self.is_doomed(gang)
                && self.may_open(id, turn)
            {
                gangs.entry(self.gangs[gang].key(gang)).or_default().push(id);
            }
        }
        self.attend();
        for id in self.attention.wanting.iter().copied().collect::<Vec<_>>() {
            if !gangs.contains_key(&self.gangs[id].key(id)) {
                self.gangs[id].extras = None;
            }
        }
        let mut claimed = None;
        for (key, mut executors) in gangs {
            executors.sort_by_key(|&id| self.pods.all[id].executor().map(|it| (it.created_ms, it.number)));
            // Slots that ungated executors will ask for are not given away before them.
            let mut slots = self.gangs[key.gang]
                .slots
                .free()
                .saturating_sub(self.on_their_way(key.gang));
            executors.retain(|&id| {
                let opened = slots > 0 && self.open_on_slot(id, key.gang, turn);
                slots -= u64::from(opened);
                !opened
            });
            if executors.is_empty() {
                self.gangs[key.gang].extras = None;
                continue;
            }
            let tried = &self.gangs[key.gang].extras;
            let known = |tried: &Tried| {
                tried.grown == self.nodes.grown && tried.gated == executors.len() && tried.claims == self.claims
            };
            if tried.as_ref().is_some_and(known) {
                continue;
            }
            if !turn.may_pack() {
                break;
            }
            let claimed: &Vec<bool> = claimed.get_or_insert_with(|| self.claimed());
            let gated = executors.len();
            let (left, lacking) = self.open_on_room(executors, key.gang, claimed, turn);
            let since_ms = self.gangs[key.gang]
                .extras
                .as_ref()
                .filter(|_| left == gated)
                .map(|tried| tried.since_ms);
            self.gangs[key.gang].extras = (left > 0).then(|| Tried {
                grown: self.nodes.grown,
                gated: left,
                claims: self.claims.clone(),
                since_ms: since_ms.unwrap_or(turn.now_ms),
                lacking: lacking as u64,
            });
        }
    }

    fn may_open(&self, id: PodId, turn: &mut Turn) -> bool {
        let pod = &self.pods.all[id];
        let Some(executor) = pod.executor() else { return false };
        let rests = executor
            .rest
            .as_ref()
            .is_some_and(|(until_ms, version)| *version == pod.version && !turn.is_due(*until_ms, 0));
        pod.place == Place::Nowhere && !executor.foreign_gate && executor.opening.is_none() && !rests
    }

    /// Executors of the gang that the scheduler will bring: ungated, without a place yet.
    fn on_their_way(&self, gang: GangId) -> u64 {
        let comes = |id: &&PodId| {
            let pod = &self.pods.all[**id];
            let ungated = pod
                .executor()
                .is_some_and(|executor| !executor.gated && !executor.foreign_gate);
            pod.place == Place::Nowhere && ungated && !pod.terminal && !pod.deleting
        };
        self.gangs[gang].executors.iter().filter(comes).count() as u64
    }

    fn open_on_slot(&mut self, id: PodId, gang: GangId, turn: &mut Turn) -> bool {
        let rules = self.pods.all[id]
            .executor()
            .map(|executor| executor.constraints.clone())
            .unwrap_or_default();
        let node = self.gangs[gang]
            .slots
            .groups
            .iter()
            .map(|group| group.node)
            .find(|&node| {
                self.slot_takes(gang, node, id)
                    && self.nodes.usable(node)
                    && self.nodes.node(node).is_some_and(|node| rules.allow(node))
            });
        if let Some(node) = node {
            self.open_executor(id, node, Seat::Slot, turn);
        }
        node.is_some()
    }

    /// Whether the gang has a free slot on the node that is large enough, with what is free beside it.
    pub(crate) fn slot_takes(&self, gang: GangId, node: NodeId, pod: PodId) -> bool {
        let (slots, pod) = (&self.gangs[gang].slots, &self.pods.all[pod]);
        let free = slots.free_on(node);
        // It takes over the ports of its slot; where there are more slots than one, the others can't be taken then.
        if free == 0 || !self.nodes.ports_free_besides(node, &pod.ports, &slots.ports, free) {
            return false;
        }
        if pod.requests.fits(&slots.request) {
            return true;
        }
        let mut room = self.nodes.free()[node.index()].resources.clone();
        room.add(&slots.request);
        !self.nodes.over(node) && pod.requests.fits(&room)
    }

    /// Opens as many gates as there is room for; returns how many executors are left over, and how many for lack of room.
    fn open_on_room(
        &mut self,
        executors: Vec<PodId>,
        gang: GangId,
        claimed: &[bool],
        turn: &mut Turn,
    ) -> (usize, usize) {
        let mut groups: Vec<Equals> = Vec::new();
        for id in executors {
            let pod = &self.pods.all[id];
            let Some(executor) = pod.executor() else { continue };
            let same = groups.iter_mut().find(|known| {
                known.requests == pod.requests && known.ports == pod.ports && known.rules == executor.constraints
            });
            match same {
                Some(known) => known.ids.push(id),
                None => groups.push(Equals {
                    requests: pod.requests.clone(),
                    ports: pod.ports.clone(),
                    rules: executor.constraints.clone(),
                    ids: vec![id],
                }),
            }
        }
        let (mut left, mut lacking) = (0, 0);
        for group in groups {
            let Equals {
                requests,
                ports,
                rules,
                mut ids,
            } = group;
            self.attend();
            let may = self.within_limit(&self.gangs[gang].queue, &requests, ids.len() as u64);
            left += ids
                .split_off(usize::try_from(may).unwrap_or(usize::MAX).min(ids.len()))
                .len();
            let class = self.acquire_executor_class(gang, &rules);
            let near = self.nodes_of(gang);
            // What ports it has is seen on the executor itself.
            let spacing = Spacing {
                host_ports: ports.into(),
                ..self.gangs[gang].spacing().cloned().unwrap_or_default()
            };
            let spacing = Some(&spacing).filter(|spacing| !spacing.is_none());
            let held = spacing.map_or_else(Vec::new, |_| self.executors_on(gang));
            let ask = Ask {
                driver: None,
                executor: &requests,
                class: Some(class),
                spacing,
                held: &held,
                driver_at: self.gangs[gang].held.map(|held| held.node),
                count: ids.len() as u64,
                partial: true,
                near: Some(&near),
                room: View::Now(Some(claimed)),
                zone: self.zone_of(gang),
                packing: self.packing(&self.gangs[gang].queue),
            };
            let found = pack(&self.nodes, &ask)
                .map(|placement| placement.executors)
                .unwrap_or_default();
            self.nodes.release_class(class);
            let mut ids = ids.into_iter();
            for (node, count) in found {
                for id in ids.by_ref().take(usize::try_from(count).unwrap_or(usize::MAX)) {
                    self.open_executor(id, node, Seat::Extra, turn);
                }
            }
            lacking += ids.len();
        }
        (left + lacking, lacking)
    }

    fn open_executor(&mut self, id: PodId, node: NodeId, seat: Seat, turn: &mut Turn) {
        self.assume(id, node, seat, turn.now_ms);
        let action = Action::OpenExecutorGate {
            executor: self.pods.reference(id),
            resource_version: self.pods.all[id].version.to_string(),
            node: self.nodes.name(node).to_string(),
        };
        let order = self.order(turn, action, Some(Target::ExecutorGate(self.pods.all.uid(id).clone())));
        if let Some(executor) = self.pods.all[id].executor_mut() {
            executor.opening = Some(order);
        }
        turn.wake_at(turn.now_ms.saturating_add(self.config.assume_ms));
    }

    /// An executor's gate could not be opened.
    pub(crate) fn executor_gate_failed(&mut self, uid: &str, order: u64, failure: Failure, now_ms: i64) {
        let Some(id) = self.pods.all.id(uid) else { return };
        let pod = &mut self.pods.all[id];
        let version = pod.version.clone();
        let rest_ms = now_ms.saturating_add(self.config.retry_ms);
        let Some(executor) = pod.executor_mut() else { return };
        // Where it is not known, the room is kept until it is given up in due time.
        if executor.opening == Some(order) && failure != Failure::Unknown {
            executor.opening = None;
            executor.rest = Some((rest_ms, version));
            self.vacate(id, now_ms);
        }
    }

    /// Which nodes waiting gangs claim, by node index.
    fn claimed(&self) -> Vec<bool> {
        let mut claimed = vec![false; self.nodes.free().len()];
        for &class in &self.claims.0 {
            claimed
                .iter_mut()
                .zip(self.nodes.allowed_empty(class))
                .for_each(|(claimed, &allowed)| *claimed |= allowed);
        }
        claimed
    }

    /// Deletes executors that are pinned to nodes none of which can take them: Spark makes others, which the webhook
    /// pins by the present plan.
    pub(crate) fn free_stuck_executors(&mut self, turn: &mut Turn) {
        if self.pinned.is_empty() {
            return;
        }
        // Thousands may be on their way to their slots: they are looked at now and then, not at every event.
        let again_ms = self.config.stuck_executor_ms / STUCK_LOOKS;
        if self
            .looked_ms
            .is_some_and(|at_ms| turn.now_ms >= at_ms && !turn.is_due(at_ms, again_ms))
        {
            return;
        }
        self.looked_ms = Some(turn.now_ms);
        turn.wake_at(turn.now_ms.saturating_add(again_ms));
        for id in self.pinned.iter().copied().collect::<Vec<PodId>>() {
            let stuck = self.pods.all[id].place == Place::Nowhere && self.runs_nowhere(id);
            let after_ms = self.config.stuck_executor_ms;
            let Some(executor) = self.pods.all[id].executor_mut() else {
                continue;
            };
            if !stuck {
                executor.stuck_ms = None;
                continue;
            }
            let since_ms = *executor.stuck_ms.get_or_insert(turn.now_ms);
            if turn.is_due(since_ms, after_ms) {
                executor.stuck_ms = Some(turn.now_ms);
                turn.wake_at(turn.now_ms.saturating_add(after_ms));
                let executor = self.pods.reference(id);
                self.order(turn, Action::DeleteExecutor { executor }, None);
            }
        }
    }

    /// None of the nodes that the executor is pinned to can take it, now or when another of its gang has left.
    fn runs_nowhere(&self, id: PodId) -> bool {
        let pod = &self.pods.all[id];
        let Some((executor, gang)) = pod.executor().and_then(|executor| Some((executor, executor.gang?))) else {
            return false;
        };
        if !matches!(self.gangs[gang].stage, Stage::Bound) {
            return false;
        }
        let names = executor
            .constraints
            .required_terms
            .iter()
            .flatten()
            .flat_map(|term| &term.fields);
        let mut nodes = names
            .flat_map(|field| &field.values)
            .filter_map(|name| self.nodes.find(name));
        // What is cheap and nearly always true comes first.
        !nodes.any(|node| {
            self.nodes.usable(node)
                && (self.slot_takes(gang, node, id)
                    || (self.nodes.fits(node, &pod.requests, &pod.ports) && self.peers_let(gang, node))
                    || self.is_leaving(gang, node))
                && self
                    .nodes
                    .node(node)
                    .is_some_and(|node| executor.constraints.allow(node))
        })
    }

    /// An executor of the gang is on its way off the node.
    fn is_leaving(&self, gang: GangId, node: NodeId) -> bool {
        self.gangs[gang].executors.iter().any(|&executor| {
            let pod = &self.pods.all[executor];
            pod.deleting && pod.seat().is_some_and(|(at, _)| at == node)
        })
    }
}

/// How often a pinned executor is looked at before it is deleted.
const STUCK_LOOKS: i64 = 10;
