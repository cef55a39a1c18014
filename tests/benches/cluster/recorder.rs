//! When each pod of the jobs' namespace was seen profiled, let go and bound, by one watch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use kompass_core::names;
use kompass_kube::object;
use kompass_tests::deployment::{Deployment, JOBS};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use tokio::task::JoinSet;

/// What was seen of one pod.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// It had a job profile that was made from its configuration.
    pub(crate) profiled: Option<Instant>,
    /// It had no scheduling gate.
    pub(crate) open: Option<Instant>,
    /// It had a node.
    pub(crate) bound: Option<Instant>,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    pods: Arc<Mutex<HashMap<String, Seen>>>,
    _watching: JoinSet<()>,
}

impl Recorder {
    pub(crate) fn start(deployment: &Deployment) -> Self {
        let pods = Arc::new(Mutex::new(HashMap::new()));
        let mut watching = JoinSet::new();
        watching.spawn(watch(
            Api::namespaced(deployment.client().clone(), JOBS),
            Arc::clone(&pods),
        ));
        Self {
            pods,
            _watching: watching,
        }
    }

    pub(crate) fn seen(&self, pod: &str) -> Seen {
        self.pods
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(pod)
            .copied()
            .unwrap_or_default()
    }

    /// When pods were bound, in order, of those whose names fit.
    pub(crate) fn bound(&self, fits: impl Fn(&str) -> bool) -> Vec<Instant> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = pods.iter().filter(|(name, _)| fits(name));
        let mut times: Vec<Instant> = fitting.filter_map(|(_, seen)| seen.bound).collect();
        times.sort_unstable();
        times
    }

    /// How many have a profile.
    pub(crate) fn profiled(&self) -> usize {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.values().filter(|seen| seen.profiled.is_some()).count()
    }

    /// The pod that was bound first, of those that still exist and whose names fit.
    pub(crate) fn first_bound(&self, fits: impl Fn(&str) -> bool) -> Option<String> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = pods.iter().filter_map(|(name, seen)| Some((seen.bound?, name)));
        bound.filter(|(_, name)| fits(name)).min().map(|(_, name)| name.clone())
    }

    /// Pods that exist.
    pub(crate) fn names(&self) -> Vec<String> {
        self.pods
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }

    /// Waits until something holds. When things happened is told by the watch, not by this loop, which may be slow.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !holds(self) {
            anyhow::ensure!(started.elapsed() < crate::PATIENCE, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

async fn watch(api: Api<object::Pod>, pods: Arc<Mutex<HashMap<String, Seen>>>) {
    let mut events = watcher(api, watcher::Config::default()).boxed();
    loop {
        let event = events.try_next().await;
        let now = Instant::now();
        let mut pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => {
                let seen = pods.entry(pod.name_any()).or_default();
                let note = |time: &mut Option<Instant>, is: bool| *time = time.or(is.then_some(now));
                let profile = pod.annotations().get(names::PROFILE_ANNOTATION);
                note(
                    &mut seen.profiled,
                    profile.is_some_and(|profile| profile.contains(r#""source":"conf""#)),
                );
                note(&mut seen.open, pod.spec.scheduling_gates.is_empty());
                note(&mut seen.bound, !pod.spec.node_name.is_empty());
            }
            Ok(Some(watcher::Event::Delete(pod))) => {
                pods.remove(&pod.name_any());
            }
            Ok(_) => {}
            Err(_) => {
                drop(pods);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
