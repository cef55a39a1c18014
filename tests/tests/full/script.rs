//! `setup-kompass.sh` on a real cluster: `uninstall`, `cluster`, and a plain `helm uninstall`.

use std::time::Instant;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingAdmissionPolicy};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::PATIENCE;
use crate::installed::{Installed, JOBS, words};

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
    nothing_registered(installed).await
}

/// With the tools and rights of a user, in a cluster of somebody else's.
pub(crate) async fn cluster_installs_and_proves(installed: &Installed) -> anyhow::Result<()> {
    let values = installed.values.display().to_string();
    let local = installed.cluster.kubeconfig().with_file_name("values.json");
    let local = local.display().to_string();
    let arguments = ["cluster", "--jobs", JOBS, "--values", &local, "--values", &values];
    let plan = installed.script(&[&arguments[..], &["--plan"]].concat()).await?;
    anyhow::ensure!(plan.status.success(), "{}", words(&plan));
    anyhow::ensure!(
        installed.pods().await?.is_empty(),
        "the plan of an install has changed something"
    );
    let began = Instant::now();
    let output = installed.script(&[&arguments[..], &["--yes"]].concat()).await?;
    anyhow::ensure!(output.status.success(), "{}", words(&output));
    println!("installed and proved by the script after {:?}", began.elapsed());

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

/// Nobody has to know `kompass uninstall` for the API server not to call a webhook that is gone.
pub(crate) async fn helm_uninstall_leaves_no_webhook(installed: &Installed) -> anyhow::Result<()> {
    installed.helm(&["uninstall", "kompass", "--wait"]).await?;
    wait_for("the registration to be gone", PATIENCE, || async {
        nothing_registered(installed)
            .await
            .map_err(|error| format!("{error:#}"))
    })
    .await?;
    // Nothing has a finalizer of KOMPASS's: the namespace goes by itself.
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(installed.client.clone());
    namespaces.delete("kompass", &DeleteParams::default()).await?;
    wait_for("the namespace to be gone", PATIENCE, || async {
        match namespaces.get_opt("kompass").await {
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
