//! The job of an executor in client mode: there is no driver pod to read it from.

use serde_json::Value;

use super::{Level, key, owner_of};
use crate::json;
use crate::role::is_stamp;

/// The key of an executor in client mode: of the owner's name where a workflow tool labelled it, else of the application's
/// name and the service account. `None` where the pod tells no name.
///
/// Many notebooks have the name of their tool; what is told apart by it is rough.
pub fn of_client(namespace: &str, executor: &Value) -> Option<String> {
    let label = |name: &str| json::label(executor, name);
    if let Some(owner) = super::OWNERS.iter().find_map(|labels| owner_of(label, labels)) {
        return Some(key(namespace, Level::Own, &owner, &["client", "owner", &owner]));
    }
    let name = label("spark-app-name").or_else(|| name_in(json::text(executor, "/metadata/name")?))?;
    let name = super::stable(name);
    let account = json::text(executor, "/spec/serviceAccountName").unwrap_or_default();
    (!name.is_empty()).then(|| key(namespace, Level::Own, &name, &["client", "application", &name, account]))
}

/// The application's name in the name of an executor: `<name>-<stamp>-exec-<number>`.
fn name_in(pod: &str) -> Option<&str> {
    let (head, number) = pod.rsplit_once("-exec-")?;
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let (name, stamp) = head.rsplit_once('-').unwrap_or((head, ""));
    let name = if is_stamp(stamp) { name } else { head };
    is_number.then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, labels: &[(&str, &str)], account: &str) -> Value {
        let labels: serde_json::Map<_, _> = labels
            .iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect();
        json!({"metadata": {"name": name, "labels": labels}, "spec": {"serviceAccountName": account}})
    }

    fn of(name: &str, labels: &[(&str, &str)]) -> String {
        of_client("a", &pod(name, labels, "spark")).unwrap()
    }

    #[test]
    fn two_runs_are_the_same_job() {
        let (first, second) = ("etl-0123456789abcdef-exec-1", "etl-fedcba9876543210-exec-12");
        assert_eq!(of(first, &[]), of(second, &[]));
        assert_eq!(of("etl-1795419633663-exec-1", &[]), of(second, &[]));
        assert!(of(first, &[]).starts_with("etl-"));
        let label = |name| [("spark-app-name", name)];
        assert_eq!(
            of("x", &label("report-2026-11-29")),
            of("y", &label("report-2026-11-30"))
        );
    }

    #[test]
    fn jobs_are_told_apart() {
        let labels = [("spark-app-name", "etl")];
        let base = of("x", &labels);
        assert_ne!(base, of("x", &[("spark-app-name", "report")]));
        assert_ne!(base, of_client("b", &pod("x", &labels, "spark")).unwrap());
        assert_ne!(base, of_client("a", &pod("x", &labels, "other")).unwrap());
        let task = |task| {
            [
                ("spark-app-name", "arrow-spark"),
                ("dag_id", "daily"),
                ("task_id", task),
            ]
        };
        assert_ne!(of("x", &task("load")), of("x", &task("clean")));
        assert!(of("x", &task("load")).starts_with("daily-load-"));
    }

    #[test]
    fn a_pod_without_a_name_has_no_key() {
        for name in ["", "etl", "etl-exec-", "etl-exec-x", "-exec-1"] {
            assert_eq!(of_client("a", &pod(name, &[], "spark")), None, "{name:?}");
        }
        assert_eq!(of_client("a", &json!({"metadata": 7})), None);
    }

    proptest! {
        #[test]
        fn every_key_is_the_value_of_a_label(name in ".{0,80}", app in ".{0,80}", account in ".{0,20}") {
            let pod = pod(&name, &[("spark-app-name", &app)], &account);
            if let Some(key) = of_client("ns", &pod) {
                prop_assert!(key.len() <= 63 && !key.starts_with('-'));
                prop_assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
        }
    }
}
