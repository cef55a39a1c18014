//! What a replay has come to: waits, bill and idle time, also for each day.

use super::engine::Outcome;
use super::input::Job;
use super::split::Part;

const HOUR_MS: f64 = 3_600_000.0;

/// One point: a policy with a parameter on a part, the mean of its replays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Point {
    /// Mean over gangs of start − submission, seconds.
    pub wait_mean_s: f64,
    /// Half of the gangs waited at most so long, seconds.
    pub wait_p50_s: f64,
    /// 95 % did, seconds.
    pub wait_p95_s: f64,
    /// 99 % did, seconds.
    pub wait_p99_s: f64,
    /// The share of gangs that waited longer than 1 s.
    pub waited_share: f64,
    /// The mean wait with gangs weighted by their node-size, seconds.
    pub wait_by_size_s: f64,
    /// From launch request to termination, the time inside the part, node-hours.
    pub bill_node_hours: f64,
    /// The bill less what running gangs took, node-hours.
    pub idle_node_hours: f64,
    /// Nodes asked for inside the part.
    pub launches: f64,
    /// What each day of the part adds.
    pub days: Vec<Day>,
}

/// What one day adds to a point.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Day {
    /// Gangs that were submitted on it.
    pub gangs: f64,
    /// Their waits, seconds.
    pub waits_s: f64,
    /// The bill, node-hours.
    pub bill_node_hours: f64,
}

/// What gangs take of nodes inside a part, node-hours: Σ node-size × the time from the recorded submission for the length
/// of the run that is inside. It depends on the trace alone and is the same for all policies, so that equal idle time is
/// equal bill.
pub fn taken_node_hours(jobs: &[Job], part: Part, node_parts: u64) -> f64 {
    let taken = jobs.iter().map(|job| {
        let inside_ms = overlap_ms((job.recorded_ms, job.recorded_ms + job.run_ms), part);
        i128::from(job.size) * i128::from(inside_ms)
    });
    taken.sum::<i128>() as f64 / node_parts as f64 / HOUR_MS
}

/// Measures one replay. Gangs that were recorded inside the part count.
pub fn measure(jobs: &[Job], outcome: &Outcome, part: Part, taken_node_hours: f64) -> Point {
    let mut days_ms = vec![(0_u64, 0_i64, 0_i64); part.days()];
    let mut waits_ms: Vec<i64> = Vec::with_capacity(jobs.len());
    let (mut weighted, mut weights) = (0_i128, 0_i128);
    for (job, &start_ms) in jobs.iter().zip(&outcome.starts_ms) {
        let Some(day) = part.day(job.recorded_ms) else {
            continue;
        };
        let waited_ms = start_ms - job.submit_ms;
        waits_ms.push(waited_ms);
        days_ms[day].0 += 1;
        days_ms[day].1 += waited_ms;
        weighted += i128::from(job.size) * i128::from(waited_ms);
        weights += i128::from(job.size);
    }
    let mut launches = 0_u64;
    for &(asked_ms, gone_ms) in &outcome.nodes_ms {
        launches += u64::from(part.day(asked_ms).is_some());
        add_by_day(&mut days_ms, (asked_ms, gone_ms), part);
    }
    let gangs = waits_ms.len().max(1) as f64;
    let sum_ms: i64 = waits_ms.iter().sum();
    let waited = waits_ms.iter().filter(|&&waited_ms| waited_ms > 1_000).count();
    waits_ms.sort_unstable();
    let bill_ms: i64 = days_ms.iter().map(|day| day.2).sum();
    let bill_node_hours = bill_ms as f64 / HOUR_MS;
    Point {
        wait_mean_s: sum_ms as f64 / 1_000.0 / gangs,
        wait_p50_s: quantile_s(&waits_ms, 500),
        wait_p95_s: quantile_s(&waits_ms, 950),
        wait_p99_s: quantile_s(&waits_ms, 990),
        waited_share: waited as f64 / gangs,
        wait_by_size_s: weighted as f64 / weights.max(1) as f64 / 1_000.0,
        bill_node_hours,
        idle_node_hours: bill_node_hours - taken_node_hours,
        launches: launches as f64,
        days: days_ms
            .into_iter()
            .map(|(gangs, wait_ms, bill_ms)| Day {
                gangs: gangs as f64,
                waits_s: wait_ms as f64 / 1_000.0,
                bill_node_hours: bill_ms as f64 / HOUR_MS,
            })
            .collect(),
    }
}

impl Point {
    /// The mean of the replays' points, each figure for itself.
    pub fn mean(points: &[Self]) -> Self {
        let count = points.len().max(1) as f64;
        let mean = |figure: &dyn Fn(&Self) -> f64| points.iter().map(figure).sum::<f64>() / count;
        let days = points.first().map_or(0, |point| point.days.len());
        Self {
            wait_mean_s: mean(&|point| point.wait_mean_s),
            wait_p50_s: mean(&|point| point.wait_p50_s),
            wait_p95_s: mean(&|point| point.wait_p95_s),
            wait_p99_s: mean(&|point| point.wait_p99_s),
            waited_share: mean(&|point| point.waited_share),
            wait_by_size_s: mean(&|point| point.wait_by_size_s),
            bill_node_hours: mean(&|point| point.bill_node_hours),
            idle_node_hours: mean(&|point| point.idle_node_hours),
            launches: mean(&|point| point.launches),
            days: (0..days)
                .map(|day| Day {
                    gangs: mean(&|point| point.days[day].gangs),
                    waits_s: mean(&|point| point.days[day].waits_s),
                    bill_node_hours: mean(&|point| point.days[day].bill_node_hours),
                })
                .collect(),
        }
    }
}

fn overlap_ms((from_ms, to_ms): (i64, i64), part: Part) -> i64 {
    (to_ms.min(part.end_ms) - from_ms.max(part.start_ms)).max(0)
}

fn add_by_day(days_ms: &mut [(u64, i64, i64)], node_ms: (i64, i64), part: Part) {
    let first = part.day(node_ms.0.max(part.start_ms));
    for (number, day) in days_ms.iter_mut().enumerate().skip(first.unwrap_or(usize::MAX)) {
        let start_ms = part.start_ms + super::split::DAY_MS * i64::try_from(number).unwrap_or(0);
        let of_day = Part {
            start_ms,
            end_ms: start_ms + super::split::DAY_MS,
        };
        let inside_ms = overlap_ms(node_ms, of_day);
        if inside_ms == 0 {
            return;
        }
        day.2 += inside_ms;
    }
}

/// The smallest wait that at least this many thousandths of all are not above, seconds.
fn quantile_s(sorted_ms: &[i64], milli: usize) -> f64 {
    let rank = (sorted_ms.len() * milli).div_ceil(1_000);
    let wait_ms = rank.checked_sub(1).and_then(|index| sorted_ms.get(index));
    wait_ms.map_or(0.0, |&wait_ms| wait_ms as f64 / 1_000.0)
}
