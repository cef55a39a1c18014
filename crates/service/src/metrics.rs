//! Metrics: typed handles over a registry in the Prometheus text format.
//!
//! The only module that names the `prometheus` crate, so that another exporter is a change of one file. A service
//! declares its metrics in one `metrics.rs`, as a struct of handles made from a [`Registry`]. Names follow
//! `kompass_<component>_<what>_<unit>[_total]`, in base units.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{Encoder as _, Opts, TextEncoder};

/// Bucket bounds in seconds for work that takes between a tenth of a millisecond and ten seconds.
pub const LATENCY_SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Bucket bounds in seconds for waits: from a tenth of a second to a day.
pub const WAIT_SECONDS: &[f64] = &[
    0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 86_400.0,
];

/// No bucket but the one of everything: a histogram that is a sum and a count.
pub const NO_BUCKETS: &[f64] = &[f64::INFINITY];

/// A set of metrics that is rendered together; cheap to clone.
///
/// The methods that add a metric panic when a name is malformed or added twice: names are constants, so this is a
/// mistake in the program that its first test shows.
#[derive(Clone, Default)]
pub struct Registry {
    inner: prometheus::Registry,
    catalogue: Arc<Mutex<BTreeSet<String>>>,
    before_scrape: Arc<Mutex<Vec<Callback>>>,
}

type Callback = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry that also shows this process (CPU time, memory, open files, start time) and the version of KOMPASS.
    pub fn with_process() -> Self {
        let registry = Self::new();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register("process", Box::new(process));
        let build = registry.gauge_vec("kompass_build_info", "1, by the version of KOMPASS.", ["version"]);
        build.with([env!("CARGO_PKG_VERSION")]).set(1.0);
        registry
    }

    /// What is registered, one metric a line by name: its name, its kind and its labels. Families are in it before they
    /// have a series, so that dashboards and alerts can be checked against what a service could ever show.
    pub fn catalogue(&self) -> String {
        let catalogue = self.catalogue.lock().unwrap_or_else(PoisonError::into_inner);
        catalogue.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// Adds a counter.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        Counter(self.add("counter", valid(prometheus::IntCounter::new(name, help))))
    }

    /// Adds a family of counters.
    pub fn counter_vec<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> CounterVec<N> {
        CounterVec(self.add(
            "counter",
            valid(prometheus::IntCounterVec::new(Opts::new(name, help), &labels)),
        ))
    }

    /// Adds a family of counters of what is no whole number, e.g. seconds.
    pub fn float_counter_vec<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> FloatCounterVec<N> {
        FloatCounterVec(self.add(
            "counter",
            valid(prometheus::CounterVec::new(Opts::new(name, help), &labels)),
        ))
    }

    /// Adds a gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        Gauge(self.add("gauge", valid(prometheus::Gauge::new(name, help))))
    }

    /// Adds a family of gauges.
    pub fn gauge_vec<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> GaugeVec<N> {
        GaugeVec(self.add(
            "gauge",
            valid(prometheus::GaugeVec::new(Opts::new(name, help), &labels)),
        ))
    }

    /// Adds a histogram with the upper bounds `buckets`, e.g. [`LATENCY_SECONDS`].
    pub fn histogram(&self, name: &'static str, help: &'static str, buckets: &[f64]) -> Histogram {
        let opts = prometheus::HistogramOpts::new(name, help).buckets(buckets.to_vec());
        Histogram(self.add("histogram", valid(prometheus::Histogram::with_opts(opts))))
    }

    /// Adds a family of histograms with the upper bounds `buckets`, e.g. [`NO_BUCKETS`].
    pub fn histogram_vec<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        buckets: &[f64],
    ) -> HistogramVec<N> {
        let opts = prometheus::HistogramOpts::new(name, help).buckets(buckets.to_vec());
        HistogramVec(self.add("histogram", valid(prometheus::HistogramVec::new(opts, &labels))))
    }

    /// Runs `callback` before each rendering: for gauges that are read off some state rather than kept in step by hand.
    /// It must be quick and must not call back into the registry.
    pub fn before_scrape(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.before_scrape
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(callback));
    }

    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        for callback in self.before_scrape.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            callback();
        }
        let mut text = Vec::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode(&self.inner.gather(), &mut text) {
            tracing::error!(%error, "failed to render metrics");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn add<C: Collector + Clone + 'static>(&self, kind: &str, collector: C) -> C {
        self.register(kind, Box::new(collector.clone()));
        collector
    }

    fn register(&self, kind: &str, collector: Box<dyn Collector>) {
        let mut catalogue = self.catalogue.lock().unwrap_or_else(PoisonError::into_inner);
        for metric in collector.desc() {
            let words = [metric.fq_name.as_str(), kind].into_iter();
            let words = words.chain(metric.variable_labels.iter().map(String::as_str));
            catalogue.insert(words.collect::<Vec<_>>().join(" "));
        }
        self.inner
            .register(collector)
            .expect("each metric is registered once, under a valid name");
    }
}

fn valid<T>(made: Result<T, prometheus::Error>) -> T {
    made.expect("names, labels and buckets of metrics are valid constants")
}

/// A number that only goes up.
#[derive(Clone, Debug)]
pub struct Counter(prometheus::IntCounter);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Adds `by`.
    pub fn inc_by(&self, by: u64) {
        self.0.inc_by(by);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Counters that differ in the values of `N` labels.
#[derive(Clone, Debug)]
pub struct CounterVec<const N: usize>(prometheus::IntCounterVec);

impl<const N: usize> CounterVec<N> {
    /// The counter of these label values, in the order of the labels' names. Values must come from a bounded set.
    /// A hot path keeps the handle.
    pub fn with(&self, values: [&str; N]) -> Counter {
        Counter(self.0.with_label_values(&values))
    }

    /// Takes the series of these label values away, if there is one; a handle of it that was kept is shown no more.
    pub fn remove(&self, values: [&str; N]) {
        // The only failure is that there is none.
        self.0.remove_label_values(&values).ok();
    }
}

/// A number that only goes up, in parts of one too.
#[derive(Clone, Debug)]
pub struct FloatCounter(prometheus::Counter);

impl FloatCounter {
    /// Adds `by`; what is negative or no number adds nothing.
    pub fn inc_by(&self, by: f64) {
        self.0.inc_by(by.max(0.0));
    }
}

/// Such counters that differ in the values of `N` labels.
#[derive(Clone, Debug)]
pub struct FloatCounterVec<const N: usize>(prometheus::CounterVec);

impl<const N: usize> FloatCounterVec<N> {
    /// The counter of these label values. Values must come from a bounded set.
    pub fn with(&self, values: [&str; N]) -> FloatCounter {
        FloatCounter(self.0.with_label_values(&values))
    }

    /// Takes the series of these label values away, if there is one; a handle of it that was kept is shown no more.
    pub fn remove(&self, values: [&str; N]) {
        // The only failure is that there is none.
        self.0.remove_label_values(&values).ok();
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge(prometheus::Gauge);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Sets the value from a count.
    pub fn set_count(&self, count: usize) {
        self.0.set(count as f64);
    }

    /// Sets 1 or 0.
    pub fn set_bool(&self, value: bool) {
        self.0.set(f64::from(u8::from(value)));
    }

    /// Adds `by`, which may be negative.
    pub fn add(&self, by: f64) {
        self.0.add(by);
    }

    /// The present value.
    pub fn get(&self) -> f64 {
        self.0.get()
    }

    /// Adds one now and takes it away when the guard is dropped: for things in flight.
    pub fn track(&self) -> InFlight {
        self.0.inc();
        InFlight(self.0.clone())
    }
}

/// One thing in flight, see [`Gauge::track`].
#[derive(Debug)]
pub struct InFlight(prometheus::Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Gauges that differ in the values of `N` labels.
#[derive(Clone, Debug)]
pub struct GaugeVec<const N: usize>(prometheus::GaugeVec);

impl<const N: usize> GaugeVec<N> {
    /// The gauge of these label values. Values must come from a bounded set.
    pub fn with(&self, values: [&str; N]) -> Gauge {
        Gauge(self.0.with_label_values(&values))
    }

    /// Forgets all label values; for gauges that are filled anew before each scrape.
    pub fn reset(&self) {
        self.0.reset();
    }

    /// Takes the series of these label values away, if there is one; a handle of it that was kept is shown no more.
    pub fn remove(&self, values: [&str; N]) {
        // The only failure is that there is none.
        self.0.remove_label_values(&values).ok();
    }
}

/// A distribution.
#[derive(Clone, Debug)]
pub struct Histogram(prometheus::Histogram);

impl Histogram {
    /// Adds one observation in the unit of the name.
    pub fn observe(&self, value: f64) {
        self.0.observe(value);
    }

    /// Observes the seconds until the returned timer is dropped.
    pub fn start_timer(&self) -> Timer {
        Timer {
            histogram: self.0.clone(),
            start: Instant::now(),
            observed: true,
        }
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.0.get_sample_count()
    }
}

/// Distributions that differ in the values of `N` labels.
#[derive(Clone, Debug)]
pub struct HistogramVec<const N: usize>(prometheus::HistogramVec);

impl<const N: usize> HistogramVec<N> {
    /// The histogram of these label values. Values must come from a bounded set.
    pub fn with(&self, values: [&str; N]) -> Histogram {
        Histogram(self.0.with_label_values(&values))
    }

    /// Takes the series of these label values away, if there is one; a handle of it that was kept is shown no more.
    pub fn remove(&self, values: [&str; N]) {
        // The only failure is that there is none.
        self.0.remove_label_values(&values).ok();
    }
}

/// Observes its own life time, in seconds, when dropped.
#[derive(Debug)]
pub struct Timer {
    histogram: prometheus::Histogram,
    start: Instant,
    observed: bool,
}

impl Timer {
    /// Ends without an observation: the work was not of the kind that is measured.
    pub fn discard(mut self) {
        self.observed = false;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.observed {
            self.histogram.observe(self.start.elapsed().as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_render_with_their_labels() {
        let registry = Registry::new();
        let requests = registry.counter_vec("kompass_test_requests_total", "Requests.", ["role", "outcome"]);
        requests.with(["driver", "patched"]).inc_by(3);
        let text = registry.render();
        assert!(
            text.contains(r#"kompass_test_requests_total{outcome="patched",role="driver"} 3"#),
            "{text}"
        );
    }

    #[test]
    fn the_catalogue_has_what_has_no_series_yet() {
        let registry = Registry::with_process();
        registry.counter_vec("kompass_test_requests_total", "Requests.", ["role", "outcome"]);
        registry.histogram("kompass_test_seconds", "Time.", LATENCY_SECONDS);
        let text = registry.catalogue();
        assert!(!registry.render().contains("kompass_test_requests_total"));
        assert!(
            text.contains("\nkompass_test_requests_total counter role outcome\nkompass_test_seconds histogram\n"),
            "{text}"
        );
        assert!(text.contains("\nprocess_resident_memory_bytes process\n"), "{text}");
    }

    #[test]
    fn a_series_that_was_removed_is_shown_no_more_and_begins_anew() {
        let registry = Registry::new();
        let whole = registry.counter_vec("kompass_test_whole_total", "Whole.", ["key"]);
        let parts = registry.float_counter_vec("kompass_test_parts_total", "Parts.", ["key"]);
        let gauge = registry.gauge_vec("kompass_test_last", "Last.", ["key"]);
        let times = registry.histogram_vec("kompass_test_seconds", "Time.", ["key"], LATENCY_SECONDS);
        let count = |key| {
            whole.with([key]).inc();
            parts.with([key]).inc_by(0.25);
            parts.with([key]).inc_by(-1.0);
            gauge.with([key]).set(1.0);
            times.with([key]).observe(1.0);
        };
        count("kept");
        count("gone");
        for key in ["gone", "never there"] {
            whole.remove([key]);
            parts.remove([key]);
            gauge.remove([key]);
            times.remove([key]);
        }
        let text = registry.render();
        assert!(text.contains(r#"kompass_test_parts_total{key="kept"} 0.25"#), "{text}");
        assert!(!text.contains("gone"), "{text}");
        count("gone");
        assert!(registry.render().contains(r#"kompass_test_whole_total{key="gone"} 1"#));
    }

    #[test]
    fn gauges_can_be_filled_at_scrape_time() {
        let registry = Registry::new();
        let gauge = registry.gauge("kompass_test_queue_length", "Waiting.");
        registry.before_scrape(move || gauge.set_count(7));
        assert!(registry.render().contains("kompass_test_queue_length 7\n"));
    }

    #[test]
    fn a_timer_observes_when_dropped_unless_discarded() {
        let registry = Registry::new();
        let histogram = registry.histogram("kompass_test_seconds", "Time.", LATENCY_SECONDS);
        drop(histogram.start_timer());
        histogram.start_timer().discard();
        assert_eq!(histogram.count(), 1);
    }

    #[test]
    fn things_in_flight_are_taken_back() {
        let gauge = Registry::new().gauge("kompass_test_in_flight", "In flight.");
        let first = gauge.track();
        let second = gauge.track();
        assert!((gauge.get() - 2.0).abs() < f64::EPSILON);
        drop((first, second));
        assert!(gauge.get().abs() < f64::EPSILON);
    }

    #[test]
    fn the_process_is_shown() {
        assert!(
            Registry::with_process()
                .render()
                .contains("process_resident_memory_bytes")
        );
    }
}
