//! `kompass queues show`: how queues stand.

use std::collections::BTreeSet;
use std::process::ExitCode;

use kompass_core::quantity;

use super::bar;
use super::standing::{Amounts, Queue, Standing};
use crate::extender;
use crate::table;

/// Options of `kompass queues show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kompass queues show
  kompass queues show etl adhoc
  kompass queues show --output json
  kompass queues show --kubeconfig ~/.kube/config

A line for each resource. The bar is full at the queue's limit, or at all that the cluster has where it has no limit;
`|` in it is the guarantee. TURN 1 is whose gang is next; `-` is a queue where nobody waits, or that its limit holds back.
SHARE is the largest part that the queue has of any resource; divided by the weight it decides whose turn it is, after
the guarantees.")]
pub(crate) struct Args {
    /// Only these queues.
    #[arg(value_name = "QUEUE")]
    queues: Vec<String>,
    #[command(flatten)]
    extender: extender::Place,
    /// How to print.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// As the extender sends it; with names of queues, only their state.
    Json,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let (mut answer, mut standing) = self.extender.connect().await?.queues().await?;
        if let Some(unknown) = self.queues.iter().find(|name| !standing.knows(name)) {
            let known: Vec<&str> = standing.state.iter().map(|queue| queue.name.as_str()).collect();
            anyhow::bail!(
                "there is no queue {unknown:?}: neither the rules nor a gang name it. Known are: {}",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            );
        }
        if !self.queues.is_empty() {
            let wanted = |name: &str| self.queues.iter().any(|queue| queue == name);
            standing.state.retain(|queue| wanted(&queue.name));
            if let Some(states) = answer.get_mut("state").and_then(|state| state.as_array_mut()) {
                states.retain(|state| state["name"].as_str().is_some_and(wanted));
            }
        }
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&answer)?),
            Output::Table => print!("{}", render(&standing, jiff::Timestamp::now().as_millisecond())),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Standing {
    fn knows(&self, name: &str) -> bool {
        self.state.iter().any(|queue| queue.name == name)
    }
}

fn render(standing: &Standing, now_ms: i64) -> String {
    let mut text = origin(standing, now_ms);
    if standing.state.is_empty() {
        text.push_str("no queues: there are no rules, and no gang waits or runs\n");
        return text;
    }
    let rows: Vec<Vec<String>> = standing
        .state
        .iter()
        .flat_map(|queue| rows(queue, &standing.total))
        .collect();
    let header = [
        "QUEUE",
        "WEIGHT",
        "TURN",
        "RUNNING",
        "WAITING",
        "SHARE",
        "RESOURCE",
        "IN USE",
        "USED",
        "GUARANTEED",
        "LIMIT",
        "NEXT GANG",
    ];
    text.push_str(&table::render(&header, &rows));
    text
}

/// Where the rules come from, and what is wrong with them.
fn origin(standing: &Standing, now_ms: i64) -> String {
    let ago = |moment_ms: i64| table::span(table::between(moment_ms, now_ms));
    let mut text = match (&standing.file, standing.applied_ms) {
        (Some(file), Some(applied_ms)) => format!("rules of {file}, in force for {}\n", ago(applied_ms)),
        (Some(file), None) => format!("rules of {file}\n"),
        (None, _) => "no queue file: all queues share alike\n".to_owned(),
    };
    if let Some(refused) = &standing.refused {
        let line = format!(
            "warning: the file as it is now is refused, for {}: {}\n",
            ago(refused.since_ms),
            refused.message
        );
        text.push_str(&line);
    }
    if !standing.leads {
        text.push_str("note: the extender that answered is not the one that plans; turns and reasons may be older\n");
    }
    text.push('\n');
    text
}

/// A line for each resource; what is said of the whole queue stands in the first.
fn rows(queue: &Queue, total: &Amounts) -> Vec<Vec<String>> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let share = match &queue.dominant_resource {
        Some(resource) => format!("{:.1} % {resource}", queue.dominant_share * 100.0),
        None => "-".to_owned(),
    };
    let next = queue.next.as_ref();
    let next = next.map(|next| format!("{}/{}: {}", next.namespace, next.name, next.code.as_str()));
    let lines = resources(queue).into_iter().enumerate().map(|(line, resource)| {
        let mut row = vec![
            queue.name.clone(),
            queue.weight.to_string(),
            or_none(queue.turn.map(|turn| turn.to_string())),
            queue.running.to_string(),
            queue.waiting.to_string(),
            share.clone(),
        ];
        if line > 0 {
            row.fill(String::new());
        }
        let amount = |amounts: &Amounts| amounts.get(resource).map(|text| readable(resource, text));
        let number = |amounts: &Amounts| amounts.get(resource).map(|text| number(resource, text));
        let used = number(&queue.used).unwrap_or(0);
        let most = number(&queue.limit).or_else(|| number(total));
        row.extend([
            resource.to_owned(),
            // Of pods there is no total.
            most.map_or_else(String::new, |most| bar::render(used, number(&queue.guaranteed), most)),
            amount(&queue.used).unwrap_or_else(|| "0".to_owned()),
            or_none(amount(&queue.guaranteed)),
            or_none(amount(&queue.limit)),
            next.clone().filter(|_| line == 0).unwrap_or_default(),
        ]);
        row
    });
    lines.collect()
}

/// CPU and memory, then whatever rules name or the queue has; pods only where rules name them.
fn resources(queue: &Queue) -> Vec<&str> {
    let named = queue.guaranteed.keys().chain(queue.limit.keys());
    let held = queue.used.keys().filter(|name| *name != "pods");
    let others: BTreeSet<&str> = named.chain(held).map(String::as_str).collect();
    let first = ["cpu", "memory"];
    let others = others.into_iter().filter(|name| !first.contains(name));
    first.into_iter().chain(others).collect()
}

fn is_bytes(resource: &str) -> bool {
    resource == "memory" || resource == "ephemeral-storage" || resource.starts_with("hugepages-")
}

/// An amount to be compared with others of the same resource: thousandths, bytes or pieces. What can't be read is 0.
fn number(resource: &str, text: &str) -> u64 {
    let read = if resource == "cpu" {
        quantity::milli(text)
    } else {
        quantity::units(text)
    };
    read.unwrap_or(0)
}

/// An amount for people: `1.5`, `37.2Gi`.
fn readable(resource: &str, text: &str) -> String {
    const SUFFIXES: [&str; 6] = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let number = number(resource, text) as f64;
    let one_digit = |number: f64| {
        let text = format!("{number:.1}");
        text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
    };
    if resource == "cpu" {
        return one_digit(number / 1_000.0);
    }
    if !is_bytes(resource) {
        return text.to_owned();
    }
    let (mut left, mut suffix) = (number, 0);
    while left >= 1_024.0 && suffix + 1 < SUFFIXES.len() {
        left /= 1_024.0;
        suffix += 1;
    }
    format!("{}{}", one_digit(left), SUFFIXES[suffix])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn standing() -> Standing {
        let etl = json!({
            "name": "etl", "weight": 2, "packing": "tight", "guaranteed": { "cpu": "100" },
            "limit": { "cpu": "200", "memory": "800Gi", "pods": "40" },
            "used": { "cpu": "150500m", "memory": "429496729601", "pods": "31" },
            "dominant_share": 0.376, "dominant_resource": "cpu", "running": 3, "waiting": 2, "turn": 1,
            "next": { "namespace": "team-etl", "name": "x-driver", "code": "no-room" }, "later": 1,
        });
        let gpu =
            json!({ "name": "ml", "weight": 1, "used": { "cpu": "0", "memory": "0", "pods": "0", "a.b/gpu": "2" } });
        let answer = json!({
            "file": "/etc/kompass/queues.yaml", "in_force": true, "applied_ms": 1_000, "refused": null, "version": 1,
            "queues": [], "leads": true, "total": { "cpu": "400", "memory": "1600Gi", "a.b/gpu": "8" }, "state": [etl, gpu],
        });
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn a_queue_is_shown_by_resource() {
        assert_eq!(
            render(&standing(), 61_000),
            "rules of /etc/kompass/queues.yaml, in force for 1 min 0 s\n\n\
             QUEUE  WEIGHT  TURN  RUNNING  WAITING  SHARE       RESOURCE  IN USE                USED   GUARANTEED  LIMIT  NEXT GANG\n\
             etl    2       1     3        2        37.6 % cpu  cpu       ██████████|████░░░░░  150.5  100         200    team-etl/x-driver: no-room\n\
             \x20                                                  memory    ██████████░░░░░░░░░░  400Gi  -           800Gi\n\
             \x20                                                  pods      ███████████████░░░░░  31     -           40\n\
             ml     1       -     0        0        -           cpu       ░░░░░░░░░░░░░░░░░░░░  0      -           -\n\
             \x20                                                  memory    ░░░░░░░░░░░░░░░░░░░░  0      -           -\n\
             \x20                                                  a.b/gpu   █████░░░░░░░░░░░░░░░  2      -           -\n"
        );
    }

    #[test]
    fn what_is_wrong_is_said_first() {
        let mut standing = standing();
        standing.state.clear();
        standing.leads = false;
        standing.refused = Some(super::super::standing::Refused {
            message: "no".to_owned(),
            since_ms: 31_000,
        });
        let text = render(&standing, 61_000);
        for words in [
            "is refused, for 30.0 s: no\n",
            "is not the one that plans",
            "no queues: ",
        ] {
            assert!(text.contains(words), "{words} is missing in {text}");
        }
        let nothing = Standing {
            leads: true,
            ..Standing::default()
        };
        assert!(render(&nothing, 0).starts_with("no queue file: all queues share alike\n"));
    }

    #[test]
    fn amounts_are_readable() {
        for (resource, text, shown) in [
            ("cpu", "1500m", "1.5"),
            ("cpu", "7", "7"),
            ("memory", "0", "0"),
            ("memory", "1536Mi", "1.5Gi"),
            ("memory", "1000000", "976.6Ki"),
            ("ephemeral-storage", "3Ti", "3Ti"),
            ("a.b/gpu", "4", "4"),
        ] {
            assert_eq!(readable(resource, text), shown, "{resource} {text}");
        }
    }
}
