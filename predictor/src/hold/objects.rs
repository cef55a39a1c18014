//! The objects that hold nodes, as JSON. Pure.

use jiff::Timestamp;
use kompass_core::resources::MIB;
use kompass_core::{Resources, names};
use kompass_kube::{buffers, pause};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Limits, Owner, Part};

/// How long an ended Job is kept for a look at it.
const KEPT_S: i64 = 60;

/// What is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name of its objects.
    pub name: String,
    /// For what.
    pub part: Part,
    /// How many nodes.
    pub nodes: u32,
    /// Until when.
    pub expires_ms: i64,
    /// Since when it is there, if it is.
    pub created_ms: Option<i64>,
}

/// The name of what holds nodes for a part. Another shape has another name: pods of a Job can't be changed.
pub fn name(part: &Part, limits: &Limits) -> String {
    let spec = pause::constrained(&limits.image, &requests(limits), &limits.constraints);
    format!("headroom-{}-{}", part.label(), digest(&format!("{part}|{spec}")))
}

/// What one pod of an empty node's size requests.
pub fn requests(limits: &Limits) -> Resources {
    Resources::from_mib(limits.shape.cpu_milli(), limits.shape.memory_mib())
}

/// The template of a buffer's pods, one for each empty node. No priority class: the autoscaler gives its own.
pub fn pod_template(target: &Target, limits: &Limits, owner: Option<&Owner>) -> Value {
    let spec = pause::constrained(&limits.image, &requests(limits), &limits.constraints);
    let mut object = object("v1", "PodTemplate", target, owner);
    object["template"] = json!({ "metadata": { "labels": labels(&target.part) }, "spec": spec });
    object
}

/// A buffer of so many pods of the template of the same name. Which strategy is the default has another name in each
/// version, so none is named.
pub fn buffer(target: &Target, limits: &Limits, owner: Option<&Owner>, version: &str) -> Value {
    let most = u64::from(limits.nodes_max);
    let (cpu_milli, memory_mib) = (limits.shape.cpu_milli(), limits.shape.memory_mib());
    let mut object = object(version, buffers::KIND, target, owner);
    object["spec"] = json!({
        "podTemplateRef": { "name": target.name },
        "replicas": target.nodes,
        // Whoever else changes the number can't go beyond.
        "limits": {
            "cpu": format!("{}m", cpu_milli.saturating_mul(most)),
            "memory": memory_mib.saturating_mul(MIB).saturating_mul(most).to_string(),
        },
    });
    object
}

/// A Job of so many pause pods, one for each empty node. Its deadline counts from its start, so that it ends with the stamp.
pub fn job(target: &Target, limits: &Limits, owner: Option<&Owner>, now_ms: i64) -> Value {
    let lives_ms = target.expires_ms - target.created_ms.unwrap_or(now_ms);
    let mut object = object("batch/v1", "Job", target, owner);
    object["spec"] = json!({
        // Without a number of completions: only then may the parallelism be changed later.
        "parallelism": target.nodes,
        // Nothing runs in them, so nothing fails; but a pod that somebody deletes must not end the others.
        "backoffLimit": 1_000_000,
        "activeDeadlineSeconds": (lives_ms / 1_000).max(1),
        "ttlSecondsAfterFinished": KEPT_S,
        "template": {
            "metadata": { "labels": labels(&target.part) },
            "spec": pause::stand_in(&limits.image, &requests(limits), &limits.constraints),
        },
    });
    object
}

/// The stamp in milliseconds since 1970, if it can be read.
pub fn expires_ms(stamp: Option<&String>) -> Option<i64> {
    Some(stamp?.parse::<Timestamp>().ok()?.as_millisecond())
}

fn object(api_version: &str, kind: &str, target: &Target, owner: Option<&Owner>) -> Value {
    let mut object = json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": target.name,
            "labels": labels(&target.part),
            "annotations": {
                names::HEADROOM_FOR_ANNOTATION: target.part.to_string(),
                names::EXPIRES_ANNOTATION: stamp(target.expires_ms),
            },
        },
    });
    if let Some(owner) = owner {
        // With the Deployment goes what it has held, also where nobody is left to release it.
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "Deployment", "name": owner.name, "uid": owner.uid,
        }]);
    }
    object
}

fn labels(part: &Part) -> Value {
    json!({
        names::HEADROOM_LABEL: part.label(),
        "app.kubernetes.io/managed-by": "kompass",
        "app.kubernetes.io/component": "headroom",
    })
}

/// In whole seconds.
fn stamp(ms: i64) -> String {
    Timestamp::from_second(ms.div_euclid(1_000))
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// A short name for a text: 12 hexadecimal digits.
fn digest(text: &str) -> String {
    use std::fmt::Write as _;
    let mut name = String::new();
    for byte in Sha256::digest(text.as_bytes()).iter().take(6) {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}
