//! The queues: who waits, in which order, and who needs the same.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::ops::Bound;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::backfill::{Need, Size, Vain};
use crate::gang::{GangId, Lack, OrderKey};
use crate::nodes::Nodes;
use crate::outlook::Fits;

/// All queues that have gangs waiting.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    waiting: BTreeMap<Arc<str>, Waiting>,
    /// When (as a count of starts) a queue started last.
    turns: BTreeMap<Arc<str>, u64>,
    starts: u64,
}

/// The gangs that wait in one queue.
#[derive(Debug, Default)]
struct Waiting {
    order: BTreeSet<OrderKey>,
    /// Those whose profile is known, by what they need.
    alike: Numbered<Need, Alike>,
    /// Their sizes.
    sizes: Numbered<Size, Sized>,
    /// Of so many sizes it is kept how many executors fit.
    fits_kept: usize,
    /// Those that something other than their place was said of when the queue was last looked at.
    judged: Vec<OrderKey>,
}

/// Gangs of equal needs.
#[derive(Debug, Default)]
struct Alike {
    /// The number of their size.
    size: usize,
    /// By the run time that was expected when they came, milliseconds.
    shortest: BTreeSet<(i64, OrderKey)>,
    vain: Option<Vain>,
    /// That there is no room for any of them.
    lack: Option<Found>,
}

/// What gangs that wait have in common but for how many executors they want.
#[derive(Debug, Default)]
struct Sized {
    /// So many needs have it.
    needs: usize,
    fits: Option<Box<Fits>>,
}

/// What is kept of how many executors of a size fit.
#[derive(Debug)]
pub(crate) enum Kept<'a> {
    /// It, up to date.
    There(&'a Fits),
    /// Nothing yet.
    NotYet,
    /// Nothing, and too few gangs would use it.
    NotWorth,
}

/// Needs of one size from which on it is worth to keep how many fit.
const NEEDS_MIN: usize = 3;
/// Sizes of which that is kept at most, in one queue.
const FITS_MAX: usize = 64;

/// Values by keys, with numbers that stay theirs as long as they are there.
#[derive(Debug)]
struct Numbered<K, V> {
    all: Vec<Option<(Arc<K>, V)>>,
    numbers: FxHashMap<Arc<K>, usize>,
    free: Vec<usize>,
}

impl<K, V> Default for Numbered<K, V> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            numbers: FxHashMap::default(),
            free: Vec::new(),
        }
    }
}

impl<K: Hash + Eq + Clone, V: Default> Numbered<K, V> {
    /// The number of a key, and whether it is new.
    fn number(&mut self, key: &K) -> (usize, bool) {
        if let Some(&number) = self.numbers.get(key) {
            return (number, false);
        }
        let key = Arc::new(key.clone());
        let number = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() - 1
        });
        self.all[number] = Some((key.clone(), V::default()));
        self.numbers.insert(key, number);
        (number, true)
    }

    fn get(&self, number: usize) -> Option<&V> {
        self.all.get(number)?.as_ref().map(|(_, value)| value)
    }

    fn get_mut(&mut self, number: usize) -> Option<&mut V> {
        self.all.get_mut(number)?.as_mut().map(|(_, value)| value)
    }

    fn remove(&mut self, number: usize) {
        if let Some((key, _)) = self.all.get_mut(number).and_then(Option::take) {
            self.numbers.remove(&key);
            self.free.push(number);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &V)> {
        let all = self.all.iter().enumerate();
        all.filter_map(|(number, value)| Some((number, &value.as_ref()?.1)))
    }
}

/// What was found where the nodes were in some state.
#[derive(Debug, Clone, Copy)]
struct Found {
    grown: u64,
    capacity: u64,
    lack: Lack,
}

/// How a waiting gang stands among those alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed {
    place: usize,
    run_ms: i64,
}

/// A gang that may be tried: the one of its need that is expected to run shortest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    pub(crate) run_ms: i64,
    pub(crate) key: OrderKey,
    /// Of its need.
    place: usize,
}

impl Queues {
    pub(crate) fn insert(&mut self, queue: &Arc<str>, key: OrderKey) {
        self.waiting.entry(queue.clone()).or_default().order.insert(key);
    }

    pub(crate) fn remove(&mut self, queue: &Arc<str>, key: OrderKey) {
        if let Some(waiting) = self.waiting.get_mut(queue) {
            waiting.order.remove(&key);
            if waiting.order.is_empty() {
                self.waiting.remove(queue);
            }
        }
    }

    /// Lists a waiting gang among those alike.
    pub(crate) fn list(&mut self, queue: &Arc<str>, key: OrderKey, need: &Need, run_ms: i64) -> Option<Listed> {
        let waiting = self.waiting.get_mut(queue)?;
        let (place, is_new) = waiting.alike.number(need);
        let alike = waiting.alike.get_mut(place)?;
        if is_new {
            let (size, _) = waiting.sizes.number(&need.size);
            alike.size = size;
            waiting.sizes.get_mut(size)?.needs += 1;
        }
        alike.shortest.insert((run_ms, key));
        Some(Listed { place, run_ms })
    }

    /// Takes it off again.
    pub(crate) fn unlist(&mut self, queue: &Arc<str>, key: OrderKey, listed: Listed) {
        let Some(waiting) = self.waiting.get_mut(queue) else {
            return;
        };
        let Some(alike) = waiting.alike.get_mut(listed.place) else {
            return;
        };
        alike.shortest.remove(&(listed.run_ms, key));
        if !alike.shortest.is_empty() {
            return;
        }
        let number = alike.size;
        waiting.alike.remove(listed.place);
        if let Some(size) = waiting.sizes.get_mut(number) {
            size.needs -= 1;
            if size.needs == 0 {
                waiting.fits_kept -= usize::from(size.fits.is_some());
                waiting.sizes.remove(number);
            }
        }
    }

    /// For each need the gang that is expected to run shortest; not the head, and none that is hopeless.
    pub(crate) fn shortest(&self, queue: &str, head: GangId, hopeless: impl Fn(&Vain, i64) -> bool) -> Vec<Candidate> {
        let alike = self
            .waiting
            .get(queue)
            .into_iter()
            .flat_map(|waiting| waiting.alike.iter());
        let shortest = alike.filter_map(|(place, alike)| {
            let &(run_ms, key) = alike.shortest.iter().find(|(_, key)| key.gang != head)?;
            let tried = alike.vain.as_ref().is_some_and(|vain| hopeless(vain, run_ms));
            (!tried).then_some(Candidate { run_ms, key, place })
        });
        shortest.collect()
    }

    /// That there is no room for any gang that needs the same, as long as these numbers of the nodes are the same.
    pub(crate) fn note_lack(&mut self, queue: &str, listed: Listed, (grown, capacity): (u64, u64), lack: Lack) {
        let waiting = self.waiting.get_mut(queue);
        if let Some(alike) = waiting.and_then(|waiting| waiting.alike.get_mut(listed.place)) {
            alike.lack = Some(Found { grown, capacity, lack });
        }
    }

    /// What was noted, if it still holds.
    pub(crate) fn lack(&self, queue: &str, listed: Listed, state: (u64, u64)) -> Option<Lack> {
        let found = self.waiting.get(queue)?.alike.get(listed.place)?.lack?;
        ((found.grown, found.capacity) == state).then_some(found.lack)
    }

    /// How many executors of a candidate's size fit, brought up to date, if that is kept.
    pub(crate) fn fits(&mut self, queue: &str, of: Candidate, nodes: &Nodes) -> Kept<'_> {
        let Some(waiting) = self.waiting.get_mut(queue) else {
            return Kept::NotWorth;
        };
        let size = waiting.alike.get(of.place).map(|alike| alike.size);
        let Some(size) = size.and_then(|size| waiting.sizes.get_mut(size)) else {
            return Kept::NotWorth;
        };
        match &mut size.fits {
            Some(fits) => {
                fits.follow(nodes);
                Kept::There(fits)
            }
            None if size.needs < NEEDS_MIN || waiting.fits_kept >= FITS_MAX => Kept::NotWorth,
            None => Kept::NotYet,
        }
    }

    /// Keeps it from now on.
    pub(crate) fn keep_fits(&mut self, queue: &str, of: Candidate, fits: Fits) {
        let Some(waiting) = self.waiting.get_mut(queue) else {
            return;
        };
        let size = waiting.alike.get(of.place).map(|alike| alike.size);
        if let Some(size) = size.and_then(|size| waiting.sizes.get_mut(size)) {
            waiting.fits_kept += usize::from(size.fits.is_none());
            size.fits = Some(Box::new(fits));
        }
    }

    pub(crate) fn note_vain(&mut self, queue: &str, of: Candidate, attempt: Vain) {
        let waiting = self.waiting.get_mut(queue);
        if let Some(alike) = waiting.and_then(|waiting| waiting.alike.get_mut(of.place)) {
            alike.vain = Some(attempt);
        }
    }

    /// The gangs that wait in a queue, in its order.
    pub(crate) fn order(&self, queue: &str) -> impl Iterator<Item = GangId> + '_ {
        let waiting = self.waiting.get(queue).into_iter();
        waiting.flat_map(|waiting| &waiting.order).map(|key| key.gang)
    }

    /// The gang after this one in the queue, the first one for `None`.
    pub(crate) fn after(&self, queue: &str, key: Option<OrderKey>) -> Option<OrderKey> {
        let order = &self.waiting.get(queue)?.order;
        let start = key.map_or(Bound::Unbounded, Bound::Excluded);
        order.range((start, Bound::Unbounded)).next().copied()
    }

    /// The place of a gang in its queue, from 1. The last one's, which is that of whoever has just come, is told at once.
    pub(crate) fn place(&self, queue: &str, key: OrderKey) -> u64 {
        let Some(waiting) = self.waiting.get(queue) else {
            return 1;
        };
        if waiting.order.last() == Some(&key) {
            return waiting.order.len() as u64;
        }
        1 + waiting.order.range(..key).count() as u64
    }

    /// Whether the gang waits in the queue.
    pub(crate) fn holds(&self, queue: &str, key: &OrderKey) -> bool {
        self.waiting
            .get(queue)
            .is_some_and(|waiting| waiting.order.contains(key))
    }

    /// Those that something other than their place was said of, in the queue's order.
    pub(crate) fn judged(&self, queue: &str) -> impl Iterator<Item = GangId> + '_ {
        let waiting = self.waiting.get(queue).into_iter();
        let waits = |waiting: &'_ Waiting, key: &OrderKey| waiting.order.contains(key);
        waiting.flat_map(move |waiting| {
            let judged = waiting.judged.iter().filter(move |key| waits(waiting, key));
            judged.map(|key| key.gang)
        })
    }

    pub(crate) fn take_judged(&mut self, queue: &str) -> Vec<OrderKey> {
        let waiting = self.waiting.get_mut(queue);
        waiting
            .map(|waiting| std::mem::take(&mut waiting.judged))
            .unwrap_or_default()
    }

    /// Notes who was judged, as far as they wait there.
    pub(crate) fn put_judged(&mut self, queue: &str, mut judged: Vec<OrderKey>) {
        if let Some(waiting) = self.waiting.get_mut(queue) {
            judged.sort_unstable();
            judged.dedup();
            judged.retain(|key| waiting.order.contains(key));
            waiting.judged = judged;
        }
    }

    /// The queues with gangs waiting, with their first gang and when (as a count of starts) they started last.
    pub(crate) fn turns(&self) -> impl Iterator<Item = (&Arc<str>, OrderKey, Option<u64>)> {
        let queues = self.waiting.iter();
        queues.filter_map(|(name, waiting)| Some((name, *waiting.order.first()?, self.turns.get(name).copied())))
    }

    /// Nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.waiting.keys()
    }

    pub(crate) fn started(&mut self, queue: &Arc<str>) {
        self.starts += 1;
        self.turns.insert(queue.clone(), self.starts);
        // Queues without gangs are forgotten, but not at once: their turn would come too soon again.
        if self.turns.len() > 2 * self.waiting.len() + 64 {
            let Self { waiting, turns, .. } = self;
            turns.retain(|name, _| waiting.contains_key(name));
        }
    }
}
