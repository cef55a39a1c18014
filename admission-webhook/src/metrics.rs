//! The metrics of webhook and profiler.

use kompass_service::metrics::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, LATENCY_SECONDS, Registry, WAIT_SECONDS,
};

/// Handles of the webhook's metrics.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Reviews by role and outcome.
    pub reviews: CounterVec<2>,
    /// In shadow mode: what would have become of pods, by role and outcome.
    pub shadow: CounterVec<2>,
    /// Bodies that were no review.
    pub refused: Counter,
    /// Time to answer a review.
    pub seconds: Histogram,
    /// Drivers asked of the API server because the watch had not shown them yet, by result.
    pub lookups: CounterVec<1>,
    /// Gangs known.
    pub gangs: Gauge,
    /// Whether somebody has told the API server not to ask about pods.
    pub bypassed: Gauge,
    /// Times that a registration object was applied, by kind and whether it went well.
    pub applied: CounterVec<2>,
    /// Times that somebody else's change of a registration object was undone, by kind.
    pub repaired: CounterVec<1>,
    /// Times that the API server was asked to call us, by result.
    pub probes: CounterVec<1>,
    /// When the certificate shown to the API server ends.
    pub certificate_end: Gauge,
}

impl Webhook {
    /// Adds them to a registry.
    pub fn register(registry: &Registry) -> Self {
        Self {
            reviews: registry.counter_vec(
                "kompass_webhook_reviews_total",
                "Admission reviews answered, by role of the pod and what became of it.",
                ["role", "outcome"],
            ),
            shadow: registry.counter_vec(
                "kompass_webhook_shadow_total",
                "Pods that stayed as they are since the mode is shadow, by role and what would have become of them.",
                ["role", "outcome"],
            ),
            refused: registry.counter(
                "kompass_webhook_refused_total",
                "Requests that were no admission review, or too large.",
            ),
            seconds: registry.histogram(
                "kompass_webhook_review_seconds",
                "Time to answer an admission review.",
                LATENCY_SECONDS,
            ),
            lookups: registry.counter_vec(
                "kompass_webhook_driver_lookups_total",
                "Drivers read from the API server since the watch had not shown them yet, by result.",
                ["result"],
            ),
            gangs: registry.gauge("kompass_webhook_gangs", "Gangs known."),
            bypassed: registry.gauge(
                "kompass_webhook_bypassed",
                "1 while a bypass is on (`kompass bypass`) and no pod is taken, else 0.",
            ),
            applied: registry.counter_vec(
                "kompass_webhook_applied_total",
                "Registration objects applied, by kind and result.",
                ["kind", "result"],
            ),
            repaired: registry.counter_vec(
                "kompass_webhook_repaired_total",
                "Registration objects in which somebody else's change was undone, by kind.",
                ["kind"],
            ),
            probes: registry.counter_vec(
                "kompass_webhook_probes_total",
                "Times that the API server was asked to call the webhook, by result.",
                ["result"],
            ),
            certificate_end: registry.gauge(
                "kompass_webhook_certificate_end_timestamp_seconds",
                "When the certificate that the webhook shows ends, in seconds since 1970.",
            ),
        }
    }
}

/// Handles of the profiler's metrics.
#[derive(Debug, Clone)]
pub struct Profiler {
    /// Profiles written, by source.
    pub profiles: CounterVec<1>,
    /// In shadow mode: gangs that would have been reserved, by source of the profile.
    pub shadow_gangs: CounterVec<1>,
    /// In shadow mode: the executors of these gangs.
    pub shadow_executors: Counter,
    /// Time from the driver's appearance to its first profile.
    pub first_profile_seconds: Histogram,
    /// Time from the news of a driver's last missing ConfigMap to the profile written from it.
    pub read_and_write_seconds: Histogram,
    /// Drivers without a profile from their configuration.
    pub waiting: Gauge,
    /// Steps that failed and are tried again, by step.
    pub failures: CounterVec<1>,
    /// Gates opened since no planner lived, by role.
    pub gates_opened: CounterVec<1>,
    /// Whether a planner lives.
    pub planner_alive: Gauge,
    /// Answers of the predictor, by result.
    pub estimates: CounterVec<1>,
    /// Labelled namespaces, by whether their `ConfigMaps` can be watched.
    pub namespaces: GaugeVec<1>,
}

impl Profiler {
    /// Adds them to a registry.
    pub fn register(registry: &Registry) -> Self {
        let profiler = Self {
            profiles: registry.counter_vec(
                "kompass_profiler_profiles_total",
                "Job profiles written, by source.",
                ["source"],
            ),
            shadow_gangs: registry.counter_vec(
                "kompass_profiler_shadow_gangs_total",
                "Gangs that this replica would have reserved room for if the mode were not shadow, by source of the \
                 profile.",
                ["source"],
            ),
            shadow_executors: registry.counter(
                "kompass_profiler_shadow_executors_total",
                "Executors that this replica would have reserved room for if the mode were not shadow.",
            ),
            first_profile_seconds: registry.histogram(
                "kompass_profiler_first_profile_seconds",
                "Time from a driver's appearance to its first profile.",
                WAIT_SECONDS,
            ),
            read_and_write_seconds: registry.histogram(
                "kompass_profiler_read_and_write_seconds",
                "Time from the news that a driver's ConfigMaps are there to the profile written.",
                LATENCY_SECONDS,
            ),
            waiting: registry.gauge(
                "kompass_profiler_waiting_drivers",
                "Gated drivers whose configuration has not been read yet.",
            ),
            failures: registry.counter_vec(
                "kompass_profiler_failures_total",
                "Steps of the profiler that failed and are tried again, by step.",
                ["step"],
            ),
            gates_opened: registry.counter_vec(
                "kompass_profiler_gates_opened_total",
                "Gates opened because no planner was alive for the hold limit, by role of the pod.",
                ["role"],
            ),
            planner_alive: registry.gauge(
                "kompass_profiler_planner_alive",
                "1 while the planner renews its lease.",
            ),
            estimates: registry.counter_vec(
                "kompass_profiler_estimates_total",
                "Run times asked of the predictor, by result.",
                ["result"],
            ),
            namespaces: registry.gauge_vec(
                "kompass_profiler_namespaces",
                "Namespaces in the scope \"labelled\" whose ConfigMaps are watched, or may not be since rights are \
                 missing (denied).",
                ["state"],
            ),
        };
        // Shown from the start on: an alert on an increase misses a series that begins with 1.
        for role in ["driver", "executor"] {
            profiler.gates_opened.with([role]);
        }
        profiler
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dashboards and alerts are checked against the list.
    #[test]
    fn the_list_of_metrics_is_what_is_exported() {
        let registry = Registry::with_process();
        Webhook::register(&registry);
        Profiler::register(&registry);
        let list = include_str!("../../tests/deployment/metrics/admission-webhook.txt");
        assert_eq!(registry.catalogue(), list);
    }
}
