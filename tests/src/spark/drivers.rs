//! What Spark's drivers do about executors, without a JVM.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Application, is_bound, is_terminal, phase};

/// When things happened to one application, since the loop began to watch.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// The driver was seen bound.
    pub driver_bound: Option<Duration>,
    /// Every executor was seen bound.
    pub all_bound: Option<Duration>,
    /// The driver was made to end.
    pub done: Option<Duration>,
    /// Executors created so far, replacements too.
    pub created: u64,
}

/// What Spark's drivers do: create executors, replace lost ones, end when the work is done.
#[derive(Debug)]
pub struct Drivers {
    timelines: Arc<Mutex<HashMap<String, Timeline>>>,
    held: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// How drivers behave.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// How long a job runs once all its executors are bound.
    pub run_for: Duration,
    /// Whether this loop also plays the kubelet and sets pods running (no KWOK in the cluster).
    pub set_running: bool,
    /// Drivers create no executor until [`Drivers::let_go`], as long as a real one's start may take.
    pub held: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            run_for: Duration::from_millis(300),
            set_running: false,
            held: false,
        }
    }
}

impl Drivers {
    /// Plays every driver of `applications` in `namespace` until dropped.
    pub fn start(client: Client, namespace: &str, applications: &[Application], behaviour: Behaviour) -> Self {
        let timelines = Arc::new(Mutex::new(HashMap::new()));
        let held = Arc::new(AtomicBool::new(behaviour.held));
        let mut tasks = JoinSet::new();
        let played = Loop {
            held: Arc::clone(&held),
            pods: Api::namespaced(client, namespace),
            applications: applications.iter().map(|app| (app.driver(), app.clone())).collect(),
            behaviour,
            timelines: Arc::clone(&timelines),
            started: Instant::now(),
            seen: HashMap::new(),
            next_id: HashMap::new(),
        };
        tasks.spawn(played.run());
        Self { timelines, held, tasks }
    }

    /// Lets the drivers create executors from now on.
    pub fn let_go(&self) {
        self.held.store(false, Ordering::Release);
    }

    /// Holds the drivers again: those that start from now on create no executor.
    pub fn hold(&self) {
        self.held.store(true, Ordering::Release);
    }

    /// What has happened so far, by application name.
    ///
    /// # Panics
    /// If the loop has panicked: the test fails with it.
    pub fn timelines(&self) -> HashMap<String, Timeline> {
        self.timelines.lock().expect("the loop of drivers has panicked").clone()
    }

    /// How many applications are done.
    pub fn done(&self) -> usize {
        self.timelines()
            .values()
            .filter(|timeline| timeline.done.is_some())
            .count()
    }

    /// Stops playing; drivers that run stay as they are.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

struct Loop {
    held: Arc<AtomicBool>,
    pods: Api<Pod>,
    applications: HashMap<String, Application>,
    behaviour: Behaviour,
    timelines: Arc<Mutex<HashMap<String, Timeline>>>,
    started: Instant,
    seen: HashMap<String, Pod>,
    next_id: HashMap<String, u64>,
}

impl Loop {
    async fn run(mut self) {
        let config = watcher::Config::default().labels("spark-role in (driver, executor)");
        let mut events = watcher(self.pods.clone(), config).boxed();
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                event = events.try_next() => match event {
                    Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => {
                        self.seen.insert(pod.name_any(), pod);
                    }
                    Ok(Some(watcher::Event::Delete(pod))) => { self.seen.remove(&pod.name_any()); }
                    Ok(Some(watcher::Event::Init)) => self.seen.clear(),
                    Ok(Some(watcher::Event::InitDone)) => {}
                    // The API server is being restarted by the test; the watcher comes back by itself.
                    Err(_) | Ok(None) => tokio::time::sleep(Duration::from_millis(200)).await,
                },
                _ = tick.tick() => self.play().await,
            }
        }
    }

    async fn play(&mut self) {
        for application in self.applications.clone().into_values() {
            // A request that the API server refuses or doesn't answer is tried again with the next tick.
            self.play_one(&application).await.ok();
        }
    }

    async fn play_one(&mut self, application: &Application) -> anyhow::Result<()> {
        let name = application.driver();
        let Some(driver) = self.seen.get(&name) else {
            return Ok(());
        };
        if !is_bound(driver) || is_terminal(driver) {
            return Ok(());
        }
        let now = self.started.elapsed();
        self.note(&application.name, |timeline| {
            timeline.driver_bound = timeline.driver_bound.or(Some(now));
        });
        let uid = driver.uid().unwrap_or_default();
        let executors: Vec<Pod> = self
            .seen
            .values()
            .filter(|pod| pod.owner_references().iter().any(|owner| owner.uid == uid))
            .filter(|pod| !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none())
            .cloned()
            .collect();
        if self.behaviour.set_running {
            self.set_running(&name).await?;
            for executor in executors.iter().filter(|pod| is_bound(pod)) {
                self.set_running(&executor.name_any()).await?;
            }
        }
        if self.held.load(Ordering::Acquire) {
            return Ok(());
        }
        for _ in executors.len() as u64..application.asked().executors {
            let id = self.next_id.entry(name.clone()).or_insert(0);
            *id += 1;
            let pod = serde_json::from_value(application.executor_pod(&uid, *id))?;
            let pod = self.pods.create(&PostParams::default(), &pod).await?;
            // Seen at once, or the next tick would create it again before the watch tells.
            self.seen.insert(pod.name_any(), pod);
            self.note(&application.name, |timeline| timeline.created += 1);
        }
        let bound = executors.iter().filter(|pod| is_bound(pod)).count() as u64;
        if bound < application.asked().executors {
            return Ok(());
        }
        let all_bound = self.note(&application.name, |timeline| *timeline.all_bound.get_or_insert(now));
        if now < all_bound + self.behaviour.run_for {
            return Ok(());
        }
        self.end(&name, "Succeeded").await?;
        for executor in &executors {
            self.pods
                .delete(&executor.name_any(), &DeleteParams::default().grace_period(0))
                .await
                .ok();
            self.seen.remove(&executor.name_any());
        }
        self.note(&application.name, |timeline| timeline.done = Some(now));
        Ok(())
    }

    async fn set_running(&mut self, name: &str) -> anyhow::Result<()> {
        let pending = self.seen.get(name).is_some_and(|pod| phase(pod) == "Pending");
        if pending {
            let status = json!({ "status": { "phase": "Running" } });
            let pod = self
                .pods
                .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
                .await?;
            self.seen.insert(name.to_owned(), pod);
        }
        Ok(())
    }

    async fn end(&mut self, name: &str, phase: &str) -> anyhow::Result<()> {
        let status = json!({ "status": { "phase": phase, "containerStatuses": [{
            "name": "spark-kubernetes-driver", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } }] } });
        let pod = self
            .pods
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        self.seen.insert(name.to_owned(), pod);
        Ok(())
    }

    fn note<T>(&self, application: &str, change: impl FnOnce(&mut Timeline) -> T) -> T {
        let mut timelines = self
            .timelines
            .lock()
            .expect("nobody panics while holding the time lines");
        change(timelines.entry(application.to_owned()).or_default())
    }
}
