//! Samples as a Prometheus scrapes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// When all tests begin, milliseconds since 1970 UTC: 2026-09-01.
pub(crate) const BEGIN_MS: i64 = 1_788_220_800_000;
pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// Samples by metric and labels.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<(String, String), Vec<(i64, f64)>>);

impl Samples {
    /// Adds one; `labels` are `a="b",c="d"`.
    pub(crate) fn add(&mut self, metric: &str, labels: &str, at_ms: i64, value: f64) {
        let series = self.0.entry((metric.to_owned(), labels.to_owned())).or_default();
        series.push((at_ms, value));
    }

    /// Adds all of it again, as another Prometheus with the label `prometheus_replica` sees it a little later.
    pub(crate) fn double(&mut self, later_ms: i64) {
        let copies: Vec<_> = self
            .0
            .iter()
            .map(|((metric, labels), points)| {
                let labels = format!("{labels},prometheus_replica=\"b\"");
                let points = points.iter().map(|(at_ms, value)| (at_ms + later_ms, *value)).collect();
                ((metric.clone(), labels), points)
            })
            .collect();
        self.0.extend(copies);
    }

    /// Changes one sample.
    pub(crate) fn change(&mut self, is: impl Fn(&str, &str) -> bool, at_ms: i64, to: impl Fn(f64) -> f64) -> usize {
        let mut changed = 0;
        for ((metric, labels), points) in &mut self.0 {
            for (_, value) in points
                .iter_mut()
                .filter(|(time, _)| is(metric, labels) && *time == at_ms)
            {
                *value = to(*value);
                changed += 1;
            }
        }
        changed
    }

    /// In the format of `OpenMetrics`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for ((metric, labels), points) in &self.0 {
            for (at_ms, value) in points {
                let (seconds, ms) = (at_ms / 1_000, at_ms % 1_000);
                writeln!(text, "{metric}{{{labels}}} {value} {seconds}.{ms:03}").unwrap();
            }
        }
        text + "# EOF\n"
    }
}

/// Numbers that look like chance, always the same.
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// One below `end`.
    pub(crate) fn below(&mut self, end: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % end
    }
}
