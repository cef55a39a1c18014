//! Demand: lacks of room made visible to autoscalers, each gang's whole lack at once, bounded in number and size.

use std::collections::BTreeSet;

use kompass_core::Role;

use crate::action::{Action, Demand, Member};
use crate::decide::{Turn, WRITE_MS};
use crate::gang::{ActiveDemand, Gang, GangId};
use crate::planner::{Planner, Target};
use crate::pods::Kind;

impl Planner {
    /// Asks for nodes where gangs lack room, and ends what is no longer needed.
    pub(crate) fn ask_for_nodes(&mut self, turn: &mut Turn) {
        self.attend();
        let lacking = self.lacking();
        for id in self.attention.asking.iter().copied().collect::<Vec<_>>() {
            if !lacking.contains(&id) {
                self.end_demand(id, None);
            }
        }
        let (mut demands, mut pods) = (0, 0_u64);
        for id in lacking {
            let members = self.lack(id);
            let count = members
                .iter()
                .fold(0_u64, |sum, member| sum.saturating_add(member.count));
            let fits = demands < self.config.demands_max && pods.saturating_add(count) <= self.config.demand_pods_max;
            if count == 0 || !fits {
                self.end_demand(id, None);
            } else if self.demand(id, members, count, turn) {
                demands += 1;
                pods += count;
            }
        }
        self.release_demands(turn);
    }

    /// Gangs that lack room, in the order in which they are asked for: running ones, ungated ones, heads of queues (and
    /// what can't fit at all), and last running ones that want more than their minimum.
    fn lacking(&self) -> Vec<GangId> {
        let sorted = |among: &BTreeSet<GangId>, wanted: &dyn Fn(&Gang) -> bool| {
            let wanted = among.iter().filter(|&&id| wanted(&self.gangs[id]));
            let mut keys: Vec<_> = wanted.map(|&id| self.gangs[id].key(id)).collect();
            keys.sort_unstable();
            keys.into_iter().map(|key| key.gang)
        };
        let lacks = |gang: &Gang| gang.waiting.verdict.is_some() && !gang.is_stuck();
        let lacking = &self.attention.lacking;
        let mut ids: Vec<GangId> = sorted(lacking, &|gang| gang.is_bound() && lacks(gang)).collect();
        ids.extend(sorted(lacking, &|gang| gang.is_unplanned() && lacks(gang)));
        for queue in self.queues.names() {
            let waiting = self.queues.judged(queue).filter(|&id| lacks(&self.gangs[id]));
            ids.extend(waiting.take(self.config.demands_per_queue));
        }
        let wanting = &self.attention.wanting;
        ids.extend(sorted(wanting, &|gang| gang.is_bound() && !lacks(gang)));
        ids
    }

    /// What the gang lacks.
    fn lack(&self, id: GangId) -> Vec<Member> {
        let gang = &self.gangs[id];
        let executors = match (gang.is_bound(), gang.waiting.verdict) {
            (true, Some(_)) => self.unplaced(id),
            (true, None) => gang.extras.as_ref().map_or(0, |tried| tried.lacking),
            (false, _) => gang.minimum(),
        };
        let driver = &self.pods.all[gang.driver];
        // An ungated driver is itself visible to autoscalers.
        let driver = gang.gated.then(|| Member {
            role: Role::Driver,
            count: 1,
            requests: driver.requests.clone(),
            constraints: self.nodes.class_rules(gang.driver_class).clone(),
        });
        let executors = gang.shape.as_ref().filter(|_| executors > 0).map(|shape| Member {
            role: Role::Executor,
            count: executors,
            requests: if gang.corrected {
                gang.slots.request.clone()
            } else {
                shape.executor.clone()
            },
            constraints: self.nodes.class_rules(shape.class).clone(),
        });
        driver.into_iter().chain(executors).collect()
    }

    /// Keeps up a demand; tells whether there is one.
    fn demand(&mut self, id: GangId, members: Vec<Member>, pods: u64, turn: &mut Turn) -> bool {
        let gang = &self.gangs[id];
        let since_ms = gang
            .waiting
            .lacking_ms
            .or_else(|| gang.extras.as_ref().map(|tried| tried.since_ms));
        if !turn.is_due(since_ms.unwrap_or(turn.now_ms), self.config.demand_after_ms)
            || gang.demand.rest_ms.is_some_and(|rest_ms| !turn.is_due(rest_ms, 0))
        {
            return false;
        }
        let uid = self.gangs.uid(id).clone();
        if let Some(active) = self.gangs[id].demand.active.or_else(|| self.standing(&uid)) {
            self.gangs[id].demand.active = Some(active);
            if turn.is_due(active.deadline_ms, 0) {
                self.end_demand(id, Some(turn.now_ms.saturating_add(self.config.demand_pause_ms)));
                return false;
            }
            if pods <= active.pods || !turn.is_due(active.asked_ms, WRITE_MS) {
                return true;
            }
        }
        let deadline_ms = turn.now_ms.saturating_add(self.config.demand_ms);
        let driver = self.pods.reference(self.gangs[id].driver);
        let demand = Demand {
            gang: driver,
            members,
            deadline_ms,
        };
        let order = self.order(turn, Action::Demand(demand), Some(Target::Demand(uid.clone())));
        self.releases.remove(&*uid);
        self.gangs[id].demand.active = Some(ActiveDemand {
            order,
            pods,
            asked_ms: turn.now_ms,
            deadline_ms,
        });
        turn.wake_at(deadline_ms);
        true
    }

    /// A demand that another planner (or this one before a restart) has made: its stand-ins are there.
    fn standing(&self, uid: &str) -> Option<ActiveDemand> {
        let pods = self.stand_ins.get(uid)?;
        let created = pods.iter().filter_map(|&id| match &self.pods.all[id].kind {
            Kind::StandIn { created_ms, .. } if !self.pods.all[id].deleting => Some(*created_ms),
            _ => None,
        });
        let asked_ms = created.min()?;
        let deadline_ms = asked_ms.saturating_add(self.config.demand_ms);
        Some(ActiveDemand {
            order: 0,
            pods: pods.len() as u64,
            asked_ms,
            deadline_ms,
        })
    }

    fn end_demand(&mut self, id: GangId, rest_ms: Option<i64>) {
        let demand = &mut self.gangs[id].demand;
        demand.rest_ms = rest_ms.max(demand.rest_ms);
        if demand.active.take().is_some() {
            self.releases.insert(self.gangs.uid(id).as_ref().into(), None);
        }
    }

    fn release_demands(&mut self, turn: &mut Turn) {
        for uid in self.stand_ins.keys() {
            let needed = self
                .gangs
                .id(uid)
                .is_some_and(|id| self.gangs[id].demand.active.is_some());
            if !needed && !self.releases.contains_key(uid) {
                self.releases.insert(uid.clone(), None);
            }
        }
        for uid in self.releases.keys().cloned().collect::<Vec<_>>() {
            let last_ms = self.releases.get(&uid).copied().flatten();
            if last_ms.is_none_or(|last_ms| turn.is_due(last_ms, WRITE_MS)) {
                self.order(turn, Action::ReleaseDemand { gang: uid.to_string() }, None);
                self.releases.insert(uid.clone(), Some(turn.now_ms));
                turn.wake_at(turn.now_ms.saturating_add(WRITE_MS));
            } else if !self.stand_ins.contains_key(&uid) {
                self.releases.remove(&uid);
            }
        }
    }

    /// Whether nodes are asked for.
    pub(crate) fn asks(&self, id: GangId) -> bool {
        self.gangs[id].demand.active.is_some()
    }
}
