//! The policy that guards what KOMPASS writes on pods, and its binding, as JSON. Pure.

use kompass_core::names;
use serde_json::{Value, json};

use super::manifests::{NAME, Settings, metadata};

const PLAN: &str = names::PLAN_ANNOTATION;
const PROFILE: &str = names::PROFILE_ANNOTATION;

/// The `ValidatingAdmissionPolicy`: plans, profiles and gang labels can't be forged.
///
/// It touches only requests of others than KOMPASS's about pods that have one of these, so that it may fail closed. Its
/// own webhook strips them at creation; what is still there came past it. An executor is never refused at its
/// creation, as Spark 4.2 and later end the job then: its label counts only beside the right owner, and its plan never.
pub fn policy(settings: &Settings) -> Value {
    let writers = serde_json::to_string(&settings.writers).expect("a list of texts is JSON");
    let annotated = format!(
        "({} || {})",
        has("object", "annotations", PLAN),
        has("object", "annotations", PROFILE)
    );
    let was_annotated = format!(
        "({} || {})",
        has("oldObject", "annotations", PLAN),
        has("oldObject", "annotations", PROFILE)
    );
    let labelled = has("object", "labels", names::GANG_LABEL);
    let was_labelled = has("oldObject", "labels", names::GANG_LABEL);
    // Not a Binding, which may carry any label.
    let executor = "request.kind.kind == 'Pod' && has(object.metadata.labels) && 'spark-role' in object.metadata.labels && \
                    object.metadata.labels['spark-role'] == 'executor'";
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": metadata(settings),
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": [{
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    // A write of the status changes annotations too, and those of a Binding are copied to the pod.
                    "resources": ["pods", "pods/status", "pods/resize", "pods/ephemeralcontainers", "pods/binding"],
                    "scope": "Namespaced",
                }],
            },
            "matchConditions": [
                { "name": "not-kompass", "expression": format!("!(request.userInfo.username in {writers})") },
                {
                    "name": "has-a-field-of-kompass",
                    "expression": format!(
                        "request.operation == 'CREATE' ? {annotated} : \
                         ({annotated} || {was_annotated} || {labelled} || {was_labelled})"
                    ),
                },
            ],
            "validations": [
                {
                    "expression": format!("request.operation != 'CREATE' || ({executor})"),
                    "message": format!("a pod cannot be created or bound with the annotations {PLAN} or {PROFILE} by others than kompass"),
                    "reason": "Forbidden",
                },
                unchanged("annotations", PLAN),
                unchanged("annotations", PROFILE),
                unchanged("labels", names::GANG_LABEL),
            ],
        },
    })
}

/// The binding that puts the policy into effect.
pub fn policy_binding(settings: &Settings) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": metadata(settings),
        "spec": { "policyName": NAME, "validationActions": ["Deny"] },
    })
}

/// CEL: the object has that label or annotation.
fn has(object: &str, field: &str, key: &str) -> String {
    let guard = if object == "oldObject" {
        "oldObject != null && "
    } else {
        ""
    };
    format!("({guard}has({object}.metadata.{field}) && '{key}' in {object}.metadata.{field})")
}

/// The rule that an update leaves a label or annotation as it is: absent, or with the same value.
fn unchanged(field: &str, key: &str) -> Value {
    let (now, before) = (has("object", field, key), has("oldObject", field, key));
    json!({
        "expression": format!(
            "request.operation != 'UPDATE' || ({now} ? \
             ({before} && object.metadata.{field}['{key}'] == oldObject.metadata.{field}['{key}']) : !{before})"
        ),
        "message": format!("{key} is written by KOMPASS only"),
        "reason": "Forbidden",
    })
}
