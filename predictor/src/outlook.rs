//! What is expected to be submitted in this hour and the next, in nodes. Pure.

use std::collections::BTreeSet;

use kompass_capacity::Shape;
use kompass_forecast::calendar::Calendar;
use kompass_forecast::drift::Drift;
use kompass_forecast::fallback::{self, Answer};
use kompass_forecast::features::FeatureSpec;
use kompass_forecast::model::{self, Forecast, Horizon, Model, Setup};
use kompass_forecast::series::Series;
use kompass_history::{Gap, History};
use serde::Serialize;

use crate::past::Known;

pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Of an hour so much may be unknown; then the hour is.
const UNKNOWN_MS: i64 = 300_000;
/// Hours of history that count at most.
const HISTORY_H: u32 = 120 * 24;

/// The models of what is submitted.
#[derive(Debug, Clone, Default)]
pub struct Fitted {
    pub(crate) model: Option<Model>,
    /// The same hour a week before, or the day before where that is too long ago.
    pub(crate) naive: Option<Model>,
}

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

/// As it was chosen for hourly series, see the crate's benchmark.
fn setup() -> Setup {
    Setup {
        features: FeatureSpec::hourly(),
        horizon: Horizon {
            leads: 2,
            span: 1,
            at_midnight: false,
        },
        penalty: 0.1,
        history: HISTORY_H,
        errors: 56 * 24,
        gamma: 0.01,
        quantiles: vec![500, 900, 950],
    }
}

/// Fits what can be fitted; what can't be is told with the outlook.
pub fn fit(history: &History, known: &Known, shape: Shape, before: Option<&Fitted>) -> Fitted {
    let window = (history.window.from_ms, history.window.to_ms);
    let Some(series) = series(window, &history.gaps, known, shape) else {
        return Fitted::default();
    };
    with(&series, |history| {
        let naive = [7, 1].into_iter().find_map(|days| {
            let naive = Model::naive(&setup(), history, days).ok();
            naive.filter(|naive| naive.errors() >= fallback::LEAST_ERRORS)
        });
        let mut before = before.and_then(|before| before.model.clone());
        if let Some(before) = &mut before {
            observe(before, history);
        }
        Fitted {
            model: Model::fit(&setup(), history, before.as_ref()).ok(),
            naive,
        }
    })
}

/// Learns how far a model's forecasts were off since it was fitted.
fn observe(model: &mut Model, history: &model::History<'_>) {
    let series = history.series;
    let leads = usize::try_from(model.setup().horizon.leads).unwrap_or(usize::MAX);
    for origin in 1..(series.len() + 1).saturating_sub(leads) {
        if series.time_ms(origin) >= model.fitted_until_ms() && model.observe(history, origin).is_err() {
            return;
        }
    }
}

/// What is expected at the end of a series, by the model unless it has drifted.
pub(crate) fn outlook(fitted: &Fitted, drift: Option<Drift>, series: Option<&Series>) -> Outlook {
    let Some(series) = series else {
        let reason = Some("less than an hour is known".to_owned());
        let (by, hours) = ("nothing", Vec::new());
        return Outlook { by, reason, hours };
    };
    let answer = with(series, |history| {
        fallback::forecast(fitted.model.as_ref(), drift, fitted.naive.as_ref(), history)
    });
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
pub(crate) fn series((from_ms, to_ms): (i64, i64), gaps: &[Gap], known: &Known, shape: Shape) -> Option<Series> {
    let first = (from_ms + HOUR_MS - 1).div_euclid(HOUR_MS);
    let hours = usize::try_from(to_ms.div_euclid(HOUR_MS) - first)
        .ok()
        .filter(|hours| *hours > 0)?;
    let mut sizes = vec![0.0; hours];
    let hour_of = |at_ms: i64| usize::try_from(at_ms.div_euclid(HOUR_MS) - first).ok();
    for gang in &known.submitted {
        if let Some(size) = hour_of(gang.at_ms).and_then(|hour| sizes.get_mut(hour)) {
            *size += gang.size as f64 / shape.parts() as f64;
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

/// By UTC: whose clock the users go by is not known.
pub(crate) fn with<T>(series: &Series, f: impl FnOnce(&model::History<'_>) -> T) -> T {
    let calendar = Calendar {
        offset_s: &|_| 0,
        holidays: &BTreeSet::new(),
    };
    f(&model::History {
        series,
        certain: &[],
        calendar,
    })
}

#[cfg(test)]
mod tests {
    use kompass_history::End;

    use super::*;
    use crate::past::tests::{gang, gap, history};
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
        let shape = settings(1, 1).shape;
        let known = Known::new(&history.gangs, shape);
        let fitted = fit(history, &known, shape, None);
        let window = (history.window.from_ms, history.window.to_ms);
        let series = series(window, &history.gaps, &known, shape);
        outlook(&fitted, None, series.as_ref())
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
