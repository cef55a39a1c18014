//! The figures of a simulation: their names, what they mean to people, and which of two is better.

use kompass_simulation::Report;

use crate::table;

/// One figure of every report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    /// In plain words, for somebody who has never heard of it.
    pub(super) meaning: &'static str,
    /// Of two different values, which one people want.
    pub(super) better: Better,
    value: fn(&Report) -> Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    Less,
    More,
    /// It says something about the trace, or depends on what is wanted.
    Neither,
    /// Anything but 0 is a bug.
    Zero,
}

#[derive(Debug, Clone, Copy)]
enum Value {
    Number(u64),
    Rounded(f64),
    Ratio(f64),
    Share(f64),
    Seconds(f64),
}

impl Figure {
    /// The figure of a report as people read it.
    pub(super) fn text(&self, report: &Report) -> String {
        match (self.value)(report) {
            Value::Number(number) => table::grouped(number as f64),
            Value::Rounded(number) => table::grouped(number),
            Value::Ratio(number) => format!("{number:.1}"),
            Value::Share(share) => format!("{:.1} %", share * 100.0),
            Value::Seconds(seconds) => table::seconds(seconds),
        }
    }

    /// Its number, to compare.
    pub(super) fn number(&self, report: &Report) -> f64 {
        match (self.value)(report) {
            Value::Number(number) => number as f64,
            Value::Rounded(number) | Value::Ratio(number) | Value::Share(number) | Value::Seconds(number) => number,
        }
    }

    /// For each report whether it is the best; no one is where all read the same.
    pub(super) fn best(&self, reports: &[&Report]) -> Vec<bool> {
        let numbers = reports.iter().map(|report| self.number(report));
        let best = match self.better {
            Better::Less => numbers.reduce(f64::min),
            Better::More => numbers.reduce(f64::max),
            Better::Neither | Better::Zero => None,
        };
        let texts: Vec<String> = reports.iter().map(|report| self.text(report)).collect();
        // Who reads the same as the best is as good, whatever comes behind the last digit.
        let best = best
            .and_then(|best| {
                reports
                    .iter()
                    .position(|report| self.number(report).total_cmp(&best).is_eq())
            })
            .and_then(|best| texts.get(best))
            .filter(|best| texts.iter().any(|text| text != *best));
        texts.iter().map(|text| best == Some(text)).collect()
    }
}

/// All figures, in the order in which they are shown.
pub(super) const FIGURES: [Figure; 15] = [
    Figure {
        name: "gangs",
        meaning: "Spark jobs that were simulated: a driver and its executors, which start together or not at all.",
        better: Better::Neither,
        value: |report| Value::Number(report.gangs),
    },
    Figure {
        name: "too large for the cluster",
        meaning: "Gangs that not even the empty cluster could take; they are left out of everything else.",
        better: Better::Neither,
        value: |report| Value::Number(report.too_large),
    },
    Figure {
        name: "above its queue's limit",
        meaning: "Gangs that alone need more than the rules allow their queue; they are left out of everything else.",
        better: Better::Neither,
        value: |report| Value::Number(report.over_limit),
    },
    Figure {
        name: "wait, mean",
        meaning: "From submission until all of the gang is placed, on average.",
        better: Better::Less,
        value: |report| Value::Seconds(report.wait_mean_s),
    },
    Figure {
        name: "wait, p50",
        meaning: "Half of the gangs waited at most this long.",
        better: Better::Less,
        value: |report| Value::Seconds(report.wait_p50_s),
    },
    Figure {
        name: "wait, p95",
        meaning: "One gang in twenty waited longer.",
        better: Better::Less,
        value: |report| Value::Seconds(report.wait_p95_s),
    },
    Figure {
        name: "wait, p99",
        meaning: "One gang in a hundred waited longer.",
        better: Better::Less,
        value: |report| Value::Seconds(report.wait_p99_s),
    },
    Figure {
        name: "wait, longest",
        meaning: "The gang that waited longest.",
        better: Better::Less,
        value: |report| Value::Seconds(report.wait_max_s),
    },
    Figure {
        name: "bounded slowdown, mean",
        meaning: "How many times its own run time a gang took from submission to end; 1 is no wait at all. \
                  Run times below 10 s count as 10 s.",
        better: Better::Less,
        value: |report| Value::Ratio(report.bounded_slowdown_mean),
    },
    Figure {
        name: "utilisation",
        meaning: "Of the CPU of all nodes, the share that was requested by running pods, over the whole time.",
        better: Better::More,
        value: |report| Value::Share(report.utilisation),
    },
    Figure {
        name: "fragmentation",
        meaning: "Of the CPU that was free, the share on nodes that had pods: room that could not be given back.",
        better: Better::Less,
        value: |report| Value::Share(report.fragmentation),
    },
    Figure {
        name: "node-hours in use",
        meaning: "Hours of nodes with at least one pod, all added up: what an ideal autoscaler would pay for.",
        better: Better::Less,
        value: |report| Value::Rounded(report.node_hours),
    },
    Figure {
        name: "overtakes",
        meaning: "Gangs that started before the head of the queue. Counted with one queue only.",
        better: Better::Neither,
        value: |report| Value::Number(report.overtakes),
    },
    Figure {
        name: "longest delay by overtaking",
        meaning: "The longest that a head of the queue still waited once it would have fit without those that \
                  overtook it. Measured with one queue only.",
        better: Better::Less,
        value: |report| Value::Seconds(report.max_overtake_delay_s),
    },
    Figure {
        name: "violations",
        meaning: "Nodes overbooked, limits of queues exceeded, gangs starved, invariants broken. Anything but 0 is a bug in KOMPASS.",
        better: Better::Zero,
        value: |report| Value::Number(report.violations),
    },
];

#[cfg(test)]
mod tests {
    use kompass_planner::Backfill;
    use kompass_simulation::engine::Queues;
    use kompass_simulation::{Estimates, Settings};

    use super::*;

    fn report(wait_mean_s: f64, utilisation: f64) -> Report {
        let settings = Settings {
            nodes: 1,
            node_cpu_milli: 1,
            node_memory_mib: 1,
            zones: 1,
            packing: kompass_planner::Packing::default(),
            backfill: Backfill::Off,
            backfill_delay_ms: 0,
            estimates: Estimates::Learned,
            queues: Queues::One,
        };
        Report {
            wait_mean_s,
            utilisation,
            ..kompass_simulation::simulate(&[], &settings, |_| {})
        }
    }

    #[test]
    fn the_best_is_marked_and_whoever_reads_the_same() {
        let figure = |name: &str| FIGURES.into_iter().find(|figure| figure.name == name).unwrap();
        let reports = [report(70.2, 0.5), report(70.4, 0.501), report(95.0, 0.5004)];
        let reports: Vec<&Report> = reports.iter().collect();
        assert_eq!(figure("wait, mean").best(&reports), [true, true, false]);
        assert_eq!(figure("utilisation").best(&reports), [false, true, false]);
        assert_eq!(figure("wait, p99").best(&reports), [false; 3], "all are the same");
        assert_eq!(
            figure("wait, mean").best(&reports[..1]),
            [false],
            "nothing to compare with"
        );
        assert_eq!(figure("overtakes").best(&[]), Vec::<bool>::new());
    }
}
