//! Which namespaces need a disruption budget for their drivers: pure, all times are monotonic milliseconds.
//!
//! One budget for each namespace that has drivers of KOMPASS's, and none where the last has ended: a budget that
//! outlives its drivers is only litter, but one that is missing lets a drain end a job.

use kompass_core::{Pod, Role, names};
use rustc_hash::{FxHashMap, FxHashSet};

/// A namespace without drivers keeps its budget for this long: the next job may be on its way.
const LINGER_MS: u64 = 10_000;
/// After an attempt that failed.
const RETRY_MS: u64 = 30_000;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// List the budgets that are there.
    List,
    /// Apply the budget of a namespace.
    Apply(String),
    /// Delete the budget of a namespace.
    Delete(String),
}

/// The namespaces and their drivers.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    namespaces: FxHashMap<String, Namespace>,
    /// The namespace of each driver, by UID.
    namespace_of: FxHashMap<String, String>,
    list: Step,
    /// All drivers are known, so that it is known too which namespaces have none.
    synced: bool,
    /// The budgets of earlier processes are known.
    listed: bool,
}

#[derive(Debug, Default)]
struct Namespace {
    /// UIDs.
    drivers: FxHashSet<String>,
    /// When the last driver went.
    empty_since_ms: u64,
    /// There is a budget, as far as is known.
    applied: bool,
    step: Step,
}

/// An attempt, now or later.
#[derive(Debug, Default)]
struct Step {
    running: bool,
    not_before_ms: u64,
}

impl Step {
    fn is_due(&self, now_ms: u64) -> bool {
        !self.running && self.not_before_ms <= now_ms
    }

    fn ended(&mut self, ok: bool, now_ms: u64) {
        self.running = false;
        self.not_before_ms = if ok { 0 } else { now_ms + RETRY_MS };
    }
}

impl Budgets {
    /// Takes over what the watch says of a pod.
    pub(super) fn observe(&mut self, pod: &Pod, now_ms: u64) {
        // As the budget selects: a driver without the label came past the webhook.
        let counts = pod.role == Some(Role::Driver)
            && pod.scheduler == names::SCHEDULER
            && pod.profile_key.is_some()
            && !pod.is_terminal();
        if !counts {
            self.remove(&pod.uid, now_ms);
            return;
        }
        self.namespace_of.insert(pod.uid.clone(), pod.namespace.clone());
        let namespace = self.namespaces.entry(pod.namespace.clone()).or_default();
        namespace.drivers.insert(pod.uid.clone());
    }

    /// Takes over that a pod is gone.
    pub(super) fn remove(&mut self, uid: &str, now_ms: u64) {
        let Some(name) = self.namespace_of.remove(uid) else {
            return;
        };
        if let Some(namespace) = self.namespaces.get_mut(&name) {
            namespace.drivers.remove(uid);
            if namespace.drivers.is_empty() {
                namespace.empty_since_ms = now_ms;
            }
        }
    }

    /// Takes over that all pods have been told of.
    pub(super) fn synced(&mut self) {
        self.synced = true;
    }

    /// What is due now.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<Order> {
        let mut orders = Vec::new();
        if self.synced && !self.listed && self.list.is_due(now_ms) {
            self.list.running = true;
            orders.push(Order::List);
        }
        for (name, namespace) in &mut self.namespaces {
            let has_drivers = !namespace.drivers.is_empty();
            let lingers = now_ms.saturating_sub(namespace.empty_since_ms) < LINGER_MS;
            let order = match (has_drivers, namespace.applied) {
                (true, false) => Order::Apply(name.clone()),
                (false, true) if self.synced && !lingers => Order::Delete(name.clone()),
                _ => continue,
            };
            if namespace.step.is_due(now_ms) {
                namespace.step.running = true;
                orders.push(order);
            }
        }
        self.namespaces
            .retain(|_, namespace| namespace.applied || namespace.step.running || !namespace.drivers.is_empty());
        orders
    }

    /// Takes over which namespaces have a budget; `None` if that could not be learned.
    pub(super) fn listed(&mut self, found: Option<Vec<String>>, now_ms: u64) {
        self.list.ended(found.is_some(), now_ms);
        self.listed = found.is_some();
        for name in found.into_iter().flatten() {
            // Applied once more where there are drivers: an earlier version may have written it otherwise.
            let namespace = self.namespaces.entry(name).or_default();
            namespace.applied |= namespace.drivers.is_empty();
        }
    }

    /// Takes over what came of an order for a namespace.
    pub(super) fn finished(&mut self, order: &Order, ok: bool, now_ms: u64) {
        let (Order::Apply(name) | Order::Delete(name)) = order else {
            return;
        };
        let namespace = self.namespaces.entry(name.clone()).or_default();
        namespace.step.ended(ok, now_ms);
        if ok {
            namespace.applied = matches!(order, Order::Apply(_));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(uid: &str, namespace: &str) -> Pod {
        Pod {
            uid: uid.into(),
            namespace: namespace.into(),
            role: Some(Role::Driver),
            scheduler: names::SCHEDULER.into(),
            profile_key: Some("k".into()),
            ..Pod::default()
        }
    }

    /// After the list of nothing.
    fn budgets() -> Budgets {
        let mut budgets = Budgets::default();
        budgets.synced();
        assert_eq!(budgets.due(0), [Order::List]);
        budgets.listed(Some(Vec::new()), 0);
        budgets
    }

    #[test]
    fn a_namespace_has_a_budget_from_its_first_driver_to_some_time_after_its_last() {
        let mut budgets = budgets();
        let (apply, delete) = (Order::Apply("a".into()), Order::Delete("a".into()));
        budgets.observe(&driver("1", "a"), 0);
        budgets.observe(&driver("2", "a"), 0);
        assert_eq!(budgets.due(0), std::slice::from_ref(&apply));
        assert!(budgets.due(0).is_empty(), "an attempt is under way");
        budgets.finished(&apply, true, 1);
        assert!(budgets.due(1).is_empty());
        budgets.remove("1", 2);
        assert!(budgets.due(100_000).is_empty(), "one driver is left");
        let ended = Pod {
            phase: kompass_core::cluster::Phase::Succeeded,
            ..driver("2", "a")
        };
        budgets.observe(&ended, 100_000);
        assert!(budgets.due(100_000 + LINGER_MS - 1).is_empty());
        assert_eq!(budgets.due(100_000 + LINGER_MS), std::slice::from_ref(&delete));
        // A driver that comes meanwhile gets a new one.
        budgets.observe(&driver("3", "a"), 120_000);
        assert!(budgets.due(120_000).is_empty());
        budgets.finished(&delete, true, 120_000);
        assert_eq!(budgets.due(120_000), [apply]);
    }

    #[test]
    fn what_fails_is_tried_again_after_a_pause() {
        let mut budgets = budgets();
        budgets.observe(&driver("1", "a"), 0);
        let apply = Order::Apply("a".into());
        assert_eq!(budgets.due(0), std::slice::from_ref(&apply));
        budgets.finished(&apply, false, 5);
        assert!(budgets.due(5 + RETRY_MS - 1).is_empty());
        assert_eq!(budgets.due(5 + RETRY_MS), [apply]);
        let mut budgets = Budgets::default();
        budgets.synced();
        assert_eq!(budgets.due(0), [Order::List]);
        budgets.listed(None, 0);
        assert!(budgets.due(RETRY_MS - 1).is_empty());
        assert_eq!(budgets.due(RETRY_MS), [Order::List]);
    }

    #[test]
    fn budgets_of_an_earlier_process_go_where_no_driver_is_left() {
        let mut budgets = Budgets::default();
        budgets.observe(&driver("1", "a"), 0);
        assert_eq!(budgets.due(0), [Order::Apply("a".into())], "needs no list");
        budgets.finished(&Order::Apply("a".into()), true, 0);
        budgets.synced();
        assert_eq!(budgets.due(50_000), [Order::List]);
        budgets.listed(Some(vec!["a".into(), "b".into()]), 50_000);
        assert_eq!(budgets.due(50_000), [Order::Delete("b".into())]);
    }

    #[test]
    fn only_drivers_that_the_budget_selects_count() {
        let mut budgets = budgets();
        for pod in [
            Pod {
                role: Some(Role::Executor),
                ..driver("1", "a")
            },
            Pod {
                scheduler: "default-scheduler".into(),
                ..driver("2", "a")
            },
            Pod {
                profile_key: None,
                ..driver("3", "a")
            },
        ] {
            budgets.observe(&pod, 0);
        }
        assert!(budgets.due(0).is_empty());
    }
}
