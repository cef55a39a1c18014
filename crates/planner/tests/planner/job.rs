//! Jobs as their users see them.

use std::collections::BTreeMap;

use kompass_core::constraints::{Constraints, Toleration};
use kompass_core::profile::{self, JobProfile, RuntimeEstimate, Shape, Source};
use kompass_core::{PodRules, Spacing};

use crate::world::GIB;

/// A job as its user sees it.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) queue: Option<String>,
    pub(crate) priority: i32,
    pub(crate) driver: Shape,
    pub(crate) executor: Shape,
    pub(crate) executors: u64,
    pub(crate) max: Option<u64>,
    pub(crate) dynamic: bool,
    pub(crate) selector: BTreeMap<String, String>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) key: Option<String>,
    pub(crate) runtime: Option<RuntimeEstimate>,
    pub(crate) spacing: Spacing,
    /// Labels of driver and executors.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) driver_rules: PodRules,
    pub(crate) executor_rules: PodRules,
    pub(crate) driver_ports: Vec<u16>,
    /// How many executors its code asks for, where that is not what the configuration says.
    pub(crate) asks: Option<u64>,
    pub(crate) start_within_ms: Option<u64>,
    pub(crate) batch_delay_ms: Option<u64>,
}

impl Job {
    /// One driver of a CPU and a GiB, and executors of the same.
    pub(crate) fn new(name: &str, executors: u64) -> Self {
        let shape = Shape {
            cpu_milli: 1000,
            memory_mib: GIB,
            extended: BTreeMap::new(),
        };
        Self {
            name: name.into(),
            namespace: "spark".into(),
            queue: None,
            priority: 0,
            driver: shape.clone(),
            executor: shape,
            executors,
            max: Some(executors),
            dynamic: false,
            selector: BTreeMap::new(),
            tolerations: Vec::new(),
            key: None,
            runtime: None,
            spacing: Spacing::default(),
            labels: BTreeMap::new(),
            driver_rules: PodRules::default(),
            executor_rules: PodRules::default(),
            driver_ports: Vec::new(),
            asks: None,
            start_within_ms: None,
            batch_delay_ms: None,
        }
    }

    pub(crate) fn dynamic(mut self, max: u64) -> Self {
        (self.dynamic, self.max) = (true, Some(max));
        self
    }

    pub(crate) fn executor(mut self, cpu_milli: u64, memory_mib: u64) -> Self {
        (self.executor.cpu_milli, self.executor.memory_mib) = (cpu_milli, memory_mib);
        self
    }

    pub(crate) fn driver(mut self, cpu_milli: u64, memory_mib: u64) -> Self {
        (self.driver.cpu_milli, self.driver.memory_mib) = (cpu_milli, memory_mib);
        self
    }

    pub(crate) fn queue(mut self, queue: &str) -> Self {
        self.queue = Some(queue.into());
        self
    }

    pub(crate) fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// "The same job" as others of this key.
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The predictor expects it to run so long, median and 90th percentile in seconds.
    pub(crate) fn runs(mut self, p50_s: u64, p90_s: u64) -> Self {
        self.runtime = Some(RuntimeEstimate {
            p50_s,
            p90_s,
            samples: 1,
        });
        self
    }

    /// Its executors have these rules about each other.
    pub(crate) fn spacing(mut self, spacing: Spacing) -> Self {
        self.spacing = spacing;
        self
    }

    /// Its pods have this label.
    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Its driver has these rules about other pods.
    pub(crate) fn driver_rules(mut self, rules: PodRules) -> Self {
        self.driver_rules = rules;
        self
    }

    /// Its executors have these rules about pods of others.
    pub(crate) fn executor_rules(mut self, rules: PodRules) -> Self {
        self.executor_rules = rules;
        self
    }

    /// Its code asks for so many executors, whatever the configuration says.
    pub(crate) fn asks(mut self, executors: u64) -> Self {
        self.asks = Some(executors);
        self
    }

    /// Its driver is given up unless it runs so long after its creation.
    pub(crate) fn start_within(mut self, ms: u64) -> Self {
        self.start_within_ms = Some(ms);
        self
    }

    pub(crate) fn constraints(&self) -> Constraints {
        Constraints {
            node_selector: self.selector.clone(),
            tolerations: self.tolerations.clone(),
            ..Constraints::default()
        }
    }

    pub(crate) fn profile(&self) -> JobProfile {
        JobProfile {
            version: profile::VERSION,
            spark_version: None,
            driver: self.driver.clone(),
            executor: self.executor.clone(),
            executors_at_start: self.executors,
            executors_max: self.max,
            dynamic_allocation: self.dynamic,
            executor_constraints: self.constraints(),
            executor_spacing: self.spacing.clone(),
            executor_labels: self.labels.clone(),
            executor_pod_rules: self.executor_rules.clone(),
            executor_priority_class: None,
            profile_key: self.key.clone().unwrap_or_else(|| self.name.clone()),
            executor_batch_delay_ms: self.batch_delay_ms,
            executor_scheduler: None,
            start_within_ms: self.start_within_ms,
            wider_keys: Vec::new(),
            executor_additions: Shape::default(),
            runtime: self.runtime,
            source: Source::Conf,
            warnings: vec![],
        }
    }
}
