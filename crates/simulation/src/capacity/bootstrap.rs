//! Waits against those of fixed headroom at the same bill, and how sure that is: bootstrap over whole days.
//!
//! The rule, for the part as it is and for every resample alike: its days are summed for each point of fixed headroom and
//! for the policy's point at each operating point; the hull is made of the sums; the ratio of an operating point is the
//! policy's mean wait by that of the hull at the policy's bill. Where the hull's wait is below 1 s there is nothing to win
//! and the operating point has no ratio; the ratio of the whole is the mean over those that have one. Resamples without
//! any are left out, and with more than half of them left out there is no interval.

use super::frontier::{Hull, Vertex};
use super::input::mix;
use super::measure::{Day, Point};

/// Waits of fixed headroom below this are nothing to be compared with, seconds.
const WAIT_LEAST_S: f64 = 1.0;
/// Resamples.
const RESAMPLES: u64 = 1_000;
/// The interval holds 90 %: from 5 % to 95 %.
const TAIL: f64 = 0.05;

/// A policy's wait beside that of fixed headroom at the same bill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beside {
    /// The policy's bill, node-hours.
    pub bill: f64,
    /// Its mean wait, seconds.
    pub wait_s: f64,
    /// The mean wait of fixed headroom at that bill, seconds.
    pub wait_fixed_s: f64,
    /// The first by the second; nothing where the second is below 1 s.
    pub ratio: Option<f64>,
}

/// Each of a policy's points beside fixed headroom, on these days (each as often as it is named).
pub fn beside(fixed: &[Point], points: &[&Point], days: &[usize]) -> Vec<Beside> {
    let hull = Hull::new(fixed.iter().map(|point| vertex(point, days)));
    let each = points.iter().map(|point| {
        let Vertex { bill, wait_s } = vertex(point, days);
        let wait_fixed_s = hull.wait_s(bill);
        Beside {
            bill,
            wait_s,
            wait_fixed_s,
            ratio: (wait_fixed_s >= WAIT_LEAST_S).then(|| wait_s / wait_fixed_s),
        }
    });
    each.collect()
}

/// The mean of the ratios that there are.
pub fn mean_ratio(beside: &[Beside]) -> Option<f64> {
    let ratios: Vec<f64> = beside.iter().filter_map(|beside| beside.ratio).collect();
    (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64)
}

/// The 90 % interval of the mean ratio of a policy's points at its operating points.
pub fn interval(fixed: &[Point], points: &[&Point], seed: u64) -> Option<(f64, f64)> {
    let days = fixed.first().map_or(0, |point| point.days.len());
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .filter_map(|resample| {
            let drawn = draw(days, mix(seed ^ mix(resample)));
            mean_ratio(&beside(fixed, points, &drawn))
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    if (ratios.len() as u64) * 2 < RESAMPLES {
        return None;
    }
    Some((at(&ratios, TAIL), at(&ratios, 1.0 - TAIL)))
}

/// The 90 % interval of a sum over days, of which each resample draws as many as there are; none without days.
pub fn sum_interval(days: &[f64], seed: u64) -> Option<(f64, f64)> {
    if days.is_empty() {
        return None;
    }
    let mut sums: Vec<f64> = (0..RESAMPLES)
        .map(|resample| {
            let drawn = draw(days.len(), mix(seed ^ mix(resample)));
            drawn.iter().filter_map(|&day| days.get(day)).sum()
        })
        .collect();
    sums.sort_by(f64::total_cmp);
    Some((at(&sums, TAIL), at(&sums, 1.0 - TAIL)))
}

/// As many days as there are, each drawn from all.
fn draw(days: usize, stream: u64) -> Vec<usize> {
    let number = |draw: u64| mix(stream ^ mix(draw)) % (days as u64).max(1);
    (0..days as u64)
        .map(|draw| usize::try_from(number(draw)).unwrap_or(0))
        .collect()
}

fn vertex(point: &Point, days: &[usize]) -> Vertex {
    let mut sum = Day::default();
    for day in days.iter().filter_map(|&day| point.days.get(day)) {
        sum.gangs += day.gangs;
        sum.waits_s += day.waits_s;
        sum.bill_node_hours += day.bill_node_hours;
    }
    Vertex {
        bill: sum.bill_node_hours,
        wait_s: if sum.gangs > 0.0 { sum.waits_s / sum.gangs } else { 0.0 },
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a length is a place in it"
)]
fn at(sorted: &[f64], share: f64) -> f64 {
    let place = (share * (sorted.len() - 1) as f64).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(days: &[(f64, f64)]) -> Point {
        Point {
            days: days
                .iter()
                .map(|&(waits_s, bill_node_hours)| Day {
                    gangs: 1.0,
                    waits_s,
                    bill_node_hours,
                })
                .collect(),
            ..Point::default()
        }
    }

    #[test]
    fn a_policy_is_compared_at_its_own_bill() {
        let fixed = [
            point(&[(100.0, 10.0), (60.0, 10.0)]),
            point(&[(20.0, 20.0), (20.0, 20.0)]),
        ];
        let policy = point(&[(30.0, 15.0), (10.0, 15.0)]);
        let both = beside(&fixed, &[&policy, &fixed[1]], &[0, 1]);
        assert!((both[0].wait_fixed_s - 50.0).abs() < 1e-9 && (both[0].wait_s - 20.0).abs() < 1e-9);
        assert!(mean_ratio(&both).is_some_and(|ratio| (ratio - 0.7).abs() < 1e-9));
        // The second day twice: fixed headroom waits 40 s at this bill, the policy 10 s.
        let ratio = beside(&fixed, &[&policy], &[1, 1])[0].ratio;
        assert!(ratio.is_some_and(|ratio| (ratio - 0.25).abs() < 1e-9), "{ratio:?}");
        // Both days, the first twice or the second twice: the interval is from one to the other.
        let (low, high) = interval(&fixed, &[&policy], 1).unwrap();
        assert!((low - 0.25).abs() < 1e-9 && (high - 0.5).abs() < 1e-9, "{low} {high}");
    }

    #[test]
    fn a_sum_is_as_sure_as_its_days_are_alike() {
        assert_eq!(sum_interval(&[], 1), None);
        assert_eq!(sum_interval(&[-2.0; 5], 1), Some((-10.0, -10.0)));
        // Of ten days one is unlike the others: it is drawn 0 to 3 times in nearly all resamples.
        let mut days = [-1.0; 10];
        days[3] = 10.0;
        let (low, high) = sum_interval(&days, 1).unwrap();
        assert!((low - -10.0).abs() < 1e-9 && (high - 23.0).abs() < 1e-9, "{low} {high}");
    }

    #[test]
    fn where_nobody_waits_there_is_no_ratio() {
        let fixed = [point(&[(0.9, 10.0)]), point(&[(0.1, 20.0)])];
        let both = beside(&fixed, &[&fixed[0]], &[0]);
        assert_eq!(
            (both[0].ratio, mean_ratio(&both), interval(&fixed, &[&fixed[0]], 1)),
            (None, None, None)
        );
    }
}
