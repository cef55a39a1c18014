//! How long whoever has submitted a driver waits for it to run.

use kompass_core::names::START_WITHIN_ANNOTATION;

use crate::role::DriverPod;
use crate::{json, units};

/// Label on the drivers of the Apache Spark operator.
const APACHE_OPERATOR_LABEL: &str = "spark.operator/spark-app-name";
/// It gives up a driver that does not run by then, unless told otherwise (`driverStartTimeoutMillis`).
const OPERATOR_WAITS_MS: u64 = 300_000;

/// How long after its creation the driver has to run, milliseconds; `None`: it may wait for ever. Its owner's word counts
/// before what is known of operators. Less than an operator's usual time is not believed: it would be a way to the front
/// of all queues.
pub(crate) fn start_within_ms(driver: &DriverPod<'_>) -> Option<u64> {
    let told = json::annotation(driver.json(), START_WITHIN_ANNOTATION).and_then(units::milliseconds);
    match told {
        Some(0) => None,
        Some(told_ms) => Some(told_ms.max(OPERATOR_WAITS_MS)),
        None => driver.label(APACHE_OPERATOR_LABEL).map(|_| OPERATOR_WAITS_MS),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operators_patience_is_known_and_its_owners_word_counts_first() {
        for (label, annotation, expected) in [
            (None, None, None),
            (Some("spark.operator/spark-app-name"), None, Some(300_000)),
            (Some("sparkoperator.k8s.io/app-name"), None, None),
            (None, Some("10m"), Some(600_000)),
            (Some("spark.operator/spark-app-name"), Some("1h"), Some(3_600_000)),
            (Some("spark.operator/spark-app-name"), Some("0"), None),
            (Some("spark.operator/spark-app-name"), Some("soon"), Some(300_000)),
            (None, Some("soon"), None),
            (None, Some("1s"), Some(300_000)),
        ] {
            let mut pod = json!({
                "metadata": {"name": "d", "labels": {"spark-role": "driver"}, "annotations": {}},
                "spec": {"containers": [{"args": ["driver"]}]},
            });
            if let Some(label) = label {
                pod["metadata"]["labels"][label] = json!("app");
            }
            if let Some(annotation) = annotation {
                pod["metadata"]["annotations"][START_WITHIN_ANNOTATION] = json!(annotation);
            }
            let driver = DriverPod::from_json(&pod).unwrap();
            assert_eq!(start_within_ms(&driver), expected, "{label:?} {annotation:?}");
        }
    }
}
