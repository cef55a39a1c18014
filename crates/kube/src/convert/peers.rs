//! A pod's hard rules about other pods.

use kompass_core::constraints::{Operator, Requirement};
use kompass_core::{PodRules, PodSelector, PodTerm};

use super::Error;
use super::constraints::requirement;
use crate::object::{LabelSelector, PodAffinity, PodAffinityTerm};

/// The required terms of a pod in this namespace. What can't be judged (namespaces by their labels) is left out:
/// kube-scheduler keeps it. Of a driver and its executors the job profile tells that.
pub(super) fn rules(affinity: PodAffinity, anti_affinity: PodAffinity, namespace: &str) -> PodRules {
    let read = |terms: PodAffinity| terms.required.into_iter().filter_map(|one| term(one, namespace));
    PodRules {
        apart: read(anti_affinity).collect(),
        together: read(affinity).collect(),
    }
}

/// The term; `None` also where it selects no pod at all.
fn term(term: PodAffinityTerm, namespace: &str) -> Option<PodTerm> {
    let everywhere = match &term.namespace_selector {
        None => false,
        Some(selector) if *selector == LabelSelector::default() => true,
        Some(_) => return None,
    };
    let mut namespaces = term.namespaces;
    if namespaces.is_empty() {
        namespaces.push(namespace.to_owned());
    }
    namespaces.sort_unstable();
    namespaces.dedup();
    Some(PodTerm {
        topology: term.topology_key,
        pods: PodSelector {
            namespaces: (!everywhere).then_some(namespaces),
            labels: requirements(term.label_selector?).ok()?,
        },
    })
}

fn requirements(selector: LabelSelector) -> Result<Vec<Requirement>, Error> {
    let one = |(key, value)| {
        Ok(Requirement {
            key,
            operator: Operator::In,
            values: vec![value],
        })
    };
    let labels = selector.match_labels.into_iter().map(one);
    let expressions = selector.match_expressions.into_iter().map(requirement);
    let mut requirements = labels.chain(expressions).collect::<Result<Vec<_>, _>>()?;
    // Terms that say the same are one.
    requirements.sort_unstable_by(|one, other| (&one.key, &one.values).cmp(&(&other.key, &other.values)));
    Ok(requirements)
}
