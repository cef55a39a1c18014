//! How much to hold, from money: the newsvendor's rule.
//!
//! A node too few lets a node's worth of work wait until another has booted; a node too many is paid for until it is given
//! back. The expected cost is least when enough is held with probability τ* = `c_wait` / (`c_wait` + `c_idle`), where the
//! first is what one node too few costs and the second what one too many does (Arrow, Harris, Marschak: Optimal inventory
//! policy, Econometrica 1951; the "critical fractile").

use std::fmt;

const HOUR_MS: u64 = 3_600_000;

/// What things cost, in millionths of whatever money is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// A node, for an hour.
    pub node_hour: u64,
    /// A node's worth of work that waits for an hour.
    pub wait_hour: u64,
}

/// How long a mistake lasts, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mistakes {
    /// How long work waits for a node that isn't there: reaction and boot.
    pub wait_ms: u64,
    /// How long a node that isn't needed is paid for: until it is given back.
    pub idle_ms: u64,
}

/// The quantile that is worth holding, with what it comes from. Its text says so in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fractile {
    prices: Prices,
    mistakes: Mistakes,
    /// What one node too few costs, millionths.
    pub wait_cost: u64,
    /// What one node too many costs, millionths.
    pub idle_cost: u64,
}

impl Fractile {
    /// Of these prices and mistakes.
    pub fn new(prices: Prices, mistakes: Mistakes) -> Self {
        let cost = |price: u64, lasts_ms: u64| {
            let cost = u128::from(price) * u128::from(lasts_ms) / u128::from(HOUR_MS);
            u64::try_from(cost).unwrap_or(u64::MAX)
        };
        Self {
            prices,
            mistakes,
            wait_cost: cost(prices.wait_hour, mistakes.wait_ms),
            idle_cost: cost(prices.node_hour, mistakes.idle_ms),
        }
    }

    /// τ*, thousandths. Where nothing costs anything nothing is held.
    pub fn milli(self) -> u32 {
        let wait = u128::from(self.wait_cost);
        let milli = (wait * 1_000).checked_div(wait + u128::from(self.idle_cost));
        milli.and_then(|milli| u32::try_from(milli).ok()).unwrap_or(0)
    }
}

impl Prices {
    /// What a bill and waits cost together, millionths: node-hours for themselves, and hours that a node's worth of work
    /// waited.
    pub fn total(self, node_hours: f64, waited_hours: f64) -> f64 {
        node_hours * self.node_hour as f64 + waited_hours * self.wait_hour as f64
    }
}

impl fmt::Display for Fractile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            prices,
            mistakes,
            wait_cost,
            idle_cost,
        } = *self;
        let money = |millionths: u64| format!("{:.4}", millionths as f64 / 1e6);
        let seconds = |ms: u64| ms / 1_000;
        write!(
            out,
            "one node too few costs {} ({} s of waiting at {} an hour), one too many {} ({} s at {} an hour): it pays to \
             hold enough in {:.1} of 100 cases",
            money(wait_cost),
            seconds(mistakes.wait_ms),
            money(prices.wait_hour),
            money(idle_cost),
            seconds(mistakes.idle_ms),
            money(prices.node_hour),
            f64::from(self.milli()) / 10.0
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fractile(wait_hour: u64, node_hour: u64) -> Fractile {
        let mistakes = Mistakes {
            wait_ms: 160_000,
            idle_ms: 900_000,
        };
        Fractile::new(Prices { node_hour, wait_hour }, mistakes)
    }

    #[test]
    fn the_dearer_the_wait_the_more_is_held() {
        for (wait_hour, node_hour, milli) in [
            (0, 500_000, 0),
            (500_000, 500_000, 150),
            (5_000_000, 500_000, 639),
            (500_000_000, 500_000, 994),
            (1, 0, 0),
            (1_000, 0, 1_000),
            (u64::MAX, u64::MAX, 150),
        ] {
            assert_eq!(fractile(wait_hour, node_hour).milli(), milli, "{wait_hour} {node_hour}");
        }
    }

    #[test]
    fn it_is_explained_in_words() {
        assert_eq!(
            fractile(5_000_000, 500_000).to_string(),
            "one node too few costs 0.2222 (160 s of waiting at 5.0000 an hour), one too many 0.1250 (900 s at 0.5000 an \
             hour): it pays to hold enough in 63.9 of 100 cases"
        );
    }

    proptest! {
        /// The expected cost with this quantile of some demand is not above that with any other number of nodes.
        #[test]
        fn no_other_number_of_nodes_costs_less(
            demand in prop::collection::vec(0_u64..20, 1..40), wait in 1_u64..100, idle in 1_u64..100,
        ) {
            let hour = Mistakes { wait_ms: HOUR_MS, idle_ms: HOUR_MS };
            let fractile = Fractile::new(Prices { node_hour: idle * 1_000, wait_hour: wait * 1_000 }, hour);
            let cost = |held: u64| demand.iter()
                .map(|&asked| asked.saturating_sub(held) * wait + held.saturating_sub(asked) * idle)
                .sum::<u64>();
            let mut sorted = demand.clone();
            sorted.sort_unstable();
            // The smallest number that is enough in at least this share of cases, of the exact share.
            let rank = (wait * sorted.len() as u64).div_ceil(wait + idle).max(1);
            let held = sorted[usize::try_from(rank).unwrap() - 1];
            prop_assert!((0..21).all(|other| cost(held) <= cost(other)));
            prop_assert_eq!(u64::from(fractile.milli()), 1_000 * wait / (wait + idle));
        }
    }
}
