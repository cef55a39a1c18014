//! The dashboards: as their descriptions say, and by the rules of a linter of dashboards.

use std::collections::BTreeSet;
use std::time::Duration;

use kompass_deployment_tests::{dashboards, files, rules, succeed};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::metrics::Catalogue;
use crate::promql;

const LIMIT: Duration = Duration::from_mins(1);

/// Every dashboard of the chart, by its name.
fn all() -> Vec<(String, Value)> {
    let files = files("charts/kompass/dashboards", "json").unwrap();
    files
        .into_iter()
        .map(|(path, text)| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                serde_json::from_str(&text).unwrap(),
            )
        })
        .collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// All panels but the titles of rows.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "panels")
        .iter()
        .filter(|panel| text(panel, "type") != "row")
}

/// Every expression of every dashboard with where it is, variables filled in.
pub(crate) fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, dashboard) in all() {
        for panel in panels(&dashboard) {
            for target in list(panel, "targets") {
                found.push((
                    format!("{name}: {}", text(panel, "title")),
                    promql::filled_in(text(target, "expr")),
                ));
            }
        }
    }
    found
}

/// The selectors that values of variables are taken from.
pub(crate) fn variables() -> Vec<String> {
    let queries = all().into_iter().flat_map(|(_, dashboard)| {
        let variables = list(&dashboard["templating"], "list").to_vec();
        variables
            .into_iter()
            .filter_map(|variable| variable["query"]["query"].as_str().map(str::to_owned))
    });
    queries
        .map(|query| {
            let inner = query
                .strip_prefix("label_values(")
                .and_then(|query| query.strip_suffix(')'))
                .unwrap();
            inner.rsplit_once(',').unwrap().0.to_owned()
        })
        .collect()
}

#[test]
fn they_are_what_their_descriptions_say() {
    let made = dashboards::generate().unwrap();
    let shipped = files("charts/kompass/dashboards", "json").unwrap();
    assert!(
        made.keys().eq(shipped.keys()),
        "run `cargo run -p kompass-deployment-tests --bin generate`"
    );
    for (path, text) in &made {
        assert!(
            shipped.get(path) == Some(text),
            "{} is out of date: run `cargo run -p kompass-deployment-tests --bin generate`",
            path.display()
        );
    }
    assert!(made.len() >= 4);
}

#[test]
fn each_can_be_used_by_itself() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in all() {
        assert_eq!(text(&dashboard, "uid"), name);
        assert!(uids.insert(name.clone()));
        assert!(text(&dashboard, "description").len() > 30, "{name}");
        assert_eq!(dashboard["editable"], json!(false), "{name}");
        assert!(
            dashboard.get("__inputs").is_none() && dashboard.get("id").is_none(),
            "{name}"
        );
        assert!(!dashboard.to_string().contains("DS_PROMETHEUS"), "{name}");
        assert_eq!(
            text(&list(&dashboard, "links")[0], "type"),
            "dashboards",
            "{name}: to its neighbours"
        );
        assert_eq!(
            list(&dashboard, "links")[1]["url"],
            "${runbooks}",
            "{name}: to the runbooks"
        );
        assert!(
            dashboard.to_string().len() < 500_000,
            "{name} does not fit in a ConfigMap with others"
        );
    }
}

#[test]
fn variables_come_in_the_usual_order() {
    const ORDER: [&str; 4] = ["datasource", "cluster", "namespace", "queue"];
    for (name, dashboard) in all() {
        let variables = list(&dashboard["templating"], "list");
        let names: Vec<&str> = variables.iter().map(|variable| text(variable, "name")).collect();
        assert_eq!(names[..3], ORDER[..3], "{name}");
        let place = names.iter().position(|name| *name == "queue");
        assert!(place.is_none_or(|place| place == 3), "{name}: {names:?}");
        for variable in variables {
            let what = format!("{name}: ${}", text(variable, "name"));
            assert!(
                !text(variable, "label").is_empty() && !text(variable, "description").is_empty(),
                "{what}"
            );
            match text(variable, "type") {
                "query" => {
                    assert_eq!(text(&variable["datasource"], "uid"), "${datasource}", "{what}");
                    assert_eq!(variable["refresh"], json!(2), "{what}: when the time range changes");
                    if variable["includeAll"] == json!(true) {
                        assert_eq!(
                            text(variable, "allValue"),
                            ".*",
                            "{what}: all also means without the label"
                        );
                    }
                }
                "datasource" => assert_eq!(text(variable, "query"), "prometheus", "{what}"),
                kind => assert!(["textbox", "constant"].contains(&kind), "{what}"),
            }
        }
    }
}

#[test]
fn every_panel_says_what_it_shows() {
    let alerts: BTreeSet<String> = rules::alerts()
        .unwrap()
        .iter()
        .map(|alert| alert.name().to_owned())
        .collect();
    for (name, dashboard) in all() {
        let mut titles = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = text(panel, "title");
            let what = format!("{name}: {title}");
            assert!(!title.is_empty() && titles.insert(title), "{what}: a title of its own");
            assert!(ids.insert(panel["id"].to_string()), "{what}: an id of its own");
            let description = text(panel, "description");
            assert!(
                description.len() > title.len() && description.ends_with('.'),
                "{what}: a description"
            );
            assert!(
                !text(&panel["fieldConfig"]["defaults"], "unit").is_empty(),
                "{what}: a unit"
            );
            assert_eq!(text(&panel["datasource"], "uid"), "${datasource}", "{what}");
            assert!(!list(panel, "targets").is_empty(), "{what}: it asks nothing");
            for target in list(panel, "targets") {
                let expression = text(target, "expr");
                assert_eq!(text(&target["datasource"], "uid"), "${datasource}", "{what}");
                assert!(!text(target, "legendFormat").is_empty(), "{what}: a legend");
                assert!(
                    expression.contains("cluster=~\"$cluster\""),
                    "{what}: of the chosen clusters: {expression}"
                );
            }
            for link in list(panel, "links") {
                let alert = text(link, "url")
                    .strip_prefix("${runbooks}/")
                    .and_then(|url| url.strip_suffix(".md"));
                assert!(alert.is_some_and(|alert| alerts.contains(alert)), "{what}: {link}");
            }
        }
    }
}

/// Of each alert there is a panel that shows what it is about.
#[test]
fn every_alert_is_on_a_dashboard() {
    let text: String = all().into_iter().map(|(_, dashboard)| dashboard.to_string()).collect();
    let missing: Vec<String> = rules::alerts()
        .unwrap()
        .iter()
        .map(|alert| alert.name().to_owned())
        .filter(|alert| !text.contains(&format!("${{runbooks}}/{alert}.md")))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_first_row_is_of_single_figures_and_nothing_overlaps() {
    for (name, dashboard) in all() {
        let panels = list(&dashboard, "panels");
        assert_eq!(text(&panels[0], "type"), "row", "{name}");
        let first: Vec<&Value> = panels[1..]
            .iter()
            .take_while(|panel| text(panel, "type") != "row")
            .collect();
        assert!(
            first.len() >= 4 && first.iter().all(|panel| text(panel, "type") == "stat"),
            "{name}"
        );
        let mut taken = BTreeSet::new();
        for panel in panels {
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{name}: {}", text(panel, "title"));
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{name}: {} overlaps", text(panel, "title"));
                }
            }
        }
    }
}

/// A fixed range shows gaps or steps at some zoom; only what is about a fixed time says so.
#[test]
fn rates_are_over_the_interval_of_the_panel() {
    for (name, dashboard) in all() {
        for panel in panels(&dashboard) {
            for target in list(panel, "targets") {
                let expression = text(target, "expr");
                for range in expression
                    .split('[')
                    .skip(1)
                    .map(|rest| rest.split(']').next().unwrap_or_default())
                {
                    let what = format!("{name}: {}: [{range}]", text(panel, "title"));
                    if expression.contains("rate(") && range != "1d" {
                        assert_eq!(range, "$__rate_interval", "{what}");
                    } else {
                        assert!(
                            ["$__rate_interval", "$__range", "1h", "1d", "7d"].contains(&range),
                            "{what}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_metric_is_exported() {
    let catalogue = Catalogue::read();
    let asked = expressions()
        .into_iter()
        .chain(variables().into_iter().map(|query| ("variable".to_owned(), query)));
    let wrongs: Vec<String> = asked
        .flat_map(|(what, expression)| {
            catalogue
                .wrongs(&expression)
                .into_iter()
                .map(move |wrong| format!("{what}: {wrong}"))
        })
        .collect();
    assert_eq!(wrongs, Vec::<String>::new());
}

/// As rules, since that is what promtool reads.
#[tokio::test]
async fn every_expression_is_promql() {
    let rules: Vec<Value> = expressions()
        .into_iter()
        .enumerate()
        .map(|(number, (what, expression))| json!({"record": format!("test:expression:{number}"), "expr": expression, "labels": {"of": what}}))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("expressions.yaml");
    std::fs::write(
        &file,
        json!({"groups": [{"name": "expressions", "rules": rules}]}).to_string(),
    )
    .unwrap();
    succeed(
        Command::new("promtool")
            .args(["check", "rules", "--lint=none"])
            .arg(&file),
        LIMIT,
    )
    .await
    .unwrap();
}
