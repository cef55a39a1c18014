//! What happens at the edge of the planners: watches, decisions, orders, Filter and Bind.

use std::rc::Rc;

use kompass_core::names::SCHEDULER;
use kompass_core::{Node, Pod, Role};
use kompass_planner::{Action, BindResult, Failure, FilterAnswer, GangState};

use super::act::{DEADLINE_MS, Ghost, Model, pick};
use super::check::{self, Decided};
use super::replica::{Bind, Promise, Replica, UNTOLD};
use super::steps::{Fate, List};

/// The planner's part.
impl Model {
    /// Sums kept by a planner are what they should be.
    pub(crate) fn check_books(&self, index: usize) {
        if let Some(replica) = &self.replicas[index]
            && let Err(text) = replica.planner.check_invariants(false)
        {
            panic!("{text}");
        }
    }

    /// An event that was told is told again.
    pub(crate) fn repeat(&mut self, which: u8) {
        let Some(replica) = self.leader.and_then(|leader| self.replicas[leader].as_mut()) else {
            return;
        };
        // A written plan may be believed that was not before: its nodes have come back.
        let settled = |pod: &&Rc<Pod>| pod.role != Some(Role::Driver) || pod.node.is_some() || !pod.gates.is_empty();
        let pods = replica.told.pods.values().filter(settled).cloned();
        if let Some(pod) = pick(which, pods.collect()) {
            let view = replica.planner.gangs();
            replica.planner.apply_pod(&pod, self.api.now_ms);
            assert_eq!(replica.planner.gangs(), view, "a repeated event has changed something");
        }
    }

    /// One decision; its orders are under way then. Tells whether there is more to decide.
    pub(crate) fn decide(&mut self, index: usize) -> bool {
        let now_ms = self.api.now_ms;
        let Some(replica) = &mut self.replicas[index] else {
            return false;
        };
        if self.leader != Some(index) {
            assert!(replica.planner.decide(now_ms).orders.is_empty(), "it does not lead");
            return false;
        }
        let before = replica.planner.gangs();
        forget_shed(replica);
        let decision = replica.planner.decide(now_ms);
        let after = replica.planner.gangs();
        replica
            .promises
            .retain(|_, promise| promise.binding || promise.until_ms > now_ms || promise.until_ms == UNTOLD);
        let decided = Decided {
            replica,
            config: &self.config,
            after: &after,
            orders: &decision.orders,
            now_ms,
        };
        decided.check();
        let started: Vec<String> = decided.started().map(Into::into).collect();
        for order in &decision.orders {
            if let Action::OpenExecutorGate { executor, node, .. } = &order.action {
                let promise = Promise {
                    node: node.clone(),
                    until_ms: now_ms + self.config.assume_ms,
                    binding: false,
                    doubtful: false,
                };
                replica.promises.insert(executor.uid.clone(), promise);
            }
        }
        check::gangs(replica, &self.config, &after);
        check::room(replica, &after, now_ms);
        replica.disturbed.clear();
        check::count_overtakes(replica, &self.config, &before, &after, &started);
        if let Err(text) = replica.planner.check_invariants(true) {
            panic!("{text}");
        }
        let again = decision.again;
        replica.orders.extend(decision.orders);
        again
    }

    /// The first orders under way are carried out, or fail.
    pub(crate) fn carry(&mut self, count: usize, fate: Fate) {
        let now_ms = self.api.now_ms;
        let Some(index) = self.leader else { return };
        for _ in 0..count {
            let Some(replica) = &mut self.replicas[index] else {
                return;
            };
            let Some(order) = replica.orders.pop_front() else {
                return;
            };
            match &order.action {
                Action::Check { pod } => {
                    let found = self.api.pods.get(&pod.uid);
                    if let Some(found) = found {
                        replica.tell_pod(found, now_ms);
                    } else {
                        replica.told.delete(&pod.uid);
                    }
                    replica.planner.checked(&pod.uid, found.map(|found| &**found), now_ms);
                    replica.not_bound(&pod.uid);
                    continue;
                }
                Action::Explain { .. } | Action::Finished(_) => continue,
                _ => {}
            }
            let written = matches!(fate, Fate::Written | Fate::LostAnswer);
            let result = if written {
                self.api.write(&order.action)
            } else {
                Ok(None)
            };
            let failure = match (fate, result) {
                (_, Err(failure)) => Some(failure),
                (Fate::Written, Ok(shown)) => {
                    // The answer shows the new object before the watch does.
                    if let Some(pod) = shown.and_then(|uid| self.api.pods.get(&uid)) {
                        replica.tell_pod(pod, now_ms);
                    }
                    None
                }
                (Fate::Refused, _) => Some(Failure::Refused),
                (Fate::Conflict, _) => Some(Failure::Conflict),
                (Fate::LostAnswer | Fate::Lost | Fate::Late, _) => Some(Failure::Unknown),
            };
            if let Some(failure) = failure {
                if let Action::OpenGate { driver, .. } = &order.action {
                    let refused = replica.refused.entry(driver.uid.clone()).or_default();
                    *refused = if failure == Failure::Refused {
                        *refused + 1
                    } else {
                        *refused
                    };
                }
                if let Action::OpenExecutorGate { executor, .. } = &order.action
                    && failure != Failure::Unknown
                {
                    replica.promises.remove(&executor.uid);
                }
                replica.planner.action_failed(order.id, failure, now_ms);
            }
            if matches!(fate, Fate::Late) {
                self.ghosts.push(Ghost::Order(order.action, now_ms + DEADLINE_MS));
            }
        }
        self.check_books(index);
    }

    /// Everything goes well for a moment: the leader is told all, decides and writes until it has no more to say.
    pub(crate) fn turn(&mut self) {
        let Some(index) = self.leader else { return };
        for round in 0.. {
            if let (400, Some(replica)) = (round, &self.replicas[index]) {
                panic!("the planner never comes to rest: {:#?}", replica.planner.gangs());
            }
            if let Some(replica) = &mut self.replicas[index] {
                replica.deliver_all(&self.api);
            }
            let again = self.decide(index);
            let Some(replica) = &self.replicas[index] else { return };
            let quiet = replica.orders.is_empty() && !again;
            if quiet {
                for gang in replica.planner.gangs() {
                    let alone = replica.planner.gang(&gang.namespace, &gang.name);
                    assert_eq!(alone, Some(gang), "one gang alone is shown as among all");
                }
                let wake_ms = replica.planner.next_wake();
                assert!(
                    wake_ms.is_none_or(|at_ms| at_ms > self.api.now_ms),
                    "it wakes again at once"
                );
                return;
            }
            self.carry(usize::MAX, Fate::Written);
        }
    }
}

/// kube-scheduler's part.
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
                && !pod.is_terminal()
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
        let names = self
            .api
            .nodes
            .values()
            .filter(open)
            .filter(fits)
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
        } else if replica.promises.get(uid).is_some_and(|promise| !promise.binding) {
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
            Some(pod) if pod.gates.is_empty() && !pod.is_terminal() && !pod.deleting => {
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

/// Where others have taken room, the planner takes promises back that nobody was told of; which ones is its own affair.
fn forget_shed(replica: &mut Replica) {
    if !replica.disturbed.is_empty() && !replica.promises.is_empty() {
        let gangs = replica.planner.gangs();
        let over = check::may_be_overbooked(replica, &gangs);
        for promise in replica.promises.values_mut() {
            promise.doubtful |= !promise.binding && over.contains(&promise.node);
        }
    }
}
