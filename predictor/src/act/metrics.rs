//! Metrics of what is done.

use kompass_floors::{By, Refusal};
use kompass_service::metrics::{Counter, CounterVec, FloatCounter, Gauge, GaugeVec, Registry};

use crate::judge::Counts;

/// Handles.
#[derive(Debug, Clone)]
pub struct ActMetrics {
    /// Empty nodes to hold now.
    pub aim_nodes: Gauge,
    /// It is paused.
    pub paused: Gauge,
    /// By group: nodes above its base.
    pub floor_nodes: GaugeVec<1>,
    /// Empty nodes that no group can hold now.
    pub unmet_nodes: Gauge,
    /// By whom: `predictor`, `cloud`, `others`.
    pub releases: CounterVec<1>,
    /// By reason.
    pub refusals: CounterVec<1>,
    /// Empty nodes that are held, over time.
    pub held_node_seconds: FloatCounter,
    /// Room for held pods that is ready.
    pub ready_nodes: Gauge,
    /// Gangs that held nodes were enough for.
    pub hits: Counter,
    /// Gangs that they were not enough for.
    pub misses: Counter,
    /// Held and not taken.
    pub waste_node_seconds: FloatCounter,
    /// Requests to AWS by operation and what came of them.
    pub cloud_requests: CounterVec<2>,
    /// How long machines boot, by quantile.
    pub boot_seconds: GaugeVec<1>,
    /// Rounds in which it was looked at what is to be held.
    pub rounds: Counter,
    /// By actuator: rounds that failed.
    pub failures: CounterVec<1>,
}

impl ActMetrics {
    /// What came of decisions whose nodes were held.
    pub fn judged(&self, counts: Counts) {
        self.hits.inc_by(counts.hits);
        self.misses.inc_by(counts.misses);
        self.waste_node_seconds.inc_by(counts.idle_node_ms as f64 / 1_000.0);
    }

    /// Adds them to a registry.
    pub fn register(registry: &Registry) -> Self {
        let float = |name, help| registry.float_counter_vec::<0>(name, help, []).with([]);
        let metrics = Self {
            aim_nodes: registry.gauge(
                "kompass_predictor_aim_nodes",
                "Empty nodes to hold now; NaN while another replica acts.",
            ),
            paused: registry.gauge("kompass_predictor_paused", "1 if somebody has paused it, else 0."),
            floor_nodes: registry.gauge_vec(
                "kompass_predictor_floor_nodes",
                "Nodes that the floor of a node group is above what others have set as its MinSize.",
                ["group"],
            ),
            unmet_nodes: registry.gauge(
                "kompass_predictor_unmet_nodes",
                "Empty nodes that are wanted and that no node group can hold now; NaN while another replica acts.",
            ),
            releases: registry.counter_vec(
                "kompass_predictor_floor_releases_total",
                "Floors that have ended, by who gave them back: the predictor, the cloud by itself, or others.",
                ["by"],
            ),
            refusals: registry.counter_vec(
                "kompass_predictor_floor_refusals_total",
                "Times that a node group got no floor, or not the wanted one, by reason.",
                ["reason"],
            ),
            held_node_seconds: float(
                "kompass_predictor_held_node_seconds_total",
                "Time of empty nodes that were held.",
            ),
            ready_nodes: registry.gauge(
                "kompass_predictor_ready_nodes",
                "Pods of the shape that is held that would start at once on nodes that are ready; NaN while another replica acts.",
            ),
            hits: registry.counter(
                "kompass_predictor_hits_total",
                "Gangs that held nodes were enough for, judged an hour later.",
            ),
            misses: registry.counter(
                "kompass_predictor_misses_total",
                "Gangs that came while nodes were held or could have been, and that these were not enough for.",
            ),
            waste_node_seconds: float(
                "kompass_predictor_waste_node_seconds_total",
                "Time of held nodes that no gang took, judged an hour later.",
            ),
            cloud_requests: registry.counter_vec(
                "kompass_predictor_cloud_requests_total",
                "Requests to AWS, by operation and what came of them.",
                ["operation", "result"],
            ),
            boot_seconds: registry.gauge_vec(
                "kompass_predictor_boot_seconds",
                "From the launch of an instance to its node's readiness, of the last 64; NaN while none is known.",
                ["quantile"],
            ),
            rounds: registry.counter(
                "kompass_predictor_act_rounds_total",
                "Times that it was looked at what is to be held and what is.",
            ),
            failures: registry.counter_vec(
                "kompass_predictor_act_failures_total",
                "Rounds in which what is held could not be brought up to date, by what holds it.",
                ["actuator"],
            ),
        };
        for by in [By::Us, By::Cloud, By::Others] {
            metrics.releases.with([by.name()]);
        }
        for code in Refusal::CODES {
            metrics.refusals.with([code]);
        }
        metrics
    }
}
