//! `spark-submit` as a user would call it, with what it needs in the cluster: a service account, its rights, a token.

use std::path::PathBuf;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Cluster, Error, text};
use crate::client;
use crate::images::{self, Image, SparkVersion};

/// The service account of drivers.
pub const SERVICE_ACCOUNT: &str = "spark";
/// The example applications inside the images.
pub const EXAMPLES: &str = "local:///opt/spark/examples/jars/spark-examples.jar";
/// A job's time with its queue of others before it, as the token's life.
const TOKEN_SECONDS: u64 = 24 * 60 * 60;

/// What to submit.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which Spark, on both sides.
    pub version: SparkVersion,
    /// The application's name; Spark makes the pods' names of it.
    pub name: String,
    /// The namespace of its pods.
    pub namespace: String,
    /// The main class; none for a Python application.
    pub class: Option<String>,
    /// Jar or Python file, as `spark-submit` takes it.
    pub application: String,
    /// What the application is given.
    pub arguments: Vec<String>,
    /// Settings as for `--conf`; they come last and win.
    pub conf: Vec<(String, String)>,
    /// Keep the processor's share of compiling low: right for short jobs on a small machine.
    pub quick_start: bool,
}

impl Default for Options {
    /// `SparkPi` of the default version with one driver and two executors, as small as they work.
    fn default() -> Self {
        Self {
            version: SparkVersion::default(),
            name: "spark-pi".to_owned(),
            namespace: "default".to_owned(),
            class: Some("org.apache.spark.examples.SparkPi".to_owned()),
            application: EXAMPLES.to_owned(),
            arguments: vec!["50".to_owned()],
            conf: Vec::new(),
            quick_start: true,
        }
    }
}

/// The settings of a small job. Each is the smallest that worked with two jobs at once on two cores.
const SMALL: [(&str, &str); 8] = [
    ("spark.executor.instances", "2"),
    ("spark.driver.memory", "512m"),
    ("spark.executor.memory", "512m"),
    ("spark.driver.memoryOverhead", "256m"),
    ("spark.executor.memoryOverhead", "256m"),
    ("spark.kubernetes.driver.request.cores", "0.2"),
    ("spark.kubernetes.executor.request.cores", "0.2"),
    ("spark.ui.enabled", "false"),
];
/// Only the first of Java's two compilers: it is the second that takes the time in a job of seconds.
const QUICK_JAVA: &str = "-XX:TieredStopAtLevel=1";

/// Makes the service account `spark` of a namespace and lets it do what drivers must, above all make pods. Good when it
/// is there.
pub async fn allow(cluster: &Cluster, namespace: &str) -> Result<(), Error> {
    let client = cluster.client();
    if namespace != "default" {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        created(client.create("/api/v1/namespaces", &object).await)?;
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": SERVICE_ACCOUNT}});
    created(
        client
            .create(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account)
            .await,
    )?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": SERVICE_ACCOUNT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": namespace}],
    });
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
    created(client.create(&path, &binding).await)
}

/// A token of the service account `spark`.
pub async fn token(cluster: &Cluster, namespace: &str) -> Result<String, Error> {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{SERVICE_ACCOUNT}/token");
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    });
    let answer = cluster.client().create(&path, &request).await?;
    Ok(text(&answer["status"]["token"]))
}

/// A `spark-submit` in cluster mode for this cluster, ready to run on the machine, outside of the cluster's network.
/// Nothing of the user's own Kubernetes configuration reaches it.
pub async fn spark_submit(cluster: &Cluster, options: &Options) -> Result<Command, Error> {
    let home = images::spark_home(&options.version, &cluster.progress).await?;
    allow(cluster, &options.namespace).await?;
    let token = token(cluster, &options.namespace).await?;
    let mut command = Command::new(home.join("bin/spark-submit"));
    command
        .env("SPARK_HOME", &home)
        .env("KUBECONFIG", no_kubeconfig(cluster))
        .args([
            "--master",
            &format!("k8s://https://{}", cluster.address()),
            "--deploy-mode",
            "cluster",
        ])
        .args(["--name", &options.name]);
    for name in ["SPARK_CONF_DIR", "HADOOP_CONF_DIR", "YARN_CONF_DIR"] {
        command.env_remove(name);
    }
    if options.quick_start {
        command.env("SPARK_SUBMIT_OPTS", QUICK_JAVA);
    }
    if let Some(class) = &options.class {
        command.args(["--class", class]);
    }
    for (key, value) in settings(cluster, options, &token) {
        command.args(["--conf", &format!("{key}={value}")]);
    }
    command.arg(&options.application).args(&options.arguments);
    Ok(command)
}

fn settings(cluster: &Cluster, options: &Options, token: &str) -> Vec<(String, String)> {
    let authority = cluster.authority_file().display().to_string();
    let image = Image::Spark(options.version.clone()).reference();
    let needed = [
        ("spark.kubernetes.namespace", options.namespace.as_str()),
        ("spark.kubernetes.authenticate.submission.caCertFile", &authority),
        ("spark.kubernetes.authenticate.submission.oauthToken", token),
        (
            "spark.kubernetes.authenticate.driver.serviceAccountName",
            SERVICE_ACCOUNT,
        ),
        ("spark.kubernetes.container.image", &image),
        // The images are on the node and in no registry.
        ("spark.kubernetes.container.image.pullPolicy", "Never"),
    ];
    let quick = options.quick_start.then_some([
        ("spark.driver.extraJavaOptions", QUICK_JAVA),
        ("spark.executor.extraJavaOptions", QUICK_JAVA),
    ]);
    let own = needed.into_iter().chain(SMALL).chain(quick.into_iter().flatten());
    own.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .chain(options.conf.iter().cloned())
        .collect()
}

/// A file that is not there: the client would otherwise read the user's own.
fn no_kubeconfig(cluster: &Cluster) -> PathBuf {
    cluster.layout.config("no-kubeconfig")
}

fn created(answer: Result<Value, client::Error>) -> Result<(), Error> {
    match answer {
        Err(error) if error.status() != Some(StatusCode::CONFLICT) => Err(error.into()),
        _ => Ok(()),
    }
}
