//! What schedules are certain to start soon, and how many nodes it took before. Pure.
//!
//! What a schedule starts is not told by names: the driver of a `CronJob`'s `spark-submit` has no owner. So it is told by the
//! past: a profile that was submitted within two minutes of nearly each of its times, and mostly then, is started by it.

use std::collections::{HashMap, HashSet};

use kompass_capacity::Shape;

use crate::past::Known;
use crate::schedule::Schedule;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// So long after its time a job is submitted at most.
pub(crate) const LATE_MS: i64 = 2 * MINUTE_MS;
/// Times of a schedule that are looked at, the last ones; with fewer than the least, nothing is certain.
const TIMES_MAX: usize = 20;
const TIMES_MIN: usize = 3;
/// How far back these are looked for, one after the other.
const BACK_MS: [i64; 4] = [2 * HOUR_MS, 24 * HOUR_MS, 8 * 24 * HOUR_MS, 35 * 24 * HOUR_MS];
/// Of these times a profile was there after so many, of ten, and of its submissions so many were then.
const OF_TIMES: usize = 8;
const OF_SUBMISSIONS: usize = 5;

/// What is certain to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certain {
    /// What starts it.
    pub name: String,
    /// The profile key of the job, as far as it has one.
    pub key: String,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// How many nodes it took: the median of the past.
    pub nodes: u32,
}

impl std::fmt::Display for Certain {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = jiff::Timestamp::from_millisecond(self.at_ms).unwrap_or_default();
        write!(out, "{} nodes for {} at {at}", self.nodes, self.name)
    }
}

/// What schedules start after one moment until another, the first one first; a profile counts once. `until_ms`: until when
/// the past is known.
pub fn certain(
    schedules: &[Schedule],
    (after_ms, before_ms): (i64, i64),
    known: &Known,
    until_ms: i64,
    shape: Shape,
) -> Vec<Certain> {
    let mut all = Vec::new();
    let mut taken = HashSet::new();
    for schedule in schedules {
        let Some(&at_ms) = schedule.fires(after_ms, before_ms).first() else {
            continue;
        };
        for (profile, size) in started(schedule, known, until_ms) {
            if (schedule.is_exclusive && runs(known, profile)) || !taken.insert(profile) {
                continue;
            }
            all.push(Certain {
                name: schedule.name.clone(),
                key: known.profiles.get(profile as usize).cloned().unwrap_or_default(),
                at_ms,
                nodes: shape.nodes(u128::from(size), 1_000),
            });
        }
    }
    all.sort_by(|one, other| (one.at_ms, &one.name).cmp(&(other.at_ms, &other.name)));
    all
}

/// The profiles that a schedule starts, with the median of their sizes.
pub(crate) fn started(schedule: &Schedule, known: &Known, until_ms: i64) -> Vec<(u32, u64)> {
    let last_ms = until_ms.saturating_sub(LATE_MS);
    let mut times = Vec::new();
    for back_ms in BACK_MS {
        times = schedule.fires(last_ms.saturating_sub(back_ms), last_ms);
        if times.len() >= TIMES_MAX {
            break;
        }
    }
    // Before the past begins nobody was seen.
    let begin_ms = known.submitted.first().map_or(i64::MAX, |gang| gang.at_ms);
    times.retain(|at_ms| *at_ms >= begin_ms - LATE_MS);
    let times = &times[times.len().saturating_sub(TIMES_MAX)..];
    let Some(&first_ms) = times.first().filter(|_| times.len() >= TIMES_MIN) else {
        return Vec::new();
    };
    let after = |at_ms: i64| known.submitted.partition_point(|gang| gang.at_ms < at_ms);
    let mut seen: HashMap<u32, Seen> = HashMap::new();
    for (number, &at_ms) in times.iter().enumerate() {
        for gang in &known.submitted[after(at_ms)..after(at_ms + LATE_MS)] {
            seen.entry(gang.profile).or_default().add(number, gang.size);
        }
    }
    let mut all: HashMap<u32, usize> = HashMap::new();
    for gang in &known.submitted[after(first_ms)..after(until_ms)] {
        *all.entry(gang.profile).or_default() += 1;
    }
    let is_started = |profile: &u32, seen: &Seen| {
        seen.sizes.len() * 10 >= times.len() * OF_TIMES
            && seen.submissions * 10 >= all.get(profile).copied().unwrap_or(0) * OF_SUBMISSIONS
    };
    let mut started: Vec<(u32, u64)> = seen
        .into_iter()
        .filter(|(profile, seen)| is_started(profile, seen))
        .map(|(profile, seen)| (profile, seen.median()))
        .collect();
    started.sort_unstable();
    started
}

/// A profile after the times of a schedule.
#[derive(Default)]
struct Seen {
    /// By the number of the time: what was submitted then.
    sizes: Vec<(usize, u64)>,
    submissions: usize,
}

impl Seen {
    fn add(&mut self, number: usize, size: u64) {
        self.submissions += 1;
        match self.sizes.last_mut() {
            Some((last, sum)) if *last == number => *sum = sum.saturating_add(size),
            _ => self.sizes.push((number, size)),
        }
    }

    fn median(&self) -> u64 {
        let mut sizes: Vec<u64> = self.sizes.iter().map(|(_, size)| *size).collect();
        sizes.sort_unstable();
        sizes.get(sizes.len() / 2).copied().unwrap_or(0)
    }
}

/// Whether a gang of a profile has not ended.
pub(crate) fn runs(known: &Known, profile: u32) -> bool {
    let ended: HashSet<usize> = known.ended.iter().map(|end| end.gang).collect();
    let mut gangs = known.submitted.iter().enumerate();
    gangs.any(|(number, gang)| gang.profile == profile && !ended.contains(&number))
}

#[cfg(test)]
mod tests {
    use kompass_history::{End, Gang};
    use kompass_kube::schedules::Scheduled;
    use proptest::prelude::*;

    use super::*;
    use crate::past::tests::gang;
    use crate::schedule::tests::scheduled;
    use crate::settings::tests::settings;

    const DAY_MS: i64 = 24 * HOUR_MS;

    fn schedule(text: &str) -> Schedule {
        Schedule::new(&scheduled(text, None)).unwrap()
    }

    /// Every day at three a job of two and a half nodes, 20 seconds late; others at any minute.
    fn past(days: i64) -> Vec<Gang> {
        let mut gangs = Vec::new();
        for day in 0..days {
            let at_ms = day * DAY_MS + 3 * HOUR_MS + 20_000;
            gangs.push(gang(at_ms, Some(600_000), End::Succeeded, 2));
            gangs.extend((0..20).map(|number| Gang {
                profile: format!("other-{}", number % 3),
                ..gang(day * DAY_MS + number * 67 * MINUTE_MS, Some(60_000), End::Succeeded, 9)
            }));
        }
        gangs.sort_by_key(|gang| gang.submit_ms);
        gangs
    }

    fn told(gangs: &[Gang], schedules: &[Schedule], now_ms: i64, ahead_ms: i64) -> Vec<Certain> {
        let shape = settings(1, 1).shape;
        certain(
            schedules,
            (now_ms, now_ms + ahead_ms),
            &Known::new(gangs, shape),
            now_ms,
            shape,
        )
    }

    #[test]
    fn what_has_come_with_a_schedule_is_expected_with_the_next() {
        let (gangs, now_ms) = (past(10), 10 * DAY_MS + 3 * HOUR_MS - 400_000);
        let daily = schedule("0 3 * * *");
        let expected = Certain {
            name: "jobs/etl".into(),
            key: "etl-1".into(),
            at_ms: 10 * DAY_MS + 3 * HOUR_MS,
            nodes: 3,
        };
        assert_eq!(
            told(&gangs, std::slice::from_ref(&daily), now_ms, 400_000),
            std::slice::from_ref(&expected)
        );
        assert_eq!(
            told(&gangs, std::slice::from_ref(&daily), now_ms, 399_999),
            [],
            "not yet"
        );
        // Two schedules for the same job are one job.
        assert_eq!(
            told(&gangs, &[daily, schedule("0 3 * * *")], now_ms, 400_000),
            [expected]
        );
        // One with which nothing ever came, and one whose times are too few.
        assert_eq!(told(&gangs, &[schedule("54 2 * * *")], now_ms, 400_000), []);
        assert_eq!(
            told(&past(2), &[schedule("0 3 * * *")], 2 * DAY_MS + 3 * HOUR_MS - 1, 1),
            []
        );
    }

    #[test]
    fn what_comes_all_the_time_is_not_started_by_a_schedule() {
        let often = (0..10 * 24 * 30).map(|number| gang(number * 2 * MINUTE_MS, Some(60_000), End::Succeeded, 2));
        let gangs: Vec<Gang> = often.collect();
        assert_eq!(
            told(&gangs, &[schedule("0 3 * * *")], 10 * DAY_MS + 3 * HOUR_MS - 1, 1),
            []
        );
    }

    #[test]
    fn where_runs_exclude_each_other_one_that_runs_is_not_expected_again() {
        let mut gangs = past(10);
        let exclusive = Scheduled {
            is_exclusive: true,
            ..scheduled("0 3 * * *", None)
        };
        let exclusive = Schedule::new(&exclusive).unwrap();
        let now_ms = 10 * DAY_MS + 3 * HOUR_MS - 1;
        assert_eq!(told(&gangs, std::slice::from_ref(&exclusive), now_ms, 1).len(), 1);
        let last = gangs.iter_mut().rfind(|gang| gang.profile == "etl-1").unwrap();
        last.end = End::Running;
        assert_eq!(told(&gangs, &[exclusive], now_ms, 1), []);
        assert_eq!(
            told(&gangs, &[schedule("0 3 * * *")], now_ms, 1).len(),
            1,
            "others don't mind"
        );
    }

    proptest! {
        #[test]
        fn what_is_certain_lies_ahead_and_takes_what_it_took(
            minute in 0_i64..60, hour in 0_i64..24, executors in 0_u64..20, ahead_ms in 0..3 * HOUR_MS, now in 0..DAY_MS,
        ) {
            let at_ms = |day: i64| day * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS;
            let now_ms = 12 * DAY_MS + now;
            let gangs = (0..=12).map(|day| gang(at_ms(day) + 1_000, Some(60_000), End::Succeeded, executors));
            let gangs: Vec<Gang> = gangs.filter(|gang| gang.submit_ms <= now_ms).collect();
            let told = told(&gangs, &[schedule(&format!("{minute} {hour} * * *"))], now_ms, ahead_ms);
            let next_ms = if at_ms(12) > now_ms { at_ms(12) } else { at_ms(13) };
            let nodes = u32::try_from((1 + 2 * executors).div_ceil(2)).unwrap();
            let expected = Certain { name: "jobs/etl".into(), key: "etl-1".into(), at_ms: next_ms, nodes };
            prop_assert_eq!(told, if next_ms <= now_ms + ahead_ms { vec![expected] } else { Vec::new() });
        }
    }
}
