//! The schema of the values: closed, complete, and it says what is wrong.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::helm::{chart, everything, fails, render, text};

/// What is in the schema without a default of its own.
const WITHOUT_DEFAULT: [&str; 2] = ["global", "monitoring.global"];
/// Objects that are the user's own to fill.
const FREE: [&str; 10] = [
    "annotations",
    "commonLabels",
    "externalLabels",
    "labels",
    "podAnnotations",
    "serviceAccountAnnotations",
    "nodeSelector",
    "affinity",
    "resources",
    "global",
];

fn schema() -> Value {
    serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap()
}

fn defaults() -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap()
}

/// Paths of all values that have a default; those of the user's own objects end there.
fn paths_of_values(value: &Value, path: &str, paths: &mut BTreeSet<String>) {
    for (key, below) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        if below.is_object() && !FREE.contains(&key.as_str()) {
            paths_of_values(below, &path, paths);
        } else {
            paths.insert(path);
        }
    }
}

/// The same of the schema, with what is wrong in it.
fn paths_of_schema(schema: &Value, path: &str, paths: &mut BTreeSet<String>, wrong: &mut Vec<String>) {
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        if below["properties"].is_object() {
            if below["additionalProperties"] != false {
                wrong.push(format!("{path} is not closed"));
            }
            paths_of_schema(below, &path, paths, wrong);
        } else {
            if below["description"].as_str().is_none_or(|text| text.len() < 5) {
                wrong.push(format!("{path} has no description"));
            }
            paths.insert(path);
        }
    }
}

#[test]
fn every_value_is_in_the_schema_and_described_and_nothing_else_is() {
    let (mut values, mut described, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    paths_of_values(&defaults(), "", &mut values);
    paths_of_schema(&schema, "", &mut described, &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
    for path in WITHOUT_DEFAULT {
        assert!(described.remove(&format!(".{path}")), "{path}");
    }
    let missing: Vec<_> = values.difference(&described).collect();
    let stale: Vec<_> = described.difference(&values).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "missing: {missing:?}, stale: {stale:?}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_name() {
    let folder = chart();
    let folder = text(&folder).unwrap();
    for (wrong, word) in [
        ("scop=all", "scop"),
        ("scope=some", "scope"),
        ("mode=off", "mode"),
        ("scheduler.replica=2", "replica"),
        ("scheduler.replicas=0", "replicas"),
        ("scheduler.kubeScheduler.image.version=1", "version"),
        ("scheduler.image.digest=latest", "digest"),
        ("scheduler.packing=loose", "packing"),
        ("scheduler.queues[0].weight=2", "name"),
        ("scheduler.queues[0].name=a,scheduler.queues[0].limits.cpu=1", "limits"),
        ("namespaces={Team}", "namespaces"),
        ("shutdown.grace=3", "grace"),
        ("shutdown.drain=1000000000ms", "drain"),
        ("networkPolicy.apiServerCidrs={all}", "apiServerCidrs"),
        ("admissionWebhook.port=443", "port"),
        ("admissionWebhook.metricsPort=443", "metricsPort"),
        ("monitoring.bundled.pullSecrets={a,a}", "pullSecrets"),
        ("predictor.mode=on", "mode"),
        ("predictor.maxNodes=1001", "maxNodes"),
        ("predictor.node.cpuMilli=16777217", "cpuMilli"),
        ("predictor.node.memoryMib=16777217", "memoryMib"),
        ("predictor.node.price=1000001", "price"),
        ("predictor.node.bootSeconds=3601", "bootSeconds"),
        ("predictor.waitPrice=1000001", "waitPrice"),
        ("predictor.nodeHoursPerDay=1000001", "nodeHoursPerDay"),
    ] {
        let said = fails(&["template", "kompass", folder, "--set", wrong]).await.unwrap();
        assert!(said.contains(word) && said.contains("schema"), "{wrong}: {said}");
    }
}

#[tokio::test]
async fn a_parent_chart_may_share_values_of_its_own() {
    render(&["--set", "global.team=data"]).await.unwrap();
}

/// The values with everything on must not miss a switch: each boolean that is off by default is on there.
#[test]
fn everything_is_on_in_the_values_of_the_tests() {
    let read =
        |path: &std::path::Path| -> Value { serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap() };
    let (defaults, everything) = (defaults(), read(&everything()));
    let mut off = Vec::new();
    let mut paths = BTreeSet::new();
    paths_of_values(&defaults, "", &mut paths);
    for path in paths.iter().filter(|path| !path.starts_with(".monitoring.bundled")) {
        let pointer = path.replace('.', "/");
        let is_off = defaults.pointer(&pointer) == Some(&Value::Bool(false));
        // Pods in the network of the node are another case than all else.
        if is_off && path != ".admissionWebhook.hostNetwork" && everything.pointer(&pointer) != Some(&Value::Bool(true))
        {
            off.push(path);
        }
    }
    assert!(off.is_empty(), "{off:?}");
}
