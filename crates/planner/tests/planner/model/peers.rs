//! Rules of pods about other pods: what jobs and others have of them, and what must hold of plans.

use std::rc::Rc;

use kompass_core::constraints::{Operator, Requirement};
use kompass_core::names::{HOST_LABEL, SPARK_APP_LABEL, SPARK_ROLE_LABEL, ZONE_LABEL};
use kompass_core::{Node, Pod, PodRules, Role, Spacing};
use kompass_planner::{GangState, GangView};

use super::api::{FOREIGN, has_ended, is_of};
use super::replica::{Replica, Told};
use crate::job::Job;
use crate::neighbourly;
use crate::objects::{about, is};

/// Rules of executors about each other, for some jobs.
pub(crate) fn spacing(which: u8) -> Spacing {
    let mut rules = Spacing::default();
    let driver = &mut rules.driver;
    match which % 14 {
        0 => rules.host_ports = vec![4_040],
        1 => rules.per_node_max = Some(1),
        2 => rules.per_zone_max = Some(2),
        3 => rules.zone_skew = Some(1),
        4 => rules.one_zone = true,
        5 => (rules.zone_skew, rules.zones_min, driver.counts) = (Some(1), Some(3), true),
        6 => driver.other_node = true,
        7 => driver.same_zone = true,
        8 => (driver.other_zone, driver.other_node) = (true, true),
        _ => {}
    }
    rules
}

/// Rules about pods of others and a label by which they may have some, for some jobs.
pub(crate) fn about_others(job: &mut Job, which: u8) {
    let apart = |term| PodRules {
        apart: vec![term],
        together: vec![],
    };
    match which % 11 {
        0 => job.executor_rules = apart(about(HOST_LABEL, SPARK_ROLE_LABEL, "executor")),
        1 => job.executor_rules = apart(about(HOST_LABEL, "app", "web")),
        2 => job.driver_rules = apart(about(ZONE_LABEL, "app", "web")),
        3 => {
            job.executor_rules.together = vec![about(ZONE_LABEL, "app", "web")];
        }
        4 => _ = job.labels.insert("team".into(), "etl".into()),
        5 => job.driver_rules = apart(about(HOST_LABEL, "team", "etl")),
        _ => {}
    }
}

/// What pods of others are labelled, and what some of them have for rules.
pub(crate) fn label_other(pod: &mut Pod, which: u64) {
    let app = ["web", "web", "cache", "lonely", "none"][usize::try_from(which % 5).expect("below five")];
    pod.labels.insert("app".into(), app.into());
    if app == "lonely" {
        pod.pod_rules.apart = vec![about(ZONE_LABEL, "team", "etl")];
    }
}

/// An executor of a driver, as its profile has it.
fn executor_of(driver: &Pod) -> Pod {
    let profile = driver.profile.as_ref();
    let mut pod_rules = profile
        .map(|profile| profile.executor_pod_rules.clone())
        .unwrap_or_default();
    let mut labels = profile
        .map(|profile| profile.executor_labels.clone())
        .unwrap_or_default();
    labels.insert(SPARK_ROLE_LABEL.into(), "executor".into());
    if let Some(app) = driver.labels.get(SPARK_APP_LABEL) {
        labels.insert(SPARK_APP_LABEL.into(), app.clone());
        let not_own = Requirement {
            operator: Operator::NotIn,
            ..is(SPARK_APP_LABEL, app)
        };
        pod_rules
            .apart
            .iter_mut()
            .for_each(|term| term.pods.labels.push(not_own.clone()));
    }
    Pod {
        namespace: driver.namespace.clone(),
        role: Some(Role::Executor),
        owner_pod_uid: Some(driver.uid.clone()),
        labels,
        pod_rules,
        ..Pod::default()
    }
}

/// Pods of others on a node, by where they are.
type There<'a> = Vec<(&'a Pod, &'a Node)>;

fn bound(told: &Told, which: impl Fn(&Pod) -> bool) -> There<'_> {
    let pods = told.bound_pods().filter(|(_, pod)| which(pod));
    pods.filter_map(|(node, pod)| Some((&**pod, &**told.nodes.get(node)?)))
        .collect()
}

/// Whether the driver and its executors may go to a node if all of KOMPASS's pods were gone.
pub(crate) fn may_go(told: &Told, driver: &Pod, node: &Node) -> (bool, bool) {
    let foreign = bound(told, |pod| pod.scheduler == FOREIGN);
    // What has to be there may be KOMPASS's.
    let all = bound(told, |_| true);
    let goes = |pod: &Pod| {
        let apart = foreign
            .iter()
            .all(|other| !neighbourly::keep_apart((pod, node), *other));
        apart && neighbourly::has_company(pod, node, &all)
    };
    (goes(driver), goes(&executor_of(driver)))
}

/// Whether the pods that are bound let one more go to a node.
pub(crate) fn lets_now(told: &Told, pod: &Pod, node: &str) -> bool {
    let there = bound(told, |other| other.uid != pod.uid);
    let node = told.nodes.get(node);
    node.is_none_or(|node| neighbourly::lets(pod, node, &there))
}

/// Whether rules about pods of others have anything to do with the gang of a driver.
pub(crate) fn is_touched(told: &Told, driver: &Pod) -> bool {
    let own = [driver.clone(), executor_of(driver)];
    let any = |pod: &Pod| !pod.pod_rules.is_none();
    let prototypes = told.pods.values().filter(|pod| pod.role == Some(Role::Driver));
    let prototypes = prototypes.map(|pod| executor_of(pod));
    let others: Vec<Pod> = told
        .pods
        .values()
        .map(|pod| (**pod).clone())
        .chain(prototypes)
        .collect();
    let selects = |holder: &Pod, pod: &Pod| {
        let mut apart = holder.pod_rules.apart.iter();
        apart.any(|term| {
            term.pods
                .selects(&pod.namespace, |key| pod.labels.get(key).map(String::as_str))
        })
    };
    own.iter().any(any) || others.iter().any(|other| own.iter().any(|pod| selects(other, pod)))
}

/// After a decision nothing is kept where the pods there, or what is kept for others, would not let it go.
pub(crate) fn plans_stand(replica: &Replica, gangs: &[GangView]) {
    let told = &replica.told;
    let everybody = bound(told, |_| true);
    let kept: Vec<(Pod, &Node, &GangView)> = gangs.iter().flat_map(|gang| kept_for(replica, gang)).collect();
    for gang in gangs.iter().filter(|gang| gang.state != GangState::Waiting) {
        let driver = &told.pods[&gang.uid];
        if driver.node.is_none() && replica.binds(&gang.uid) {
            continue;
        }
        let there: There<'_> = everybody
            .iter()
            .filter(|(pod, _)| pod.uid != gang.uid && !is_of(pod, driver))
            .copied()
            .collect();
        let others = kept.iter().filter(|(_, _, of)| of.uid != gang.uid);
        let others: There<'_> = others.map(|(pod, node, _)| (pod, *node)).collect();
        for (pod, node, _) in kept.iter().filter(|(_, _, of)| of.uid == gang.uid) {
            let apart = there
                .iter()
                .chain(&others)
                .all(|other| !neighbourly::keep_apart((pod, node), *other));
            assert!(apart, "{pod:?} can't go to {}: {gang:#?}", node.name);
            assert!(
                neighbourly::has_company(pod, node, &everybody),
                "{pod:?} lacks company on {}: {gang:#?}",
                node.name
            );
        }
    }
}

/// What is kept for a gang's pods that are still to come, and where.
fn kept_for<'a>(replica: &'a Replica, gang: &'a GangView) -> Vec<(Pod, &'a Node, &'a GangView)> {
    let told = &replica.told;
    let (Some(plan), Some(driver)) = (&gang.plan, told.pods.get(&gang.uid)) else {
        return vec![];
    };
    let mut kept = Vec::new();
    if let (None, Some(node)) = (&driver.node, told.nodes.get(&plan.driver)) {
        kept.push(((**driver).clone(), &**node, gang));
    }
    for (name, count) in &plan.executors {
        let own = |pod: &&Rc<Pod>| is_of(pod, driver) && !has_ended(pod);
        let at = |pod: &Pod| {
            let promise = replica.promises.get(&pod.uid).map(|promise| &promise.node);
            pod.node.as_ref().or(promise) == Some(name)
        };
        let seated = told.pods.values().filter(own).filter(|pod| at(pod)).count() as u64;
        if let Some(node) = told.nodes.get(name).filter(|_| seated < *count) {
            kept.push((executor_of(driver), &**node, gang));
        }
    }
    kept
}
