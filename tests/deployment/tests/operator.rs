//! The chart on a real API server, with the real Prometheus Operator and a real Prometheus: what Prometheus scrapes, and by
//! which rights.
//!
//! There is no node here, and the distribution's Prometheus is built without the discovery of Kubernetes. So this test says
//! what would be discovered (every port of every Service that the chart has made), and listens where the pods of a part would
//! serve metrics. What is chosen of it, and how it is named, is by the configuration that the operator has made. The operator
//! has the rights that the chart gives to its service account, and no more; those of Prometheus are asked for by name.
//!
//! To compile the operator takes minutes, so this target is run by `cargo xtask test --full` alone.

#![cfg(test)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kompass_deployment_tests::{project, rules, succeed};
use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::client::Client;
use kompass_local_cluster::process::{Daemon, STOP_LIMIT, Spec};
use kompass_local_cluster::programs::{self, Module, Program, Programs};
use kompass_local_cluster::progress::Progress;
use kompass_local_cluster::prometheus::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_mins(2);
const HELM_LIMIT: Duration = Duration::from_mins(5);
const NAMESPACE: &str = "kompass";
/// What helm is told, beside the chart: as anybody would, but for the version, for which the operator makes the configuration.
const VALUES: [&str; 6] = [
    "monitoring.bundled.enabled=true",
    "monitoring.dashboards.enabled=true",
    "monitoring.hpa.enabled=true",
    "monitoring.bundled.prometheus.image.tag=v2.42.0",
    "predictor.node.cpuMilli=4000",
    "predictor.node.memoryMib=16384",
];

/// A part of KOMPASS as Prometheus should know it.
struct Part {
    job: &'static str,
    service: &'static str,
    port: &'static str,
}

const PARTS: [Part; 3] = [
    Part {
        job: "kompass-scheduler",
        service: "kompass-scheduler-extender",
        port: "metrics",
    },
    Part {
        job: "kompass-admission-webhook",
        service: "kompass-admission-webhook",
        port: "metrics",
    },
    Part {
        job: "kompass-predictor",
        service: "kompass-predictor",
        port: "metrics",
    },
];
const KUBE_SCHEDULER: Part = Part {
    job: "kompass-kube-scheduler",
    service: "kompass-scheduler-extender",
    port: "kube-scheduler",
};
const KUBE_STATE_METRICS: Part = Part {
    job: "kube-state-metrics",
    service: "kompass-kube-state-metrics",
    port: "metrics",
};

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_kompass_by_the_operator_that_the_chart_brings() {
    let modules = [
        Module::Etcd,
        Module::Kubernetes,
        Module::Helm,
        Module::PrometheusOperator,
    ];
    let programs = programs::ensure(&modules, &Progress::lines()).await.unwrap();
    let options = Options {
        // What it would do with Services is done by hand.
        controller_manager: false,
        default_scheduler: false,
        progress: Progress::lines(),
        ..Options::default()
    };
    let cluster = Cluster::start(options).await.unwrap();
    let helm = Helm {
        program: programs.path(Program::Helm).unwrap(),
        cluster: &cluster,
    };

    helm.run(&["install", "kompass", &chart()]).await;
    let mut operator = start_operator(&cluster, &programs).unwrap();
    let configuration = configuration(&cluster).await;
    assert_stateful_set(&cluster).await;
    assert_rights(&cluster).await;

    // kube-scheduler is real, for it asks who wants its metrics.
    let scheduler = cluster
        .start_scheduler("kompass", "{apiVersion: kubescheduler.config.k8s.io/v1, kind: KubeSchedulerConfiguration, leaderElection: {leaderElect: false}}", &[])
        .await
        .unwrap();
    let mut served = vec![(&KUBE_SCHEDULER, scheduler.address().unwrap())];
    for part in PARTS.iter().chain([&KUBE_STATE_METRICS]) {
        served.push((part, serve(part).await));
    }
    let folder = tempfile::tempdir().unwrap();
    let local = localized(&cluster, &configuration, &served, folder.path()).await;
    let prometheus = Server::scraping(&local.to_string()).await.unwrap();
    assert_scraped(&prometheus, &served).await;
    assert_rules(&prometheus).await;
    drop(prometheus);

    definitions_follow_the_chart(&cluster, &helm).await;
    operator.stop(STOP_LIMIT).await.unwrap();
    helm.run(&["uninstall", "kompass"]).await;
    let kept = cluster
        .client()
        .get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
        .await
        .unwrap();
    assert_eq!(kept["items"].as_array().unwrap().len(), 5, "CRDs outlive the release");
    cluster.stop().await.unwrap();
}

fn chart() -> String {
    project().join("charts/kompass").display().to_string()
}

/// The definition that changes, and where it says of which version of the operator it is.
const DEFINITION: &str = "prometheuses";
const VERSION: &str = "operator.prometheus.io/version";

/// An upgrade to a chart with other definitions brings these, in either direction.
async fn definitions_follow_the_chart(cluster: &Cluster, helm: &Helm<'_>) {
    let definition = async || {
        let path =
            format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{DEFINITION}.monitoring.coreos.com");
        let found = cluster.client().get(&path).await.unwrap();
        let columns = &found["spec"]["versions"][0]["additionalPrinterColumns"];
        (found["metadata"]["annotations"][VERSION].clone(), columns.clone())
    };
    let new = definition().await;
    let folder = tempfile::tempdir().unwrap();
    let earlier = folder.path().join("kompass");
    succeed(Command::new("cp").arg("-r").arg(chart()).arg(&earlier), PATIENCE)
        .await
        .unwrap();
    let file = earlier.join(format!("charts/monitoring/files/crds/{DEFINITION}.yaml"));
    let mut object: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    object["metadata"]["annotations"][VERSION] = json!("old");
    let columns = &mut object["spec"]["versions"][0]["additionalPrinterColumns"];
    columns.as_array_mut().unwrap().remove(0);
    let old = (json!("old"), columns.clone());
    std::fs::write(&file, object.to_string()).unwrap();

    helm.run(&["upgrade", "kompass", &earlier.display().to_string()]).await;
    assert_eq!(definition().await, old);
    helm.run(&["upgrade", "kompass", &chart()]).await;
    assert_eq!(definition().await, new);
}

struct Helm<'a> {
    program: std::path::PathBuf,
    cluster: &'a Cluster,
}

impl Helm<'_> {
    async fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--namespace", NAMESPACE]);
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig());
        // Its caches and settings are the test's own.
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(name, self.cluster.folder().join("helm"));
        }
        if arguments[0] != "uninstall" {
            command.args(["--set", &VALUES.join(",")]);
        }
        if arguments[0] == "install" {
            command.arg("--create-namespace");
        }
        succeed(&mut command, HELM_LIMIT).await.unwrap();
    }
}

/// Runs the operator as its service account.
fn start_operator(cluster: &Cluster, programs: &Programs) -> anyhow::Result<Daemon> {
    let kubeconfig = kubeconfig_of(cluster, "kompass-prometheus-operator");
    let spec = Spec::new(
        "prometheus-operator",
        programs.path(Program::PrometheusOperator)?,
        cluster.folder(),
    )
    .environment("KUBECONFIG", kubeconfig)
    .argument(format!("--namespaces={NAMESPACE}"))
    .argument("--web.listen-address=127.0.0.1:0");
    Ok(Daemon::start(spec)?)
}

fn account(name: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{name}")
}

fn kubeconfig_of(cluster: &Cluster, name: &str) -> String {
    let path = cluster
        .kubeconfig_for(&account(name), &["system:serviceaccounts"])
        .unwrap();
    path.display().to_string()
}

/// The configuration that the operator has made for the chart's Prometheus, once all of KOMPASS is in it.
async fn configuration(cluster: &Cluster) -> Value {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/prometheus-kompass");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut last = "no Secret".to_owned();
        if let Ok(secret) = cluster.client().get(&path).await {
            last = unpack(secret["data"]["prometheus.yaml.gz"].as_str().unwrap_or_default()).await;
            if (PARTS.iter().chain([&KUBE_SCHEDULER, &KUBE_STATE_METRICS])).all(|part| last.contains(part.job)) {
                // The reloader beside Prometheus fills in which of the shards it is.
                return serde_saphyr::from_str(&last.replace("$(SHARD)", "0")).unwrap();
            }
        }
        let log = std::fs::read_to_string(cluster.folder().join("prometheus-operator.log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "no whole configuration: {last}\n{log}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn unpack(base64: &str) -> String {
    let mut child = Command::new("sh")
        .args(["-c", "base64 -d | gzip -dc"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(base64.as_bytes()).await.unwrap();
    drop(stdin);
    String::from_utf8(child.wait_with_output().await.unwrap().stdout).unwrap()
}

/// The operator has made the Prometheus itself, so that a namespace with the rules of `restricted` takes it.
async fn assert_stateful_set(cluster: &Cluster) {
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/prometheus-kompass");
    let deadline = Instant::now() + PATIENCE;
    let set = loop {
        match cluster.client().get(&path).await {
            Ok(set) => break set,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "kompass-prometheus");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        assert_eq!(
            container["securityContext"]["allowPrivilegeEscalation"], false,
            "{}",
            container["name"]
        );
        assert_eq!(
            container["securityContext"]["capabilities"]["drop"],
            json!(["ALL"]),
            "{}",
            container["name"]
        );
    }
    // The Service that the predictor asks leads to its pods.
    let service = cluster
        .client()
        .get(&format!("/api/v1/namespaces/{NAMESPACE}/services/kompass-prometheus"))
        .await
        .unwrap();
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    for (name, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(&labels[name], value, "{name} of the pods");
    }
}

/// Listens where a part would, and shows one metric of the kind that it has.
async fn serve(part: &Part) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let body = if part.job == KUBE_STATE_METRICS.job {
        "kube_pod_created{namespace=\"jobs\",pod=\"driver\"} 1\n".to_owned()
    } else {
        "kompass_build_info{version=\"0.1.0\"} 1\n".to_owned()
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            // A scraper that goes away meanwhile is no trouble of the test.
            if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                stream.write_all(answer.as_bytes()).await.ok();
            }
        }
    });
    address
}

/// Prometheus may discover, in KOMPASS's namespace only, and read what is served to those who may.
async fn assert_rights(cluster: &Cluster) {
    let user = account("kompass-prometheus");
    for (may, question) in [
        (true, vec!["list", "endpointslices.discovery.k8s.io", "-n", NAMESPACE]),
        (true, vec!["watch", "services", "-n", NAMESPACE]),
        (true, vec!["list", "pods", "-n", NAMESPACE]),
        (true, vec!["get", "/metrics"]),
        (true, vec!["list", "nodes"]),
        (true, vec!["get", "nodes/metrics"]),
        (false, vec!["list", "pods", "-n", "default"]),
        (false, vec!["get", "secrets", "-n", NAMESPACE]),
    ] {
        let asked = [&["auth", "can-i", "--as", &user][..], &question].concat();
        // kubectl ends with an error where the answer is no.
        let answer = cluster.kubectl(&asked).await;
        assert_eq!(answer.is_ok_and(|answer| answer.trim() == "yes"), may, "{question:?}");
    }
}

/// What Prometheus would discover: every port of every Service, with a pod each, by the labels that discovery has.
async fn discovered(cluster: &Cluster, served: &[(&Part, SocketAddr)]) -> Value {
    let services = cluster
        .client()
        .get(&format!("/api/v1/namespaces/{NAMESPACE}/services"))
        .await
        .unwrap();
    let mut groups = Vec::new();
    for service in services["items"].as_array().unwrap() {
        let name = service["metadata"]["name"].as_str().unwrap();
        for port in service["spec"]["ports"].as_array().unwrap() {
            let listener = served
                .iter()
                .find(|(part, _)| part.service == name && port["name"] == part.port);
            // What is not to be scraped would not answer.
            let target = listener.map_or_else(|| "127.0.0.1:1".to_owned(), |(_, address)| address.to_string());
            let pod = format!("{name}-pod");
            let mut labels = json!({
                "__meta_kubernetes_namespace": NAMESPACE,
                "__meta_kubernetes_service_name": name,
                "__meta_kubernetes_endpointslice_port_name": port["name"],
                "__meta_kubernetes_endpointslice_address_target_kind": "Pod",
                "__meta_kubernetes_endpointslice_address_target_name": pod,
                "__meta_kubernetes_pod_name": pod,
            });
            for (label, value) in service["metadata"]["labels"].as_object().unwrap() {
                let label = label.replace(['.', '/', '-'], "_");
                labels[format!("__meta_kubernetes_service_label_{label}")] = value.clone();
                labels[format!("__meta_kubernetes_service_labelpresent_{label}")] = json!("true");
            }
            groups.push(json!({"targets": [target], "labels": labels}));
        }
    }
    assert!(
        groups.len() > served.len(),
        "there are ports that are not to be scraped"
    );
    json!(groups)
}

/// The configuration for a Prometheus that runs here: told what is discovered, and known to kube-scheduler by certificate and
/// not by token. What is chosen, and how it is named, stays as the operator made it.
async fn localized(cluster: &Cluster, configuration: &Value, served: &[(&Part, SocketAddr)], folder: &Path) -> Value {
    let user = account("kompass-prometheus");
    let identity = cluster.authority().client(&user, &["system:serviceaccounts"]).unwrap();
    let files = identity.save(folder, "prometheus").unwrap();
    let discovered = discovered(cluster, served).await;
    let mut local = configuration.clone();
    local["global"]["scrape_interval"] = json!("1s");
    local["global"]["evaluation_interval"] = json!("1s");
    local["rule_files"] = json!([rule_file(cluster, folder).await]);
    let jobs = local["scrape_configs"].as_array_mut().unwrap();
    for name in ["apiserver", "kubelet"] {
        assert!(jobs.iter().any(|job| job["job_name"] == name), "{name} is not scraped");
    }
    jobs.retain(|job| {
        job["job_name"]
            .as_str()
            .is_some_and(|name| name.starts_with("serviceMonitor/"))
    });
    for job in jobs {
        job["scrape_interval"] = json!("1s");
        job["scrape_timeout"] = json!("1s");
        let replaced = job.as_object_mut().unwrap().remove("kubernetes_sd_configs").unwrap();
        assert_eq!(
            replaced,
            json!([{"role": "endpointslice", "namespaces": {"names": [NAMESPACE]}}])
        );
        job["static_configs"] = discovered.clone();
        if job["scheme"] == "https" {
            assert!(job.as_object_mut().unwrap().remove("bearer_token_file").is_some());
            job["tls_config"]["cert_file"] = json!(files.certificate);
            job["tls_config"]["key_file"] = json!(files.key);
        }
    }
    local
}

/// Writes what the operator made of the chart's rules.
async fn rule_file(cluster: &Cluster, folder: &Path) -> String {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/prometheus-kompass-rulefiles-0");
    let made = cluster.client().get(&path).await.unwrap();
    for (name, text) in made["data"].as_object().unwrap() {
        std::fs::write(folder.join(name), text.as_str().unwrap()).unwrap();
    }
    folder.join("*.yaml").display().to_string()
}

/// Every part is scraped, by the name that rules and dashboards know it by, and nothing else is.
async fn assert_scraped(prometheus: &Server, served: &[(&Part, SocketAddr)]) {
    let client = Client::plain(prometheus.address().unwrap());
    let wanted: BTreeSet<(String, String)> = served
        .iter()
        .map(|(part, _)| (part.job.to_owned(), format!("{}-pod", part.service)))
        .collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client
            .get("/api/v1/query?query=up%7Bnamespace%3D%22kompass%22%7D%20%3D%3D%201")
            .await
            .unwrap();
        let found = answer["data"]["result"].as_array().unwrap();
        let found: BTreeSet<(String, String)> = found
            .iter()
            .map(|series| {
                let label = |name: &str| series["metric"][name].as_str().unwrap_or_default().to_owned();
                (label("job"), label("pod"))
            })
            .collect();
        if found == wanted {
            break;
        }
        if Instant::now() > deadline {
            let targets = client.get("/api/v1/targets").await.unwrap();
            panic!("up are {found:?}, not {wanted:?}: {targets:#}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Of what kube-state-metrics tells, the namespace is that of the pod that it tells of.
    let answer = client.get("/api/v1/query?query=kube_pod_created").await.unwrap();
    assert_eq!(answer["data"]["result"][0]["metric"]["namespace"], "jobs", "{answer:#}");
    let targets = client.get("/api/v1/targets").await.unwrap();
    assert_eq!(
        targets["data"]["activeTargets"].as_array().unwrap().len(),
        wanted.len(),
        "{targets:#}"
    );
}

/// Every alert of the chart is there, with its runbook, and all can be evaluated.
async fn assert_rules(prometheus: &Server) {
    let client = Client::plain(prometheus.address().unwrap());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.get("/api/v1/rules").await.unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap();
        let rules: Vec<&Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap())
            .collect();
        let bad: Vec<&&Value> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
        if bad.is_empty() && !rules.is_empty() {
            let alerts: BTreeSet<&str> = rules
                .iter()
                .filter(|rule| rule["type"] == "alerting")
                .filter_map(|rule| rule["name"].as_str())
                .collect();
            let wanted = rules::alerts().unwrap();
            assert_eq!(alerts, wanted.iter().map(rules::Rule::name).collect());
            for rule in rules.iter().filter(|rule| rule["type"] == "alerting") {
                let url = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
                assert!(
                    url.starts_with("https://") && url.ends_with(&format!("/{}.md", rule["name"].as_str().unwrap())),
                    "{url}"
                );
            }
            return;
        }
        assert!(Instant::now() < deadline, "{bad:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
