//! All metrics of the extender; `docs/metrics.md` lists them for users.

mod ended;
mod queues;

use kompass_planner::{GangState, Summary};
use kompass_service::metrics::{Counter, CounterVec, Gauge, GaugeVec, Histogram, LATENCY_SECONDS, Registry};

pub use ended::Ended;
use queues::Queues;

/// Handles of all metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Time of Filter without the wait for Binds.
    pub filter_seconds: Histogram,
    /// Time that Filter waited for Binds in flight.
    pub filter_brake_seconds: Histogram,
    /// Answers to Filter by kind.
    pub filter_answers: CounterVec<1>,
    /// Time of Bind from its arrival to its answer.
    pub bind_seconds: Histogram,
    /// Answers to Bind by kind.
    pub bind_answers: CounterVec<1>,
    /// Binds that wait or are being written.
    pub binds_in_flight: Gauge,
    /// Preempt calls, all vetoed.
    pub preempt_vetoes: Counter,
    /// Requests that could not be read.
    pub requests_malformed: CounterVec<1>,
    /// Time of one decision of the planner, which is time that Filter may have to wait.
    pub decide_seconds: Histogram,
    /// Orders of the planner by kind and outcome.
    pub orders: CounterVec<2>,
    /// From the plan to the gate open.
    pub gate_open_seconds: Histogram,
    /// Watch events by kind of object.
    pub watch_events: CounterVec<1>,
    /// 1 on the replica that plans.
    pub leader: Gauge,
    /// Events not written because of the rate limit.
    pub events_dropped: Counter,
    /// Series of gangs that have ended.
    pub ended: Ended,
    /// Metrics of the queue file.
    pub queue_file: QueueFile,
    gangs: GaugeVec<1>,
    waiting: GaugeVec<1>,
    queues: Queues,
    nodes: Gauge,
    pods: Gauge,
    slots_free: Gauge,
    slots_free_cpu_cores: Gauge,
    slots_free_memory_bytes: Gauge,
    slots_missing: Gauge,
    client_slots: Gauge,
    demands: Gauge,
    starts_told: Gauge,
    starts_held: GaugeVec<1>,
}

/// Metrics of the queue file.
#[derive(Debug, Clone)]
pub struct QueueFile {
    /// Contents that were put into force or refused.
    pub loads: CounterVec<1>,
    /// 1 while the rules in force are those of the file as it is now.
    pub in_force: Gauge,
}

impl QueueFile {
    fn register(r: &Registry) -> Self {
        let file = Self {
            loads: r.counter_vec(
                "kompass_extender_queue_file_loads_total",
                "Contents of the queue file that were put into force (applied) or not (refused).",
                ["result"],
            ),
            in_force: r.gauge(
                "kompass_extender_queue_file_in_force",
                "Whether the rules in force are those of the queue file as it is now; 1 without a file.",
            ),
        };
        // Shown from the start on: an alert on an increase misses a series that begins with 1.
        file.loads.with(["applied"]);
        file.loads.with(["refused"]);
        file.in_force.set_bool(true);
        file
    }
}

impl Metrics {
    /// Adds all of them to a registry.
    pub fn register(r: &Registry) -> Self {
        Self {
            filter_seconds: r.histogram(
                "kompass_extender_filter_seconds",
                "Time to answer Filter, without waiting for Binds in flight.",
                LATENCY_SECONDS,
            ),
            filter_brake_seconds: r.histogram(
                "kompass_extender_filter_brake_seconds",
                "Time that Filter waited because too many Binds were in flight.",
                LATENCY_SECONDS,
            ),
            filter_answers: r.counter_vec(
                "kompass_extender_filter_answers_total",
                "Answers to Filter.",
                ["answer"],
            ),
            bind_seconds: r.histogram(
                "kompass_extender_bind_seconds",
                "Time to answer Bind, with queueing.",
                LATENCY_SECONDS,
            ),
            bind_answers: r.counter_vec("kompass_extender_bind_answers_total", "Answers to Bind.", ["answer"]),
            binds_in_flight: r.gauge(
                "kompass_extender_binds_in_flight",
                "Binds that wait or are being written.",
            ),
            preempt_vetoes: r.counter("kompass_extender_preempt_vetoes_total", "Preempt calls, all vetoed."),
            requests_malformed: r.counter_vec(
                "kompass_extender_requests_malformed_total",
                "Requests that could not be read.",
                ["verb"],
            ),
            decide_seconds: r.histogram(
                "kompass_extender_decide_seconds",
                "Time of one decision of the planner.",
                LATENCY_SECONDS,
            ),
            orders: r.counter_vec(
                "kompass_extender_orders_total",
                "Orders of the planner that were carried out, by outcome.",
                ["order", "outcome"],
            ),
            gate_open_seconds: r.histogram(
                "kompass_extender_gate_open_seconds",
                "Time from a gang's plan to its gate open.",
                LATENCY_SECONDS,
            ),
            watch_events: r.counter_vec("kompass_extender_watch_events_total", "Watch events.", ["kind"]),
            leader: r.gauge("kompass_extender_leader", "Whether this replica plans."),
            events_dropped: r.counter(
                "kompass_extender_events_dropped_total",
                "Kubernetes events not written because of their rate limit or a refusal.",
            ),
            ended: Ended::register(r),
            queue_file: QueueFile::register(r),
            gangs: r.gauge_vec("kompass_extender_gangs", "Gangs by state.", ["state"]),
            waiting: r.gauge_vec("kompass_extender_gangs_waiting", "Waiting gangs by reason.", ["reason"]),
            queues: Queues::register(r),
            nodes: r.gauge("kompass_extender_nodes", "Nodes known."),
            pods: r.gauge("kompass_extender_pods", "Pods known."),
            slots_free: r.gauge("kompass_extender_slots_free", "Reserved slots that no executor holds."),
            slots_free_cpu_cores: r.gauge("kompass_extender_slots_free_cpu_cores", "CPU of these slots."),
            slots_free_memory_bytes: r.gauge("kompass_extender_slots_free_memory_bytes", "Memory of these slots."),
            slots_missing: r.gauge("kompass_extender_slots_missing", "Slots of running gangs without room."),
            client_slots: r.gauge(
                "kompass_extender_client_slots",
                "Executors of client mode for which room is set aside.",
            ),
            demands: r.gauge("kompass_extender_demands", "Gangs for which nodes are asked."),
            starts_told: r.gauge(
                "kompass_extender_expected_starts_told",
                "Gangs that have started since they were told when, of the last 512.",
            ),
            starts_held: r.gauge_vec(
                "kompass_extender_expected_starts_held",
                "Of these, those that started no later than the quantile that they were told first.",
                ["quantile"],
            ),
        }
    }

    /// Sets the gauges that are read off the planner.
    pub fn show(&self, summary: &Summary, now_ms: i64) {
        self.queues.show(&summary.queues, now_ms);
        self.gangs.reset();
        for (state, count) in &summary.gangs {
            self.gangs.with([state_name(*state)]).set(*count as f64);
        }
        self.waiting.reset();
        for (code, count) in &summary.waiting {
            self.waiting.with([code.as_str()]).set(*count as f64);
        }
        self.nodes.set(summary.nodes as f64);
        self.pods.set(summary.pods as f64);
        self.slots_free.set(summary.slots_free as f64);
        self.slots_free_cpu_cores
            .set(summary.slots_free_cpu_milli as f64 / 1000.0);
        self.slots_free_memory_bytes.set(summary.slots_free_memory_bytes as f64);
        self.slots_missing.set(summary.slots_missing as f64);
        self.client_slots.set(summary.client_slots as f64);
        self.demands.set(summary.demands as f64);
        self.starts_told.set(summary.starts.samples as f64);
        self.starts_held.with(["0.5"]).set(summary.starts.within_p50 as f64);
        self.starts_held.with(["0.9"]).set(summary.starts.within_p90 as f64);
    }
}

const fn state_name(state: GangState) -> &'static str {
    match state {
        GangState::Waiting => "waiting",
        GangState::Reserved => "reserved",
        GangState::Unplanned => "unplanned",
        GangState::DriverBound => "driver-bound",
        GangState::Running => "running",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dashboards and alerts are checked against the list.
    #[test]
    fn the_list_of_metrics_is_what_is_exported() {
        let registry = Registry::with_process();
        Metrics::register(&registry);
        let list = include_str!("../../tests/deployment/metrics/scheduler.txt");
        assert_eq!(registry.catalogue(), list);
    }
}
