//! `setup-kompass.sh` on a real cluster: `uninstall`, `cluster`, and a plain `helm uninstall`.

use std::time::Instant;

use anyhow::Context as _;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingAdmissionPolicy};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kompass_local_cluster::images::{self, Image, SparkVersion};
use kompass_local_cluster::progress::Progress;
use kompass_tests::deployment::JOBS;
use kompass_tests::installed::{Installed, NAMESPACE, PATIENCE, component, words};
use kompass_tests::spark::{Application, Behaviour, Drivers, phase};
use kompass_tests::wait_for;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

pub(crate) async fn uninstall_leaves_nothing(installed: &Installed) -> anyhow::Result<()> {
    let plan = installed.script(&["uninstall", "--plan"]).await?;
    anyhow::ensure!(plan.status.success(), "{}", words(&plan));
    anyhow::ensure!(
        installed.ready().await? > 0,
        "the plan of an uninstall has changed something"
    );
    let began = Instant::now();
    let output = installed.script(&["uninstall", "--yes"]).await?;
    anyhow::ensure!(output.status.success(), "{}", words(&output));
    println!("uninstalled after {:?}", began.elapsed());
    anyhow::ensure!(installed.pods().await?.is_empty(), "pods of KOMPASS are left");
    nothing_registered(installed).await?;
    // The script makes it anew.
    namespace_goes(installed).await
}

/// In a cluster that is only looked on no pod is changed, and what would have been done is counted.
pub(crate) async fn shadow_changes_nothing_and_counts(installed: &Installed) -> anyhow::Result<()> {
    let files = values(installed);
    let files = files.each_ref().map(String::as_str);
    let mode = ["cluster", "--jobs", JOBS, "--mode", "shadow", "--yes"];
    let output = installed.script(&[&mode[..], &files].concat()).await?;
    anyhow::ensure!(output.status.success(), "{}", words(&output));
    let namespaces: Api<Namespace> = Api::all(installed.client.clone());
    let enforced = namespaces
        .get(NAMESPACE)
        .await?
        .labels()
        .get("pod-security.kubernetes.io/enforce")
        .cloned();
    anyhow::ensure!(
        enforced.as_deref() == Some("restricted"),
        "the namespace enforces {enforced:?}"
    );

    let application = Application::new("looked-on", 1_000, 2, 1_000).on_fake_nodes();
    let sent = application.driver_pod();
    let pods: Api<Pod> = Api::namespaced(installed.client.clone(), JOBS);
    let pod = pods
        .create(&PostParams::default(), &serde_json::from_value(sent.clone())?)
        .await?;
    let spec = pod.spec.as_ref().context("the pod has no spec")?;
    anyhow::ensure!(
        spec.scheduler_name.as_deref() == Some("default-scheduler") && spec.scheduling_gates.is_none(),
        "a driver was taken: {spec:?}"
    );
    let labels = serde_json::to_value(pod.labels())?;
    anyhow::ensure!(labels == sent["metadata"]["labels"], "labels were changed: {labels}");
    anyhow::ensure!(
        pod.annotations().is_empty(),
        "annotations were written: {:?}",
        pod.annotations()
    );
    pods.delete(&application.driver(), &DeleteParams::default().grace_period(0))
        .await?;

    let mut counted = 0.0;
    for pod in installed.pods().await? {
        if component(&pod) == "admission-webhook" {
            let path = format!(
                "/api/v1/namespaces/{NAMESPACE}/pods/{}:9090/proxy/metrics",
                pod.name_any()
            );
            let request = http::Request::get(path).body(Vec::new())?;
            let metrics = installed.client.request_text(request).await?;
            let lines = metrics
                .lines()
                .filter(|line| line.starts_with("kompass_webhook_shadow_total{"));
            counted += lines
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>();
        }
    }
    // The proof of the install is a driver, too, that is only tried: two replicas may have seen one each.
    anyhow::ensure!(counted >= 1.0, "what would have been done was not counted");
    Ok(())
}

/// Those of a local cluster, and this test's.
fn values(installed: &Installed) -> [String; 4] {
    let local = installed.cluster.kubeconfig().with_file_name("values.json");
    let flag = || "--values".to_owned();
    [
        flag(),
        local.display().to_string(),
        flag(),
        installed.values.display().to_string(),
    ]
}

/// With the tools and rights of a user, in a cluster of somebody else's.
pub(crate) async fn cluster_installs_and_proves(installed: &Installed) -> anyhow::Result<()> {
    let files = values(installed);
    let files = files.each_ref().map(String::as_str);
    let arguments = [&["cluster", "--jobs", JOBS, "--mode", "active"][..], &files].concat();
    let plan = installed.script(&[&arguments[..], &["--plan"]].concat()).await?;
    anyhow::ensure!(plan.status.success(), "{}", words(&plan));
    let release = installed.helm(&["get", "values", "kompass", "--output=json"]).await?;
    anyhow::ensure!(release.contains("shadow"), "the plan has changed something: {release}");
    let began = Instant::now();
    let output = installed.script(&[&arguments[..], &["--yes"]].concat()).await?;
    anyhow::ensure!(output.status.success(), "{}", words(&output));
    println!("installed and proved by the script after {:?}", began.elapsed());
    the_printed_job_runs(installed, &String::from_utf8(output.stdout)?).await?;

    let application = Application::new("scripted", 1_000, 2, 1_000).on_fake_nodes();
    let applications = std::slice::from_ref(&application);
    let drivers = Drivers::start(installed.client.clone(), JOBS, applications, Behaviour::default());
    application.submit(&installed.client, JOBS).await?;
    wait_for("a job to be placed and done", PATIENCE, || async {
        if drivers.done() == 1 {
            Ok(())
        } else {
            Err(drivers.timelines())
        }
    })
    .await?;

    let doctor = installed.script(&["doctor"]).await?;
    anyhow::ensure!(doctor.status.success(), "{}", words(&doctor));
    let again = installed
        .script(&["cluster", "--namespace", "elsewhere", "--yes"])
        .await?;
    anyhow::ensure!(again.status.code() == Some(6), "a second install: {}", words(&again));
    anyhow::ensure!(words(&again).contains("namespace kompass"), "{}", words(&again));
    Ok(())
}

/// What is printed for a first job is copied as it stands: only the image is the one that the node has, and pods are small, by
/// what a user's Spark has as its defaults.
async fn the_printed_job_runs(installed: &Installed, printed: &str) -> anyhow::Result<()> {
    let (_, lines) = printed
        .split_once("A first job, with the Spark of your machine:\n")
        .context("no job is printed")?;
    let (lines, _) = lines.split_once("\n\n").context("the job has no end")?;
    let version = SparkVersion::default();
    let lines = lines.replace("apache/spark:4.0.0", &Image::Spark(version.clone()).reference());
    let home = images::spark_home(&version, &Progress::lines()).await?;
    let defaults = installed.values.with_file_name("spark");
    std::fs::create_dir_all(&defaults)?;
    std::fs::write(
        defaults.join("spark-defaults.conf"),
        "spark.driver.memory 512m\nspark.executor.memory 512m\nspark.kubernetes.driver.request.cores 0.2\n\
         spark.kubernetes.executor.request.cores 0.2\n",
    )?;
    let lines = format!("export SPARK_CONF_DIR={}\n{lines}", defaults.display());
    let told = installed.shell(&lines, &[home.join("bin")]).await?;
    let pods: Api<Pod> = Api::namespaced(installed.client.clone(), JOBS);
    let drivers = pods
        .list(&ListParams::default().labels("spark-role=driver"))
        .await?
        .items;
    let driver = drivers.iter().find(|pod| pod.name_any().starts_with("first-job-"));
    let driver = driver.with_context(|| format!("the job has no driver: {told}"))?;
    anyhow::ensure!(phase(driver) == "Succeeded", "{}: {told}", phase(driver));
    let spec = driver.spec.as_ref().context("the driver has no spec")?;
    anyhow::ensure!(
        spec.scheduler_name.as_deref() == Some("kompass"),
        "it went past KOMPASS"
    );
    // No local cluster is called `local` here: the one of KUBECONFIG is asked.
    installed.shell("kompass queue", &[]).await?;
    Ok(())
}

/// Nobody has to know `kompass uninstall` for the API server not to call a webhook that is gone.
pub(crate) async fn helm_uninstall_leaves_no_webhook(installed: &Installed) -> anyhow::Result<()> {
    installed.helm(&["uninstall", "kompass", "--wait"]).await?;
    wait_for("the registration to be gone", PATIENCE, || async {
        nothing_registered(installed)
            .await
            .map_err(|error| format!("{error:#}"))
    })
    .await?;
    namespace_goes(installed).await
}

/// Nothing has a finalizer of KOMPASS's: the namespace goes by itself.
async fn namespace_goes(installed: &Installed) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(installed.client.clone());
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    wait_for("the namespace to be gone", PATIENCE, || async {
        match namespaces.get_opt(NAMESPACE).await {
            Ok(None) => Ok(()),
            Ok(Some(namespace)) => Err(format!("{:?}", namespace.status)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

async fn nothing_registered(installed: &Installed) -> anyhow::Result<()> {
    none_left::<MutatingWebhookConfiguration>(installed).await?;
    none_left::<ValidatingAdmissionPolicy>(installed).await
}

async fn none_left<K>(installed: &Installed) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(installed.client.clone());
    let left = api.list(&ListParams::default()).await?.items;
    let names: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
    anyhow::ensure!(names.is_empty(), "{} are left: {names:?}", K::plural(&()));
    Ok(())
}
