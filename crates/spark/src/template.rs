//! The executors' pod template, and the executor pod that Spark builds of it.

use serde_json::{Map, Value};

use crate::json;

/// Longer templates are not read; no ConfigMap holds more.
const MAX_BYTES: usize = 1024 * 1024;

/// Why a template was not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Larger than any ConfigMap.
    #[error("failed to read the executor pod template: longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not the YAML of an object. The parser's own words are left out: they would quote the text.
    #[error("failed to read the executor pod template: not the YAML of a pod")]
    Malformed,
}

/// Reads a template (YAML, or JSON, which is YAML).
pub fn parse(text: &str) -> Result<Value, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLong);
    }
    let value: Value = serde_saphyr::from_str(text).map_err(|_| Error::Malformed)?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Error::Malformed)
    }
}

/// The resources of the container that runs Spark.
#[derive(Debug, Clone, Default)]
pub(crate) struct SparkResources {
    /// What Spark sets in `requests`, by resource name.
    pub(crate) requests: Vec<(String, Value)>,
    /// What Spark sets in `limits`, by resource name.
    pub(crate) limits: Vec<(String, Value)>,
}

/// The executor pod that Spark makes of a template, as far as it decides about placement: Spark's amounts stand over
/// the template's in Spark's own container, all else of the template stays.
///
/// Spark's container is the one with the name in `spark.kubernetes.executor.podTemplateContainerName`, else the first,
/// else a new one. Returned is also whether a name was given that no container has.
pub(crate) fn executor(template: Value, container: Option<&str>, resources: SparkResources) -> (Value, bool) {
    let mut pod = template;
    let spec = object(object(&mut pod).entry("spec").or_insert(Value::Null));
    let containers = spec.entry("containers").or_insert(Value::Null);
    if containers.as_array().is_none_or(Vec::is_empty) {
        *containers = Value::Array(vec![Value::Object(Map::new())]);
    }
    let named = container.and_then(|name| {
        json::list(containers, "")
            .iter()
            .position(|container| json::text(container, "/name") == Some(name))
    });
    if let Some(spark) = containers.get_mut(named.unwrap_or(0)) {
        let own = object(object(spark).entry("resources").or_insert(Value::Null));
        object(own.entry("requests").or_insert(Value::Null)).extend(resources.requests);
        object(own.entry("limits").or_insert(Value::Null)).extend(resources.limits);
    }
    (pod, container.is_some() && named.is_none())
}

/// The value as an object, made one if it is something else.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object just before")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn spark() -> SparkResources {
        SparkResources {
            requests: vec![("cpu".into(), json!("2")), ("memory".into(), json!("1Gi"))],
            limits: vec![("memory".into(), json!("1Gi"))],
        }
    }

    #[test]
    fn sparks_amounts_stand_over_the_templates_and_the_rest_stays() {
        let template = parse(
            "spec:\n  containers:\n  - name: sidecar\n    resources: {requests: {cpu: 1}}\n  - name: mine\n    \
             resources: {requests: {cpu: 100m, ephemeral-storage: 5Gi}, limits: {cpu: 3}}\n",
        );
        let template = template.unwrap();
        let (pod, missing) = executor(template.clone(), Some("mine"), spark());
        assert!(!missing);
        assert_eq!(
            pod.pointer("/spec/containers/1/resources"),
            Some(&json!({
                "requests": {"cpu": "2", "memory": "1Gi", "ephemeral-storage": "5Gi"},
                "limits": {"cpu": 3, "memory": "1Gi"},
            }))
        );
        assert_eq!(
            pod.pointer("/spec/containers/0/resources"),
            Some(&json!({"requests": {"cpu": 1}}))
        );

        let (pod, missing) = executor(template, Some("other"), spark());
        assert!(missing);
        assert_eq!(
            pod.pointer("/spec/containers/0/resources/requests/cpu"),
            Some(&json!("2"))
        );
    }

    #[test]
    fn odd_templates_still_make_a_pod_with_one_spark_container() {
        for template in [
            json!({}),
            json!({"spec": 1}),
            json!({"spec": {"containers": {}}}),
            json!({"spec": {"containers": []}}),
        ] {
            let (pod, missing) = executor(template.clone(), None, spark());
            assert!(!missing);
            assert_eq!(
                pod.pointer("/spec/containers/0/resources/requests/cpu"),
                Some(&json!("2")),
                "{template}"
            );
        }
    }

    #[test]
    fn what_is_no_pod_is_refused_without_quoting_it() {
        for text in ["", "- 1", "secret", "a: [", "\t"] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, Error::Malformed), "{text}");
            assert!(!error.to_string().contains("secret"));
        }
        assert!(matches!(parse(&"#".repeat(MAX_BYTES + 1)), Err(Error::TooLong)));
    }

    #[test]
    fn nested_aliases_do_not_blow_up() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            writeln!(text, "a{level}: &a{level} [{below}]").unwrap();
        }
        assert!(matches!(parse(&text), Err(Error::Malformed)));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z:\\-{}\\[\\]\"'&*!|> \n]{0,80}") {
            if let Ok(template) = parse(&text) {
                let _ = executor(template, Some("a"), SparkResources::default());
            }
        }
    }
}
