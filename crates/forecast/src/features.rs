//! What a model looks at, computed from what was known when the forecast was made and from nothing later.
//!
//! All quantities are square roots of a bucket's mean value: arrivals spread as the root of their rate does.

use serde::{Deserialize, Serialize};

use crate::calendar::Calendar;
use crate::past::Past;

/// Columns of one model at most.
pub const MAX_COLUMNS: usize = 256;
/// Buckets, days or harmonics in one entry of a specification at most.
const MAX_REACH: u32 = 100_000;

/// Which features there are. A model file holds it, so that a model is never asked with other features than it was
/// fitted with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// Burst: mean of the last so many buckets.
    pub recent: Vec<u32>,
    /// Burst: largest of the last so many buckets.
    pub peaks: Vec<u32>,
    /// Burst: means weighted by age, with half-lives in buckets.
    pub half_lives: Vec<u32>,
    /// Burst of which less is left the later the window begins: mean of the last so many buckets less that of the last
    /// 24 times as many, halved with each so many buckets of lead.
    pub fading: Vec<u32>,
    /// The same window by the clock, so many days before.
    pub days_before: Vec<u32>,
    /// Mean of the same window by the clock over the last so many days.
    pub usual_days: Vec<u32>,
    /// The same, over the last so many weeks.
    pub usual_weeks: Vec<u32>,
    /// Buckets by which the windows of `usual_days` and `usual_weeks` are wider on both sides.
    pub widened: u32,
    /// Pairs of sine and cosine with a period of a day, half a day, a third, …
    pub day_waves: u32,
    /// The same for a week.
    pub week_waves: u32,
    /// A column per hour of the day.
    pub hours: bool,
    /// A column per day of the week, and one for the weekend.
    pub weekdays: bool,
    /// A column for holidays and one for the day after.
    pub holidays: bool,
}

/// Which window is forecast, and when: all in buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first bucket that is not known yet.
    pub(crate) origin: usize,
    /// From `origin` to the window's begin.
    pub(crate) lead: usize,
    /// How many buckets it has.
    pub(crate) span: usize,
}

impl FeatureSpec {
    /// For buckets of about an hour and forecasts of the next one or of a day. Chosen on four traces, each before the time
    /// that it is tested on: waves are better for the week than a column per day, and peaks add nothing.
    pub fn hourly() -> Self {
        Self {
            recent: vec![1, 2, 3, 6, 12, 24, 168],
            peaks: vec![],
            half_lives: vec![2, 8, 72],
            fading: vec![],
            days_before: vec![1, 2, 7],
            usual_days: vec![3, 7, 28],
            usual_weeks: vec![4],
            widened: 1,
            day_waves: 2,
            week_waves: 3,
            hours: true,
            weekdays: false,
            holidays: true,
        }
    }

    /// The lists that make a column an entry: how far each looks back.
    fn reaches(&self) -> [&Vec<u32>; 7] {
        [
            &self.recent,
            &self.peaks,
            &self.half_lives,
            &self.fading,
            &self.days_before,
            &self.usual_days,
            &self.usual_weeks,
        ]
    }

    /// How many columns it makes.
    pub fn columns(&self) -> usize {
        let waves = usize::try_from(self.day_waves.saturating_add(self.week_waves)).unwrap_or(usize::MAX);
        let clock = usize::from(self.hours) * 24 + usize::from(self.weekdays) * 8 + usize::from(self.holidays) * 2;
        self.reaches().iter().map(|list| list.len()).sum::<usize>() + waves.saturating_mul(2).saturating_add(clock)
    }

    /// Whether all of it is within bounds.
    pub(crate) fn is_sound(&self) -> bool {
        let within = |reach: &u32| (1..=MAX_REACH).contains(reach);
        let columns = self.columns();
        (1..=MAX_COLUMNS).contains(&columns)
            && self.reaches().into_iter().flatten().all(within)
            && self.widened <= MAX_REACH
    }

    /// Appends the features of one window to `row`. They depend on no value at or after the origin.
    pub(crate) fn write(&self, past: &Past<'_>, calendar: &Calendar<'_>, window: Window, row: &mut Vec<f64>) {
        self.write_bursts(past, window, row);
        self.write_history(past, calendar, window, row);
        self.write_clock(past, calendar, window, row);
    }

    fn write_bursts(&self, past: &Past<'_>, window: Window, row: &mut Vec<f64>) {
        let origin = window.origin;
        row.extend(self.recent.iter().map(|&buckets| past.recent(origin, size(buckets))));
        row.extend(self.peaks.iter().map(|&buckets| past.peak(origin, size(buckets))));
        row.extend(self.half_lives.iter().map(|&half_life| past.aged(origin, half_life)));
        row.extend(self.fading.iter().map(|&buckets| {
            let burst = past.recent(origin, size(buckets)) - past.recent(origin, size(buckets) * 24);
            burst * 0.5_f64.powf(window.lead as f64 / f64::from(buckets))
        }));
    }

    fn write_history(&self, past: &Past<'_>, calendar: &Calendar<'_>, window: Window, row: &mut Vec<f64>) {
        let level = past.recent(window.origin, past.day());
        let same = |days: u32, widened: usize| past.same_clock(calendar, window, days, widened);
        row.extend(self.days_before.iter().map(|&days| same(days, 0).unwrap_or(level)));
        let widened = size(self.widened);
        let mut usual = |counts: &[u32], step: u32| {
            let (mut sum, mut known, mut done) = (0.0, 0_u32, 0);
            let mut means = vec![level; counts.len()];
            let mut order: Vec<usize> = (0..counts.len()).collect();
            order.sort_by_key(|&index| counts[index]);
            for index in order {
                for count in done + 1..=counts[index] {
                    if let Some(value) = same(count.saturating_mul(step), widened) {
                        sum += value;
                        known += 1;
                    }
                }
                done = done.max(counts[index]);
                if known > 0 {
                    means[index] = sum / f64::from(known);
                }
            }
            row.extend(means);
        };
        usual(&self.usual_days, 1);
        usual(&self.usual_weeks, 7);
    }

    fn write_clock(&self, past: &Past<'_>, calendar: &Calendar<'_>, window: Window, row: &mut Vec<f64>) {
        let local = calendar.local(past.time_ms(window.origin + window.lead));
        let weekday = local.weekday();
        let day = local.second as f64 / 86_400.0;
        let week = (weekday as f64 + day) / 7.0;
        for (turn, waves) in [(day, self.day_waves), (week, self.week_waves)] {
            for wave in 1..=waves {
                let (sin, cos) = (std::f64::consts::TAU * turn * f64::from(wave)).sin_cos();
                row.extend([sin, cos]);
            }
        }
        let flag = |is: bool| f64::from(u8::from(is));
        if self.hours {
            row.extend((0..24).map(|hour| flag(local.second / 3_600 == hour)));
        }
        if self.weekdays {
            row.extend((0..7).map(|day| flag(weekday == day)));
            row.push(flag(weekday >= 5));
        }
        if self.holidays {
            row.push(flag(calendar.is_holiday(local.day)));
            row.push(flag(calendar.is_holiday(local.day - 1)));
        }
    }
}

fn size(buckets: u32) -> usize {
    usize::try_from(buckets).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
