//! What was learned from the past. Pure.

use kompass_capacity::{Past, policy};
use kompass_forecast::hourly::Hourly;
use kompass_headroom::Worth;
use kompass_headroom::features::Record;
use kompass_history::{Gang, Gap, History, Kin};

use crate::choice::{self, Choice, Rule};
use crate::past::{Known, known_until_ms};
use crate::schedule::Schedule;
use crate::settings::Settings;
use crate::{arrivals, outlook};

const HOUR_MS: i64 = 3_600_000;
/// Less known history than this teaches nothing.
pub const KNOWN_MIN_MS: i64 = 24 * HOUR_MS;

/// A model.
#[derive(Debug)]
pub struct Model {
    /// Up to when the past went into it, milliseconds since 1970 UTC.
    pub until_ms: i64,
    /// From when on.
    pub from_ms: i64,
    /// Times of which nothing is known, first ones first.
    pub gaps: Vec<Gap>,
    /// The gangs that it was learned from.
    pub gangs: Vec<Gang>,
    /// Which of their jobs are kin.
    pub kin: Kin,
    /// Gangs of them with a pod that is larger than a node.
    pub too_large: usize,
    /// Time of which nothing is known, milliseconds.
    pub unknown_ms: i64,
    /// By which rule to hold nodes.
    pub choice: Choice,
    /// What nodes are worth, where the rule goes by that.
    worth: Option<Worth>,
    /// What is expected to be submitted.
    pub outlook: Hourly,
    /// What else is.
    pub arrivals: arrivals::Fitted,
}

/// Why there is no model of a history.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Too little is known.
    #[error("failed to learn from the past: {known_h} hours of it are known, {} are needed", KNOWN_MIN_MS / HOUR_MS)]
    ShortHistory {
        /// How much is.
        known_h: i64,
    },
    /// Nothing could be chosen.
    #[error("failed to learn from the past")]
    Choice(#[from] choice::Error),
}

impl Error {
    /// Whether it is the past that is too short or too quiet: nothing is broken, it needs time.
    pub const fn is_too_little(&self) -> bool {
        !matches!(self, Self::Choice(choice::Error::Stopped))
    }
}

/// Learns from a history, and from what schedules start. `before` is the model in use. `go_on` is asked now and then.
pub fn learn(
    history: History,
    settings: &Settings,
    schedules: &[Schedule],
    before: Option<&Model>,
    go_on: &dyn Fn() -> bool,
) -> Result<Model, Error> {
    let window = history.window;
    let unknown_ms = history.unknown_ms();
    let known_ms = window.to_ms - window.from_ms - unknown_ms;
    if known_ms < KNOWN_MIN_MS {
        let known_h = known_ms / HOUR_MS;
        return Err(Error::ShortHistory { known_h });
    }
    let known = Known::new(&history.gangs, settings.shape);
    let to_ms = known_until_ms(&history);
    // A gap at its begin is the time before the first sample.
    let from_ms = match history.gaps.first() {
        Some(gap) if gap.from_ms <= window.from_ms => gap.to_ms.min(to_ms),
        _ => window.from_ms,
    };
    let (choice, worth) = choose(&known, (from_ms, to_ms), settings, go_on)?;
    let outlook = outlook::fit(
        &history,
        &known,
        settings,
        schedules,
        before.map(|before| &before.outlook),
    );
    let arrivals = arrivals::fit(&history, &known, settings, before.map(|before| &before.arrivals), go_on);
    Ok(Model {
        until_ms: window.to_ms,
        from_ms: window.from_ms,
        gaps: history.gaps,
        gangs: history.gangs,
        kin: history.kin,
        too_large: known.too_large,
        unknown_ms,
        choice,
        worth,
        outlook,
        arrivals,
    })
}

/// The rule, and what nodes are worth if it goes by that.
fn choose(
    known: &Known,
    known_ms: (i64, i64),
    settings: &Settings,
    go_on: &dyn Fn() -> bool,
) -> Result<(Choice, Option<Worth>), choice::Error> {
    let mut families = policy::families(settings.shape);
    let learned = families.len();
    families.push(kompass_headroom::family(&known.jobs, settings.shape, settings.timing));
    let choice = choice::choose(&known.jobs, known_ms, settings, &families, go_on)?;
    if !matches!(choice.rule, Rule::Family { number, .. } if number == learned) {
        return Ok((choice, None));
    }
    let now_ms = known_ms.1;
    let learned_from = known.at(now_ms, settings.shape);
    if let Ok(worth) = Worth::learn(&learned_from, settings.timing, now_ms) {
        return Ok((choice, Some(worth)));
    }
    // The days that it would have been good on have left the past that is learned from.
    families.truncate(learned);
    let choice = choice::choose(&known.jobs, known_ms, settings, &families, go_on)?;
    Ok((choice, None))
}

impl Model {
    /// How many nodes its rule wants now.
    pub fn wanted(&self, settings: &Settings, now_ms: i64, past: &Past<'_>) -> u32 {
        if let Some(worth) = &self.worth {
            let row = Record::new(settings.shape, settings.timing).row(past, now_ms);
            let mut nodes = [0];
            worth.nodes(&row, &[1.0 / self.choice.parameter], &mut nodes);
            return nodes[0];
        }
        match self.choice.rule {
            Rule::Fixed(nodes) => nodes,
            Rule::Family { number, parameter } => {
                let families = policy::families(settings.shape);
                let Some(family) = families.get(number) else { return 0 };
                let mut nodes = vec![0; family.parameters.len()];
                (family.make)().headroom(now_ms, past, &mut nodes);
                nodes.get(parameter).copied().unwrap_or(0)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use kompass_history::End;

    use super::*;
    use crate::past::tests::{gang, gap, history};
    use crate::settings::tests::settings;

    /// A burst of gangs every hour, each with so many executors.
    fn hours(hours: i64, executors: u64) -> History {
        let gangs = (0..hours).flat_map(|hour| (0..3).map(move |number| hour * HOUR_MS + number * 60_000));
        let gangs = gangs
            .map(|at_ms| gang(at_ms, Some(1_200_000), End::Succeeded, executors))
            .collect();
        history(0, hours * HOUR_MS, gangs)
    }

    /// Two days of it.
    pub(crate) fn two_days() -> History {
        hours(48, 2)
    }

    #[test]
    fn a_model_says_what_it_was_learned_from() {
        let model = learn(two_days(), &settings(1_000_000, 20_000_000), &[], None, &|| true).unwrap();
        assert_eq!(
            (model.until_ms, model.gangs.len(), model.too_large),
            (48 * HOUR_MS, 144, 0)
        );
        assert!(model.choice.cost.total() <= model.choice.reactive.total());
    }

    #[test]
    fn its_rule_wants_nodes_when_gangs_come() {
        let settings = settings(1_000_000, 20_000_000);
        let mut model = learn(two_days(), &settings, &[], None, &|| true).unwrap();
        let known = Known::new(&model.gangs, settings.shape);
        let at = |model: &Model, now_ms: i64| model.wanted(&settings, now_ms, &known.at(now_ms, settings.shape));
        model.choice.rule = Rule::Fixed(3);
        assert_eq!(at(&model, 0), 3);
        // Burst echo of 10 minutes with the largest parameter: six times three gangs of two and a half nodes.
        let parameter = policy::families(settings.shape)[0].parameters.len() - 1;
        model.choice.rule = Rule::Family { number: 0, parameter };
        assert_eq!(at(&model, 40 * HOUR_MS + 120_000), 45);
        assert_eq!(at(&model, 40 * HOUR_MS - 60_000), 0);
        // What nodes are worth takes some days to learn, and gangs that one node is enough for.
        let week = hours(7 * 24, 0).gangs;
        let known = Known::new(&week, settings.shape);
        let past = known.at(7 * 24 * HOUR_MS, settings.shape);
        model.worth = Some(Worth::learn(&past, settings.timing, 7 * 24 * HOUR_MS).unwrap());
        model.choice.parameter = 1e9;
        assert!(at(&model, 40 * HOUR_MS) > 0, "nodes for nothing are held");
        model.choice.parameter = 0.0;
        assert_eq!(at(&model, 40 * HOUR_MS), 0, "nobody pays any price");
    }

    #[test]
    fn too_little_is_told() {
        let mut short = two_days();
        short.gaps = vec![gap(0, 24 * HOUR_MS + 1)];
        let error = learn(short, &settings(1, 1), &[], None, &|| true).unwrap_err();
        assert_eq!(error, Error::ShortHistory { known_h: 23 });
        assert!(error.is_too_little());
        let quiet = history(0, 48 * HOUR_MS, Vec::new());
        let error = learn(quiet, &settings(1, 1), &[], None, &|| true).unwrap_err();
        assert_eq!(error, Error::Choice(choice::Error::FewGangs(0)));
        let error = learn(two_days(), &settings(1, 1), &[], None, &|| false).unwrap_err();
        assert!(!error.is_too_little());
    }
}
