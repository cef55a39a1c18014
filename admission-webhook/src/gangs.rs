//! The webhook's memory of Spark pods: each driver with its plan, and the living executors of its gang.
//!
//! One task writes it, from a watch; admission reads it. Between an executor's admission and its appearance in the
//! watch it is remembered as admitted, so that executors that come in a burst get different slots.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use kompass_core::{GangPlan, Pod, Role, names};
use rustc_hash::FxHashMap;

use crate::admit::Gang;

/// How long an admitted executor that never shows up counts: its creation was refused after us, by a quota perhaps.
pub const ADMITTED_MS: u64 = 10_000;

/// All gangs; shared.
#[derive(Debug, Default)]
pub struct Gangs(RwLock<State>);

/// Thousands of gangs may wait, and tens of thousands of executors run: what several of these maps need is shared.
#[derive(Debug, Default)]
struct State {
    /// By UID of the driver.
    gangs: FxHashMap<Arc<str>, Entry>,
    /// UID of the driver by UID of the executor.
    driver_of: FxHashMap<Arc<str>, Arc<str>>,
    /// UID of the driver by its namespace and Spark's id of the application.
    applications: FxHashMap<Application, Arc<str>>,
}

/// Namespace, and Spark's id of the application.
type Application = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct Entry {
    driver: Option<Driver>,
    /// The living executors by UID, without those that wait at the gate: they hold no slot, and one that replaces a
    /// lost executor must not be told that the gang is complete because of them.
    executors: FxHashMap<Arc<str>, Executor>,
    /// When an executor was admitted, by pod name; one that is seen is not here.
    admitted: FxHashMap<String, u64>,
}

#[derive(Debug)]
struct Driver {
    namespace: Arc<str>,
    application: Option<Arc<str>>,
    scheduler: Cow<'static, str>,
    plan: Option<Arc<GangPlan>>,
}

#[derive(Debug)]
struct Executor {
    namespace: Box<str>,
    name: Box<str>,
    node: Option<Box<str>>,
}

impl Gangs {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over what the watch says of a pod.
    pub fn apply(&self, pod: &Pod) {
        match pod.role {
            Some(Role::Driver) if pod.is_terminal() => self.remove(&pod.uid),
            Some(Role::Driver) => self.change(|state| {
                // A plan for another driver is a copy, and worth nothing.
                let plan = pod.plan.clone().filter(|plan| plan.uid == pod.uid).map(Arc::new);
                let uid = state.gang(&pod.uid);
                let namespace: Arc<str> = pod.namespace.as_str().into();
                let application: Option<Arc<str>> = pod.app_selector.as_deref().map(Arc::from);
                if let Some(application) = &application {
                    let application = (Arc::clone(&namespace), Arc::clone(application));
                    state.applications.insert(application, Arc::clone(&uid));
                }
                let driver = Driver {
                    namespace,
                    application,
                    scheduler: if pod.scheduler == names::SCHEDULER {
                        names::SCHEDULER.into()
                    } else {
                        pod.scheduler.clone().into()
                    },
                    plan,
                };
                state.gangs.entry(uid).or_default().driver = Some(driver);
            }),
            // One that is being deleted makes way for its replacement.
            Some(Role::Executor) if pod.is_terminal() || pod.deleting || pod.has_gate(names::GANG_GATE) => {
                self.remove(&pod.uid);
            }
            Some(Role::Executor) => {
                let Some(gang) = gang_of(pod) else { return };
                self.change(|state| {
                    let gang = state.gang(gang);
                    let uid: Arc<str> = pod.uid.as_str().into();
                    state.driver_of.insert(Arc::clone(&uid), Arc::clone(&gang));
                    let entry = state.gangs.entry(gang).or_default();
                    entry.admitted.remove(&pod.name);
                    let executor = Executor {
                        namespace: pod.namespace.as_str().into(),
                        name: pod.name.as_str().into(),
                        node: pod.node.as_deref().map(Box::from),
                    };
                    entry.executors.insert(uid, executor);
                });
            }
            None => {}
        }
    }

    /// Takes over that the pod with this UID is gone.
    pub fn remove(&self, uid: &str) {
        self.change(|state| {
            let gang = state.driver_of.remove(uid);
            let gang = gang.as_deref().unwrap_or(uid);
            let Some(entry) = state.gangs.get_mut(gang) else { return };
            if gang == uid {
                if let Some(driver) = entry.driver.take()
                    && let Some(application) = driver.application
                {
                    let application = (driver.namespace, application);
                    if state
                        .applications
                        .get(&application)
                        .is_some_and(|known| **known == *uid)
                    {
                        state.applications.remove(&application);
                    }
                }
                entry.admitted.clear();
            }
            entry.executors.remove(uid);
            if entry.driver.is_none() && entry.executors.is_empty() && entry.admitted.is_empty() {
                state.gangs.remove(gang);
            }
        });
    }

    /// What admission of the executor `name` needs to know of the gang of the driver `uid`; `None` if no such driver
    /// is known in the namespace. `now_ms` is monotonic.
    pub fn view(&self, namespace: &str, name: &str, uid: &str, now_ms: u64) -> Option<Gang> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let entry = state.gangs.get(uid)?;
        let driver = entry.driver.as_ref().filter(|driver| *driver.namespace == *namespace)?;
        let mut gang = Gang {
            uid: uid.to_owned(),
            scheduler: driver.scheduler.clone().into_owned(),
            plan: driver.plan.clone(),
            ..Gang::default()
        };
        let others = entry
            .executors
            .values()
            .filter(|other| *other.namespace == *namespace && *other.name != *name);
        for executor in others {
            match &executor.node {
                Some(node) => *gang.bound.entry(node.to_string()).or_insert(0) += 1,
                None => gang.unbound += 1,
            }
        }
        let fresh = |&at: &u64| now_ms.saturating_sub(at) < ADMITTED_MS;
        let coming = entry
            .admitted
            .iter()
            .filter(|(executor, at)| *executor != name && fresh(at))
            .count();
        gang.unbound += u64::try_from(coming).unwrap_or(u64::MAX);
        Some(gang)
    }

    /// The UID of the driver of an application, by Spark's id of it.
    pub fn driver_of_application(&self, namespace: &str, application: &str) -> Option<String> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let driver = state.applications.get(&(namespace.into(), application.into()));
        driver.map(ToString::to_string)
    }

    /// Remembers that the executor `name` of the driver `uid` was admitted. `now_ms` is monotonic.
    pub fn admitted(&self, uid: &str, name: &str, now_ms: u64) {
        self.change(|state| {
            // A driver that the watch has not seen is not remembered: nothing would end the memory.
            let Some(entry) = state.gangs.get_mut(uid).filter(|entry| entry.driver.is_some()) else {
                return;
            };
            entry
                .admitted
                .retain(|_, &mut at| now_ms.saturating_sub(at) < ADMITTED_MS);
            if entry.executors.values().all(|executor| *executor.name != *name) {
                entry.admitted.insert(name.to_owned(), now_ms);
            }
        });
    }

    /// How many gangs are known.
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).gangs.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn change(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl State {
    /// The UID of a gang's driver as it is kept here.
    fn gang(&self, uid: &str) -> Arc<str> {
        let known = self.gangs.get_key_value(uid);
        known.map_or_else(|| uid.into(), |(known, _)| Arc::clone(known))
    }
}

/// The UID of the driver of an executor: label and controller must agree. Executors of a stage's own resource profile
/// are counted too; they are few, and to the planner they are surplus.
fn gang_of(pod: &Pod) -> Option<&str> {
    let owner = pod.owner_pod_uid.as_deref()?;
    (pod.gang_label.as_deref() == Some(owner) && pod.scheduler == names::SCHEDULER).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(plan: Option<GangPlan>) -> Pod {
        Pod {
            uid: "d".into(),
            name: "driver".into(),
            role: Some(Role::Driver),
            scheduler: names::SCHEDULER.into(),
            plan,
            ..Pod::default()
        }
    }

    fn executor(name: &str, node: Option<&str>) -> Pod {
        Pod {
            uid: format!("uid-{name}"),
            name: name.into(),
            role: Some(Role::Executor),
            scheduler: names::SCHEDULER.into(),
            owner_pod_uid: Some("d".into()),
            gang_label: Some("d".into()),
            node: node.map(Into::into),
            ..Pod::default()
        }
    }

    fn counts(gangs: &Gangs, now_ms: u64) -> (u64, u64) {
        let gang = gangs.view("", "new", "d", now_ms).unwrap();
        (gang.bound.values().sum(), gang.unbound)
    }

    #[test]
    fn executors_are_counted_from_admission_to_end() {
        let gangs = Gangs::new();
        gangs.apply(&driver(None));
        gangs.admitted("d", "e1", 0);
        assert_eq!(counts(&gangs, 1), (0, 1));
        gangs.apply(&executor("e1", None));
        assert_eq!(counts(&gangs, 1), (0, 1), "seen by the watch, it counts once");
        gangs.apply(&executor("e1", Some("n1")));
        assert_eq!(counts(&gangs, 1), (1, 0));
        gangs.apply(&Pod {
            deleting: true,
            ..executor("e1", Some("n1"))
        });
        assert_eq!(counts(&gangs, 1), (0, 0), "its replacement takes the slot");
    }

    #[test]
    fn surplus_at_the_gate_does_not_count_until_it_is_let_through() {
        let gangs = Gangs::new();
        gangs.apply(&driver(None));
        gangs.apply(&Pod {
            gates: vec![names::GANG_GATE.into()],
            ..executor("e1", None)
        });
        assert_eq!(counts(&gangs, 0), (0, 0));
        gangs.apply(&executor("e1", None));
        assert_eq!(counts(&gangs, 0), (0, 1));
    }

    #[test]
    fn an_admitted_executor_that_never_comes_is_forgotten() {
        let gangs = Gangs::new();
        gangs.apply(&driver(None));
        gangs.admitted("d", "e1", 0);
        assert_eq!(counts(&gangs, ADMITTED_MS), (0, 0));
    }

    #[test]
    fn an_executor_does_not_count_itself() {
        let gangs = Gangs::new();
        gangs.apply(&driver(None));
        gangs.admitted("d", "e1", 0);
        assert_eq!(gangs.view("", "e1", "d", 1).unwrap().unbound, 0);
    }

    #[test]
    fn a_plan_copied_from_another_driver_is_not_believed() {
        let plan = |uid: &str| GangPlan {
            version: kompass_core::plan::VERSION,
            uid: uid.into(),
            driver: "n1".into(),
            executors: vec![("n1".into(), 1)],
            planned_ms: 0,
            unclaimed: 0,
        };
        let gangs = Gangs::new();
        gangs.apply(&driver(Some(plan("other"))));
        assert_eq!(gangs.view("", "e", "d", 0).unwrap().plan, None);
        gangs.apply(&driver(Some(plan("d"))));
        assert!(gangs.view("", "e", "d", 0).unwrap().plan.is_some());
    }

    #[test]
    fn a_label_without_its_owner_does_not_count() {
        let gangs = Gangs::new();
        gangs.apply(&driver(None));
        gangs.apply(&Pod {
            owner_pod_uid: None,
            ..executor("forged", Some("n1"))
        });
        gangs.apply(&Pod {
            owner_pod_uid: Some("x".into()),
            ..executor("forged", Some("n1"))
        });
        gangs.apply(&Pod {
            namespace: "other".into(),
            ..executor("forged", Some("n1"))
        });
        assert_eq!(counts(&gangs, 0), (0, 0));
        assert!(
            gangs.view("other", "e", "d", 0).is_none(),
            "the driver is in another namespace"
        );
    }

    #[test]
    fn nothing_is_left_of_a_gang_that_ended() {
        let gangs = Gangs::new();
        gangs.apply(&driver(None));
        gangs.apply(&executor("e1", Some("n1")));
        gangs.admitted("d", "e2", 0);
        gangs.remove("uid-e1");
        gangs.apply(&Pod {
            phase: kompass_core::Phase::Succeeded,
            ..driver(None)
        });
        assert!(gangs.is_empty());
    }

    #[test]
    fn a_namesake_outlives_the_pod_before_it() {
        let gangs = Gangs::new();
        gangs.apply(&driver(None));
        gangs.apply(&executor("e1", Some("n1")));
        gangs.apply(&Pod {
            uid: "second".into(),
            ..executor("e1", Some("n2"))
        });
        gangs.remove("uid-e1");
        assert_eq!(
            gangs.view("", "e2", "d", 0).unwrap().bound,
            [("n2".to_owned(), 1)].into_iter().collect()
        );
    }
}
