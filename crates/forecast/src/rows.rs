//! The rows of one fit.

use std::ops::Range;

use crate::calendar::Calendar;
use crate::features::Window;
use crate::model::{Setup, root};
use crate::past::Past;
use crate::ridge::{Error, MAX_CELLS, Ridge};
use crate::series::Series;

/// Windows of the past with their features and what arrived in them, in order of time.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: usize,
    features: Vec<f64>,
    targets: Vec<f64>,
    windows: Vec<Window>,
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
            batches: Vec::new(),
        };
        let history = usize::try_from(setup.history).unwrap_or(usize::MAX);
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
        self.fit_other(&self.targets, penalty, min_rows)
    }

    /// Fits something else about the same windows.
    pub(crate) fn fit_other(&self, targets: &[f64], penalty: f64, min_rows: usize) -> Result<Ridge, Error> {
        Ridge::fit(&self.features, self.columns, targets, penalty, min_rows)
    }

    /// How far each target is from what a model says that was fitted on other parts of the history. A part is a run of
    /// rows, since neighbours are too much alike to test each other.
    pub(crate) fn errors_unseen(&self, penalty: f64, folds: usize) -> Result<Vec<f64>, Error> {
        let rows = self.targets.len();
        let mut errors = Vec::with_capacity(rows);
        for fold in 0..folds {
            let unseen = rows * fold / folds..rows * (fold + 1) / folds;
            let cells = unseen.start * self.columns..unseen.end * self.columns;
            let features = [&self.features[..cells.start], &self.features[cells.end..]].concat();
            let targets = [&self.targets[..unseen.start], &self.targets[unseen.end..]].concat();
            let fitted = Ridge::fit(&features, self.columns, &targets, penalty, 2)?;
            errors.extend(unseen.map(|row| self.targets[row] - fitted.predict(self.row(row))));
        }
        Ok(errors)
    }
}
