//! What waits, what should have ended, and what keeps jobs of a namespace from running.

use kompass_core::quantity;

use super::{Finding, Snapshot, fail, ok, some, warn};

const MINUTE_MS: i64 = 60_000;
/// The profiler writes a guess long before.
const PROFILE_MS: i64 = 5 * MINUTE_MS;

pub(super) fn gangs(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    let gated = snapshot
        .pending
        .iter()
        .filter(|pod| pod.gate.is_some() && pod.role == "driver");
    let is_old = |created_ms: i64| snapshot.now_ms - created_ms > PROFILE_MS;
    let unread: Vec<String> = gated
        .clone()
        .filter(|pod| !pod.has_profile && is_old(pod.created_ms))
        .map(|pod| format!("{}/{}", pod.namespace, pod.name))
        .collect();
    if !unread.is_empty() {
        findings.push(fail(
            format!(
                "{} drivers have waited for more than 5 minutes without a profile: {}",
                unread.len(),
                some(&unread)
            ),
            "look at the webhook's log and at the events of these pods; kompass bypass lets them all go",
        ));
    }
    let foreign: Vec<String> = snapshot
        .pending
        .iter()
        .filter(|pod| pod.gate.is_some() && !pod.ours)
        .map(|pod| format!("{}/{}", pod.namespace, pod.name))
        .collect();
    if !foreign.is_empty() {
        findings.push(fail(
            format!(
                "pods have KOMPASS's gate and another scheduler, so that nobody opens it: {}",
                some(&foreign)
            ),
            "kompass bypass lifts their gates; see docs/admission.md about other webhooks",
        ));
    }
    if !snapshot.unplaced.is_empty() {
        findings.push(warn(
            format!("drivers with an open gate have no node: {}", some(&snapshot.unplaced)),
            "KOMPASS's kube-scheduler places them: see to it that it runs; kubectl describe pod says what it misses",
        ));
    }
    if findings.is_empty() {
        findings.push(ok(format!(
            "{} gangs wait for their turn, none is stuck",
            gated.count()
        )));
    }
    findings
}

pub(super) fn ends(snapshot: &Snapshot) -> Vec<Finding> {
    if snapshot.overdue.is_empty() {
        return vec![ok("nothing is held past its end")];
    }
    let names: Vec<String> = snapshot
        .overdue
        .iter()
        .map(|one| format!("{} ({} min)", one.object, one.by_ms / MINUTE_MS))
        .collect();
    vec![warn(
        format!("held past its end, which may cost nodes: {}", some(&names)),
        "see to it that the extender runs: its leader removes them; or delete them",
    )]
}

pub(super) fn namespaces(snapshot: &Snapshot) -> Vec<Finding> {
    let Some(known) = snapshot.registration.as_ref().filter(|known| known.is_labelled) else {
        return Vec::new();
    };
    let enabled = snapshot
        .namespaces
        .iter()
        .filter(|namespace| namespace.enabled.as_deref() == Some("true"));
    let mut findings: Vec<Finding> = enabled
        .clone()
        .filter(|namespace| namespace.allowed == Some(false))
        .map(|namespace| {
            let name = &namespace.name;
            fail(
                format!("namespace {name} is labelled, but the webhook may not work there: drivers are planned by guesses or alone"),
                format!(
                    "kubectl create rolebinding kompass-profiler-namespace --namespace={name} \
                     --clusterrole=kompass-profiler-namespace --serviceaccount={}:kompass-admission-webhook",
                    snapshot.namespace
                ),
            )
        })
        .collect();
    if enabled.clone().count() == 0 && known.asks {
        findings.push(warn(
            "no namespace is in scope",
            "kubectl label namespace NAME kompass.dev/enabled=true, with its RoleBinding (docs/admission.md)",
        ));
    }
    if findings.is_empty() {
        findings.push(ok(format!("{} namespaces are in scope, with rights", enabled.count())));
    }
    findings
}

pub(super) fn quotas(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for quota in &snapshot.quotas {
        let of = format!("the quota {}/{}", quota.namespace, quota.name);
        let full: Vec<String> = quota
            .amounts
            .iter()
            .filter(|(_, (hard, used))| is_full(hard, used))
            .map(|(resource, (hard, used))| format!("{resource} ({used} of {hard})"))
            .collect();
        if !full.is_empty() {
            findings.push(warn(
                format!("{of} is used up: {}; gangs wait at their drivers", full.join(", ")),
                "raise it, or wait for jobs to end",
            ));
        }
        if quota.amounts.contains_key("limits.cpu") {
            findings.push(warn(
                format!(
                    "{of} wants a limit of CPU on every pod, and Spark sets none: executors without one are refused"
                ),
                "set spark.kubernetes.{driver,executor}.limit.cores, or a LimitRange with a default",
            ));
        }
    }
    if findings.is_empty() && !snapshot.quotas.is_empty() {
        findings.push(ok(format!("{} quotas, none used up", snapshot.quotas.len())));
    }
    findings
}

fn is_full(hard: &str, used: &str) -> bool {
    match (quantity::milli(hard), quantity::milli(used)) {
        (Ok(hard), Ok(used)) => used >= hard,
        _ => false,
    }
}
