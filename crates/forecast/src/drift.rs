//! Whether a model still fits what arrives.

use std::collections::VecDeque;

/// Share of values that a quantile of .9 may cover over three days; more only while the naive model is worse.
const COVERAGE: std::ops::RangeInclusive<f64> = 0.8..=0.97;
const COVERAGE_DAYS: usize = 3;
/// Forecasts below which no share is told from another.
const FEWEST: usize = 48;
/// Changes of the mean error that don't matter, and how much of more has to come together: both in the errors' usual size
/// (the test of Page and Hinkley).
const TOLERANCE: f64 = 0.25;
const ALARM: f64 = 40.0;
/// One error, however large, is no drift.
const LARGEST: f64 = 4.0;

/// Why a model is not to be followed any longer.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Drift {
    /// Errors are all to one side.
    #[error("arrivals have moved to another level than the model knows")]
    Shift,
    /// The quantiles do not hold.
    #[error("the forecast's quantile of .9 held in {covered} of {forecasts} cases in the last {COVERAGE_DAYS} days")]
    Coverage {
        /// How often it held.
        covered: usize,
        /// Of so many.
        forecasts: usize,
    },
    /// The same time last week would have been the better forecast.
    #[error("the model was worse than last week's values for a day")]
    WorseThanNaive,
}

/// How one forecast turned out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The error in its usual size, as [`crate::model::Model::observe`] tells it.
    pub score: f64,
    /// Whether the quantile of .9 was not exceeded.
    pub covered: bool,
    /// Pinball loss.
    pub loss: f64,
    /// Pinball loss of the seasonal naive model.
    pub naive_loss: f64,
}

/// The last outcomes of a model; begun anew with each fit that follows a drift.
#[derive(Debug, Clone)]
pub struct Watch {
    per_day: usize,
    outcomes: VecDeque<Outcome>,
    rise: Side,
    fall: Side,
    seen: f64,
    mean: f64,
}

/// Sum of the errors beyond the mean to one side, never below 0.
#[derive(Debug, Clone, Copy, Default)]
struct Side(f64);

impl Watch {
    /// For so many forecasts per day.
    pub fn new(per_day: usize) -> Self {
        Self {
            per_day: per_day.max(1),
            outcomes: VecDeque::new(),
            rise: Side::default(),
            fall: Side::default(),
            seen: 0.0,
            mean: 0.0,
        }
    }

    /// Takes over an outcome; one that is not finite says nothing.
    pub fn observe(&mut self, outcome: Outcome) {
        if !(outcome.score.is_finite() && outcome.loss.is_finite() && outcome.naive_loss.is_finite()) {
            return;
        }
        let score = outcome.score.clamp(-LARGEST, LARGEST);
        self.seen += 1.0;
        self.mean += (score - self.mean) / self.seen;
        self.rise.add(score - self.mean);
        self.fall.add(self.mean - score);
        self.outcomes.push_back(outcome);
        let excess = self
            .outcomes
            .len()
            .saturating_sub(self.per_day.saturating_mul(COVERAGE_DAYS));
        self.outcomes.drain(..excess);
    }

    /// How many forecasts it has seen, those of three days at most.
    pub fn seen(&self) -> usize {
        self.outcomes.len()
    }

    /// What is wrong now, if anything.
    pub fn drift(&self) -> Option<Drift> {
        if self.rise.0 > ALARM || self.fall.0 > ALARM {
            return Some(Drift::Shift);
        }
        let forecasts = self.outcomes.len();
        if forecasts == self.per_day.saturating_mul(COVERAGE_DAYS) && forecasts >= FEWEST {
            let covered = self.outcomes.iter().filter(|outcome| outcome.covered).count();
            let share = covered as f64 / forecasts as f64;
            // Quiet days are covered more often than others: that alone is no reason to follow a model that is worse.
            let is_too_wide = share > *COVERAGE.end() && self.is_worse(forecasts);
            if share < *COVERAGE.start() || is_too_wide {
                return Some(Drift::Coverage { covered, forecasts });
            }
        }
        (forecasts >= self.per_day && self.is_worse(self.per_day)).then_some(Drift::WorseThanNaive)
    }

    /// Whether the naive model would have lost less in the last cases.
    fn is_worse(&self, cases: usize) -> bool {
        let last = self.outcomes.iter().rev().take(cases);
        let (loss, naive) = last.fold((0.0, 0.0), |sum, outcome| {
            (sum.0 + outcome.loss, sum.1 + outcome.naive_loss)
        });
        loss > naive
    }
}

impl Side {
    fn add(&mut self, beyond: f64) {
        self.0 = (self.0 + beyond - TOLERANCE).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Outcome = Outcome {
        score: 0.0,
        covered: true,
        loss: 1.0,
        naive_loss: 2.0,
    };

    /// Errors without a pattern, most of them small, from -1 to 4; one in ten beyond the quantile.
    fn usual(index: u32) -> Outcome {
        let at = index.wrapping_mul(2_654_435_761) >> 16;
        Outcome {
            score: f64::from(at % 100).powi(3) / 2e5 - 1.0,
            covered: !at.is_multiple_of(10),
            ..GOOD
        }
    }

    fn watched(outcomes: impl IntoIterator<Item = Outcome>) -> Option<Drift> {
        let mut watch = Watch::new(24);
        outcomes.into_iter().for_each(|outcome| watch.observe(outcome));
        watch.drift()
    }

    #[test]
    fn usual_errors_are_no_drift_in_a_year() {
        let mut watch = Watch::new(24);
        for index in 0..24 * 365 {
            watch.observe(usual(index));
            assert_eq!(watch.drift(), None, "at {index}");
        }
    }

    #[test]
    fn a_new_level_is_noticed_within_three_days_and_one_spike_never() {
        let shifted = |outcome: Outcome| Outcome {
            score: outcome.score + 1.2,
            ..outcome
        };
        let days = |days: u32| {
            (0..720)
                .map(usual)
                .chain((720..720 + days * 24).map(usual).map(shifted))
        };
        assert_eq!(watched(days(3)), Some(Drift::Shift));
        let spike = Outcome { score: 1e9, ..GOOD };
        assert_eq!(watched((0..720).map(usual).chain([spike])), None);
        let nan = Outcome {
            score: f64::NAN,
            ..GOOD
        };
        assert_eq!(watched((0..720).map(usual).chain([nan; 200])), None);
    }

    #[test]
    fn quantiles_that_do_not_hold_are_noticed_after_three_days() {
        let missed = |index: u32| Outcome {
            covered: !index.is_multiple_of(4),
            ..GOOD
        };
        assert_eq!(watched((0..71).map(missed)), None);
        let (covered, forecasts) = (54, 72);
        assert_eq!(
            watched((0..72).map(missed)),
            Some(Drift::Coverage { covered, forecasts })
        );
        assert_eq!(watched([GOOD; 72]), None, "quiet days");
        // Worse in all, but not on the last day.
        let worse = Outcome { loss: 3.0, ..GOOD };
        let (covered, forecasts) = (72, 72);
        assert_eq!(
            watched([worse; 48].into_iter().chain([GOOD; 24])),
            Some(Drift::Coverage { covered, forecasts })
        );
    }

    #[test]
    fn a_day_worse_than_naive_is_drift() {
        let worse = Outcome { loss: 3.0, ..GOOD };
        assert_eq!(watched([worse; 23]), None);
        assert_eq!(watched([worse; 24]), Some(Drift::WorseThanNaive));
        assert_eq!(watched([worse; 24].into_iter().chain([GOOD; 24])), None);
    }
}
