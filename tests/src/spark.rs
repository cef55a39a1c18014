//! Spark without a JVM: the objects that a real `spark-submit` 4.1 sends, and a loop that does what Spark's drivers
//! do about executors.
//!
//! Shapes and order are those of recorded submissions: driver pod first, ConfigMap afterwards; executors are created
//! by their driver once it runs, one request after another, and replaced when lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinSet;

/// Stands in every configuration and must never be seen outside of it.
pub const SECRET: &str = "not-to-be-seen-anywhere";

/// What a user would pass to `spark-submit`.
#[derive(Debug, Clone)]
pub struct Application {
    /// `--name`; also the driver pod's name with `-driver` behind it.
    pub name: String,
    /// Thousandths of a CPU of the driver.
    pub driver_cpu_milli: u64,
    /// `spark.executor.instances`.
    pub executors: u64,
    /// Thousandths of a CPU of one executor.
    pub executor_cpu_milli: u64,
    /// Heap of driver and executors each; Spark adds max(10 %, 384 MiB).
    pub heap_mib: u64,
    /// How long after the driver pod the ConfigMap comes; `None`: never.
    pub conf_delay: Option<Duration>,
    /// Further lines of `spark.properties`.
    pub conf: Vec<(String, String)>,
    /// Labels of the driver pod.
    pub labels: Vec<(String, String)>,
    /// The whole text of `spark.properties`, in place of the one that all this makes.
    pub properties: Option<String>,
}

impl Application {
    /// A job with 512 MiB heaps whose configuration comes at once.
    pub fn new(name: impl Into<String>, driver_cpu_milli: u64, executors: u64, executor_cpu_milli: u64) -> Self {
        Self {
            name: name.into(),
            driver_cpu_milli,
            executors,
            executor_cpu_milli,
            heap_mib: 512,
            conf_delay: Some(Duration::ZERO),
            conf: Vec::new(),
            labels: Vec::new(),
            properties: None,
        }
    }

    /// The driver pod's name.
    pub fn driver(&self) -> String {
        format!("{}-driver", self.name)
    }

    fn memory(&self) -> String {
        format!("{}Mi", self.heap_mib + (self.heap_mib / 10).max(384))
    }

    fn conf_map(&self) -> String {
        format!("spark-drv-{}-conf-map", self.name)
    }

    /// The driver pod as `spark-submit` sends it.
    pub fn driver_pod(&self) -> serde_json::Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": self.driver(), "labels": {
                "spark-version": "4.1.4", "spark-app-selector": format!("spark-{}", self.name),
                "spark-app-name": self.name, "spark-role": "driver" } },
            "spec": {
                "restartPolicy": "Never",
                "containers": [{
                    "name": "spark-kubernetes-driver", "image": "example.com/spark:4.1.4",
                    "args": ["driver", "--properties-file", "/opt/spark/conf/spark.properties",
                        "--class", "org.apache.spark.examples.SparkPi",
                        "local:///opt/spark/examples/jars/spark-examples.jar", "1000"],
                    "env": [{ "name": "SPARK_APPLICATION_ID", "value": format!("spark-{}", self.name) },
                        { "name": "SPARK_CONF_DIR", "value": "/opt/spark/conf" }],
                    "resources": { "limits": { "memory": self.memory() },
                        "requests": { "cpu": format!("{}m", self.driver_cpu_milli), "memory": self.memory() } },
                    "volumeMounts": [{ "mountPath": "/opt/spark/conf", "name": "spark-conf-volume-driver" }],
                }],
                "volumes": [{ "name": "spark-conf-volume-driver",
                    "configMap": { "name": self.conf_map(),
                        "items": [{ "key": "spark.properties", "mode": 420, "path": "spark.properties" }] } }],
            },
        });
        for (key, value) in &self.labels {
            pod["metadata"]["labels"][key] = json!(value);
        }
        pod
    }

    /// The driver's ConfigMap.
    pub fn config_map(&self, driver_uid: &str) -> serde_json::Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "immutable": true,
            "metadata": { "name": self.conf_map(), "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod",
                "controller": true, "name": self.driver(), "uid": driver_uid }] },
            "data": { "spark.properties": self.properties.clone().unwrap_or_else(|| self.usual_properties()) },
        })
    }

    fn usual_properties(&self) -> String {
        let mut lines = vec![
            "#Java properties built from Kubernetes config map".to_owned(),
            "spark.master=k8s\\://https\\://kubernetes.example\\:6443".to_owned(),
            "spark.submit.deployMode=cluster".to_owned(),
            "spark.kubernetes.resource.type=java".to_owned(),
            "spark.kubernetes.memoryOverheadFactor=0.1".to_owned(),
            format!("spark.app.name={}", self.name),
            format!("spark.kubernetes.driver.pod.name={}", self.driver()),
            format!("spark.executor.instances={}", self.executors),
            format!("spark.executor.memory={}m", self.heap_mib),
            format!("spark.kubernetes.executor.request.cores={}m", self.executor_cpu_milli),
            format!("spark.hadoop.fs.s3a.secret.key={SECRET}"),
        ];
        lines.extend(self.conf.iter().map(|(key, value)| format!("{key}={value}")));
        lines.join("\n") + "\n"
    }

    /// An executor pod as its driver sends it.
    pub fn executor_pod(&self, driver_uid: &str, id: u64) -> serde_json::Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("{}-exec-{id}", self.name),
                "labels": { "spark-exec-id": id.to_string(), "spark-app-name": self.name, "spark-version": "4.1.4",
                    "spark-exec-resourceprofile-id": "0", "spark-role": "executor",
                    "spark-app-selector": format!("spark-{}", self.name) },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "controller": true,
                    "name": self.driver(), "uid": driver_uid }] },
            "spec": {
                "restartPolicy": "Never",
                "containers": [{ "name": "spark-kubernetes-executor", "image": "example.com/spark:4.1.4",
                    "args": ["executor"],
                    "resources": { "limits": { "memory": self.memory() },
                        "requests": { "cpu": format!("{}m", self.executor_cpu_milli), "memory": self.memory() } } }],
            },
        })
    }

    /// Does what `spark-submit` does: POST the driver, then its ConfigMap.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn submit(&self, client: &Client, namespace: &str) -> anyhow::Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let driver = serde_json::from_value(self.driver_pod())?;
        let driver = pods.create(&PostParams::default(), &driver).await.context("failed to create the driver")?;
        let map: ConfigMap = serde_json::from_value(self.config_map(&driver.uid().unwrap_or_default()))?;
        match self.conf_delay {
            Some(Duration::ZERO) => {
                maps.create(&PostParams::default(), &map).await.context("failed to create the ConfigMap")?;
            }
            Some(delay) => {
                // Detached on purpose: the submitter is gone, the ConfigMap comes when it comes.
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    maps.create(&PostParams::default(), &map).await.ok();
                });
            }
            None => {}
        }
        Ok(driver)
    }
}

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
        Self { run_for: Duration::from_millis(300), set_running: false, held: false }
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
        self.timelines().values().filter(|timeline| timeline.done.is_some()).count()
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
        let Some(driver) = self.seen.get(&name) else { return Ok(()) };
        if !is_bound(driver) || is_terminal(driver) {
            return Ok(());
        }
        let now = self.started.elapsed();
        self.note(&application.name, |timeline| timeline.driver_bound = timeline.driver_bound.or(Some(now)));
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
        for _ in executors.len() as u64..application.executors {
            let id = self.next_id.entry(name.clone()).or_insert(0);
            *id += 1;
            let pod = serde_json::from_value(application.executor_pod(&uid, *id))?;
            let pod = self.pods.create(&PostParams::default(), &pod).await?;
            // Seen at once, or the next tick would create it again before the watch tells.
            self.seen.insert(pod.name_any(), pod);
            self.note(&application.name, |timeline| timeline.created += 1);
        }
        let bound = executors.iter().filter(|pod| is_bound(pod)).count() as u64;
        if bound < application.executors {
            return Ok(());
        }
        let all_bound = self.note(&application.name, |timeline| *timeline.all_bound.get_or_insert(now));
        if now < all_bound + self.behaviour.run_for {
            return Ok(());
        }
        self.end(&name, "Succeeded").await?;
        for executor in &executors {
            self.pods.delete(&executor.name_any(), &DeleteParams::default().grace_period(0)).await.ok();
            self.seen.remove(&executor.name_any());
        }
        self.note(&application.name, |timeline| timeline.done = Some(now));
        Ok(())
    }

    async fn set_running(&mut self, name: &str) -> anyhow::Result<()> {
        let pending = self.seen.get(name).is_some_and(|pod| phase(pod) == "Pending");
        if pending {
            let status = json!({ "status": { "phase": "Running" } });
            let pod = self.pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await?;
            self.seen.insert(name.to_owned(), pod);
        }
        Ok(())
    }

    async fn end(&mut self, name: &str, phase: &str) -> anyhow::Result<()> {
        let status = json!({ "status": { "phase": phase, "containerStatuses": [{
            "name": "spark-kubernetes-driver", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } }] } });
        let pod = self.pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await?;
        self.seen.insert(name.to_owned(), pod);
        Ok(())
    }

    fn note<T>(&self, application: &str, change: impl FnOnce(&mut Timeline) -> T) -> T {
        let mut timelines = self.timelines.lock().expect("nobody panics while holding the time lines");
        change(timelines.entry(application.to_owned()).or_default())
    }
}

/// `status.phase`, `Pending` when there is none yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether the pod has a node.
pub fn is_bound(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}
