//! The services: versions, replicas, rights, leases.

use std::collections::BTreeSet;

use kompass_core::names;

use super::{Finding, Snapshot, fail, ok, some, warn};
use crate::doctor::{Container, Part};

/// The chart's `kubeVersion`.
const OLDEST: (u32, u32) = (1, 31);
/// The newest that KOMPASS is tested on.
const NEWEST: (u32, u32) = (1, 36);
/// How long a lease may be late: clocks differ, and machines stall.
const LATE_MS: i64 = 30_000;
/// The part that a Deployment is known by.
const SCHEDULER: &str = "scheduler";

pub(super) fn kubernetes_version(snapshot: &Snapshot) -> Vec<Finding> {
    let (major, minor) = snapshot.server;
    let text = format!("the API server is {major}.{minor}");
    vec![if snapshot.server < OLDEST {
        fail(
            format!("{text}, KOMPASS needs {}.{}", OLDEST.0, OLDEST.1),
            "upgrade the cluster",
        )
    } else if snapshot.server > NEWEST {
        warn(
            format!(
                "{text}, newer than any that KOMPASS is tested on ({}.{})",
                NEWEST.0, NEWEST.1
            ),
            "look for a newer KOMPASS",
        )
    } else {
        ok(text)
    }]
}

/// Extender and predictor may make pods in their namespace. Services that run as no pods need none of it.
pub(super) fn pod_security(snapshot: &Snapshot) -> Vec<Finding> {
    let namespace = &snapshot.namespace;
    let enforced = snapshot.pod_security.as_deref().filter(|_| !snapshot.parts.is_empty());
    let Some(enforced) = enforced else {
        return Vec::new();
    };
    vec![if enforced == "restricted" {
        ok(format!("namespace {namespace} enforces PodSecurity `restricted`"))
    } else {
        warn(
            format!(
                "namespace {namespace} does not enforce PodSecurity `restricted`: who takes over a part of KOMPASS could make a \
                 pod there that is root on its node"
            ),
            format!(
                "kubectl label namespace {namespace} {}=restricted --overwrite (not with admissionWebhook.hostNetwork, and not \
                 where other pods there need more)",
                names::POD_SECURITY_LABEL
            ),
        )
    }]
}

pub(super) fn deployments(snapshot: &Snapshot) -> Vec<Finding> {
    if snapshot.parts.is_empty() {
        return vec![warn(
            format!(
                "there are no Deployments of KOMPASS in namespace {}",
                snapshot.namespace
            ),
            "nothing, if the services run in another way, as in a local cluster; else install the chart, or say --namespace",
        )];
    }
    let logs = |part: &Part| {
        format!(
            "kubectl describe deployment {0} --namespace={1}; kubectl logs deployment/{0} --namespace={1} --all-containers",
            part.name, snapshot.namespace
        )
    };
    let judge = |part: &Part| {
        let text = format!("{}: {} of {} replicas are ready", part.name, part.ready, part.wanted);
        match (part.wanted, part.ready) {
            (..=0, _) => fail(
                format!("{} is scaled to nothing", part.name),
                format!(
                    "kubectl scale deployment {} --replicas=2 --namespace={}",
                    part.name, snapshot.namespace
                ),
            ),
            (_, ..=0) => fail(text, logs(part)),
            (wanted, ready) if ready < wanted => warn(text, logs(part)),
            _ => ok(text),
        }
    };
    let missing = ["scheduler", "admission-webhook"]
        .into_iter()
        .filter(|&name| !snapshot.parts.iter().any(|part| part.component == name));
    let missing = missing.map(|name| {
        fail(
            format!("there is no Deployment of the {name}"),
            "install the chart again",
        )
    });
    snapshot.parts.iter().map(judge).chain(missing).collect()
}

pub(super) fn kube_scheduler(snapshot: &Snapshot) -> Vec<Finding> {
    let containers = snapshot.parts.iter().filter(|part| part.component == SCHEDULER);
    let containers = containers.flat_map(|part| &part.containers);
    let schedulers = containers.filter(|container| container.name() == "kube-scheduler");
    let (_, server) = snapshot.server;
    schedulers
        .map(|container| {
            let fix = "set the image of kube-scheduler in the chart's values to the minor version of the API server";
            let Some(minor) = minor(container) else {
                return warn(format!("the version of {} can't be told", container.image), fix);
            };
            let text = format!("kube-scheduler is 1.{minor}, the API server 1.{server}");
            if minor > server {
                fail(format!("{text}: it must not be newer"), fix)
            } else if server - minor > 1 {
                warn(format!("{text}: Kubernetes supports one minor version behind"), fix)
            } else {
                ok(text)
            }
        })
        .collect()
}

fn minor(container: &Container) -> Option<u32> {
    let mut numbers = container.tag()?.trim_start_matches('v').split('.');
    (numbers.next()? == "1").then(|| numbers.next()?.parse().ok())?
}

pub(super) fn versions(snapshot: &Snapshot) -> Vec<Finding> {
    let containers = snapshot.parts.iter().flat_map(|part| &part.containers);
    let ours = containers.filter(|container| container.name().starts_with("kompass-"));
    let tags: BTreeSet<&str> = ours.filter_map(Container::tag).collect();
    let text = tags.iter().copied().collect::<Vec<_>>().join(", ");
    match tags.len() {
        0 => Vec::new(),
        1 if tags.contains(snapshot.version.as_str()) => vec![ok(format!("all parts are {text}"))],
        1 => vec![warn(
            format!("all parts are {text}, this program is {}", snapshot.version),
            "use the program of the same version",
        )],
        _ => vec![warn(
            format!("parts are of different versions: {text}"),
            "wait for the upgrade to end, or give all parts the same image.tag in the chart's values",
        )],
    }
}

pub(super) fn rights(snapshot: &Snapshot) -> Vec<Finding> {
    let of = |allowed: Option<bool>| -> Vec<String> {
        let some = snapshot.rights.iter().filter(|right| right.allowed == allowed);
        some.map(|right| right.text.clone()).collect()
    };
    let (missing, unknown) = (of(Some(false)), of(None));
    let mut findings = Vec::new();
    if !missing.is_empty() {
        findings.push(fail(
            format!("rights are missing: {}", some(&missing)),
            "install the chart again: it brings the roles and their bindings",
        ));
    }
    if !unknown.is_empty() {
        findings.push(warn(
            format!("{} rights could not be asked about", unknown.len()),
            "ask with an account that may create subjectaccessreviews",
        ));
    }
    if findings.is_empty() && !snapshot.rights.is_empty() {
        findings.push(ok(format!(
            "the services have all {} rights that they need",
            snapshot.rights.len()
        )));
    }
    findings
}

pub(super) fn leases(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !snapshot.leases.iter().any(|lease| lease.name == names::PLANNER_LEASE) {
        findings.push(fail(
            format!(
                "nobody has ever held the lease {}: there is no planner, and gangs wait at their gates",
                names::PLANNER_LEASE
            ),
            "see to it that the extender runs",
        ));
    }
    for lease in &snapshot.leases {
        let age_ms = lease.renewed_ms.map(|renewed_ms| snapshot.now_ms - renewed_ms);
        let is_held = age_ms.is_some_and(|age_ms| age_ms <= lease.lasts_ms + LATE_MS) && !lease.holder.is_empty();
        findings.push(if is_held {
            ok(format!("{} is held by {}", lease.name, lease.holder))
        } else {
            let since = age_ms.map_or_else(String::new, |age_ms| format!(" for {} s", age_ms / 1_000));
            let text = format!("nobody has renewed the lease {}{since}", lease.name);
            if lease.name == names::PLANNER_LEASE {
                fail(
                    format!("{text}: there is no planner, and gangs wait at their gates"),
                    "see to it that the extender runs, or take KOMPASS out of the way: kompass bypass",
                )
            } else {
                warn(
                    text,
                    "see to it that the service runs, or delete the lease if it was taken away",
                )
            }
        });
    }
    findings
}
