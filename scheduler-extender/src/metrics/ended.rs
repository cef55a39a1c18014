//! Series of gangs that have ended, by profile key: what a predictor learns from. Whatever it needs is a counter or a
//! histogram, so that two ends between two scrapes are both seen; gauges tell only the last one's shape.
//!
//! A run that was cut off (the gang failed or was deleted) tells no more than that the job runs at least so long. It has
//! series of its own, with the same buckets, so that an estimator for right-censored times (Kaplan-Meier) can use both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use kompass_core::Outcome;
use kompass_planner::FinishedGang;
use kompass_service::metrics::{
    CounterVec, FloatCounterVec, GaugeVec, HistogramVec, NO_BUCKETS, Registry, WAIT_SECONDS,
};

/// Bucket bounds for numbers of executors.
const EXECUTORS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];
/// Extended resources with series of their own; what comes later is not counted, as units can't be added up.
const MAX_RESOURCES: usize = 8;
/// Wider keys of one profile key that are shown; a job has three.
const MAX_WIDER: usize = 4;
const OUTCOMES: [Outcome; 3] = [Outcome::Succeeded, Outcome::Failed, Outcome::Deleted];
const STAGES: [&str; 4] = ["profile", "plan", "bind", "first-executor"];

/// Handles of these series.
#[derive(Debug, Clone)]
pub struct Ended {
    all: CounterVec<1>,
    gangs: CounterVec<2>,
    partial: CounterVec<1>,
    wait: HistogramVec<1>,
    cut_wait: HistogramVec<1>,
    stage: HistogramVec<2>,
    run: HistogramVec<1>,
    cut_run: HistogramVec<2>,
    executors_start: CounterVec<1>,
    executors_peak: HistogramVec<1>,
    executor_seconds: FloatCounterVec<1>,
    executor_cpu: FloatCounterVec<1>,
    executor_memory: FloatCounterVec<1>,
    executor_extended: FloatCounterVec<2>,
    driver_cpu: FloatCounterVec<1>,
    driver_memory: FloatCounterVec<1>,
    last_executors: GaugeVec<1>,
    last_executor_cpu: GaugeVec<1>,
    last_executor_memory: GaugeVec<1>,
    resources: Arc<Mutex<BTreeSet<String>>>,
    info: GaugeVec<2>,
    /// The wider keys that are shown, by profile key.
    wider: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl Ended {
    /// Adds all of them to a registry.
    #[expect(clippy::too_many_lines, reason = "a list of metrics")]
    pub(super) fn register(r: &Registry) -> Self {
        let ended = Self {
            all: r.counter_vec(
                "kompass_extender_gangs_ended_total",
                "Gangs that have ended, of all profile keys.",
                ["outcome"],
            ),
            gangs: r.counter_vec(
                "kompass_extender_gangs_finished_total",
                "Gangs that have ended.",
                ["profile_key", "outcome"],
            ),
            partial: r.counter_vec(
                "kompass_extender_gangs_partial_total",
                "Gangs that have ended and were not watched all the time, so that sums of executors are too small.",
                ["profile_key"],
            ),
            wait: r.histogram_vec(
                "kompass_extender_gang_wait_seconds",
                "Time from submission to the driver's bind, of gangs that have ended.",
                ["profile_key"],
                WAIT_SECONDS,
            ),
            cut_wait: r.histogram_vec(
                "kompass_extender_gang_cut_wait_seconds",
                "Time from submission to the end, of gangs whose driver was never bound.",
                ["profile_key"],
                WAIT_SECONDS,
            ),
            stage: r.histogram_vec(
                "kompass_extender_gang_stage_seconds",
                "Time to the profile, from there to the plan, to the driver's bind, to the first executor's bind.",
                ["profile_key", "stage"],
                NO_BUCKETS,
            ),
            run: r.histogram_vec(
                "kompass_extender_gang_run_seconds",
                "Time from the driver's start to its end, of gangs that succeeded.",
                ["profile_key"],
                WAIT_SECONDS,
            ),
            cut_run: r.histogram_vec(
                "kompass_extender_gang_cut_run_seconds",
                "Time from the driver's start to its end, of gangs that failed or were deleted: a whole run is longer.",
                ["profile_key", "outcome"],
                WAIT_SECONDS,
            ),
            executors_start: r.counter_vec(
                "kompass_extender_gang_executors_start_total",
                "Executors that gangs which have run needed at their start.",
                ["profile_key"],
            ),
            executors_peak: r.histogram_vec(
                "kompass_extender_gang_executors_peak",
                "Most executors at once, of gangs that have run.",
                ["profile_key"],
                EXECUTORS,
            ),
            executor_seconds: r.float_counter_vec(
                "kompass_extender_gang_executor_seconds_total",
                "Time of all executors of gangs that have ended.",
                ["profile_key"],
            ),
            executor_cpu: r.float_counter_vec(
                "kompass_extender_gang_executor_cpu_core_seconds_total",
                "Time of all executors of gangs that have ended, times the CPU of one.",
                ["profile_key"],
            ),
            executor_memory: r.float_counter_vec(
                "kompass_extender_gang_executor_memory_byte_seconds_total",
                "Time of all executors of gangs that have ended, times the memory of one.",
                ["profile_key"],
            ),
            executor_extended: r.float_counter_vec(
                "kompass_extender_gang_executor_extended_unit_seconds_total",
                "Time of all executors of gangs that have ended, times the units of an extended resource of one.",
                ["profile_key", "resource"],
            ),
            driver_cpu: r.float_counter_vec(
                "kompass_extender_gang_driver_cpu_core_seconds_total",
                "Run time of gangs that have ended, times the CPU of the driver.",
                ["profile_key"],
            ),
            driver_memory: r.float_counter_vec(
                "kompass_extender_gang_driver_memory_byte_seconds_total",
                "Run time of gangs that have ended, times the memory of the driver.",
                ["profile_key"],
            ),
            last_executors: r.gauge_vec(
                "kompass_extender_gang_executors",
                "Most executors at once, of the last gang that has run and ended.",
                ["profile_key"],
            ),
            last_executor_cpu: r.gauge_vec(
                "kompass_extender_gang_executor_cpu_cores",
                "CPU of one executor, of the last gang that has ended.",
                ["profile_key"],
            ),
            last_executor_memory: r.gauge_vec(
                "kompass_extender_gang_executor_memory_bytes",
                "Memory of one executor, of the last gang that has ended.",
                ["profile_key"],
            ),
            resources: Arc::default(),
            info: r.gauge_vec(
                "kompass_extender_profile_key_info",
                "1 for each wider key of a profile key: the jobs that are looked to where it has no runs of its own.",
                ["profile_key", "wider"],
            ),
            wider: Arc::default(),
        };
        // Shown from the start on: an increase misses a series that begins with 1.
        for outcome in OUTCOMES {
            ended.all.with([name(outcome)]);
        }
        ended
    }

    /// Counts one gang under the label value `key`.
    pub fn count(&self, key: &str, gang: &FinishedGang) {
        let outcome = name(gang.outcome);
        self.all.with([outcome]).inc();
        self.gangs.with([key, outcome]).inc();
        // Those that share series have no kin in common.
        if gang.profile_key.as_deref() == Some(key) {
            self.show_wider(key, &gang.wider_keys);
        }
        if !gang.whole {
            self.partial.with([key]).inc();
        }
        let wait = if gang.bound_ms.is_some() {
            &self.wait
        } else {
            &self.cut_wait
        };
        wait.with([key]).observe(seconds(gang.wait_ms));
        let times = [
            Some(gang.submitted_ms),
            gang.profiled_ms,
            gang.planned_ms,
            gang.bound_ms,
            gang.first_executor_ms,
        ];
        for (stage, times) in STAGES.iter().zip(times.windows(2)) {
            if let [Some(from_ms), Some(to_ms)] = *times {
                let spent = seconds(to_ms.saturating_sub(from_ms));
                self.stage.with([key, stage]).observe(spent);
            }
        }
        if let Some(run_ms) = gang.run_ms {
            self.count_run(key, gang, run_ms);
        }
        if let Some(executor) = &gang.executor {
            self.last_executor_cpu
                .with([key])
                .set(executor.cpu_milli as f64 / 1_000.0);
            self.last_executor_memory.with([key]).set(executor.memory_bytes as f64);
        }
    }

    fn count_run(&self, key: &str, gang: &FinishedGang, run_ms: i64) {
        let run = match gang.outcome {
            Outcome::Succeeded => self.run.with([key]),
            Outcome::Failed | Outcome::Deleted => self.cut_run.with([key, name(gang.outcome)]),
        };
        run.observe(seconds(run_ms));
        let driver_ms = u64::try_from(run_ms).unwrap_or(0);
        self.driver_cpu
            .with([key])
            .inc_by(thousandths(driver_ms, gang.driver.cpu_milli) / 1_000.0);
        self.driver_memory
            .with([key])
            .inc_by(thousandths(driver_ms, gang.driver.memory_bytes));
        self.executors_start.with([key]).inc_by(gang.executors_min);
        self.executors_peak.with([key]).observe(gang.executors_peak as f64);
        self.last_executors.with([key]).set(gang.executors_peak as f64);
        self.executor_seconds
            .with([key])
            .inc_by(thousandths(gang.executor_ms, 1));
        let Some(executor) = &gang.executor else { return };
        self.executor_cpu
            .with([key])
            .inc_by(thousandths(gang.executor_ms, executor.cpu_milli) / 1_000.0);
        self.executor_memory
            .with([key])
            .inc_by(thousandths(gang.executor_ms, executor.memory_bytes));
        for (resource, &units) in &executor.extended {
            if self.has_series(resource) {
                self.executor_extended
                    .with([key, resource])
                    .inc_by(thousandths(gang.executor_ms, units));
            }
        }
    }

    /// Shows the wider keys of a profile key, and no others that it may have had before.
    fn show_wider(&self, key: &str, wider: &[String]) {
        let wider = &wider[..wider.len().min(MAX_WIDER)];
        let mut shown = self.wider.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shown.get(key).map_or(&[][..], Vec::as_slice);
        if before == wider {
            return;
        }
        for gone in before {
            self.info.remove([key, gone]);
        }
        for wider in wider {
            self.info.with([key, wider]).set(1.0);
        }
        shown.insert(key.to_owned(), wider.to_vec());
    }

    /// Takes away all series of a label value.
    pub fn remove(&self, key: &str) {
        self.show_wider(key, &[]);
        self.wider.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        for outcome in OUTCOMES {
            self.gangs.remove([key, name(outcome)]);
            self.cut_run.remove([key, name(outcome)]);
        }
        for stage in STAGES {
            self.stage.remove([key, stage]);
        }
        for resource in self.resources.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.executor_extended.remove([key, resource]);
        }
        for counter in [&self.partial, &self.executors_start] {
            counter.remove([key]);
        }
        for histogram in [&self.wait, &self.cut_wait, &self.run, &self.executors_peak] {
            histogram.remove([key]);
        }
        for counter in [
            &self.executor_seconds,
            &self.executor_cpu,
            &self.executor_memory,
            &self.driver_cpu,
            &self.driver_memory,
        ] {
            counter.remove([key]);
        }
        for gauge in [
            &self.last_executors,
            &self.last_executor_cpu,
            &self.last_executor_memory,
        ] {
            gauge.remove([key]);
        }
    }

    fn has_series(&self, resource: &str) -> bool {
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        if resources.len() < MAX_RESOURCES {
            resources.insert(resource.to_owned());
        }
        resources.contains(resource)
    }
}

const fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Deleted => "deleted",
    }
}

fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1_000.0
}

/// A thousandth of the product: of milliseconds and an amount, the amount times seconds.
fn thousandths(ms: u64, amount: u64) -> f64 {
    // The product of two u64 fits.
    (u128::from(ms) * u128::from(amount)) as f64 / 1_000.0
}
