//! What must hold, in sums made from what a planner was told and what it says in public.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kompass_core::{GangPlan, Pod, Role};
use kompass_planner::{Action, Config, GangState, GangView, Order, minimum};

use super::api::{OTHER_GATE, has_ended, is_of};
use super::replica::Replica;

/// Room on a node, thousandths of a CPU: memory is never short in the model.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Load {
    /// Bound, or being bound: nothing can be done about it.
    fixed: u64,
    /// Reserved and promised.
    kept: u64,
}

impl Load {
    pub(crate) fn sum(self) -> u64 {
        self.fixed + self.kept
    }
}

pub(crate) fn cpu(pod: &Pod) -> u64 {
    pod.requests.cpu_milli
}

pub(crate) fn executor_cpu(pod: &Pod) -> u64 {
    pod.profile.as_ref().map_or(0, |profile| profile.executor.cpu_milli)
}

/// Executors that have to be reserved for a driver.
pub(crate) fn minimum_of(pod: &Pod, config: &Config) -> u64 {
    pod.profile
        .as_ref()
        .map_or(0, |profile| minimum(profile, config.dynamic_floor))
}

/// Everything that the planner has to keep room for, by node. Of what can't be told from outside the lesser is counted.
pub(crate) fn loads<'a>(replica: &'a Replica, gangs: &'a [GangView], now_ms: i64) -> BTreeMap<&'a str, Load> {
    let told = &replica.told;
    let mut loads: BTreeMap<&str, Load> = BTreeMap::new();
    // Executors of each gang by node: they may hold slots.
    let mut seated: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut seat = |pod: &'a Pod, node: &'a str| {
        let driver = pod.owner_pod_uid.as_ref().and_then(|uid| told.pods.get(uid));
        if let Some(driver) = driver.filter(|driver| is_of(pod, driver)) {
            *seated.entry((&driver.uid, node)).or_default() += 1;
        }
    };
    for (node, pod) in told.bound_pods() {
        loads.entry(node).or_default().fixed += cpu(pod);
        seat(pod, node);
    }
    for (uid, promise) in &replica.promises {
        let Some(pod) = told.pods.get(uid).filter(|pod| pod.node.is_none() && !has_ended(pod)) else {
            continue;
        };
        seat(pod, &promise.node);
        if promise.doubtful {
            continue;
        }
        let load = loads.entry(&promise.node).or_default();
        if promise.binding {
            load.fixed += cpu(pod);
        } else if promise.until_ms > now_ms {
            load.kept += cpu(pod);
        }
    }
    for gang in gangs {
        let (Some(plan), Some(driver)) = (&gang.plan, told.pods.get(&gang.uid)) else {
            continue;
        };
        if driver.node.is_none() {
            let load = loads.entry(&plan.driver).or_default();
            if replica.binds(&gang.uid) {
                load.fixed += cpu(driver);
            } else {
                load.kept += cpu(driver);
            }
        }
        for (node, count) in &plan.executors {
            let taken = seated.get(&(&*gang.uid, &**node)).copied().unwrap_or(0);
            loads.entry(node).or_default().kept += count.saturating_sub(taken) * executor_cpu(driver);
        }
    }
    loads
}

/// Disturbed nodes that may have less than what is bound or kept there. Of what can't be told the more is counted.
pub(crate) fn may_be_overbooked(replica: &Replica, gangs: &[GangView]) -> BTreeSet<String> {
    let told = &replica.told;
    let over = |name: &&String| {
        let bound = told
            .bound_pods()
            .filter(|(node, _)| node == name)
            .map(|(_, pod)| cpu(pod));
        let promised = replica.promises.iter().filter(|(_, promise)| promise.node == **name);
        let promised = promised.filter_map(|(uid, _)| told.pods.get(uid)).map(|pod| cpu(pod));
        // What is reserved, and what will be where a plan that was written is believed.
        let reserved = gangs
            .iter()
            .filter_map(|gang| Some((gang.plan.as_ref()?, told.pods.get(&gang.uid)?)));
        let written = told.pods.values().filter_map(|pod| Some((pod.plan.as_ref()?, pod)));
        let planned = reserved.chain(written).map(|(plan, driver)| {
            let waits = plan.driver == **name && driver.node.is_none();
            // The first executor tells how large slots are: a CPU more at most.
            let more = if told.odd.contains(&driver.uid) { 1000 } else { 0 };
            u64::from(waits) * cpu(driver) + plan.executors_on(name) * (executor_cpu(driver) + more)
        });
        let load: u64 = bound.chain(promised).chain(planned).sum();
        told.nodes
            .get(*name)
            .is_none_or(|node| load > node.allocatable.cpu_milli)
    };
    replica.disturbed.iter().filter(over).cloned().collect()
}

/// Invariant 1, and what goes with it, after a decision of the planner that leads.
pub(crate) fn room(replica: &Replica, gangs: &[GangView], now_ms: i64) {
    for (name, load) in loads(replica, gangs, now_ms) {
        let Some(node) = replica.told.nodes.get(name) else {
            continue;
        };
        let has = node.allocatable.cpu_milli;
        assert!(
            load.fixed + load.kept <= has || (load.fixed > has && load.kept == 0),
            "{name} has {has} and is overbooked: {load:?}\n{gangs:#?}"
        );
    }
}

/// What a planner says of its gangs agrees with what it was told of them.
pub(crate) fn gangs(replica: &Replica, config: &Config, gangs: &[GangView]) {
    let told = &replica.told;
    for gang in gangs {
        let driver = told
            .pods
            .get(&gang.uid)
            .unwrap_or_else(|| panic!("never told of {gang:?}"));
        let planned = gang.plan.as_ref().map_or(0, GangPlan::executor_count);
        let wanted = gang.executors_min.unwrap_or(0);
        let bound = matches!(gang.state, GangState::DriverBound | GangState::Running);
        let executors = told.pods.values().filter(|pod| is_of(pod, driver) && !has_ended(pod));
        let running = executors.filter(|pod| pod.node.is_some()).count() as u64;
        assert_eq!(gang.executors_bound, running, "{gang:?}");
        assert_eq!(bound, driver.node.is_some(), "{gang:?}");
        if bound {
            assert_eq!(
                planned + gang.slots_missing,
                wanted,
                "a running gang keeps its whole minimum: {gang:?}"
            );
            assert_eq!(
                wanted + gang.executors_unclaimed,
                minimum_of(driver, config),
                "{gang:?}"
            );
        }
        if gang.state == GangState::Reserved {
            let binding = replica.binds(&gang.uid);
            assert!(binding || planned == wanted, "reserved in part: {gang:?}");
        }
        if gang.state == GangState::Waiting {
            assert!(told.is_gated(&gang.uid) && gang.plan.is_none(), "{gang:?}");
            assert!(gang.waiting.is_some(), "it waits without a reason: {gang:?}");
        }
    }
    let pods = told.pods.len() as u64;
    assert_eq!(replica.planner.summary().pods, pods, "pods are lost or come back");
    let alive = told
        .pods
        .values()
        .filter(|pod| pod.role == Some(Role::Driver) && is_alive(pod))
        .count();
    assert_eq!(gangs.len(), alive, "a gang is lost or too many");
}

fn is_alive(pod: &Pod) -> bool {
    !has_ended(pod) && pod.ended.is_none()
}

/// The orders of one decision, and the gangs after it.
pub(crate) struct Decided<'a> {
    pub(crate) replica: &'a Replica,
    pub(crate) config: &'a Config,
    pub(crate) after: &'a [GangView],
    pub(crate) orders: &'a [Order],
    pub(crate) now_ms: i64,
}

impl Decided<'_> {
    pub(crate) fn check(&self) {
        for order in self.orders {
            match &order.action {
                Action::OpenGate {
                    driver,
                    resource_version,
                    plan,
                } => self.opened(&driver.uid, resource_version, plan),
                Action::Replan { driver, plan } => self.replanned(&driver.uid, plan),
                Action::OpenExecutorGate { executor, node, .. } => {
                    let pod = &self.replica.told.pods[&executor.uid];
                    assert!(
                        self.replica.told.is_gated(&executor.uid) && pod.node.is_none(),
                        "{order:?}"
                    );
                    assert!(self.replica.told.is_usable(node), "{order:?}");
                }
                _ => {}
            }
        }
        if self.started().next().is_some() {
            self.quotas();
            self.in_turn();
            self.passes();
        }
        self.claims();
    }

    /// Gangs that were let in, in order.
    pub(crate) fn started(&self) -> impl Iterator<Item = &str> {
        self.orders.iter().filter_map(|order| match &order.action {
            Action::OpenGate { driver, .. } => Some(&*driver.uid),
            _ => None,
        })
    }

    fn opened(&self, uid: &str, version: &str, plan: &GangPlan) {
        let replica = self.replica;
        let pod = &replica.told.pods[uid];
        let may = replica.leads_from_ms.is_some_and(|from_ms| self.now_ms >= from_ms);
        assert!(may, "{uid} is planned although others may still act");
        assert_eq!(pod.resource_version, version);
        assert!(replica.told.is_gated(uid) && !pod.deleting && is_alive(pod), "{pod:?}");
        assert!(!pod.gates.iter().any(|gate| gate == OTHER_GATE), "{pod:?}");
        assert_eq!(
            plan.executor_count(),
            minimum_of(pod, self.config),
            "not the whole gang: {plan:?}"
        );
        let held = pod.profile.is_some() || self.now_ms >= pod.created_ms + self.config.profile_hold_ms;
        assert!(held, "planned before its profile has come: {pod:?}");
        let mut nodes = plan.executors.iter().map(|(node, _)| node).chain([&plan.driver]);
        assert!(
            nodes.all(|node| replica.told.is_usable(node) && pod.constraints.allow(&replica.told.nodes[node])),
            "{plan:?}"
        );
        let twice = replica
            .orders
            .iter()
            .any(|order| matches!(&order.action, Action::OpenGate { driver, .. } if driver.uid == uid));
        assert!(!twice, "{uid} is let in twice");
    }

    /// A plan that is written later is newer.
    fn replanned(&self, uid: &str, plan: &GangPlan) {
        let pod = &self.replica.told.pods[uid];
        let written_ms = pod.plan.as_ref().map(|written| written.planned_ms);
        assert!(
            written_ms.is_none_or(|at_ms| plan.planned_ms > at_ms),
            "{plan:?} is not newer than {:?}",
            pod.plan
        );
        assert!(!self.replica.told.is_gated(uid), "{pod:?}");
    }

    /// Invariant 6: what was let in can create all of its minimum.
    fn quotas(&self) {
        let told = &self.replica.told;
        for (namespace, &(hard, _)) in &told.quotas {
            let asks = |uid: &str| {
                let pod = &told.pods[uid];
                pod.namespace == *namespace && minimum_of(pod, self.config) > 0
            };
            let needed = self.needed(namespace);
            assert!(
                needed <= hard || !self.started().any(asks),
                "{namespace} may have {hard} and will need {needed}"
            );
        }
    }

    /// What the pods of a namespace have, and the executors that its gangs have still to create.
    pub(crate) fn needed(&self, namespace: &str) -> u64 {
        let told = &self.replica.told;
        let let_in = |gang: &&GangView| gang.state != GangState::Waiting && gang.namespace == namespace;
        let coming = self.after.iter().filter(let_in).map(|gang| {
            let driver = &told.pods[&gang.uid];
            let alive = self.executors(&gang.uid).count() as u64;
            gang.executors_min.unwrap_or(0).saturating_sub(alive) * executor_cpu(driver)
        });
        self.used(namespace) + coming.sum::<u64>()
    }

    /// What the pods of a namespace have, as far as they were told.
    pub(crate) fn used(&self, namespace: &str) -> u64 {
        let here = |pod: &&Rc<Pod>| pod.namespace == namespace && !has_ended(pod);
        self.replica.told.pods.values().filter(here).map(|pod| cpu(pod)).sum()
    }

    fn executors(&self, driver: &str) -> impl Iterator<Item = &Rc<Pod>> {
        let driver = &self.replica.told.pods[driver];
        let of = move |pod: &&Rc<Pod>| is_of(pod, driver) && !has_ended(pod);
        self.replica.told.pods.values().filter(of)
    }
}
