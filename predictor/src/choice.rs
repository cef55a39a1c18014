//! Which rule to hold nodes by: the one with which the last days would have cost least. Pure.
//!
//! Every rule is replayed on the same days, with the simulator of the backtest: reactive, every fixed number of nodes, and
//! the families of policies with their parameters. What it would have cost is what nodes cost and what waiting does.

use kompass_capacity::Family;
use kompass_capacity::hysteresis::Hysteresis;
use kompass_simulation::capacity::decide;
use kompass_simulation::capacity::engine::{self, Outcome, World};
use kompass_simulation::capacity::input::{Job, Seen};

use crate::settings::Settings;

const HOUR_MS: f64 = 3_600_000.0;
const DAY_MS: i64 = 24 * 3_600_000;
/// Days on which rules are compared at most.
const COMPARED_MS: i64 = 14 * DAY_MS;
/// Gangs on these days without which nothing is chosen: a few are chance.
const GANGS_MIN: usize = 20;
/// After so long without being wanted a node is let go. It can't be given back earlier in any case.
pub const HOLD_MS: i64 = 600_000;

/// What a rule would have cost, in money.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Cost {
    /// All nodes, those that gangs ran on included.
    pub nodes: f64,
    /// Waiting.
    pub waiting: f64,
}

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// So many nodes at all times; 0 is reactive.
    Fixed(u32),
    /// A family with one of its parameters, both by number.
    Family {
        /// Which family.
        number: usize,
        /// Which parameter.
        parameter: usize,
    },
}

/// The chosen rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// It.
    pub rule: Rule,
    /// Its name.
    pub policy: &'static str,
    /// Its parameter.
    pub parameter: f64,
    /// What it would have cost.
    pub cost: Cost,
    /// What reactive would have.
    pub reactive: Cost,
    /// What the cheapest fixed number of nodes would have, and that number.
    pub fixed: (u32, Cost),
    /// On so many days.
    pub days: f64,
    /// On which so many gangs were submitted.
    pub gangs: usize,
}

/// Why nothing was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too few gangs.
    #[error(
        "failed to compare rules: only {0} gangs that fit on a node ran on the days to compare them on, {GANGS_MIN} are needed"
    )]
    FewGangs(usize),
    /// It was told to stop.
    #[error("failed to compare rules: the service ends")]
    Stopped,
}

impl Cost {
    /// Of both.
    pub fn total(self) -> f64 {
        self.nodes + self.waiting
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let money = |cost: Cost| {
            format!(
                "{:.2} (nodes {:.2}, waiting {:.2})",
                cost.total(),
                cost.nodes,
                cost.waiting
            )
        };
        let (days, gangs) = (self.days, self.gangs);
        match self.rule {
            Rule::Fixed(0) => write!(
                out,
                "reactive: on the last {days:.1} days ({gangs} gangs) it would have cost {}, and no rule that holds nodes less",
                money(self.reactive)
            ),
            _ => write!(
                out,
                "{} with {}: on the last {days:.1} days ({gangs} gangs) it would have cost {}, reactive {}, {} nodes at all \
                 times {}",
                self.policy,
                self.parameter,
                money(self.cost),
                money(self.reactive),
                self.fixed.0,
                money(self.fixed.1)
            ),
        }
    }
}

/// The rule that would have cost least. `known_ms`: from when to when all is known. `go_on` is asked before each replay.
pub fn choose(
    jobs: &[Job],
    (from_ms, to_ms): (i64, i64),
    settings: &Settings,
    families: &[Family],
    go_on: &dyn Fn() -> bool,
) -> Result<Choice, Error> {
    let days = Days::new(jobs, (from_ms, to_ms), settings);
    let gangs = days.jobs.iter().filter(|job| job.submit_ms >= days.begin_ms).count();
    if gangs < GANGS_MIN {
        return Err(Error::FewGangs(gangs));
    }
    let reactive = days.cost(&[0]);
    let mut choice = Choice {
        rule: Rule::Fixed(0),
        policy: "reactive",
        parameter: 0.0,
        cost: reactive,
        reactive,
        fixed: (0, reactive),
        days: (days.world.end_ms - days.begin_ms) as f64 / DAY_MS as f64,
        gangs,
    };
    for nodes in 1..=settings.nodes_max {
        if !go_on() {
            return Err(Error::Stopped);
        }
        let cost = days.cost(&[nodes]);
        if cost.total() < choice.fixed.1.total() {
            choice.fixed = (nodes, cost);
        } else if cost.nodes > choice.fixed.1.total() {
            // More nodes only cost more.
            break;
        }
    }
    if choice.fixed.0 > 0 {
        let (nodes, cost) = choice.fixed;
        (choice.rule, choice.policy, choice.cost) = (Rule::Fixed(nodes), "fixed", cost);
        choice.parameter = f64::from(nodes);
    }
    let seen = Seen::new(jobs, settings.timing);
    for (number, family) in families.iter().enumerate() {
        let span_ms = (days.world.begin_ms, days.world.end_ms);
        let decisions = decide::decide(family, settings.shape, &seen, settings.timing, span_ms);
        for (parameter, wanted) in decisions.headroom.iter().enumerate() {
            if !go_on() {
                return Err(Error::Stopped);
            }
            let cost = days.cost(&days.held(wanted));
            if cost.total() < choice.cost.total() {
                choice.rule = Rule::Family { number, parameter };
                (choice.policy, choice.parameter) = (family.name, family.parameters[parameter]);
                choice.cost = cost;
            } else if cost.nodes > choice.cost.total() {
                break;
            }
        }
    }
    Ok(choice)
}

/// The days on which rules are compared.
struct Days<'a> {
    settings: &'a Settings,
    world: World,
    /// A day before it warms up and costs nothing.
    begin_ms: i64,
    jobs: &'a [Job],
}

impl<'a> Days<'a> {
    fn new(jobs: &'a [Job], (from_ms, to_ms): (i64, i64), settings: &'a Settings) -> Self {
        let tick_ms = settings.timing.tick_ms;
        let begin_ms = to_ms - COMPARED_MS.min((to_ms - from_ms) / 2);
        let warm_ms = from_ms.max(begin_ms - DAY_MS);
        let world = World {
            shape: settings.shape,
            timing: settings.timing,
            begin_ms: warm_ms - warm_ms.rem_euclid(tick_ms),
            end_ms: to_ms,
        };
        let index = |at_ms| jobs.partition_point(|job| job.submit_ms < at_ms);
        Self {
            settings,
            world,
            begin_ms,
            jobs: &jobs[index(world.begin_ms)..index(to_ms)],
        }
    }

    /// What would have been held: as the service does it.
    fn held(&self, wanted: &[u32]) -> Vec<u32> {
        let mut hysteresis = Hysteresis::new(HOLD_MS);
        let ticks_ms = (0..).map(|tick| self.world.begin_ms + tick * self.settings.timing.tick_ms);
        let capped = wanted.iter().map(|&nodes| nodes.min(self.settings.nodes_max));
        ticks_ms
            .zip(capped)
            .map(|(now_ms, nodes)| hysteresis.hold(now_ms, nodes))
            .collect()
    }

    fn cost(&self, headroom: &[u32]) -> Cost {
        let outcome = engine::run(self.world, self.jobs, headroom, &mut ());
        let prices = self.settings.prices;
        let money = |price: u64, hours: f64| price as f64 / 1e6 * hours;
        Cost {
            nodes: money(prices.node_hour, self.node_hours(&outcome)),
            waiting: money(prices.wait_hour, self.waited_hours(&outcome)),
        }
    }

    fn node_hours(&self, outcome: &Outcome) -> f64 {
        let inside = outcome
            .nodes_ms
            .iter()
            .map(|&(asked_ms, gone_ms)| (gone_ms.min(self.world.end_ms) - asked_ms.max(self.begin_ms)).max(0));
        inside.sum::<i64>() as f64 / HOUR_MS
    }

    /// Hours that a node's worth of work waited.
    fn waited_hours(&self, outcome: &Outcome) -> f64 {
        let node = self.settings.shape.parts() as f64;
        let counted = self.jobs.iter().zip(&outcome.starts_ms);
        let waited = counted
            .filter(|(job, _)| job.submit_ms >= self.begin_ms)
            .map(|(job, start_ms)| job.size as f64 / node * (start_ms - job.submit_ms) as f64);
        waited.sum::<f64>() / HOUR_MS
    }
}

#[cfg(test)]
mod tests {
    use kompass_capacity::policy;
    use kompass_history::End;

    use super::*;
    use crate::past::Known;
    use crate::past::tests::gang;
    use crate::settings::tests::settings;

    const MINUTE_MS: i64 = 60_000;

    /// Six times a day a burst of gangs a minute apart, each on one and a half nodes for 20 minutes.
    fn bursts(days: i64, gangs: i64) -> Known {
        let gangs: Vec<_> = (0..days * 6)
            .flat_map(|burst| (0..gangs).map(move |number| burst * 4 * 60 * MINUTE_MS + number * MINUTE_MS))
            .map(|at_ms| gang(at_ms, Some(20 * MINUTE_MS), End::Succeeded, 1))
            .collect();
        Known::new(&gangs, settings(0, 0).shape)
    }

    fn chosen(known: &Known, node_hour: u64, wait_hour: u64) -> Choice {
        let settings = settings(node_hour, wait_hour);
        let families = policy::families(settings.shape);
        choose(&known.jobs, (0, 12 * DAY_MS), &settings, &families, &|| true).unwrap()
    }

    #[test]
    fn where_waiting_is_cheap_nothing_is_held() {
        let choice = chosen(&bursts(12, 6), 1_000_000, 0);
        assert_eq!((choice.rule, choice.cost), (Rule::Fixed(0), choice.reactive));
        assert!(choice.cost.waiting.abs() < 1e-9 && choice.cost.nodes > 0.0);
        assert!(
            choice
                .to_string()
                .starts_with("reactive: on the last 6.0 days (216 gangs)"),
            "{choice}"
        );
    }

    #[test]
    fn where_nodes_are_cheap_a_rule_is_chosen_that_beats_the_simple_ones() {
        let choice = chosen(&bursts(12, 30), 1_000_000, 20_000_000);
        assert!(matches!(choice.rule, Rule::Family { .. }), "{choice:?}");
        assert!(
            choice.cost.total() < choice.fixed.1.total().min(choice.reactive.total()),
            "{choice:?}"
        );
        // With nodes for nothing nobody need wait.
        let free = chosen(&bursts(12, 30), 0, 1_000_000);
        assert!(free.cost.waiting < free.reactive.waiting / 10.0, "{free:?}");
    }

    #[test]
    fn a_few_gangs_choose_nothing() {
        let settings = settings(1, 1);
        let error = choose(&bursts(1, 6).jobs, (0, DAY_MS), &settings, &[], &|| false).unwrap_err();
        assert_eq!(error, Error::FewGangs(18));
        let error = choose(&bursts(12, 6).jobs, (0, 12 * DAY_MS), &settings, &[], &|| false).unwrap_err();
        assert_eq!(error, Error::Stopped);
    }
}
