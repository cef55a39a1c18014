//! The rows of one fit.

use std::ops::Range;

use crate::calendar::{Calendar, DAY_MS};
use crate::features::Window;
use crate::model::{Setup, root};
use crate::past::Past;
use crate::ridge::{Error, MAX_CELLS, Ridge};
use crate::series::Series;

/// A window so much older counts half as much: what arrives changes with the users' projects. Chosen with the penalty on
/// four traces, each before the time that it is tested on; 14 days are better for the next hour and worse for a day ahead.
const HALF_LIFE_MS: f64 = 28.0 * DAY_MS as f64;

/// Windows of the past with their features and what arrived in them, in order of time.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: usize,
    features: Vec<f64>,
    targets: Vec<f64>,
    windows: Vec<Window>,
    /// How much each counts.
    weights: Vec<f64>,
    /// Rows that were forecast together.
    batches: Vec<Range<usize>>,
}

impl Rows {
    /// All windows of the history that are wholly known.
    pub(crate) fn of(setup: &Setup, series: &Series, calendar: &Calendar<'_>) -> Result<Self, Error> {
        let spec = &setup.features;
        let (leads, span) = (setup.horizon.leads(), setup.horizon.span());
        let past = Past::new(series, spec);
        let mut rows = Self {
            columns: spec.columns(),
            features: Vec::new(),
            targets: Vec::new(),
            windows: Vec::new(),
            weights: Vec::new(),
            batches: Vec::new(),
        };
        let history = usize::try_from(setup.history).unwrap_or(usize::MAX);
        let weight_at = |origin: usize| {
            let age_ms = (series.len() - origin) as f64 * series.bucket_ms() as f64;
            0.5_f64.powf(age_ms / HALF_LIFE_MS)
        };
        let day_of = |index: usize| calendar.local(series.time_ms(index)).day;
        // Before the first bucket nothing is known, and no feature means anything.
        for origin in series.len().saturating_sub(history).max(1)..series.len() {
            if setup.horizon.at_midnight && day_of(origin) == day_of(origin - 1) {
                continue;
            }
            let first = rows.targets.len();
            for lead in 0..leads {
                if let Some(sum) = series.sum(origin + lead, span) {
                    let window = Window { origin, lead, span };
                    spec.write(&past, calendar, window, &mut rows.features);
                    rows.windows.push(window);
                    rows.weights.push(weight_at(origin));
                    rows.targets.push(root(sum, span));
                }
            }
            if rows.features.len() > MAX_CELLS {
                return Err(Error::Large(rows.features.len()));
            }
            if rows.targets.len() > first {
                rows.batches.push(first..rows.targets.len());
            }
        }
        Ok(rows)
    }

    pub(crate) fn batches(&self) -> impl Iterator<Item = Range<usize>> {
        self.batches.iter().cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    pub(crate) fn window(&self, row: usize) -> Window {
        self.windows[row]
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.features[row * self.columns..(row + 1) * self.columns]
    }

    pub(crate) fn target(&self, row: usize) -> f64 {
        self.targets[row]
    }

    pub(crate) fn fit(&self, penalty: f64, min_rows: usize) -> Result<Ridge, Error> {
        self.fit_other(0, &self.targets, penalty, min_rows)
    }

    /// Fits something else about the windows from row `first` on.
    pub(crate) fn fit_other(
        &self,
        first: usize,
        targets: &[f64],
        penalty: f64,
        min_rows: usize,
    ) -> Result<Ridge, Error> {
        let rows = first..first + targets.len();
        let features = &self.features[rows.start * self.columns..rows.end * self.columns];
        let weights = &self.weights[rows];
        Ridge::fit_weighed(features, self.columns, targets, weights, penalty, min_rows)
    }

    /// How far targets are from what a model says that was fitted on the parts of the history before, as a model in use is;
    /// and the row of the first of them. The first part has none, nor have the next as long as nothing is learned from
    /// those before.
    pub(crate) fn errors_ahead(&self, penalty: f64, parts: usize) -> Result<(usize, Vec<f64>), Error> {
        let rows = self.targets.len();
        let mut errors = Vec::with_capacity(rows);
        let mut failed = Error::FewRows { rows, needed: parts };
        for part in 1..parts {
            let ahead = rows * part / parts..rows * (part + 1) / parts;
            match self.fit_other(0, &self.targets[..ahead.start], penalty, 2) {
                Ok(fitted) => errors.extend(ahead.map(|row| self.targets[row] - fitted.predict(self.row(row)))),
                Err(error) if errors.is_empty() => failed = error,
                Err(error) => return Err(error),
            }
        }
        if errors.is_empty() {
            return Err(failed);
        }
        Ok((rows - errors.len(), errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{calendar, setup, weeks};

    #[test]
    fn an_error_depends_on_nothing_after_it() {
        let mut rows = Rows::of(&setup(), &weeks(4), &calendar()).unwrap();
        let (first, before) = rows.errors_ahead(0.1, 5).unwrap();
        assert_eq!((first, before.len()), (671 / 5, 671 - 671 / 5));
        let changed = 500;
        for target in &mut rows.targets[changed..] {
            *target *= 3.0;
        }
        let (_, after) = rows.errors_ahead(0.1, 5).unwrap();
        assert_eq!(before[..changed - first], after[..changed - first]);
        assert_ne!(before, after);
    }

    #[test]
    fn a_past_without_anything_has_no_errors() {
        let mut rows = Rows::of(&setup(), &weeks(4), &calendar()).unwrap();
        rows.targets[..300].fill(0.0);
        // The first two parts are all zeros: nothing is learned from them.
        let (first, errors) = rows.errors_ahead(0.1, 5).unwrap();
        assert_eq!((first, errors.len()), (671 * 3 / 5, 671 - 671 * 3 / 5));
        rows.targets.fill(0.0);
        assert_eq!(rows.errors_ahead(0.1, 5), Err(Error::ConstantTarget));
    }
}
