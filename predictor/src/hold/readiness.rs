//! How much of what is held is ready. Pure. Counted here, because autoscalers mean different things by the condition
//! `Provisioning` of a buffer: one that it has asked for nodes, another that the nodes are there.

use std::collections::HashMap;

use kompass_core::{Constraints, Node, Pod, Resources};

/// What the pods of each node take.
#[derive(Debug, Default)]
pub struct Taken(HashMap<String, (Resources, u64)>);

impl Taken {
    /// Counts a pod, if it is on a node and has not ended.
    pub fn add(&mut self, pod: &Pod) {
        if let Some(node) = pod.node.as_ref().filter(|_| pod.holds_room()) {
            let (taken, pods) = self.0.entry(node.clone()).or_default();
            taken.add(&pod.requests);
            *pods += 1;
        }
    }

    /// What a pod takes is not known: its node counts as full.
    pub fn fill(&mut self, node: &str) {
        let (taken, pods) = self.0.entry(node.to_owned()).or_default();
        (*taken, *pods) = (Resources::new(u64::MAX, u64::MAX), u64::MAX);
    }
}

/// How many more pods with these requests fit now, on nodes that are ready for them. One node may hold several of them.
pub fn fitting(nodes: &[Node], taken: &Taken, requests: &Resources, constraints: &Constraints) -> u64 {
    let usable = nodes
        .iter()
        .filter(|node| node.ready && !node.cordoned && !node.deleting && constraints.allow(node));
    let fitting = usable.map(|node| {
        let mut free = node.allocatable.clone();
        let mut places = node.max_pods;
        if let Some((taken, pods)) = taken.0.get(&node.name) {
            free.subtract(taken);
            places = places.saturating_sub(*pods);
        }
        requests.times_in(&free).min(places)
    });
    fitting.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use kompass_core::Phase;
    use kompass_core::cluster::{Taint, TaintEffect};
    use kompass_core::constraints::Toleration;

    use super::*;

    fn node(name: &str) -> Node {
        Node {
            name: name.into(),
            labels: [("pool".into(), "spark".into())].into(),
            allocatable: Resources::from_mib(4_000, 8_192),
            max_pods: 10,
            ready: true,
            ..Node::default()
        }
    }

    fn pod(node: &str, cpu_milli: u64) -> Pod {
        Pod {
            node: Some(node.into()),
            requests: Resources::from_mib(cpu_milli, 64),
            ..Pod::default()
        }
    }

    fn on(nodes: &[Node], pods: &[Pod]) -> u64 {
        let mut taken = Taken::default();
        for pod in pods {
            taken.add(pod);
        }
        let constraints = Constraints {
            node_selector: [("pool".into(), "spark".into())].into(),
            tolerations: vec![Toleration {
                key: "spot".into(),
                exists: true,
                ..Toleration::default()
            }],
            ..Constraints::default()
        };
        fitting(nodes, &taken, &Resources::from_mib(3_000, 4_096), &constraints)
    }

    #[test]
    fn only_nodes_count_that_such_a_pod_could_start_on() {
        let taint = |key: &str, effect| Taint {
            key: key.into(),
            value: String::new(),
            effect,
        };
        let with = |change: fn(&mut Node)| {
            let mut node = node("n");
            change(&mut node);
            node
        };
        assert_eq!(on(&[node("a"), node("b")], &[]), 2);
        for unusable in [
            with(|node| node.ready = false),
            with(|node| node.cordoned = true),
            with(|node| node.deleting = true),
            with(|node| node.labels.clear()),
            with(|node| node.max_pods = 0),
            with(|node| node.allocatable.cpu_milli = 2_999),
            with(|node| node.allocatable.memory_bytes -= 5 << 30),
            Node {
                taints: vec![taint("dedicated", TaintEffect::NoSchedule)],
                ..node("n")
            },
        ] {
            assert_eq!(on(std::slice::from_ref(&unusable), &[]), 0, "{unusable:?}");
        }
        let tolerated = Node {
            taints: vec![
                taint("spot", TaintEffect::NoExecute),
                taint("any", TaintEffect::PreferNoSchedule),
            ],
            ..node("n")
        };
        assert_eq!(on(&[tolerated], &[]), 1);
        assert_eq!(
            on(
                &[with(|node| node.allocatable = Resources::from_mib(8_000, 8_192))],
                &[]
            ),
            2
        );
    }

    #[test]
    fn pods_take_room_until_they_end() {
        let ended = Pod {
            phase: Phase::Succeeded,
            ..pod("a", 4_000)
        };
        assert_eq!(on(&[node("a")], &[pod("a", 1_000), pod("b", 4_000), ended]), 1);
        assert_eq!(on(&[node("a")], &[pod("a", 1_000), pod("a", 1)]), 0);
        let many: Vec<Pod> = (0..10).map(|_| pod("a", 0)).collect();
        assert_eq!((on(&[node("a")], &many[1..]), on(&[node("a")], &many)), (1, 0));
        let mut unknown = Taken::default();
        unknown.fill("a");
        let free = |name| {
            fitting(
                &[node(name)],
                &unknown,
                &Resources::from_mib(1, 1),
                &Constraints::default(),
            )
        };
        assert_eq!((free("a"), free("b")), (0, 10));
    }
}
