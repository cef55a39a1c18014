//! What is forecast when the model can't be trusted: the seasonal naive model, else nothing (*reactive*: nodes are bought
//! when gangs wait). Never a guess, and always a reason.

use crate::calendar::DAY_MS;
use crate::drift::Drift;
use crate::model::{self, Forecast, History, Model};

/// Unknown buckets at the end of a history with which a forecast is still made.
pub const MAX_GAP: usize = 2;
/// Known history without which nothing is forecast, milliseconds.
pub const LEAST_HISTORY_MS: u64 = DAY_MS;
/// Age of a model beyond which it is not used, milliseconds.
pub const MAX_AGE_MS: u64 = 7 * DAY_MS;
/// Errors without which quantiles are not believed.
pub const LEAST_ERRORS: usize = 20;

/// Why it is not the model that forecasts.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// Too little is known.
    #[error("{0} hours of history are known, 24 are needed")]
    ShortHistory(u64),
    /// What happened last is not known.
    #[error("what arrived in the last {0} buckets is not known")]
    Gap(usize),
    /// There is no model: it was never fitted, or no file of it is good.
    #[error("there is no fitted model")]
    NoModel,
    /// The last fit is too long ago.
    #[error("the model was fitted {0} days ago")]
    Old(u64),
    /// Too few errors are known.
    #[error("the model's errors are known in {0} cases only")]
    FewErrors(usize),
    /// It doesn't fit any more.
    #[error("{0}")]
    Drift(Drift),
    /// It can't be used on this history.
    #[error("{0}")]
    Unusable(model::Error),
}

/// What is forecast, and by what.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// By the model.
    Model(Vec<Forecast>),
    /// By the seasonal naive model, since the model can't be used.
    Naive(Vec<Forecast>, Reason),
    /// By nothing, since neither can be used.
    Reactive(Reason),
}

/// Forecasts with the model if it is sound and the history reaches to now, else with the naive one, else not at all.
pub fn forecast(model: Option<&Model>, drift: Option<Drift>, naive: Option<&Model>, history: &History<'_>) -> Answer {
    let series = history.series;
    let known = (0..series.len()).filter(|&index| series.value(index).is_some()).count();
    let known_ms = (known as u64).saturating_mul(series.bucket_ms());
    if known_ms < LEAST_HISTORY_MS {
        return Answer::Reactive(Reason::ShortHistory(known_ms / 3_600_000));
    }
    let gap = (0..series.len())
        .rev()
        .take_while(|&index| series.value(index).is_none())
        .count();
    if gap > MAX_GAP {
        return Answer::Reactive(Reason::Gap(gap));
    }
    let reason = match (drift, usable(model, history)) {
        (None, Ok(forecasts)) => return Answer::Model(forecasts),
        (Some(drift), Ok(_)) => Reason::Drift(drift),
        (_, Err(reason)) => reason,
    };
    match usable(naive, history) {
        Ok(forecasts) => Answer::Naive(forecasts, reason),
        Err(_) => Answer::Reactive(reason),
    }
}

fn usable(model: Option<&Model>, history: &History<'_>) -> Result<Vec<Forecast>, Reason> {
    let model = model.ok_or(Reason::NoModel)?;
    let now_ms = history.series.time_ms(history.series.len());
    let age_ms = now_ms.saturating_sub(model.fitted_until_ms());
    if age_ms > MAX_AGE_MS {
        return Err(Reason::Old(age_ms / DAY_MS));
    }
    if model.errors() < LEAST_ERRORS {
        return Err(Reason::FewErrors(model.errors()));
    }
    model.forecast(history).map_err(Reason::Unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{calendar, fitted, naive, weeks};
    use crate::series::Series;

    fn answer(model: Option<&Model>, drift: Option<Drift>, naive: Option<&Model>, series: &Series) -> Answer {
        let history = History {
            series,
            certain: &[],
            calendar: calendar(),
        };
        forecast(model, drift, naive, &history)
    }

    fn reason(answer: Answer) -> (&'static str, Reason) {
        match answer {
            Answer::Model(_) => panic!("the model was used"),
            Answer::Naive(_, reason) => ("naive", reason),
            Answer::Reactive(reason) => ("reactive", reason),
        }
    }

    #[test]
    fn the_model_is_used_while_nothing_speaks_against_it() {
        let (model, mut series) = (fitted(), weeks(4));
        assert!(matches!(answer(Some(&model), None, None, &series), Answer::Model(forecasts) if forecasts.len() == 1));
        for _ in 0..MAX_GAP {
            series.push(None).unwrap();
        }
        assert!(matches!(answer(Some(&model), None, None, &series), Answer::Model(_)));
    }

    #[test]
    fn without_a_good_model_the_naive_one_stands_in_and_says_why() {
        let (model, naive, series) = (fitted(), naive(), weeks(4));
        assert_eq!(
            reason(answer(None, None, Some(&naive), &series)),
            ("naive", Reason::NoModel)
        );
        let drift = answer(Some(&model), Some(Drift::Shift), Some(&naive), &series);
        assert_eq!(reason(drift), ("naive", Reason::Drift(Drift::Shift)));
        assert_eq!(reason(answer(None, None, None, &series)), ("reactive", Reason::NoModel));
        let later = answer(Some(&model), None, Some(&naive), &weeks(6));
        assert_eq!(reason(later), ("reactive", Reason::Old(14)));
    }

    #[test]
    fn an_unknown_present_or_a_short_past_means_reactive() {
        let (model, mut series) = (fitted(), weeks(4));
        for _ in 0..3 {
            series.push(None).unwrap();
        }
        assert_eq!(
            reason(answer(Some(&model), None, Some(&model), &series)),
            ("reactive", Reason::Gap(3))
        );
        let mut values = vec![f64::NAN; 100];
        values.extend([1.0; 23]);
        let short = Series::new(0, 3_600_000, values).unwrap();
        assert_eq!(
            reason(answer(Some(&model), None, Some(&model), &short)),
            ("reactive", Reason::ShortHistory(23))
        );
    }

    #[test]
    fn a_model_for_other_buckets_is_not_used() {
        let (model, hourly) = (fitted(), weeks(4));
        let values = (0..hourly.len()).filter_map(|index| hourly.value(index)).collect();
        let other = Series::new(hourly.time_ms(0), 1_800_000, values).unwrap();
        let (kind, reason) = reason(answer(Some(&model), None, None, &other));
        assert!(
            kind == "reactive" && matches!(reason, Reason::Unusable(_)),
            "{reason:?}"
        );
    }
}
