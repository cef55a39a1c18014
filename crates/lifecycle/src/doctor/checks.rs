//! What a snapshot means. Pure.

mod gangs;
mod parts;
mod platform;
mod webhook;

use super::{Finding, Snapshot, State};

/// One check: none, one or more findings.
type Check = fn(&Snapshot) -> Vec<Finding>;

/// In the order in which they are shown: what others depend on comes first.
const CHECKS: [(&str, Check); 17] = [
    ("kubernetes-version", parts::kubernetes_version),
    ("deployments", parts::deployments),
    ("kube-scheduler", parts::kube_scheduler),
    ("versions", parts::versions),
    ("registration", webhook::registration),
    ("certificates", webhook::certificates),
    ("webhook-reached", webhook::reached),
    ("webhook-answers", webhook::answers),
    ("admission-policy", webhook::policy),
    ("rights", parts::rights),
    ("leases", parts::leases),
    ("pod-security", parts::pod_security),
    ("gangs", gangs::gangs),
    ("ends", gangs::ends),
    ("namespaces", gangs::namespaces),
    ("quotas", gangs::quotas),
    ("platform", platform::platform),
];

/// All that is found, in the order of the checks. What could not be read is a warning of its check.
pub fn findings(snapshot: &Snapshot) -> Vec<Finding> {
    let mut all = Vec::new();
    for (name, check) in CHECKS {
        let unread: Vec<_> = snapshot.unread.iter().filter(|(check, _)| *check == name).collect();
        for (_, why) in &unread {
            all.push(Finding {
                check: name,
                state: State::Warn,
                text: format!("could not be read: {why}"),
                fix: Some("ask with an account that may read it".to_owned()),
            });
        }
        if unread.is_empty() {
            all.extend(
                check(snapshot)
                    .into_iter()
                    .map(|finding| Finding { check: name, ..finding }),
            );
        }
    }
    all
}

fn ok(text: impl Into<String>) -> Finding {
    Finding {
        check: "",
        state: State::Ok,
        text: text.into(),
        fix: None,
    }
}

fn warn(text: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        check: "",
        state: State::Warn,
        text: text.into(),
        fix: Some(fix.into()),
    }
}

fn fail(text: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        state: State::Fail,
        ..warn(text, fix)
    }
}

/// The first few of a list, and how many more.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        ..=SHOWN => text,
        more => format!("{text} and {} more", more - SHOWN),
    }
}

#[cfg(test)]
mod tests;
