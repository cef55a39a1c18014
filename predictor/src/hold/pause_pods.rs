//! Jobs of pause pods at the API server. Nobody serves the scheduler that the pods name, so they never take the room that
//! they stand for; the condition that autoscalers look for is written here.

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError, within};
use kompass_kube::{apply, object, pause};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::buffers::{described, of_metadata};
use super::objects::{self, Target};
use super::plan::{self, Held, Kind, Pending, State};
use super::{Error, Holder, MANAGER, Right, WRITE_LIMIT, refused, request};

/// Pods that are marked at once.
const MARKS_AT_ONCE: usize = 16;
/// By which the Job controller tells a pod's Job.
const JOB_LABEL: &str = "batch.kubernetes.io/job-name";
/// Why a pause pod waits.
const LACK: &str = "stands for an empty node that is to be held";

const JOBS: Right = Right {
    group: "batch",
    resource: "jobs",
    verbs: "list, create, patch, delete",
    is_cluster_wide: false,
};
const PODS: Right = Right {
    group: "",
    resource: "pods",
    verbs: "list",
    is_cluster_wide: false,
};
const POD_STATUS: Right = Right {
    group: "",
    resource: "pods/status",
    verbs: "patch",
    is_cluster_wide: false,
};
const PRIORITY_CLASSES: Right = Right {
    group: "scheduling.k8s.io",
    resource: "priorityclasses",
    verbs: "create",
    is_cluster_wide: true,
};

impl Holder {
    /// All that hold nodes.
    pub(super) async fn jobs(&self) -> Result<Vec<Held>, Error> {
        let ours = ListParams::default().labels(names::HEADROOM_LABEL);
        let jobs = within(REQUEST_TIMEOUT, self.job_api().list(&ours)).await;
        let jobs = jobs.map_err(|source| refused("list", "jobs of pause pods", JOBS, source))?;
        Ok(jobs.into_iter().map(of_job).collect())
    }

    pub(super) async fn apply_job(&self, target: &Target, now_ms: i64) -> Result<(), Error> {
        let object = objects::job(target, &self.settings.limits, self.settings.owner.as_ref(), now_ms);
        let applied = apply::apply(&self.job_api(), MANAGER, &target.name, &object).await;
        applied
            .map(|_| ())
            .map_err(|error| refused("apply", described("job", target), JOBS, error.source))
    }

    pub(super) async fn delete_job(&self, name: &str) -> Result<(), Error> {
        // With its pods.
        let parameters = DeleteParams::background();
        match within(WRITE_LIMIT, self.job_api().delete(name, &parameters)).await {
            Err(error) if error.status() != Some(404) => Err(refused("delete", format!("job {name}"), JOBS, error)),
            _ => Ok(()),
        }
    }

    /// −10: cluster-autoscaler takes pods of lower priority for expendable and buys nothing for them.
    pub(super) async fn ensure_priority_class(&mut self, leads: &(dyn Fn() -> bool + Sync)) -> Result<(), Error> {
        if self.has_priority_class {
            return Ok(());
        }
        if !leads() {
            return Err(Error::LeaseLost);
        }
        let what = format!("priority class {}", pause::PRIORITY_CLASS);
        let class: PriorityClass = serde_json::from_value(pause::priority_class()).map_err(|source| {
            let source = RequestError::Api(kube::Error::SerdeError(source));
            request("create", what.clone(), source)
        })?;
        let api: Api<PriorityClass> = Api::all(self.client.clone());
        // Where the install has made it there need be no right to make classes; where it has not, none to read them.
        let known = within(REQUEST_TIMEOUT, api.get_opt(pause::PRIORITY_CLASS)).await;
        if matches!(known, Ok(Some(_))) {
            self.has_priority_class = true;
            return Ok(());
        }
        match within(REQUEST_TIMEOUT, api.create(&PostParams::default(), &class)).await {
            Err(error) if error.status() != Some(409) => Err(refused("create", what, PRIORITY_CLASSES, error)),
            _ => {
                self.has_priority_class = true;
                Ok(())
            }
        }
    }

    /// Shows pause pods to autoscalers; tells how many, and how many are yet to come.
    pub(super) async fn mark(
        &self,
        held: &[Held],
        kind: Kind,
        now_ms: i64,
        leads: &(dyn Fn() -> bool + Sync),
    ) -> Result<(usize, usize), Error> {
        if kind != Kind::PausePods || held.iter().all(|one| one.kind != Kind::PausePods) {
            return Ok((0, 0));
        }
        let pods: Api<object::Pod> = Api::namespaced(self.client.clone(), &self.settings.namespace);
        let waiting = ListParams::default()
            .labels(names::HEADROOM_LABEL)
            .fields("spec.nodeName=");
        let listed = within(REQUEST_TIMEOUT, pods.list(&waiting)).await;
        let listed = listed.map_err(|source| refused("list", "pause pods", PODS, source))?;
        let pending: Vec<Pending> = listed.iter().filter_map(pending).collect();
        let names = plan::to_mark(held, &pending, now_ms);
        if !names.is_empty() && !leads() {
            return Err(Error::LeaseLost);
        }
        let (marked, missing) = (names.len(), plan::missing(held, &pending));
        let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let status = pause::unschedulable(LACK, now);
        let marks = stream::iter(names).map(|name| mark(pods.clone(), name, status.clone()));
        let mut results = marks.buffer_unordered(MARKS_AT_ONCE);
        let mut first = Ok(());
        while let Some(result) = results.next().await {
            first = first.and(result);
        }
        first.map(|()| (marked, missing))
    }

    fn job_api(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }
}

async fn mark(pods: Api<object::Pod>, name: String, status: Value) -> Result<(), Error> {
    let (parameters, patch) = (PatchParams::default(), Patch::Strategic(status));
    match within(WRITE_LIMIT, pods.patch_status(&name, &parameters, &patch)).await {
        Err(error) if error.status() != Some(404) => {
            Err(refused("mark", format!("pause pod {name}"), POD_STATUS, error))
        }
        _ => Ok(()),
    }
}

fn pending(pod: &object::Pod) -> Option<Pending> {
    let is_over = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    if is_over || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some(Pending {
        name: pod.name_any(),
        job: pod.labels().get(JOB_LABEL)?.clone(),
        created_ms: pod.creation_timestamp().map_or(0, |time| time.0.as_millisecond()),
        is_marked: pause::is_marked(pod),
    })
}

fn of_job(job: Job) -> Held {
    let has_ended = pause::has_ended(&job);
    let nodes = job.spec.and_then(|spec| spec.parallelism).unwrap_or(1);
    let mut held = of_metadata(Kind::PausePods, job.metadata);
    held.has_number = true;
    if held.state == State::Partial {
        held.state = if has_ended { State::Ended } else { State::Whole };
    }
    Held {
        nodes: u32::try_from(nodes).unwrap_or(0),
        ..held
    }
}
