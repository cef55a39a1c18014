//! Which days of a trace are for training, for validation and for the test.

use super::input::Job;

/// A day, milliseconds.
pub const DAY_MS: i64 = 24 * 3_600_000;

/// Days of the test, and of the validation before it, of a long trace and of a short one.
const DAYS_LONG: i64 = 21;
const DAYS_SHORT: i64 = 8;
/// With this many dense days a trace is long.
const DENSE_DAYS: usize = 60;
/// A day is dense with at least this part of what the median day has, of the days that have anything.
const DENSE_PART: usize = 10;

/// A stretch of the trace that is measured; the day before it warms up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its beginning, a tick, milliseconds.
    pub start_ms: i64,
    /// Its end, whole days later, milliseconds; not in it.
    pub end_ms: i64,
}

/// Training is what is before the validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Where policies and parameters are chosen.
    pub validation: Part,
    /// Where the choice is judged.
    pub test: Part,
    /// Dense days of the trace.
    pub dense_days: usize,
}

/// Why a trace can't be split.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Not enough days.
    #[error(
        "failed to split the trace: it spans {days:.1} days and a backtest needs {needed}: {part} each for validation and \
         test, one to warm up and one to learn from"
    )]
    TooShort {
        /// From the first submission to the last.
        days: f64,
        /// Days that are needed.
        needed: i64,
        /// Days of each part.
        part: i64,
    },
    /// Nothing to measure.
    #[error("failed to split the trace: no gang was submitted in the {days} days of the {part}")]
    Nothing {
        /// Of which part.
        part: &'static str,
        /// How long it is.
        days: i64,
    },
}

impl Part {
    /// When its replay begins, with the day that warms up.
    pub const fn begin_ms(self) -> i64 {
        self.start_ms - DAY_MS
    }

    /// Its whole days.
    pub fn days(self) -> usize {
        usize::try_from((self.end_ms - self.start_ms) / DAY_MS).unwrap_or(0)
    }

    /// The day that a time is in, from 0.
    pub fn day(self, at_ms: i64) -> Option<usize> {
        let inside = (self.start_ms..self.end_ms).contains(&at_ms);
        usize::try_from((at_ms - self.start_ms) / DAY_MS)
            .ok()
            .filter(|_| inside)
    }
}

impl Split {
    /// The test is the last 21 days, or the last 8 of a trace with fewer than 60 dense days, and the validation as many
    /// before it. Both are counted back from the tick after the last submission, in days of 24 h. Jobs are as recorded.
    pub fn new(jobs: &[Job], tick_ms: i64) -> Result<Self, Error> {
        let (first_ms, last_ms) = jobs
            .first()
            .zip(jobs.last())
            .map_or((0, 0), |(first, last)| (first.recorded_ms, last.recorded_ms));
        let end_ms = (last_ms / tick_ms + 1) * tick_ms;
        let dense_days = dense_days(jobs);
        let part = if dense_days < DENSE_DAYS { DAYS_SHORT } else { DAYS_LONG };
        let needed = 2 * part + 2;
        if end_ms - first_ms < needed * DAY_MS {
            let days = (end_ms - first_ms) as f64 / DAY_MS as f64;
            return Err(Error::TooShort { days, needed, part });
        }
        let test = Part {
            start_ms: end_ms - part * DAY_MS,
            end_ms,
        };
        let validation = Part {
            start_ms: test.start_ms - part * DAY_MS,
            end_ms: test.start_ms,
        };
        for (part, name) in [(validation, "validation"), (test, "test")] {
            if !jobs.iter().any(|job| part.day(job.recorded_ms).is_some()) {
                let days = (part.end_ms - part.start_ms) / DAY_MS;
                return Err(Error::Nothing { part: name, days });
            }
        }
        Ok(Self {
            validation,
            test,
            dense_days,
        })
    }
}

fn dense_days(jobs: &[Job]) -> usize {
    let mut days: Vec<usize> = Vec::new();
    let mut before = None;
    for job in jobs {
        let day = job.recorded_ms / DAY_MS;
        match days.last_mut() {
            Some(gangs) if before == Some(day) => *gangs += 1,
            _ => days.push(1),
        }
        before = Some(day);
    }
    let mut sorted = days.clone();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    days.iter().filter(|gangs| **gangs * DENSE_PART >= median).count()
}

#[cfg(test)]
mod tests {
    use kompass_capacity::Members;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    /// So many gangs on each of these days, and one in the last second of the last one.
    fn jobs(days: &[i64]) -> Vec<Job> {
        let times = (0_i64..)
            .zip(days)
            .flat_map(|(day, &gangs)| (0..gangs).map(move |gang| day * DAY_MS + gang * 1_000));
        let last_ms = i64::try_from(days.len()).unwrap() * DAY_MS - 1_000;
        times
            .chain([last_ms])
            .map(|at_ms| Job {
                recorded_ms: at_ms,
                submit_ms: at_ms,
                run_ms: 1,
                profile: 0,
                members: [Members::default(); 2],
                size: 1,
            })
            .collect()
    }

    #[test]
    fn long_traces_have_long_parts() {
        for (days, part, dense) in [
            (vec![50; 60], 21, 60),
            (vec![50; 59], 8, 59),
            // A day with a tenth of the median is dense, one with less is not, and those without any aren't days.
            ([vec![5; 30], vec![50; 40], vec![0; 10], vec![50; 5]].concat(), 21, 75),
            ([vec![4; 30], vec![50; 45]].concat(), 8, 45),
        ] {
            let split = Split::new(&jobs(&days), 300_000).unwrap();
            let end_ms = i64::try_from(days.len()).unwrap() * DAY_MS;
            let parts = usize::try_from(part).unwrap();
            assert_eq!(
                (split.test.end_ms, split.test.start_ms),
                (end_ms, end_ms - part * DAY_MS)
            );
            assert_eq!(split.validation.end_ms, split.test.start_ms);
            assert_eq!((split.validation.days(), split.test.days()), (parts, parts));
            assert_eq!(split.dense_days, dense, "{days:?}");
        }
    }

    #[test]
    fn parts_end_at_the_tick_after_the_last_submission() {
        let mut jobs = jobs(&[1; 20]);
        for (last_ms, end_ms) in [(1, 300_000), (299_999, 300_000), (300_000, 600_000)] {
            let after = 20 * DAY_MS;
            *jobs.last_mut().unwrap() = Job {
                recorded_ms: after + last_ms,
                ..jobs[0]
            };
            assert_eq!(Split::new(&jobs, 300_000).unwrap().test.end_ms, after + end_ms);
        }
    }

    #[test]
    fn a_time_is_in_one_day_at_most() {
        let part = Part {
            start_ms: 2 * DAY_MS + HOUR_MS,
            end_ms: 4 * DAY_MS + HOUR_MS,
        };
        for (at_ms, day) in [
            (2 * DAY_MS, None),
            (2 * DAY_MS + HOUR_MS, Some(0)),
            (3 * DAY_MS, Some(0)),
            (3 * DAY_MS + HOUR_MS, Some(1)),
            (4 * DAY_MS + HOUR_MS, None),
        ] {
            assert_eq!(part.day(at_ms), day);
        }
    }

    #[test]
    fn too_few_days_and_empty_parts_are_told() {
        let error = Split::new(&jobs(&[9; 17]), 300_000).unwrap_err().to_string();
        assert!(
            error.contains("spans 17.0 days and a backtest needs 18: 8 each"),
            "{error}"
        );
        let quiet = [vec![9; 20], vec![0; 9], vec![9; 8]].concat();
        let error = Split::new(&jobs(&quiet), 300_000).unwrap_err().to_string();
        assert!(error.contains("in the 8 days of the validation"), "{error}");
        assert!(Split::new(&[], 300_000).is_err());
    }
}
