//! What the cluster looks like to who acts: which nodes pods run on, who waits for nodes, how long nodes booted. Pure.

use std::collections::{BTreeSet, HashMap};

use kompass_capacity::Shape;
use kompass_core::resources::MIB;
use kompass_core::{Constraints, Node, Phase, Pod, Role, names};

const MINUTE_MS: i64 = 60_000;
/// So long kube-scheduler may take, before a pod counts as one that waits for nodes.
const WAITS_FROM_MS: i64 = 10_000;
/// Pods for which no node has come in so long get none, and keep nobody from anything.
const WAITS_TO_MS: i64 = 10 * MINUTE_MS;
/// Drivers that are remembered by their keys; beyond that those older than the longest time that matters are forgotten.
const DRIVERS_MAX: usize = 4_096;
const DRIVERS_MS: i64 = 60 * MINUTE_MS;
/// A node whose readiness has changed later was not booting then.
const BOOT_MAX_MS: i64 = 30 * MINUTE_MS;

/// Nodes and pods, as far as they are known.
#[derive(Debug, Default)]
pub struct View {
    nodes: HashMap<String, Node>,
    pods: HashMap<String, Member>,
    /// Pods that make a node busy, by its name.
    working: HashMap<String, u32>,
    /// What the pods of a node take.
    taken: HashMap<String, Taken>,
    /// Of drivers: when the last one of a profile key was created that is bound, milliseconds.
    drivers: HashMap<String, i64>,
}

/// What pods take of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Taken {
    cpu_milli: u64,
    memory_bytes: u64,
    pods: u64,
}

/// A pod, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    /// The node that it takes something of, and what.
    node: Option<(String, Taken)>,
    /// It is work: it is not on every node, and stands for nothing else.
    works: bool,
    /// It waits for a node, visible to autoscalers, since then, milliseconds.
    waits_since_ms: Option<i64>,
}

/// How long a node took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Its instance.
    pub instance: String,
    /// When it was ready, milliseconds since 1970 UTC.
    pub ready_ms: i64,
}

impl Taken {
    const fn add(&mut self, other: Self) {
        self.cpu_milli = self.cpu_milli.saturating_add(other.cpu_milli);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.pods += other.pods;
    }

    const fn subtract(&mut self, other: Self) {
        self.cpu_milli = self.cpu_milli.saturating_sub(other.cpu_milli);
        self.memory_bytes = self.memory_bytes.saturating_sub(other.memory_bytes);
        self.pods = self.pods.saturating_sub(other.pods);
    }
}

impl View {
    /// A node is there, or has changed.
    pub fn apply_node(&mut self, node: Node) {
        self.nodes.insert(node.name.clone(), node);
    }

    /// A node is gone.
    pub fn delete_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// A pod is there, or has changed.
    pub fn apply_pod(&mut self, pod: &Pod) {
        self.delete_pod(&pod.uid);
        if pod.role == Some(Role::Driver)
            && pod.node.is_some()
            && let Some(key) = &pod.profile_key
        {
            let last_ms = self.drivers.entry(key.clone()).or_insert(pod.created_ms);
            *last_ms = (*last_ms).max(pod.created_ms);
            if self.drivers.len() > DRIVERS_MAX {
                let newest_ms = self.drivers.values().copied().max().unwrap_or(0);
                self.drivers.retain(|_, last_ms| newest_ms - *last_ms <= DRIVERS_MS);
            }
        }
        let is_ours = pod.marker_for.is_some() || pod.labels.contains_key(names::HEADROOM_LABEL);
        let waits = pod.node.is_none()
            && pod.phase == Phase::Pending
            && pod.gates.is_empty()
            && !pod.deleting
            && pod.daemon_set.is_none()
            && !is_ours;
        let taken = Taken {
            cpu_milli: pod.requests.cpu_milli,
            memory_bytes: pod.requests.memory_bytes,
            pods: 1,
        };
        let node = pod.node.clone().filter(|_| pod.holds_room());
        let member = Member {
            works: node.is_some() && pod.daemon_set.is_none() && !is_ours,
            node: node.map(|node| (node, taken)),
            waits_since_ms: waits.then_some(pod.created_ms),
        };
        if let Some((node, taken)) = &member.node {
            self.taken.entry(node.clone()).or_default().add(*taken);
            if member.works {
                *self.working.entry(node.clone()).or_default() += 1;
            }
        } else if member.waits_since_ms.is_none() {
            return;
        }
        self.pods.insert(pod.uid.clone(), member);
    }

    /// A pod is gone.
    pub fn delete_pod(&mut self, uid: &str) {
        let Some(Member {
            node: Some((node, taken)),
            works,
            ..
        }) = self.pods.remove(uid)
        else {
            return;
        };
        if let Some(all) = self.taken.get_mut(&node) {
            all.subtract(taken);
            if all.pods == 0 {
                self.taken.remove(&node);
            }
        }
        let working = self.working.get_mut(&node).filter(|_| works);
        if let Some(count) = working {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.working.remove(&node);
            }
        }
    }

    /// The instances whose nodes pods work on.
    pub fn busy_instances(&self) -> BTreeSet<String> {
        let nodes = self.working.keys().filter_map(|name| self.nodes.get(name));
        nodes
            .filter_map(|node| instance(&node.provider_id))
            .map(str::to_owned)
            .collect()
    }

    /// Whether pods wait for the autoscaler to add nodes.
    pub fn is_pending(&self, now_ms: i64) -> bool {
        let waited_ms = |member: &Member| member.waits_since_ms.map(|since_ms| now_ms - since_ms);
        let mut waiting = self.pods.values().filter_map(waited_ms);
        waiting.any(|waited_ms| (WAITS_FROM_MS..WAITS_TO_MS).contains(&waited_ms))
    }

    /// Whether a driver of this profile key that was created from this moment on is bound.
    pub fn is_bound(&self, key: &str, from_ms: i64) -> bool {
        self.drivers.get(key).is_some_and(|last_ms| *last_ms >= from_ms)
    }

    /// How many pods of a node's shape would start at once. Counted here, because autoscalers mean different things by the
    /// condition `Provisioning` of a buffer: one that it has asked for nodes, another that the nodes are there.
    pub fn ready(&self, shape: Shape, constraints: &Constraints) -> u64 {
        let usable = self
            .nodes
            .values()
            .filter(|node| node.ready && !node.cordoned && !node.deleting && constraints.allow(node));
        let fitting = usable.map(|node| {
            let taken = self.taken.get(&node.name).copied().unwrap_or_default();
            let times = |free: u64, taken: u64, each: u64| free.saturating_sub(taken).checked_div(each).unwrap_or(0);
            times(node.allocatable.cpu_milli, taken.cpu_milli, shape.cpu_milli())
                .min(times(
                    node.allocatable.memory_bytes,
                    taken.memory_bytes,
                    shape.memory_mib().saturating_mul(MIB),
                ))
                .min(node.max_pods.saturating_sub(taken.pods))
        });
        fitting.sum()
    }

    /// When nodes became ready that are ready for the first time.
    pub fn boots(&self) -> impl Iterator<Item = Boot> {
        let booted = self.nodes.values().filter(|node| {
            let took_ms = node.ready_changed_ms - node.created_ms;
            node.ready && node.created_ms > 0 && (0..=BOOT_MAX_MS).contains(&took_ms)
        });
        booted.filter_map(|node| {
            Some(Boot {
                instance: instance(&node.provider_id)?.to_owned(),
                ready_ms: node.ready_changed_ms,
            })
        })
    }
}

/// The instance of `aws:///zone/i-0123`.
fn instance(provider_id: &str) -> Option<&str> {
    let path = provider_id.strip_prefix("aws://")?;
    let (_, instance) = path.rsplit_once('/')?;
    instance.starts_with("i-").then_some(instance)
}

#[cfg(test)]
mod tests {
    use kompass_core::Resources;
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn node(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            provider_id: format!("aws:///eu-central-1a/i-{name}"),
            ready: true,
            created_ms: NOW_MS,
            ready_changed_ms: NOW_MS + 30_000,
            ..Node::default()
        }
    }

    fn pod(uid: &str, node: Option<&str>) -> Pod {
        Pod {
            uid: uid.to_owned(),
            node: node.map(str::to_owned),
            created_ms: NOW_MS,
            ..Pod::default()
        }
    }

    fn view() -> View {
        let mut view = View::default();
        view.apply_node(node("a"));
        view.apply_node(node("b"));
        view
    }

    #[test]
    fn a_node_is_busy_while_something_works_on_it() {
        let mut view = view();
        view.apply_pod(&pod("1", Some("a")));
        view.apply_pod(&pod("2", Some("a")));
        assert_eq!(view.busy_instances(), ["i-a".to_owned()].into());
        let ended = Pod {
            phase: Phase::Succeeded,
            ..pod("1", Some("a"))
        };
        view.apply_pod(&ended);
        view.delete_pod("2");
        assert!(view.busy_instances().is_empty());
    }

    #[test]
    fn what_is_on_every_node_or_stands_for_something_is_no_work() {
        let mut view = view();
        let mut held = pod("3", Some("a"));
        held.labels
            .insert(names::HEADROOM_LABEL.to_owned(), "statistical".to_owned());
        for idle in [
            Pod {
                daemon_set: Some("proxy".to_owned()),
                ..pod("1", Some("a"))
            },
            Pod {
                marker_for: Some("gang".to_owned()),
                ..pod("2", Some("a"))
            },
            held,
        ] {
            view.apply_pod(&idle);
            assert!(view.busy_instances().is_empty(), "{idle:?}");
        }
    }

    #[test]
    fn what_is_ready_has_room_for_a_whole_shape() {
        let shape = Shape::new(4_000, 1_024).unwrap();
        let mut view = View::default();
        for (name, cpu_milli, ready) in [
            ("a", 4_000, true),
            ("b", 3_999, true),
            ("c", 9_000, true),
            ("d", 9_000, false),
        ] {
            view.apply_node(Node {
                allocatable: Resources::from_mib(cpu_milli, 8_192),
                max_pods: 10,
                ready,
                ..node(name)
            });
        }
        let any = Constraints::default();
        assert_eq!(view.ready(shape, &any), 3, "one on a, none on b, two on c");
        let small = Pod {
            requests: Resources::from_mib(1_500, 1),
            daemon_set: Some("logs".to_owned()),
            ..pod("1", Some("c"))
        };
        view.apply_pod(&small);
        assert_eq!(view.ready(shape, &any), 2);
        view.delete_pod("1");
        let elsewhere = Constraints {
            node_selector: [("pool".to_owned(), "spark".to_owned())].into(),
            ..Constraints::default()
        };
        assert_eq!((view.ready(shape, &any), view.ready(shape, &elsewhere)), (3, 0));
    }

    #[test]
    fn who_waits_for_nodes_is_seen_for_a_while() {
        let mut view = view();
        view.apply_pod(&pod("1", None));
        let seen: Vec<bool> = [5_000, 10_000, 500_000, 600_000]
            .map(|after_ms| view.is_pending(NOW_MS + after_ms))
            .into();
        assert_eq!(seen, [false, true, true, false]);
        let gated = Pod {
            gates: vec![names::GANG_GATE.to_owned()],
            ..pod("1", None)
        };
        view.apply_pod(&gated);
        assert!(!view.is_pending(NOW_MS + 60_000));
    }

    #[test]
    fn a_bound_driver_is_known_by_its_key() {
        let mut view = view();
        let mut driver = Pod {
            role: Some(Role::Driver),
            profile_key: Some("etl".to_owned()),
            ..pod("1", None)
        };
        view.apply_pod(&driver);
        assert!(!view.is_bound("etl", NOW_MS));
        driver.node = Some("a".to_owned());
        view.apply_pod(&driver);
        assert!(view.is_bound("etl", NOW_MS) && !view.is_bound("etl", NOW_MS + 1) && !view.is_bound("other", 0));
    }

    #[test]
    fn a_boot_is_told_by_readiness() {
        let mut view = view();
        view.apply_node(Node {
            ready_changed_ms: NOW_MS + 2 * BOOT_MAX_MS,
            ..node("b")
        });
        let boots: Vec<Boot> = view.boots().collect();
        let expected = Boot {
            instance: "i-a".to_owned(),
            ready_ms: NOW_MS + 30_000,
        };
        assert_eq!(boots, [expected]);
    }

    #[test]
    fn only_instances_of_aws_are_told() {
        for (provider_id, expected) in [
            ("aws:///eu-central-1a/i-0abc", Some("i-0abc")),
            ("aws:///eu-central-1a/mi-0abc", None),
            ("gce://project/zone/i-0abc", None),
            ("kwok://n", None),
            ("aws://", None),
            ("", None),
        ] {
            assert_eq!(instance(provider_id), expected, "{provider_id}");
        }
    }

    proptest! {
        #[test]
        fn the_order_of_what_is_told_does_not_matter(
            told in prop::collection::vec((0_u8..6, prop::option::of(0_u8..3), any::<bool>()), 0..60),
        ) {
            let mut view = View::default();
            let mut last = HashMap::new();
            for name in ["0", "1", "2"] {
                view.apply_node(node(name));
            }
            for (uid, node, is_there) in told {
                let uid = uid.to_string();
                if is_there {
                    let pod = pod(&uid, node.map(|node| node.to_string()).as_deref());
                    view.apply_pod(&pod);
                    last.insert(uid, pod);
                } else {
                    view.delete_pod(&uid);
                    last.remove(&uid);
                }
            }
            let mut anew = View::default();
            for name in ["0", "1", "2"] {
                anew.apply_node(node(name));
            }
            for pod in last.values() {
                anew.apply_pod(pod);
            }
            prop_assert_eq!(view.busy_instances(), anew.busy_instances());
            prop_assert_eq!(&view.working, &anew.working);
            prop_assert_eq!(&view.taken, &anew.taken);
            prop_assert_eq!(view.pods, anew.pods);
        }
    }
}
