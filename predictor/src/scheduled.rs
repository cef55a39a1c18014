//! What of each hour's arrivals schedules started, and what they will start: certain beforehand, so that models learn only the
//! rest. Pure.

use std::collections::HashSet;

use kompass_capacity::Shape;
use kompass_forecast::series::Series;

use crate::certain::{LATE_MS, runs, started};
use crate::outlook::HOUR_MS;
use crate::past::Known;
use crate::schedule::{FIRES_MAX, Schedule};

/// Hours that are forecast: the one that has begun, and the next.
const LEADS: usize = 2;
/// Times of one schedule that are looked at: every quarter of an hour for six weeks and more. What starts more often is as
/// good as always there, and models see it.
const TIMES_MAX: usize = 5_000;

/// Node-size by hour, from the begin of a series of hours to the last one that is forecast. `until_ms`: until when the past is
/// known.
pub(crate) fn by_hour(schedules: &[Schedule], series: &Series, known: &Known, until_ms: i64, shape: Shape) -> Vec<f64> {
    if schedules.is_empty() {
        return Vec::new();
    }
    let milliseconds = |index| i64::try_from(series.time_ms(index)).unwrap_or(i64::MAX);
    let (begin_ms, end_ms) = (milliseconds(0), milliseconds(series.len() + LEADS));
    let mut sizes = vec![0_u64; series.len() + LEADS];
    let mut add = |at_ms: i64, size: u64| {
        let hour = usize::try_from((at_ms - begin_ms).div_euclid(HOUR_MS)).ok();
        if let Some(sum) = hour.and_then(|hour| sizes.get_mut(hour)) {
            *sum = sum.saturating_add(size);
        }
    };
    let mut counted = HashSet::new();
    for schedule in schedules {
        let jobs = started(schedule, known, until_ms);
        if jobs.is_empty() {
            continue;
        }
        let Some(times) = times(schedule, begin_ms, end_ms) else {
            continue;
        };
        let mut skips: HashSet<u32> = jobs.iter().map(|&(profile, _)| profile).collect();
        skips.retain(|&profile| schedule.is_exclusive && runs(known, profile));
        for at_ms in times {
            let first = known.submitted.partition_point(|gang| gang.at_ms < at_ms);
            let last = known.submitted.partition_point(|gang| gang.at_ms < at_ms + LATE_MS);
            for &(profile, median) in &jobs {
                if at_ms + LATE_MS > until_ms {
                    // The next time of one that still runs is left out.
                    if !skips.remove(&profile) {
                        add(at_ms, median);
                    }
                    continue;
                }
                for (number, gang) in (first..).zip(&known.submitted[first..last]) {
                    if gang.profile == profile && counted.insert(number) {
                        add(gang.at_ms, gang.size);
                    }
                }
            }
        }
    }
    let nodes = sizes.into_iter().map(|size| size as f64 / shape.parts() as f64);
    nodes.collect()
}

/// All times of a schedule after one moment until another; none if they are too many.
fn times(schedule: &Schedule, after_ms: i64, until_ms: i64) -> Option<Vec<i64>> {
    let mut times: Vec<i64> = Vec::new();
    loop {
        let more = schedule.fires(times.last().copied().unwrap_or(after_ms - 1), until_ms - 1);
        let is_all = more.len() < FIRES_MAX;
        times.extend(more);
        if is_all || times.len() > TIMES_MAX {
            return (times.len() <= TIMES_MAX).then_some(times);
        }
    }
}

#[cfg(test)]
mod tests {
    use kompass_history::{End, Gang};

    use super::*;
    use crate::outlook::sizes;
    use crate::past::tests::gang;
    use crate::schedule::tests::scheduled;
    use crate::settings::tests::settings;

    const DAY_MS: i64 = 24 * HOUR_MS;

    /// Every day at 3:00 a job of two and a half nodes; at 3:30 one that nobody has scheduled.
    fn known(days: i64) -> Known {
        let gangs = (0..days).flat_map(|day| {
            let at_ms = day * DAY_MS + 3 * HOUR_MS;
            let other = Gang {
                profile: "other".into(),
                ..gang(at_ms + HOUR_MS / 2, Some(60_000), End::Succeeded, 9)
            };
            [gang(at_ms + 20_000, Some(600_000), End::Succeeded, 2), other]
        });
        Known::new(&gangs.collect::<Vec<_>>(), settings(1, 1).shape)
    }

    fn told(text: &str, known: &Known, end_ms: i64) -> Vec<f64> {
        let shape = settings(1, 1).shape;
        let series = sizes((0, end_ms), &[], known, shape).unwrap();
        let schedule = Schedule::new(&scheduled(text, None)).unwrap();
        by_hour(&[schedule], &series, known, end_ms, shape)
    }

    #[test]
    fn what_was_started_and_what_will_be_is_certain_and_nothing_else() {
        // It is 2:00: the next hour has the job.
        let certain = told("0 3 * * *", &known(10), 10 * DAY_MS + 2 * HOUR_MS);
        assert_eq!(certain.len(), 10 * 24 + 2 + 2);
        for (hour, nodes) in certain.iter().enumerate() {
            let expected = if hour % 24 == 3 { 2.5 } else { 0.0 };
            assert!((nodes - expected).abs() < 1e-9, "{hour}: {nodes}");
        }
    }

    #[test]
    fn what_starts_nothing_or_all_the_time_is_not_certain() {
        let all = |text| told(text, &known(10), 10 * DAY_MS + 2 * HOUR_MS).iter().sum::<f64>();
        assert!(all("0 5 * * *").abs() < 1e-9, "nobody comes then");
        let busy: Vec<Gang> = (0..10 * 24 * 60)
            .map(|minute| gang(minute * 60_000, Some(1), End::Succeeded, 1))
            .collect();
        let busy = Known::new(&busy, settings(1, 1).shape);
        assert!(told("* * * * *", &busy, 10 * DAY_MS).iter().sum::<f64>().abs() < 1e-9);
        assert!(
            told("0 * * * *", &busy, 10 * DAY_MS).iter().sum::<f64>().abs() < 1e-9,
            "it comes at other times, too"
        );
    }

    #[test]
    fn one_that_still_runs_is_not_started_beside_itself() {
        let mut scheduled = scheduled("0 3 * * *", None);
        scheduled.is_exclusive = true;
        let schedule = Schedule::new(&scheduled).unwrap();
        let shape = settings(1, 1).shape;
        let mut gangs: Vec<Gang> = (0..10)
            .map(|day| gang(day * DAY_MS + 3 * HOUR_MS, Some(HOUR_MS), End::Succeeded, 2))
            .collect();
        gangs[9].end = End::Running;
        let known = Known::new(&gangs, shape);
        let end_ms = 10 * DAY_MS + 2 * HOUR_MS;
        let series = sizes((0, end_ms), &[], &known, shape).unwrap();
        let certain = by_hour(&[schedule], &series, &known, end_ms, shape);
        assert!(
            certain[10 * 24 + 3].abs() < 1e-9 && certain[9 * 24 + 3] > 2.0,
            "{certain:?}"
        );
    }
}
