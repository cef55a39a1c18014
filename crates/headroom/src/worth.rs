//! When a node is worth holding: a regression per number of nodes on the root of the seconds that it saved.

use kompass_capacity::Past;
use kompass_forecast::ridge::{self, Ridge};
use kompass_simulation::capacity::{Timing, work};
use serde::{Deserialize, Serialize};

use crate::features::{COLUMNS, Rows};
use crate::lesson::{Lesson, Replays, Step};

/// Squared coefficients count twice as much as the mean squared error: savings are rare and of all sizes, and what is
/// learned of them from weeks leans on the mean. Chosen on validations.
const PENALTY: f64 = 2.0;
/// So much of what a node saves at a mean tick counts whatever is expected now: quiet times are the least certain.
const LEANING: f64 = 0.5;
/// Savings above this share of those that were any are cut off there: a single day must not teach all.
const CUT: f64 = 0.98;
/// So many ticks must have had something to save.
const SAVINGS_MIN: usize = 20;
/// The first day of a replay is without the gangs that ran before it.
const WARM_UP_MS: i64 = 24 * 3_600_000;
/// Ticks to learn from at least: three days of five minutes.
const ROWS_MIN: usize = 3 * 288;

/// What nodes are worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worth {
    steps: Vec<Fitted>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fitted {
    /// Nodes held in all.
    nodes: u32,
    ridge: Ridge,
    /// What each node saves at a mean tick.
    mean: f64,
}

/// Why nothing was learned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Nobody would have waited less with an empty node, or hardly ever.
    #[error("failed to learn what nodes are worth: an empty node would have saved somebody's wait at {0} ticks only")]
    NothingToSave(usize),
    /// Nothing was fitted.
    #[error("failed to learn what nodes are worth")]
    Fit(#[from] ridge::Error),
}

impl Worth {
    /// Learns from all that is known at a moment.
    pub fn learn(past: &Past<'_>, timing: Timing, now_ms: i64) -> Result<Self, Error> {
        let lesson = Replays::new(past, timing, now_ms).lesson(now_ms);
        let rows = Rows::new(past, timing, lesson.ticks_ms.iter().copied());
        Self::fit(&lesson, &rows)
    }

    /// Learns from a lesson; rows are there for its ticks, and may be for others.
    pub(crate) fn fit(lesson: &Lesson, rows: &Rows) -> Result<Self, Error> {
        let begin_ms = lesson.ticks_ms.first().map_or(0, |first_ms| first_ms + WARM_UP_MS);
        let skipped = lesson.ticks_ms.partition_point(|tick_ms| *tick_ms < begin_ms);
        let rows = rows.at(&lesson.ticks_ms[skipped..]);
        let mut steps = Vec::new();
        for fitted in work::each(lesson.steps.len(), |step| fit(&lesson.steps[step], rows, skipped)) {
            match fitted {
                Ok(fitted) => steps.push(fitted),
                Err(error) if steps.is_empty() => return Err(error),
                // Of so many nodes the last ones were of no use.
                Err(_) => break,
            }
        }
        if steps.is_empty() {
            return Err(Error::NothingToSave(0));
        }
        Ok(Self { steps })
    }

    /// How many nodes are worth more than a price, the root of the seconds that each saves from one tick to the next. Each
    /// number of nodes is only looked at if the smaller ones are worth it.
    pub fn nodes(&self, row: &[f64; COLUMNS], prices: &[f64], nodes: &mut [u32]) {
        nodes.fill(0);
        let mut worth = f64::INFINITY;
        for step in &self.steps {
            worth = worth.min(step.ridge.predict(row).max(0.0) + LEANING * step.mean);
            for (nodes, price) in nodes.iter_mut().zip(prices) {
                if worth >= *price {
                    *nodes = step.nodes;
                }
            }
        }
    }
}

fn fit(step: &Step, rows: &[f64], skipped: usize) -> Result<Fitted, Error> {
    let saved_s = &step.saved_s[skipped..];
    let mut savings: Vec<f64> = saved_s.iter().copied().filter(|saved_s| *saved_s > 0.0).collect();
    if savings.len() < SAVINGS_MIN {
        return Err(Error::NothingToSave(savings.len()));
    }
    savings.sort_unstable_by(f64::total_cmp);
    let most = savings[quantile(savings.len())];
    let targets: Vec<f64> = saved_s.iter().map(|saved_s| saved_s.clamp(0.0, most).sqrt()).collect();
    Ok(Fitted {
        nodes: step.nodes,
        ridge: Ridge::fit(rows, COLUMNS, &targets, PENALTY, ROWS_MIN)?,
        mean: targets.iter().sum::<f64>() / targets.len() as f64,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the count"
)]
fn quantile(count: usize) -> usize {
    ((count - 1) as f64 * CUT) as usize
}

#[cfg(test)]
mod tests;
