//! Whose turn it is: invariant 7, within a queue and between queues.

use std::collections::BTreeMap;

use kompass_core::Pod;
use kompass_core::wait::WaitCode;
use kompass_planner::{Backfill, Config, GangState, GangView};

use super::api::FOREIGN;
use super::check::{Decided, cpu, executor_cpu, minimum_of};
use super::peers;
use super::replica::{Replica, Told};

impl Decided<'_> {
    /// Invariant 7 within a queue, where nobody may overtake: whoever was before a gang that started could not have had
    /// the room, or was not ready to.
    pub(crate) fn in_turn(&self) {
        if self.config.backfill != Backfill::Off || self.is_unsettled() {
            return;
        }
        for gang in self.after.iter().filter(|gang| gang.state == GangState::Waiting) {
            let key = self.key(gang);
            let overtaken = self.started().any(|uid| {
                let other = self.after.iter().find(|other| other.uid == uid);
                other.is_some_and(|other| other.queue == gang.queue && self.key(other) > key)
            });
            if overtaken && self.is_ready(gang) {
                let fits = fits_without_kompass(self.replica, &gang.uid, self.config);
                assert!(!fits, "{} was overtaken in its queue: {:#?}", gang.uid, self.after);
            }
        }
    }

    /// Gangs may be taken for too large that no longer are.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.now_ms < self.replica.told.capacity_ms + HOPELESS_MS
    }

    pub(crate) fn key(&self, gang: &GangView) -> (i64, i64, usize) {
        (
            -i64::from(gang.priority),
            gang.submitted_ms,
            self.replica.told.arrivals[&gang.uid],
        )
    }

    fn is_ready(&self, gang: &GangView) -> bool {
        let pod = &self.replica.told.pods[&gang.uid];
        let quota = self
            .replica
            .told
            .quotas
            .get(&gang.namespace)
            .is_some_and(|&(hard, used)| {
                let more = minimum_of(pod, self.config) * executor_cpu(pod);
                // The quota may know of pods that the planner has still to be told of.
                let untold = used.saturating_sub(self.used(&gang.namespace));
                more > 0 && self.needed(&gang.namespace) + untold + more > hard
            });
        let refused = self.replica.refused.get(&gang.uid).is_some_and(|&times| times >= 3);
        let profile = pod.profile.is_some() || self.now_ms >= pod.created_ms + self.config.profile_hold_ms;
        profile && !pod.deleting && pod.gates.len() == 1 && !quota && !refused
    }
}

/// Queues in the model.
const QUEUES: u64 = 3;
/// How long the planner may take a gang for too large after that has changed.
const HOPELESS_MS: i64 = 250;

/// Whether a gang would fit if all of KOMPASS's pods were gone.
pub(crate) fn fits_without_kompass(replica: &Replica, uid: &str, config: &Config) -> bool {
    let told = &replica.told;
    let usable = told.nodes.iter().filter(|(name, _)| told.is_usable(name));
    let mut free: BTreeMap<&str, u64> = usable
        .map(|(name, node)| (&**name, node.allocatable.cpu_milli))
        .collect();
    for (node, pod) in told.bound_pods().filter(|(_, pod)| pod.scheduler == FOREIGN) {
        if let Some(free) = free.get_mut(node) {
            *free = free.saturating_sub(cpu(pod));
        }
    }
    fits(&free, &told.pods[uid], config, told)
}

/// Whether the gang of a driver fits in this room.
pub(crate) fn fits(free: &BTreeMap<&str, u64>, driver: &Pod, config: &Config, told: &Told) -> bool {
    let (own, executor, count) = (cpu(driver), executor_cpu(driver), minimum_of(driver, config));
    let spacing = driver.profile.as_ref().map(|profile| profile.executor_spacing.clone());
    let spacing = spacing.unwrap_or_default();
    let zone_of = |name: &str| told.nodes[name].labels["topology.kubernetes.io/zone"].clone();
    let mut zones: BTreeMap<String, u64> = BTreeMap::new();
    for (name, node) in &told.nodes {
        if driver.constraints.selects(node) {
            zones.insert(zone_of(name), 0);
        }
    }
    let allowed = |name: &str| driver.constraints.allow(&told.nodes[name]);
    let lets: BTreeMap<&str, (bool, bool)> = free
        .keys()
        .map(|name| (*name, peers::may_go(told, driver, &told.nodes[*name])))
        .collect();
    let takes = |name: &str, free: u64| {
        if !lets[name].1 {
            return 0;
        }
        let room = free.checked_div(executor).unwrap_or(1_000_000);
        room.min(spacing.node_max())
    };
    for (name, free) in free.iter().filter(|(name, _)| allowed(name)) {
        *zones.entry(zone_of(name)).or_default() += takes(name, *free);
    }
    let enough = |zones: &BTreeMap<String, u64>, home: &str| {
        let counts = |zone: &str| u64::from(spacing.driver.counts && zone == home);
        let few = spacing.zones_min.is_some_and(|least| (zones.len() as u64) < least);
        let most = |zone: &str, takes: u64| takes.min(spacing.per_zone_max.unwrap_or(u64::MAX)) + counts(zone);
        let floor = zones.iter().map(|(zone, &takes)| most(zone, takes)).min();
        let floor = floor.filter(|_| !few).unwrap_or(0);
        let skew = spacing.zone_skew.map_or(u64::MAX, |skew| floor.saturating_add(skew));
        let open = zones.iter().filter(|(zone, _)| {
            let same = !spacing.driver.same_zone || *zone == home;
            same && (!spacing.driver.other_zone || *zone != home)
        });
        let takes = open.map(|(zone, &takes)| most(zone, takes).min(skew.max(counts(zone))) - counts(zone));
        let all = if spacing.one_zone {
            takes.max().unwrap_or(0)
        } else {
            takes.sum()
        };
        all >= count
    };
    free.iter()
        .filter(|(name, free)| allowed(name) && lets[*name].0 && **free >= own)
        .any(|(name, free)| {
            let mut zones = zones.clone();
            let beside = if spacing.driver.other_node {
                0
            } else {
                takes(name, free - own)
            };
            *zones.entry(zone_of(name)).or_default() -= takes(name, *free) - beside;
            count == 0 || enough(&zones, &zone_of(name))
        })
}

/// Invariant 7 between queues: counts how often each head that lacks room was overtaken by other queues.
pub(crate) fn count_overtakes(
    replica: &mut Replica,
    config: &Config,
    before: &[GangView],
    after: &[GangView],
    started: &[String],
) {
    let lacks = |gangs: &[GangView], uid: &str| {
        let gang = gangs.iter().find(|gang| gang.uid == uid);
        let code = gang.and_then(|gang| gang.waiting.as_ref()).map(|reason| reason.code);
        matches!(code, Some(WaitCode::NoRoom | WaitCode::NodesRequested))
    };
    for gang in after {
        if !lacks(after, &gang.uid) || !lacks(before, &gang.uid) {
            continue;
        }
        let others = started.iter().filter(|uid| {
            let other = after.iter().find(|other| other.uid == **uid);
            other.is_some_and(|other| other.queue != gang.queue)
        });
        let count = replica.overtaken.entry(gang.uid.clone()).or_default();
        *count += others.count() as u64;
        // Heads of other queues that were overtaken as often go before it.
        assert!(
            *count < config.overtakes_max + QUEUES,
            "{} was overtaken {count} times",
            gang.uid
        );
    }
    for uid in started {
        replica.overtaken.remove(uid);
    }
}
