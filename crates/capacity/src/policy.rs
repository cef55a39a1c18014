//! Policies: at each tick, how many empty nodes to hold beside the busy ones.

use std::fmt;

use crate::echo::Echo;
use crate::past::Past;
use crate::shape::Shape;
use crate::time_of_day::TimeOfDay;

/// A policy with all the parameters of its [`Family`]: they are decided for together, because most of the work is the
/// same for all of them.
pub trait Policy: Send {
    /// At a tick, how many fully empty nodes, ready or launching, are held for each parameter of the family, in its
    /// order. Called for one tick after the other.
    fn headroom(&mut self, now_ms: i64, past: &Past<'_>, nodes: &mut [u32]);

    /// Up to when observations went into what the last answer was fitted to, milliseconds; nothing where nothing is
    /// fitted.
    fn fit_until_ms(&self) -> Option<i64> {
        None
    }
}

/// A kind of policy, and the parameters with which it is tried.
pub struct Family {
    /// What it is called.
    pub name: &'static str,
    /// What it does, in words; the parameter is `p`.
    pub meaning: &'static str,
    /// Its parameters, rising; a larger one holds more nodes. The first one should be reactive.
    pub parameters: Vec<f64>,
    /// Makes one that knows nothing yet.
    pub make: Box<dyn Fn() -> Box<dyn Policy> + Send + Sync>,
}

impl fmt::Debug for Family {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Family")
            .field("name", &self.name)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}

/// Thousandths of the node-size that arrived.
const ECHOES_MILLI: [u32; 22] = [
    0, 50, 100, 150, 200, 250, 300, 350, 400, 500, 600, 700, 850, 1_000, 1_200, 1_400, 1_700, 2_000, 2_500, 3_000,
    4_000, 6_000,
];
/// Thousandths; the first stands for holding nothing.
const QUANTILES_MILLI: [u32; 15] = [
    0, 500, 600, 700, 750, 800, 850, 900, 925, 950, 970, 980, 990, 995, 1_000,
];

/// Every family but fixed headroom (which needs no family: it is a number of nodes, 0 is reactive). This is the place to
/// add one.
pub fn families(shape: Shape) -> Vec<Family> {
    vec![
        Family {
            name: "burst-echo-10min",
            meaning: "holds p times the node-size that was submitted in the last 10 minutes",
            parameters: thousandths(&ECHOES_MILLI),
            make: Box::new(move || Box::new(Echo::new(shape, 10 * 60_000, ECHOES_MILLI.to_vec()))),
        },
        Family {
            name: "burst-echo-60min",
            meaning: "holds p times the node-size that was submitted in the last 60 minutes",
            parameters: thousandths(&ECHOES_MILLI),
            make: Box::new(move || Box::new(Echo::new(shape, 60 * 60_000, ECHOES_MILLI.to_vec()))),
        },
        Family {
            name: "time-of-day",
            meaning: "holds what was submitted within 10 minutes at this hour of the last 28 days, quantile p",
            parameters: thousandths(&QUANTILES_MILLI),
            make: Box::new(move || Box::new(TimeOfDay::new(shape, QUANTILES_MILLI.to_vec()))),
        },
    ]
}

fn thousandths(values: &[u32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value) / 1_000.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::past::Submitted;
    use crate::shape::Members;

    #[test]
    fn every_family_begins_with_reactive_and_rises() {
        let shape = Shape::new(1_000, 1_000).unwrap();
        let member = Members {
            count: 1,
            cpu_milli: 700,
            memory_mib: 1,
        };
        let submitted: Vec<Submitted> = (0..5_000)
            .map(|number| Submitted {
                at_ms: number * 60_000,
                profile: 0,
                members: [member, Members::default()],
                size: shape.size(&[member]),
            })
            .collect();
        let now_ms = 5_000 * 60_000;
        let past = Past {
            shape,
            submitted: &submitted,
            ended: &[],
        };
        for family in families(shape) {
            assert!(family.parameters.windows(2).all(|pair| pair[0] < pair[1]), "{family:?}");
            let mut nodes = vec![u32::MAX; family.parameters.len()];
            (family.make)().headroom(now_ms, &past, &mut nodes);
            assert_eq!(nodes[0], 0, "{family:?}");
            assert!(nodes.is_sorted() && nodes[nodes.len() - 1] > 0, "{family:?}: {nodes:?}");
        }
    }
}
