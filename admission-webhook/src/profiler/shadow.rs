//! Which drivers are looked at in shadow mode: those that KOMPASS would have taken, each once.

use kompass_core::{Pod, Role};
use rustc_hash::FxHashSet;
use serde_json::Value;

use crate::admit::{self, Outcome, Rules};
use crate::patch::get;

/// What has been told of already.
#[derive(Debug)]
pub(super) struct Shadow {
    rules: Rules,
    /// UIDs.
    told: FxHashSet<String>,
}

impl Shadow {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            told: FxHashSet::default(),
        }
    }

    /// Whether the pod is worth a look. It may run already: nothing holds it until its configuration is there.
    pub(super) fn wants(&mut self, pod: &Pod) -> bool {
        let lives = pod.role == Some(Role::Driver) && !pod.deleting && !pod.is_terminal();
        if !lives {
            self.told.remove(&pod.uid);
        }
        lives && self.rules.places(&pod.scheduler) && !self.told.contains(&pod.uid)
    }

    /// Takes over that nothing more is to be told of a driver.
    pub(super) fn told(&mut self, uid: &str) {
        self.told.insert(uid.to_owned());
    }

    /// Takes over that a pod is gone.
    pub(super) fn remove(&mut self, uid: &str) {
        self.told.remove(uid);
    }
}

/// Whether KOMPASS would have taken the driver `pod`, as it was at its creation as far as can be told.
pub(super) fn is_meant(pod: &Value, uid: &str, rules: &Rules) -> bool {
    let mut created = pod.clone();
    if let Some(spec) = created.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("nodeName");
    }
    get(pod, &["metadata", "uid"]).is_some_and(|known| known == uid)
        && get(pod, &["metadata", "deletionTimestamp"]).is_none()
        && admit::driver(created, "", rules).outcome == Outcome::Gated
}

#[cfg(test)]
mod tests {
    use kompass_core::cluster::Phase;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_driver_is_told_of_once_and_forgotten_at_its_end() {
        let mut shadow = Shadow::new(Rules::default());
        let driver = Pod {
            uid: "u".into(),
            role: Some(Role::Driver),
            scheduler: "default-scheduler".into(),
            node: Some("n1".into()),
            ..Pod::default()
        };
        assert!(shadow.wants(&driver));
        shadow.told("u");
        assert!(!shadow.wants(&driver));
        let ended = Pod {
            phase: Phase::Succeeded,
            ..driver.clone()
        };
        assert!(!shadow.wants(&ended));
        assert!(shadow.told.is_empty());
        let executor = Pod {
            role: Some(Role::Executor),
            ..driver.clone()
        };
        let foreign = Pod {
            scheduler: "yunikorn".into(),
            ..driver
        };
        assert!(!shadow.wants(&executor) && !shadow.wants(&foreign));
    }

    #[test]
    fn drivers_that_would_be_left_alone_are_not_meant() {
        let pod = |labels: Value| {
            json!({
                "metadata": {"uid": "u", "labels": labels},
                "spec": {"schedulerName": "default-scheduler", "nodeName": "n1"},
            })
        };
        let rules = Rules::default();
        assert!(is_meant(&pod(json!({})), "u", &rules), "its node came later");
        assert!(!is_meant(&pod(json!({})), "v", &rules));
        assert!(!is_meant(&pod(json!({"kompass.dev/enabled": "false"})), "u", &rules));
        assert!(!is_meant(&pod(json!({"volcano.sh/job-name": "j"})), "u", &rules));
    }
}
