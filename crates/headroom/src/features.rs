//! What is known at a tick, in numbers: what was submitted and what ended shortly before, when, and what a reactive cluster
//! would look like now.

use kompass_capacity::{Past, Shape};
use kompass_simulation::capacity::Timing;
use kompass_simulation::capacity::shadow::Shadow;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Submissions of the last so many milliseconds count, each by its size and by its number.
const WINDOWS_MS: [i64; 7] = [
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    20 * MINUTE_MS,
    HOUR_MS,
    3 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
];
/// What was submitted about this time of day so many days ago, from 5 minutes before to 15 minutes after.
const DAYS_AGO: [i64; 3] = [1, 2, 7];
const ABOUT_MS: (i64, i64) = (-5 * MINUTE_MS, 15 * MINUTE_MS);
/// What ended in the last so many milliseconds leaves room behind.
const ENDED_MS: [i64; 3] = [10 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS];
/// Of this window the largest gang counts, too.
const LARGEST_MS: i64 = HOUR_MS;

/// Numbers in a row.
pub const COLUMNS: usize = 2 * WINDOWS_MS.len() + DAYS_AGO.len() + ENDED_MS.len() + 15;

/// Submissions and ends so far, ready to be summed.
#[derive(Debug)]
pub struct Record {
    /// Parts of a node.
    parts: f64,
    submitted: Sums,
    ended: Sums,
    shadow: Shadow,
}

#[derive(Debug, Clone)]
struct Sums {
    at_ms: Vec<i64>,
    /// Node-size before each, and of all.
    before: Vec<f64>,
}

impl Record {
    /// Of nothing.
    pub fn new(shape: Shape, timing: Timing) -> Self {
        Self {
            parts: shape.parts() as f64,
            submitted: Sums::default(),
            ended: Sums::default(),
            shadow: Shadow::new(shape, timing),
        }
    }

    /// Takes over what has come since; a past begins with what earlier ones held.
    fn follow(&mut self, past: &Past<'_>) {
        for gang in past.submitted.iter().skip(self.submitted.at_ms.len()) {
            self.submitted.push(gang.at_ms, gang.size as f64 / self.parts);
        }
        for end in past.ended.iter().skip(self.ended.at_ms.len()) {
            let size = past.submitted.get(end.gang).map_or(0, |gang| gang.size);
            self.ended.push(end.at_ms, size as f64 / self.parts);
        }
    }

    /// What is known at a moment; times must rise, and pasts begin with what earlier ones held. What a past holds of later
    /// times is not looked at.
    pub fn row(&mut self, past: &Past<'_>, now_ms: i64) -> [f64; COLUMNS] {
        self.follow(past);
        self.shadow.advance(past, now_ms);
        self.sums(now_ms)
    }

    fn sums(&self, now_ms: i64) -> [f64; COLUMNS] {
        let mut row = [0.0; COLUMNS];
        let mut cells = row.iter_mut();
        let mut tell = |value: f64| {
            if let Some(cell) = cells.next() {
                *cell = value;
            }
        };
        for window_ms in WINDOWS_MS {
            let (count, size) = self.submitted.within(now_ms - window_ms, now_ms);
            tell(size.ln_1p());
            tell((count as f64).ln_1p());
        }
        for days in DAYS_AGO {
            let then_ms = now_ms - days * DAY_MS;
            let (_, size) = self.submitted.within(then_ms + ABOUT_MS.0, then_ms + ABOUT_MS.1);
            tell(size.ln_1p());
        }
        for window_ms in ENDED_MS {
            tell(self.ended.within(now_ms - window_ms, now_ms).1.ln_1p());
        }
        let silent_ms = self.submitted.last(now_ms).map_or(DAY_MS, |at_ms| now_ms - at_ms);
        tell((silent_ms.clamp(0, DAY_MS) as f64 / 1_000.0).ln_1p());
        tell(self.submitted.largest(now_ms - LARGEST_MS, now_ms).ln_1p());
        let open = self.submitted.within(i64::MIN, now_ms).1 - self.ended.within(i64::MIN, now_ms).1;
        tell(open.max(0.0).ln_1p());
        let angle = now_ms.rem_euclid(DAY_MS) as f64 / DAY_MS as f64 * std::f64::consts::TAU;
        for times in [1.0, 2.0] {
            tell((times * angle).sin());
            tell((times * angle).cos());
        }
        // Day 0 of times since 1970 is a Thursday, of traces a Monday: that a week has a rhythm is what counts.
        tell(f64::from(u8::from(now_ms.div_euclid(DAY_MS).rem_euclid(7) >= 5)));
        let view = self.shadow.view(now_ms);
        tell(view.free.ln_1p());
        tell(view.free_most);
        tell(view.free_next);
        tell(view.busy.ln_1p());
        tell(view.empty.min(6.0).sqrt());
        tell(f64::from(u8::from(view.empty > 0.0)));
        tell(view.needed.ln_1p());
        row
    }
}

/// Rows for one tick after the other.
#[derive(Debug)]
pub struct Rows {
    ticks_ms: Vec<i64>,
    cells: Vec<f64>,
}

impl Rows {
    /// For ticks in order of time, each of what was known then.
    pub fn new(past: &Past<'_>, timing: Timing, ticks_ms: impl Iterator<Item = i64>) -> Self {
        let mut record = Record::new(past.shape, timing);
        let mut rows = Self {
            ticks_ms: Vec::new(),
            cells: Vec::new(),
        };
        for tick_ms in ticks_ms {
            rows.ticks_ms.push(tick_ms);
            rows.cells.extend(record.row(past, tick_ms));
        }
        rows
    }

    /// The rows of these ticks, which follow one another; without those that there are none for.
    pub fn at(&self, ticks_ms: &[i64]) -> &[f64] {
        let (Some(first), Some(last)) = (ticks_ms.first(), ticks_ms.last()) else {
            return &[];
        };
        let from = self.ticks_ms.partition_point(|tick_ms| tick_ms < first);
        let to = self.ticks_ms.partition_point(|tick_ms| tick_ms <= last);
        &self.cells[from * COLUMNS..to * COLUMNS]
    }
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            at_ms: Vec::new(),
            before: vec![0.0],
        }
    }
}

impl Sums {
    fn push(&mut self, at_ms: i64, size: f64) {
        let sum = self.before.last().copied().unwrap_or(0.0) + size;
        self.at_ms.push(at_ms);
        self.before.push(sum);
    }

    /// Up to and with a moment.
    fn until(&self, at_ms: i64) -> usize {
        self.at_ms.partition_point(|known| *known <= at_ms)
    }

    /// Number and size of those after the one moment and not after the other.
    fn within(&self, after_ms: i64, until_ms: i64) -> (usize, f64) {
        let (from, to) = (self.until(after_ms), self.until(until_ms));
        (to.saturating_sub(from), (self.before[to] - self.before[from]).max(0.0))
    }

    fn last(&self, now_ms: i64) -> Option<i64> {
        self.until(now_ms).checked_sub(1).map(|index| self.at_ms[index])
    }

    fn largest(&self, after_ms: i64, until_ms: i64) -> f64 {
        let (from, to) = (self.until(after_ms), self.until(until_ms));
        (from..to)
            .map(|index| self.before[index + 1] - self.before[index])
            .fold(0.0, f64::max)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers and what was rounded")]
mod tests {
    use kompass_capacity::{Ended, Members, Submitted};

    use super::*;

    fn submitted(at_ms: i64, cpu_milli: u64) -> Submitted {
        Submitted {
            at_ms,
            profile: 0,
            members: [Members::default(); 2],
            size: shape().share(cpu_milli, 0),
        }
    }

    fn shape() -> Shape {
        Shape::new(1_000, 1_000).unwrap()
    }

    #[test]
    fn windows_end_now_and_the_largest_gang_is_one() {
        let now_ms = 10 * DAY_MS;
        let all = [
            submitted(now_ms - DAY_MS, 4_000),
            submitted(now_ms - HOUR_MS + 1, 2_000),
            submitted(now_ms - 5 * MINUTE_MS, 500),
            submitted(now_ms, 1_000),
            submitted(now_ms + 1, 7_000),
        ];
        let ended = [Ended {
            at_ms: now_ms - 20 * MINUTE_MS,
            gang: 0,
            run_ms: 1,
        }];
        let mut record = Record::new(shape(), Timing::new(150_000));
        let earlier = Past {
            shape: shape(),
            submitted: &all[..2],
            ended: &[],
        };
        record.row(&earlier, now_ms - HOUR_MS + 1);
        let past = Past {
            shape: shape(),
            submitted: &all,
            ended: &ended,
        };
        let row = record.row(&past, now_ms);
        let size = |column: usize| (row[column].exp_m1() * 1e6).round() / 1e6;
        // 5 min, 10 min, 1 h, 24 h: what came exactly a window ago is out of it.
        assert_eq!([size(0), size(2), size(6), size(12)], [1.0, 1.5, 3.5, 3.5]);
        assert_eq!([size(1), size(3), size(7)], [1.0, 2.0, 3.0], "numbers");
        assert_eq!(size(14), 4.0, "about this time yesterday");
        assert_eq!([size(17), size(18)], [0.0, 4.0], "ended in 10 and 30 minutes");
        assert_eq!(
            [size(20), size(21), size(22)],
            [0.0, 2.0, 3.5],
            "silence, largest, open"
        );
    }

    #[test]
    fn what_comes_later_changes_no_row() {
        let now_ms = 3 * DAY_MS;
        let all: Vec<Submitted> = (0..200).map(|number| submitted(number * HOUR_MS / 2, 300)).collect();
        let known = all.partition_point(|gang| gang.at_ms <= now_ms);
        let row = |submitted: &[Submitted]| {
            let past = Past {
                shape: shape(),
                submitted,
                ended: &[],
            };
            Record::new(shape(), Timing::new(150_000)).row(&past, now_ms)
        };
        assert_eq!(row(&all[..known]), row(&all));
    }
}
