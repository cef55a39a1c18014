//! What policies cost in money, in words and as JSON.

use kompass_capacity::newsvendor::{Fractile, Mistakes, Prices};
use kompass_simulation::capacity::Backtest;
use kompass_simulation::capacity::measure::Point;
use kompass_simulation::capacity::money::{Cheapest, Cost};
use serde::Serialize;

use crate::table;

/// What each of a table's columns is.
pub(super) const COLUMNS: [&str; 8] = [
    "policy",
    "cheapest p",
    "where chosen",
    "test",
    "of that nodes",
    "waiting",
    "mean wait",
    "best in hindsight",
];

/// What came out in money.
#[derive(Debug, Serialize)]
pub(super) struct Money {
    node_price: f64,
    wait_price: f64,
    newsvendor: Newsvendor,
    policies: Vec<Row>,
    /// What to make of it, in a sentence or two.
    pub(super) text: String,
}

/// How often enough should be held, by what a mistake costs.
#[derive(Debug, Serialize)]
struct Newsvendor {
    quantile: f64,
    text: String,
}

/// A policy with the parameter that was cheapest where policies are chosen.
#[derive(Debug, Serialize)]
struct Row {
    policy: String,
    parameter: f64,
    validation: Amount,
    test: Amount,
    test_wait_mean_s: f64,
    /// Of the parameter that was cheapest on the test itself.
    test_in_hindsight: Amount,
}

/// An amount of money.
#[derive(Debug, Serialize)]
pub(super) struct Amount {
    nodes: f64,
    waiting: f64,
    total: f64,
}

impl From<Cost> for Amount {
    fn from(cost: Cost) -> Self {
        Self {
            nodes: cost.nodes,
            waiting: cost.waiting,
            total: cost.total(),
        }
    }
}

impl Money {
    /// None where there are no prices.
    pub(super) fn new(backtest: &Backtest) -> Option<Self> {
        let prices = backtest.settings.prices?;
        let timing = backtest.settings.timing;
        let mistakes = Mistakes {
            wait_ms: timing.ready_ms.unsigned_abs(),
            // It is given back at the tick after it has been empty for long enough.
            idle_ms: (timing.idle_ms + timing.tick_ms).unsigned_abs(),
        };
        let fractile = Fractile::new(prices, mistakes);
        let cheapest = Cheapest::of_each(backtest);
        let reactive = &backtest.tried[0];
        let without = Row {
            policy: "reactive".to_owned(),
            parameter: 0.0,
            validation: Cost::new(&reactive.validation[0], backtest.submitted[0], prices).into(),
            test: Cost::new(&reactive.test[0], backtest.submitted[1], prices).into(),
            test_wait_mean_s: reactive.test[0].wait_mean_s,
            test_in_hindsight: Cost::new(&reactive.test[0], backtest.submitted[1], prices).into(),
        };
        let text = text(backtest, &cheapest, &without);
        let policies = cheapest.iter().map(|cheapest| {
            let tried = &backtest.tried[cheapest.policy];
            Row {
                policy: tried.policy.clone(),
                parameter: tried.parameters[cheapest.parameter],
                validation: cheapest.validation.into(),
                test: cheapest.test.into(),
                test_wait_mean_s: tried.test[cheapest.parameter].wait_mean_s,
                test_in_hindsight: cheapest.in_hindsight.into(),
            }
        });
        Some(Self {
            node_price: prices.node_hour as f64 / 1e6,
            wait_price: prices.wait_hour as f64 / 1e6,
            newsvendor: Newsvendor {
                quantile: f64::from(fractile.milli()) / 1_000.0,
                text: fractile.to_string(),
            },
            policies: std::iter::once(without).chain(policies).collect(),
            text,
        })
    }

    /// What the table shows and what a mistake costs, for people.
    pub(super) fn meaning(&self) -> [String; 2] {
        [
            format!(
                "A node costs {:.2} in an hour, those that gangs run on included; waiting costs {:.2} for each hour that a \
                 node's worth of work waits. For each policy the parameter that was cheapest where policies are chosen, and \
                 what it cost in the test. These are sums without intervals: small differences may be chance.",
                self.node_price, self.wait_price
            ),
            format!(
                "For a single node, {} (the newsvendor's rule). It knows of no bursts and no nodes that are there in any \
                 case; the sums do.",
                self.newsvendor.text
            ),
        ]
    }

    /// A row for each policy, of a cell for each of [`COLUMNS`].
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let row = |policy: &Row| {
            vec![
                policy.policy.clone(),
                policy.parameter.to_string(),
                amount(policy.validation.total),
                amount(policy.test.total),
                amount(policy.test.nodes),
                amount(policy.test.waiting),
                table::seconds(policy.test_wait_mean_s),
                amount(policy.test_in_hindsight.total),
            ]
        };
        self.policies.iter().map(row).collect()
    }

    /// For a terminal.
    pub(super) fn told(&self) -> String {
        let [sums, single] = self.meaning();
        format!(
            "\nIn money. {sums}\n{}{single}\n{}\n",
            table::render(&COLUMNS, &self.rows()),
            self.text
        )
    }
}

/// Which policy is the cheapest, and what that came to on the test.
fn text(backtest: &Backtest, cheapest: &[Cheapest], reactive: &Row) -> String {
    let least = |cheapest: &&Cheapest| cheapest.validation.total();
    let Some(best) = cheapest.iter().min_by(|a, b| least(a).total_cmp(&least(b))) else {
        return String::new();
    };
    let tried = &backtest.tried[best.policy];
    let parameter = tried.parameters[best.parameter];
    if best.policy == 0 && best.parameter == 0 {
        return format!(
            "At these prices keep no nodes ready: where policies are chosen nothing that holds nodes cost less than the {} \
             without any.",
            amount(reactive.validation.total)
        );
    }
    let than = |other: f64| {
        let less = (other - best.test.total()) / other.max(f64::MIN_POSITIVE) * 100.0;
        if less >= 0.0 {
            format!("{less:.1} % less than")
        } else {
            format!("{:.1} % more than", -less)
        }
    };
    let fixed = &cheapest[0];
    let beside = if best.policy == 0 {
        String::new()
    } else {
        let nodes = backtest.tried[0].parameters[fixed.parameter];
        format!(
            " and {} the cheapest fixed number of nodes ({nodes})",
            than(fixed.test.total())
        )
    };
    format!(
        "At these prices the cheapest where policies are chosen is {} with p = {parameter}. On the test it cost {}: {} \
         reactive{beside}.",
        tried.policy,
        amount(best.test.total()),
        than(reactive.test.total),
    )
}

/// Whole, where there is much of it.
fn amount(money: f64) -> String {
    if money.abs() < 100.0 {
        format!("{money:.2}")
    } else {
        table::grouped(money)
    }
}

/// What a point of a part costs, if there are prices.
pub(super) fn cost(backtest: &Backtest, part: usize, point: &Point) -> Option<Amount> {
    let prices: Prices = backtest.settings.prices?;
    Some(Cost::new(point, backtest.submitted[part], prices).into())
}
