//! Asking autoscalers and upgrades not to take a running pod's node away.

use std::time::Duration;

use kompass_core::names;
use serde_json::json;

use crate::patch::{self, Editor};

/// How executors are guarded; drivers always are, since the job ends with its driver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Guard {
    /// Not at all: nodes are given back soonest, and Spark computes again what is lost.
    Never,
    /// For this long after their start, by Karpenter 1.12 and later. Earlier ones take a duration for no guard, and
    /// cluster-autoscaler knows no guard that ends, so that it gets none.
    Young(Duration),
    /// As long as they live.
    #[default]
    Always,
}

/// Writes the guard on a pod. A value of the user's own is respected.
pub(super) fn guard(editor: &mut Editor, guard: Guard) -> Result<(), patch::Error> {
    let (karpenter, autoscaler) = match guard {
        Guard::Never => (None, None),
        Guard::Young(limit) => (Some(format!("{}s", limit.as_secs())), None),
        Guard::Always => (Some("true".to_owned()), Some("false".to_owned())),
    };
    for (annotation, value) in [
        (names::KARPENTER_DO_NOT_DISRUPT, karpenter),
        (names::AUTOSCALER_SAFE_TO_EVICT, autoscaler),
    ] {
        let path = ["metadata", "annotations", annotation];
        if let Some(value) = value
            && editor.get(&path).is_none()
        {
            editor.set(&path, json!(value))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::admit::{Gang, Rules, driver, executor};

    fn annotations(pod: &Value, operations: Vec<json_patch::PatchOperation>) -> (Value, Value) {
        let mut pod = pod.clone();
        json_patch::patch(&mut pod, &json_patch::Patch(operations)).unwrap();
        let annotations = &pod["metadata"]["annotations"];
        (
            annotations["karpenter.sh/do-not-disrupt"].clone(),
            annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"].clone(),
        )
    }

    #[test]
    fn executors_are_guarded_as_asked_and_drivers_always() {
        let gang = Gang {
            scheduler: names::SCHEDULER.into(),
            ..Gang::default()
        };
        let none = Value::Null;
        for (guard, expected) in [
            (Guard::Never, (none.clone(), none.clone())),
            (Guard::Young(Duration::from_mins(15)), (json!("900s"), none)),
            (Guard::Always, (json!("true"), json!("false"))),
        ] {
            let rules = Rules {
                guard_executors: guard,
                ..Rules::default()
            };
            let pod = json!({"metadata": {}, "spec": {}});
            let verdict = executor(pod.clone(), Some(&gang), &rules);
            assert_eq!(annotations(&pod, verdict.operations), expected, "{guard:?}");
            let verdict = driver(pod.clone(), "k", &rules);
            assert_eq!(annotations(&pod, verdict.operations), (json!("true"), json!("false")));
        }
    }

    #[test]
    fn a_users_own_guard_stays() {
        let own = json!({"metadata": {"annotations": {
            "karpenter.sh/do-not-disrupt": "false",
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
        }}, "spec": {}});
        let verdict = driver(own.clone(), "k", &Rules::default());
        assert_eq!(annotations(&own, verdict.operations), (json!("false"), json!("true")));
    }
}
