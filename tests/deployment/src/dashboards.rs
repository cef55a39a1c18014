//! The Grafana dashboards of the chart, made from short descriptions in `dashboards/*.yaml`.
//!
//! A description says what is particular about a dashboard: its panels and what they ask. All else (places, variables,
//! links, how Grafana wants it) is the same for all and stands here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

/// Where panels link to; the chart puts the address of the runbooks in its place.
pub const RUNBOOKS: &str = "docs/operations/runbooks";
/// Columns of a dashboard.
const COLUMNS: u64 = 24;

/// A dashboard as it is written down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dashboard {
    uid: String,
    title: String,
    description: String,
    /// Whose namespaces are offered: a metric with its matchers.
    namespaces_of: String,
    /// More variables, in their order.
    #[serde(default)]
    variables: Vec<Variable>,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    label: String,
    description: String,
    /// Values from Prometheus, or a text that the reader may change.
    query: Option<String>,
    text: Option<String>,
    /// One value, and not all of them.
    #[serde(default)]
    single: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    description: String,
    /// As Grafana calls them.
    unit: String,
    #[serde(default)]
    kind: Kind,
    /// What is asked, by what the legend says.
    queries: BTreeMap<String, String>,
    /// From which value on it is red.
    alarming: Option<f64>,
    /// Below which value it is red.
    needed: Option<f64>,
    #[serde(default)]
    stacked: bool,
    /// Alerts about it.
    #[serde(default)]
    alerts: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Stat,
    #[default]
    Graph,
    Table,
}

/// Every dashboard of the folder: the path of its JSON in the chart, and the JSON.
///
/// # Errors
/// A description can't be read.
pub fn generate() -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let target = crate::project().join("charts/kompass/dashboards");
    let mut made = BTreeMap::new();
    for (path, text) in crate::files("tests/deployment/dashboards", "yaml")? {
        let described: Dashboard =
            serde_saphyr::from_str(&text).with_context(|| format!("failed to read {}", path.display()))?;
        let name = path.file_stem().context("a dashboard has no name")?;
        let json = serde_json::to_string_pretty(&described.render())? + "\n";
        made.insert(target.join(name).with_extension("json"), json);
    }
    Ok(made)
}

impl Dashboard {
    fn render(&self) -> Value {
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["kompass"],
            "editable": false,
            "graphTooltip": 1,
            "links": [
                {
                    "type": "dashboards", "tags": ["kompass"], "title": "KOMPASS", "asDropdown": true,
                    "includeVars": true, "keepTime": true, "targetBlank": false,
                },
                {"type": "link", "title": "Runbooks", "url": "${runbooks}", "icon": "doc", "targetBlank": true},
            ],
            "panels": self.panels(),
            "refresh": "30s",
            "schemaVersion": 39,
            "templating": {"list": self.variables()},
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "",
            "version": 1,
        })
    }

    fn variables(&self) -> Vec<Value> {
        let mut list = vec![
            json!({
                "name": "datasource", "label": "Data source", "description": "The Prometheus that scrapes KOMPASS.",
                "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0,
                "multi": false, "includeAll": false, "options": [],
            }),
            // A Prometheus of a single cluster has no such label: all must also match none.
            asked(
                "cluster",
                "Cluster",
                "Clusters that the data source knows.",
                "label_values(kompass_build_info, cluster)",
                false,
            ),
            asked(
                "namespace",
                "Namespace",
                "Namespaces of what is shown.",
                &format!("label_values({}, namespace)", self.namespaces_of),
                false,
            ),
        ];
        list.extend(self.variables.iter().map(Variable::render));
        list.push(json!({
            "name": "runbooks", "label": "Runbooks", "description": "Where the runbooks are.",
            "type": "constant", "query": RUNBOOKS, "hide": 2,
        }));
        list
    }

    fn panels(&self) -> Vec<Value> {
        let mut panels = Vec::new();
        let (mut id, mut y) = (0_u64, 0_u64);
        for row in &self.rows {
            id += 1;
            panels.push(json!({
                "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
            }));
            y += 1;
            let mut x = 0;
            let mut tallest = 0;
            for panel in &row.panels {
                id += 1;
                let (width, height) = panel.size(row.panels.len());
                if x + width > COLUMNS {
                    (x, y) = (0, y + tallest);
                }
                let mut rendered = panel.render();
                rendered["id"] = json!(id);
                rendered["gridPos"] = json!({"h": height, "w": width, "x": x, "y": y});
                panels.push(rendered);
                x += width;
                tallest = height;
            }
            y += tallest;
        }
        panels
    }
}

impl Variable {
    fn render(&self) -> Value {
        match (&self.query, &self.text) {
            (Some(query), _) => asked(&self.name, &self.label, &self.description, query, self.single),
            (None, text) => json!({
                "name": self.name, "label": self.label, "description": self.description, "type": "textbox",
                "query": text.as_deref().unwrap_or_default(), "hide": 0,
            }),
        }
    }
}

/// A variable of the values of a label.
fn asked(name: &str, label: &str, description: &str, query: &str, single: bool) -> Value {
    let mut variable = json!({
        "name": name, "label": label, "description": description, "type": "query", "hide": 0,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "definition": query,
        // When the time range changes: what was there then.
        "refresh": 2,
        "sort": 1,
        "multi": !single,
        "includeAll": !single,
    });
    if !single {
        variable["allValue"] = json!(".*");
        variable["current"] = json!({"selected": true, "text": ["All"], "value": ["$__all"]});
    }
    variable
}

impl Panel {
    const fn size(&self, of_row: usize) -> (u64, u64) {
        match (self.kind, of_row) {
            (Kind::Stat, _) => (4, 4),
            (Kind::Graph, 1) | (Kind::Table, _) => (24, 8),
            (Kind::Graph, 2) => (12, 8),
            (Kind::Graph, _) => (8, 8),
        }
    }

    fn render(&self) -> Value {
        let targets: Vec<Value> = self
            .queries
            .iter()
            .enumerate()
            .map(|(number, (legend, expr))| self.target(number, legend, expr))
            .collect();
        let links: Vec<Value> = self
            .alerts
            .iter()
            .map(|alert| json!({"title": format!("Runbook of {alert}"), "url": format!("${{runbooks}}/{alert}.md"), "targetBlank": true}))
            .collect();
        let mut panel = json!({
            "title": self.title,
            "description": self.description,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "links": links,
            "targets": targets,
        });
        let thresholds = self.thresholds();
        match self.kind {
            Kind::Stat => {
                panel["type"] = json!("stat");
                panel["options"] = json!({
                    "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "textMode": "auto",
                    "orientation": "auto", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                });
                panel["fieldConfig"] =
                    json!({"defaults": {"unit": self.unit, "thresholds": thresholds}, "overrides": []});
            }
            Kind::Graph => {
                let stacking = if self.stacked { "normal" } else { "none" };
                panel["type"] = json!("timeseries");
                panel["options"] = json!({
                    "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                });
                panel["fieldConfig"] = json!({
                    "defaults": {
                        "unit": self.unit,
                        "min": 0,
                        "thresholds": thresholds,
                        "custom": {
                            "drawStyle": "line", "lineWidth": 1, "fillOpacity": if self.stacked { 30 } else { 8 },
                            "showPoints": "never", "stacking": {"mode": stacking, "group": "A"},
                            "thresholdsStyle": {"mode": if self.has_threshold() { "line" } else { "off" }},
                        },
                    },
                    "overrides": [],
                });
            }
            Kind::Table => {
                panel["type"] = json!("table");
                panel["options"] = json!({"showHeader": true, "cellHeight": "sm"});
                panel["fieldConfig"] =
                    json!({"defaults": {"unit": self.unit, "thresholds": thresholds}, "overrides": []});
                panel["transformations"] = json!([
                    {"id": "merge", "options": {}},
                    {"id": "organize", "options": {"excludeByName": {"Time": true}}},
                ]);
            }
        }
        panel
    }

    fn target(&self, number: usize, legend: &str, expr: &str) -> Value {
        let letter = char::from(b'A' + u8::try_from(number).unwrap_or(25));
        let mut target = json!({
            "refId": letter.to_string(),
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "expr": expr.trim(),
            "legendFormat": legend,
        });
        if self.kind == Kind::Table {
            target["format"] = json!("table");
            target["instant"] = json!(true);
        }
        target
    }

    const fn has_threshold(&self) -> bool {
        self.alarming.is_some() || self.needed.is_some()
    }

    fn thresholds(&self) -> Value {
        let steps = match (self.alarming, self.needed) {
            (Some(from), _) => json!([{"color": "green", "value": null}, {"color": "red", "value": from}]),
            (None, Some(from)) => json!([{"color": "red", "value": null}, {"color": "green", "value": from}]),
            (None, None) => json!([{"color": "blue", "value": null}]),
        };
        json!({"mode": "absolute", "steps": steps})
    }
}
