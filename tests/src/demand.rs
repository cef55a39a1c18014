//! What an autoscaler sees of a demand for nodes.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kompass_core::{Resources, names};
use kompass_local_cluster::kompass::NAMESPACE;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::deployment::Deployment;
use crate::spark::{is_bound, phase};

/// The stand-ins that wait for a node now.
#[derive(Debug)]
pub struct StandIns(pub Vec<Pod>);

impl StandIns {
    /// Lists them.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn list(deployment: &Deployment) -> anyhow::Result<Self> {
        let list = deployment
            .own_pods()
            .list(&ListParams::default().labels(names::STAND_IN_LABEL))
            .await?;
        let waits = |pod: &Pod| phase(pod) == "Pending" && pod.metadata.deletion_timestamp.is_none();
        Ok(Self(list.into_iter().filter(waits).collect()))
    }

    /// How many of them an autoscaler counts: not bound, and with the condition that says so.
    pub fn visible(&self) -> usize {
        self.0
            .iter()
            .filter(|pod| !is_bound(pod) && shown_since(pod).is_some())
            .count()
    }

    /// Seconds from the first to the last that an autoscaler could count.
    pub fn spread_s(&self) -> i64 {
        let times = || self.0.iter().filter_map(shown_since).map(Timestamp::as_second);
        times().max().unwrap_or(0) - times().min().unwrap_or(0)
    }

    /// What each asks for.
    ///
    /// # Errors
    /// A pod that can't be read.
    pub fn requests(&self) -> anyhow::Result<Vec<Resources>> {
        self.0
            .iter()
            .map(|pod| Ok(kompass_kube::convert::full_pod(pod)?.0.requests))
            .collect()
    }
}

/// Since when the pod has the condition that autoscalers look for.
fn shown_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let shown = conditions.iter().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    Some(shown.last_transition_time.as_ref()?.0)
}

/// Whether nothing of any demand is left: no pod, and no Job that could make one.
///
/// # Errors
/// What is left.
pub async fn nothing_left(deployment: &Deployment) -> Result<(), String> {
    let list = ListParams::default().labels(names::STAND_IN_LABEL);
    let pods = deployment
        .own_pods()
        .list(&list)
        .await
        .map_err(|error| error.to_string())?;
    let jobs: Api<Job> = Api::namespaced(deployment.client().clone(), NAMESPACE);
    let jobs = jobs.list(&list).await.map_err(|error| error.to_string())?;
    let is_over = |job: &Job| {
        job.status
            .as_ref()
            .is_some_and(|status| status.failed > Some(0) || ended(job))
    };
    let left = pods
        .iter()
        .filter(|pod| phase(pod) == "Pending")
        .map(ResourceExt::name_any);
    let left: Vec<String> = left
        .chain(jobs.iter().filter(|job| !is_over(job)).map(ResourceExt::name_any))
        .collect();
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!("still there: {left:?}"))
    }
}

fn ended(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| (one.type_ == "Failed" || one.type_ == "Complete") && one.status == "True")
    })
}
