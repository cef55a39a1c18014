//! The objects of the cluster as their makers write them, for both models of it.

use std::collections::BTreeMap;

use kompass_core::constraints::{NodeTerm, Operator, Requirement};
use kompass_core::names::{GANG_GATE, SCHEDULER, STAND_IN_SCHEDULER};
use kompass_core::{GangPlan, Node, Pod, Resources, Role};
use kompass_planner::Member;

use crate::job::Job;

/// One GiB in MiB.
pub(crate) const GIB: u64 = 1024;

/// A healthy node of so many CPUs and GiB in a zone and a pool.
pub(crate) fn node(name: &str, cpus: u64, gib: u64, zone: &str, pool: &str) -> Node {
    Node {
        name: name.into(),
        labels: [
            ("topology.kubernetes.io/zone".into(), zone.into()),
            ("pool".into(), pool.into()),
        ]
        .into(),
        allocatable: Resources::from_mib(cpus * 1000, gib * GIB),
        max_pods: 110,
        ready: true,
        ..Node::default()
    }
}

/// The driver pod as spark-submit makes it and the webhook lets it in: gated and without a profile.
pub(crate) fn driver(job: &Job, name: String, now_ms: i64) -> Pod {
    Pod {
        uid: job.name.clone(),
        namespace: job.namespace.clone(),
        name,
        created_ms: now_ms / 1000 * 1000,
        scheduler: SCHEDULER.into(),
        gates: vec![GANG_GATE.into()],
        priority: job.priority,
        requests: job.driver.resources(),
        host_ports: job.driver_ports.clone(),
        constraints: job.constraints(),
        role: Some(Role::Driver),
        queue: job.queue.clone(),
        ..Pod::default()
    }
}

/// An executor pod as Spark's driver makes it.
pub(crate) fn executor(job: &Job, driver: &str, serial: u64, now_ms: i64) -> Pod {
    let uid = format!("{driver}-exec-{serial:03}");
    Pod {
        uid: uid.clone(),
        namespace: job.namespace.clone(),
        name: uid,
        created_ms: now_ms / 1000 * 1000,
        scheduler: SCHEDULER.into(),
        requests: job.executor.resources(),
        host_ports: job.spacing.host_ports.clone(),
        constraints: job.constraints(),
        role: Some(Role::Executor),
        owner_pod_uid: Some(driver.into()),
        executor_id: Some(serial.to_string()),
        ..Pod::default()
    }
}

/// An executor of client mode as the webhook lets it in: one of a run of a job, and nobody owns it.
pub(crate) fn client(job: &str, run: u64, number: u64, cpu_milli: u64, now_ms: i64) -> Pod {
    let uid = format!("client-{job}-{run}-exec-{number:03}");
    Pod {
        uid: uid.clone(),
        namespace: "notebooks".into(),
        name: uid,
        created_ms: now_ms / 1000 * 1000,
        scheduler: SCHEDULER.into(),
        requests: Resources::from_mib(cpu_milli, GIB),
        role: Some(Role::Executor),
        app_selector: Some(format!("spark-{job}-{run}")),
        executor_id: Some(number.to_string()),
        profile_key: Some(format!("{job}-12345678")),
        ..Pod::default()
    }
}

/// What the webhook does to an executor: pins it to nodes of the plan with free slots, or gates it where there are none.
pub(crate) fn admit<'a>(executor: &mut Pod, plan: Option<&GangPlan>, others: impl Iterator<Item = &'a Pod>) {
    let Some(plan) = plan else { return };
    let (mut alive, mut unbound) = (0, 0);
    let mut on: BTreeMap<&str, u64> = BTreeMap::new();
    for pod in others.filter(|pod| !pod.has_gate(GANG_GATE)) {
        alive += 1;
        match &pod.node {
            None => unbound += 1,
            Some(node) if !pod.deleting => *on.entry(node).or_default() += 1,
            Some(_) => {}
        }
    }
    let free = plan
        .executors
        .iter()
        .filter(|(node, count)| on.get(&**node).copied().unwrap_or(0) < *count)
        .map(|(node, _)| node.clone());
    let free: Vec<String> = free.take(10).collect();
    if alive >= plan.executor_count() || free.is_empty() || unbound >= plan.executor_count() {
        executor.gates.push(GANG_GATE.into());
    } else {
        pin(executor, free);
    }
}

/// The pod may go to these nodes only.
pub(crate) fn pin(pod: &mut Pod, nodes: Vec<String>) {
    let term = |node| NodeTerm {
        labels: vec![],
        fields: vec![Requirement {
            key: "metadata.name".into(),
            operator: Operator::In,
            values: vec![node],
        }],
    };
    pod.constraints.required_terms = Some(nodes.into_iter().map(term).collect());
}

/// A pod that stands for a member of a gang that lacks nodes.
pub(crate) fn stand_in(uid: String, gang: &str, member: &Member, now_ms: i64) -> Pod {
    Pod {
        uid,
        namespace: "kompass".into(),
        created_ms: now_ms,
        scheduler: STAND_IN_SCHEDULER.into(),
        requests: member.requests.clone(),
        constraints: member.constraints.clone(),
        stand_in_for: Some(gang.into()),
        ..Pod::default()
    }
}

/// A pod that keeps a node for a gang.
pub(crate) fn marker(uid: String, gang: &str, node: &str, now_ms: i64) -> Pod {
    Pod {
        uid,
        namespace: "kompass".into(),
        created_ms: now_ms,
        node: Some(node.into()),
        marker_for: Some(gang.into()),
        ..Pod::default()
    }
}
