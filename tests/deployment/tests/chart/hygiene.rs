//! The same look at the chart as at those of others: what a chart of good manners has, counted by a script.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::helm::{chart, everything, find, render, text};

/// With a Prometheus of the chart's own, and the predictor that learns from it.
const BUNDLED: &str = "monitoring.bundled.enabled=true,predictor.node.cpuMilli=4000,predictor.node.memoryMib=16384";

/// All templates as one text.
fn templates(folder: &std::path::Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &templates(&path);
        } else {
            all += &std::fs::read_to_string(path).unwrap();
        }
    }
    all
}

fn is_file(path: &str) -> bool {
    std::fs::metadata(chart().join(path)).is_ok_and(|file| file.len() > 0)
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table, a column after the other")]
async fn every_column_of_the_table_is_there() {
    let everything = everything();
    let objects = render(&["--values", text(&everything).unwrap()]).await.unwrap();
    let kinds = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).count();
    let meta = std::fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let annotation = |name: &str| meta.contains(&format!("artifacthub.io/{name}:"));
    let pods: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == "Deployment")
        .map(|object| &object["spec"]["template"]["spec"])
        .collect();
    let everywhere = |holds: &dyn Fn(&Value) -> bool| !pods.is_empty() && pods.iter().all(|pod| holds(pod));
    let containers = |holds: &dyn Fn(&Value) -> bool| {
        everywhere(&|pod| pod["containers"].as_array().is_some_and(|all| all.iter().all(holds)))
    };
    let unit_tests = std::fs::read_dir(chart().join("tests")).unwrap().count();
    let leader = find(&objects, "ConfigMap", "kompass-scheduler")["data"]["config.yaml"]
        .as_str()
        .is_some_and(|config| config.contains("leaderElect: true"))
        && kinds("Lease") == 3;
    let columns = [
        ("schema", is_file("values.schema.json")),
        ("NOTES", is_file("templates/NOTES.txt")),
        ("README", is_file("README.md")),
        (
            "helm test",
            templates(&chart().join("templates")).contains("helm.sh/hook: test"),
        ),
        ("unit tests", unit_tests > 4),
        (
            "artifacthub",
            [
                "category",
                "license",
                "changes",
                "crds",
                "images",
                "links",
                "prerelease",
                "containsSecurityUpdates",
            ]
            .into_iter()
            .all(annotation),
        ),
        ("kubeVersion", meta.contains("kubeVersion:")),
        ("PodDisruptionBudget", kinds("PodDisruptionBudget") == 3),
        ("NetworkPolicy", kinds("NetworkPolicy") == 3),
        (
            "topology spread",
            everywhere(&|pod| {
                pod["topologySpreadConstraints"]
                    .as_array()
                    .is_some_and(|all| !all.is_empty())
            }),
        ),
        (
            "anti-affinity",
            everywhere(&|pod| pod["affinity"]["podAntiAffinity"].is_object()),
        ),
        ("leader election", leader),
        (
            "seccomp",
            everywhere(&|pod| pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"),
        ),
        (
            "non-root",
            everywhere(&|pod| pod["securityContext"]["runAsNonRoot"] == true),
        ),
        (
            "read-only root",
            containers(&|one| one["securityContext"]["readOnlyRootFilesystem"] == true),
        ),
        (
            "requests and limits",
            containers(&|one| {
                one["resources"]["requests"]["memory"].is_string() && one["resources"]["limits"]["memory"].is_string()
            }),
        ),
        (
            "probes",
            containers(&|one| {
                ["livenessProbe", "readinessProbe", "startupProbe"]
                    .iter()
                    .all(|probe| one[probe].is_object())
            }),
        ),
        ("ServiceMonitor", kinds("ServiceMonitor") == 3),
        ("PrometheusRule", kinds("PrometheusRule") == 3),
        (
            "dashboards",
            objects
                .iter()
                .filter(|object| object["metadata"]["labels"]["grafana_dashboard"] == "1")
                .count()
                >= 4,
        ),
        ("HorizontalPodAutoscaler", kinds("HorizontalPodAutoscaler") == 1),
        ("cert-manager", kinds("Certificate") == 1),
        (
            "priority class",
            find(&objects, "Deployment", "kompass-scheduler")["spec"]["template"]["spec"]["priorityClassName"]
                .is_string(),
        ),
    ];
    for (column, there) in columns {
        println!("{} {column}", if there { "yes" } else { "NO " });
    }
    let lacking: Vec<_> = columns
        .iter()
        .filter(|(_, there)| !there)
        .map(|(column, _)| column)
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

#[tokio::test]
async fn every_object_has_the_recommended_labels_and_no_hook_is_left() {
    let everything = everything();
    let everything = text(&everything).unwrap();
    for values in [
        vec!["--values", everything],
        vec!["--values", everything, "--set", BUNDLED],
    ] {
        let objects = render(&values).await.unwrap();
        // Definitions are the operator's own, and are to outlive the release.
        let objects = objects.iter();
        for object in objects.filter(|object| object["kind"] != "CustomResourceDefinition") {
            for label in ["name", "instance", "version", "managed-by", "part-of"] {
                let label = format!("app.kubernetes.io/{label}");
                assert!(
                    object["metadata"]["labels"][&label].is_string(),
                    "no {label}: {object:#}"
                );
            }
            let hook = &object["metadata"]["annotations"]["helm.sh/hook"];
            assert!(hook.is_null() || hook == "test", "{object:#}");
            assert!(object["metadata"]["finalizers"].is_null(), "{object:#}");
            assert_ne!(
                object["metadata"]["annotations"]["helm.sh/resource-policy"], "keep",
                "{object:#}"
            );
        }
    }
}

/// What is bundled for monitoring runs once, so that it needs no budget, no spread and no leader. On its node it is held as
/// short as the rest.
#[tokio::test]
async fn what_is_bundled_has_no_more_of_its_node_than_the_rest() {
    let objects = render(&["--set", BUNDLED]).await.unwrap();
    for name in ["kompass-prometheus-operator", "kompass-kube-state-metrics"] {
        let pod = &find(&objects, "Deployment", name)["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        for container in pod["containers"].as_array().unwrap() {
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
            assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
            assert!(container["resources"]["requests"]["memory"].is_string(), "{name}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
            assert!(container["readinessProbe"].is_object(), "{name}");
        }
    }
    // The operator does the rest for its pods.
    let prometheus = &find(&objects, "Prometheus", "kompass")["spec"];
    assert_eq!(
        prometheus["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(prometheus["securityContext"]["runAsNonRoot"], true);
    assert!(prometheus["resources"]["limits"]["memory"].is_string());
}

/// Rights are by name, and never all of them.
#[tokio::test]
async fn no_rule_has_a_star_and_none_reads_all_secrets() {
    let everything = everything();
    for values in [
        vec![],
        vec!["--set", "scope=all"],
        vec!["--values", text(&everything).unwrap()],
        vec!["--set", BUNDLED],
    ] {
        let objects = render(&values).await.unwrap();
        let roles = objects
            .iter()
            .filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole");
        for role in roles {
            assert!(!role["rules"].to_string().contains("\"*\""), "{role:#}");
            // The operator finds its Secrets by listing those of its namespace (docs/threat-model.md).
            let may_list = role["kind"] == "Role" && role["metadata"]["name"] == "kompass-prometheus-operator";
            for rule in role["rules"].as_array().into_iter().flatten() {
                let is_of = |name: &str| {
                    rule["resources"]
                        .as_array()
                        .is_some_and(|all| all.contains(&name.into()))
                };
                let verbs = rule["verbs"].as_array().unwrap();
                if is_of("secrets") && !may_list && verbs.iter().any(|verb| verb != "create") {
                    assert!(role["kind"] == "Role" && rule["resourceNames"].is_array(), "{role:#}");
                }
                for dangerous in ["escalate", "bind", "impersonate"] {
                    assert!(!verbs.contains(&dangerous.into()), "{role:#}");
                }
            }
        }
    }
}

/// An annotation of the chart that is a list in YAML itself.
fn listed(name: &str) -> Vec<Value> {
    let meta = std::fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let meta: Value = serde_saphyr::from_str(&meta).unwrap();
    let text = meta["annotations"][format!("artifacthub.io/{name}")].as_str().unwrap();
    serde_saphyr::from_str(text).unwrap()
}

/// What reads like an image with its registry and its tag, wherever it stands.
fn images(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|field| images(field, found)),
        Value::Array(all) => all.iter().for_each(|one| images(one, found)),
        Value::String(text) => {
            // An argument, or the image alone.
            let text = text.rsplit('=').next().unwrap_or(text);
            let is_image = text.split_once('/').is_some_and(|(registry, path)| {
                let (name, tag) = path.rsplit_once(':').unwrap_or_default();
                let is_word = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
                registry.contains('.') && !registry.contains(':') && is_word(name) && is_word(tag) && !tag.contains('/')
            });
            if is_image {
                found.insert(text.to_owned());
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_listed_images_are_those_that_are_rendered() {
    let table = std::fs::read_to_string(chart().join("files/kube-scheduler-versions.yaml")).unwrap();
    let table: BTreeMap<String, String> = serde_saphyr::from_str(&table).unwrap();
    let everything = everything();
    let mut sets = vec![
        vec!["--values", text(&everything).unwrap()],
        vec!["--set", BUNDLED],
        vec!["--set", "scope=all"],
    ];
    let versions: Vec<_> = table.keys().map(|minor| format!("{minor}.0")).collect();
    sets.extend(versions.iter().map(|version| vec!["--kube-version", version]));
    let mut rendered = BTreeSet::new();
    for set in sets {
        for object in render(&set).await.unwrap() {
            images(&object, &mut rendered);
        }
    }
    let listed = listed("images");
    let names: BTreeSet<_> = listed.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), listed.len(), "each has a name of its own");
    let listed: BTreeSet<_> = listed
        .iter()
        .map(|one| one["image"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, rendered);
}

#[test]
fn the_listed_definitions_are_those_that_come_along() {
    let definitions = std::fs::read_dir(chart().join("charts/monitoring/crds")).unwrap();
    let brought: BTreeSet<_> = definitions
        .map(|entry| {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let one: Value = serde_saphyr::from_str(&text).unwrap();
            let field = |value: &Value| value.as_str().unwrap().to_owned();
            let spec = &one["spec"];
            let version = &spec["versions"][0]["name"];
            [
                field(&one["metadata"]["name"]),
                field(&spec["names"]["kind"]),
                field(version),
            ]
        })
        .collect();
    let links = listed("links");
    let listed: BTreeSet<_> = listed("crds")
        .iter()
        .map(|one| {
            let field = |name: &str| one[name].as_str().unwrap().to_owned();
            assert!(!field("displayName").is_empty() && !field("description").is_empty());
            [field("name"), field("kind"), field("version")]
        })
        .collect();
    assert_eq!(listed, brought);
    for link in links {
        assert!(link["url"].as_str().unwrap().starts_with("https://"), "{link}");
    }
}
