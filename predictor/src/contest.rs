//! Which rule is surely cheaper than a simpler one. Pure.
//!
//! What would have been cheapest on a few days often was by chance. So a rule takes the place of a simpler one only if it is
//! surely cheaper: whole days are drawn again and again, as the backtest does, and the upper end of the 90 % interval of its
//! cost minus that of the simpler one is below 0. Among several it is the surest: the one whose upper end is lowest.

use kompass_simulation::capacity::bootstrap::sum_interval;

use crate::choice::{Cost, Rule};

/// With fewer days nothing is sure: one that is cheaper on each of five days by chance alone is one in 32.
pub const DAYS_MIN: usize = 5;
/// Of the draws; any will do, but it must not change between two that are compared.
const SEED: u64 = 0;

/// A rule that was replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// It.
    pub rule: Rule,
    /// Its name.
    pub policy: &'static str,
    /// Its parameter.
    pub parameter: f64,
    /// What it would have cost on each day.
    pub days: Vec<Cost>,
}

/// A rule that would have cost less than the simpler one, and not surely.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsure {
    /// It.
    pub tried: Tried,
    /// The 90 % interval of its cost minus that of the simpler one; none on too few days.
    pub interval: Option<(f64, f64)>,
}

/// Rules against a simpler one.
#[derive(Debug, Clone)]
pub struct Contest {
    simpler: Tried,
    surest: Option<(Tried, (f64, f64))>,
    unsure: Option<Unsure>,
}

/// How a contest ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The surest rule; the simpler one if none is surely cheaper.
    pub winner: Tried,
    /// The 90 % interval of its cost minus that of the simpler one, if it is another.
    pub interval: Option<(f64, f64)>,
    /// The cheapest of those that are not surely cheaper.
    pub unsure: Option<Unsure>,
}

impl Tried {
    /// On all days.
    pub fn cost(&self) -> Cost {
        self.days.iter().fold(Cost::default(), |sum, day| Cost {
            nodes: sum.nodes + day.nodes,
            waiting: sum.waiting + day.waiting,
        })
    }

    /// The 90 % interval of its cost minus another's; none on too few days.
    fn interval(&self, other: &Self) -> Option<(f64, f64)> {
        let pairs = self.days.iter().zip(&other.days);
        let more: Vec<f64> = pairs.map(|(mine, other)| mine.total() - other.total()).collect();
        if more.len() < DAYS_MIN {
            return None;
        }
        sum_interval(&more, SEED)
    }
}

impl Contest {
    /// Against this one.
    pub const fn new(simpler: Tried) -> Self {
        Self {
            simpler,
            surest: None,
            unsure: None,
        }
    }

    /// What the simpler one would have cost.
    pub fn to_beat(&self) -> f64 {
        self.simpler.cost().total()
    }

    /// Another rule, tried on the same days.
    pub fn offer(&mut self, tried: Tried) {
        let total = tried.cost().total();
        if total >= self.to_beat() {
            return;
        }
        let interval = tried.interval(&self.simpler);
        match interval {
            Some((low, high)) if high < 0.0 => {
                if self.surest.as_ref().is_none_or(|(_, (_, surest))| high < *surest) {
                    self.surest = Some((tried, (low, high)));
                }
            }
            _ => {
                let cheapest = self.unsure.as_ref().map(|unsure| unsure.tried.cost().total());
                if cheapest.is_none_or(|cheapest| total < cheapest) {
                    self.unsure = Some(Unsure { tried, interval });
                }
            }
        }
    }

    /// The end.
    pub fn end(self) -> Outcome {
        let (winner, interval) = match self.surest {
            Some((tried, interval)) => (tried, Some(interval)),
            None => (self.simpler, None),
        };
        Outcome {
            winner,
            interval,
            unsure: self.unsure,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn tried(nodes: u32, days: &[f64]) -> Tried {
        let cost = |&waiting: &f64| Cost { nodes: 0.0, waiting };
        Tried {
            rule: Rule::Fixed(nodes),
            policy: "fixed",
            parameter: f64::from(nodes),
            days: days.iter().map(cost).collect(),
        }
    }

    fn contest(simpler: &[f64], others: &[Vec<f64>]) -> Outcome {
        let mut contest = Contest::new(tried(0, simpler));
        (1..)
            .zip(others)
            .for_each(|(nodes, days)| contest.offer(tried(nodes, days)));
        contest.end()
    }

    #[test]
    fn the_surest_wins_not_the_cheapest() {
        // The second saves most, nearly all of it on one day; the third a little on each.
        let simpler = [10.0, 10.0, 10.0, 10.0, 10.0, 100.0];
        let others = [
            vec![11.0, 11.0, 11.0, 11.0, 11.0, 11.0],
            vec![9.0, 9.0, 9.0, 9.0, 9.0, 99.0],
        ];
        let end = contest(&simpler, &others);
        assert_eq!(end.winner.rule, Rule::Fixed(2));
        assert_eq!(end.interval, Some((-6.0, -6.0)));
        let unsure = end.unsure.unwrap();
        assert_eq!(unsure.tried.rule, Rule::Fixed(1));
        assert!(unsure.interval.is_some_and(|(low, high)| low < 0.0 && high >= 0.0));
    }

    #[test]
    fn a_few_days_are_not_sure() {
        let end = contest(&[10.0; 4], &[vec![1.0; 4]]);
        assert_eq!((end.winner.rule, end.interval), (Rule::Fixed(0), None));
        assert!(end.unsure.is_some_and(|unsure| unsure.interval.is_none()));
        assert_eq!(contest(&[10.0; 5], &[vec![1.0; 5]]).winner.rule, Rule::Fixed(1));
    }

    fn costs() -> impl Strategy<Value = (Vec<f64>, Vec<Vec<f64>>)> {
        (1_usize..15).prop_flat_map(|days| {
            let day = || prop::collection::vec((0_u32..1_000).prop_map(f64::from), days);
            (day(), prop::collection::vec(day(), 0..8))
        })
    }

    proptest! {
        #[test]
        fn the_winner_is_cheaper_by_its_interval_or_the_simpler_one((simpler, others) in costs()) {
            let end = contest(&simpler, &others);
            let more = end.winner.cost().total() - simpler.iter().sum::<f64>();
            match end.interval {
                None => prop_assert_eq!(end.winner.rule, Rule::Fixed(0)),
                Some((low, high)) => {
                    prop_assert!(simpler.len() >= DAYS_MIN);
                    prop_assert!(low <= high && high < 0.0 && more < 0.0, "{more}: {low} to {high}");
                }
            }
            if let Some(unsure) = end.unsure {
                prop_assert!(unsure.interval.is_none_or(|(_, high)| high >= 0.0));
            }
        }

        #[test]
        fn what_is_dearer_on_every_day_never_wins_and_what_is_cheaper_on_every_day_always(
            simpler in prop::collection::vec(100_u32..1_000, 5..15),
            more in 1_u32..100,
        ) {
            let simpler: Vec<f64> = simpler.into_iter().map(f64::from).collect();
            let with = |change: f64| vec![simpler.iter().map(|day| day + change).collect::<Vec<f64>>()];
            prop_assert_eq!(contest(&simpler, &with(f64::from(more))).winner.rule, Rule::Fixed(0));
            prop_assert_eq!(contest(&simpler, &with(-f64::from(more))).winner.rule, Rule::Fixed(1));
        }

        #[test]
        fn the_currency_does_not_matter((simpler, others) in costs(), power in -8_i32..8) {
            // Powers of two scale without rounding.
            let scaled = |days: &[f64]| days.iter().map(|day| day * 2_f64.powi(power)).collect::<Vec<f64>>();
            let others_scaled: Vec<Vec<f64>> = others.iter().map(|days| scaled(days)).collect();
            let end = contest(&simpler, &others);
            prop_assert_eq!(contest(&scaled(&simpler), &others_scaled).winner.rule, end.winner.rule);
        }
    }
}
