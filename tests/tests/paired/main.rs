//! Scenarios on a real API server with real schedulers: both services run as processes of their own, KWOK plays the
//! nodes, and a loop without a JVM plays Spark's drivers.

#![cfg(test)]

mod backfill;
mod bad_input;
mod bypass;
mod churn;
mod command;
mod deadlock;
mod demand;
mod doctor;
mod foreign;
mod forgery;
mod hand_over;
mod headroom;
mod headroom_karpenter;
mod karpenter;
mod kills;
mod late_configuration;
mod launchers;
mod outages;
mod proxy;
mod queues;
mod quota;
mod uninstall;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kompass_core::{GangPlan, names};
use kompass_tests::deployment::{Deployment, JOBS};
use kompass_tests::spark::{Application, Behaviour, Drivers, is_bound};
use kompass_tests::wait_for;
use kube::ResourceExt as _;
use serde_json::Value;

/// For one thing to happen that an idle machine does in a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// Submits every application, plays their drivers, and waits until all are done.
async fn run_all(deployment: &Deployment, applications: &[Application], limit: Duration) -> anyhow::Result<Drivers> {
    let drivers = Drivers::start(deployment.client().clone(), JOBS, applications, Behaviour::default());
    submit_all(deployment, applications).await?;
    all_done(&drivers, applications, limit).await?;
    Ok(drivers)
}

/// Submits every application, one after the other.
async fn submit_all(deployment: &Deployment, applications: &[Application]) -> anyhow::Result<()> {
    for application in applications {
        application.submit(deployment.client(), JOBS).await?;
    }
    Ok(())
}

/// Waits until every application is done.
async fn all_done(drivers: &Drivers, applications: &[Application], limit: Duration) -> anyhow::Result<()> {
    wait_for("every application to be done", limit, || async {
        let timelines = drivers.timelines();
        let waiting: Vec<String> = applications
            .iter()
            .filter(|app| timelines.get(&app.name).is_none_or(|timeline| timeline.done.is_none()))
            .map(|app| format!("{}: {:?}", app.name, timelines.get(&app.name)))
            .collect();
        if waiting.is_empty() { Ok(()) } else { Err(waiting) }
    })
    .await
}

/// Waits until a pod of the tests' namespace is bound.
async fn bound(deployment: &Deployment, name: &str, limit: Duration) -> anyhow::Result<Pod> {
    wait_for(&format!("{name} to be bound"), limit, || async {
        let pod = deployment.pods().get(name).await.map_err(|error| error.to_string())?;
        if is_bound(&pod) {
            Ok(pod)
        } else {
            Err(format!("{:?}", pod.status))
        }
    })
    .await
}

/// What the extender says of a gang that has not ended.
async fn gang(deployment: &Deployment, application: &Application) -> anyhow::Result<Value> {
    let path = format!("/v1/gangs/{JOBS}/{}", application.driver());
    let page: Value = serde_json::from_str(&deployment.get(deployment.extender_address(), &path).await?)?;
    page.get("gang")
        .cloned()
        .ok_or_else(|| anyhow::anyhow!("the gang has ended: {page}"))
}

/// Waits until the extender says that a gang waits for this reason.
async fn waits_for(deployment: &Deployment, application: &Application, code: &str) -> anyhow::Result<Value> {
    wait_for(
        &format!("{} to wait for {code}", application.name),
        PATIENCE,
        || async {
            let gang = gang(deployment, application)
                .await
                .map_err(|error| format!("{error:#}"))?;
            if gang["waiting"]["code"] == code {
                Ok(gang)
            } else {
                Err(gang.to_string())
            }
        },
    )
    .await
}

/// The plan on a driver.
fn plan(driver: &Pod) -> anyhow::Result<GangPlan> {
    let text = driver.annotations().get(names::PLAN_ANNOTATION);
    let text = text.ok_or_else(|| anyhow::anyhow!("{} has no plan", driver.name_any()))?;
    Ok(GangPlan::from_annotation(text)?)
}
