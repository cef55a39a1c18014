//! Which metrics there are: those of the services, by lists that each service's own test holds against what it registers;
//! those of others, by a list that says whose they are; those that rules record.

use std::collections::{BTreeMap, BTreeSet};

use kompass_deployment_tests::{files, rules};

use crate::promql::{self, Use};

/// What each scrape adds.
const ADDED: [&str; 9] = [
    "cluster",
    "container",
    "endpoint",
    "instance",
    "job",
    "namespace",
    "node",
    "pod",
    "service",
];

/// One metric that is known.
#[derive(Debug)]
struct Known {
    kind: String,
    labels: BTreeSet<String>,
}

/// All that are known, by name.
#[derive(Debug)]
pub(crate) struct Catalogue {
    known: BTreeMap<String, Known>,
    recorded: BTreeSet<String>,
}

impl Catalogue {
    pub(crate) fn read() -> Self {
        let mut known = BTreeMap::new();
        for (_, text) in files("tests/deployment/metrics", "txt").unwrap() {
            for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let mut words = line.split(' ').map(str::to_owned);
                let (name, kind) = (words.next().unwrap(), words.next().unwrap());
                known.insert(
                    name,
                    Known {
                        kind,
                        labels: words.collect(),
                    },
                );
            }
        }
        let recorded = rules::all()
            .unwrap()
            .into_iter()
            .filter_map(|rule| rule.record)
            .collect();
        Self { known, recorded }
    }

    /// What is wrong with the metrics of an expression.
    pub(crate) fn wrongs(&self, expression: &str) -> Vec<String> {
        let uses = promql::uses(expression);
        let mut wrongs: Vec<String> = uses.metrics.iter().filter_map(|used| self.wrong(used).err()).collect();
        // By what is added up must be a label of one of them. Recorded metrics have the labels that their names begin with.
        let mut labels: BTreeSet<String> = ADDED.map(str::to_owned).into();
        for used in &uses.metrics {
            labels.extend(
                self.find(&used.metric)
                    .into_iter()
                    .flat_map(|(known, _)| known.labels.iter().cloned()),
            );
            labels.extend(
                used.metric
                    .split_once(':')
                    .into_iter()
                    .flat_map(|(level, _)| level.split('_').map(str::to_owned)),
            );
            if used.metric.ends_with("_bucket") {
                labels.insert("le".to_owned());
            }
        }
        wrongs.extend(
            uses.grouping
                .difference(&labels)
                .map(|label| format!("no metric has the label {label}")),
        );
        if uses.metrics.is_empty() {
            wrongs.push("no metric".to_owned());
        }
        wrongs
    }

    fn wrong(&self, used: &Use) -> Result<(), String> {
        let name = &used.metric;
        if name.contains(':') {
            return self
                .recorded
                .contains(name)
                .then_some(())
                .ok_or_else(|| format!("no rule records {name}"));
        }
        let (known, part) = self.find(name).ok_or_else(|| format!("nobody exports {name}"))?;
        let of_bucket = (part == "_bucket").then_some("le");
        for label in &used.labels {
            let is_known = known.labels.contains(label) || ADDED.contains(&label.as_str()) || of_bucket == Some(label);
            if !is_known {
                return Err(format!("{name} has no label {label}"));
            }
        }
        let is_counter = match known.kind.as_str() {
            "counter" | "histogram" => true,
            // The process's: by its name.
            "process" => name.ends_with("_total"),
            _ => false,
        };
        let function = used.function.as_deref().unwrap_or_default();
        let is_rate = ["rate", "increase", "irate"].contains(&function);
        if is_counter && !(used.ranged && is_rate) {
            return Err(format!("{name} only goes up: its rate or increase is to be shown"));
        }
        if !is_counter && is_rate {
            return Err(format!("{name} is no counter and has no {function}"));
        }
        Ok(())
    }

    /// The metric of a series' name, and which part of it that is.
    fn find(&self, name: &str) -> Option<(&Known, &'static str)> {
        if let Some(known) = self.known.get(name) {
            return (known.kind != "histogram").then_some((known, ""));
        }
        ["_bucket", "_count", "_sum"].into_iter().find_map(|part| {
            let known = self.known.get(name.strip_suffix(part)?)?;
            (known.kind == "histogram").then_some((known, part))
        })
    }
}

#[test]
fn wrong_expressions_are_found() {
    let catalogue = Catalogue::read();
    for (expression, wrong) in [
        ("kompass_extender_nope", "nobody exports"),
        ("kompass_extender_filter_seconds", "nobody exports"),
        ("rate(kompass_extender_nodes[5m])", "is no counter"),
        ("kompass_extender_gangs_ended_total", "only goes up"),
        ("max_over_time(kompass_extender_gangs_ended_total[5m])", "only goes up"),
        ("kompass_extender_gangs{reason=\"x\"}", "has no label reason"),
        (
            "sum by (reason) (kompass_extender_gangs)",
            "no metric has the label reason",
        ),
        ("a:b:c", "no rule records"),
        ("time()", "no metric"),
    ] {
        let wrongs = catalogue.wrongs(expression);
        assert!(
            wrongs.iter().any(|found| found.contains(wrong)),
            "{expression}: {wrongs:?}"
        );
    }
    let good = "sum by (le) (rate(kompass_extender_filter_seconds_bucket{le=\"1\"}[5m])) / sum(kompass_extender_gangs)";
    assert_eq!(catalogue.wrongs(good), Vec::<String>::new());
}

#[test]
fn every_metric_of_a_rule_is_exported() {
    let catalogue = Catalogue::read();
    let wrongs: Vec<String> = rules::all()
        .unwrap()
        .iter()
        .flat_map(|rule| {
            catalogue
                .wrongs(&rule.expr)
                .into_iter()
                .map(|wrong| format!("{}: {wrong}", rule.name()))
        })
        .collect();
    assert_eq!(wrongs, Vec::<String>::new());
}

/// A list that has grown old is of no use.
#[test]
fn every_metric_of_others_is_used() {
    let used: BTreeSet<String> = rules::all()
        .unwrap()
        .iter()
        .map(|rule| rule.expr.clone())
        .chain(
            crate::dashboards::expressions()
                .into_iter()
                .map(|(_, expression)| expression),
        )
        .chain(crate::dashboards::variables())
        .flat_map(|expression| promql::uses(&expression).metrics)
        .map(|used| used.metric)
        .collect();
    let list = files("tests/deployment/metrics", "txt").unwrap();
    let foreign = list.iter().find(|(path, _)| path.ends_with("foreign.txt")).unwrap().1;
    for line in foreign
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let name = line.split(' ').next().unwrap();
        assert!(used.contains(name), "{name} is used nowhere");
    }
}
