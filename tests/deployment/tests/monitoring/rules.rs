//! The rules: promtool finds them good; every alert fires when it should, is silent when it should, and has a runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kompass_deployment_tests::rules::{FOLDER, Rule, alerts, all, read};
use kompass_deployment_tests::{files, project, succeed};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::promql;

const LIMIT: Duration = Duration::from_mins(5);
const RUNBOOKS: &str = "docs/operations/runbooks";

/// When an alert is to fire, and when it is not.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    fires: Case,
    silent: Case,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// When it is looked at.
    at: String,
    /// Values by minute.
    series: BTreeMap<String, String>,
    /// Of the alerts that fire, beside their names and severities.
    #[serde(default)]
    labels: Vec<BTreeMap<String, Option<String>>>,
}

impl Case {
    /// As `promtool test rules` wants it.
    fn render(&self, alert: &Rule) -> Value {
        let input: Vec<Value> = self
            .series
            .iter()
            .map(|(series, values)| json!({"series": series.replacen('{', "{namespace=\"kompass\",", 1), "values": values}))
            .collect();
        let expected: Vec<Value> = self
            .labels
            .iter()
            .map(|labels| {
                let mut all: BTreeMap<&str, Option<&str>> = [("namespace", Some("kompass"))].into();
                all.extend(
                    alert
                        .labels
                        .iter()
                        .map(|(name, value)| (name.as_str(), Some(value.as_str()))),
                );
                all.extend(labels.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
                all.retain(|_, value| value.is_some());
                json!({"exp_labels": all})
            })
            .collect();
        json!({
            "interval": "1m",
            "input_series": input,
            "alert_rule_test": [{"eval_time": self.at, "alertname": alert.name(), "exp_alerts": expected}],
        })
    }
}

#[tokio::test]
async fn promtool_finds_the_rules_good() {
    let mut command = Command::new("promtool");
    command
        .args(["check", "rules", "--lint=all", "--lint-fatal"])
        .args(files(FOLDER, "yaml").unwrap().keys());
    succeed(&mut command, LIMIT).await.unwrap();
}

#[test]
fn alerts_say_what_a_person_needs() {
    let mut names = BTreeSet::new();
    for alert in alerts().unwrap() {
        let name = alert.name().to_owned();
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert!(name.starts_with("Kompass"), "{name}");
        let severity = alert.labels.get("severity").map(String::as_str);
        assert!(
            ["critical", "warning", "info"].map(Some).contains(&severity),
            "{name}: {severity:?}"
        );
        let text = |key: &str| alert.annotations.get(key).map_or("", String::as_str).trim().to_owned();
        assert!(
            (10..=100).contains(&text("summary").len()),
            "{name}: the summary is one line"
        );
        assert!(
            text("description").len() > text("summary").len(),
            "{name}: the description says more"
        );
        assert_eq!(text("runbook_url"), format!("{RUNBOOKS}/{name}.md"), "{name}");
        assert_eq!(alert.annotations.len(), 3, "{name}: summary, description and runbook");
        assert!(alert.r#for.is_none_or(|text| !text.is_empty()));
    }
    assert!(!names.is_empty());
}

#[test]
fn recorded_rules_are_named_by_level_metric_and_operation() {
    for rule in all().unwrap().iter().filter(|rule| rule.record.is_some()) {
        let parts: Vec<&str> = rule.name().split(':').collect();
        let [level, metric, operation] = parts[..] else {
            panic!("{}: level:metric:operation", rule.name());
        };
        assert!(level.starts_with("cluster_namespace") && metric.starts_with("kompass_") && !operation.is_empty());
        assert!(rule.labels.is_empty() && rule.annotations.is_empty(), "{}", rule.name());
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let books = files(RUNBOOKS, "md").unwrap();
    let names: BTreeSet<String> = alerts().unwrap().iter().map(|alert| alert.name().to_owned()).collect();
    let written: BTreeSet<String> = books
        .keys()
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, written);
    let index = std::fs::read_to_string(project().join("docs/operations/README.md")).unwrap();
    for (path, text) in books {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(text.starts_with(&format!("# {name}\n")), "{name}: its title");
        assert!(
            index.contains(&format!("(runbooks/{name}.md)")),
            "{name} is not in the index"
        );
        let mut rest = text.as_str();
        for heading in ["Meaning", "Impact", "Diagnosis", "Mitigation"] {
            let (_, after) = rest
                .split_once(&format!("\n## {heading}\n"))
                .unwrap_or_else(|| panic!("{name}: no {heading}"));
            let section = after.split("\n## ").next().unwrap_or_default().trim();
            assert!(section.len() > 40, "{name}: {heading} says nothing");
            rest = after;
        }
    }
}

/// A missing case of an alert is an error of reading: both are required.
#[tokio::test]
async fn every_alert_fires_when_it_should_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let cases = files("tests/deployment/tests/monitoring/rules", "yaml").unwrap();
    let mut command = Command::new("promtool");
    command.args(["test", "rules"]);
    for (path, text) in files(FOLDER, "yaml").unwrap() {
        let (_, written) = cases
            .iter()
            .find(|(cases, _)| cases.file_name() == path.file_name())
            .unwrap();
        let mut cases: BTreeMap<String, Cases> = serde_saphyr::from_str(written).unwrap();
        let rules = read(&text).unwrap();
        for alert in rules.iter().filter(|rule| rule.alert.is_some()) {
            let Some(Cases { fires, silent }) = cases.remove(alert.name()) else {
                panic!("{} has no test", alert.name());
            };
            assert!(!fires.labels.is_empty(), "{}: it is to fire", alert.name());
            assert!(
                silent.labels.is_empty() && !silent.series.is_empty(),
                "{}: it is to be silent",
                alert.name()
            );
            let tests = [fires.render(alert), silent.render(alert)];
            command.arg(write_tests(folder.path(), alert, &rules, &tests));
        }
        assert!(cases.is_empty(), "tests of alerts that don't exist: {:?}", cases.keys());
    }
    succeed(&mut command, LIMIT).await.unwrap();
}

/// Writes an alert, what is recorded for it, and its tests as promtool reads them, which is YAML, and JSON is that too.
fn write_tests(folder: &Path, alert: &Rule, rules: &[Rule], tests: &[Value]) -> PathBuf {
    let needed: BTreeSet<String> = promql::uses(&alert.expr)
        .metrics
        .into_iter()
        .map(|used| used.metric)
        .collect();
    let recorded = rules
        .iter()
        .filter(|rule| rule.record.as_ref().is_some_and(|name| needed.contains(name)));
    // Without annotations, which promtool would want to be repeated in each test.
    let rendered: Vec<Value> = recorded
        .chain([alert])
        .map(|rule| {
            let mut rendered = json!({"expr": rule.expr, "labels": rule.labels});
            let named = if rule.alert.is_some() { "alert" } else { "record" };
            rendered[named] = json!(rule.name());
            if let Some(duration) = &rule.r#for {
                rendered["for"] = json!(duration);
            }
            rendered
        })
        .collect();
    let name = format!("{}.yaml", alert.name());
    let text = json!({"groups": [{"name": "kompass", "rules": rendered}]}).to_string();
    std::fs::write(folder.join(&name), text).unwrap();
    let text = json!({"rule_files": [name], "evaluation_interval": "1m", "tests": tests}).to_string();
    let path = folder.join(format!("tests-{}.yaml", alert.name()));
    std::fs::write(&path, text).unwrap();
    path
}
