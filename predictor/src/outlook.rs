//! What is expected to be submitted in this hour and the next, in nodes. Pure.

use kompass_capacity::{Shape, Submitted};
use kompass_forecast::drift::Drift;
use kompass_forecast::fallback::{self, Answer};
use kompass_forecast::hourly::Hourly;
use kompass_forecast::model::{self, Forecast};
use kompass_forecast::series::Series;
use kompass_forecast::wall::Wall;
use kompass_history::{Gap, History};
use serde::Serialize;

use crate::past::{Known, known_until_ms};
use crate::schedule::Schedule;
use crate::scheduled;
use crate::settings::Settings;

pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Of an hour so much may be unknown; then the hour is.
const UNKNOWN_MS: i64 = 300_000;

/// What is expected, for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlook {
    /// What tells it: `model`, `naive` (what was submitted at the same hour before) or `nothing`.
    pub by: &'static str,
    /// Why it is not the model.
    pub reason: Option<String>,
    /// The hour that has begun, as of its begin, and the next.
    pub hours: Vec<Hour>,
}

/// What is expected in an hour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hour {
    /// Its begin, milliseconds since 1970 UTC.
    pub start_ms: u64,
    /// Its end.
    pub end_ms: u64,
    /// Node-size of what is submitted in it, nodes.
    pub nodes: f64,
    /// Quantiles of it: thousandths and nodes.
    pub quantiles: Vec<(u16, f64)>,
}

/// Fits what can be fitted; what can't be is told with the outlook.
pub fn fit(
    history: &History,
    known: &Known,
    settings: &Settings,
    schedules: &[Schedule],
    before: Option<&Hourly>,
) -> Hourly {
    match seen(history, known, settings, schedules) {
        Some(seen) => seen.history(|history| Hourly::fit(history, before.cloned())),
        None => Hourly::default(),
    }
}

fn seen<'a>(history: &History, known: &Known, settings: &'a Settings, schedules: &[Schedule]) -> Option<Seen<'a>> {
    let window = (history.window.from_ms, history.window.to_ms);
    let known = (known, known_until_ms(history));
    Seen::new(
        window,
        &history.gaps,
        known,
        (settings.shape, &settings.wall),
        schedules,
    )
}

/// What was submitted by hour, what of it schedules started and will start, and by which clock it is looked at.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) series: Series,
    certain: Vec<f64>,
    wall: &'a Wall,
}

impl<'a> Seen<'a> {
    /// None if not an hour of a window is known. `until_ms`: until when the past is.
    pub(crate) fn new(
        window: (i64, i64),
        gaps: &[Gap],
        (known, until_ms): (&Known, i64),
        settings: (Shape, &'a Wall),
        schedules: &[Schedule],
    ) -> Option<Self> {
        let (shape, wall) = settings;
        let series = sizes(window, gaps, known, shape)?;
        let certain = scheduled::by_hour(schedules, &series, known, until_ms, shape);
        Some(Self { series, certain, wall })
    }

    pub(crate) fn history<T>(&self, f: impl FnOnce(&model::History<'_>) -> T) -> T {
        self.wall.history(&self.series, &self.certain, f)
    }
}

/// What is expected at the end of what was seen, by the model unless it has drifted.
pub(crate) fn outlook(fitted: &Hourly, drift: Option<Drift>, seen: Option<&Seen<'_>>) -> Outlook {
    let Some(seen) = seen else {
        let reason = Some("less than an hour is known".to_owned());
        let (by, hours) = ("nothing", Vec::new());
        return Outlook { by, reason, hours };
    };
    let answer =
        seen.history(|history| fallback::forecast(fitted.model.as_ref(), drift, fitted.naive.as_ref(), history));
    let (by, forecasts, reason) = match answer {
        Answer::Model(forecasts) => ("model", forecasts, None),
        Answer::Naive(forecasts, reason) => ("naive", forecasts, Some(reason)),
        Answer::Reactive(reason) => ("nothing", Vec::new(), Some(reason)),
    };
    Outlook {
        by,
        reason: reason.map(|reason| reason.to_string()),
        hours: forecasts.into_iter().map(Hour::from).collect(),
    }
}

impl From<Forecast> for Hour {
    fn from(forecast: Forecast) -> Self {
        Self {
            start_ms: forecast.start_ms,
            end_ms: forecast.end_ms,
            nodes: forecast.point,
            quantiles: forecast.quantiles,
        }
    }
}

/// Node-size of what was submitted in each whole hour of a window; none if it has no hour.
pub(crate) fn sizes(window: (i64, i64), gaps: &[Gap], known: &Known, shape: Shape) -> Option<Series> {
    series(window, gaps, known, |gang| gang.size as f64 / shape.parts() as f64)
}

/// The sum of something about what was submitted in each whole hour of a window; none if it has no hour.
pub(crate) fn series(
    (from_ms, to_ms): (i64, i64),
    gaps: &[Gap],
    known: &Known,
    what: impl Fn(&Submitted) -> f64,
) -> Option<Series> {
    let first = (from_ms + HOUR_MS - 1).div_euclid(HOUR_MS);
    let hours = usize::try_from(to_ms.div_euclid(HOUR_MS) - first)
        .ok()
        .filter(|hours| *hours > 0)?;
    let mut sizes = vec![0.0; hours];
    let hour_of = |at_ms: i64| usize::try_from(at_ms.div_euclid(HOUR_MS) - first).ok();
    for gang in &known.submitted {
        if let Some(size) = hour_of(gang.at_ms).and_then(|hour| sizes.get_mut(hour)) {
            *size += what(gang);
        }
    }
    let mut unknown_ms = vec![0; hours];
    for gap in gaps {
        for (hour, unknown_ms) in (first..).zip(&mut unknown_ms) {
            let (begin_ms, end_ms) = (gap.from_ms.max(hour * HOUR_MS), gap.to_ms.min((hour + 1) * HOUR_MS));
            *unknown_ms += (end_ms - begin_ms).max(0);
        }
    }
    for (size, unknown_ms) in sizes.iter_mut().zip(unknown_ms) {
        if unknown_ms > UNKNOWN_MS {
            *size = f64::NAN;
        }
    }
    let start_ms = u64::try_from(first * HOUR_MS).ok()?;
    Series::new(start_ms, HOUR_MS.unsigned_abs(), sizes).ok()
}

#[cfg(test)]
mod tests {
    use kompass_history::{End, Gang};

    use super::*;
    use crate::past::tests::{gang, gap, history};
    use crate::schedule::tests::scheduled;
    use crate::settings::tests::settings;

    /// Each working hour of three weeks, 8:00 to 12:00, gangs of three nodes; before and after it none.
    fn mornings() -> History {
        let hours = (0..21 * 24).filter(|hour| (8..12).contains(&(hour % 24)));
        let gangs = hours.flat_map(|hour| (0..4).map(move |number| hour * HOUR_MS + number * 600_000));
        let gangs = gangs
            .map(|at_ms| gang(at_ms, Some(60_000), End::Succeeded, 5))
            .collect();
        history(0, (20 * 24 + 9) * HOUR_MS, gangs)
    }

    fn told(history: &History) -> Outlook {
        by_clock(history, Wall::default(), &[])
    }

    fn by_clock(history: &History, wall: Wall, schedules: &[Schedule]) -> Outlook {
        let settings = Settings {
            wall: wall.into(),
            ..settings(1, 1)
        };
        let known = Known::new(&history.gangs, settings.shape);
        let fitted = fit(history, &known, &settings, schedules, None);
        let seen = seen(history, &known, &settings, schedules);
        outlook(&fitted, None, seen.as_ref())
    }

    #[test]
    fn what_comes_every_morning_is_expected() {
        let mut past = mornings();
        past.gangs.retain(|gang| gang.submit_ms < past.window.to_ms);
        let told = told(&past);
        assert_eq!((told.by, &told.reason), ("model", &None));
        let [now, next] = &told.hours[..] else {
            panic!("{told:?}")
        };
        assert_eq!(
            (now.start_ms, next.end_ms),
            ((20 * 24 + 9) * 3_600_000, (20 * 24 + 11) * 3_600_000)
        );
        // Four gangs of five and a half nodes an hour.
        assert!(
            (15.0..30.0).contains(&now.nodes) && (15.0..30.0).contains(&next.nodes),
            "{told:?}"
        );
        assert!(now.quantiles.is_sorted_by(|low, high| low.1 <= high.1), "{told:?}");
    }

    /// Gangs come from 8:00 on by the clock of Berlin. In the week after clocks went forward that is an hour earlier by UTC.
    #[test]
    fn the_morning_is_that_of_the_users_clock() {
        let berlin = Wall::in_zone("Europe/Berlin").unwrap();
        // 2026-03-08 00:00 UTC, three weeks before.
        let begin_ms: i64 = 1_772_928_000_000;
        let local_hour = |at_ms: i64| {
            let offset_ms = i64::from(berlin.offset_s(at_ms.unsigned_abs())) * 1_000;
            (at_ms + offset_ms).div_euclid(HOUR_MS).rem_euclid(24)
        };
        // The Tuesday after, at 6:00 UTC.
        let end_ms = begin_ms + (23 * 24 + 6) * HOUR_MS;
        let hours = (begin_ms..end_ms)
            .step_by(3_600_000)
            .filter(|&at_ms| (8..12).contains(&local_hour(at_ms)));
        let gangs = hours.flat_map(|at_ms| (0..4).map(move |number| at_ms + number * 600_000));
        let gangs = gangs
            .map(|at_ms| gang(at_ms, Some(60_000), End::Succeeded, 5))
            .collect();
        let past = history(begin_ms, end_ms, gangs);
        assert_eq!(local_hour(end_ms), 8, "the hour in which they come");
        let (by_clock, by_utc) = (by_clock(&past, berlin, &[]), told(&past));
        assert!(
            by_clock.hours[0].nodes > 1.5 * by_utc.hours[0].nodes,
            "{by_clock:?} {by_utc:?}"
        );
    }

    /// A large job comes now and then at 9:00, on days without a pattern. It is 9:00 on the 21st.
    #[test]
    fn what_a_schedule_starts_is_part_of_the_forecast() {
        let mut past = mornings();
        let schedule = Schedule::new(&scheduled("0 9 2,3,9,13,21 * *", None)).unwrap();
        let times = schedule.fires(0, past.window.to_ms);
        assert_eq!(times.len(), 5);
        past.gangs.extend(times[..4].iter().map(|&at_ms| Gang {
            profile: "large".into(),
            ..gang(at_ms + 9_000, Some(60_000), End::Succeeded, 100)
        }));
        past.gangs.retain(|gang| gang.submit_ms < past.window.to_ms);
        past.gangs.sort_by_key(|gang| gang.submit_ms);
        let (with, without) = (by_clock(&past, Wall::default(), &[schedule]), told(&past));
        // A hundred executors and their driver, beside what comes every morning.
        let size = 100.5;
        assert!(
            with.hours[0].nodes > without.hours[0].nodes + size / 2.0,
            "{with:?} {without:?}"
        );
        assert!(
            with.hours[0].quantiles.iter().all(|&(_, nodes)| nodes >= size),
            "{with:?}"
        );
        assert!(with.hours[1].nodes < size / 2.0, "{with:?}");
    }

    #[test]
    fn without_the_last_hours_nothing_is_expected() {
        let mut past = mornings();
        past.gaps = vec![gap(past.window.to_ms - 4 * HOUR_MS, past.window.to_ms)];
        let told = told(&past);
        assert_eq!((told.by, told.hours.len()), ("nothing", 0));
        assert!(told.reason.is_some_and(|reason| reason.contains("last 4 buckets")));
        let nothing = self::told(&history(10, 20, Vec::new()));
        assert_eq!(nothing.by, "nothing");
    }
}
