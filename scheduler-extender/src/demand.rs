//! Lack of nodes made visible: stand-ins for members of gangs that don't fit, and markers on empty nodes of plans.
//!
//! Stand-ins are pods of Jobs with a deadline, in KOMPASS's own namespace: they end even if KOMPASS does not come back.
//! No scheduler serves their scheduler name; the condition that an autoscaler looks for is written here.

mod expired;
mod objects;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError, within};
use kompass_kube::{object, pause};
use kompass_planner::{Demand, PodRef};
use kompass_service::logging;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::state::App;

/// Stand-ins that are marked unschedulable at once.
const MARKS_AT_ONCE: usize = 16;
/// Stand-ins that wait to be marked; the sweep finds the others.
pub const MARK_QUEUE: usize = 4_096;
/// Why a stand-in waits.
const LACK: &str = "stands for a member of a Spark gang that has no room";
/// Between two looks at what is there but should not be.
const SWEEP: Duration = Duration::from_secs(30);
/// From the beginning of a term to its first look.
const FIRST_SWEEP: Duration = Duration::from_secs(10);

/// Why a demand could not be shown or ended.
#[derive(Debug, thiserror::Error)]
#[error("failed to {verb} {what}")]
pub struct Error {
    verb: &'static str,
    what: String,
    /// What the API server said.
    #[source]
    pub source: RequestError,
}

/// Makes and removes the objects.
#[derive(Clone)]
pub struct Demands {
    client: Client,
    namespace: String,
    image: String,
    marker_life: Duration,
    has_priority_class: Arc<AtomicBool>,
}

impl std::fmt::Debug for Demands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demands")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Demands {
    /// Makes objects with the client and limits of the service.
    pub fn new(app: &App) -> Self {
        Self {
            client: app.client.clone(),
            namespace: app.limits.namespace.clone(),
            image: app.limits.pause_image.clone(),
            marker_life: app.limits.marker_life,
            has_priority_class: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Shows a demand: one Job per group of equal members, and none but these for the gang. May be repeated.
    pub async fn show(&self, demand: &Demand, now_ms: i64, limit: Duration) -> Result<(), Error> {
        self.ensure_priority_class(limit).await?;
        let seconds = demand.deadline_ms.saturating_sub(now_ms).max(1_000) / 1_000;
        let wanted = objects::jobs(demand, seconds, &self.image);
        let names: HashSet<&str> = wanted
            .iter()
            .filter_map(|job| job["metadata"]["name"].as_str())
            .collect();
        let present = self.jobs(&selector(&demand.gang.uid), limit).await?;
        // One that has ended has the name of its like, but no pods any more.
        let useless = |job: &&Job| !names.contains(job.name_any().as_str()) || pause::has_ended(job);
        for job in present.iter().filter(useless) {
            self.delete_job(&job.name_any(), limit).await?;
        }
        for job in &wanted {
            create(&self.namespaced::<Job>(), job, limit).await?;
        }
        Ok(())
    }

    /// Ends the demand of a gang, whatever of it there is.
    pub async fn release(&self, gang: &str, limit: Duration) -> Result<(), Error> {
        let jobs = self.namespaced::<Job>();
        let list = ListParams::default().labels(&selector(gang));
        let deleted = within(limit, jobs.delete_collection(&DeleteParams::background(), &list)).await;
        deleted
            .map(|_| ())
            .map_err(|source| failed("delete", "stand-ins", source))
    }

    /// Puts a marker on a node. May be repeated.
    pub async fn mark(&self, gang: &PodRef, node: &str, limit: Duration) -> Result<(), Error> {
        let life = i64::try_from(self.marker_life.as_secs()).unwrap_or(i64::MAX);
        create(
            &self.namespaced::<Pod>(),
            &objects::marker(gang, node, life, &self.image),
            limit,
        )
        .await
    }

    fn namespaced<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn jobs(&self, selector: &str, limit: Duration) -> Result<Vec<Job>, Error> {
        let jobs = self.namespaced::<Job>();
        let list = within(limit, jobs.list(&ListParams::default().labels(selector))).await;
        list.map(|list| list.items)
            .map_err(|source| failed("list", "stand-ins", source))
    }

    async fn delete_job(&self, name: &str, limit: Duration) -> Result<(), Error> {
        let deleted = within(
            limit,
            self.namespaced::<Job>().delete(name, &DeleteParams::background()),
        )
        .await;
        match deleted {
            Err(error) if error.status() != Some(404) => Err(failed("delete", name, error)),
            _ => Ok(()),
        }
    }

    /// −10: cluster-autoscaler takes pods of lower priority for expendable and buys nothing for them.
    async fn ensure_priority_class(&self, limit: Duration) -> Result<(), Error> {
        if !self.has_priority_class.load(Ordering::Acquire) {
            let api = Api::<PriorityClass>::all(self.client.clone());
            // Where the install has made it there need be no right to make classes.
            let known = within(limit, api.get_opt(pause::PRIORITY_CLASS)).await;
            let known = known.map_err(|error| failed("read", pause::PRIORITY_CLASS, error))?;
            if known.is_none() {
                create(&api, &pause::priority_class(), limit).await?;
            }
            self.has_priority_class.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Writes the condition by which autoscalers know a pod that needs a node.
    async fn show_unschedulable(&self, name: &str) -> Result<(), Error> {
        let pods = self.namespaced::<Pod>();
        let patch = Patch::Strategic(pause::unschedulable(LACK, jiff::Timestamp::now()));
        let sent = within(
            REQUEST_TIMEOUT,
            pods.patch_status(name, &PatchParams::default(), &patch),
        )
        .await;
        match sent {
            Err(error) if error.status() != Some(404) => Err(failed("mark", name, error)),
            _ => Ok(()),
        }
    }

    /// Looks for what earlier leaders or lost answers left behind: stand-ins of gangs that don't ask for nodes, markers
    /// that have ended, stand-ins that nobody marked.
    async fn sweep(&self, app: &App) -> Result<(), Error> {
        let jobs = self.jobs(names::STAND_IN_LABEL, REQUEST_TIMEOUT).await?;
        // Asked after the list: whoever is listed and still wanted is wanted now too.
        let gangs = app.planner(|planner, _| planner.gangs());
        let wanted: HashSet<&str> = gangs
            .iter()
            .filter(|gang| gang.demand)
            .map(|gang| gang.uid.as_str())
            .collect();
        for job in &jobs {
            let gang = job
                .labels()
                .get(names::STAND_IN_LABEL)
                .map(String::as_str)
                .unwrap_or_default();
            if !wanted.contains(gang) && app.claim.borrow().is_held() {
                tracing::info!(job = job.name_any(), gang, "removing stand-ins that nobody waits for");
                self.delete_job(&job.name_any(), REQUEST_TIMEOUT).await?;
            }
        }
        let pods: Api<object::Pod> = self.namespaced();
        let markers = ListParams::default().labels(names::MARKER_LABEL);
        let markers = within(REQUEST_TIMEOUT, pods.list(&markers)).await;
        for marker in markers.map_err(|source| failed("list", "markers", source))? {
            if matches!(marker.status.phase.as_str(), "Succeeded" | "Failed") {
                let deleted = within(
                    REQUEST_TIMEOUT,
                    pods.delete(&marker.name_any(), &DeleteParams::default()),
                )
                .await;
                if let Err(error) = deleted.map(|_| ()).or_else(unless_gone) {
                    return Err(failed("delete", &marker.name_any(), error));
                }
            }
        }
        let stand_ins = ListParams::default()
            .labels(names::STAND_IN_LABEL)
            .fields("spec.nodeName=");
        let stand_ins = within(REQUEST_TIMEOUT, pods.list(&stand_ins)).await;
        let stand_ins = stand_ins.map_err(|source| failed("list", "stand-ins", source))?;
        let unmarked = stand_ins
            .items
            .iter()
            .filter(|pod| !pause::is_marked(pod))
            .map(kube::ResourceExt::name_any);
        self.show_all(unmarked.collect::<Vec<_>>()).await;
        Ok(())
    }

    async fn show_all(&self, names: Vec<String>) {
        let marks = stream::iter(names).map(|name| async move { self.show_unschedulable(&name).await });
        let mut results = marks.buffer_unordered(MARKS_AT_ONCE);
        while let Some(result) = results.next().await {
            if let Err(error) = result {
                tracing::warn!(
                    error = logging::chain(&error),
                    "failed to show a stand-in to autoscalers"
                );
            }
        }
    }
}

/// Marks stand-ins as they come and sweeps from time to time, as long as the lease is ours, until `end`.
pub async fn run(
    app: Arc<App>,
    demands: Demands,
    mut stand_ins: mpsc::Receiver<kompass_core::Pod>,
    end: CancellationToken,
) {
    let mut sweeps = interval(SWEEP);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut claim = app.claim.clone();
    let mut led = false;
    let mut expired = expired::Sweep::default();
    let mut batch = Vec::new();
    // A pod's own marking comes back as an event; without this it would be marked for ever.
    let mut marked = HashSet::new();
    loop {
        let sweep = tokio::select! {
            biased;
            () = end.cancelled() => return,
            count = stand_ins.recv_many(&mut batch, MARKS_AT_ONCE * 4) => {
                if count == 0 {
                    return end.cancelled().await;
                }
                false
            }
            _ = sweeps.tick() => true,
            Ok(()) = claim.changed() => false,
        };
        let leads = app.claim.borrow().is_held();
        if leads && !led {
            // By then the planner knows which demands of its predecessor it goes on with.
            sweeps.reset_after(FIRST_SWEEP);
        }
        led = leads;
        if !led {
            batch.clear();
            continue;
        }
        if sweep {
            marked.clear();
            if let Err(error) = demands.sweep(&app).await {
                tracing::warn!(error = logging::chain(&error), "failed to sweep stand-ins and markers");
            }
            let leads = || app.claim.borrow().is_held();
            let (client, namespace) = (&app.client, &app.limits.namespace);
            let swept = expired.run(client, namespace, jiff::Timestamp::now(), leads).await;
            if let Err(error) = swept {
                tracing::warn!(error = logging::chain(&error), "failed to sweep what holds empty nodes");
            }
        }
        let new = batch.drain(..).filter(|pod| marked.insert(pod.uid.clone()));
        let names = new.map(|pod| pod.name).collect();
        demands.show_all(names).await;
    }
}

fn selector(gang: &str) -> String {
    format!("{}={gang}", names::STAND_IN_LABEL)
}

fn failed(verb: &'static str, what: &str, source: RequestError) -> Error {
    Error {
        verb,
        what: what.to_owned(),
        source,
    }
}

fn unless_gone(error: RequestError) -> Result<(), RequestError> {
    if error.status() == Some(404) {
        Ok(())
    } else {
        Err(error)
    }
}

/// Creates an object; one of the same name that is there already is the same, by how the names are made.
async fn create<K>(api: &Api<K>, object: &Value, limit: Duration) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let typed: K = serde_json::from_value(object.clone())
        .map_err(|source| failed("create", name, RequestError::Api(kube::Error::SerdeError(source))))?;
    match within(limit, api.create(&PostParams::default(), &typed)).await {
        Err(error) if error.status() != Some(409) => Err(failed("create", name, error)),
        _ => Ok(()),
    }
}
