//! The metrics of the expander.

use kompass_service::metrics::{CounterVec, Histogram, LATENCY_SECONDS, Registry};

use crate::answer::Outcome;

/// Handles of all metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Calls by what came of them.
    pub(crate) calls: CounterVec<1>,
    /// From a whole request to its answer.
    pub(crate) seconds: Histogram,
}

impl Metrics {
    /// Calls that were answered with an error, which the autoscaler takes for all options.
    pub(crate) const REFUSED: &str = "refused";

    /// Adds them to a registry, all at zero.
    pub fn register(registry: &Registry) -> Self {
        let metrics = Self {
            calls: registry.counter_vec(
                "kompass_expander_calls_total",
                "Calls of cluster-autoscaler by what came of them; all but `chosen` leave the choice to the next expander.",
                ["result"],
            ),
            seconds: registry.histogram(
                "kompass_expander_answer_seconds",
                "Time from a whole request to its answer.",
                LATENCY_SECONDS,
            ),
        };
        for name in Outcome::NAMES.into_iter().chain([Self::REFUSED]) {
            metrics.calls.with([name]);
        }
        metrics
    }
}
