//! Rules as they are shown: in the words of the file.

use std::collections::BTreeMap;

use kompass_core::Resources;
use kompass_core::wait::WaitCode;
use kompass_planner::{Limits, QueueState, QueueTable};
use serde::Serialize;

use crate::amounts;

/// One queue, with the keys of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Its weight, also where the file doesn't say it.
    pub weight: u32,
    /// What it has the first claim on: Kubernetes quantities by resource.
    pub guaranteed: BTreeMap<String, String>,
    /// What it may have at most: Kubernetes quantities by resource.
    pub limit: BTreeMap<String, String>,
    /// Which nodes its gangs get, where the queue says it.
    pub packing: Option<&'static str>,
    /// Whose gangs belong here.
    pub namespaces: Vec<String>,
}

/// All queues of a table by name.
pub fn queues(table: &QueueTable) -> Vec<QueueView> {
    let view = |(name, rules): (&String, &kompass_planner::QueueRules)| QueueView {
        name: name.clone(),
        weight: rules.weight,
        guaranteed: quantities(&rules.guaranteed),
        limit: quantities(&rules.limit),
        packing: rules.packing.map(kompass_planner::Packing::as_str),
        namespaces: rules.namespaces.iter().cloned().collect(),
    };
    table.queues.iter().map(view).collect()
}

/// How one queue stands at the moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateView {
    /// Its name.
    pub name: String,
    /// Its weight, also where the file doesn't say it.
    pub weight: u32,
    /// Which nodes its gangs get, also where the file doesn't say it.
    pub packing: &'static str,
    /// What it has the first claim on: Kubernetes quantities by resource.
    pub guaranteed: BTreeMap<String, String>,
    /// What it may have at most: Kubernetes quantities by resource.
    pub limit: BTreeMap<String, String>,
    /// What its gangs hold, reserved and bound: Kubernetes quantities by resource.
    pub used: BTreeMap<String, String>,
    /// Its largest part of any resource of the cluster, from 0 to 1.
    pub dominant_share: f64,
    /// The resource that this is a part of.
    pub dominant_resource: Option<String>,
    /// Gangs that run, or whose room is reserved.
    pub running: u64,
    /// Gangs that wait.
    pub waiting: u64,
    /// In which place the queue is looked at, from 1; none where nobody waits or its limit holds it back.
    pub turn: Option<u64>,
    /// Its first gang that waits.
    pub next: Option<NextView>,
}

/// The first gang of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextView {
    /// The driver's namespace.
    pub namespace: String,
    /// The driver's name.
    pub name: String,
    /// Why it waits.
    pub code: WaitCode,
}

/// How queues stand, in their order.
pub fn states(states: &[QueueState]) -> Vec<StateView> {
    let view = |state: &QueueState| StateView {
        name: state.name.clone(),
        weight: state.rules.weight,
        packing: state.packing.as_str(),
        guaranteed: quantities(&state.rules.guaranteed),
        limit: quantities(&state.rules.limit),
        used: quantities(&state.used),
        dominant_share: state.share_millionths as f64 / 1e6,
        dominant_resource: state.dominant.clone(),
        running: state.running,
        waiting: state.waiting,
        turn: state.turn,
        next: state.next.as_ref().map(|next| NextView {
            namespace: next.namespace.clone(),
            name: next.name.clone(),
            code: next.code,
        }),
    };
    states.iter().map(view).collect()
}

/// Resources as Kubernetes quantities.
pub fn resources(resources: &Resources) -> BTreeMap<String, String> {
    quantities(&Limits {
        cpu_milli: Some(resources.cpu_milli),
        memory_bytes: Some(resources.memory_bytes),
        pods: None,
        extended: resources.extended.clone(),
    })
}

fn quantities(limits: &Limits) -> BTreeMap<String, String> {
    let all = amounts::all(limits).into_iter();
    all.map(|(resource, amount)| (resource.to_owned(), amounts::render(resource, amount)))
        .collect()
}
