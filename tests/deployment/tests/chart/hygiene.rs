//! The same look at the chart as at those of others: what a chart of good manners has, counted by a script.

use serde_json::Value;

use crate::helm::{chart, everything, find, render, text};

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
                "images",
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
    let objects = render(&["--values", text(&everything).unwrap()]).await.unwrap();
    for object in &objects {
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

/// Rights are by name, and never all of them.
#[tokio::test]
async fn no_rule_has_a_star_and_none_reads_all_secrets() {
    let everything = everything();
    for values in [
        vec![],
        vec!["--set", "scope=all"],
        vec!["--values", text(&everything).unwrap()],
    ] {
        let objects = render(&values).await.unwrap();
        let roles = objects
            .iter()
            .filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole");
        for role in roles {
            assert!(!role["rules"].to_string().contains("\"*\""), "{role:#}");
            for rule in role["rules"].as_array().into_iter().flatten() {
                let is_of = |name: &str| {
                    rule["resources"]
                        .as_array()
                        .is_some_and(|all| all.contains(&name.into()))
                };
                let verbs = rule["verbs"].as_array().unwrap();
                if is_of("secrets") && verbs.iter().any(|verb| verb != "create") {
                    assert!(role["kind"] == "Role" && rule["resourceNames"].is_array(), "{role:#}");
                }
                for dangerous in ["escalate", "bind", "impersonate"] {
                    assert!(!verbs.contains(&dangerous.into()), "{role:#}");
                }
            }
        }
    }
}
