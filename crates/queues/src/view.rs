//! Rules as they are shown: in the words of the file.

use std::collections::BTreeMap;

use kompass_planner::{Limits, QueueTable};
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

fn quantities(limits: &Limits) -> BTreeMap<String, String> {
    let all = amounts::all(limits).into_iter();
    all.map(|(resource, amount)| (resource.to_owned(), amounts::render(resource, amount)))
        .collect()
}
