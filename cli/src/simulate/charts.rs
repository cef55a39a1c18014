//! The charts of a comparison: what is drawn where.

use kompass_simulation::Report;
use kompass_simulation::series::Bucket;

use super::sizes;
use crate::draw::axis::{Scale, Unit};
use crate::draw::markup::Markup;
use crate::draw::plot::{self, Axis, Frame, Line};
use crate::table;

/// What all charts are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compared<'a> {
    /// Names of the policies.
    pub(super) names: &'a [&'a str],
    /// A report for each.
    pub(super) reports: &'a [&'a Report],
    /// Nodes of the cluster.
    pub(super) nodes: usize,
    /// CPU of each, thousandths.
    pub(super) node_cpu_milli: u64,
}

/// A chart: its heading, what to see in it, and how it is drawn.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) caption: &'static str,
    pub(super) draw: fn(&Self, Compared<'_>, &mut Markup),
}

/// All charts, in the order in which they are shown.
pub(super) const CHARTS: [Chart; 6] = [
    Chart {
        title: "How long gangs waited",
        caption: "The share of gangs (up) that waited so long or shorter (across). The line further up and left is \
                  better. Waits below 1 s are at the left edge.",
        draw: waits,
    },
    Chart {
        title: "Wait by size of the gang",
        caption: "Dot: the median. Ring: 19 of 20 gangs of this size waited shorter (p95). Lower is better. \
                  Waits below 1 s are at the bottom.",
        draw: sizes::draw,
    },
    Chart {
        title: "Utilisation",
        caption: "Of the CPU of all nodes, the share that running pods requested.",
        draw: |chart, compared, page| {
            let all = compared.cpu_milli();
            let text = |report: &Report| format!("{:.1} % on average", report.utilisation * 100.0);
            let value = move |bucket: &Bucket| (all > 0.0).then(|| bucket.cpu_milli() / all);
            let course = Course {
                id: "utilisation",
                name: "CPU in use",
                scale: Scale::even(1.0),
                unit: Unit::Share,
                value: &value,
                text: &text,
            };
            over_time(chart, compared, page, &course);
        },
    },
    Chart {
        title: "Gangs that wait",
        caption: "Submitted and not started. Lower is better.",
        draw: |chart, compared, page| {
            let most = compared.most(Bucket::waiting);
            let text = |report: &Report| {
                let series = &report.course.series;
                let sums = series
                    .buckets()
                    .iter()
                    .map(|bucket| bucket.waiting() * bucket.lasted_ms() as f64);
                let mean = sums.sum::<f64>() / series.span_ms().max(1) as f64;
                format!("{mean:.1} on average")
            };
            let course = Course {
                id: "waiting",
                name: "gangs",
                scale: Scale::even(most),
                unit: Unit::Count,
                value: &|bucket| Some(bucket.waiting()),
                text: &text,
            };
            over_time(chart, compared, page, &course);
        },
    },
    Chart {
        title: "Nodes in use",
        caption: "Nodes with at least one pod; the area under a line is its node-hours. Lower is cheaper, if nodes \
                  can be given back.",
        draw: |chart, compared, page| {
            let text = |report: &Report| format!("{:.0} node-hours in all", report.node_hours);
            let course = Course {
                id: "nodes",
                name: "nodes",
                scale: Scale::even(compared.nodes as f64),
                unit: Unit::Count,
                value: &|bucket| Some(bucket.nodes()),
                text: &text,
            };
            over_time(chart, compared, page, &course);
        },
    },
    Chart {
        title: "Fragmentation",
        caption: "Of the CPU that is free, the share on nodes in use. Lower is better. In a full cluster that is \
                  nearly all of it; where nothing is free there is no line.",
        draw: |chart, compared, page| {
            let all = compared.cpu_milli();
            let text = |report: &Report| format!("{:.1} % on average", report.fragmentation * 100.0);
            let value = move |bucket: &Bucket| {
                let free = all - bucket.cpu_milli();
                // Half a thousandth of a CPU is a remainder of the division, not room.
                (free > 0.5).then(|| bucket.stranded_cpu_milli() / free)
            };
            let course = Course {
                id: "fragmentation",
                name: "share of free CPU",
                scale: Scale::even(1.0),
                unit: Unit::Share,
                value: &value,
                text: &text,
            };
            over_time(chart, compared, page, &course);
        },
    },
];

impl Compared<'_> {
    fn cpu_milli(&self) -> f64 {
        self.nodes as f64 * self.node_cpu_milli as f64
    }

    fn most(&self, value: impl Fn(&Bucket) -> f64) -> f64 {
        let buckets = self.reports.iter().flat_map(|report| report.course.series.buckets());
        buckets.map(value).fold(0.0, f64::max)
    }

    /// A sentence for each policy.
    pub(super) fn described(&self, text: &dyn Fn(&Report) -> String) -> String {
        let each = self.names.iter().zip(self.reports);
        let sentences: Vec<String> = each
            .map(|(name, report)| format!("{name}: {}.", text(report)))
            .collect();
        sentences.join(" ")
    }
}

fn waits(chart: &Chart, compared: Compared<'_>, page: &mut Markup) {
    let scale = waits_scale(compared.reports);
    let text = |report: &Report| {
        let (half, most) = (table::seconds(report.wait_p50_s), table::seconds(report.wait_p95_s));
        format!("half of the gangs waited at most {half}, 95 % at most {most}")
    };
    let frame = Frame {
        id: "waits",
        title: chart.title,
        description: compared.described(&text),
        across: Axis::new("wait, logarithmic", scale, Unit::Time),
        up: Axis::new("share of gangs", Scale::even(1.0), Unit::Share),
        legend: compared.names,
    };
    frame.draw(page, |svg| {
        for (policy, report) in compared.reports.iter().enumerate() {
            plot::line(svg, policy, &distribution(report, scale));
        }
    });
}

/// The axis on which the longest wait of all has room.
pub(super) fn waits_scale(reports: &[&Report]) -> Scale {
    let longest_ms = reports.iter().map(|report| report.course.waits.longest_ms()).max();
    Scale::magnitude(0.0, longest_ms.unwrap_or(0) as f64 / 1_000.0)
}

fn distribution(report: &Report, scale: Scale) -> Line {
    let waits = &report.course.waits;
    if waits.gangs() == 0 {
        return Line::new();
    }
    let mut share = waits.share_within(1_000);
    let mut line = vec![Some((0.0, share))];
    for point in waits.points().iter().filter(|point| point.wait_ms > 1_000) {
        let place = scale.place(point.wait_ms as f64 / 1_000.0);
        line.push(Some((place, share)));
        share = point.gangs as f64 / waits.gangs() as f64;
        line.push(Some((place, share)));
    }
    line.push(Some((1.0, share)));
    line
}

/// What is drawn over time.
struct Course<'a> {
    id: &'static str,
    /// What is measured.
    name: &'static str,
    scale: Scale,
    unit: Unit,
    /// Its value in a bucket; nothing where it has none.
    value: &'a dyn Fn(&Bucket) -> Option<f64>,
    /// All of it in words.
    text: &'a dyn Fn(&Report) -> String,
}

fn over_time(chart: &Chart, compared: Compared<'_>, page: &mut Markup, course: &Course<'_>) {
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let spans_ms = compared.reports.iter().map(|report| report.course.series.span_ms());
    let time = Scale::even(seconds(spans_ms.max().unwrap_or(0)));
    let frame = Frame {
        id: course.id,
        title: chart.title,
        description: compared.described(course.text),
        across: Axis::new("time since the first submission", time, Unit::Time),
        up: Axis::new(course.name, course.scale, course.unit),
        legend: compared.names,
    };
    frame.draw(page, |svg| {
        for (policy, report) in compared.reports.iter().enumerate() {
            let (mut line, mut now_ms) = (Line::new(), 0_u64);
            for bucket in report.course.series.buckets() {
                let up = (course.value)(bucket).map(|value| course.scale.place(value));
                line.push(up.map(|up| (time.place(seconds(now_ms)), up)));
                now_ms += bucket.lasted_ms();
                line.push(up.map(|up| (time.place(seconds(now_ms)), up)));
            }
            plot::line(svg, policy, &line);
        }
    });
}
