//! The objects of the cluster as their makers write them, for both models of it.

use std::collections::BTreeMap;

use kompass_core::constraints::{NodeTerm, Operator, Requirement};
use kompass_core::names::{
    GANG_GATE, GANG_LABEL, HOST_LABEL, SCHEDULER, SPARK_APP_LABEL, SPARK_EXECUTOR_ID_LABEL,
    SPARK_RESOURCE_PROFILE_LABEL, SPARK_ROLE_LABEL, STAND_IN_SCHEDULER, ZONE_LABEL,
};
use kompass_core::{GangPlan, Node, Pod, PodRules, PodSelector, PodTerm, Resources, Role};
use kompass_planner::Member;

use crate::job::Job;

/// One GiB in MiB.
pub(crate) const GIB: u64 = 1024;

/// A healthy node of so many CPUs and GiB in a zone and a pool.
pub(crate) fn node(name: &str, cpus: u64, gib: u64, zone: &str, pool: &str) -> Node {
    Node {
        name: name.into(),
        labels: [
            (ZONE_LABEL.into(), zone.into()),
            ("pool".into(), pool.into()),
            (HOST_LABEL.into(), name.into()),
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
        labels: labels(job, &[(SPARK_ROLE_LABEL, "driver")]),
        pod_rules: in_full(job, &job.driver_rules),
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
        labels: labels(
            job,
            &[
                (SPARK_ROLE_LABEL, "executor"),
                (SPARK_EXECUTOR_ID_LABEL, &serial.to_string()),
                (SPARK_RESOURCE_PROFILE_LABEL, "0"),
                (GANG_LABEL, driver),
            ],
        ),
        pod_rules: in_full(job, &executor_rules(job)),
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

/// The labels of one of a job's pods: its own, Spark's, and these.
fn labels(job: &Job, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = [(SPARK_APP_LABEL, &*job.name)];
    let pairs = own.iter().chain(more);
    let mut labels = job.labels.clone();
    labels.extend(pairs.map(|&(key, value)| (key.to_owned(), value.to_owned())));
    labels
}

/// The rules of a pod as the API server has them: a namespace that none is named for is its own.
fn in_full(job: &Job, rules: &PodRules) -> PodRules {
    let term = |term: &PodTerm| {
        let mut term = term.clone();
        if term.pods.namespaces.as_ref().is_some_and(Vec::is_empty) {
            term.pods.namespaces = Some(vec![job.namespace.clone()]);
        }
        term
    };
    PodRules {
        apart: rules.apart.iter().map(term).collect(),
        together: rules.together.iter().map(term).collect(),
    }
}

/// The rules of a job's executors, about others and about each other.
fn executor_rules(job: &Job) -> PodRules {
    let mut rules = job.executor_rules.clone();
    // What a profile says of others is about others only.
    for term in &mut rules.apart {
        term.pods.labels.push(Requirement {
            operator: Operator::NotIn,
            ..is(SPARK_APP_LABEL, &job.name)
        });
    }
    let own = |topology: &str, role: &str| PodTerm {
        topology: topology.into(),
        pods: PodSelector {
            namespaces: None,
            labels: vec![is(SPARK_APP_LABEL, &job.name), is(SPARK_ROLE_LABEL, role)],
        },
    };
    let spacing = &job.spacing;
    let apart = [
        (spacing.per_node_max == Some(1), own(HOST_LABEL, "executor")),
        (spacing.per_zone_max == Some(1), own(ZONE_LABEL, "executor")),
        (spacing.driver.other_node, own(HOST_LABEL, "driver")),
        (spacing.driver.other_zone, own(ZONE_LABEL, "driver")),
    ];
    let together = [
        (spacing.one_zone, own(ZONE_LABEL, "executor")),
        (spacing.driver.same_zone, own(ZONE_LABEL, "driver")),
    ];
    let there = |(is, term): (bool, PodTerm)| is.then_some(term);
    rules.apart.extend(apart.into_iter().filter_map(there));
    rules.together.extend(together.into_iter().filter_map(there));
    rules
}

/// A label has this value.
pub(crate) fn is(key: &str, value: &str) -> Requirement {
    Requirement {
        key: key.into(),
        operator: Operator::In,
        values: vec![value.into()],
    }
}

/// A required term about pods with this label, of any namespace.
pub(crate) fn about(topology: &str, key: &str, value: &str) -> PodTerm {
    PodTerm {
        topology: topology.into(),
        pods: PodSelector {
            namespaces: None,
            labels: vec![is(key, value)],
        },
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
