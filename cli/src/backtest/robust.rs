//! The same backtest on pasts that are a little other than the recorded one.

use kompass_simulation::capacity::altered::Altered;
use kompass_simulation::capacity::protocol::{Error, Judged, Tried, Verdict};
use kompass_simulation::capacity::{Backtest, Settings};
use kompass_simulation::trace::Gang;
use serde::Serialize;

use super::words;
use crate::table;

/// What the table is about, for people.
pub(super) const MEANING: &str = "Waits on the test beside those with a fixed number of nodes at the same cost, as above, for \
                                  this past and for others that are made of it: what holds on all of them hangs on no detail \
                                  of the one.";

/// What each of a table's columns is.
pub(super) const COLUMNS: [&str; 7] = [
    "past",
    "gangs",
    "recommended",
    "its test",
    "that is",
    "learned",
    "best burst echo",
];

/// A past, and what came out on it.
#[derive(Debug, Serialize)]
pub(super) struct Past {
    /// What is altered; `as recorded` where nothing is.
    past: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Results(Box<Results>),
    /// Why there is none, such as too few days.
    Failure(String),
}

#[derive(Debug, Serialize)]
struct Results {
    gangs: usize,
    recommended: On,
    learned: Option<On>,
    /// That with the least ratio on the test.
    best_burst_echo: Option<On>,
}

/// How a policy stands on the test, with what was chosen on the validation.
#[derive(Debug, Serialize)]
struct On {
    policy: String,
    wait_ratio_to_best_fixed_at_equal_idle: Option<f64>,
    interval_90: Option<(f64, f64)>,
    verdict: &'static str,
}

impl On {
    fn new(tried: &Tried) -> Self {
        Self {
            policy: tried.policy.clone(),
            wait_ratio_to_best_fixed_at_equal_idle: tried.on_test.ratio,
            interval_90: tried.on_test.interval,
            verdict: words::verdict(Verdict::of(&tried.on_test)),
        }
    }

    fn ratio(&self) -> String {
        words::ratio(&Judged {
            ratio: self.wait_ratio_to_best_fixed_at_equal_idle,
            interval: self.interval_90,
            ..Judged::default()
        })
    }
}

impl Past {
    pub(super) fn recorded(backtest: &Backtest) -> Self {
        Self {
            past: "as recorded".to_owned(),
            outcome: Outcome::Results(Box::new(Results::new(backtest))),
        }
    }

    fn altered(altered: Altered, run: Result<Backtest, Error>) -> Self {
        Self {
            past: altered.words(),
            outcome: match run {
                Ok(backtest) => Outcome::Results(Box::new(Results::new(&backtest))),
                Err(error) => Outcome::Failure(error.to_string()),
            },
        }
    }

    /// Why there is nothing to tell of it.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Results(_) => None,
            Outcome::Failure(why) => Some(why),
        }
    }

    /// Its cells, one for each of [`COLUMNS`].
    pub(super) fn cells(&self) -> Vec<String> {
        let results = match &self.outcome {
            Outcome::Results(results) => results,
            Outcome::Failure(_) => {
                let nothing = std::iter::repeat_n("–".to_owned(), COLUMNS.len() - 1);
                return std::iter::once(self.past.clone()).chain(nothing).collect();
            }
        };
        let ratio = |on: &Option<On>| on.as_ref().map_or_else(|| "–".to_owned(), On::ratio);
        vec![
            self.past.clone(),
            table::grouped(results.gangs as f64),
            results.recommended.policy.clone(),
            results.recommended.ratio(),
            results.recommended.verdict.to_owned(),
            ratio(&results.learned),
            ratio(&results.best_burst_echo),
        ]
    }
}

impl Results {
    fn new(backtest: &Backtest) -> Self {
        let of = |tried: &&Tried| tried.on_test.ratio.unwrap_or(f64::INFINITY);
        let named = |name: &'static str| {
            backtest
                .tried
                .iter()
                .filter(move |tried| tried.policy.starts_with(name))
        };
        Self {
            gangs: backtest.gangs,
            recommended: On::new(&backtest.tried[backtest.recommended]),
            learned: named("learned").next().map(On::new),
            best_burst_echo: named("burst-echo").min_by(|a, b| of(a).total_cmp(&of(b))).map(On::new),
        }
    }
}

/// Runs the protocol on every altered past. `run` runs it on the gangs of a past, and is told its name.
pub(super) fn each(
    gangs: &[Gang],
    settings: Settings,
    boot_s: u32,
    mut run: impl FnMut(&str, &[Gang], Settings) -> Result<Backtest, Error>,
) -> Vec<Past> {
    let all = Altered::all(i64::from(boot_s)).into_iter();
    all.map(|altered| {
        let settings = Settings {
            timing: altered.timing(settings.timing),
            ..settings
        };
        let gangs = altered.gangs(gangs, settings.seed);
        Past::altered(altered, run(&altered.words(), &gangs, settings))
    })
    .collect()
}

/// For a terminal.
pub(super) fn told(pasts: &[Past]) -> String {
    let rows: Vec<Vec<String>> = pasts.iter().map(Past::cells).collect();
    let failures = pasts.iter().filter_map(|past| {
        let why = past.failure()?;
        Some(format!("{}: {why}\n", past.past))
    });
    let failures: String = failures.collect();
    format!("\n{MEANING}\n{}{failures}", table::render(&COLUMNS, &rows))
}
