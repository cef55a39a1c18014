//! When gangs that hold room are expected to end, in that order.
//!
//! An expectation holds until the gang has changed, until it has outrun some of the runs that it is expected by, or until
//! a gang like it has ended. Only then it is looked at again: a decision does not look at all that run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::gang::{GangId, Stage};
use crate::journal::Journal;
use crate::planner::Planner;
use crate::runtimes::{Expectation, Kin};

/// An expected end: when (milliseconds since 1970), the gang's arrival, the gang.
pub(crate) type End = (i64, u64, GangId);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    order: BTreeSet<End>,
    known: FxHashMap<GangId, Known>,
    /// When an expectation is to be looked at again at the latest.
    due: BTreeSet<(i64, GangId)>,
    /// To be looked at again.
    stale: BTreeSet<GangId>,
    jobs: FxHashMap<Box<str>, BTreeSet<GangId>>,
    /// Gangs that are expected to run as others of their queue.
    strangers: FxHashMap<Arc<str>, BTreeSet<GangId>>,
    /// Gangs that are expected to run as any.
    unknown: BTreeSet<GangId>,
    /// By the arrival of the head that they overtook.
    overtakers: BTreeMap<u64, BTreeSet<GangId>>,
    /// Gangs whose room or end has changed.
    pub(crate) journal: Journal<GangId>,
}

#[derive(Debug)]
struct Known {
    end: End,
    until_ms: i64,
    job: Option<Box<str>>,
    queue: Arc<str>,
    kin: Kin,
    overtook: Option<u64>,
}

impl Known {
    /// All but the times.
    fn is_listed_as(&self, other: &Self) -> bool {
        (self.kin, self.overtook) == (other.kin, other.overtook) && self.job == other.job && self.queue == other.queue
    }
}

impl Ends {
    /// The gang has changed.
    pub(crate) fn touch(&mut self, id: GangId) {
        self.stale.insert(id);
        self.journal.note(id);
    }

    /// What is known of these jobs has changed, and of this queue.
    fn learned<'a>(&mut self, jobs: impl Iterator<Item = &'a str>, queue: &str) {
        let jobs = jobs.filter_map(|job| self.jobs.get(job));
        let kin = jobs.chain(self.strangers.get(queue)).chain([&self.unknown]);
        self.stale.extend(kin.flatten());
    }

    /// The first to end, after this one.
    pub(crate) fn after(&self, end: Option<End>) -> Option<End> {
        let start = end.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range((start, Bound::Unbounded)).next().copied()
    }

    /// All that end after this one.
    pub(crate) fn all_after(&self, end: Option<End>) -> impl Iterator<Item = End> + '_ {
        let start = end.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range((start, Bound::Unbounded)).copied()
    }

    /// The last two that end by then.
    pub(crate) fn last_two(&self, until: End) -> (Option<End>, Option<End>) {
        let mut ends = self.order.range(..=until).rev().copied();
        (ends.next(), ends.next())
    }

    /// When a gang ends that holds room.
    pub(crate) fn of(&self, id: GangId) -> Option<End> {
        self.known.get(&id).map(|known| known.end)
    }

    /// Those that hold room and overtook the head of this arrival.
    pub(crate) fn overtakers(&self, arrival: u64) -> Option<&BTreeSet<GangId>> {
        self.overtakers.get(&arrival)
    }

    fn take_stale(&mut self, now_ms: i64) -> BTreeSet<GangId> {
        while let Some(&(until_ms, id)) = self.due.first()
            && until_ms <= now_ms
        {
            self.due.pop_first();
            self.stale.insert(id);
        }
        std::mem::take(&mut self.stale)
    }

    /// Tells whether the end has changed. Mostly nothing else has: then the gang stays where it is listed.
    fn replace(&mut self, id: GangId, known: Option<Known>) -> bool {
        if let (Some(old), Some(new)) = (self.known.get_mut(&id), &known)
            && old.is_listed_as(new)
        {
            let moved = old.end != new.end;
            if moved {
                self.order.remove(&old.end);
                self.order.insert(new.end);
            }
            if old.until_ms != new.until_ms {
                self.due.remove(&(old.until_ms, id));
            }
            // It may have been taken out as due.
            self.due.insert((new.until_ms, id));
            (old.end, old.until_ms) = (new.end, new.until_ms);
            return moved;
        }
        let before = self.remove(id);
        let changed = before != known.as_ref().map(|known| known.end);
        if let Some(known) = known {
            self.insert(id, known);
        }
        changed
    }

    fn remove(&mut self, id: GangId) -> Option<End> {
        let known = self.known.remove(&id)?;
        self.order.remove(&known.end);
        self.due.remove(&(known.until_ms, id));
        if let Some(job) = known.job {
            leave(&mut self.jobs, job, id);
        }
        match known.kin {
            Kin::Own => {}
            Kin::Queue => leave(&mut self.strangers, known.queue, id),
            Kin::All => {
                self.unknown.remove(&id);
            }
        }
        if let Some(head) = known.overtook
            && let Some(members) = self.overtakers.get_mut(&head)
        {
            members.remove(&id);
            if members.is_empty() {
                self.overtakers.remove(&head);
            }
        }
        Some(known.end)
    }

    fn insert(&mut self, id: GangId, known: Known) {
        self.order.insert(known.end);
        self.due.insert((known.until_ms, id));
        if let Some(job) = &known.job {
            self.jobs.entry(job.clone()).or_default().insert(id);
        }
        match known.kin {
            Kin::Own => {}
            Kin::Queue => {
                self.strangers.entry(known.queue.clone()).or_default().insert(id);
            }
            Kin::All => {
                self.unknown.insert(id);
            }
        }
        if let Some(head) = known.overtook {
            self.overtakers.entry(head).or_default().insert(id);
        }
        self.known.insert(id, known);
    }
}

fn leave<K: std::hash::Hash + Eq>(sets: &mut FxHashMap<K, BTreeSet<GangId>>, key: K, id: GangId) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = sets.entry(key) {
        entry.get_mut().remove(&id);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}

impl Planner {
    /// A gang has run to its end: those like it may be expected to run longer or shorter now.
    pub(crate) fn learn(&mut self, job: Option<&str>, queue: &str, run_ms: i64) {
        let forgotten = self.runtimes.record(job, queue, run_ms);
        let jobs = forgotten.as_deref().into_iter().chain(job);
        self.ends.learned(jobs, queue);
    }

    /// Looks again at the expectations that may no longer hold.
    pub(crate) fn refresh_ends(&mut self, now_ms: i64) {
        self.attend();
        for id in self.ends.take_stale(now_ms) {
            let known = self.expected_end(id, now_ms);
            if self.ends.replace(id, known) {
                self.ends.journal.note(id);
            }
        }
        debug_assert!(self.ends_are_right(now_ms), "an expected end was not looked at again");
    }

    fn ends_are_right(&self, now_ms: i64) -> bool {
        let mut holders = self.shares.holders();
        self.ends.known.len() == self.shares.holders().count()
            && holders.all(|id| {
                let (known, kept) = (self.expected_end(id, now_ms), self.ends.known.get(&id));
                known.map(|known| (known.end, known.overtook)) == kept.map(|kept| (kept.end, kept.overtook))
            })
    }

    fn expected_end(&self, id: GangId, now_ms: i64) -> Option<Known> {
        self.shares.counted(id)?;
        let gang = self.gangs.get(id)?;
        let since_ms = gang.times.started_ms.or(gang.times.bound_ms);
        let (job, unknown_ms) = (gang.profile_key.as_deref(), self.config.unknown_run_ms);
        let (runtime, kin) = self.runtimes.known(gang.estimate, job, &gang.queue, unknown_ms);
        let Expectation { end_ms, until_ms } = runtime.late_end(since_ms.unwrap_or(now_ms), now_ms);
        // While it does not run its end moves on with the time.
        let until_ms = if since_ms.is_some() { until_ms } else { now_ms + 1 };
        debug_assert!(gang.stage != Stage::Waiting, "it holds room");
        Some(Known {
            end: (end_ms, gang.arrival, id),
            until_ms,
            job: job.map(Into::into),
            queue: gang.queue.clone(),
            kin,
            overtook: gang.overtook,
        })
    }
}
