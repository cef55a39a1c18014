//! A watchdog beside a running cluster: at every change it checks what must always hold, from the API server alone.
//!
//! It shares no code with the planner's own bookkeeping, so that both can't be wrong in the same way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::{StreamExt as _, TryStreamExt as _};
use kompass_core::{Node, Pod, Resources, Role, names};
use kompass_kube::object;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use tokio::task::JoinSet;

/// Watches nodes and pods and remembers every breach.
#[derive(Debug)]
pub struct Watchdog {
    state: Arc<Mutex<State>>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    nodes: HashMap<String, Node>,
    pods: HashMap<String, Pod>,
    breaches: Vec<String>,
    checks: u64,
    only_bound: bool,
    any_number: bool,
}

impl Watchdog {
    /// Begins to watch.
    pub fn start(client: &Client) -> Self {
        Self::with(client, State::default())
    }

    /// The same where jobs make more executors than their configuration says.
    pub fn start_for_any_number(client: &Client) -> Self {
        let any_number = true;
        Self::with(
            client,
            State {
                any_number,
                ..State::default()
            },
        )
    }

    /// Begins to watch what is bound, not what is promised: where others than KOMPASS take promised room, or nodes die,
    /// a promise can't be kept.
    pub fn start_for_bound(client: &Client) -> Self {
        let only_bound = true;
        Self::with(
            client,
            State {
                only_bound,
                ..State::default()
            },
        )
    }

    fn with(client: &Client, state: State) -> Self {
        let state = Arc::new(Mutex::new(state));
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_nodes(Api::all(client.clone()), Arc::clone(&state)));
        tasks.spawn(watch_pods(Api::all(client.clone()), Arc::clone(&state)));
        Self { state, tasks }
    }

    /// Stops; an error with every breach seen, or if it has seen nothing at all.
    ///
    /// # Errors
    /// The breaches, one a line.
    ///
    /// # Panics
    /// If a watching task has panicked.
    pub async fn finish(mut self) -> anyhow::Result<u64> {
        self.tasks.shutdown().await;
        let state = self.state.lock().expect("the watchdog has panicked");
        anyhow::ensure!(
            state.breaches.is_empty(),
            "{} breaches:\n{}",
            state.breaches.len(),
            state.breaches.join("\n")
        );
        anyhow::ensure!(state.checks > 0, "the watchdog has seen nothing");
        Ok(state.checks)
    }
}

async fn watch_nodes(nodes: Api<object::Node>, state: Arc<Mutex<State>>) {
    let mut events = watcher(nodes, watcher::Config::default()).boxed();
    loop {
        match events.try_next().await {
            Ok(Some(watcher::Event::Apply(node) | watcher::Event::InitApply(node))) => {
                if let Ok(node) = kompass_kube::convert::node(node) {
                    lock(&state).nodes.insert(node.name.clone(), node);
                }
            }
            Ok(Some(watcher::Event::Delete(node))) => {
                lock(&state).nodes.remove(&node.name_any());
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

async fn watch_pods(pods: Api<object::Pod>, state: Arc<Mutex<State>>) {
    let mut events = watcher(pods, watcher::Config::default()).boxed();
    loop {
        match events.try_next().await {
            Ok(Some(watcher::Event::Apply(pod))) => {
                let mut state = lock(&state);
                state.put(pod);
                state.check();
            }
            Ok(Some(watcher::Event::InitApply(pod))) => lock(&state).put(pod),
            Ok(Some(watcher::Event::Init)) => lock(&state).pods.clear(),
            Ok(Some(watcher::Event::InitDone)) => lock(&state).check(),
            Ok(Some(watcher::Event::Delete(pod))) => {
                lock(&state).pods.remove(&pod.uid().unwrap_or_default());
            }
            Ok(None) => {}
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state
        .lock()
        .expect("the watchdog's tasks don't panic while they hold its state")
}

impl State {
    fn put(&mut self, pod: object::Pod) {
        let name = pod.name_any();
        match kompass_kube::convert::pod(pod) {
            Ok((pod, _warnings)) => {
                self.pods.insert(pod.uid.clone(), pod);
            }
            Err(error) => self.breach(format!("pod {name} cannot be read: {error}")),
        }
    }

    fn breach(&mut self, text: String) {
        if !self.breaches.contains(&text) {
            self.breaches.push(text);
        }
    }

    /// Bound and promised requests on each node stay within what it has; a bound driver has a plan for its minimum.
    fn check(&mut self) {
        self.checks += 1;
        let mut used: HashMap<&str, Resources> = HashMap::new();
        let mut executors: HashMap<(&str, &str), u64> = HashMap::new();
        for pod in self.pods.values().filter(|pod| pod.holds_room()) {
            let Some(node) = pod.node.as_deref() else { continue };
            used.entry(node).or_default().add(&pod.requests);
            if let (Some(Role::Executor), Some(driver)) = (pod.role, pod.owner_pod_uid.as_deref()) {
                *executors.entry((driver, node)).or_default() += 1;
            }
        }
        let mut breaches = Vec::new();
        for driver in self
            .pods
            .values()
            .filter(|pod| pod.role == Some(Role::Driver) && pod.holds_room())
        {
            if driver.scheduler != names::SCHEDULER || driver.ended.is_some() {
                continue;
            }
            let (Some(profile), Some(plan)) = (&driver.profile, &driver.plan) else {
                breaches.push(format!("driver {} is bound without a profile and a plan", driver.name));
                continue;
            };
            let all: u64 = executors
                .iter()
                .filter(|((owner, _), _)| *owner == driver.uid)
                .map(|(_, count)| count)
                .sum();
            if profile.executors_max.is_some_and(|max| all > max) && !self.any_number {
                breaches.push(format!("driver {} has {all} executors", driver.name));
            }
            if plan.executor_count() + plan.unclaimed < profile.executors_at_start && !self.only_bound {
                breaches.push(format!(
                    "driver {} is bound with a plan for less than its minimum",
                    driver.name
                ));
            }
            for (node, count) in plan.executors.iter().filter(|_| !self.only_bound) {
                let there = executors
                    .get(&(driver.uid.as_str(), node.as_str()))
                    .copied()
                    .unwrap_or(0);
                used.entry(node)
                    .or_default()
                    .add_times(&profile.executor.resources(), count.saturating_sub(there));
            }
        }
        for (name, sum) in &used {
            if let Some(node) = self.nodes.get(*name)
                && !sum.fits(&node.allocatable)
            {
                breaches.push(format!(
                    "node {name} has {} but {sum} is bound or promised",
                    node.allocatable
                ));
            }
        }
        for text in breaches {
            self.breach(text);
        }
    }
}
