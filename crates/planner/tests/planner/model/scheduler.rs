//! kube-scheduler: what it asks Filter, and how its Binds go.

use std::rc::Rc;

use kompass_core::names::SCHEDULER;
use kompass_core::{Node, Pod, Role};
use kompass_planner::{BindResult, FilterAnswer, GangState};

use super::act::{DEADLINE_MS, Ghost, Model, pick};
use super::api::has_ended;
use super::check;
use super::edge::forget_shed;
use super::peers;
use super::replica::{Bind, Promise, Replica};
use super::steps::{Fate, List};

impl Model {
    /// Pods that kube-scheduler has to place.
    pub(crate) fn pending(&self) -> Vec<String> {
        let binds = self.replicas[self.scheduler]
            .as_ref()
            .map_or(&[][..], |replica| &replica.binds);
        self.api.uids(|pod| {
            pod.node.is_none()
                && pod.gates.is_empty()
                && pod.scheduler == SCHEDULER
                && !has_ended(pod)
                && !pod.deleting
                && !binds.iter().any(|bind| bind.uid == pod.uid)
        })
    }

    pub(crate) fn list(&self, uid: &str, list: List) -> Vec<String> {
        let pod = &self.api.pods[uid];
        let open = |node: &&Rc<Node>| node.ready && !node.cordoned && pod.constraints.allow(node);
        let fits = |node: &&Rc<Node>| {
            !matches!(list, List::Fitting)
                || self.api.bound_on(&node.name) + pod.requests.cpu_milli <= node.allocatable.cpu_milli
        };
        // What it has begun to bind it counts already.
        let binds = self.replicas[self.scheduler].iter().flat_map(|replica| &replica.binds);
        let soon = binds.filter_map(|bind| Some((&**self.api.pods.get(&bind.uid)?, &*bind.node)));
        let soon: Vec<(&Pod, &str)> = soon.collect();
        let names = self
            .api
            .nodes
            .values()
            .filter(open)
            .filter(fits)
            .filter(|node| self.api.lets(pod, &node.name, &soon))
            .map(|node| node.name.clone());
        let mut names: Vec<String> = names.collect();
        match list {
            List::Fitting | List::Whole => {}
            List::Sample(count, from) => {
                let from = usize::from(from) % names.len().max(1);
                names.rotate_left(from);
                names.truncate(count.into());
                names.push("never-heard-of".into());
            }
            List::One(which) => names = pick(which, names).into_iter().collect(),
        }
        names
    }

    fn ask(&mut self, index: usize, uid: &str, nodes: &[String]) -> Option<FilterAnswer> {
        let now_ms = self.api.now_ms;
        let leads = self.leader == Some(index);
        let replica = self.replicas[index].as_mut()?;
        let pod = self.api.pods.get(uid)?;
        replica.note(pod, now_ms);
        forget_shed(replica);
        let answer = replica.planner.filter(pod, nodes, now_ms);
        if let FilterAnswer::Node(node) = &answer {
            assert!(nodes.contains(node), "{node} was not in the list");
            // While a Bind is under way no other node is named.
            let open = replica.told.is_usable(node) || replica.binds(uid);
            assert!(!leads || open, "{uid} is sent to {node}, which is not open");
            if pod.role != Some(Role::Driver) {
                let until_ms = now_ms + self.config.assume_ms;
                let known = replica.promises.get(uid).filter(|promise| promise.node == *node);
                let mut promise = known.cloned().unwrap_or_else(|| Promise {
                    node: node.clone(),
                    until_ms,
                    binding: false,
                    doubtful: false,
                });
                promise.doubtful = false;
                replica.promises.insert(uid.into(), promise);
            }
        } else if !matches!(answer, FilterAnswer::NotReady(_))
            && replica.promises.get(uid).is_some_and(|promise| !promise.binding)
        {
            // Looked for another place in vain: what was kept for it may be free now.
            replica.promises.remove(uid);
        }
        if leads {
            let gangs = replica.planner.gangs();
            check::room(replica, &gangs, now_ms);
        }
        self.check_books(index);
        Some(answer)
    }

    /// Invariant 3: repeated calls change nothing.
    pub(crate) fn ask_repeatedly(&mut self, index: usize, uid: &str, nodes: &[String]) {
        let first = self.ask(index, uid, nodes);
        let view = self.replicas[index].as_ref().map(|replica| replica.planner.gangs());
        for _ in 0..2 {
            assert_eq!(self.ask(index, uid, nodes), first, "{uid} gets another answer");
            let again = self.replicas[index].as_ref().map(|replica| replica.planner.gangs());
            assert_eq!(again, view, "Filter has changed something");
        }
    }

    /// One round of kube-scheduler over a pod: its Bind is under way then.
    pub(crate) fn schedule(&mut self, uid: &str, list: List) -> bool {
        self.choose(uid, list)
            && self
                .chosen
                .pop()
                .is_some_and(|(index, uid, node)| self.start_bind(index, &uid, &node))
    }

    /// kube-scheduler asks Filter. Tells whether it got a node.
    pub(crate) fn choose(&mut self, uid: &str, list: List) -> bool {
        let nodes = self.list(uid, list);
        if nodes.is_empty() {
            return false;
        }
        match self.ask(self.scheduler, uid, &nodes) {
            Some(FilterAnswer::Node(node)) => {
                self.chosen.push((self.scheduler, uid.into(), node));
                true
            }
            _ => false,
        }
    }

    pub(crate) fn start_bind(&mut self, index: usize, uid: &str, node: &str) -> bool {
        let now_ms = self.api.now_ms;
        let leads = self.leader == Some(index);
        let Some(replica) = &mut self.replicas[index] else {
            return false;
        };
        forget_shed(replica);
        let again = replica.binds(uid);
        let Ok(order) = replica.planner.bind_started(uid, node, now_ms) else {
            return false;
        };
        let Some(pod) = replica.told.pods.get(uid).cloned() else {
            panic!("{uid} is bound although it is gone");
        };
        replica.binds.push(Bind {
            uid: uid.into(),
            node: node.into(),
            plan: order.plan.clone(),
            deadline_ms: now_ms + DEADLINE_MS,
        });
        if pod.node.is_some() {
            // The API server will say so too.
        } else if pod.role == Some(Role::Driver) {
            // Invariant 2.
            let gangs = replica.planner.gangs();
            let gang = gangs.iter().find(|gang| gang.uid == uid).expect("its gang is known");
            let wanted = check::minimum_of(&pod, &self.config);
            let planned = order.plan.as_ref().or(pod.plan.as_ref());
            let complete = planned.is_some_and(|plan| plan.executor_count() == wanted && plan.driver == node);
            assert!(complete, "a driver without its gang: {planned:?}, {gang:?}");
            assert_eq!(gang.slots_missing, 0, "{gang:?}");
            assert!(
                !leads || again || peers::lets_now(&replica.told, &pod, node),
                "{uid} is bound to {node} where others don't let it: {gang:?}"
            );
        } else {
            let until_ms = now_ms + self.config.assume_ms;
            let promise = Promise {
                node: node.into(),
                until_ms,
                binding: true,
                doubtful: false,
            };
            replica.promises.insert(uid.into(), promise);
        }
        if leads {
            let gangs = replica.planner.gangs();
            check::room(replica, &gangs, now_ms);
        }
        self.check_books(index);
        true
    }

    /// A Binding reaches the API server.
    pub(crate) fn write_bind(&mut self, bind: &Bind) -> BindResult {
        match self.api.pods.get(&bind.uid) {
            Some(pod) if pod.node.as_ref() == Some(&bind.node) => BindResult::Bound,
            Some(pod) if let Some(other) = &pod.node => BindResult::Elsewhere(other.clone()),
            Some(pod) if pod.gates.is_empty() && !has_ended(pod) && !pod.deleting => {
                self.api.bind(&bind.uid, &bind.node, bind.plan.clone());
                BindResult::Bound
            }
            _ => BindResult::Failed,
        }
    }

    pub(crate) fn land(&mut self, which: u8, fate: Fate) {
        let under_way = |replica: &Option<Replica>| replica.as_ref().map_or(0, |replica| replica.binds.len());
        let (first, second) = (under_way(&self.replicas[0]), under_way(&self.replicas[1]));
        let Some(at) = usize::from(which).checked_rem(first + second) else {
            return;
        };
        let (index, at) = if at < first { (0, at) } else { (1, at - first) };
        let Some(replica) = &mut self.replicas[index] else {
            return;
        };
        let bind = replica.binds.swap_remove(at);
        let written = matches!(fate, Fate::Written | Fate::LostAnswer);
        let result = if written {
            self.write_bind(&bind)
        } else {
            BindResult::Failed
        };
        let now_ms = self.api.now_ms;
        let result = match fate {
            Fate::LostAnswer | Fate::Lost | Fate::Late => BindResult::Unknown,
            _ => result,
        };
        let Some(replica) = &mut self.replicas[index] else {
            return;
        };
        // A refusal shows where it is.
        if let (BindResult::Elsewhere(_), Some(pod)) = (&result, self.api.pods.get(&bind.uid)) {
            replica.tell_pod(pod, now_ms);
        }
        replica.bind_done(&bind, &result, now_ms);
        if matches!(fate, Fate::Late) {
            self.ghosts.push(Ghost::Bind(bind));
        }
        self.check_books(index);
    }

    /// kube-scheduler goes over all pods, and everything goes well.
    pub(crate) fn schedule_all(&mut self) {
        for uid in self.pending() {
            if self.schedule(&uid, List::Fitting) {
                let binds = |replica: &Option<Replica>| replica.as_ref().map_or(0, |replica| replica.binds.len());
                let first = binds(&self.replicas[0]);
                let last = if self.scheduler == 0 {
                    first
                } else {
                    first + binds(&self.replicas[1])
                };
                self.land(u8::try_from(last - 1).expect("few are under way"), Fate::Written);
            }
        }
        self.api.kubelets();
    }

    /// Whether the gang of a driver has all that it needs.
    pub(crate) fn is_complete(gang: &kompass_planner::GangView) -> bool {
        matches!(gang.state, GangState::DriverBound | GangState::Running)
            && gang.executors_bound >= gang.executors_min.unwrap_or(0)
    }
}
