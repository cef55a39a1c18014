//! A model of arrivals: what is expected, how far that is usually off, and quantiles of it.

use serde::{Deserialize, Serialize};

use crate::calendar::{Calendar, DAY_MS};
use crate::conformal::Calibration;
use crate::features::{FeatureSpec, Window};
use crate::past::Past;
use crate::ridge::{self, Ridge};
use crate::rows::Rows;
use crate::series::Series;
pub use crate::setup::{Horizon, Setup};

/// Parts of the history; each but the first is forecast by a model of those before it, for errors on data that the model has
/// not seen.
const PARTS: usize = 5;
/// An error is never expected to be smaller than this part of the mean error.
const LEAST_SPREAD: f64 = 0.3;
/// By how much the penalty is larger where the size of errors is fitted: it is much noisier than what they are errors of.
const SPREAD_PENALTY: f64 = 30.0;
/// How far the expected size of an error follows the features, as the power of a factor: wholly (1), and it exaggerates; not
/// at all (0), and quantiles are too wide in quiet hours. Chosen on four traces, each before the time that it is tested on.
const SPREAD_FOLLOWS: f64 = 0.75;

/// Why there is no model or no forecast.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A setup out of bounds.
    #[error("failed to fit a model: its setup is out of bounds: {0}")]
    Setup(&'static str),
    /// Nothing to be learned from the history.
    #[error("failed to fit a model on {days} days of history")]
    Fit {
        /// Days of history given, complete or not.
        days: u64,
        /// What was wrong.
        #[source]
        source: ridge::Error,
    },
    /// Buckets of another length than those that the model was fitted on.
    #[error("failed to forecast: buckets are {given_ms} ms long, the model is for {fitted_ms} ms; fit it anew")]
    Bucket {
        /// Of the series.
        given_ms: u64,
        /// Of the model.
        fitted_ms: u64,
    },
}

/// What is expected in one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The window's begin, milliseconds since 1970 UTC.
    pub start_ms: u64,
    /// Its end.
    pub end_ms: u64,
    /// What arrives in it for certain; all below includes it.
    pub certain: f64,
    /// What the regression says.
    pub point: f64,
    /// Each quantile (thousandths) with its value, ascending in both.
    pub quantiles: Vec<(u16, f64)>,
}

/// A window of the past as a model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// When it is forecast: all before this is known. Milliseconds since 1970 UTC.
    pub origin_ms: u64,
    /// The window's begin.
    pub start_ms: u64,
    /// What the model looks at.
    pub features: Vec<f64>,
    /// Root of the mean of what arrived in the window.
    pub target: f64,
}

/// What a model of this setup is fitted on, in order of time: for other models to be fitted on the same.
pub fn examples(setup: &Setup, history: &History<'_>) -> Result<Vec<Example>, Error> {
    setup.check()?;
    let rest = history.series.less(history.certain);
    let rows = Rows::of(setup, &rest, &history.calendar).map_err(|source| history.unfit(source))?;
    let example = |row| {
        let Window { origin, lead, .. } = rows.window(row);
        Example {
            origin_ms: rest.time_ms(origin),
            start_ms: rest.time_ms(origin + lead),
            features: rows.row(row).to_vec(),
            target: rows.target(row),
        }
    };
    Ok((0..rows.len()).map(example).collect())
}

/// A fitted model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    setup: Setup,
    bucket_ms: u64,
    /// First moment whose values the model has not been fitted on, milliseconds since 1970 UTC.
    fitted_until_ms: u64,
    level: Ridge,
    /// Expected size of the error; without it errors are taken to be alike.
    spread: Option<Ridge>,
    /// Mean size of the error.
    mean_spread: f64,
    calibration: Calibration,
}

/// A history of arrivals and what goes with it.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// What arrived; its end is now.
    pub series: &'a Series,
    /// What of it was or will be certain beforehand (known schedules), per bucket from the series' begin on; as far as it
    /// goes, in the future too.
    pub certain: &'a [f64],
    /// The users' clock.
    pub calendar: Calendar<'a>,
}

impl History<'_> {
    fn unfit(&self, source: ridge::Error) -> Error {
        let days = self.series.len() as u64 * self.series.bucket_ms() / DAY_MS;
        Error::Fit { days, source }
    }
}

impl Model {
    /// Fits a model on the history. Quantiles come from errors of models that had not seen the data; with `before`, a model
    /// of the same setup, from the errors that it made in use.
    pub fn fit(setup: &Setup, history: &History<'_>, before: Option<&Self>) -> Result<Self, Error> {
        setup.check()?;
        let failed = |source| history.unfit(source);
        let rest = history.series.less(history.certain);
        let rows = Rows::of(setup, &rest, &history.calendar).map_err(failed)?;
        let min_rows = setup.features.columns();
        let level = rows.fit(setup.penalty, min_rows).map_err(failed)?;
        let (first, errors) = rows.errors_ahead(setup.penalty, PARTS).map_err(failed)?;
        let sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        let mean_size = sizes.iter().sum::<f64>() / sizes.len() as f64;
        // Errors that are all the same need no regression, and few allow none.
        let spread = rows
            .fit_other(first, &sizes, setup.penalty * SPREAD_PENALTY, min_rows)
            .ok();
        let mut model = Self {
            setup: setup.clone(),
            bucket_ms: history.series.bucket_ms(),
            fitted_until_ms: history.series.time_ms(history.series.len()),
            level,
            spread,
            mean_spread: mean_size.max(f64::MIN_POSITIVE),
            calibration: setup.calibration(),
        };
        if let Some(before) = before.filter(|before| before.setup == *setup) {
            model.calibration = before.calibration.clone();
        } else {
            for batch in rows.batches() {
                let scores: Vec<f64> = batch
                    .filter_map(|row| Some(errors[row.checked_sub(first)?] / model.spread_of(rows.row(row))))
                    .collect();
                model.calibration.observe(&scores);
            }
        }
        Ok(model)
    }

    /// The seasonal naive model: the same window by the clock `days` before, with quantiles of how far that was off.
    pub fn naive(setup: &Setup, history: &History<'_>, days: u32) -> Result<Self, Error> {
        let setup = Setup {
            features: FeatureSpec {
                days_before: vec![days],
                ..FeatureSpec::default()
            },
            ..setup.clone()
        };
        setup.check()?;
        let rest = history.series.less(history.certain);
        let failed = |source| history.unfit(source);
        let rows = Rows::of(&setup, &rest, &history.calendar).map_err(failed)?;
        let mut model = Self {
            bucket_ms: rest.bucket_ms(),
            fitted_until_ms: rest.time_ms(rest.len()),
            level: Ridge::same(),
            spread: None,
            mean_spread: 1.0,
            calibration: setup.calibration(),
            setup,
        };
        for batch in rows.batches() {
            let scores: Vec<f64> = batch
                .map(|row| rows.target(row) - model.level.predict(rows.row(row)))
                .collect();
            model.calibration.observe(&scores);
        }
        Ok(model)
    }

    /// What it was fitted with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// First moment whose values the model has not been fitted on, milliseconds since 1970 UTC.
    pub fn fitted_until_ms(&self) -> u64 {
        self.fitted_until_ms
    }

    /// Errors that its quantiles are taken of now.
    pub fn errors(&self) -> usize {
        self.calibration.len()
    }

    /// Whether a model from a file can be used.
    pub(crate) fn is_sound(&self) -> bool {
        let columns = self.setup.features.columns();
        let is_sound = |ridge: &Ridge| ridge.is_sound(columns);
        self.setup.check().is_ok()
            && self.bucket_ms > 0
            && is_sound(&self.level)
            && self.spread.as_ref().is_none_or(is_sound)
            && self.mean_spread.is_finite()
            && self.mean_spread > 0.0
            && self.calibration.is_sound()
    }

    /// What is expected after the end of the history, one forecast for each of the horizon's windows.
    pub fn forecast(&self, history: &History<'_>) -> Result<Vec<Forecast>, Error> {
        let rest = history.series.less(history.certain);
        let quantiles = self.calibration.quantiles();
        let expected = self.expected(&rest, &history.calendar, rest.len())?;
        let span = self.setup.horizon.span();
        let forecast = |(lead, (level, spread)): (usize, (f64, f64))| {
            let first = rest.len() + lead;
            let certain = history.certain.get(first..).unwrap_or_default().iter().take(span).sum();
            let value = |root: f64| certain + root.max(0.0).powi(2) * span as f64;
            Forecast {
                start_ms: rest.time_ms(first),
                end_ms: rest.time_ms(first + span),
                certain,
                point: value(level),
                quantiles: quantiles
                    .iter()
                    .map(|&(quantile, score)| (quantile, value(level + score * spread)))
                    .collect(),
            }
        };
        Ok(expected.into_iter().enumerate().map(forecast).collect())
    }

    /// Learns how far the forecasts were off that it made when the history was `origin` buckets long. Each origin is to be
    /// given once, when all of its windows have passed.
    pub fn observe(&mut self, history: &History<'_>, origin: usize) -> Result<Vec<f64>, Error> {
        let rest = history.series.less(history.certain);
        let span = self.setup.horizon.span();
        let expected = self.expected(&rest, &history.calendar, origin)?;
        let scores = expected
            .into_iter()
            .enumerate()
            .filter_map(|(lead, (level, spread))| Some((root(rest.sum(origin + lead, span)?, span) - level) / spread));
        let scores: Vec<f64> = scores.collect();
        self.calibration.observe(&scores);
        Ok(scores)
    }

    /// Per window the expected root and the expected size of its error.
    fn expected(&self, rest: &Series, calendar: &Calendar<'_>, origin: usize) -> Result<Vec<(f64, f64)>, Error> {
        if rest.bucket_ms() != self.bucket_ms {
            return Err(Error::Bucket {
                given_ms: rest.bucket_ms(),
                fitted_ms: self.bucket_ms,
            });
        }
        let past = Past::new(rest, &self.setup.features);
        let span = self.setup.horizon.span();
        let mut row = Vec::with_capacity(self.setup.features.columns());
        let windows = (0..self.setup.horizon.leads()).map(|lead| {
            row.clear();
            self.setup
                .features
                .write(&past, calendar, Window { origin, lead, span }, &mut row);
            (self.level.predict(&row), self.spread_of(&row))
        });
        Ok(windows.collect())
    }

    /// Expected size of the error: between what the features say and the mean.
    fn spread_of(&self, row: &[f64]) -> f64 {
        let least = self.mean_spread * LEAST_SPREAD;
        let told = self
            .spread
            .as_ref()
            .map_or(self.mean_spread, |spread| spread.predict(row).max(least));
        self.mean_spread * (told / self.mean_spread).powf(SPREAD_FOLLOWS)
    }
}

/// Root of the mean of a window.
pub(crate) fn root(sum: f64, span: usize) -> f64 {
    (sum / span as f64).sqrt()
}

#[cfg(test)]
pub(crate) mod tests;
