//! Pods' hard rules about other pods: who is where, as far as any rule asks.
//!
//! Pods that nothing tells apart (namespace, labels, rules) are of one *kind*, and of each kind it is known how many are
//! on which node: bound pods, those on their way and reserved slots alike, whoever's they are. A *term* is a topology and
//! a selector that some kind has as required anti-affinity, or a gang as affinity. Each has, by domain, how many of the
//! pods are there that it selects, and how many of those that have it. So a pod that comes or goes costs its kind's terms,
//! of which nearly every kind has none, and a gang's rules are looked up, not searched for.
//!
//! kube-scheduler honours anti-affinity both ways (`interpodaffinity`): what a pod's own terms select keeps it away, and
//! so does a pod whose terms select it.

use std::sync::Arc;

use kompass_core::PodSelector;
use rustc_hash::FxHashMap;

use crate::nodes::NodeId;

mod check;
mod kinds;
mod own;
mod rules;
mod topology;

pub(crate) use self::kinds::KindId;
use self::kinds::Kinds;
pub(crate) use self::own::Own;
pub(crate) use self::rules::{Lets, PeerRules};
use self::topology::{DomainId, Topologies, TopologyId};

/// Points to a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TermId(u32);

/// Pods of a kind, or selected by a term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// All that take room, or for which some is kept.
    pub(crate) all: u64,
    /// Those of them that are not KOMPASS's.
    pub(crate) foreign: u64,
    /// Those of them that are bound.
    pub(crate) bound: u64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.all += other.all;
        self.foreign += other.foreign;
        self.bound += other.bound;
    }

    pub(crate) fn subtract(&mut self, other: Self) {
        self.all = self.all.saturating_sub(other.all);
        self.foreign = self.foreign.saturating_sub(other.foreign);
        self.bound = self.bound.saturating_sub(other.bound);
    }

    fn any(self) -> (bool, bool, bool) {
        (self.all > 0, self.foreign > 0, self.bound > 0)
    }

    fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// Pods come or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Come,
    Go,
}

impl Count {
    fn step(&mut self, by: Self, step: Step) {
        match step {
            Step::Come => self.add(by),
            Step::Go => self.subtract(by),
        }
    }
}

/// Which pods a term counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    /// Those that it selects.
    Selected,
    /// Those that have it.
    Holder,
}

/// What a term says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct What {
    topology: String,
    /// All have to select a pod.
    pods: Box<[PodSelector]>,
}

#[derive(Debug)]
struct Term {
    what: Arc<What>,
    topology: TopologyId,
    /// Kinds and classes that speak of it.
    users: u32,
    /// Kinds that have it as a rule.
    ruled: u32,
    /// Classes that speak of it: where there are none, nobody has to hear of changes.
    classes: u32,
    selected: FxHashMap<DomainId, Count>,
    holders: FxHashMap<DomainId, Count>,
    /// Those selected in any domain.
    total: Count,
}

impl Term {
    fn counts(&self, side: Side) -> &FxHashMap<DomainId, Count> {
        match side {
            Side::Selected => &self.selected,
            Side::Holder => &self.holders,
        }
    }
}

/// A term has become true or false: in one domain, or (`None`) everywhere.
pub(crate) type Change = (TermId, Option<DomainId>);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    kinds: Kinds,
    topologies: Topologies,
    entries: Vec<Option<Term>>,
    unused: Vec<TermId>,
    by_what: FxHashMap<Arc<What>, TermId>,
    /// By node: what is there of each kind.
    on: Vec<Vec<(KindId, Count)>>,
    changed: Vec<Change>,
    /// A term has become a rule of some kind that selects kinds there were before.
    news: bool,
}

impl Terms {
    /// There are so many nodes.
    pub(crate) fn grow(&mut self, nodes: usize) {
        self.on.resize_with(nodes, Vec::new);
        self.topologies.grow(nodes);
    }

    /// The node has these labels now; `None`: it is not there.
    pub(crate) fn move_node<'a>(&mut self, node: NodeId, label: impl Fn(&str) -> Option<&'a str>) {
        for topology in self.topologies.ids() {
            let key = self.topologies.key(topology).clone();
            let (old, new) = self.topologies.set(topology, node, label(&key));
            if old == new {
                continue;
            }
            for (kind, count) in self.on[node.index()].clone() {
                for (term, side) in self.kinds.terms(kind) {
                    if self.term(term).topology == topology {
                        self.count_in(term, side, old, count, Step::Go);
                        self.count_in(term, side, new, count, Step::Come);
                    }
                }
            }
            if let Some(old) = old {
                self.topologies.tidy(topology, old);
            }
        }
    }

    /// Pods of a kind come to a node, or go.
    pub(crate) fn count(&mut self, node: NodeId, kind: KindId, by: Count, step: Step) {
        if kind == KindId::NONE || by.is_zero() {
            return;
        }
        let on = &mut self.on[node.index()];
        let at = on.iter().position(|known| known.0 == kind).unwrap_or_else(|| {
            on.push((kind, Count::default()));
            on.len() - 1
        });
        on[at].1.step(by, step);
        if on[at].1.is_zero() {
            on.swap_remove(at);
        }
        if self.kinds.has_terms(kind) {
            for (term, side) in self.kinds.terms(kind) {
                let domain = self.topologies.domain(self.term(term).topology, node);
                self.count_in(term, side, domain, by, step);
            }
        }
    }

    fn count_in(&mut self, id: TermId, side: Side, domain: Option<DomainId>, by: Count, step: Step) {
        let Some(domain) = domain else { return };
        let Some(term) = &mut self.entries[id.0 as usize] else {
            return;
        };
        let counts = match side {
            Side::Selected => &mut term.selected,
            Side::Holder => &mut term.holders,
        };
        let count = counts.entry(domain).or_default();
        let before = count.any();
        count.step(by, step);
        let after = count.any();
        if count.is_zero() {
            counts.remove(&domain);
        }
        let total = term.total.any();
        if side == Side::Selected {
            term.total.step(by, step);
        }
        if term.classes == 0 {
            return;
        }
        if total != term.total.any() {
            self.changed.push((id, None));
        } else if before != after {
            self.changed.push((id, Some(domain)));
        }
    }

    /// What has changed since the last call.
    pub(crate) fn take_changed(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn any_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Whether rules of kinds that were there before may have come since the last call.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The nodes of a term's domain.
    pub(crate) fn nodes_of(&self, term: TermId, domain: DomainId) -> &[NodeId] {
        self.topologies.nodes(self.term(term).topology, domain)
    }

    /// What is there of each kind, by node.
    pub(crate) fn there(&self) -> impl Iterator<Item = ((NodeId, KindId), Count)> {
        let nodes = self.on.iter().enumerate();
        nodes.flat_map(|(index, on)| on.iter().map(move |&(kind, count)| ((NodeId::at(index), kind), count)))
    }

    fn term(&self, id: TermId) -> &Term {
        self.entries[id.0 as usize]
            .as_ref()
            .expect("a term lives as long as its users")
    }

    fn term_mut(&mut self, id: TermId) -> &mut Term {
        self.entries[id.0 as usize]
            .as_mut()
            .expect("a term lives as long as its users")
    }

    /// The term, with one user more.
    fn acquire<'a>(&mut self, what: What, label: &impl Fn(usize, &str) -> Option<&'a str>) -> TermId {
        if let Some(&id) = self.by_what.get(&what) {
            self.term_mut(id).users += 1;
            return id;
        }
        let topology = self.topologies.acquire(&what.topology, self.on.len(), label);
        let id = self.unused.pop().unwrap_or_else(|| {
            self.entries.push(None);
            TermId(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 terms"))
        });
        let what = Arc::new(what);
        let mut term = Term {
            what: what.clone(),
            topology,
            users: 1,
            ruled: 0,
            classes: 0,
            selected: FxHashMap::default(),
            holders: FxHashMap::default(),
            total: Count::default(),
        };
        self.kinds.select(id, &what.pods);
        for (index, on) in self.on.iter().enumerate() {
            let Some(domain) = self.topologies.domain(topology, NodeId::at(index)) else {
                continue;
            };
            for &(kind, count) in on.iter().filter(|(kind, _)| self.kinds.selects(id, *kind)) {
                debug_assert!(kind != KindId::NONE, "nothing is counted of no kind");
                term.selected.entry(domain).or_default().add(count);
                term.total.add(count);
            }
        }
        self.entries[id.0 as usize] = Some(term);
        self.by_what.insert(what, id);
        id
    }

    /// One user less.
    fn release(&mut self, id: TermId) {
        let term = self.term_mut(id);
        term.users -= 1;
        if term.users == 0 {
            let (what, topology) = (term.what.clone(), term.topology);
            self.by_what.remove(&what);
            self.entries[id.0 as usize] = None;
            self.unused.push(id);
            self.kinds.deselect(id);
            self.topologies.release(topology);
        }
    }
}

#[cfg(test)]
mod tests;
