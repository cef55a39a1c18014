//! Means over what is known of a series, each in constant time.

use crate::calendar::{Calendar, DAY_MS};
use crate::features::{FeatureSpec, Window};
use crate::series::Series;

/// Square roots of a series, summed up from its begin.
#[derive(Debug)]
pub(crate) struct Past<'a> {
    series: &'a Series,
    roots: Vec<Option<f64>>,
    /// Of the roots before an index, and how many of them are known.
    sums: Vec<(f64, u32)>,
    /// Per half-life: mean of the roots before an index, weighted by age.
    aged: Vec<(u32, Vec<f64>)>,
}

impl<'a> Past<'a> {
    pub(crate) fn new(series: &'a Series, spec: &FeatureSpec) -> Self {
        let roots: Vec<Option<f64>> = (0..series.len())
            .map(|index| series.value(index).map(f64::sqrt))
            .collect();
        let mut sums = Vec::with_capacity(roots.len() + 1);
        let mut sum = (0.0, 0_u32);
        sums.push(sum);
        for root in &roots {
            if let Some(root) = root {
                sum = (sum.0 + root, sum.1 + 1);
            }
            sums.push(sum);
        }
        let aged = spec
            .half_lives
            .iter()
            .map(|&half_life| (half_life, age(&roots, half_life)))
            .collect();
        Self {
            series,
            roots,
            sums,
            aged,
        }
    }

    pub(crate) fn time_ms(&self, index: usize) -> u64 {
        self.series.time_ms(index)
    }

    /// Buckets in a day, at least 1.
    pub(crate) fn day(&self) -> usize {
        usize::try_from(DAY_MS / self.series.bucket_ms())
            .unwrap_or(usize::MAX)
            .max(1)
    }

    /// Mean of the known ones of the last `buckets` before `origin`; failing that of all before it, else 0.
    pub(crate) fn recent(&self, origin: usize, buckets: usize) -> f64 {
        let origin = origin.min(self.roots.len());
        let mean = self.mean(origin.saturating_sub(buckets), origin);
        mean.or_else(|| self.mean(0, origin)).unwrap_or(0.0)
    }

    /// Largest of the last `buckets` before `origin`, 0 if none is known.
    pub(crate) fn peak(&self, origin: usize, buckets: usize) -> f64 {
        let origin = origin.min(self.roots.len());
        let recent = &self.roots[origin.saturating_sub(buckets)..origin];
        recent.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// Mean of all before `origin`, weighted by age. `half_life` is one of the specification's.
    pub(crate) fn aged(&self, origin: usize, half_life: u32) -> f64 {
        let aged = self.aged.iter().find(|(other, _)| *other == half_life);
        aged.and_then(|(_, means)| means.get(origin.min(self.roots.len())))
            .copied()
            .unwrap_or(0.0)
    }

    /// Mean of the window at the same clock time `days` before, as far as it was known at the origin.
    pub(crate) fn same_clock(&self, calendar: &Calendar<'_>, window: Window, days: u32, widened: usize) -> Option<f64> {
        let then_ms = calendar.days_before(self.time_ms(window.origin + window.lead), days)?;
        let first = then_ms.checked_sub(self.time_ms(0))? / self.series.bucket_ms();
        let first = usize::try_from(first).ok()?;
        let end = first.saturating_add(window.span).saturating_add(widened);
        self.mean(first.saturating_sub(widened), end.min(window.origin))
    }

    fn mean(&self, first: usize, end: usize) -> Option<f64> {
        let (&(sum_before, known_before), &(sum, known)) = (self.sums.get(first)?, self.sums.get(end)?);
        (end > first && known > known_before).then(|| (sum - sum_before).max(0.0) / f64::from(known - known_before))
    }
}

fn age(roots: &[Option<f64>], half_life: u32) -> Vec<f64> {
    let keep = 0.5_f64.powf(1.0 / f64::from(half_life.max(1)));
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut means = Vec::with_capacity(roots.len() + 1);
    means.push(0.0);
    for root in roots {
        if let Some(root) = root {
            sum = sum * keep + root * (1.0 - keep);
            weight = weight * keep + (1.0 - keep);
        }
        means.push(if weight > 0.0 { sum / weight } else { 0.0 });
    }
    means
}
