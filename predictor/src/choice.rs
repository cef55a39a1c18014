//! Which rule to hold nodes by: one with which the last days would surely have cost less than with a simpler one. Pure.
//!
//! Every rule is replayed on the same days, with the simulator of the backtest: reactive, every fixed number of nodes, and
//! the families of policies with their parameters. What it would have cost is what nodes cost and what waiting does. A fixed
//! number has to beat reactive, a family what came of that ([`crate::contest`]).

use kompass_capacity::Family;
use kompass_capacity::hysteresis::Hysteresis;
use kompass_simulation::capacity::decide;
use kompass_simulation::capacity::engine::{self, Outcome, World};
use kompass_simulation::capacity::input::{Job, Seen};

use crate::contest::{Contest, DAYS_MIN, Tried, Unsure};
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
    /// The 90 % interval of its cost minus that of the simpler rule that it has beaten; none for reactive.
    pub interval: Option<(f64, f64)>,
    /// The cheapest rule that would have cost less than it, and not surely.
    pub unsure: Option<Unsure>,
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

/// Money, in all and for what.
fn money(cost: Cost) -> String {
    format!(
        "{:.2} (nodes {:.2}, waiting {:.2})",
        cost.total(),
        cost.nodes,
        cost.waiting
    )
}

impl std::fmt::Display for Choice {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, gangs) = (self.days, self.gangs);
        let cost = money(self.cost);
        match self.rule {
            Rule::Fixed(0) => write!(
                out,
                "reactive: on the last {days:.1} days ({gangs} gangs) it would have cost {cost}"
            )?,
            _ => write!(
                out,
                "{} with {}: on the last {days:.1} days ({gangs} gangs) it would have cost {cost}, reactive {}, {} nodes at \
                 all times {}",
                self.policy,
                self.parameter,
                money(self.reactive),
                self.fixed.0,
                money(self.fixed.1)
            )?,
        }
        if let Some((low, high)) = self.interval {
            write!(out, "; surely less than a simpler rule, by {:.2} to {:.2}", -high, -low)?;
        }
        match (&self.unsure, self.rule) {
            (Some(unsure), _) => write!(out, "; {unsure}"),
            (None, Rule::Fixed(0)) => write!(out, ", and no rule that holds nodes less"),
            (None, _) => Ok(()),
        }
    }
}

impl std::fmt::Display for Unsure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tried = &self.tried;
        let cost = money(tried.cost());
        write!(
            out,
            "{} with {} would have cost {cost}, ",
            tried.policy, tried.parameter
        )?;
        match self.interval {
            Some((low, high)) => write!(
                out,
                "which is not surely cheaper: the difference is from {low:.2} to {high:.2}"
            ),
            None => write!(
                out,
                "but {} days are too few to be sure, {DAYS_MIN} are needed",
                tried.days.len()
            ),
        }
    }
}

/// The surest rule. `known_ms`: from when to when all is known. `go_on` is asked before each replay.
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
    let replay = |rule, policy, parameter, headroom: &[u32]| -> Result<Tried, Error> {
        let days = go_on().then(|| days.costs(headroom)).ok_or(Error::Stopped)?;
        Ok(Tried {
            rule,
            policy,
            parameter,
            days,
        })
    };
    let nothing = replay(Rule::Fixed(0), "reactive", 0.0, &[0])?;
    let reactive = nothing.cost();
    let mut fixed = (0, reactive);
    let mut contest = Contest::new(nothing);
    for nodes in 1..=settings.nodes_max {
        let tried = replay(Rule::Fixed(nodes), "fixed", f64::from(nodes), &[nodes])?;
        let cost = tried.cost();
        if cost.total() < fixed.1.total() {
            fixed = (nodes, cost);
        }
        contest.offer(tried);
        if cost.nodes > contest.to_beat() {
            // More nodes only cost more.
            break;
        }
    }
    let simple = contest.end();
    let mut contest = Contest::new(simple.winner);
    let seen = Seen::new(jobs, settings.timing);
    for (number, family) in families.iter().enumerate() {
        let span_ms = (days.world.begin_ms, days.world.end_ms);
        let decisions = decide::decide(family, settings.shape, &seen, settings.timing, span_ms);
        for (parameter, wanted) in decisions.headroom.iter().enumerate() {
            let rule = Rule::Family { number, parameter };
            let tried = replay(rule, family.name, family.parameters[parameter], &days.held(wanted))?;
            let cost = tried.cost();
            contest.offer(tried);
            if cost.nodes > contest.to_beat() {
                break;
            }
        }
    }
    let end = contest.end();
    let cost = end.winner.cost();
    let unsure = [simple.unsure, end.unsure].into_iter().flatten();
    let unsure = unsure
        .filter(|unsure| unsure.tried.cost().total() < cost.total())
        .min_by(|one, other| one.tried.cost().total().total_cmp(&other.tried.cost().total()));
    Ok(Choice {
        rule: end.winner.rule,
        policy: end.winner.policy,
        parameter: end.winner.parameter,
        cost,
        reactive,
        fixed,
        interval: end.interval.or(simple.interval),
        unsure,
        days: (days.world.end_ms - days.begin_ms) as f64 / DAY_MS as f64,
        gangs,
    })
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

    /// On each day.
    fn costs(&self, headroom: &[u32]) -> Vec<Cost> {
        let outcome = engine::run(self.world, self.jobs, headroom, &mut ());
        let prices = self.settings.prices;
        let money = |price: u64, hours: f64| price as f64 / 1e6 * hours;
        let hours = self.node_hours(&outcome).into_iter().zip(self.waited_hours(&outcome));
        let costs = hours.map(|(node_hours, waited_hours)| Cost {
            nodes: money(prices.node_hour, node_hours),
            waiting: money(prices.wait_hour, waited_hours),
        });
        costs.collect()
    }

    /// How many days there are, and how long each is, milliseconds: they are all alike, and about a day.
    fn days(&self) -> (usize, i64) {
        let span_ms = (self.world.end_ms - self.begin_ms).max(1);
        let count = ((span_ms + DAY_MS / 2) / DAY_MS).max(1);
        (usize::try_from(count).unwrap_or(1), (span_ms + count - 1) / count)
    }

    fn node_hours(&self, outcome: &Outcome) -> Vec<f64> {
        let (count, day_ms) = self.days();
        let mut hours = vec![0.0; count];
        for &(asked_ms, gone_ms) in &outcome.nodes_ms {
            for (day, hours) in (0..).zip(&mut hours) {
                let begin_ms = self.begin_ms + day * day_ms;
                let end_ms = (begin_ms + day_ms).min(self.world.end_ms);
                *hours += (gone_ms.min(end_ms) - asked_ms.max(begin_ms)).max(0) as f64 / HOUR_MS;
            }
        }
        hours
    }

    /// Hours that a node's worth of work waited, on the day of its submission.
    fn waited_hours(&self, outcome: &Outcome) -> Vec<f64> {
        let (count, day_ms) = self.days();
        let node = self.settings.shape.parts() as f64;
        let mut hours = vec![0.0; count];
        for (job, start_ms) in self.jobs.iter().zip(&outcome.starts_ms) {
            let day = usize::try_from((job.submit_ms - self.begin_ms).div_euclid(day_ms));
            if let Some(hours) = day.ok().and_then(|day| hours.get_mut(day)) {
                *hours += job.size as f64 / node * (start_ms - job.submit_ms) as f64 / HOUR_MS;
            }
        }
        hours
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
    fn what_is_not_surely_cheaper_is_not_chosen_and_told() {
        // One burst in six days: nodes that pay for it stand idle on the others.
        let mut known = bursts(12, 30);
        let rare = |job: &Job| job.submit_ms >= 11 * DAY_MS || job.submit_ms % (4 * 60 * MINUTE_MS) == 0;
        known.jobs.retain(rare);
        let settings = settings(1_000_000, 10_000_000);
        let families = policy::families(settings.shape);
        let choice = choose(&known.jobs, (0, 12 * DAY_MS), &settings, &families, &|| true).unwrap();
        assert_eq!(choice.rule, Rule::Fixed(0), "{choice}");
        let unsure = choice.unsure.as_ref().expect("something would have been cheaper");
        assert!(unsure.tried.cost().total() < choice.cost.total(), "{choice}");
        assert!(choice.to_string().contains("which is not surely cheaper"), "{choice}");
        // Of the same days twice as many say no more where too few of them are known.
        let few = choose(&known.jobs, (8 * DAY_MS, 12 * DAY_MS), &settings, &families, &|| true).unwrap();
        assert_eq!(few.rule, Rule::Fixed(0));
        assert!(
            few.to_string().contains("2 days are too few to be sure, 5 are needed"),
            "{few}"
        );
    }

    #[test]
    fn days_add_up_to_the_whole() {
        let known = bursts(9, 6);
        let settings = settings(1_000_000, 20_000_000);
        let days = Days::new(&known.jobs, (0, 9 * DAY_MS), &settings);
        assert_eq!(days.days(), (5, 77_760_000), "four and a half days");
        let outcome = engine::run(days.world, days.jobs, &[1], &mut ());
        let whole =
            |&(asked_ms, gone_ms): &(i64, i64)| (gone_ms.min(days.world.end_ms) - asked_ms.max(days.begin_ms)).max(0);
        let whole: i64 = outcome.nodes_ms.iter().map(whole).sum();
        let parts: f64 = days.node_hours(&outcome).iter().sum();
        assert!((parts - whole as f64 / HOUR_MS).abs() < 1e-6, "{parts}");
        let costs = days.costs(&[1]);
        assert!(costs.iter().all(|day| day.waiting > 0.0), "{costs:?}");
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
