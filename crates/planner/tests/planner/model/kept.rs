//! What is kept, and for whom: claims of those that wait, nodes that are asked for or held, plans that were given up.

use kompass_core::wait::WaitCode;
use kompass_core::{GangPlan, Phase, Pod};
use kompass_planner::{Action, Config, GangState, GangView};

use super::api::{has_ended, is_of};
use super::check::Decided;
use super::peers;
use super::replica::Replica;

/// A write that is not seen is ordered again after so long.
const WRITE_MS: i64 = 10_000;

impl Decided<'_> {
    /// Executors beyond the minimum don't go to nodes that a head could use which waits for room.
    pub(crate) fn claims(&self) {
        let told = &self.replica.told;
        for order in self.orders {
            let Action::OpenExecutorGate { executor, node, .. } = &order.action else {
                continue;
            };
            let driver = told.pods[&executor.uid].owner_pod_uid.as_deref();
            let own = self.after.iter().find(|gang| Some(&*gang.uid) == driver);
            let plan = own.and_then(|gang| gang.plan.as_ref());
            // It may have a slot of its own there.
            if plan.is_some_and(|plan| plan.executors_on(node) > 0) {
                continue;
            }
            for gang in self.after {
                let code = gang.waiting.as_ref().map(|reason| reason.code);
                let waits = matches!(code, Some(WaitCode::NoRoom | WaitCode::NodesRequested));
                let driver = &told.pods[&gang.uid];
                let lets = peers::may_go(told, driver, &told.nodes[node]);
                let could =
                    driver.constraints.allow(&told.nodes[node]) && (lets.0 || (driver.profile.is_some() && lets.1));
                assert!(
                    !(waits && could),
                    "{} waits for room, and {} takes some on {node}: {:#?}",
                    gang.uid,
                    executor.uid,
                    self.after
                );
            }
        }
    }
}

/// A plan that was given up, and when.
#[derive(Debug, Clone)]
pub(crate) struct GivenUp {
    plan: GangPlan,
    at_ms: i64,
}

/// Whoever has given a plan up does not believe it again because it is still written. `before` and `after` one decision.
pub(crate) fn given_up(replica: &mut Replica, before: &[GangView], after: &[GangView], now_ms: i64) {
    for gang in before {
        if let (Some(plan), Some(given)) = (&gang.plan, replica.given_up.get(&gang.uid)) {
            let again = *plan == given.plan && given.at_ms < now_ms && plan.planned_ms < given.at_ms;
            assert!(!again, "{given:?} is believed again: {gang:?}");
        }
    }
    for gang in after {
        let before = before.iter().find(|other| other.uid == gang.uid);
        if let (GangState::Unplanned, Some(plan)) = (gang.state, before.and_then(|gang| gang.plan.clone())) {
            let given = GivenUp { plan, at_ms: now_ms };
            replica.given_up.insert(gang.uid.clone(), given);
        }
    }
}

/// Slots are given up only where nobody was to come any more, and never so many that a bound executor has none.
pub(crate) fn unclaimed(replica: &Replica, config: &Config, (before, after): (&[GangView], &[GangView]), now_ms: i64) {
    for gang in after {
        let before = before.iter().find(|other| other.uid == gang.uid);
        if before.is_none_or(|before| before.executors_unclaimed >= gang.executors_unclaimed) {
            continue;
        }
        let driver = &replica.told.pods[&gang.uid];
        let profile = driver.profile.as_ref();
        let fixed = profile.is_some_and(|profile| !profile.dynamic_allocation);
        assert!(
            fixed && driver.node.is_some() && driver.started_ms.is_some(),
            "{gang:?}"
        );
        assert!(
            gang.executors_min >= Some(gang.executors_bound),
            "more are bound: {gang:?}"
        );
        let pods = replica.told.pods.values();
        for executor in pods.filter(|pod| is_of(pod, driver) && !has_ended(pod) && !pod.deleting) {
            let quiet = executor.created_ms + config.unclaimed_after_ms <= now_ms;
            let waits = executor.node.is_none() || executor.phase == Phase::Pending && executor.started_ms.is_none();
            assert!(quiet && !waits, "{executor:?} comes for {gang:?}");
        }
    }
}

/// Once all is said and written, no nodes are asked for or held for nobody for longer than it takes to write again.
pub(crate) fn nothing_spare(replica: &mut Replica, demand_ms: i64, now_ms: i64) {
    if replica.leads_from_ms.is_none_or(|from_ms| from_ms > now_ms) {
        replica.spare.clear();
        return;
    }
    let gangs = replica.planner.gangs();
    for gang in &gangs {
        assert!(
            !gang.demand || lacks(replica, gang),
            "nodes are asked for in vain: {gang:#?}"
        );
    }
    let keeps = |pod: &Pod| {
        if let Some(uid) = &pod.stand_in_for {
            let asks = gangs.iter().any(|gang| gang.uid == *uid && gang.demand);
            return Some(asks && now_ms < pod.created_ms + demand_ms + WRITE_MS);
        }
        pod.marker_for.as_ref()?;
        let node = pod.node.as_deref()?;
        let planned = |plan: &GangPlan| plan.driver == node || plan.executors_on(node) > 0;
        let ours = replica
            .told
            .bound_pods()
            .any(|(at, other)| at == node && is_ours(other));
        Some(!ours && gangs.iter().filter_map(|gang| gang.plan.as_ref()).any(planned))
    };
    let pods = replica.told.pods.values();
    let spare: Vec<String> = pods
        .filter(|pod| !pod.deleting && keeps(pod) == Some(false))
        .map(|pod| pod.uid.clone())
        .collect();
    replica.spare.retain(|uid, _| spare.contains(uid));
    for uid in spare {
        let since_ms = *replica.spare.entry(uid.clone()).or_insert(now_ms);
        assert!(
            now_ms < since_ms + WRITE_MS,
            "{uid} is for nobody since {since_ms}: {gangs:#?}"
        );
    }
}

fn is_ours(pod: &Pod) -> bool {
    pod.scheduler == kompass_core::names::SCHEDULER && !has_ended(pod)
}

/// Whether more nodes would help the gang.
fn lacks(replica: &Replica, gang: &GangView) -> bool {
    let idle = |plan: &GangPlan| plan.executors.iter().any(|(node, _)| !replica.told.is_usable(node));
    match gang.state {
        GangState::Unplanned => true,
        GangState::Reserved => false,
        GangState::Waiting => !matches!(
            gang.waiting.as_ref().map(|reason| reason.code),
            Some(WaitCode::ResourceQuota | WaitCode::QueueLimit)
        ),
        GangState::DriverBound | GangState::Running => {
            gang.slots_missing > 0
                || gang.executors_gated > 0
                || (gang.slots_free > 0 && gang.plan.as_ref().is_some_and(idle))
        }
    }
}
