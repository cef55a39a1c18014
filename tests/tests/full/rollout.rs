//! Upgrade, rollback and sudden death with jobs running: no gang is lost, nothing is booked twice.

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kompass_tests::installed::{Installed, NAMESPACE, PATIENCE, component};
use kompass_tests::spark::Stream;
use kompass_tests::wait_for;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};

/// Two of each part.
const PODS: usize = 4;
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The same programs under another version: what is tested is the change, not the release.
const OTHER: &str = "0.0.0-other";

async fn all_ready(installed: &Installed) -> anyhow::Result<()> {
    wait_for("all pods of KOMPASS to be ready", PATIENCE, || async {
        let ready = installed.ready().await.map_err(|error| format!("{error:#}"))?;
        if ready == PODS { Ok(()) } else { Err(ready.to_string()) }
    })
    .await
}

/// n−1 → n → n−1, as Helm does it.
pub(crate) async fn upgrade_and_rollback_with_jobs_running(installed: &Installed) -> anyhow::Result<()> {
    for image in ["kompass-scheduler-extender", "kompass-admission-webhook"] {
        let name = format!("docker.io/local/{image}");
        let (from, to) = (format!("{name}:{VERSION}"), format!("{name}:{OTHER}"));
        installed.cluster.tag_image(&from, &to).await?;
    }
    all_ready(installed).await?;
    let stream = Stream::start(&installed.client, PATIENCE, "upgrade", 40);
    stream.some_done(3).await?;

    let chart = installed.cluster.kubeconfig().with_file_name("chart");
    let tag = format!("image.tag={OTHER}");
    let chart = chart.display().to_string();
    let wait = ["--wait", "--timeout", "4m"];
    let began = Instant::now();
    let upgrade = ["upgrade", "kompass", &chart, "--reuse-values", "--set", &tag];
    installed.helm(&[&upgrade[..], &wait].concat()).await?;
    println!("upgraded after {:?}, {} gangs done", began.elapsed(), stream.done());
    wait_for("the other version alone to run", PATIENCE, || {
        versions(installed, OTHER)
    })
    .await?;

    let began = Instant::now();
    installed
        .helm(&[&["rollback", "kompass", "1"][..], &wait].concat())
        .await?;
    println!("rolled back after {:?}, {} gangs done", began.elapsed(), stream.done());
    wait_for("the first version alone to run", PATIENCE, || {
        versions(installed, VERSION)
    })
    .await?;
    stream.finish("upgrade and rollback").await?;
    all_ready(installed).await
}

/// All of KOMPASS's own containers run this version.
async fn versions(installed: &Installed, version: &str) -> Result<(), String> {
    let images = installed.images().await.map_err(|error| format!("{error:#}"))?;
    let own: Vec<String> = images.into_iter().filter(|image| image.contains("/kompass-")).collect();
    if own.len() == PODS && own.iter().all(|image| image.ends_with(&format!(":{version}"))) {
        Ok(())
    } else {
        Err(own.join(", "))
    }
}

/// Each pod in turn is gone at once, without a word to it, while jobs come.
pub(crate) async fn each_pod_is_killed_while_jobs_come(installed: &Installed) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(installed.client.clone(), NAMESPACE);
    let victims = installed.pods().await?;
    anyhow::ensure!(victims.len() == PODS, "{} pods of KOMPASS", victims.len());
    let stream = Stream::start(&installed.client, PATIENCE, "kill", 50);
    for victim in victims {
        let done = stream.done();
        let now = DeleteParams::default().grace_period(0);
        pods.delete(&victim.name_any(), &now).await?;
        all_ready(installed).await?;
        stream.some_done(done + 1).await?;
        println!("killed a pod of {}, {} gangs done", component(&victim), stream.done());
    }
    stream.finish("each pod killed").await
}
