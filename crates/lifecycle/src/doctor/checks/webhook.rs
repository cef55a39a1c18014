//! The webhook: registered, trusted, reached, and whether it does its work.

use kompass_core::names;

use super::{Finding, Snapshot, fail, ok, warn};
use crate::doctor::Answer;

const DAY_MS: i64 = 86_400_000;
/// Certificates of KOMPASS's own are renewed long before.
const SOON_MS: i64 = 3 * DAY_MS;

pub(super) fn registration(snapshot: &Snapshot) -> Vec<Finding> {
    let Some(known) = &snapshot.registration else {
        return vec![fail(
            format!(
                "there is no MutatingWebhookConfiguration {}: no pod is taken",
                names::REGISTRATION
            ),
            "see to it that the webhook runs: it registers itself",
        )];
    };
    let mut findings = Vec::new();
    let owner = known.install.as_deref().and_then(|install| install.split('/').next());
    if let Some(owner) = owner.filter(|owner| *owner != snapshot.namespace) {
        findings.push(fail(
            format!(
                "it belongs to the install in namespace {owner}, not to the one in {}",
                snapshot.namespace
            ),
            "say --namespace, or uninstall one of the two: a cluster has one KOMPASS",
        ));
    }
    if let Some(reason) = &known.bypass {
        findings.push(warn(
            format!("bypassed ({reason}): no pod is taken"),
            "kompass bypass --undo",
        ));
    } else if !known.asks {
        findings.push(fail(
            "the API server is not told to ask about pods, and nobody has asked for that: no pod is taken",
            "see to it that the webhook runs: it repairs its registration within a minute",
        ));
    } else if known.failure_policy != "Ignore" {
        findings.push(fail(
            format!(
                "failurePolicy is {}: without the webhook no Spark pod can be created",
                known.failure_policy
            ),
            "see to it that the webhook runs: it repairs its registration within a minute",
        ));
    }
    if findings.is_empty() {
        let scope = if known.is_labelled {
            "labelled namespaces"
        } else {
            "all namespaces"
        };
        findings.push(ok(format!("the API server asks about Spark pods of {scope}")));
    }
    findings
}

pub(super) fn certificates(snapshot: &Snapshot) -> Vec<Finding> {
    let Some(known) = &snapshot.registration else {
        return Vec::new();
    };
    let left_ms = |end_ms: i64| end_ms - snapshot.now_ms;
    let renew = "see docs/certificates.md; the webhook renews those of its own by itself, cert-manager and you those of a Secret";
    match known.ends_ms.iter().max() {
        None => vec![warn(
            "the caBundle is empty: the API server trusts the authorities of its own machine only",
            "nothing, if the certificate is of one of these; else see docs/certificates.md",
        )],
        Some(&end_ms) if left_ms(end_ms) <= 0 => {
            vec![fail(
                "every authority in the caBundle has ended: the API server refuses the webhook",
                renew,
            )]
        }
        Some(&end_ms) if left_ms(end_ms) < SOON_MS => {
            let hours = left_ms(end_ms) / 3_600_000;
            vec![warn(
                format!("the last authority in the caBundle ends in {hours} hours"),
                renew,
            )]
        }
        Some(&end_ms) => vec![ok(format!(
            "the caBundle is good for {} days",
            left_ms(end_ms) / DAY_MS
        ))],
    }
}

pub(super) fn reached(snapshot: &Snapshot) -> Vec<Finding> {
    match &snapshot.probe {
        Answer::None => Vec::new(),
        Answer::Good => vec![ok("the API server reaches the webhook and trusts its certificate")],
        Answer::Unchanged => vec![fail(
            "the API server does not ask the webhook's probe",
            "see to it that the webhook runs: it repairs its registration within a minute",
        )],
        Answer::Refused(why) => vec![fail(
            format!("the API server does not reach the webhook: {why}"),
            unreached(why),
        )],
    }
}

/// As in `docs/certificates.md`.
fn unreached(why: &str) -> &'static str {
    if why.contains("forbidden") {
        "ask with an account that may create leases in KOMPASS's namespace"
    } else if why.contains("x509: certificate has expired") {
        "renew the certificate; compare the clocks of the nodes and of the API server"
    } else if why.contains("x509: certificate is valid for") {
        "the certificate needs both names of the webhook's Services"
    } else if why.contains("x509") {
        "the caBundle is of another authority than the certificate: with cert-manager look at its CA injector, with a Secret at ca.crt"
    } else if why.contains("not found") {
        "the webhook's Service for probes is missing: install the chart again"
    } else {
        "see to it that the webhook runs, and let the control plane reach its pods on their port (security group, NetworkPolicy, CNI)"
    }
}

pub(super) fn answers(snapshot: &Snapshot) -> Vec<Finding> {
    let (answer, namespace) = &snapshot.driver;
    let shadow = snapshot
        .parts
        .iter()
        .flat_map(|part| &part.containers)
        .any(|container| container.shadow);
    match answer {
        Answer::None => Vec::new(),
        Answer::Good => vec![ok(format!(
            "a Spark driver in namespace {namespace} would get its gate"
        ))],
        Answer::Unchanged if shadow => vec![ok("the webhook runs in shadow mode and changes no pod")],
        Answer::Unchanged => vec![fail(
            format!("a Spark driver in namespace {namespace} would go past KOMPASS"),
            "nothing, if the webhook runs with --mode shadow; else see the findings about the webhook above, and its log",
        )],
        Answer::Refused(why) => vec![warn(
            format!("whether a Spark driver in namespace {namespace} would get its gate could not be tried: {why}"),
            "let your account create pods there, or look at the quota",
        )],
    }
}

pub(super) fn policy(snapshot: &Snapshot) -> Vec<Finding> {
    let fix = "see to it that the webhook runs: it registers both by itself";
    vec![match (snapshot.policy, snapshot.policy_binding) {
        (true, true) => ok("plans and profiles can't be forged"),
        (false, _) => fail(
            format!(
                "the ValidatingAdmissionPolicy {} is missing: plans can be forged",
                names::REGISTRATION
            ),
            fix,
        ),
        (true, false) => fail(
            format!(
                "the binding of the ValidatingAdmissionPolicy {} is missing: plans can be forged",
                names::REGISTRATION
            ),
            fix,
        ),
    }]
}
