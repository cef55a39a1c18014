//! What bounds what is held, and what things cost: options that the predictor has too, with the same meaning.

use kompass_capacity::Holding;
use kompass_capacity::budget::Limits;
use kompass_capacity::newsvendor::Prices;

const NODE_HOUR_MS: u64 = 3_600_000;

/// Bounds that are off unless given.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Money and bounds, as the predictor has them")]
pub(super) struct Bounds {
    /// What a node costs in an hour, in any money: also tell what each policy costs, and the cheapest.
    #[arg(long, value_name = "MONEY", value_parser = money, requires = "wait_price")]
    node_price: Option<u64>,
    /// What it costs, in the same money, that a node's worth of work waits for an hour.
    #[arg(long, value_name = "MONEY", value_parser = money, requires = "node_price")]
    wait_price: Option<u64>,
    /// No more empty nodes are ever held, under any policy.
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u32).range(0..=1_000))]
    max_nodes: Option<u32>,
    /// Hours of empty nodes in any 24 hours at most.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    node_hours_per_day: Option<u64>,
    /// So long after it was last wanted a node is still held, seconds; the predictor has 600.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    hold_s: u32,
}

impl Bounds {
    pub(super) fn prices(&self) -> Option<Prices> {
        let (node_hour, wait_hour) = self.node_price.zip(self.wait_price)?;
        Some(Prices { node_hour, wait_hour })
    }

    pub(super) fn holding(&self) -> Holding {
        Holding {
            nodes_max: self.max_nodes,
            hold_ms: i64::from(self.hold_s) * 1_000,
            limits: self.node_hours_per_day.map(|hours| Limits {
                hour_node_ms: self.max_nodes.map_or(u64::MAX, |nodes| u64::from(nodes) * NODE_HOUR_MS),
                day_node_ms: hours * NODE_HOUR_MS,
            }),
        }
    }

    /// What was asked for, for people.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let prices = self.prices().into_iter().flat_map(|prices| {
            [
                ("A node costs in an hour", millionths(prices.node_hour)),
                ("Waiting costs in an hour", millionths(prices.wait_hour)),
            ]
        });
        let most = self.max_nodes.map(|nodes| ("Nodes held at most", nodes.to_string()));
        let hours = self
            .node_hours_per_day
            .map(|hours| ("Node-hours held in a day at most", hours.to_string()));
        let hold = (self.hold_s > 0).then(|| ("Held after last wanted", format!("{} s", self.hold_s)));
        prices.chain(most).chain(hours).chain(hold).collect()
    }
}

/// Millionths of money, for people.
pub(super) fn millionths(money: u64) -> String {
    format!("{:.2}", money as f64 / 1e6)
}

/// To millionths.
fn money(text: &str) -> Result<u64, String> {
    let amount = text.parse().ok().filter(|amount| (0.0..=1e6).contains(amount));
    let amount: f64 = amount.ok_or_else(|| "give an amount of money from 0 to 1000000, such as 0.40".to_owned())?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1e12")]
    Ok((amount * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: Bounds,
    }

    fn parse(more: &[&str]) -> Result<Bounds, clap::Error> {
        Command::try_parse_from(std::iter::once(&"kompass").chain(more)).map(|command| command.options)
    }

    #[test]
    fn nothing_is_bounded_or_priced_unless_asked_for() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.holding(), options.prices()), (Holding::default(), None));
        assert_eq!(options.settings(), []);
        let options = parse(&[
            "--node-price",
            "0.4",
            "--wait-price",
            "4",
            "--max-nodes",
            "3",
            "--node-hours-per-day",
            "24",
            "--hold-s",
            "600",
        ])
        .unwrap();
        assert_eq!(
            options.prices().map(|prices| (prices.node_hour, prices.wait_hour)),
            Some((400_000, 4_000_000))
        );
        let holding = options.holding();
        assert_eq!((holding.nodes_max, holding.hold_ms), (Some(3), 600_000));
        let limits = holding.limits.unwrap();
        assert_eq!(
            (limits.hour_node_ms, limits.day_node_ms),
            (3 * NODE_HOUR_MS, 24 * NODE_HOUR_MS)
        );
        assert_eq!(options.settings().len(), 5);
    }

    #[test]
    fn prices_come_together_and_are_amounts() {
        for more in [
            &["--node-price", "1"][..],
            &["--wait-price", "1"],
            &["--node-price", "-1", "--wait-price", "1"],
            &["--node-price", "NaN", "--wait-price", "1"],
            &["--max-nodes", "1001"],
        ] {
            assert!(parse(more).is_err(), "{more:?}");
        }
    }
}
