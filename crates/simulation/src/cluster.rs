//! The cluster as the planner sees it: objects come and go, its orders are carried out.

use std::sync::Arc;

use kompass_core::constraints::Constraints;
use kompass_core::names::{GANG_GATE, SCHEDULER, ZONE_LABEL};
use kompass_core::profile::{self, JobProfile, RuntimeEstimate, Shape, Source};
use kompass_core::{GangPlan, Node, Outcome, Phase, Pod, Resources, Role};
use kompass_planner::{Action, BindResult, Config, FilterAnswer, Planner, QueueTable};

use crate::engine::{Estimates, Queues, Settings};
use crate::trace::Gang;

/// A gang that has started: where its pods are.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    /// Index in the trace.
    pub(crate) gang: usize,
    /// Index of the driver's node.
    pub(crate) driver: usize,
    /// Executors by index of the node.
    pub(crate) executors: Vec<(usize, u64)>,
}

/// See the module.
pub(crate) struct Cluster<'a> {
    planner: Planner,
    gangs: &'a [Gang],
    estimates: Estimates,
    queues: &'a Queues,
    version: u64,
    /// Answers of the planner that break its word: a bug, reported and not hidden.
    pub(crate) broken: u64,
}

/// Expected starts are looked at so seldom that it does not count.
const FORECAST_MS: i64 = 3_600_000;

impl<'a> Cluster<'a> {
    pub(crate) fn new(settings: &'a Settings, gangs: &'a [Gang]) -> Self {
        let capacity = settings.capacity();
        let mut planner = Planner::new(Config {
            packing: settings.packing,
            backfill: settings.backfill,
            backfill_delay_ms: settings.backfill_delay_ms,
            // Nobody adds nodes, nothing is empty for long, and every gang is profiled.
            demands_max: 0,
            markers: false,
            forecast_ms: Some(FORECAST_MS),
            ..Config::default()
        });
        for number in 0..settings.nodes {
            planner.apply_node(Node {
                name: node_name(number),
                labels: [(
                    ZONE_LABEL.to_owned(),
                    format!("zone-{}", number % settings.zones.max(1)),
                )]
                .into(),
                allocatable: capacity.clone(),
                // No limit of a trace.
                max_pods: u64::from(u32::MAX),
                ready: true,
                ..Node::default()
            });
        }
        if let Queues::Ruled(table) = &settings.queues {
            planner.set_queues(table.clone());
            for queue in table.queues.keys() {
                planner.apply_namespace(&namespace_of(queue), Some(queue));
            }
        }
        planner.synced(0);
        planner.take_over(0);
        Self {
            planner,
            gangs,
            estimates: settings.estimates,
            queues: &settings.queues,
            version: 0,
            broken: 0,
        }
    }

    /// The rules of queues.
    pub(crate) fn rules(&self) -> &QueueTable {
        self.planner.queue_table()
    }

    /// The queue that a gang belongs to.
    pub(crate) fn queue_of(&self, gang: usize) -> Arc<str> {
        let (namespace, label) = self.place(gang);
        self.planner.queue_of(&namespace, label)
    }

    /// The namespace of a gang, and what its driver's label says.
    fn place(&self, gang: usize) -> (String, Option<&'a str>) {
        let of = &self.gangs[gang];
        match (self.queues, &of.namespace) {
            (Queues::One, _) => ("simulated".to_owned(), None),
            (Queues::OfTrace, _) => ("simulated".to_owned(), Some(&of.queue)),
            (Queues::Ruled(_), Some(namespace)) => (namespace.clone(), Some(&of.queue)),
            (Queues::Ruled(table), None) if table.queues.contains_key(&of.queue) => (namespace_of(&of.queue), None),
            (Queues::Ruled(_), None) => (of.queue.clone(), None),
        }
    }

    /// A gang is submitted and profiled.
    pub(crate) fn submit(&mut self, gang: usize, now_ms: i64) {
        let mut driver = self.driver(gang);
        driver.gates = vec![GANG_GATE.to_owned()];
        driver.created_ms = now_ms;
        self.planner.apply_pod(&driver, now_ms);
    }

    /// A gang's driver has ended; all its pods go.
    pub(crate) fn end(&mut self, started: &Started, now_ms: i64) {
        let mut driver = self.driver(started.gang);
        driver.node = Some(node_name(started.driver));
        (driver.phase, driver.ended) = (Phase::Succeeded, Some((Outcome::Succeeded, now_ms)));
        self.planner.apply_pod(&driver, now_ms);
        let executors: u64 = started.executors.iter().map(|(_, count)| count).sum();
        for number in 0..executors {
            self.planner.delete_pod(&executor_uid(started.gang, number), now_ms);
        }
        self.planner.delete_pod(&driver.uid, now_ms);
    }

    /// Lets the planner decide until it has nothing more to say; the gangs that have started.
    pub(crate) fn decide(&mut self, now_ms: i64) -> Vec<Started> {
        let mut started = Vec::new();
        loop {
            let decision = self.planner.decide(now_ms);
            for order in decision.orders {
                if let Action::OpenGate { driver, plan, .. } = order.action {
                    match index_of(&driver.uid).and_then(|gang| self.start(gang, plan, now_ms)) {
                        Some(gang) => started.push(gang),
                        None => self.broken += 1,
                    }
                }
            }
            if !decision.again {
                return started;
            }
        }
    }

    /// Checks everything that the planner keeps against sums made anew.
    pub(crate) fn check(&mut self) {
        if self.planner.check_invariants(true).is_err() {
            self.broken += 1;
        }
    }

    /// The gate is open: the scheduler asks, binds, and Spark creates all executors at once. `None`: the planner did
    /// not keep its word.
    fn start(&mut self, gang: usize, plan: GangPlan, now_ms: i64) -> Option<Started> {
        let planned = plan.driver.clone();
        let executors: Vec<(usize, u64)> = plan
            .executors
            .iter()
            .map(|(node, count)| Some((node_index(node)?, *count)))
            .collect::<Option<_>>()?;
        let mut driver = self.driver(gang);
        driver.plan = Some(plan);
        self.planner.apply_pod(&driver, now_ms);
        if self.planner.filter(&driver, &[&planned], now_ms) != FilterAnswer::Node(planned.clone()) {
            return None;
        }
        self.planner.bind_started(&driver.uid, &planned, now_ms).ok()?;
        self.planner
            .bind_done(&driver.uid, &planned, &BindResult::Bound, now_ms);
        let mut number = 0;
        // They differ in little: a million gangs have tens of millions of them.
        let mut executor = self.executor(gang, &driver.uid);
        for &(node, count) in &executors {
            executor.node = Some(node_name(node));
            for _ in 0..count {
                executor.uid = executor_uid(gang, number);
                executor.name.clone_from(&executor.uid);
                executor.executor_id = Some(number.to_string());
                self.planner.apply_pod(&executor, now_ms);
                number += 1;
            }
        }
        Some(Started {
            gang,
            driver: node_index(&planned)?,
            executors,
        })
    }

    fn driver(&mut self, gang: usize) -> Pod {
        let of = &self.gangs[gang];
        let (_, label) = self.place(gang);
        Pod {
            uid: driver_uid(gang),
            name: driver_uid(gang),
            queue: label.map(str::to_owned),
            profile: Some(profile_of(of, self.estimates)),
            role: Some(Role::Driver),
            ..self.pod(gang, of.driver())
        }
    }

    /// What all executors of a gang have in common.
    fn executor(&mut self, gang: usize, driver: &str) -> Pod {
        let of = &self.gangs[gang];
        Pod {
            role: Some(Role::Executor),
            owner_pod_uid: Some(driver.to_owned()),
            phase: Phase::Running,
            ..self.pod(gang, of.executor())
        }
    }

    fn pod(&mut self, gang: usize, requests: Resources) -> Pod {
        self.version += 1;
        Pod {
            namespace: self.place(gang).0,
            resource_version: self.version.to_string(),
            scheduler: SCHEDULER.to_owned(),
            requests,
            ..Pod::default()
        }
    }
}

fn profile_of(gang: &Gang, estimates: Estimates) -> JobProfile {
    let runtime = (estimates == Estimates::Perfect).then(|| {
        let seconds = u64::try_from(gang.run_ms()).unwrap_or(0).div_ceil(1_000);
        RuntimeEstimate {
            p50_s: seconds,
            p90_s: seconds,
            samples: 1,
        }
    });
    let shape = |cpu_milli, memory_mib| Shape {
        cpu_milli,
        memory_mib,
        ..Shape::default()
    };
    JobProfile {
        version: profile::VERSION,
        spark_version: None,
        driver: shape(gang.driver_cpu_milli, gang.driver_memory_mib),
        executor: shape(gang.executor_cpu_milli, gang.executor_memory_mib),
        executors_at_start: gang.executors,
        executors_max: Some(gang.executors),
        dynamic_allocation: false,
        executor_constraints: Constraints::default(),
        executor_spacing: kompass_core::Spacing::default(),
        executor_labels: std::collections::BTreeMap::new(),
        executor_pod_rules: kompass_core::PodRules::default(),
        executor_priority_class: None,
        profile_key: gang.profile.clone(),
        executor_batch_delay_ms: None,
        executor_scheduler: None,
        start_within_ms: None,
        wider_keys: Vec::new(),
        executor_additions: Shape::default(),
        runtime,
        source: Source::Conf,
        warnings: vec![],
    }
}

/// A namespace that is labelled with this queue; no real one is called so.
fn namespace_of(queue: &str) -> String {
    format!("queue/{queue}")
}

fn node_name(number: usize) -> String {
    format!("node-{number}")
}

fn node_index(name: &str) -> Option<usize> {
    name.strip_prefix("node-")?.parse().ok()
}

fn driver_uid(gang: usize) -> String {
    format!("gang-{gang}")
}

fn executor_uid(gang: usize, number: u64) -> String {
    format!("gang-{gang}-{number}")
}

fn index_of(uid: &str) -> Option<usize> {
    uid.strip_prefix("gang-")?.parse().ok()
}
