//! API objects to KOMPASS's vocabulary.

mod constraints;
mod namespace;
mod peers;
mod quota;
mod requests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kompass_core::cluster::{Taint, TaintEffect};
use kompass_core::{GangPlan, JobProfile, Node, Outcome, Phase, Pod, Resources, Role, names, quantity};

pub use self::namespace::{Namespace, namespace};
pub use self::quota::{Amounts, Quota, quota};
pub use self::requests::pod_requests;
use crate::object;

/// Why an object could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An amount is not a number.
    #[error("failed to read the amount of {resource}")]
    Quantity {
        /// The resource's name.
        resource: String,
        /// What is wrong.
        #[source]
        source: quantity::Error,
    },
    /// A selector with an operator that Kubernetes does not have.
    #[error("failed to read a node selector: unknown operator {0:?}")]
    Operator(String),
    /// Not one of the effects of taints.
    #[error("failed to read a taint or toleration: unknown effect {0:?}")]
    Effect(String),
    /// The object lacks a field that every object from the API server has.
    #[error("failed to read the object: no {0}")]
    Missing(&'static str),
    /// Not the JSON of such an object.
    #[error("failed to read the object's JSON")]
    Json(#[source] serde_json::Error),
}

/// Something ignored in an object because it can't be read, in words for its owner.
pub type Warning = String;

/// A pod, with warnings for annotations of KOMPASS that can't be read (these are then `None`) and for rules about nodes
/// that this code does not know.
///
/// A pod under admission has no UID yet: it comes out empty.
pub fn pod(pod: object::Pod) -> Result<(Pod, Vec<Warning>), Error> {
    let requests = requests::pod_requests(&pod)?;
    let ended = ended(&pod);
    let started_ms = spark_status(&pod).and_then(started_ms);
    let owner_pod_uid = owner_uid(&pod.metadata, "v1", "Pod");
    // Spark's allocators `statefulset` and `deployment` stand between the driver and its executors.
    let is_allocated = ["StatefulSet", "ReplicaSet"]
        .iter()
        .any(|kind| owner_uid(&pod.metadata, "apps/v1", kind).is_some());
    let daemon_set = owner_uid(&pod.metadata, "apps/v1", "DaemonSet");
    let object::Pod { metadata, spec, status } = pod;
    let mut warnings = Vec::new();
    let annotation = |name: &str| metadata.annotations.as_ref().and_then(|all| all.get(name));
    let profile = annotation(names::PROFILE_ANNOTATION).and_then(|text| {
        read(
            names::PROFILE_ANNOTATION,
            JobProfile::from_annotation(text),
            &mut warnings,
        )
    });
    let plan = annotation(names::PLAN_ANNOTATION)
        .and_then(|text| read(names::PLAN_ANNOTATION, GangPlan::from_annotation(text), &mut warnings));
    let labels = metadata.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).cloned();
    let role = match labels.get(names::SPARK_ROLE_LABEL).map(String::as_str) {
        Some("driver") => Some(Role::Driver),
        Some("executor") => Some(Role::Executor),
        _ => None,
    };
    let gang_label = label(names::GANG_LABEL);
    let allocated_for = gang_label
        .clone()
        .filter(|_| role == Some(Role::Executor) && owner_pod_uid.is_none() && is_allocated);
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().filter(|c| c.is_sidecar()));
    let host_ports = containers
        .flat_map(|c| &c.ports)
        .filter_map(|port| u16::try_from(port.host_port).ok())
        .filter(|&port| port > 0)
        .collect();
    let object::Affinity {
        node_affinity,
        pod_affinity,
        pod_anti_affinity,
    } = spec.affinity;
    let constraints = constraints::constraints(spec.node_selector, node_affinity, spec.tolerations, &mut warnings);
    let namespace = metadata.namespace.unwrap_or_default();
    let pod_rules = peers::rules(pod_affinity, pod_anti_affinity, &namespace);
    let converted = Pod {
        uid: metadata.uid.unwrap_or_default(),
        namespace,
        name: metadata.name.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        created_ms: metadata.creation_timestamp.as_ref().map_or(0, millis),
        deleting: metadata.deletion_timestamp.is_some(),
        node: (!spec.node_name.is_empty()).then_some(spec.node_name),
        phase: phase(&status.phase),
        scheduler: spec.scheduler_name,
        gates: spec.scheduling_gates.into_iter().map(|gate| gate.name).collect(),
        priority: spec.priority.unwrap_or(0),
        requests,
        host_ports,
        constraints,
        pod_rules,
        role,
        owner_pod_uid: owner_pod_uid.or(allocated_for),
        app_selector: role.and_then(|_| label(names::SPARK_APP_SELECTOR_LABEL)),
        daemon_set,
        executor_id: label(names::SPARK_EXECUTOR_ID_LABEL),
        resource_profile_id: label(names::SPARK_RESOURCE_PROFILE_LABEL),
        gang_label,
        queue: label(names::QUEUE_LABEL),
        profile_key: label(names::PROFILE_KEY_LABEL),
        stand_in_for: label(names::STAND_IN_LABEL),
        marker_for: label(names::MARKER_LABEL),
        profile,
        plan,
        ended,
        started_ms,
        labels,
    };
    Ok((converted, warnings))
}

/// A pod in the full type of `k8s_openapi`; slower than [`pod`], for places that hold one anyway.
pub fn full_pod(full: &k8s_openapi::api::core::v1::Pod) -> Result<(Pod, Vec<Warning>), Error> {
    let json = serde_json::to_value(full).map_err(Error::Json)?;
    pod(serde_json::from_value(json).map_err(Error::Json)?)
}

/// A node.
pub fn node(node: object::Node) -> Result<Node, Error> {
    let object::Node { metadata, spec, status } = node;
    let mut allocatable = Resources::default();
    let mut max_pods = 0;
    for (name, amount) in &status.allocatable {
        if name == "pods" {
            max_pods = units(name, amount)?;
        } else {
            requests::set(&mut allocatable, name, amount)?;
        }
    }
    let taints = spec.taints.into_iter().map(|taint| {
        let effect = effect(&taint.effect)?.ok_or_else(|| Error::Effect(taint.effect.clone()))?;
        Ok(Taint {
            key: taint.key,
            value: taint.value,
            effect,
        })
    });
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    Ok(Node {
        name: metadata.name.ok_or(Error::Missing("name"))?,
        labels: metadata.labels.unwrap_or_default(),
        taints: taints.collect::<Result<_, _>>()?,
        allocatable,
        max_pods,
        cordoned: spec.unschedulable,
        ready: ready.is_some_and(|condition| condition.status == "True"),
        deleting: metadata.deletion_timestamp.is_some(),
        created_ms: metadata.creation_timestamp.as_ref().map_or(0, millis),
        ready_changed_ms: ready
            .and_then(|condition| condition.last_transition_time.millisecond())
            .unwrap_or(0),
        provider_id: spec.provider_id,
    })
}

fn units(resource: &str, amount: &object::Quantity) -> Result<u64, Error> {
    quantity::units(&amount.0).map_err(|source| Error::Quantity {
        resource: resource.to_owned(),
        source,
    })
}

/// `None`: no effect named, which a toleration may have.
fn effect(text: &str) -> Result<Option<TaintEffect>, Error> {
    Ok(Some(match text {
        "" => return Ok(None),
        "NoSchedule" => TaintEffect::NoSchedule,
        "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
        "NoExecute" => TaintEffect::NoExecute,
        _ => return Err(Error::Effect(text.to_owned())),
    }))
}

fn phase(text: &str) -> Phase {
    match text {
        "Running" => Phase::Running,
        "Succeeded" => Phase::Succeeded,
        "Failed" => Phase::Failed,
        // `Unknown` is not written any more; a pod in it may still hold its room, which is what Pending says too.
        _ => Phase::Pending,
    }
}

fn read<T, E: std::error::Error>(name: &str, result: Result<T, E>, warnings: &mut Vec<Warning>) -> Option<T> {
    result
        .map_err(|error| warnings.push(format!("the annotation {name} is ignored: {}", chain(&error))))
        .ok()
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// UID of the controller that owns the object, if it is of this kind.
fn owner_uid(metadata: &ObjectMeta, api_version: &str, kind: &str) -> Option<String> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let controller = owners.iter().find(|owner| owner.controller == Some(true))?;
    (controller.kind == kind && controller.api_version == api_version).then(|| controller.uid.clone())
}

/// The status of the container that runs Spark, known by its first argument: sidecars may stand before it, and its
/// name can be changed by a pod template.
fn spark_status(pod: &object::Pod) -> Option<&object::ContainerStatus> {
    let is_spark = |container: &&object::Container| {
        matches!(
            container.args.first().map(String::as_str),
            Some("driver" | "driver-py" | "driver-r" | "executor")
        )
    };
    let spark = pod.spec.containers.iter().find(is_spark)?;
    pod.status
        .container_statuses
        .iter()
        .find(|status| status.name == spark.name)
}

fn started_ms(status: &object::ContainerStatus) -> Option<i64> {
    let running = status.state.running.as_ref().map(|running| running.started_at);
    let terminated = || status.state.terminated.as_ref().map(|terminated| terminated.started_at);
    running.or_else(terminated)?.millisecond().filter(|&ms| ms > 0)
}

fn ended(pod: &object::Pod) -> Option<(Outcome, i64)> {
    let outcome = |succeeded: bool| if succeeded { Outcome::Succeeded } else { Outcome::Failed };
    let whole = match pod.status.phase.as_str() {
        "Succeeded" => Some(Outcome::Succeeded),
        "Failed" => Some(Outcome::Failed),
        _ => None,
    };
    if let Some(terminated) = spark_status(pod).and_then(|status| status.state.terminated.as_ref()) {
        // A container that will be started again has not ended Spark.
        let for_good = match pod.spec.restart_policy.as_str() {
            "Never" => true,
            "OnFailure" => terminated.exit_code == 0,
            _ => false,
        };
        if for_good || whole.is_some() {
            return Some((outcome(terminated.exit_code == 0), end_ms(pod, Some(terminated))));
        }
    }
    // Evicted or lost: there may be no status of any container.
    whole.map(|outcome| (outcome, end_ms(pod, None)))
}

/// When the pod ended: its Spark container's end, else the last end of any container, else the last change of a
/// condition, else its creation.
fn end_ms(pod: &object::Pod, spark: Option<&object::Terminated>) -> i64 {
    let finished = |terminated: &object::Terminated| terminated.finished_at.millisecond().filter(|&ms| ms > 0);
    let statuses = pod.status.container_statuses.iter();
    let conditions = pod.status.conditions.iter();
    spark
        .and_then(finished)
        .or_else(|| {
            statuses
                .filter_map(|status| status.state.terminated.as_ref().and_then(finished))
                .max()
        })
        .or_else(|| {
            conditions
                .filter_map(|condition| condition.last_transition_time.millisecond())
                .max()
        })
        .or_else(|| pod.metadata.creation_timestamp.as_ref().map(millis))
        .unwrap_or(0)
}

fn millis(time: &Time) -> i64 {
    time.0.as_millisecond()
}

impl object::Container {
    /// Whether it is an init container that runs beside the containers.
    fn is_sidecar(&self) -> bool {
        self.restart_policy == "Always"
    }
}

#[cfg(test)]
mod tests;
