//! Quantiles of a model's errors that hold their promise: of the last errors, the newest counting most (Barber et al.,
//! "Conformal prediction beyond exchangeability", 2023), at a level that follows how often it was exceeded (adaptive
//! conformal inference: Gibbs and Candès, "Adaptive conformal inference under distribution shift", 2021).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How fast a level follows, at most; faster, and it chases noise.
pub const MAX_GAMMA: f64 = 0.02;
/// Errors that are remembered at most.
pub const MAX_SCORES: usize = 20_000;
/// An error this part of the window older counts half as much: 17 days of 56.
const HALF_LIFE: f64 = 0.3;
/// Quantiles of one model at most.
pub const MAX_QUANTILES: usize = 32;

/// The last errors of a model, and the levels at which their quantiles are taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    gamma: f64,
    window: usize,
    levels: Vec<Level>,
    /// Oldest first.
    scores: VecDeque<f64>,
}

/// A quantile that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    /// The quantile, thousandths.
    per_mille: u16,
    /// The level of errors that is taken for it now, 0 to 1.
    level: f64,
}

impl Calibration {
    /// For these quantiles (thousandths, ascending) of the last `window` errors.
    pub(crate) fn new(quantiles: &[u16], window: usize, gamma: f64) -> Self {
        let level = |&per_mille: &u16| Level {
            per_mille,
            level: share(per_mille),
        };
        Self {
            gamma,
            window,
            levels: quantiles.iter().map(level).collect(),
            scores: VecDeque::new(),
        }
    }

    /// Whether it can be used: what a file holds need not.
    pub(crate) fn is_sound(&self) -> bool {
        let ascending = self.levels.windows(2).all(|pair| pair[0].per_mille < pair[1].per_mille);
        let quantiles = self
            .levels
            .iter()
            .all(|level| (1..1_000).contains(&level.per_mille) && (0.0..=1.0).contains(&level.level));
        ascending
            && quantiles
            && (1..=MAX_QUANTILES).contains(&self.levels.len())
            && (0.0..=MAX_GAMMA).contains(&self.gamma)
            && (1..=MAX_SCORES).contains(&self.window)
            && self.scores.len() <= self.window
            && self.scores.iter().all(|score| score.is_finite())
    }

    /// How many errors it has seen, of those it remembers.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether it has seen none.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Each quantile (thousandths) with the error that is not exceeded, ascending in both; none before the first error.
    pub(crate) fn quantiles(&self) -> Vec<(u16, f64)> {
        let keep = 0.5_f64.powf(1.0 / (HALF_LIFE * self.window as f64));
        let mut weight = 1.0;
        let mut sorted = Vec::with_capacity(self.scores.len());
        for &score in self.scores.iter().rev() {
            weight *= keep;
            sorted.push((score, weight));
        }
        sorted.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        // In each place the weight of all that are not larger.
        let mut sum = 0.0;
        for (_, weight) in &mut sorted {
            sum += *weight;
            *weight = sum;
        }
        let mut least = f64::NEG_INFINITY;
        let quantiles = self.levels.iter().filter_map(|level| {
            // Levels move on their own and may cross; the quantiles must not.
            least = at(&sorted, level.level)?.max(least);
            Some((level.per_mille, least))
        });
        quantiles.collect()
    }

    /// Takes over the errors of forecasts that were made together, when [`Calibration::quantiles`] was what it is now. They
    /// rise and fall together, so they move the levels by one step.
    pub(crate) fn observe(&mut self, scores: &[f64]) {
        let scores: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
        if scores.is_empty() {
            return;
        }
        let quantiles = self.quantiles();
        for (level, (_, bound)) in self.levels.iter_mut().zip(quantiles) {
            let exceeded = scores.iter().filter(|score| **score > bound).count() as f64 / scores.len() as f64;
            let step = self.gamma * (exceeded - (1.0 - share(level.per_mille)));
            level.level = (level.level + step).clamp(0.0, 1.0);
        }
        self.scores.extend(scores);
        let excess = self.scores.len().saturating_sub(self.window);
        self.scores.drain(..excess);
    }
}

fn share(per_mille: u16) -> f64 {
    f64::from(per_mille) / 1_000.0
}

/// The value at a level between the smallest (0) and the largest (1), as if one more value of weight 1 were to come. Each
/// value stands with the weight of all up to it.
fn at(sorted: &[(f64, f64)], level: f64) -> Option<f64> {
    let &(largest, weight) = sorted.last()?;
    let wanted = level * (weight + 1.0);
    let above = sorted.partition_point(|&(_, upto)| upto < wanted);
    let Some(&(value, upto)) = sorted.get(above) else {
        return Some(largest);
    };
    let Some(&(before, upto_before)) = above.checked_sub(1).and_then(|below| sorted.get(below)) else {
        return Some(value);
    };
    Some(before + (value - before) * (wanted - upto_before) / (upto - upto_before))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(scores: &[f64], gamma: f64) -> Calibration {
        let mut calibration = Calibration::new(&[500, 900, 950], 100, gamma);
        calibration.observe(scores);
        calibration
    }

    #[test]
    fn takes_the_quantiles_of_the_last_errors() {
        // Each hundred in another order than that of its values, so that old and new ones are mixed.
        let scores: Vec<f64> = (0..200)
            .map(|index| f64::from(index / 100 * 100 + index * 37 % 100))
            .collect();
        let expected = [(500, 149.5), (900, 189.9), (950, 194.95)];
        for ((quantile, bound), (_, expected)) in seen(&scores, 0.0).quantiles().into_iter().zip(expected) {
            assert!((bound - expected).abs() < 3.0, "{quantile}: {bound}");
        }
        assert_eq!(seen(&[], 0.01).quantiles(), []);
    }

    #[test]
    fn an_error_of_three_tenths_of_the_window_ago_counts_half() {
        // 30 errors of 2, then 30 of 1, then 30 of 0: weights 1 to 2 to 4.
        let scores: Vec<f64> = [2.0, 1.0, 0.0].into_iter().flat_map(|score| [score; 30]).collect();
        let mut calibration = Calibration::new(&[500, 550, 840, 880], 100, 0.0);
        calibration.observe(&scores);
        let bounds: Vec<f64> = calibration.quantiles().into_iter().map(|(_, bound)| bound).collect();
        // With one more to come the zeros are 55.7 % of the weight, zeros and ones 83.5 %.
        assert_eq!((bounds[0], bounds[1]), (0.0, 0.0));
        assert!(bounds[2] > 1.0 && (bounds[3] - 2.0).abs() < 1e-9, "{bounds:?}");
    }

    #[test]
    fn few_errors_give_wide_quantiles() {
        // Of nine errors, that of a tenth to come exceeds the largest in one case of ten.
        let few: Vec<f64> = (1..=9).map(f64::from).collect();
        assert!((seen(&few, 0.0).quantiles()[1].1 - 9.0).abs() < 1e-9);
    }

    #[test]
    fn a_level_rises_while_it_is_exceeded_too_often() {
        let mut calibration = seen(&[0.0; 100], 0.02);
        let at_first: Vec<f64> = calibration.levels.iter().map(|level| level.level).collect();
        calibration.observe(&[1.0]);
        assert!((calibration.levels[1].level - (at_first[1] + 0.02 * 0.9)).abs() < 1e-12);
        calibration.observe(&[-1.0]);
        assert!((calibration.levels[1].level - (at_first[1] + 0.02 * 0.8)).abs() < 1e-12);
    }

    #[test]
    fn errors_of_one_batch_are_one_step() {
        let mut together = seen(&[0.0; 100], 0.02);
        let at_first = together.levels[1].level;
        together.observe(&[5.0, 5.0, 5.0, -5.0]);
        assert!((together.levels[1].level - (at_first + 0.02 * 0.65)).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn quantiles_ascend_and_never_leave_the_errors(
            batches in prop::collection::vec(prop::collection::vec(-50.0..50.0, 1..40), 1..30),
            gamma in 0.0..MAX_GAMMA,
        ) {
            let mut calibration = Calibration::new(&[10, 500, 501, 900, 999], 64, gamma);
            for batch in &batches {
                calibration.observe(batch);
                prop_assert!(calibration.is_sound());
                let bounds: Vec<f64> = calibration.quantiles().into_iter().map(|(_, bound)| bound).collect();
                prop_assert!(bounds.is_sorted());
                prop_assert!(bounds.iter().all(|bound| bound.abs() <= 50.0));
            }
        }
    }
}
