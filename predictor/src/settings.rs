//! What decisions depend on besides the past.

use std::sync::Arc;

use kompass_capacity::Shape;
use kompass_capacity::budget::Limits;
use kompass_capacity::newsvendor::Prices;
use kompass_forecast::wall::Wall;
use kompass_simulation::capacity::Timing;

/// Chosen by the operator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The nodes that gangs run on.
    pub shape: Shape,
    /// How long nodes boot, and how often is decided.
    pub timing: Timing,
    /// What nodes and waiting cost.
    pub prices: Prices,
    /// No more empty nodes are ever held.
    pub nodes_max: u32,
    /// What they may come to in an hour and in a day.
    pub limits: Option<Limits>,
    /// The users' clock and holidays.
    pub wall: Arc<Wall>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Nodes of one CPU and a GiB, with these prices in millionths.
    pub(crate) fn settings(node_hour: u64, wait_hour: u64) -> Settings {
        Settings {
            shape: Shape::new(1_000, 1_024).unwrap(),
            timing: Timing::new(150_000),
            prices: Prices { node_hour, wait_hour },
            nodes_max: 40,
            limits: None,
            wall: Arc::default(),
        }
    }
}
