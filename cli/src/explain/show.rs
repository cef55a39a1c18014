//! An explanation in print.

use std::fmt::Write as _;

use kompass_core::profile::Shape;
use kompass_core::{PodRules, PodTerm, Spacing};
use kompass_spark::allocation::Allocation;
use kompass_spark::explain::{Consulted, Explanation, Field, Origin, Use};
use serde_json::{Value, json};

use super::written::Written;
use crate::table;

/// For people: each field with its value and what it comes from.
pub(super) fn table(explanation: &Explanation) -> String {
    let profile = &explanation.profile;
    let or = |value: Option<String>, none: &str| value.unwrap_or_else(|| none.to_owned());
    let mut rows = Vec::new();
    let mut row = |field: &str, value: String, fields: &[Field]| {
        let origins = fields
            .iter()
            .filter_map(|field| explanation.origins.get(field))
            .flatten();
        let mut origins: Vec<String> = origins.map(origin).collect();
        origins.dedup();
        let first = origins.first().cloned().unwrap_or_default();
        rows.push(vec![field.to_owned(), value, first]);
        rows.extend(
            origins
                .into_iter()
                .skip(1)
                .map(|origin| vec![String::new(), String::new(), origin]),
        );
    };
    row(
        "spark_version",
        or(profile.spark_version.clone(), "unknown"),
        &[Field::SparkVersion],
    );
    row("profile_key", profile.profile_key.clone(), &[Field::ProfileKey]);
    row("driver", shape(&profile.driver), &[Field::Driver]);
    let cpu = format!("{}", profile.executor.cpu_milli);
    row("executor.cpu_milli", cpu, &[Field::Executor, Field::ExecutorCpu]);
    let memory = format!("{}", profile.executor.memory_mib);
    row("executor.memory_mib", memory, &[Field::ExecutorMemory]);
    row(
        "executor.extended",
        extended(&profile.executor),
        &[Field::ExecutorExtended],
    );
    row(
        "executors_at_start",
        profile.executors_at_start.to_string(),
        &[Field::ExecutorsAtStart],
    );
    let max = profile.executors_max.map(|max| max.to_string());
    row("executors_max", or(max, "no limit"), &[Field::ExecutorsMax]);
    row(
        "dynamic_allocation",
        profile.dynamic_allocation.to_string(),
        &[Field::DynamicAllocation],
    );
    row(
        "allocation",
        or(explanation.allocation.map(allocation), "left to the allocator"),
        &[Field::Allocation],
    );
    let constraints = &profile.executor_constraints;
    let rules = constraints.node_selector.len()
        + constraints.required_terms.as_ref().map_or(0, Vec::len)
        + constraints.tolerations.len();
    row(
        "executor_constraints",
        format!("{rules} rules"),
        &[Field::ExecutorConstraints],
    );
    row(
        "executor_spacing",
        or(spacing(&profile.executor_spacing), "no rules"),
        &[Field::ExecutorSpacing],
    );
    row(
        "executor_labels",
        format!("{} labels", profile.executor_labels.len()),
        &[Field::ExecutorSpacing],
    );
    row(
        "executor_pod_rules",
        or(pod_rules(&profile.executor_pod_rules), "no rules"),
        &[Field::ExecutorSpacing],
    );
    let scheduler = profile.executor_scheduler.clone();
    row(
        "executor_scheduler",
        or(scheduler, "as for the driver"),
        &[Field::ExecutorScheduler],
    );
    let mut text = table::render(&["FIELD", "VALUE", "FROM"], &rows);
    for warning in &profile.warnings {
        text.push_str("warning: ");
        text.push_str(warning);
        text.push('\n');
    }
    text
}

/// For people: what is written on the pod.
pub(super) fn written(written: &Written) -> String {
    let mut text = String::new();
    for remark in &written.remarks {
        text.push_str("note: ");
        text.push_str(remark);
        text.push('\n');
    }
    if written.source.is_none() {
        return text;
    }
    if written.differences.is_empty() {
        text.push_str("The profile that is written on the pod is the same.\n");
        return text;
    }
    text.push_str("The profile that is written on the pod differs:\n");
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = written.differences.iter().map(|difference| {
        vec![
            difference.field.to_owned(),
            plain(&difference.written),
            plain(&difference.computed),
            difference.because.clone(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    text.push_str(&table::render(&["FIELD", "WRITTEN", "COMPUTED", "BECAUSE"], &rows));
    text
}

/// For programs.
pub(super) fn json(explanation: &Explanation, written: Option<&Written>) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(&explanation.profile)?;
    // Always there, unlike in the annotation.
    for (role, shape) in [
        ("driver", &explanation.profile.driver),
        ("executor", &explanation.profile.executor),
    ] {
        value[role]["extended"] = json!(shape.extended);
    }
    value["spark_version"] = json!(explanation.profile.spark_version);
    value["warnings"] = json!(explanation.profile.warnings);
    value["allocation"] = serde_json::to_value(explanation.allocation)?;
    value["origins"] = serde_json::to_value(&explanation.origins)?;
    if let Some(written) = written {
        value["written"] = serde_json::to_value(written)?;
    }
    Ok(value)
}

/// The executors' rules about each other.
fn spacing(spacing: &Spacing) -> Option<String> {
    let most = |what: &str, most: Option<u64>| most.map(|most| format!("{most} {what}"));
    let rules = [
        (!spacing.host_ports.is_empty()).then(|| format!("{} host ports", spacing.host_ports.len())),
        most("per node", spacing.per_node_max),
        most("per zone", spacing.per_zone_max),
        spacing.one_zone.then(|| "in one zone".to_owned()),
        most("apart between zones", spacing.zone_skew),
        most("zones at least", spacing.zones_min),
        spacing.driver.other_node.then(|| "not on the driver's node".to_owned()),
        spacing.driver.other_zone.then(|| "not in the driver's zone".to_owned()),
        spacing.driver.same_zone.then(|| "in the driver's zone".to_owned()),
    ];
    let rules: Vec<String> = rules.into_iter().flatten().collect();
    (!rules.is_empty()).then(|| rules.join(", "))
}

/// The executors' rules about pods of others.
fn pod_rules(rules: &PodRules) -> Option<String> {
    let count = |terms: &[PodTerm], what: &str| (!terms.is_empty()).then(|| format!("{what} {}", terms.len()));
    let kinds = [
        count(&rules.apart, "apart from others:"),
        count(&rules.together, "together with others:"),
    ];
    let kinds: Vec<String> = kinds.into_iter().flatten().collect();
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

/// How the driver asks for executors.
fn allocation(allocation: Allocation) -> String {
    let mut text = format!("{} at a time", allocation.batch);
    if allocation.first_alone {
        text.push_str(", the first alone");
    }
    if let Some(most) = allocation.pending_max {
        let _ = write!(text, ", no more while {most} wait to run");
    }
    if allocation.refusal_fails {
        text.push_str(", refused ones count as failed");
    }
    text
}

fn shape(shape: &Shape) -> String {
    let mut text = format!("{} milli-CPU, {} MiB", shape.cpu_milli, shape.memory_mib);
    if !shape.extended.is_empty() {
        text.push_str(", ");
        text.push_str(&extended(shape));
    }
    text
}

fn extended(shape: &Shape) -> String {
    let units = shape.extended.iter().map(|(name, units)| format!("{units} {name}"));
    let units = units.collect::<Vec<_>>().join(", ");
    if units.is_empty() { "none".to_owned() } else { units }
}

/// One line of the last column.
fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Conf(Consulted { key, used }) => match used {
            Use::Set => key.clone(),
            Use::Unset => format!("{key} is not set"),
            Use::NotYet => format!("{key} is set, but this version of Spark does not follow it"),
            Use::Unreadable => format!("{key} can't be read: Spark's default"),
        },
        Origin::Pod { what } => format!("the driver pod: {what}"),
        Origin::Release => "what this release of Spark does".to_owned(),
        Origin::Template => "the executors' pod template".to_owned(),
        Origin::Assumed { what } => (*what).to_owned(),
    }
}
