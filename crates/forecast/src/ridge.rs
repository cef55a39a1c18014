//! Least squares with a penalty on the square of the coefficients, fitted by linfa.
//!
//! linfa's own ridge (elastic net without l1) never meets its stopping rule, and its least squares accept anything: NaN, a
//! constant column, fewer rows than columns. So the penalty goes in as rows of its own, columns are scaled here, and what
//! can't be fitted is refused before linfa sees it.

use linfa::DatasetBase;
use linfa::traits::Fit as _;
use linfa_linear::LinearRegression;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

/// Cells of the matrix of one fit at most: 80 MB.
pub const MAX_CELLS: usize = 10_000_000;
/// A column that spreads less than this part of its size is taken for constant: what is left of it is rounding.
const LEAST_SPREAD: f64 = 1e-9;

/// Why nothing was fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The rows don't make a matrix.
    #[error("failed to fit a regression: {cells} cells are not {rows} rows of {columns} columns")]
    Shape {
        /// Cells given.
        cells: usize,
        /// Targets given.
        rows: usize,
        /// Columns expected.
        columns: usize,
    },
    /// Too much to be fitted in reasonable time and memory.
    #[error("failed to fit a regression: {0} cells are more than {MAX_CELLS}; take fewer rows or features")]
    Large(usize),
    /// Too little to learn from.
    #[error("failed to fit a regression: {rows} rows are fewer than the {needed} needed; wait for more history")]
    FewRows {
        /// Rows given.
        rows: usize,
        /// Rows needed.
        needed: usize,
    },
    /// NaN or infinity.
    #[error("failed to fit a regression: row {row} has a number that is not finite")]
    NotFinite {
        /// Which row.
        row: usize,
    },
    /// All targets are the same: there is nothing to explain.
    #[error("failed to fit a regression: the target never changes")]
    ConstantTarget,
    /// All columns are constant.
    #[error("failed to fit a regression: no feature ever changes")]
    ConstantFeatures,
    /// The penalty would not keep the coefficients bounded.
    #[error("failed to fit a regression: the penalty {0} is not a positive number")]
    Penalty(f64),
    /// The solver gave up, or its answer is not finite.
    #[error("failed to fit a regression: the solver found no finite answer")]
    Unsolved,
}

/// A fitted regression: `intercept + coefficients · features`, in the units of the features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ridge {
    intercept: f64,
    coefficients: Vec<f64>,
    /// Least and largest value of each feature that it has seen.
    seen: Vec<(f64, f64)>,
    /// The same of the target.
    answers: (f64, f64),
}

impl Ridge {
    /// Fits targets to rows of features (`features` holds the rows one after the other). `penalty` is the weight of the
    /// squared coefficients of features scaled to a spread of 1, against the mean squared error. At least `min_rows` rows
    /// are asked for.
    pub fn fit(
        features: &[f64],
        columns: usize,
        targets: &[f64],
        penalty: f64,
        min_rows: usize,
    ) -> Result<Self, Error> {
        Self::fit_weighed(features, columns, targets, &vec![1.0; targets.len()], penalty, min_rows)
    }

    /// The same where rows count by `weights`, one positive number for each; only their ratios matter.
    pub(crate) fn fit_weighed(
        features: &[f64],
        columns: usize,
        targets: &[f64],
        weights: &[f64],
        penalty: f64,
        min_rows: usize,
    ) -> Result<Self, Error> {
        let rows = targets.len();
        check(features, columns, targets, penalty, min_rows)?;
        debug_assert_eq!(weights.len(), rows);
        let mean_target = mean(targets.iter().copied(), weights);
        if !mean_target.is_finite() {
            return Err(Error::Unsolved);
        }
        if targets
            .iter()
            .all(|target| (target - mean_target).abs() <= LEAST_SPREAD * mean_target.abs())
        {
            return Err(Error::ConstantTarget);
        }
        let scales: Vec<Scale> = (0..columns)
            .map(|column| Scale::of(features, columns, column, weights))
            .collect();
        let used: Vec<usize> = (0..columns).filter(|&column| scales[column].spread > 0.0).collect();
        if used.is_empty() {
            return Err(Error::ConstantFeatures);
        }
        let per_weight = rows as f64 / weights.iter().sum::<f64>();
        let pulls: Vec<f64> = weights.iter().map(|weight| (weight * per_weight).sqrt()).collect();
        let pull_to_zero = (penalty * rows as f64).sqrt();
        let matrix = Array2::from_shape_fn((rows + used.len(), used.len()), |(row, position)| {
            if row < rows {
                let column = used[position];
                scales[column].of_value(features[row * columns + column]) * pulls[row]
            } else if row - rows == position {
                pull_to_zero
            } else {
                0.0
            }
        });
        let wanted = Array1::from_shape_fn(rows + used.len(), |row| {
            targets
                .get(row)
                .map_or(0.0, |target| (target - mean_target) * pulls[row])
        });
        let solved = LinearRegression::new()
            .with_intercept(false)
            .fit(&DatasetBase::new(matrix, wanted))
            .map_err(|_| Error::Unsolved)?;
        let mut coefficients = vec![0.0; columns];
        let mut intercept = mean_target;
        for (&column, &slope) in used.iter().zip(solved.params()) {
            coefficients[column] = slope / scales[column].spread;
            intercept -= coefficients[column] * scales[column].mean;
        }
        let fitted = Self {
            intercept,
            coefficients,
            seen: (0..columns)
                .map(|column| range(features.iter().skip(column).step_by(columns)))
                .collect(),
            answers: range(targets),
        };
        if fitted.is_sound(columns) {
            Ok(fitted)
        } else {
            Err(Error::Unsolved)
        }
    }

    /// Takes the one feature for the target.
    pub(crate) fn same() -> Self {
        Self {
            intercept: 0.0,
            coefficients: vec![1.0],
            seen: vec![(0.0, f64::MAX)],
            answers: (0.0, f64::MAX),
        }
    }

    /// The expected target for a row of features, as many as it was fitted with. Beyond what it has seen of a feature or of
    /// the target it does not go: a line says nothing there.
    pub fn predict(&self, row: &[f64]) -> f64 {
        let columns = self.coefficients.iter().zip(&self.seen).zip(row);
        let product: f64 = columns
            .map(|((coefficient, &(low, high)), value)| coefficient * value.max(low).min(high))
            .sum();
        (self.intercept + product).max(self.answers.0).min(self.answers.1)
    }

    /// Whether it is for so many columns, and finite.
    pub(crate) fn is_sound(&self, columns: usize) -> bool {
        let numbers = self.coefficients.iter().chain([&self.intercept]);
        let is_range = |&(low, high): &(f64, f64)| low.is_finite() && high.is_finite() && low <= high;
        self.coefficients.len() == columns
            && self.seen.len() == columns
            && numbers.into_iter().all(|number| number.is_finite())
            && self.seen.iter().chain([&self.answers]).all(is_range)
    }
}

/// Where a column lies; the spread of a constant one is 0.
#[derive(Debug, Clone, Copy)]
struct Scale {
    mean: f64,
    spread: f64,
}

impl Scale {
    fn of(features: &[f64], columns: usize, column: usize, weights: &[f64]) -> Self {
        let cells = || features.iter().skip(column).step_by(columns).copied();
        let mean = mean(cells(), weights);
        let spread = self::mean(cells().map(|cell| (cell - mean).powi(2)), weights).sqrt();
        Self {
            mean,
            spread: if spread > LEAST_SPREAD * mean.abs() {
                spread
            } else {
                0.0
            },
        }
    }

    fn of_value(self, value: f64) -> f64 {
        (value - self.mean) / self.spread
    }
}

fn check(features: &[f64], columns: usize, targets: &[f64], penalty: f64, min_rows: usize) -> Result<(), Error> {
    let rows = targets.len();
    if columns == 0 || rows.checked_mul(columns) != Some(features.len()) {
        let cells = features.len();
        return Err(Error::Shape { cells, rows, columns });
    }
    if features.len() > MAX_CELLS {
        return Err(Error::Large(features.len()));
    }
    let needed = min_rows.max(2);
    if rows < needed {
        return Err(Error::FewRows { rows, needed });
    }
    if !(penalty.is_finite() && penalty > 0.0) {
        return Err(Error::Penalty(penalty));
    }
    let is_finite = |(row, target): (&[f64], &f64)| target.is_finite() && row.iter().all(|cell| cell.is_finite());
    match features.chunks(columns).zip(targets).position(|row| !is_finite(row)) {
        Some(row) => Err(Error::NotFinite { row }),
        None => Ok(()),
    }
}

fn range<'a>(values: impl IntoIterator<Item = &'a f64>) -> (f64, f64) {
    let range = (f64::INFINITY, f64::NEG_INFINITY);
    values
        .into_iter()
        .fold(range, |(low, high), &value| (low.min(value), high.max(value)))
}

fn mean(values: impl Iterator<Item = f64>, weights: &[f64]) -> f64 {
    let sum: f64 = values.zip(weights).map(|(value, weight)| value * weight).sum();
    sum / weights.iter().sum::<f64>()
}

#[cfg(test)]
mod tests;
