//! `setup-kompass.sh eks` with all that is inside the cluster: the real Helm and kubectl, KOMPASS's chart, and its
//! pods. A cluster of this machine stands in for the one that moto only tells of, and has the images that nobody pushes
//! anywhere.
//!
//! ```text
//! setup-kompass.sh ── terraform, aws ──────────────────────────────────▶ moto
//!                  ├─ aws eks update-kubeconfig (asks moto, too) ──┐
//!                  ├─ kubectl, helm, kompass ◀── kubeconfig ───────┴───▶ local cluster
//!                  └─ docker: a fake; the node has the images by the names of the account's ECR
//! ```
//!
//! Needs root, and the programs and images that `cargo xtask prepare` makes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kompass_deployment_tests::{own_program, project};
use kompass_local_cluster::full::{self, Cluster, NODE};
use kompass_local_cluster::images::{Image, Own, Part};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use serde_json::{Value, json};

use crate::life::Aws;
use crate::machine::Machine;

const NAME: &str = "kompass-eks";
/// KOMPASS's own namespace, and that of jobs.
const NAMESPACE: &str = "kompass";
const JOBS: &str = "spark";
/// What a pod calls the scheduler that KOMPASS gives it.
const SCHEDULER: &str = "kompass";
/// The account's registry, as Terraform tells it.
const REGISTRY: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/spark-eu";
/// For pods to come, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_mins(4);
/// What belongs to KOMPASS says so by this label.
const OURS: &str = "app.kubernetes.io/part-of=kompass";

#[tokio::test(flavor = "multi_thread")]
async fn one_command_installs_kompass_in_real_pods_and_another_takes_it_out() {
    full::down(NAME, &Progress::lines()).await.unwrap();
    // A panic in it must not keep the cluster from being removed.
    let walked = tokio::spawn(Box::pin(walk())).await;
    let removed = full::down(NAME, &Progress::lines()).await;
    walked.unwrap();
    removed.unwrap();
    assert_eq!(full::leftovers(NAME).unwrap(), Vec::<String>::new());
}

async fn walk() {
    let inside = Inside::up().await;
    let aws = Aws::start().await;
    let machine = Machine::new(&aws).await;
    let machine = machine.with_cluster(&inside.cluster.kubeconfig(), &inside.tools);
    let inputs = machine.inputs();
    // Two pods of each part share a node with everything else of this machine.
    let resources = json!({"requests": {"cpu": "20m", "memory": "32Mi"}});
    let values = json!({
        "scheduler": {
            "resources": resources,
            "kubeScheduler": {"image": {"tag": programs::kubernetes_version()}, "resources": resources},
        },
        "admissionWebhook": {"resources": resources},
        "shutdown": {"grace": "0s"},
    });
    let values = machine.file("values.json", &values.to_string());
    let autoscaler = project()
        .join("tests/deployment/tests/aws/autoscaler")
        .display()
        .to_string();
    let make = [
        "--vars",
        &inputs,
        "--access-from",
        "203.0.113.7/32",
        "--jobs",
        JOBS,
        "--autoscaler-chart",
        &autoscaler,
        "--values",
        &values,
        "--yes",
    ];

    // Helm is interrupted when it has made half of it.
    let pods_come = inside.until("pods of KOMPASS to come", async |inside| {
        let pods = inside.kubectl(&["get", "pods", "--namespace", NAMESPACE, "--output=name"]);
        !pods.await.is_empty()
    });
    let (code, told) = machine.ended_after("installing the chart", pods_come, &make).await;
    assert_eq!(code, Some(130), "{told}");
    assert!(told.contains("(EKS, Kubernetes "), "{told}");

    let told = machine.done(&make).await;
    assert!(told.contains("nothing to change"), "{told}");
    assert!(told.contains("proved: the API server calls the webhook"), "{told}");
    inside.is_installed().await;
    inside.takes_spark().await;

    inside.add_what_aws_charges_for().await;
    let told = machine.done(&["--destroy", "--yes"]).await;
    for word in [
        "taking KOMPASS out",
        "deleting the load balancer of service spark/balanced",
        "deleting the volumes of namespace spark",
        "the disks of these volumes stay, since they are to be retained: kept vol-1",
        "uninstalling cluster-autoscaler",
    ] {
        assert!(told.contains(word), "{word}:\n{told}");
    }
    for warning in ["KOMPASS was not taken out", "does not answer"] {
        assert!(!told.contains(warning), "{told}");
    }
    inside.has_nothing_left().await;
    aws.is_empty_but_for(1).await;
    assert!(!machine.has_users_kubeconfig(), "the user's kubeconfig was touched");
}

/// What stands in for the inside of an EKS cluster.
struct Inside {
    cluster: Cluster,
    /// A user's tools, by the names of the fakes.
    tools: [(&'static str, PathBuf); 3],
    helm: PathBuf,
}

impl Inside {
    async fn up() -> Self {
        let progress = Progress::lines();
        let programs = programs::ensure(&[Module::Kubernetes, Module::Helm], &progress)
            .await
            .unwrap();
        let parts = [Part::SchedulerExtender, Part::AdmissionWebhook];
        let mut own: Vec<Own> = parts
            .map(|part| Own::new(part, &own_program(part.program()).unwrap()).unwrap())
            .into();
        own.push(Own::new(Part::KubeScheduler, &programs.path(Program::Scheduler).unwrap()).unwrap());
        let options = full::Options {
            name: NAME.to_owned(),
            spark_versions: Vec::new(),
            own: own.clone(),
            ..full::Options::default()
        };
        let cluster = Cluster::up(options, &progress).await.unwrap();
        for (part, own) in parts.into_iter().zip(own) {
            let from = Image::Own(own).reference();
            let (_, tag) = from.rsplit_once(':').unwrap();
            let to = format!("{REGISTRY}/{}:{tag}", part.name());
            cluster.tag_image(&from, &to).await.unwrap();
        }
        let helm = programs.path(Program::Helm).unwrap();
        let tools = [
            ("kubectl", programs.path(Program::Kubectl).unwrap()),
            ("helm", helm.clone()),
            ("kompass", own_program("kompass").unwrap()),
        ];
        let inside = Self { cluster, tools, helm };
        // As EKS's nodes of the system's group say of themselves.
        inside
            .kubectl(&["label", "node", NODE, "kompass.dev/node-group=system"])
            .await;
        let provider = r#"{"spec": {"providerID": "aws:///eu-central-1a/i-1"}}"#;
        inside.kubectl(&["patch", "node", NODE, "--patch", provider]).await;
        inside
    }

    async fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl(arguments).await.unwrap()
    }

    async fn get(&self, arguments: &[&str]) -> Value {
        let told = self.kubectl(&[&["get", "--output=json"], arguments].concat()).await;
        serde_json::from_str(&told).unwrap()
    }

    /// Waits until it is so.
    async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self).await {
            assert!(Instant::now() < deadline, "waited for {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Two pods of each part are ready, of the images in the account's registry; the API server calls the webhook; the
    /// autoscaler has what Terraform tells it.
    async fn is_installed(&self) {
        let deployments = self.get(&["deployments", "--namespace", NAMESPACE]).await;
        let deployments = deployments["items"].as_array().unwrap();
        let names: Vec<&str> = deployments
            .iter()
            .filter_map(|one| one["metadata"]["name"].as_str())
            .collect();
        assert_eq!(names, ["kompass-admission-webhook", "kompass-scheduler"]);
        for deployment in deployments {
            assert_eq!(deployment["status"]["readyReplicas"], 2, "{deployment}");
            let image = &deployment["spec"]["template"]["spec"]["containers"];
            let images = image.as_array().unwrap().iter().filter_map(|one| one["image"].as_str());
            assert!(
                images.into_iter().any(|image| image.starts_with(REGISTRY)),
                "{deployment}"
            );
        }
        let webhook = self
            .get(&["mutatingwebhookconfiguration", "kompass-admission-webhook"])
            .await;
        assert_eq!(
            webhook["webhooks"][0]["clientConfig"]["service"]["namespace"],
            NAMESPACE
        );
        assert!(
            webhook["webhooks"][0]["clientConfig"]["caBundle"].is_string(),
            "{webhook}"
        );
        let namespace = self.get(&["namespace", JOBS]).await;
        assert_eq!(namespace["metadata"]["labels"]["kompass.dev/enabled"], "true");

        let autoscaler = self
            .get(&["deployment", "cluster-autoscaler", "--namespace=kube-system"])
            .await;
        assert_eq!(autoscaler["status"]["readyReplicas"], 1, "{autoscaler}");
        let arguments = autoscaler["spec"]["template"]["metadata"]["annotations"]["values"]
            .as_str()
            .unwrap();
        let told: Value = serde_json::from_str(arguments).unwrap();
        assert_eq!(told["autoDiscovery"]["clusterName"], "spark-eu");
    }

    /// What helm's test has proved from within holds for a user, too: a driver gets KOMPASS's scheduler.
    async fn takes_spark(&self) {
        let driver = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "driver", "namespace": JOBS,
                "labels": {"spark-role": "driver", "spark-app-selector": "spark-1"}},
            "spec": {"containers": [{"name": "spark-kubernetes-driver", "image": "spark"}]},
        });
        let path = format!("/api/v1/namespaces/{JOBS}/pods?dryRun=All");
        let taken = self.cluster.client().create(&path, &driver).await.unwrap();
        assert_eq!(taken["spec"]["schedulerName"], SCHEDULER, "{taken}");
    }

    /// A load balancer, a volume that goes with its claim, and one that is to be retained.
    async fn add_what_aws_charges_for(&self) {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "balanced", "namespace": JOBS},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
        let inner = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "inner", "namespace": JOBS},
            "spec": {"ports": [{"port": 80}]}});
        let services = format!("/api/v1/namespaces/{JOBS}/services");
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "claim", "namespace": JOBS},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "resources": {"requests": {"storage": "1Gi"}}}});
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "kept"},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "other",
                "persistentVolumeReclaimPolicy": "Retain",
                "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}}});
        for (path, object) in [
            (services.clone(), service),
            (services, inner),
            (format!("/api/v1/namespaces/{JOBS}/persistentvolumeclaims"), claim),
            ("/api/v1/persistentvolumes".to_owned(), volume),
        ] {
            self.cluster.client().create(&path, &object).await.unwrap();
        }
    }

    /// Of every kind that there is, nothing is KOMPASS's; Helm knows of no release; and what costs nothing is there.
    async fn has_nothing_left(&self) {
        let kinds = self.kubectl(&["api-resources", "--verbs=list", "--output=name"]).await;
        let kinds: Vec<&str> = kinds.lines().collect();
        let kinds = kinds.join(",");
        let ours = ["get", &kinds, "--all-namespaces", "--output=name", "--selector", OURS];
        assert_eq!(self.kubectl(&ours).await, "", "KOMPASS is left");
        for kind in [
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "persistentvolumeclaims",
        ] {
            assert_eq!(
                self.kubectl(&["get", kind, "--all-namespaces", "--output=name"]).await,
                ""
            );
        }
        let mut helm = tokio::process::Command::new(&self.helm);
        helm.args(["list", "--all-namespaces", "--output=json", "--kubeconfig"])
            .arg(self.cluster.kubeconfig());
        let releases = kompass_deployment_tests::succeed(&mut helm, PATIENCE).await.unwrap();
        assert_eq!(releases.trim(), "[]");
        let services = self
            .kubectl(&["get", "services", "--namespace", JOBS, "--output=name"])
            .await;
        assert_eq!(services, "service/inner\n");
    }
}
