//! kube-scheduler's `interpodaffinity` filter, written down as its documentation has it: for both models of the cluster.

use kompass_core::{Node, Pod, PodTerm};

/// Whether required affinity and anti-affinity let the pod to the node, with these pods on theirs.
pub(crate) fn lets(pod: &Pod, node: &Node, there: &[(&Pod, &Node)]) -> bool {
    let alone = there.iter().all(|(other, at)| !keep_apart((pod, node), (other, at)));
    alone && has_company(pod, node, there)
}

/// Whether required affinity lets the pod to the node.
pub(crate) fn has_company(pod: &Pod, node: &Node, there: &[(&Pod, &Node)]) -> bool {
    let together = &pod.pod_rules.together;
    let joins = |term: &PodTerm, (other, at): &(&Pod, &Node)| {
        same(term, node, at) && together.iter().all(|term| selects(term, other))
    };
    let is_first = || {
        let in_any = |(other, at): &(&Pod, &Node)| {
            let all = together.iter().all(|term| selects(term, other));
            all && together.iter().any(|term| at.labels.contains_key(&term.topology))
        };
        together
            .iter()
            .all(|term| selects(term, pod) && node.labels.contains_key(&term.topology))
            && !there.iter().any(in_any)
    };
    together.iter().all(|term| there.iter().any(|other| joins(term, other))) || is_first()
}

/// Whether two pods keep each other away: what one's anti-affinity selects is in the same domain, either way.
pub(crate) fn keep_apart((one, at): (&Pod, &Node), (other, there): (&Pod, &Node)) -> bool {
    let repels = |holder: &Pod, other: &Pod| {
        let apart = &holder.pod_rules.apart;
        apart.iter().any(|term| selects(term, other) && same(term, at, there))
    };
    repels(one, other) || repels(other, one)
}

fn selects(term: &PodTerm, pod: &Pod) -> bool {
    term.pods
        .selects(&pod.namespace, |key| pod.labels.get(key).map(String::as_str))
}

fn same(term: &PodTerm, one: &Node, other: &Node) -> bool {
    let value = one.labels.get(&term.topology);
    value.is_some() && value == other.labels.get(&term.topology)
}
