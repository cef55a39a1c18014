//! The metrics.

use kompass_service::metrics::{Counter, CounterVec, FloatCounter, FloatCounterVec, Gauge, Histogram, Registry};

use crate::args::Mode;
use crate::forecast_metrics::Forecasts;

/// Bounds of the time that learning takes, seconds.
const LEARNING_SECONDS: &[f64] = &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Handles.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// By result: `learned`, `too-little`, `failed`.
    pub trainings: CounterVec<1>,
    /// Reading the past and learning from it.
    pub training_seconds: Histogram,
    /// By what came of them: `restored`, `not-restored`, `written`, `failed`.
    pub model_files: CounterVec<1>,
    /// NaN without a model.
    pub model_age_seconds: Gauge,
    /// Of the last 26 hours.
    pub unknown_seconds: Gauge,
    /// Of the last 26 hours.
    pub gaps: Gauge,
    /// The last 26 hours could not be read.
    pub failed_reads: Counter,
    /// By kind: `rule`, `reactive`.
    pub decisions: CounterVec<1>,
    /// Of the last decision.
    pub decision_nodes: Gauge,
    /// Of the last decision, those for what schedules start.
    pub certain_nodes: Gauge,
    /// Schedules that are looked at.
    pub schedules: Gauge,
    /// Schedules could not be listed.
    pub failed_schedule_reads: Counter,
    /// This replica may recommend.
    pub leads: Gauge,
    /// The same, where it is to be followed; NaN while another leads or nothing has been decided.
    pub recommended_nodes: Option<Gauge>,
    /// Gangs that held nodes would have been enough for.
    pub hits: Counter,
    /// Gangs that they would not.
    pub misses: Counter,
    /// Held and not taken.
    pub idle_node_seconds: FloatCounter,
    /// Of what is expected and how it turned out.
    pub forecasts: Forecasts,
    /// By what they were: `told`, `unknown`, `refused`.
    pub runtime_answers: CounterVec<1>,
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(registry: &Registry, mode: Mode) -> Self {
        let idle: FloatCounterVec<0> = registry.float_counter_vec(
            "kompass_predictor_would_be_idle_node_seconds_total",
            "Time of nodes of decisions that no gang would have taken, judged an hour later.",
            [],
        );
        let recommended = || {
            registry.gauge(
                "kompass_predictor_recommended_nodes",
                "Empty nodes to hold beside the busy ones, ready or launching; there with --mode recommend alone, and NaN \
                 while another replica leads.",
            )
        };
        let metrics = Self {
            trainings: registry.counter_vec(
                "kompass_predictor_trainings_total",
                "Attempts to learn from the past, by result.",
                ["result"],
            ),
            training_seconds: registry.histogram(
                "kompass_predictor_training_seconds",
                "Time to read the past and to learn from it.",
                LEARNING_SECONDS,
            ),
            model_files: registry.counter_vec(
                "kompass_predictor_model_files_total",
                "Times that the past was kept in or learned from --model-dir, by what came of it.",
                ["result"],
            ),
            model_age_seconds: registry.gauge(
                "kompass_predictor_model_age_seconds",
                "Time since the end of the past that the model in use was learned from; NaN without one.",
            ),
            unknown_seconds: registry.gauge(
                "kompass_predictor_history_unknown_seconds",
                "Time of the last 26 hours of which nothing is known.",
            ),
            gaps: registry.gauge(
                "kompass_predictor_history_gaps",
                "Times of the last 26 hours of which nothing is known.",
            ),
            failed_reads: registry.counter(
                "kompass_predictor_history_failed_reads_total",
                "Ticks at which the last 26 hours could not be read.",
            ),
            decisions: registry.counter_vec(
                "kompass_predictor_decisions_total",
                "Decisions, by a rule or reactive because none could be followed.",
                ["kind"],
            ),
            decision_nodes: registry.gauge("kompass_predictor_decision_nodes", "Empty nodes of the last decision."),
            certain_nodes: registry.gauge(
                "kompass_predictor_certain_nodes",
                "Empty nodes that the last decision wants for what schedules are certain to start.",
            ),
            schedules: registry.gauge(
                "kompass_predictor_schedules",
                "CronJobs and ScheduledSparkApplications that are looked at.",
            ),
            failed_schedule_reads: registry.counter(
                "kompass_predictor_schedules_failed_reads_total",
                "Times that schedules could not be listed.",
            ),
            leads: registry.gauge(
                "kompass_predictor_leads",
                "1 if this replica holds the lease or there is none, else 0.",
            ),
            recommended_nodes: (mode == Mode::Recommend).then(recommended),
            hits: registry.counter(
                "kompass_predictor_would_be_hits_total",
                "Gangs that the nodes of decisions would have been enough for, judged an hour later.",
            ),
            misses: registry.counter(
                "kompass_predictor_would_be_misses_total",
                "Gangs that they would not have been enough for; there may have been room elsewhere.",
            ),
            idle_node_seconds: idle.with([]),
            forecasts: Forecasts::register(registry),
            runtime_answers: registry.counter_vec(
                "kompass_predictor_runtime_answers_total",
                "Answers to questions for run times, by what they were.",
                ["answer"],
            ),
        };
        for result in ["learned", "too-little", "failed"] {
            metrics.trainings.with([result]);
        }
        for kind in ["rule", "reactive"] {
            metrics.decisions.with([kind]);
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::metrics::ActMetrics;

    /// Dashboards and alerts are checked against the list.
    #[test]
    fn the_list_of_metrics_is_what_is_exported() {
        let registry = Registry::with_process();
        Metrics::register(&registry, Mode::Recommend);
        ActMetrics::register(&registry);
        kompass_expander::Metrics::register(&registry);
        let list = include_str!("../../tests/deployment/metrics/predictor.txt");
        assert_eq!(registry.catalogue(), list);
    }
}
