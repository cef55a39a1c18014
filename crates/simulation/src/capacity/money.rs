//! What points cost in money: nodes by their hours, and waiting by the hours that a node's worth of work waits.

use kompass_capacity::newsvendor::Prices;

use super::measure::Point;
use super::protocol::{Backtest, Tried};

const HOUR_S: f64 = 3_600.0;

/// What a part cost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// All nodes, those that gangs ran on included.
    pub nodes: f64,
    /// Waiting.
    pub waiting: f64,
}

/// A policy with the parameter that cost least where policies are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cheapest {
    /// Its number among the policies.
    pub policy: usize,
    /// The parameter's number.
    pub parameter: usize,
    /// Its cost on the validation.
    pub validation: Cost,
    /// The same parameter's on the test.
    pub test: Cost,
    /// That of the parameter that cost least on the test: what no choice could have known.
    pub in_hindsight: Cost,
}

impl Cost {
    /// Of a point. `submitted`: node-size of all of the part's gangs, nodes.
    pub fn new(point: &Point, submitted: f64, prices: Prices) -> Self {
        let waited_hours = point.wait_by_size_s * submitted / HOUR_S;
        Self {
            nodes: prices.total(point.bill_node_hours, 0.0) / 1e6,
            waiting: prices.total(0.0, waited_hours) / 1e6,
        }
    }

    /// Of both.
    pub fn total(self) -> f64 {
        self.nodes + self.waiting
    }
}

impl Cheapest {
    /// Of each policy, fixed headroom first; none where there are no prices.
    pub fn of_each(backtest: &Backtest) -> Vec<Self> {
        let Some(prices) = backtest.settings.prices else {
            return Vec::new();
        };
        let cost = |part: usize, point: &Point| Cost::new(point, backtest.submitted[part], prices);
        let of = |(policy, tried): (usize, &Tried)| {
            let validation: Vec<Cost> = tried.validation.iter().map(|point| cost(0, point)).collect();
            let test: Vec<Cost> = tried.test.iter().map(|point| cost(1, point)).collect();
            let parameter = least(&validation[..validation.len().min(test.len())])?;
            Some(Self {
                policy,
                parameter,
                validation: validation[parameter],
                test: test[parameter],
                in_hindsight: test[least(&test)?],
            })
        };
        backtest.tried.iter().enumerate().filter_map(of).collect()
    }
}

fn least(costs: &[Cost]) -> Option<usize> {
    (0..costs.len()).min_by(|&a, &b| costs[a].total().total_cmp(&costs[b].total()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_cost_by_the_hour_and_so_does_work_that_waits() {
        let point = Point {
            bill_node_hours: 100.0,
            wait_by_size_s: 36.0,
            ..Point::default()
        };
        let prices = Prices {
            node_hour: 400_000,
            wait_hour: 4_000_000,
        };
        // Work of 500 nodes waits for a hundredth of an hour.
        let cost = Cost::new(&point, 500.0, prices);
        assert!(
            (cost.nodes - 40.0).abs() < 1e-9 && (cost.waiting - 20.0).abs() < 1e-9,
            "{cost:?}"
        );
        assert!((cost.total() - 60.0).abs() < 1e-9);
    }
}
