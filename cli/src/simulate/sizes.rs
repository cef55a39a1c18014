//! The chart of waits by size of the gang.

use std::collections::BTreeSet;

use kompass_simulation::Report;
use kompass_simulation::waits::SizeClass;

use super::charts::{Chart, Compared};
use crate::draw::axis::{Scale, Unit};
use crate::draw::markup::{At, Markup};
use crate::draw::plot::{self, Axis, Frame};
use crate::table;

/// A dot and a ring for each policy and each class of sizes.
pub(super) fn draw(chart: &Chart, compared: Compared<'_>, page: &mut Markup) {
    let all = || compared.reports.iter().flat_map(|report| &report.course.sizes);
    let classes: BTreeSet<(u64, u64)> = all().map(|class| (class.pods_min, class.pods_max)).collect();
    let classes: Vec<_> = classes.into_iter().collect();
    let shortest_ms = all().map(|class| class.p50_ms).min().unwrap_or(0);
    let longest_ms = all().map(|class| class.p95_ms).max().unwrap_or(0);
    let scale = Scale::magnitude(shortest_ms as f64 / 1_000.0, longest_ms as f64 / 1_000.0);
    let width = 1.0 / classes.len().max(1) as f64;
    let middle = |column: usize| (column as f64 + 0.5) * width;
    // Labels of many classes have no room beside each other.
    let every = classes.len().div_ceil(10).max(1);
    let labels = classes.iter().enumerate().step_by(every);
    let text = |report: &Report| {
        let classes = report.course.sizes.iter().map(told);
        classes.collect::<Vec<_>>().join("; ")
    };
    let frame = Frame {
        id: "sizes",
        title: chart.title,
        description: compared.described(&text),
        across: Axis {
            title: "pods of the gang, its driver among them",
            ticks: labels.map(|(column, class)| (middle(column), pods(*class))).collect(),
        },
        up: Axis::new("wait, logarithmic", scale, Unit::Time),
        legend: compared.names,
    };
    frame.draw(page, |svg| {
        for (policy, (name, report)) in compared.names.iter().zip(compared.reports).enumerate() {
            let beside = policy as f64 + 0.5 - compared.names.len() as f64 / 2.0;
            let apart = 0.6 * width / compared.names.len() as f64;
            for class in &report.course.sizes {
                let column = classes.iter().position(|other| other.1 == class.pods_max);
                let Some(place) = column.map(|column| middle(column) + beside * apart) else {
                    continue;
                };
                let at = |wait_ms: i64| plot::up(scale.place(wait_ms as f64 / 1_000.0));
                let mark = (plot::across(place), at(class.p50_ms), at(class.p95_ms));
                let class_name = format!("size {}", plot::colour(policy));
                svg.element("g", &[("class", &class_name)], |svg| {
                    svg.text_element("title", &[], format_args!("{name}, {}", told(class)));
                    dumbbell(svg, mark);
                });
            }
        }
    });
}

/// A dot below, a ring above, and what joins them.
fn dumbbell(svg: &mut Markup, (x, dot, ring): (f64, f64, f64)) {
    let x = At(x);
    svg.empty("line", &[("x1", &x), ("y1", &At(dot)), ("x2", &x), ("y2", &At(ring))]);
    svg.empty(
        "circle",
        &[("class", &"ring"), ("cx", &x), ("cy", &At(ring)), ("r", &"4")],
    );
    svg.empty(
        "circle",
        &[("class", &"dot"), ("cx", &x), ("cy", &At(dot)), ("r", &"4")],
    );
}

fn told(class: &SizeClass) -> String {
    let (pods, gangs) = (
        pods((class.pods_min, class.pods_max)),
        table::grouped(class.gangs as f64),
    );
    let (half, most) = (
        table::seconds(class.p50_ms as f64 / 1_000.0),
        table::seconds(class.p95_ms as f64 / 1_000.0),
    );
    format!("{pods} pods: median {half}, p95 {most}, {gangs} gangs")
}

fn pods((min, max): (u64, u64)) -> String {
    if min == max {
        max.to_string()
    } else {
        format!("{min}–{max}")
    }
}
