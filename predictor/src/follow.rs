//! How forecasts turned out, and whether the model is still followed. Pure.
//!
//! Each hour's forecasts, the model's and the naive one's, are kept until their hours are known, and judged then. A model
//! that has drifted is demoted: the naive one tells the outlook until another model has been learned and was no worse for a
//! day, during which its forecasts are made and judged all the same. So the outlook changes sides once a day at most.

use std::collections::VecDeque;

use kompass_capacity::Shape;
use kompass_forecast::drift::{Drift, Outcome, Watch};
use kompass_forecast::fallback::{self, Answer};
use kompass_forecast::hourly::Hourly;
use kompass_forecast::model::Forecast;
use kompass_forecast::series::Series;
use kompass_forecast::wall::Wall;
use kompass_history::Gap;

use crate::judge::LATER_MS;
use crate::model::Model;
use crate::outlook::{self, HOUR_MS, Outlook, Seen};
use crate::past::Known;
use crate::schedule::Schedule;

/// Forecasts in a day.
const PER_DAY: usize = 24;
/// Forecasts that may wait for their hours; more are forgotten, as in days without a view.
const KEPT_MAX: usize = 48;
/// Drift goes by this quantile, thousandths.
const WATCHED: u16 = 900;

/// Follows the forecasts of models, one after the other.
#[derive(Debug)]
pub struct Follower {
    /// Of the model in use: up to when the past went into it, and what forecasts.
    fitted: Option<(i64, Hourly)>,
    standing: Standing,
    watch: Watch,
    kept: VecDeque<Kept>,
}

/// What is thought of the model.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Standing {
    Followed,
    /// It has drifted: wait for another.
    Waiting(Drift),
    /// Another model was learned since: it has to prove itself.
    Proving(Drift),
}

/// The forecasts of an hour, as of its begin.
#[derive(Debug)]
struct Kept {
    start_ms: u64,
    model: Vec<Forecast>,
    naive: Vec<Forecast>,
}

/// What is known at a tick.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// From when to when is looked at, milliseconds.
    pub window: (i64, i64),
    /// Times of it of which nothing is known.
    pub gaps: &'a [Gap],
    /// The past.
    pub known: &'a Known,
    /// Until when it is known.
    pub until_ms: i64,
    /// The nodes.
    pub shape: Shape,
    /// The users' clock.
    pub wall: &'a Wall,
    /// What starts jobs at times that are known.
    pub schedules: &'a [Schedule],
}

/// What came of a tick.
#[derive(Debug)]
pub struct Followed {
    /// What is expected.
    pub outlook: Outlook,
    /// How earlier forecasts turned out.
    pub scores: Vec<Score>,
    /// The model has just been demoted: another is to be learned.
    pub drift: Option<Drift>,
    /// The model is not followed now.
    pub demoted: bool,
}

/// How one quantile of one forecast turned out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Who forecast: `model` or `naive`.
    pub by: &'static str,
    /// Thousandths.
    pub quantile: u16,
    /// Whether no more was submitted.
    pub covered: bool,
    /// Pinball loss, nodes; only where both forecast, so that sums can be compared.
    pub loss: Option<f64>,
}

impl Default for Follower {
    fn default() -> Self {
        Self {
            fitted: None,
            standing: Standing::Followed,
            watch: Watch::new(PER_DAY),
            kept: VecDeque::new(),
        }
    }
}

impl Follower {
    /// A tick.
    pub fn follow(&mut self, model: Option<&Model>, sight: Sight<'_>) -> Followed {
        self.take(model.map(|model| (model.until_ms, &model.outlook)));
        let known = (sight.known, sight.until_ms);
        let seen = Seen::new(
            sight.window,
            sight.gaps,
            known,
            (sight.shape, sight.wall),
            sight.schedules,
        );
        let mut scores = Vec::new();
        let mut drift = None;
        if let Some(seen) = &seen {
            scores = self.judge(seen, sight.until_ms);
            drift = self.judge_model();
            self.keep(seen);
        }
        let demoted = match self.standing {
            Standing::Followed => None,
            Standing::Waiting(drift) | Standing::Proving(drift) => Some(drift),
        };
        let nothing = Hourly::default();
        let fitted = self.fitted.as_ref().map_or(&nothing, |(_, fitted)| fitted);
        Followed {
            outlook: outlook::outlook(fitted, demoted, seen.as_ref()),
            scores,
            drift,
            demoted: demoted.is_some(),
        }
    }

    /// The model in use, if it is another.
    fn take(&mut self, model: Option<(i64, &Hourly)>) {
        let Some((until_ms, fitted)) = model else { return };
        if self.fitted.as_ref().is_some_and(|(known_ms, _)| *known_ms == until_ms) {
            return;
        }
        self.fitted = Some((until_ms, fitted.clone()));
        if let Standing::Waiting(drift) = self.standing {
            self.standing = Standing::Proving(drift);
            self.watch = Watch::new(PER_DAY);
            // Those of the model before it say nothing about this one.
            self.kept.clear();
        }
    }

    /// Judges the forecasts whose hours are known by now.
    fn judge(&mut self, seen: &Seen<'_>, until_ms: i64) -> Vec<Score> {
        let mut scores = Vec::new();
        while let Some(kept) = self.kept.front() {
            let last_ms = kept
                .model
                .iter()
                .chain(&kept.naive)
                .map(|forecast| forecast.end_ms)
                .max();
            let is_known = |last_ms: u64| i64::try_from(last_ms).is_ok_and(|last_ms| last_ms + LATER_MS <= until_ms);
            if !last_ms.is_none_or(is_known) {
                break;
            }
            let Some(kept) = self.kept.pop_front() else { break };
            scores.extend(kept.scores(&seen.series));
            self.observe(&kept, seen);
        }
        scores
    }

    /// Teaches the model how far it was off, and looks whether it still fits.
    fn observe(&mut self, kept: &Kept, seen: &Seen<'_>) {
        let Some(Hourly { model: Some(model), .. }) = self.fitted.as_mut().map(|(_, fitted)| fitted) else {
            return;
        };
        let Some(origin) = index(&seen.series, kept.start_ms) else {
            return;
        };
        if kept.start_ms < model.fitted_until_ms() {
            return;
        }
        let Ok(errors) = seen.history(|history| model.observe(history, origin)) else {
            return;
        };
        let (Some(&score), Some(actual)) = (errors.first(), seen.series.value(origin)) else {
            return;
        };
        let (Some(forecast), naive) = (kept.model.first(), kept.naive.first()) else {
            return;
        };
        let loss = mean_loss(forecast, actual);
        let covered = forecast.quantiles.iter().find(|(quantile, _)| *quantile == WATCHED);
        self.watch.observe(Outcome {
            score,
            covered: covered.is_none_or(|(_, bound)| actual <= *bound),
            loss,
            naive_loss: naive.map_or(loss, |naive| mean_loss(naive, actual)),
        });
    }

    /// Whether the model is to be followed; why not, if that is new.
    fn judge_model(&mut self) -> Option<Drift> {
        match (self.standing, self.watch.drift()) {
            (Standing::Followed | Standing::Proving(_), Some(drift)) => {
                self.standing = Standing::Waiting(drift);
                Some(drift)
            }
            (Standing::Proving(_), None) if self.watch.seen() >= PER_DAY => {
                self.standing = Standing::Followed;
                None
            }
            _ => None,
        }
    }

    /// Keeps the forecasts of the hour that has begun, once.
    fn keep(&mut self, seen: &Seen<'_>) {
        let Some((_, fitted)) = &self.fitted else { return };
        let start_ms = seen.series.time_ms(seen.series.len());
        if self.kept.back().is_some_and(|kept| kept.start_ms >= start_ms) {
            return;
        }
        let (model, naive) = seen.history(|history| {
            let model = fallback::forecast(fitted.model.as_ref(), None, None, history);
            (model, fallback::forecast(None, None, fitted.naive.as_ref(), history))
        });
        let forecasts = |answer| match answer {
            Answer::Model(forecasts) | Answer::Naive(forecasts, _) => forecasts,
            Answer::Reactive(_) => Vec::new(),
        };
        let (model, naive) = (forecasts(model), forecasts(naive));
        self.kept.push_back(Kept { start_ms, model, naive });
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }
}

impl Kept {
    /// An hour that is not known is not judged.
    fn scores(&self, series: &Series) -> Vec<Score> {
        let mut scores = Vec::new();
        for (by, mine, others) in [("model", &self.model, &self.naive), ("naive", &self.naive, &self.model)] {
            for (lead, forecast) in mine.iter().enumerate() {
                let actual = index(series, forecast.start_ms).and_then(|index| series.value(index));
                let Some(actual) = actual else { continue };
                scores.extend(forecast.quantiles.iter().map(|&(quantile, bound)| Score {
                    by,
                    quantile,
                    covered: actual <= bound,
                    loss: others.get(lead).map(|_| loss(quantile, bound, actual)),
                }));
            }
        }
        scores
    }
}

/// Pinball loss of a quantile (thousandths): what it is off, weighed by its level where it was too low, else by the rest.
fn loss(quantile: u16, bound: f64, actual: f64) -> f64 {
    let level = f64::from(quantile) / 1_000.0;
    let off = actual - bound;
    (level * off).max((level - 1.0) * off)
}

/// Over the quantiles.
fn mean_loss(forecast: &Forecast, actual: f64) -> f64 {
    let losses = forecast
        .quantiles
        .iter()
        .map(|&(quantile, bound)| loss(quantile, bound, actual));
    losses.sum::<f64>() / forecast.quantiles.len().max(1) as f64
}

/// Which hour of a series begins at a moment.
fn index(series: &Series, start_ms: u64) -> Option<usize> {
    let since_ms = start_ms.checked_sub(series.time_ms(0))?;
    usize::try_from(since_ms / HOUR_MS.unsigned_abs()).ok()
}

#[cfg(test)]
mod tests {
    use kompass_history::{End, Gang};
    use proptest::prelude::*;

    use super::*;
    use crate::model::{learn, tests::two_days};
    use crate::past::tests::{gang, gap, history};
    use crate::settings::tests::settings;

    const DAY_H: i64 = 24;

    /// Some small gangs each hour of the days, more by day than by night, up to twice as many by chance, and `factor` times
    /// as many from an hour on.
    fn gangs(hours: i64, from_h: i64, factor: i64) -> Vec<Gang> {
        let count = |hour: i64| {
            let chance = (hour * 2_654_435_761).rem_euclid(1 << 32) >> 24;
            let usual = if (8..18).contains(&(hour % DAY_H)) { 20 } else { 8 };
            (usual + usual * chance / 256) * if hour >= from_h { factor } else { 1 }
        };
        let gangs = (0..hours).flat_map(|hour| (0..count(hour)).map(move |_| hour * HOUR_MS));
        gangs
            .map(|at_ms| gang(at_ms, Some(60_000), End::Succeeded, 0))
            .collect()
    }

    /// A model of the days before an hour: only its outlook matters here.
    fn model(all: &[Gang], until_h: i64) -> Model {
        let settings = settings(1, 1);
        let before: Vec<Gang> = all
            .iter()
            .filter(|gang| gang.submit_ms < until_h * HOUR_MS)
            .cloned()
            .collect();
        let known = Known::new(&before, settings.shape);
        let mut model = learn(two_days(), &settings, &[], None, &|| true).unwrap();
        model.outlook = outlook::fit(&history(0, until_h * HOUR_MS, before), &known, &settings, &[], None);
        model.until_ms = until_h * HOUR_MS;
        model
    }

    /// Who told the outlook in each hour, all scores, and the hours of drift; learned anew at each drift and each day.
    fn run(all: &[Gang], gaps: &[Gap], hours: std::ops::Range<i64>) -> (Vec<&'static str>, Vec<Score>, Vec<i64>) {
        let shape = settings(1, 1).shape;
        let known = Known::new(all, shape);
        let mut follower = Follower::default();
        let mut current = model(all, hours.start);
        let (mut tellers, mut scores, mut drifts) = (Vec::new(), Vec::new(), Vec::new());
        for hour in hours.clone() {
            if drifts.last() == Some(&(hour - 1)) || (hour - hours.start) % DAY_H == DAY_H - 1 {
                current = model(all, hour);
            }
            let until_ms = hour * HOUR_MS;
            let seen: Vec<Gap> = gaps.iter().filter(|gap| gap.to_ms <= until_ms).copied().collect();
            let sight = Sight {
                window: (0, until_ms),
                gaps: &seen,
                known: &known,
                until_ms,
                shape,
                wall: &Wall::default(),
                schedules: &[],
            };
            let given = follower.follow(Some(&current), sight);
            // A second tick in the same hour changes nothing.
            assert!(follower.follow(Some(&current), sight).scores.is_empty());
            tellers.push(given.outlook.by);
            scores.extend(given.scores);
            drifts.extend(given.drift.map(|_| hour));
        }
        (tellers, scores, drifts)
    }

    fn covered(scores: &[Score], by: &str) -> (usize, f64) {
        let nine: Vec<&Score> = scores
            .iter()
            .filter(|score| score.by == by && score.quantile == WATCHED)
            .collect();
        let covered = nine.iter().filter(|score| score.covered).count();
        (nine.len(), covered as f64 / nine.len() as f64)
    }

    #[test]
    fn usual_days_are_covered_as_promised_and_no_drift() {
        let all = gangs(28 * DAY_H, i64::MAX, 1);
        let (tellers, scores, drifts) = run(&all, &[], 21 * DAY_H..27 * DAY_H);
        assert_eq!(drifts, [0_i64; 0]);
        assert!(tellers.iter().all(|by| *by == "model"), "{tellers:?}");
        // Two hours each, of all but the last three origins: of those the hours are not known for an hour.
        let (judged, share) = covered(&scores, "model");
        assert_eq!(judged, 2 * (6 * 24 - 3));
        assert!((0.8..=0.97).contains(&share), "{share}");
        let sum = |by| {
            scores
                .iter()
                .filter(|score| score.by == by)
                .filter_map(|score| score.loss)
                .sum::<f64>()
        };
        assert!(sum("model") < sum("naive") && sum("model") > 0.0);
    }

    #[test]
    fn hours_that_are_not_known_are_not_judged() {
        let all = gangs(24 * DAY_H, i64::MAX, 1);
        let hours = 21 * DAY_H..23 * DAY_H;
        let unknown = gap((22 * DAY_H) * HOUR_MS, (22 * DAY_H + 2) * HOUR_MS);
        let (_, whole, _) = run(&all, &[], hours.clone());
        let (_, some, drifts) = run(&all, &[unknown], hours);
        // Each of the two is forecast by two origins.
        assert_eq!(covered(&whole, "model").0 - covered(&some, "model").0, 4);
        assert!(drifts.is_empty());
    }

    #[test]
    fn a_model_that_has_drifted_is_demoted_and_another_must_prove_itself() {
        let (from_h, to_h) = (21 * DAY_H, 31 * DAY_H);
        let all = gangs(to_h, from_h + 12, 6);
        let (tellers, _, drifts) = run(&all, &[], from_h..to_h);
        let first = *drifts.first().expect("six times as much is another level");
        // Three days of quantiles that do not hold; of the hours before each fit some are not counted.
        assert!(first - from_h <= 12 + 4 * DAY_H, "{drifts:?}");
        let place = usize::try_from(first - from_h).unwrap();
        assert!(tellers[..place].iter().all(|by| *by == "model"));
        assert!(
            tellers[place..place + PER_DAY].iter().all(|by| *by == "naive"),
            "{tellers:?}"
        );
        assert_eq!(tellers.last(), Some(&"model"), "{tellers:?}");
        let changes = tellers.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 4 && drifts.len() <= 5, "{changes} changes, {drifts:?}");
    }

    #[test]
    fn without_a_model_nothing_is_kept() {
        let known = Known::default();
        let sight = Sight {
            window: (0, 100 * HOUR_MS),
            gaps: &[],
            known: &known,
            until_ms: 100 * HOUR_MS,
            shape: settings(1, 1).shape,
            wall: &Wall::default(),
            schedules: &[],
        };
        let mut follower = Follower::default();
        let given = follower.follow(None, sight);
        assert_eq!(
            (given.outlook.by, given.demoted, given.scores.len()),
            ("nothing", false, 0)
        );
        assert!(follower.kept.is_empty());
    }

    /// Told by the naive one?
    fn is_demoted(follower: &Follower) -> bool {
        follower.standing != Standing::Followed
    }

    proptest! {
        /// Whatever the forecasts are like and whenever another model is learned.
        #[test]
        fn it_changes_sides_once_a_day_at_most(
            hours in prop::collection::vec((prop::sample::select(vec![0.1, 1.0, 9.0]), -9.0..9.0, any::<bool>()), 1..400),
        ) {
            let mut follower = Follower::default();
            let mut since_demotion = usize::MAX;
            for (number, (loss, score, learned)) in (1..).zip(hours) {
                let before = is_demoted(&follower);
                if learned {
                    follower.take(Some((number, &Hourly::default())));
                }
                prop_assert_eq!(is_demoted(&follower), before, "a new model alone changes nothing");
                follower.watch.observe(Outcome { score, covered: true, loss, naive_loss: 1.0 });
                let drift = follower.judge_model();
                since_demotion = since_demotion.saturating_add(1);
                match (before, is_demoted(&follower)) {
                    (false, true) => {
                        prop_assert!(drift.is_some(), "another is asked for");
                        since_demotion = 0;
                    }
                    (true, false) => prop_assert!(since_demotion >= PER_DAY, "after {since_demotion} hours"),
                    _ => {}
                }
            }
        }

        #[test]
        fn the_loss_is_least_at_the_value_itself(quantile in 1_u16..1_000, bound in 0.0..1e6, actual in 0.0..1e6) {
            prop_assert!(loss(quantile, bound, actual) >= 0.0);
            prop_assert!(loss(quantile, actual, actual) == 0.0);
            let further = actual + 2.0 * (bound - actual);
            prop_assert!(loss(quantile, further, actual) >= loss(quantile, bound, actual));
        }
    }
}
