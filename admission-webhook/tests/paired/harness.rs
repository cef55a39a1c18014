//! A control plane with the webhook beside it, and the objects of recorded spark-submits.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser as _;
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kompass_admission_webhook::args::Args;
use kompass_admission_webhook::{Running, start_by};
use kompass_core::names;
use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::kompass::{self, Service};
use kompass_service::clock::Clock;
use kompass_service::readiness::Readiness;
use kompass_service::shutdown::{Shutdown, Timing};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// For anything that should happen soon, on a machine that may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
/// The namespace of the jobs.
pub(crate) const JOBS: &str = "jobs";
/// Somebody who may do everything that RBAC knows.
pub(crate) const USER: &str = "mallory";

/// etcd and the API server, with the namespaces made.
pub(crate) struct ControlPlane {
    pub(crate) cluster: Cluster,
    /// A client of an ordinary user.
    pub(crate) user: Client,
    /// A client of KOMPASS's planner.
    pub(crate) planner: Client,
}

impl ControlPlane {
    pub(crate) async fn start() -> Self {
        Self::start_with(false).await
    }

    /// With Kubernetes's own controllers, or without.
    pub(crate) async fn start_with(controller_manager: bool) -> Self {
        Self::start_by(controller_manager, kompass::MANIFESTS).await
    }

    /// With rights for the scope of labelled namespaces only.
    pub(crate) async fn start_labelled() -> Self {
        Self::start_by(false, kompass::LABELLED_MANIFESTS).await
    }

    async fn start_by(controller_manager: bool, given: &str) -> Self {
        kompass_service::tls::install_crypto_provider();
        let options = Options {
            controller_manager,
            default_scheduler: false,
            ..Options::default()
        };
        let cluster = Cluster::start(options).await.unwrap();
        // Namespace, accounts and rights as in a cluster where the services run as pods.
        let manifests = cluster.folder().join("kompass.yaml");
        std::fs::write(&manifests, given).unwrap();
        cluster
            .kubectl(&["apply", "-f", manifests.to_str().unwrap()])
            .await
            .unwrap();
        let user = client(&cluster, USER, &["system:masters"]).await;
        let planner = service_client(&cluster, Service::SchedulerExtender).await;
        let namespaces = Api::<Namespace>::all(user.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": JOBS}})).unwrap();
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        Self { cluster, user, planner }
    }

    /// Starts the webhook with more options and waits until it is ready.
    pub(crate) async fn webhook(&self, options: &[&str]) -> Webhook {
        self.webhook_by(Clock::system(), options).await
    }

    /// The same by another clock.
    pub(crate) async fn webhook_by(&self, clock: Clock, options: &[&str]) -> Webhook {
        let webhook = self.unready_webhook(clock, options).await;
        let ready = webhook.running.readiness.ready();
        tokio::time::timeout(DEADLINE, ready)
            .await
            .unwrap_or_else(|_| panic!("not ready, missing: {:?}", webhook.running.readiness.lacks()));
        webhook
    }

    /// Starts the webhook and does not wait.
    pub(crate) async fn unready_webhook(&self, clock: Clock, options: &[&str]) -> Webhook {
        let mut own = vec!["test", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        if !["--url", "--service"].iter().any(|option| options.contains(option)) {
            own.extend(["--url", "https://127.0.0.1"]);
        }
        let config = Args::try_parse_from([&own[..], options].concat())
            .unwrap()
            .resolve()
            .unwrap();
        let readiness = Readiness::new();
        let shutdown = Shutdown::new(&readiness);
        let client = service_client(&self.cluster, Service::AdmissionWebhook).await;
        let running = start_by(clock, config, client, readiness, &shutdown).await.unwrap();
        let task = tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                shutdown
                    .run(Timing {
                        grace: Duration::ZERO,
                        drain: DEADLINE,
                    })
                    .await
            }
        });
        Webhook {
            running,
            shutdown,
            task,
        }
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.user.clone(), JOBS)
    }

    pub(crate) fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.user.clone(), JOBS)
    }

    /// Creates a pod as an ordinary user.
    pub(crate) async fn create(&self, pod: &Value) -> Pod {
        let pod = serde_json::from_value(pod.clone()).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap()
    }

    /// Writes a plan and opens the gate, as the planner does.
    pub(crate) async fn plan(&self, driver: &Pod, executors: &[(&str, u64)]) {
        let plan = kompass_core::GangPlan {
            version: kompass_core::plan::VERSION,
            uid: driver.metadata.uid.clone().unwrap(),
            driver: "n1".to_owned(),
            executors: executors
                .iter()
                .map(|&(node, count)| (node.to_owned(), count))
                .collect(),
            planned_ms: 0,
            unclaimed: 0,
        };
        let patch = json!({
            "metadata": {"annotations": {names::PLAN_ANNOTATION: plan.to_annotation()}},
            "spec": {"schedulingGates": null},
        });
        let pods = Api::<Pod>::namespaced(self.planner.clone(), JOBS);
        pods.patch(name(driver), &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn stop(self) {
        drop((self.user, self.planner));
        self.cluster.stop().await.unwrap();
    }
}

/// A running webhook.
pub(crate) struct Webhook {
    pub(crate) running: Running,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), kompass_service::shutdown::Error>>,
}

impl Webhook {
    /// Waits until the readiness, with its reasons and concerns, says all of `words`.
    pub(crate) async fn says(&self, words: &[&str]) -> String {
        let readiness = &self.running.readiness;
        let said = || [readiness.lacks(), readiness.concerns()].concat().join("; ");
        let begun = Instant::now();
        loop {
            let text = said();
            if words.iter().all(|word| text.contains(word)) {
                return text;
            }
            assert!(begun.elapsed() < DEADLINE, "not in time: {words:?}, said {text:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The value of a metric; 0 before it was counted.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.running.registry.render();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Ends it as SIGTERM would.
    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) async fn client(cluster: &Cluster, user: &str, groups: &[&str]) -> Client {
    let kubeconfig: PathBuf = cluster.kubeconfig_for(user, groups).unwrap();
    kompass_kube::client::connect(Some(&kubeconfig), "kompass-test")
        .await
        .unwrap()
}

/// A client with the name and the rights of a service of KOMPASS, and no others.
pub(crate) async fn service_client(cluster: &Cluster, service: Service) -> Client {
    let groups = Service::groups();
    client(cluster, &service.user(), &groups.each_ref().map(String::as_str)).await
}

pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap()
}

pub(crate) fn annotation<'p>(pod: &'p Pod, key: &str) -> Option<&'p str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn label<'p>(pod: &'p Pod, key: &str) -> Option<&'p str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn gates(pod: &Pod) -> Vec<&str> {
    let gates = pod
        .spec
        .as_ref()
        .unwrap()
        .scheduling_gates
        .as_deref()
        .unwrap_or_default();
    gates.iter().map(|gate| gate.name.as_str()).collect()
}

pub(crate) fn scheduler(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().scheduler_name.as_deref().unwrap()
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The objects of a recorded submission.
pub(crate) struct Recording {
    pub(crate) driver: Value,
    pub(crate) config_maps: Vec<Value>,
    pub(crate) executor: Value,
}

impl Recording {
    /// Reads one, with the driver's and `ConfigMaps`' names made unique by `suffix` and everything taken out that needs
    /// other objects in the cluster.
    pub(crate) fn read(version: &str, scenario: &str, suffix: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../crates/spark/tests/data/spark-objects")
            .join(version)
            .join(scenario);
        let read = |folder: &Path, resource| -> Vec<Value> {
            let bodies = read_requests(folder, resource).into_iter();
            bodies.map(|(_, body)| renamed(body, suffix)).collect()
        };
        let driver = read(&folder, "pods").remove(0);
        let config_maps = read(&folder, "configmaps");
        let executor = read(&folder.join("driver-phase"), "pods").remove(0);
        Self {
            driver,
            config_maps,
            executor,
        }
    }

    /// The recorded executor as the `id`-th of `driver`.
    pub(crate) fn executor_of(&self, driver: &Pod, id: usize) -> Value {
        let mut pod = self.executor.clone();
        pod["metadata"]["name"] = json!(format!("{}-exec-{id}", name(driver)));
        pod["metadata"]["labels"]["spark-exec-id"] = json!(id.to_string());
        pod["metadata"]["ownerReferences"][0]["name"] = json!(name(driver));
        pod["metadata"]["ownerReferences"][0]["uid"] = json!(driver.metadata.uid);
        pod
    }
}

/// Every pod that the recorded submissions and their drivers made, as it may be created without other objects.
pub(crate) fn recorded_pods() -> Vec<(String, Value)> {
    fn walk(folder: &Path, found: &mut Vec<(String, Value)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.to_string_lossy().ends_with("-POST-pods.json") {
                let pod = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                found.push((path.display().to_string(), renamed(pod, "x")));
            }
        }
    }
    let mut found = Vec::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/spark/tests/data/spark-objects");
    walk(&data, &mut found);
    assert!(found.len() > 80, "only {} recordings found", found.len());
    found
}

/// The recorded requests about a resource, in their order.
pub(crate) fn read_requests(folder: &Path, resource: &str) -> Vec<(Method, Value)> {
    let ending = format!("-{resource}.json");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(&ending))
        .collect();
    names.sort();
    let read = |name: String| {
        let method = name.split('-').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        (method, body)
    };
    names.into_iter().map(read).collect()
}

fn renamed(mut object: Value, suffix: &str) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.remove("namespace");
    if metadata.get("name").is_some_and(Value::is_string) {
        let name = format!("{}-{suffix}", metadata["name"].as_str().unwrap());
        metadata.insert("name".to_owned(), json!(name));
    }
    if object.get("spec").is_some() {
        object["spec"].as_object_mut().unwrap().remove("priorityClassName");
        for volume in object["spec"]["volumes"].as_array_mut().into_iter().flatten() {
            if let Some(name) = volume["configMap"]["name"].as_str() {
                volume["configMap"]["name"] = json!(format!("{name}-{suffix}"));
            } else if volume.get("configMap").is_some_and(Value::is_null) {
                volume.as_object_mut().unwrap().remove("configMap");
            }
        }
    } else {
        // The owner is another pod now, and nothing here depends on it.
        object["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    }
    object
}
