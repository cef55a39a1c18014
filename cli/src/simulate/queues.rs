//! What each queue got: as a table, and drawn over time.

use std::fmt::Write as _;

use kompass_simulation::report::QueueReport;
use kompass_simulation::{Report, series::Series};

use super::charts::Compared;
use crate::draw::axis::{Scale, Unit};
use crate::draw::markup::Markup;
use crate::draw::plot::{self, Axis, Frame, Line};
use crate::table;

/// So many queues are shown: those that used most CPU.
const SHOWN_MAX: usize = 20;

/// A column of the table: its heading, what it means, and its cells.
struct Column {
    name: &'static str,
    meaning: &'static str,
    text: fn(&QueueReport) -> String,
}

const COLUMNS: [Column; 11] = [
    Column {
        name: "weight",
        meaning: "its share beside the others",
        text: |queue| queue.weight.to_string(),
    },
    Column {
        name: "guaranteed CPU",
        meaning: "what it has the first claim on",
        text: |queue| cpu(queue.guaranteed_cpu_milli),
    },
    Column {
        name: "limit CPU",
        meaning: "what it may have at most",
        text: |queue| cpu(queue.limit_cpu_milli),
    },
    Column {
        name: "gangs",
        meaning: "gangs that were simulated",
        text: |queue| table::grouped(queue.gangs as f64),
    },
    Column {
        name: "wait, mean",
        meaning: "from submission until all of the gang is placed",
        text: |queue| table::seconds(queue.wait_mean_s),
    },
    Column {
        name: "wait, p95",
        meaning: "one gang in twenty waited longer",
        text: |queue| table::seconds(queue.wait_p95_s),
    },
    Column {
        name: "slowdown",
        meaning: "bounded slowdown, mean",
        text: |queue| format!("{:.1}", queue.bounded_slowdown_mean),
    },
    Column {
        name: "CPU share",
        meaning: "its part of all CPU in use",
        text: |queue| percent(queue.share),
    },
    Column {
        name: "when contended",
        meaning: "the same while gangs waited in it and in another queue",
        text: |queue| contended(queue, queue.contended_share),
    },
    Column {
        name: "due by weight",
        meaning: "what its weight alone would give it then, among the queues that waited or ran",
        text: |queue| contended(queue, queue.contended_fair_share),
    },
    Column {
        name: "claim waited",
        meaning: "how long its first gang waited although the queue stayed within its guarantee with it",
        text: |queue| match queue.guaranteed_cpu_milli {
            None if queue.claim_waited_s <= 0.0 => "-".to_owned(),
            _ => table::seconds(queue.claim_waited_s),
        },
    },
];

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn contended(queue: &QueueReport, share: f64) -> String {
    if queue.contended_s > 0.0 {
        percent(share)
    } else {
        "-".to_owned()
    }
}

fn cpu(milli: Option<u64>) -> String {
    milli.map_or_else(|| "-".to_owned(), |milli| (milli as f64 / 1_000.0).to_string())
}

/// Whether there is more than one queue to tell of.
pub(super) fn are_told(reports: &[&Report]) -> bool {
    reports.iter().any(|report| report.queues.len() > 1)
}

/// Names of the queues that are shown, and how many are not.
fn shown<'a>(reports: &[&'a Report]) -> (Vec<&'a str>, usize) {
    let Some(first) = reports.first() else {
        return (Vec::new(), 0);
    };
    let mut queues: Vec<(&str, f64)> = first
        .queues
        .iter()
        .map(|(name, queue)| (name.as_str(), queue.share))
        .collect();
    queues.sort_by(|left, right| right.1.total_cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    let left_out = queues.len().saturating_sub(SHOWN_MAX);
    queues.truncate(SHOWN_MAX);
    (queues.into_iter().map(|(name, _)| name).collect(), left_out)
}

/// The table for a terminal: a line for each queue and policy.
pub(super) fn text(names: &[&str], reports: &[&Report]) -> String {
    let (queues, left_out) = shown(reports);
    let header: Vec<&str> = ["queue", "policy"]
        .into_iter()
        .chain(COLUMNS.iter().map(|column| column.name))
        .collect();
    let mut rows = Vec::new();
    for queue in queues {
        for (number, (policy, report)) in names.iter().zip(reports).enumerate() {
            let Some(figures) = report.queues.get(queue) else {
                continue;
            };
            let name = if number == 0 { queue } else { "" };
            let cells = COLUMNS.iter().map(|column| (column.text)(figures));
            let row = [name.to_owned(), (*policy).to_owned()].into_iter().chain(cells);
            rows.push(row.collect::<Vec<_>>());
        }
    }
    let mut text = table::render(&header, &rows);
    if left_out > 0 {
        text.push_str(&more(left_out));
        text.push('\n');
    }
    for column in COLUMNS.iter().skip(7) {
        // Writing to a string never fails.
        let _ = writeln!(text, "  {}: {}", column.name, column.meaning);
    }
    text
}

fn more(left_out: usize) -> String {
    format!("{left_out} more queues used less CPU; --json writes them all.")
}

/// The section of the page.
pub(super) fn draw(compared: Compared<'_>, body: &mut Markup) {
    let (queues, left_out) = shown(compared.reports);
    body.text_element("h2", &[], "Queues");
    body.element("div", &[("class", &"wide")], |body| {
        let columns = format!("--policies: {}", COLUMNS.len() + 1);
        body.element("table", &[("style", &columns)], |table| {
            table.element("thead", &[], |head| {
                head.element("tr", &[], |row| {
                    for name in ["queue", "policy"] {
                        row.text_element("th", &[("scope", &"col")], name);
                    }
                    for column in &COLUMNS {
                        let attributes: [(&str, &dyn std::fmt::Display); 2] =
                            [("scope", &"col"), ("title", &column.meaning)];
                        row.text_element("th", &attributes, column.name);
                    }
                });
            });
            table.element("tbody", &[], |rows| {
                for queue in &queues {
                    for (policy, report) in compared.names.iter().zip(compared.reports) {
                        let Some(figures) = report.queues.get(*queue) else {
                            continue;
                        };
                        rows.raw("\n");
                        rows.element("tr", &[], |row| {
                            row.text_element("th", &[("scope", &"row")], queue);
                            row.text_element("td", &[], policy);
                            for column in &COLUMNS {
                                row.text_element("td", &[], (column.text)(figures));
                            }
                        });
                    }
                }
            });
        });
    });
    if left_out > 0 {
        body.text_element("p", &[("class", &"quiet")], more(left_out));
    }
    let meanings = COLUMNS.iter().skip(7);
    let meanings: Vec<String> = meanings
        .map(|column| format!("{}: {}.", column.name, column.meaning))
        .collect();
    body.text_element("p", &[("class", &"quiet")], meanings.join(" "));
    body.element("div", &[("class", &"charts")], |body| {
        for (number, (policy, report)) in compared.names.iter().zip(compared.reports).enumerate() {
            body.raw("\n");
            body.element("figure", &[], |figure| chart(compared, number, policy, report, figure));
        }
    });
    body.raw("\n");
}

/// What the queues used over time with one policy.
fn chart(compared: Compared<'_>, number: usize, policy: &str, report: &Report, figure: &mut Markup) {
    let all = compared.nodes as f64 * compared.node_cpu_milli as f64;
    let title = format!("CPU by queue, {policy}");
    let told = |name: &str| {
        report
            .queues
            .get(name)
            .map_or_else(String::new, |queue| promised(queue, all))
    };
    figure.element("figcaption", &[], |caption| {
        caption.text_element("h3", &[], &title);
        let text = "Of the CPU of all nodes, the share that a queue's pods requested; the queues with most work.";
        caption.text_element("p", &[], text);
        caption.element("p", &[], |legend| {
            for (line, (name, _)) in report.course.queues.iter().enumerate() {
                let class = format!("swatch {}", plot::colour(line));
                legend.text_element("span", &[("class", &class)], "");
                legend.text(format_args!("{name} ({}) ", told(name)));
            }
        });
    });
    let span_ms = report.course.queues.iter().map(|(_, series)| series.span_ms()).max();
    let time = Scale::even(span_ms.unwrap_or(0) as f64 / 1_000.0);
    let described = report
        .course
        .queues
        .iter()
        .map(|(name, _)| format!("{name}: {}.", told(name)));
    let frame = Frame {
        id: &format!("queues-{number}"),
        title: &title,
        description: described.collect::<Vec<_>>().join(" "),
        across: Axis::new("time since the first submission", time, Unit::Time),
        up: Axis::new("CPU in use", Scale::even(1.0), Unit::Share),
        legend: &[],
    };
    frame.draw(figure, |svg| {
        for (number, (_, series)) in report.course.queues.iter().enumerate() {
            plot::line(svg, number, &line(series, time, all));
        }
    });
}

/// What a queue was promised and got, in a few words.
fn promised(queue: &QueueReport, all_milli: f64) -> String {
    let mut text = format!("weight {}", queue.weight);
    let of_all = |milli: u64| percent(if all_milli > 0.0 { milli as f64 / all_milli } else { 0.0 });
    if let Some(milli) = queue.guaranteed_cpu_milli {
        let _ = write!(text, ", guaranteed {}", of_all(milli));
    }
    if let Some(milli) = queue.limit_cpu_milli {
        let _ = write!(text, ", limit {}", of_all(milli));
    }
    text
}

fn line(series: &Series, time: Scale, all_milli: f64) -> Line {
    let (mut line, mut now_ms) = (Line::new(), 0_u64);
    for bucket in series.buckets() {
        let up = (all_milli > 0.0).then(|| bucket.cpu_milli() / all_milli);
        for moment_ms in [now_ms, now_ms + bucket.lasted_ms()] {
            line.push(up.map(|up| (time.place(moment_ms as f64 / 1_000.0), up)));
        }
        now_ms += bucket.lasted_ms();
    }
    line
}
