//! The chart on a real API server: a namespace that enforces `PodSecurity`, the programs with the rights that it gives them,
//! one install only, and an uninstall that leaves nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use kompass_deployment_tests::{own_program, run};
use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::ports::free_address;
use kompass_local_cluster::process::{Daemon, STOP_LIMIT, Spec};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::helm::{self, arguments, chart, ends, fails, render, succeeds, text};

const PATIENCE: Duration = Duration::from_mins(1);
const LIMIT: Duration = Duration::from_mins(2);
/// What is installed.
const VALUES: [&str; 4] = [
    "--set",
    "namespaces={jobs}",
    "--set",
    "predictor.prometheus.url=http://prometheus:9090,predictor.mode=act,predictor.node.cpuMilli=8000,predictor.node.memoryMib=65536",
];
/// Every kind that the chart or its programs make in the whole cluster.
const CLUSTER_KINDS: &str = "clusterroles,clusterrolebindings,priorityclasses,mutatingwebhookconfigurations,\
                             validatingadmissionpolicies,validatingadmissionpolicybindings";
/// And in namespaces.
///
/// Without Leases: who holds one may make it again between its deletion and that of the right to make it.
const KINDS: &str = "deployments,replicasets,pods,services,serviceaccounts,configmaps,secrets,roles,rolebindings,\
                     poddisruptionbudgets,networkpolicies,jobs";

/// Repeats until it holds; what it last said, otherwise.
async fn until<P: Future<Output = Result<(), String>>>(what: &str, mut holds: impl FnMut() -> P) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(said) = holds().await {
        assert!(Instant::now() < deadline, "{what}: {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What kube-scheduler calls itself in its lease, before a random part.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    name.trim().to_owned()
}

/// Our objects of these kinds, as kubectl names them.
async fn ours(cluster: &Cluster, kinds: &str) -> Vec<String> {
    let all = ["get", kinds, "--all-namespaces", "--output=name"];
    let names = cluster.kubectl(&all).await.unwrap();
    let names = names.lines().filter(|line| line.contains("/kompass"));
    names.map(str::to_owned).collect()
}

/// The user that a service account is.
fn account(cluster: &Cluster, name: &str) -> std::path::PathBuf {
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:kompass",
        "system:authenticated",
    ];
    cluster
        .kubeconfig_for(&format!("system:serviceaccount:kompass:{name}"), &groups)
        .unwrap()
}

/// The arguments of a container, those of its addresses left out.
fn without_addresses(arguments: Vec<String>) -> Vec<String> {
    let is_address = |one: &String| one.split('=').next().is_some_and(|name| name.ends_with("listen"));
    arguments.into_iter().filter(|one| !is_address(one)).collect()
}

struct Install<'a> {
    cluster: &'a Cluster,
    kubeconfig: String,
}

impl Install<'_> {
    /// Helm's arguments for this cluster.
    fn at<'a>(&'a self, arguments: &[&'a str], namespace: &'a str) -> Vec<&'a str> {
        let mut all = arguments.to_vec();
        all.extend(["--kubeconfig", &self.kubeconfig, "--namespace", namespace]);
        all
    }

    /// Installs, and finds nothing that Kubernetes warns of.
    async fn install(&self, folder: &str) {
        let mut install = self.at(&["install", "kompass", folder], "kompass");
        install.extend(VALUES);
        let mut dry = install.clone();
        dry.extend(["--dry-run=server"]);
        for arguments in [dry, install] {
            let output = ends(&arguments).await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{said}");
            assert!(!said.to_lowercase().contains("warn"), "{said}");
        }
    }

    /// With every switch on, the API server takes each object of its own kinds, and warns of none.
    async fn every_kind_is_taken(&self, folder: &Path) {
        for namespace in ["team-a", "team-b"] {
            self.cluster.kubectl(&["create", "namespace", namespace]).await.unwrap();
        }
        let everything = helm::everything();
        let rendered = render(&["--values", text(&everything).unwrap()]).await.unwrap();
        let taken: Vec<_> = rendered
            .into_iter()
            .filter(|object| {
                let version = object["apiVersion"].as_str().unwrap();
                let group = version.split_once('/').map_or("", |(group, _)| group);
                // Kinds of others are not known here. The pod of `helm test` needs its account, which is not made.
                (!group.contains('.') || group.ends_with(".k8s.io")) && object["kind"] != "Pod"
            })
            .collect();
        let kinds: BTreeSet<_> = taken.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        for kind in [
            "NetworkPolicy",
            "HorizontalPodAutoscaler",
            "ResourceQuota",
            "PodDisruptionBudget",
        ] {
            assert!(kinds.contains(kind), "{kind} is not in {kinds:?}");
        }
        let count = taken.len();
        let file = folder.join("everything.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": taken});
        std::fs::write(&file, list.to_string()).unwrap();
        let create = [
            "create",
            "--dry-run=server",
            "--validate=strict",
            "--warnings-as-errors",
            "--output=name",
            "--filename",
            text(&file).unwrap(),
        ];
        let said = self.cluster.kubectl(&create).await.unwrap();
        assert_eq!(said.lines().count(), count, "{said}");
        for namespace in ["team-a", "team-b"] {
            self.cluster.kubectl(&["delete", "namespace", namespace]).await.unwrap();
        }
    }

    /// The controller of `ReplicaSets` makes the pods, so `PodSecurity` has seen them.
    async fn pods_are_let_in(&self) {
        until("pods are let in", || async {
            let pods = self.cluster.client().get("/api/v1/namespaces/kompass/pods").await;
            let count = pods.map_err(|error| error.to_string())?["items"]
                .as_array()
                .map_or(0, Vec::len);
            if count == 5 {
                Ok(())
            } else {
                Err(format!("{count} pods"))
            }
        })
        .await;
    }

    /// Starts the webhook as the API server reaches it here, with the chart's arguments and rights.
    async fn webhook(&self, logs: &Path, rendered: &[Value]) -> Daemon {
        let (address, admin) = (free_address().unwrap(), free_address().unwrap());
        let mut given = without_addresses(arguments(rendered, "kompass-admission-webhook", "admission-webhook"));
        given.retain(|one| !one.starts_with("--predictor="));
        let spec = Spec::new("webhook", own_program("kompass-admission-webhook").unwrap(), logs)
            .arguments(given)
            .argument(format!(
                "--kubeconfig={}",
                account(self.cluster, "kompass-admission-webhook").display()
            ))
            .argument(format!("--listen={address}"))
            .argument(format!("--url=https://{address}"))
            .argument(format!("--admin-listen={admin}"));
        started(spec, admin).await
    }

    async fn extender(&self, logs: &Path, rendered: &[Value]) -> (Daemon, SocketAddr) {
        let (address, view, admin) = (
            free_address().unwrap(),
            free_address().unwrap(),
            free_address().unwrap(),
        );
        let queues = logs.join("queues.yaml");
        let config = helm::find(rendered, "ConfigMap", "kompass-queues");
        std::fs::write(&queues, config["data"]["queues.yaml"].as_str().unwrap()).unwrap();
        let mut given = without_addresses(arguments(rendered, "kompass-scheduler", "extender"));
        given.retain(|one| !one.starts_with("--queues="));
        let spec = Spec::new("extender", own_program("kompass-scheduler-extender").unwrap(), logs)
            .arguments(given)
            .argument(format!(
                "--kubeconfig={}",
                account(self.cluster, "kompass-scheduler-extender").display()
            ))
            .argument(format!("--queues={}", queues.display()))
            .argument(format!("--listen={address}"))
            .argument(format!("--view-listen={view}"))
            .argument(format!("--admin-listen={admin}"))
            // In a pod both know themselves by its name; here, by the machine's.
            .argument(format!("--identity={}", hostname()));
        (started(spec, admin).await, view)
    }

    /// kube-scheduler, with the chart's configuration and rights.
    async fn scheduler(&self, logs: &Path, rendered: &[Value]) -> Daemon {
        let kubeconfig = account(self.cluster, "kompass-scheduler-extender");
        let config = helm::find(rendered, "ConfigMap", "kompass-scheduler");
        let mut config: Value = serde_saphyr::from_str(config["data"]["config.yaml"].as_str().unwrap()).unwrap();
        config["clientConnection"]["kubeconfig"] = json!(kubeconfig);
        let file = logs.join("scheduler.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let programs = programs::ensure(&[Module::Kubernetes], &Progress::lines())
            .await
            .unwrap();
        let address = free_address().unwrap();
        let spec = Spec::new("scheduler", programs.path(Program::Scheduler).unwrap(), logs)
            .argument(format!("--config={}", file.display()))
            .argument(format!("--authentication-kubeconfig={}", kubeconfig.display()))
            .argument(format!("--authorization-kubeconfig={}", kubeconfig.display()))
            .argument("--bind-address=127.0.0.1")
            .argument(format!("--secure-port={}", address.port()));
        Daemon::start(spec).unwrap()
    }

    async fn is_held(&self, lease: &str) {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kompass/leases/{lease}");
        until(lease, || async {
            let lease = self
                .cluster
                .client()
                .get(&path)
                .await
                .map_err(|error| error.to_string())?;
            if lease["spec"]["holderIdentity"]
                .as_str()
                .is_some_and(|holder| !holder.is_empty())
            {
                Ok(())
            } else {
                Err(format!("{lease:#}"))
            }
        })
        .await;
    }

    /// Whoever has one of KOMPASS's accounts gives no pod another image and no deadline, though he may patch pods.
    async fn images_and_deadlines_stay(&self) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "victim", "namespace": "jobs"},
            "spec": {
                "initContainers": [{"name": "first", "image": "good:1"}],
                "containers": [{"name": "main", "image": "good:1"}],
            },
        });
        let pods = "/api/v1/namespaces/jobs/pods";
        self.cluster.client().create(pods, &pod).await.unwrap();
        let image = |list: &str, name: &str| json!({"spec": {list: [{"name": name, "image": "bad:1"}]}}).to_string();
        let refused = [
            (image("containers", "main"), "would change an image"),
            (image("initContainers", "first"), "would change an image"),
            (
                json!({"spec": {"activeDeadlineSeconds": 1}}).to_string(),
                "sets no activeDeadlineSeconds",
            ),
        ];
        let patch = |who: &'static str, patch: String| async move {
            let user = format!("--as=system:serviceaccount:kompass:{who}");
            let mut arguments = vec![
                "patch",
                "pod",
                "victim",
                "--namespace=jobs",
                "--dry-run=server",
                "--patch",
                &patch,
            ];
            if !who.is_empty() {
                arguments.push(&user);
            }
            self.cluster
                .kubectl(&arguments)
                .await
                .map_err(|error| format!("{error:#}"))
        };
        for who in ["kompass-scheduler-extender", "kompass-admission-webhook"] {
            for (bad, words) in &refused {
                // A new policy counts after a second or so.
                until("an image or a deadline is refused", || async {
                    match patch(who, bad.clone()).await {
                        Err(said) if said.contains(*words) => Ok(()),
                        other => Err(format!("{who}: {other:?}")),
                    }
                })
                .await;
            }
            let good = json!({"metadata": {"annotations": {"a": "b"}}}).to_string();
            patch(who, good).await.unwrap();
        }
        for (mine, _) in refused {
            patch("", mine).await.unwrap();
        }
        self.cluster.client().delete(&format!("{pods}/victim")).await.unwrap();
    }

    /// `helm test` without its pod, which nobody runs here: its rights, and its program.
    async fn check(&self, folder: &Path, rendered: &[Value]) -> std::process::Output {
        let rights: Vec<_> = rendered
            .iter()
            .filter(|one| one["metadata"]["name"] == "kompass-check" && one["kind"] != "Pod")
            .map(Value::to_string)
            .collect();
        assert_eq!(rights.len(), 5, "an account, and rights in two namespaces");
        let file = folder.join("check.yaml");
        std::fs::write(&file, rights.join("\n---\n")).unwrap();
        let apply = ["apply", "--filename", text(&file).unwrap()];
        self.cluster.kubectl(&apply).await.unwrap();
        let pod = rendered.iter().find(|one| one["kind"] == "Pod").unwrap();
        // Nobody runs it, but PodSecurity lets it in.
        let pod_file = folder.join("pod.json");
        std::fs::write(&pod_file, pod.to_string()).unwrap();
        let create = ["create", "--dry-run=server", "--filename", text(&pod_file).unwrap()];
        self.cluster.kubectl(&create).await.unwrap();
        let args = pod["spec"]["containers"][0]["args"].as_array().unwrap();
        let mut command = Command::new(own_program("kompass-admission-webhook").unwrap());
        command
            .args(args.iter().map(|one| one.as_str().unwrap()))
            .arg("--kubeconfig")
            .arg(account(self.cluster, "kompass-check"));
        let output = run(&mut command, LIMIT).await.unwrap();
        self.cluster
            .kubectl(&["delete", "--filename", text(&file).unwrap()])
            .await
            .unwrap();
        output
    }
}

async fn started(spec: Spec, admin: SocketAddr) -> Daemon {
    let mut daemon = Daemon::start(spec).unwrap();
    daemon
        .ready(PATIENCE, || async { get(admin, "/readyz").await.is_some() })
        .await
        .unwrap();
    daemon
}

/// The body of a page that answers 200.
async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let client = kompass_local_cluster::client::Client::plain(address);
    client.get_text(path).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_installed_used_upgraded_and_uninstalled() {
    let cluster = Cluster::start(Options {
        progress: Progress::lines(),
        ..Options::default()
    })
    .await
    .unwrap();
    let logs = tempfile::tempdir().unwrap();
    let folder = chart();
    let folder = text(&folder).unwrap();
    for namespace in ["kompass", "jobs"] {
        cluster.kubectl(&["create", "namespace", namespace]).await.unwrap();
    }
    let restricted = [
        "label",
        "namespace",
        "kompass",
        "pod-security.kubernetes.io/enforce=restricted",
        "pod-security.kubernetes.io/warn=restricted",
    ];
    cluster.kubectl(&restricted).await.unwrap();
    cluster
        .kubectl(&["label", "namespace", "jobs", "kompass.dev/enabled=true"])
        .await
        .unwrap();
    let install = Install {
        cluster: &cluster,
        kubeconfig: text(cluster.kubeconfig()).unwrap().to_owned(),
    };
    install.every_kind_is_taken(logs.path()).await;
    // As an earlier install may have left it: no hindrance, and nobody's to delete.
    let left = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "kompass-planner", "namespace": "kompass"},
    });
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kompass/leases";
    cluster.client().create(leases, &left).await.unwrap();
    let before = (ours(&cluster, CLUSTER_KINDS).await, ours(&cluster, KINDS).await);
    install.install(folder).await;
    install.pods_are_let_in().await;

    // Another one is refused, and the first one named.
    let mut second = install.at(&["install", "other", folder, "--create-namespace"], "elsewhere");
    second.extend(["--set", "scope=all"]);
    let said = fails(&second).await.unwrap();
    assert!(said.contains("release \"kompass\" in namespace \"kompass\""), "{said}");

    // The programs, with the chart's arguments and no more rights than it gives.
    let rendered = render(&VALUES).await.unwrap();
    let mut webhook = install.webhook(logs.path(), &rendered).await;
    let (mut extender, view) = install.extender(logs.path(), &rendered).await;
    let mut scheduler = install.scheduler(logs.path(), &rendered).await;
    install.is_held("kompass-scheduler").await;
    install.is_held("kompass-planner").await;
    assert!(get(view, "/v1/gangs").await.unwrap().contains("\"gangs\""));
    install.images_and_deadlines_stay().await;
    assert!(get(view, "/bind").await.is_none(), "whoever may look may bind");
    let output = install.check(logs.path(), &rendered).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    // An upgrade leaves what the programs have written.
    let secret = "/api/v1/namespaces/kompass/secrets/kompass-admission-webhook-ca";
    let authorities = cluster.client().get(secret).await.unwrap()["data"].clone();
    assert!(authorities["authorities.json"].is_string());
    let mut upgrade = install.at(&["upgrade", "kompass", folder], "kompass");
    upgrade.extend(VALUES);
    upgrade.extend(["--set", "commonLabels.team=data"]);
    succeeds(&upgrade).await.unwrap();
    let upgraded = cluster.client().get(secret).await.unwrap();
    assert_eq!(upgraded["data"], authorities);
    assert_eq!(upgraded["metadata"]["labels"]["team"], "data");
    install.is_held("kompass-planner").await;

    for kind in [
        "mutatingwebhookconfiguration",
        "validatingadmissionpolicy",
        "validatingadmissionpolicybinding",
    ] {
        let name = format!("{kind}.admissionregistration.k8s.io/kompass-admission-webhook");
        let there = ours(&cluster, CLUSTER_KINDS).await;
        assert!(there.contains(&name), "{name} is not in {there:?}");
    }

    // The programs still run when it is uninstalled, as they do for some seconds in a cluster.
    succeeds(&install.at(&["uninstall", "kompass"], "kompass"))
        .await
        .unwrap();
    until("nothing is left", || async {
        let after = (ours(&cluster, CLUSTER_KINDS).await, ours(&cluster, KINDS).await);
        if after == before {
            Ok(())
        } else {
            Err(format!("{after:?}"))
        }
    })
    .await;
    for daemon in [&mut webhook, &mut extender, &mut scheduler] {
        daemon.stop(STOP_LIMIT).await.unwrap();
    }
    let after = (ours(&cluster, CLUSTER_KINDS).await, ours(&cluster, KINDS).await);
    assert_eq!(after, before, "something was made again");
    cluster.stop().await.unwrap();
}
