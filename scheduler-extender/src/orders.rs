//! Carries out what the planner orders: each order one or two requests, under the lease, by a deadline.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use kompass_core::{GangPlan, names};
use kompass_kube::client::{RequestError, within};
use kompass_kube::events::{Note, Severity};
use kompass_kube::{convert, object, patch};
use kompass_planner::{Action, Failure, Order, PodRef};
use kompass_service::logging;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use serde_json::json;
use tokio::sync::mpsc;

use crate::demand::{self, Demands};
use crate::explain::Explainer;
use crate::state::App;

/// Orders that wait for one worker; the planning loop waits when they are more.
const QUEUE: usize = 256;

/// The workers' ends of their queues. Orders on one gang or pod go to one worker, so that they keep their order.
#[derive(Debug)]
pub struct Workers(Vec<mpsc::Sender<Order>>);

/// What carrying out needs.
#[derive(Debug)]
pub struct Tools {
    /// The shared state.
    pub app: Arc<App>,
    /// Stand-ins and markers.
    pub demands: Demands,
    /// Events.
    pub explainer: Explainer,
}

impl Workers {
    /// Starts the workers; they end when this is dropped and their queues are empty.
    pub fn start(tools: &Arc<Tools>) -> (Self, tokio::task::JoinSet<()>) {
        let mut tasks = tokio::task::JoinSet::new();
        let senders = (0..tools.app.limits.orders.max(1)).map(|_| {
            let (sender, mut orders) = mpsc::channel::<Order>(QUEUE);
            let tools = Arc::clone(tools);
            tasks.spawn(async move {
                while let Some(order) = orders.recv().await {
                    run(&tools, order).await;
                }
            });
            sender
        });
        (Self(senders.collect()), tasks)
    }

    /// Hands an order over.
    pub async fn send(&self, order: Order) {
        let mut hasher = rustc_hash::FxHasher::default();
        key(&order.action).hash(&mut hasher);
        // The modulus makes the cast lossless in effect.
        #[expect(clippy::cast_possible_truncation, reason = "only the remainder is used")]
        let index = hasher.finish() as usize % self.0.len();
        // The worker is only gone when the service ends.
        let _ = self.0[index].send(order).await;
    }
}

fn key(action: &Action) -> &str {
    match action {
        Action::OpenGate { driver: pod, .. }
        | Action::Replan { driver: pod, .. }
        | Action::Explain { driver: pod, .. }
        | Action::OpenExecutorGate { executor: pod, .. }
        | Action::DeleteExecutor { executor: pod }
        | Action::RemoveMarker { marker: pod }
        | Action::PlaceMarker { gang: pod, .. }
        | Action::Check { pod } => &pod.uid,
        Action::Demand(demand) => &demand.gang.uid,
        Action::ReleaseDemand { gang } => gang,
        Action::Finished(gang) => &gang.uid,
    }
}

const fn name(action: &Action) -> &'static str {
    match action {
        Action::OpenGate { .. } => "open-gate",
        Action::OpenExecutorGate { .. } => "open-executor-gate",
        Action::Replan { .. } => "replan",
        Action::Demand(_) => "demand",
        Action::ReleaseDemand { .. } => "release-demand",
        Action::PlaceMarker { .. } => "place-marker",
        Action::RemoveMarker { .. } => "remove-marker",
        Action::DeleteExecutor { .. } => "delete-executor",
        Action::Explain { .. } => "explain",
        Action::Check { .. } => "check",
        Action::Finished(_) => "finished",
    }
}

async fn run(tools: &Tools, order: Order) {
    let (app, id, name) = (&tools.app, order.id, name(&order.action));
    let outcome = match carry_out(tools, order.action).await {
        Ok(()) => "done",
        Err(failure) => {
            app.planner(|planner, now_ms| planner.action_failed(id, failure, now_ms));
            match failure {
                Failure::Conflict => "conflict",
                Failure::Gone => "gone",
                Failure::Refused => "refused",
                Failure::Unknown => "unknown",
            }
        }
    };
    app.metrics.orders.with([name, outcome]).inc();
    app.wake.notify_one();
}

async fn carry_out(tools: &Tools, action: Action) -> Result<(), Failure> {
    let app = &*tools.app;
    match action {
        Action::Explain { driver, reason } => {
            tools.explainer.wait(&driver, &reason, app.now_ms());
            Ok(())
        }
        Action::Finished(gang) => {
            tracing::info!(
                namespace = gang.namespace, driver = gang.name, queue = gang.queue, outcome = ?gang.outcome,
                wait_ms = gang.wait_ms, run_ms = gang.run_ms, executors = gang.executors_peak, "gang ended"
            );
            app.finished.add(*gang, app.now_ms(), &app.metrics);
            Ok(())
        }
        Action::Check { pod } => check(app, &pod).await,
        Action::OpenGate {
            driver,
            resource_version,
            plan,
        } => open_gate(tools, &driver, &resource_version, plan).await,
        Action::OpenExecutorGate {
            executor,
            resource_version,
            node,
        } => open_executor_gate(app, &executor, &resource_version, &node).await,
        Action::Replan { driver, plan } => {
            let annotations = json!({ names::PLAN_ANNOTATION: plan.to_annotation() });
            change(
                app,
                &driver,
                &json!({ "metadata": { "uid": driver.uid, "annotations": annotations } }),
            )
            .await?;
            tracing::info!(namespace = driver.namespace, driver = driver.name, "gang planned anew");
            Ok(())
        }
        Action::Demand(demand) => {
            let limit = term(app)?;
            let (namespace, driver) = (&demand.gang.namespace, &demand.gang.name);
            let pods: u64 = demand.members.iter().map(|member| member.count).sum();
            tracing::info!(namespace, driver, pods, "asking for nodes");
            tools
                .demands
                .show(&demand, app.now_ms(), limit)
                .await
                .map_err(|error| told("demand", &error))
        }
        Action::ReleaseDemand { gang } => {
            let limit = term(app)?;
            tools
                .demands
                .release(&gang, limit)
                .await
                .map_err(|error| told("release-demand", &error))
        }
        Action::PlaceMarker { gang, node } => {
            let limit = term(app)?;
            tools
                .demands
                .mark(&gang, &node, limit)
                .await
                .map_err(|error| told("place-marker", &error))
        }
        Action::RemoveMarker { marker } => delete(app, &marker, &DeleteParams::default().grace_period(0)).await,
        Action::DeleteExecutor { executor } => {
            let (namespace, pod) = (&executor.namespace, &executor.name);
            tracing::info!(namespace, pod, "deleting an executor that can run nowhere");
            delete(app, &executor, &DeleteParams::default()).await
        }
    }
}

/// How long a write may take now; refused when the lease is not ours.
fn term(app: &App) -> Result<Duration, Failure> {
    let remaining = app.claim.borrow().check().map_err(|_not_held| Failure::Refused)?;
    Ok(remaining.min(app.limits.order_deadline))
}

fn pods<K>(app: &App, namespace: &str) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(app.client.clone(), namespace)
}

async fn open_gate(tools: &Tools, driver: &PodRef, version: &str, plan: GangPlan) -> Result<(), Failure> {
    let app = &*tools.app;
    let text = plan.to_annotation();
    // The gate is the only one left at this version, or the planner would have waited.
    let patch = json!({
        "metadata": {
            "uid": driver.uid,
            "resourceVersion": version,
            "annotations": { names::PLAN_ANNOTATION: text },
        },
        "spec": { "schedulingGates": null },
    });
    change(app, driver, &patch).await?;
    let took_ms = app.now_ms().saturating_sub(plan.planned_ms).max(0);
    app.metrics.gate_open_seconds.observe(took_ms as f64 / 1_000.0);
    let (namespace, name, executors) = (&driver.namespace, &driver.name, plan.executor_count());
    tracing::info!(
        namespace,
        driver = name,
        node = plan.driver,
        executors,
        took_ms,
        "gang planned, gate open"
    );
    tools.explainer.planned(driver, &plan);
    Ok(())
}

async fn open_executor_gate(app: &App, executor: &PodRef, version: &str, node: &str) -> Result<(), Failure> {
    let api = pods::<k8s_openapi::api::core::v1::Pod>(app, &executor.namespace);
    let pod = within(term(app)?, api.get(&executor.name))
        .await
        .map_err(|error| request_failed("read", &error))?;
    if pod.metadata.uid.as_ref() != Some(&executor.uid) {
        return Err(Failure::Gone);
    }
    let affinity = pod
        .spec
        .and_then(|spec| spec.affinity)
        .and_then(|affinity| affinity.node_affinity);
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution);
    let terms = pinned(required.map(|selector| selector.node_selector_terms), node);
    let patch = json!({
        "metadata": { "uid": executor.uid, "resourceVersion": version },
        "spec": {
            "schedulingGates": null,
            "affinity": { "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms },
            } },
        },
    });
    change(app, executor, &patch).await
}

/// The pod's own terms, each with the node's name added; terms are alternatives, so one without it would widen the
/// choice. A term that names nodes already is left: two names in one term contradict each other.
fn pinned(own: Option<Vec<NodeSelectorTerm>>, node: &str) -> Vec<NodeSelectorTerm> {
    let rule = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let mut terms = own.unwrap_or_default();
    if terms.is_empty() {
        terms.push(NodeSelectorTerm::default());
    }
    for term in &mut terms {
        let fields = term.match_fields.get_or_insert_default();
        if fields.is_empty() {
            fields.push(rule.clone());
        }
    }
    terms
}

/// Patches a pod and shows the planner what came of it, before the watch does.
async fn change(app: &App, pod: &PodRef, merge: &serde_json::Value) -> Result<(), Failure> {
    let api = pods::<object::Pod>(app, &pod.namespace);
    let changed = patch::merge(&api, &pod.name, merge, term(app)?)
        .await
        .map_err(|error| patch_failed(&error))?;
    show(app, changed);
    Ok(())
}

fn show(app: &App, pod: object::Pod) {
    if let Ok((pod, _warnings)) = convert::pod(pod) {
        app.planner(|planner, now_ms| planner.apply_pod(&pod, now_ms));
    }
}

async fn check(app: &App, pod: &PodRef) -> Result<(), Failure> {
    let api = pods::<object::Pod>(app, &pod.namespace);
    let found = within(app.limits.order_deadline, api.get_opt(&pod.name)).await;
    let found = found.map_err(|error| request_failed("read", &error))?;
    let found = found.filter(|found| found.metadata.uid.as_ref() == Some(&pod.uid));
    let found = found
        .and_then(|found| convert::pod(found).ok())
        .map(|(found, _warnings)| found);
    app.planner(|planner, now_ms| planner.checked(&pod.uid, found.as_ref(), now_ms));
    Ok(())
}

async fn delete(app: &App, pod: &PodRef, parameters: &DeleteParams) -> Result<(), Failure> {
    let preconditions = Preconditions {
        uid: Some(pod.uid.clone()),
        resource_version: None,
    };
    let parameters = parameters.clone().preconditions(preconditions);
    let api = pods::<object::Pod>(app, &pod.namespace);
    match within(term(app)?, api.delete(&pod.name, &parameters)).await {
        Ok(_) => Ok(()),
        // 409: another has its name now.
        Err(error) if matches!(error.status(), Some(404 | 409)) => Err(Failure::Gone),
        Err(error) => Err(request_failed("delete", &error)),
    }
}

fn patch_failed(error: &patch::Error) -> Failure {
    match error {
        patch::Error::Changed(_) => Failure::Conflict,
        patch::Error::Gone(_) => Failure::Gone,
        patch::Error::Request { source, .. } => request_failed("patch", source),
    }
}

fn told(what: &'static str, error: &demand::Error) -> Failure {
    request_failed(what, &error.source)
}

fn request_failed(what: &'static str, error: &RequestError) -> Failure {
    tracing::warn!(what, error = logging::chain(error), "failed to carry out an order");
    match error.status() {
        Some(404) => Failure::Gone,
        Some(409) => Failure::Conflict,
        Some(code) if code < 500 => Failure::Refused,
        _ => Failure::Unknown,
    }
}

/// An event that a gang has its plan.
pub(crate) fn planned_note(driver: &PodRef, plan: &GangPlan) -> Note {
    let mut nodes: Vec<&str> = plan
        .executors
        .iter()
        .map(|(node, _)| node.as_str())
        .chain([&*plan.driver])
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    Note {
        namespace: driver.namespace.clone(),
        pod: driver.name.clone(),
        uid: driver.uid.clone(),
        severity: Severity::Normal,
        reason: "GangPlanned",
        action: "Plan",
        text: format!(
            "room for the driver and {} executors is kept on {} nodes",
            plan.executor_count(),
            nodes.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_crossed_with_the_pods_own_terms() {
        let pin = json!([{ "key": "metadata.name", "operator": "In", "values": ["n1"] }]);
        let terms = |own| serde_json::to_value(pinned(own, "n1")).unwrap();
        assert_eq!(terms(None), json!([{ "matchFields": pin }]));
        assert_eq!(terms(Some(vec![])), json!([{ "matchFields": pin }]));
        let own = json!([
            { "matchExpressions": [{ "key": "zone", "operator": "Exists" }] },
            { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n9"] }] },
        ]);
        let crossed = terms(Some(serde_json::from_value(own.clone()).unwrap()));
        assert_eq!(crossed[0]["matchFields"], pin);
        assert_eq!(crossed[0]["matchExpressions"], own[0]["matchExpressions"]);
        assert_eq!(crossed[1], own[1]);
    }
}
