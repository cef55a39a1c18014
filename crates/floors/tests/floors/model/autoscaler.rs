//! cluster-autoscaler with one group, as its AWS provider does it: it knows the group from a cache, asks for absolute sizes,
//! takes empty nodes away one by one, and backs off where that fails.
//!
//! Left out: how many nodes pods need (told from outside), more groups than one, its own start.

use std::collections::{BTreeMap, BTreeSet};

use super::asg::{AutoScaling, Described, Id, ValidationError};

const MINUTE_MS: i64 = 60_000;
/// `--scan-interval`.
pub(crate) const SCAN_MS: i64 = 10_000;
/// The provider's cache is at most so old.
pub(crate) const CACHE_MS: i64 = MINUTE_MS;
/// `--scale-down-unneeded-time`.
pub(crate) const UNNEEDED_MS: i64 = 10 * MINUTE_MS;
/// `--scale-down-delay-after-add`, of its own additions.
pub(crate) const AFTER_ADD_MS: i64 = 10 * MINUTE_MS;
/// `--scale-down-delay-after-failure`.
const AFTER_FAILURE_MS: i64 = 3 * MINUTE_MS;
/// `--max-node-provision-time`.
pub(crate) const PROVISION_MS: i64 = 15 * MINUTE_MS;
/// `--initial-node-group-backoff-duration`, `--max-node-group-backoff-duration`.
pub(crate) const BACK_OFF_MS: i64 = 5 * MINUTE_MS;
const BACK_OFF_MAX_MS: i64 = 30 * MINUTE_MS;
/// `--max-empty-bulk-delete`, or of its successor.
const AT_ONCE: usize = 10;

/// What it sees of the cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pods {
    /// Nodes that waiting pods would fill.
    pub(crate) waiting_for: u32,
    /// Nodes that are registered.
    pub(crate) registered: BTreeSet<Id>,
    /// Those of them that run pods.
    pub(crate) busy: BTreeSet<Id>,
}

/// What it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Did {
    /// Asked for this size.
    Grew { to: u32, refused: Option<ValidationError> },
    /// Took a node away.
    Took { id: Id, refused: Option<ValidationError> },
    /// Gave up an instance that never came.
    GaveUp { to: u32, refused: Option<ValidationError> },
    /// Pods wait and it does nothing, as the last attempt failed.
    BackedOff,
    /// Pods wait, and by the cache the group is as large as it may be.
    AtMax,
}

#[derive(Debug)]
pub(crate) struct Autoscaler {
    cache: Option<(i64, Described)>,
    scanned_ms: Option<i64>,
    unneeded_since_ms: BTreeMap<Id, i64>,
    missing_since_ms: Option<i64>,
    added_ms: Option<i64>,
    failed_ms: Option<i64>,
    back_off: Option<(i64, i64)>,
    pub(crate) did: Vec<(i64, Did)>,
}

impl Autoscaler {
    pub(crate) const fn new() -> Self {
        Self {
            cache: None,
            scanned_ms: None,
            unneeded_since_ms: BTreeMap::new(),
            missing_since_ms: None,
            added_ms: None,
            failed_ms: None,
            back_off: None,
            did: Vec::new(),
        }
    }

    /// Until when it adds nothing, once it has failed.
    pub(crate) fn backs_off_until_ms(&self) -> Option<i64> {
        self.back_off.map(|(until_ms, _)| until_ms)
    }

    /// One loop, if it is time for one.
    pub(crate) fn step(&mut self, group: &mut impl AutoScaling, pods: &Pods) {
        let now_ms = group.now_ms();
        if self.scanned_ms.is_some_and(|at_ms| now_ms - at_ms < SCAN_MS) {
            return;
        }
        self.scanned_ms = Some(now_ms);
        let mut cached = match self.cache.take() {
            Some((at_ms, cached)) if now_ms - at_ms < CACHE_MS => (at_ms, cached),
            _ => (now_ms, group.describe()),
        };
        self.note_missing(now_ms, &cached.1);
        self.give_up(now_ms, group, &mut cached.1);
        let free = pods.registered.difference(&pods.busy).count();
        let to_come = (cached.1.desired as usize).saturating_sub(pods.registered.len());
        let short = (pods.waiting_for as usize).saturating_sub(free + to_come);
        let short = u32::try_from(short).unwrap_or(u32::MAX);
        if short > 0 && self.grow(now_ms, group, &mut cached.1, short) {
            // No scale-down in a loop that adds nodes.
            self.unneeded_since_ms.clear();
        } else {
            self.shrink(now_ms, group, &mut cached.1, pods);
        }
        self.cache = Some(cached);
    }

    /// Adds nodes; tells whether it has.
    fn grow(&mut self, now_ms: i64, group: &mut impl AutoScaling, cached: &mut Described, nodes: u32) -> bool {
        if self.back_off.is_some_and(|(until_ms, _)| now_ms < until_ms) {
            self.note(now_ms, Did::BackedOff);
            return false;
        }
        // By what it believes the size to be, whatever it is.
        let to = cached.desired.saturating_add(nodes).min(cached.max);
        if to <= cached.desired {
            self.note(now_ms, Did::AtMax);
            return false;
        }
        let refused = group.set_desired(to).err();
        self.note(now_ms, Did::Grew { to, refused });
        if refused.is_some() {
            self.backs_off(now_ms);
            return false;
        }
        cached.desired = to;
        self.added_ms = Some(now_ms);
        true
    }

    /// Takes away what nobody has needed for long.
    fn shrink(&mut self, now_ms: i64, group: &mut impl AutoScaling, cached: &mut Described, pods: &Pods) {
        let empty: BTreeSet<Id> = pods.registered.difference(&pods.busy).copied().collect();
        self.unneeded_since_ms.retain(|id, _| empty.contains(id));
        for id in &empty {
            self.unneeded_since_ms.entry(*id).or_insert(now_ms);
        }
        let rests = |at_ms: Option<i64>, pause_ms| at_ms.is_some_and(|at_ms| now_ms - at_ms < pause_ms);
        if rests(self.added_ms, AFTER_ADD_MS) || rests(self.failed_ms, AFTER_FAILURE_MS) {
            return;
        }
        let spare = cached.desired.saturating_sub(cached.min) as usize;
        let due: Vec<Id> = self
            .unneeded_since_ms
            .iter()
            .filter(|(id, since_ms)| now_ms - **since_ms >= UNNEEDED_MS && cached.instances.contains(id))
            .map(|(id, _)| *id)
            .take(spare.min(AT_ONCE))
            .collect();
        for id in due {
            let refused = group.terminate(id).err();
            self.note(now_ms, Did::Took { id, refused });
            if refused.is_some() {
                self.failed_ms = Some(now_ms);
                return;
            }
            cached.desired -= 1;
            cached.instances.remove(&id);
            self.unneeded_since_ms.remove(&id);
        }
    }

    /// Instances that were asked for and are not there have placeholders.
    fn note_missing(&mut self, now_ms: i64, cached: &Described) {
        if cached.desired as usize <= cached.instances.len() {
            self.missing_since_ms = None;
            // What it asked for last has come.
            self.back_off.take_if(|(until_ms, _)| self.added_ms >= Some(*until_ms));
        } else if self.missing_since_ms.is_none() {
            self.missing_since_ms = Some(now_ms);
        }
    }

    /// Placeholders that have stood for too long are taken away, not below `MinSize`, by an absolute size again.
    fn give_up(&mut self, now_ms: i64, group: &mut impl AutoScaling, cached: &mut Described) {
        if self
            .missing_since_ms
            .is_none_or(|since_ms| now_ms - since_ms < PROVISION_MS)
        {
            return;
        }
        self.missing_since_ms = Some(now_ms);
        self.backs_off(now_ms);
        while cached.desired > cached.min && cached.desired as usize > cached.instances.len() {
            let to = cached.desired - 1;
            let refused = group.set_desired(to).err();
            self.note(now_ms, Did::GaveUp { to, refused });
            if refused.is_some() {
                return;
            }
            cached.desired = to;
        }
    }

    fn backs_off(&mut self, now_ms: i64) {
        let length_ms = self
            .back_off
            .map_or(BACK_OFF_MS, |(_, length_ms)| (length_ms * 2).min(BACK_OFF_MAX_MS));
        self.back_off = Some((now_ms + length_ms, length_ms));
    }

    fn note(&mut self, now_ms: i64, did: Did) {
        self.did.push((now_ms, did));
    }
}
