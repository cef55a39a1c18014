//! A namespace's `ResourceQuota` is waited for at the driver: an executor that is denied creation ends its job.

use k8s_openapi::api::core::v1::ResourceQuota;
use kompass_core::names;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::{PATIENCE, all_done, waits_for};

#[tokio::test]
async fn a_gang_that_the_quota_cannot_take_waits_at_its_driver_until_it_can() {
    let deployment = Deployment::start(Options::default()).await.unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let quotas: Api<ResourceQuota> = Api::namespaced(deployment.client().clone(), JOBS);
    let quota = json!({
        "metadata": { "name": "team" },
        "spec": { "hard": { "requests.cpu": "3", "requests.memory": "20Gi", "pods": "20" } },
    });
    quotas
        .create(&PostParams::default(), &serde_json::from_value(quota).unwrap())
        .await
        .unwrap();
    wait_for("the quota to count", PATIENCE, || async {
        let quota = quotas.get("team").await.map_err(|error| error.to_string())?;
        let used = quota.status.and_then(|status| status.used);
        if used.is_some() {
            Ok(())
        } else {
            Err("no status".to_owned())
        }
    })
    .await
    .unwrap();

    let held = Application::new("held", 500, 4, 1_000);
    let small = Application::new("small", 500, 1, 1_000);
    let applications = [held.clone(), small.clone()];
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, Behaviour::default());
    held.submit(deployment.client(), JOBS).await.unwrap();
    let view = waits_for(&deployment, &held, "resource-quota").await.unwrap();
    assert_eq!(view["demand"], false, "nodes don't help: {view}");
    let driver = deployment.pods().get(&held.driver()).await.unwrap();
    let gates = driver.spec.unwrap().scheduling_gates.unwrap_or_default();
    assert!(
        gates.iter().any(|gate| gate.name == names::GANG_GATE),
        "the driver is not held"
    );

    // What the quota can take goes on: half a CPU is the waiting driver's.
    small.submit(deployment.client(), JOBS).await.unwrap();
    all_done(&drivers, &[small], PATIENCE).await.unwrap();

    let raised = json!({ "spec": { "hard": { "requests.cpu": "6" } } });
    quotas
        .patch("team", &PatchParams::default(), &Patch::Merge(&raised))
        .await
        .unwrap();
    all_done(&drivers, &[held], PATIENCE).await.unwrap();
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}
