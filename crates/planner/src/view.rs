//! What the planner shows: `/v1/gangs` and the gauges.

use std::collections::BTreeMap;

use kompass_core::wait::WaitCode;
use kompass_core::{GangPlan, WaitReason};
use serde::Serialize;

use crate::gang::{Gang, GangId, Stage};
use crate::planner::Planner;
use crate::shortfall::Shortfalls;

/// Where a gang stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GangState {
    /// In its queue, gated.
    Waiting,
    /// All of its minimum is reserved, the gate is being opened or the driver is on its way to its node.
    Reserved,
    /// The driver's gate is open and it has no plan: its room was lost.
    Unplanned,
    /// The driver is bound, no executor is yet.
    DriverBound,
    /// At least one executor is bound, or the gang has none.
    Running,
}

/// One gang on `/v1/gangs`. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GangView {
    /// The driver's namespace.
    pub namespace: String,
    /// The driver's name.
    pub name: String,
    /// The driver's UID.
    pub uid: String,
    /// Its queue.
    pub queue: String,
    /// Its priority.
    pub priority: i32,
    /// Where it stands.
    pub state: GangState,
    /// Why it waits, where it waits.
    pub waiting: Option<WaitReason>,
    /// Executors of the minimum; `None` without a profile.
    pub executors_min: Option<u64>,
    /// How many less that is than the profile says, because the job has never asked for them.
    pub executors_unclaimed: u64,
    /// Executors bound now.
    pub executors_bound: u64,
    /// Reserved slots that no executor holds.
    pub slots_free: u64,
    /// Slots of the minimum that have no room at present.
    pub slots_missing: u64,
    /// Executors whose gate is closed: beyond the minimum.
    pub executors_gated: u64,
    /// Nodes are asked for.
    pub demand: bool,
    /// The plan.
    pub plan: Option<GangPlan>,
    /// When the driver was created.
    pub submitted_ms: i64,
    /// When its profile was first seen.
    pub profiled_ms: Option<i64>,
    /// When it was planned.
    pub planned_ms: Option<i64>,
    /// When the driver was bound.
    pub bound_ms: Option<i64>,
    /// When the first executor was bound.
    pub first_executor_ms: Option<i64>,
    /// When the driver's Spark container began.
    pub started_ms: Option<i64>,
}

/// Numbers for gauges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Nodes that exist.
    pub nodes: u64,
    /// Pods known.
    pub pods: u64,
    /// Gangs by state.
    pub gangs: BTreeMap<GangState, u64>,
    /// Waiting gangs by reason.
    pub waiting: BTreeMap<WaitCode, u64>,
    /// By queue: gangs that wait, and when the first of them was submitted.
    pub queues: BTreeMap<String, Waiting>,
    /// Reserved slots that no executor holds, all gangs.
    pub slots_free: u64,
    /// CPU of these slots, thousandths.
    pub slots_free_cpu_milli: u64,
    /// Memory of these slots, bytes.
    pub slots_free_memory_bytes: u64,
    /// Slots without room.
    pub slots_missing: u64,
    /// Executors of client mode for which room is set aside.
    pub client_slots: u64,
    /// Demands under way.
    pub demands: u64,
    /// How often what gangs were told of their start came true.
    pub starts: crate::Held,
}

/// What waits in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// How many gangs.
    pub gangs: u64,
    /// When the driver of the one that has waited longest was created.
    pub since_ms: i64,
}

impl Planner {
    /// All gangs: those that wait in the order of their queues, then the others by age.
    pub fn gangs(&self) -> Vec<GangView> {
        let waiting = self.positions();
        let mut others: Vec<_> = self
            .gangs
            .iter()
            .filter(|(_, gang)| gang.stage != Stage::Waiting && !gang.is_unplanned())
            .map(|(id, gang)| (gang.created_ms, gang.arrival, id))
            .collect();
        others.sort_unstable();
        let waiting = waiting.into_iter().map(|(id, position)| (id, Some(position)));
        let all = waiting.chain(others.into_iter().map(|(_, _, id)| (id, None)));
        let mut known = Shortfalls::default();
        all.map(|(id, position)| self.gang_view(id, position, &mut known))
            .collect()
    }

    /// The same with expected starts, which take a moment to find out.
    pub fn gangs_with_starts(&self, now_ms: i64) -> Vec<GangView> {
        let (mut gangs, starts) = (self.gangs(), self.expected_starts(now_ms));
        for gang in &mut gangs {
            if let (Some(reason), Some(start)) = (&mut gang.waiting, starts.get(gang.uid.as_str())) {
                (reason.start_p50, reason.start_p90) = (Some(start.p50_ms), Some(start.p90_ms));
            }
        }
        gangs
    }

    /// The gang of a driver, by the pod's namespace and name.
    pub fn gang(&self, namespace: &str, driver: &str) -> Option<GangView> {
        let named = |gang: &Gang| *gang.namespace == *namespace && *self.pods.all[gang.driver].name == *driver;
        let (id, gang) = self.gangs.iter().find(|(_, gang)| named(gang))?;
        let waits = gang.stage == Stage::Waiting || gang.is_unplanned();
        let position = waits.then(|| self.position(id));
        Some(self.gang_view(id, position, &mut Shortfalls::default()))
    }

    /// UIDs of the drivers whose gangs ask for nodes.
    pub fn demands(&self) -> Vec<String> {
        let asking = self.gangs.iter().filter(|(id, _)| self.asks(*id));
        asking.map(|(id, _)| self.gangs.uid(id).to_string()).collect()
    }

    /// Numbers for gauges.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            nodes: self.nodes.count() as u64,
            pods: self.pods.all.len() as u64,
            starts: self.held(),
            client_slots: self.client_slots(),
            ..Summary::default()
        };
        for (id, gang) in self.gangs.iter() {
            *summary.gangs.entry(state(gang)).or_insert(0) += 1;
            if let Some(code) = self.wait_code(id) {
                *summary.waiting.entry(code).or_insert(0) += 1;
                let queue = summary.queues.entry(gang.queue.to_string()).or_insert(Waiting {
                    gangs: 0,
                    since_ms: gang.created_ms,
                });
                queue.gangs += 1;
                queue.since_ms = queue.since_ms.min(gang.created_ms);
            }
            let free = gang.slots.free();
            summary.slots_free += free;
            summary.slots_free_cpu_milli += gang.slots.request.cpu_milli.saturating_mul(free);
            summary.slots_free_memory_bytes += gang.slots.request.memory_bytes.saturating_mul(free);
            summary.slots_missing += gang.slots.missing;
            summary.demands += u64::from(self.asks(id));
        }
        summary
    }

    fn gang_view(&self, id: GangId, position: Option<u64>, known: &mut Shortfalls) -> GangView {
        let gang = &self.gangs[id];
        let gated = gang
            .executors
            .iter()
            .filter(|&executor| self.gated.contains(executor))
            .count();
        GangView {
            namespace: gang.namespace.to_string(),
            name: self.pods.all[gang.driver].name.to_string(),
            uid: self.gangs.uid(id).to_string(),
            queue: gang.queue.to_string(),
            priority: gang.priority,
            state: state(gang),
            waiting: position.and_then(|position| Some(self.reason(id, self.wait_code(id)?, position, known))),
            executors_min: gang.shape.as_ref().map(|_| gang.minimum()),
            executors_unclaimed: gang.unclaimed,
            executors_bound: gang.sums.bound,
            slots_free: gang.slots.free(),
            slots_missing: gang.slots.missing,
            executors_gated: gated as u64,
            demand: self.asks(id),
            plan: self.render(id),
            submitted_ms: gang.created_ms,
            profiled_ms: gang.times.profiled_ms,
            planned_ms: gang.times.planned_ms,
            bound_ms: gang.times.bound_ms,
            first_executor_ms: gang.times.first_executor_ms,
            started_ms: gang.times.started_ms,
        }
    }
}

fn state(gang: &Gang) -> GangState {
    match gang.stage {
        Stage::Waiting => GangState::Waiting,
        Stage::Opening { .. } | Stage::Open(_) if gang.held.is_none() => GangState::Unplanned,
        Stage::Opening { .. } | Stage::Open(_) => GangState::Reserved,
        Stage::Bound if gang.sums.bound > 0 || gang.minimum() == 0 => GangState::Running,
        Stage::Bound => GangState::DriverBound,
    }
}
