//! How long gangs waited: the distribution, and by size of the gang.

use std::collections::BTreeMap;

/// So many points of a distribution are kept: each stands for a fifth of a percent of the gangs.
const POINTS_MAX: usize = 500;

/// The distribution of waits, bounded in size however many gangs there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waits {
    points: Vec<Point>,
}

/// A point of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// A time from submission to start that occurred, milliseconds.
    pub wait_ms: i64,
    /// Gangs that waited as long or shorter.
    pub gangs: u64,
}

/// Waits of gangs of about the same size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizeClass {
    /// Pods of the smallest gang that belongs here, the driver among them.
    pub pods_min: u64,
    /// Pods of the largest: a power of two.
    pub pods_max: u64,
    /// Gangs in it, at least one.
    pub gangs: u64,
    /// Median time from submission to start, milliseconds.
    pub p50_ms: i64,
    /// 95th percentile of the same.
    pub p95_ms: i64,
}

impl Waits {
    /// Of waits in any order, milliseconds.
    pub fn new(mut all_ms: Vec<i64>) -> Self {
        all_ms.sort_unstable();
        let mut points: Vec<Point> = Vec::new();
        let last = all_ms.len().saturating_sub(1);
        let steps = last.clamp(1, POINTS_MAX);
        for step in 0..=steps {
            let Some(&wait_ms) = all_ms.get(last * step / steps) else {
                break;
            };
            if points.last().is_none_or(|before| before.wait_ms < wait_ms) {
                let gangs = all_ms.partition_point(|&other| other <= wait_ms) as u64;
                points.push(Point { wait_ms, gangs });
            }
        }
        Self { points }
    }

    /// In order of waits, each longer than the one before; the last is of all gangs. Empty when there was no gang.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// How many gangs there were.
    pub fn gangs(&self) -> u64 {
        self.points.last().map_or(0, |last| last.gangs)
    }

    /// The longest wait, milliseconds; 0 when there was no gang.
    pub fn longest_ms(&self) -> i64 {
        self.points.last().map_or(0, |last| last.wait_ms)
    }

    /// The share of gangs that waited so long or shorter, from 0 to 1; 0 when there was no gang.
    pub fn share_within(&self, wait_ms: i64) -> f64 {
        let reached = self.points.partition_point(|point| point.wait_ms <= wait_ms);
        let gangs = reached
            .checked_sub(1)
            .and_then(|last| self.points.get(last))
            .map_or(0, |point| point.gangs);
        gangs as f64 / self.gangs().max(1) as f64
    }
}

/// Waits by size, of gangs as (pods, wait in milliseconds): a class for each doubling of the size that occurred.
pub(crate) fn by_size(gangs: impl Iterator<Item = (u64, i64)>) -> Vec<SizeClass> {
    let mut classes: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for (pods, wait_ms) in gangs {
        let largest = pods.max(1).checked_next_power_of_two().unwrap_or(u64::MAX);
        classes.entry(largest).or_default().push(wait_ms);
    }
    let classes = classes.into_iter().map(|(pods_max, mut waits_ms)| {
        waits_ms.sort_unstable();
        // As in the report.
        let at = |percent: usize| waits_ms.get((waits_ms.len() - 1) * percent / 100).copied().unwrap_or(0);
        SizeClass {
            pods_min: pods_max / 2 + 1,
            pods_max,
            gangs: waits_ms.len() as u64,
            p50_ms: at(50),
            p95_ms: at(95),
        }
    });
    classes.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_waits_are_kept_exactly() {
        let waits = Waits::new(vec![3_000, 0, 0, 1_000]);
        let points: Vec<_> = waits
            .points()
            .iter()
            .map(|point| (point.wait_ms, point.gangs))
            .collect();
        assert_eq!(points, [(0, 2), (1_000, 3), (3_000, 4)]);
        for (wait_ms, share) in [(-1, 0.0), (0, 0.5), (999, 0.5), (1_000, 0.75), (9_000, 1.0)] {
            assert!((waits.share_within(wait_ms) - share).abs() < f64::EPSILON, "{wait_ms}");
        }
    }

    #[test]
    fn no_gang_is_no_point_and_one_is_one() {
        let none = Waits::new(vec![]);
        assert_eq!((none.points().len(), none.gangs(), none.longest_ms()), (0, 0, 0));
        assert!(none.share_within(5).abs() < f64::EPSILON);
        assert_eq!(Waits::new(vec![7]).points(), [Point { wait_ms: 7, gangs: 1 }]);
    }

    #[test]
    fn sizes_are_doublings() {
        let gangs = [(1, 5), (2, 1), (3, 7), (4, 9), (9, 2), (16, 4), (4, 8)];
        let classes: Vec<_> = by_size(gangs.into_iter())
            .into_iter()
            .map(|class| (class.pods_min, class.pods_max, class.gangs, class.p50_ms, class.p95_ms))
            .collect();
        assert_eq!(
            classes,
            [(1, 1, 1, 5, 5), (2, 2, 1, 1, 1), (3, 4, 3, 8, 8), (9, 16, 2, 2, 2)]
        );
        assert!(by_size(std::iter::empty()).is_empty());
    }

    proptest! {
        #[test]
        fn a_distribution_is_bounded_and_tells_the_truth(waits_ms in prop::collection::vec(0_i64..100_000, 1..3_000)) {
            let waits = Waits::new(waits_ms.clone());
            prop_assert!(waits.points().len() <= POINTS_MAX + 1);
            prop_assert!(waits.points().is_sorted_by(|left, right| left.wait_ms < right.wait_ms));
            prop_assert_eq!(waits.gangs(), waits_ms.len() as u64);
            prop_assert_eq!(Some(waits.longest_ms()), waits_ms.iter().copied().max());
            for point in waits.points() {
                prop_assert_eq!(point.gangs, waits_ms.iter().filter(|&&wait| wait <= point.wait_ms).count() as u64);
            }
        }
    }
}
