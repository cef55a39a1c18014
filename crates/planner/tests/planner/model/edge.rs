//! What happens at the edge of the planners: watches, decisions and orders.

use std::rc::Rc;

use kompass_core::names::GANG_GATE;
use kompass_core::{Pod, Role};
use kompass_planner::{Action, Failure};

use super::act::{DEADLINE_MS, Ghost, Model, pick};
use super::check::{self, Decided};
use super::replica::{Promise, Replica, UNTOLD};
use super::steps::Fate;
use super::{kept, peers, turns};

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
        let settled = |pod: &&Rc<Pod>| pod.role != Some(Role::Driver) || pod.node.is_some() || pod.has_gate(GANG_GATE);
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
        kept::given_up(replica, &before, &after, now_ms);
        kept::unclaimed(replica, &self.config, (&before, &after), now_ms);
        check::gangs(replica, &self.config, &after);
        check::room(replica, &after, now_ms);
        peers::plans_stand(replica, &after);
        replica.disturbed.clear();
        turns::count_overtakes(replica, &self.config, &before, &after, &started);
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
                // What is for nobody is ordered away again later.
                replica.spare.clear();
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
            let Some(replica) = &mut self.replicas[index] else {
                return;
            };
            let quiet = replica.orders.is_empty() && !again;
            if quiet {
                for gang in replica.planner.gangs() {
                    let alone = replica.planner.gang(&gang.namespace, &gang.name);
                    assert_eq!(alone, Some(gang), "one gang alone is shown as among all");
                }
                kept::nothing_spare(replica, self.config.demand_ms, self.api.now_ms);
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

/// Where others have taken room, the planner takes promises back that nobody was told of; which ones is its own affair.
pub(crate) fn forget_shed(replica: &mut Replica) {
    if !replica.told.odd.is_empty() {
        replica.disturbed.extend(replica.told.nodes.keys().cloned());
    }
    if !replica.disturbed.is_empty() && !replica.promises.is_empty() {
        let gangs = replica.planner.gangs();
        let over = check::may_be_overbooked(replica, &gangs);
        for promise in replica.promises.values_mut() {
            promise.doubtful |= !promise.binding && over.contains(&promise.node);
        }
    }
}
