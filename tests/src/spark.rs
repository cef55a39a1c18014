//! Spark without a JVM: the objects that a real `spark-submit` 4.1 sends, and a loop that does what Spark's drivers
//! do about executors.
//!
//! Shapes and order are those of recorded submissions: driver pod first, ConfigMap afterwards; executors are created
//! by their driver once it runs, one request after another, and replaced when lost.

mod drivers;
mod stream;

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kompass_local_cluster::kwok;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

pub use drivers::{Behaviour, Drivers, Timeline};
pub use stream::Stream;

/// Stands in every configuration and must never be seen outside of it.
pub const SECRET: &str = "not-to-be-seen-anywhere";

/// The key of the executors' pod template in its ConfigMap.
const TEMPLATE_KEY: &str = "podspec-configmap-key";

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
    /// `spark.kubernetes.node.selector.*`.
    pub node_selector: Vec<(String, String)>,
    /// Keys of taints, with the value `fake`, that its pods tolerate: those of nodes that only exist in the API.
    pub tolerated: Vec<String>,
    /// The whole text of `spark.properties`, in place of the one that all this makes.
    pub properties: Option<String>,
    /// The executors' pod template as YAML.
    pub template: Option<String>,
    /// What its code asks for, where it sets a configuration of its own.
    pub asks: Option<Asked>,
}

/// What the code of an application asks for, whatever its configuration says.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// How many executors.
    pub executors: u64,
    /// Thousandths of a CPU of each.
    pub cpu_milli: u64,
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
            node_selector: Vec::new(),
            tolerated: Vec::new(),
            properties: None,
            template: None,
            asks: None,
        }
    }

    /// The same on nodes that KWOK plays beside real ones.
    #[must_use]
    pub fn on_fake_nodes(mut self) -> Self {
        self.node_selector.push((kwok::LABEL.to_owned(), "kwok".to_owned()));
        self.tolerated.push(kwok::ANNOTATION.to_owned());
        let tolerations = serde_json::to_string(&self.tolerations()).unwrap_or_default();
        // Nothing else in the configuration tells what executors tolerate.
        self.template = Some(format!("spec:\n  tolerations: {tolerations}\n"));
        self
    }

    fn tolerations(&self) -> serde_json::Value {
        let one = |key: &String| json!({ "key": key, "operator": "Equal", "value": "fake", "effect": "NoSchedule" });
        self.tolerated.iter().map(one).collect()
    }

    /// What its driver asks for.
    pub fn asked(&self) -> Asked {
        self.asks.unwrap_or(Asked {
            executors: self.executors,
            cpu_milli: self.executor_cpu_milli,
        })
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
        if self.template.is_some()
            && let Some(volumes) = pod["spec"]["volumes"].as_array_mut()
        {
            volumes.push(
                json!({ "name": "pod-template-volume", "configMap": { "name": self.template_map(),
                "items": [{ "key": TEMPLATE_KEY, "path": "pod-spec-template.yml" }] } }),
            );
        }
        self.select_nodes(&mut pod);
        pod
    }

    fn template_map(&self) -> String {
        format!("{}-driver-podspec-conf-map", self.name)
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
        let selector = self.node_selector.iter();
        lines.extend(selector.map(|(key, value)| format!("spark.kubernetes.node.selector.{key}={value}")));
        lines.join("\n") + "\n"
    }

    /// An executor pod as its driver sends it.
    pub fn executor_pod(&self, driver_uid: &str, id: u64) -> serde_json::Value {
        let mut pod = json!({
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
                        "requests": { "cpu": format!("{}m", self.asked().cpu_milli), "memory": self.memory() } } }],
            },
        });
        self.select_nodes(&mut pod);
        pod
    }

    fn select_nodes(&self, pod: &mut serde_json::Value) {
        for (key, value) in &self.node_selector {
            pod["spec"]["nodeSelector"][key] = json!(value);
        }
        if !self.tolerated.is_empty() {
            pod["spec"]["tolerations"] = self.tolerations();
        }
    }

    /// Does what `spark-submit` does: POST the driver, then its ConfigMap.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn submit(&self, client: &Client, namespace: &str) -> anyhow::Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let driver = serde_json::from_value(self.driver_pod())?;
        let driver = pods
            .create(&PostParams::default(), &driver)
            .await
            .context("failed to create the driver")?;
        if let Some(template) = &self.template {
            let map = json!({ "metadata": { "name": self.template_map() }, "data": { TEMPLATE_KEY: template } });
            maps.create(&PostParams::default(), &serde_json::from_value(map)?)
                .await
                .context("failed to create the template")?;
        }
        let map: ConfigMap = serde_json::from_value(self.config_map(&driver.uid().unwrap_or_default()))?;
        match self.conf_delay {
            Some(Duration::ZERO) => {
                maps.create(&PostParams::default(), &map)
                    .await
                    .context("failed to create the ConfigMap")?;
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

/// `status.phase`, `Pending` when there is none yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

/// Whether the pod has a node.
pub fn is_bound(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}
