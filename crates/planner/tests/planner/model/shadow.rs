//! Backfill, checked by counting: whoever passes a head must not make its expected start later.

use std::collections::BTreeMap;

use kompass_core::wait::WaitCode;
use kompass_planner::{Backfill, GangState, GangView};

use super::api::{has_ended, is_of};
use super::check::{self, Decided};
use super::{peers, turns};

type Free<'a> = BTreeMap<&'a str, u64>;

impl Decided<'_> {
    /// Each gang that was let in, against the head of its queue that still waits.
    pub(crate) fn passes(&self) {
        // A head that was too large until now was no head when others started.
        if self.config.backfill == Backfill::Off
            || self.is_unsettled()
            || self.replica.promises.values().any(|promise| promise.doubtful)
            || !self.replica.told.odd.is_empty()
        {
            return;
        }
        let started: Vec<&str> = self.started().collect();
        for (at, uid) in started.iter().enumerate() {
            let Some(gang) = self.after.iter().find(|gang| gang.uid == **uid) else {
                continue;
            };
            let lacks = |other: &&GangView| {
                let code = other.waiting.as_ref().map(|reason| reason.code);
                other.queue == gang.queue && matches!(code, Some(WaitCode::NoRoom | WaitCode::NodesRequested))
            };
            // Whom a quota holds now may have been the head before others of the namespace started.
            let quota = |other: &GangView| {
                let code = other.waiting.as_ref().map(|reason| reason.code);
                other.queue == gang.queue && code == Some(WaitCode::ResourceQuota)
            };
            if self.after.iter().any(quota) {
                continue;
            }
            let waiting = self.after.iter().filter(|other| other.state == GangState::Waiting);
            let head = waiting.filter(lacks).min_by_key(|other| self.key(other));
            // When others' pods no longer keep a head away can't be told from outside.
            let touched = |head: &&GangView| peers::is_touched(&self.replica.told, &self.replica.told.pods[&head.uid]);
            let head = head.filter(|head| !touched(head));
            if let Some(head) = head.filter(|head| self.key(head) < self.key(gang)) {
                self.is_not_delayed(head, gang, &started[at + 1..]);
            }
        }
    }

    fn is_not_delayed(&self, head: &GangView, gang: &GangView, later: &[&str]) {
        let mut free = self.free_after();
        for other in self.after.iter().filter(|other| later.contains(&&*other.uid)) {
            self.give(&mut free, other);
        }
        // The 90th percentile of whoever passes, and what is expected of those that run.
        let p90_ms = self.told_run_ms(gang).1;
        let runs = |other: &&GangView| other.plan.is_some() && !later.contains(&&*other.uid) && other.uid != gang.uid;
        let mut ends: Vec<(i64, &GangView)> = self
            .after
            .iter()
            .filter(runs)
            .map(|other| (self.end_ms(other), other))
            .collect();
        let mut without = free.clone();
        self.give(&mut without, gang);
        let before = self.starts_ms(head, without, &ends);
        ends.push((self.now_ms + p90_ms, gang));
        let with = self.starts_ms(head, free, &ends);
        assert!(
            matches!((before, with), (Some(before), Some(with)) if with <= before),
            "{} was expected to start at {before:?}, and after {} has passed it at {with:?}: {:#?}",
            head.uid,
            gang.uid,
            self.after
        );
    }

    /// When a gang would fit if everybody ended when expected.
    fn starts_ms<'a>(&'a self, head: &GangView, mut free: Free<'a>, ends: &[(i64, &'a GangView)]) -> Option<i64> {
        let mut ends = ends.to_vec();
        ends.sort_by_key(|&(end_ms, _)| end_ms);
        for (end_ms, gang) in ends {
            self.give(&mut free, gang);
            if turns::fits(
                &free,
                &self.replica.told.pods[&head.uid],
                self.config,
                &self.replica.told,
            ) {
                return Some(end_ms);
            }
        }
        None
    }

    fn told_run_ms(&self, gang: &GangView) -> (i64, i64) {
        let profile = self.replica.told.pods[&gang.uid].profile.as_ref();
        let told = profile.and_then(|profile| profile.runtime);
        told.map_or((self.config.unknown_run_ms, self.config.unknown_run_ms), |told| {
            let ms = |seconds: u64| i64::try_from(seconds).expect("minutes at most") * 1_000;
            (ms(told.p50_s), ms(told.p90_s))
        })
    }

    fn end_ms(&self, gang: &GangView) -> i64 {
        let started_ms = gang.started_ms.or(gang.bound_ms).unwrap_or(self.now_ms);
        let mut run_ms = self.told_run_ms(gang).0;
        while started_ms + run_ms <= self.now_ms {
            run_ms *= 2;
        }
        started_ms + run_ms
    }

    /// Room after the decision, without what it has just promised to gated executors.
    fn free_after(&self) -> Free<'_> {
        let told = &self.replica.told;
        let loads = check::loads(self.replica, self.after, self.now_ms);
        let usable = told.nodes.iter().filter(|(name, _)| told.is_usable(name));
        usable
            .map(|(name, node)| {
                let load = loads.get(&**name).copied().unwrap_or_default();
                (&**name, node.allocatable.cpu_milli.saturating_sub(load.sum()))
            })
            .collect()
    }

    /// The gang gives back all that it holds.
    fn give<'a>(&'a self, free: &mut Free<'a>, gang: &'a GangView) {
        let told = &self.replica.told;
        let Some(driver) = told.pods.get(&gang.uid) else { return };
        let mut give = |node: &str, cpu: u64| {
            if let Some(free) = free.get_mut(node) {
                *free += cpu;
            }
        };
        let mut seated: BTreeMap<&str, u64> = BTreeMap::new();
        for pod in told.pods.values().filter(|pod| is_of(pod, driver) && !has_ended(pod)) {
            let promise = self.replica.promises.get(&pod.uid);
            if let Some(node) = pod.node.as_ref().or_else(|| promise.map(|promise| &promise.node)) {
                *seated.entry(node).or_default() += 1;
                give(node, pod.requests.cpu_milli);
            }
        }
        if let Some(plan) = &gang.plan {
            give(driver.node.as_ref().unwrap_or(&plan.driver), driver.requests.cpu_milli);
            let executor = driver.profile.as_ref().map_or(0, |profile| profile.executor.cpu_milli);
            for (node, count) in &plan.executors {
                let taken = seated.get(&**node).copied().unwrap_or(0);
                give(node, count.saturating_sub(taken) * executor);
            }
        }
    }
}
