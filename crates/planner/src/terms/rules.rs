//! What rules about other pods make of a node.

use kompass_core::{PodSelector, PodTerm};

use super::{Count, KindId, Own, Side, TermId, Terms, What};
use crate::nodes::NodeId;

/// What a class of pods asks of the nodes because of other pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct PeerRules {
    /// What these select keeps them away.
    apart: Box<[TermId]>,
    /// Who has these keeps them away.
    shy: Box<[TermId]>,
    /// What these select has to be there.
    together: Box<[TermId]>,
    /// They are such pods themselves, and may be the first.
    first: bool,
}

impl PeerRules {
    pub(crate) fn is_none(&self) -> bool {
        self.apart.is_empty() && self.shy.is_empty() && self.together.is_empty()
    }

    /// Whether any rule is about this term.
    pub(crate) fn speaks_of(&self, term: TermId) -> bool {
        self.terms().any(|known| known == term)
    }

    fn terms(&self) -> impl Iterator<Item = TermId> {
        self.apart.iter().chain(&self.shy).chain(&self.together).copied()
    }
}

/// Whether rules about other pods let a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lets {
    /// By the pods and reservations there are.
    pub(crate) now: bool,
    /// If all of KOMPASS's pods were gone, but for those that have to be there.
    pub(crate) empty: bool,
}

impl Terms {
    /// What pods of a kind ask of the nodes, with these terms of affinity. To be released.
    pub(crate) fn acquire_rules<'a>(
        &mut self,
        kind: KindId,
        together: &[PodTerm],
        label: impl Fn(usize, &str) -> Option<&'a str>,
    ) -> PeerRules {
        let Some(known) = self.kinds.get(kind) else {
            return PeerRules::default();
        };
        let apart: Box<[TermId]> = known.apart.clone();
        let selected_by = known.selected_by.iter();
        let shy = selected_by.filter(|&&term| self.term(term).ruled > 0);
        let mut shy: Vec<TermId> = shy.copied().collect();
        shy.sort_unstable();
        let pods: Box<[PodSelector]> = together.iter().map(|term| term.pods.clone()).collect();
        let first = pods.iter().all(|selector| self.kinds.is_selected(kind, selector));
        let together = together.iter().map(|term| {
            let what = What {
                topology: term.topology.clone(),
                pods: pods.clone(),
            };
            self.acquire(what, &label)
        });
        let together: Box<[TermId]> = together.collect();
        let rules = PeerRules {
            first: first && !together.is_empty(),
            apart,
            shy: shy.into(),
            together,
        };
        // Those of affinity have their user already.
        for &id in rules.apart.iter().chain(&rules.shy) {
            self.term_mut(id).users += 1;
        }
        for id in rules.terms() {
            self.term_mut(id).classes += 1;
        }
        rules
    }

    pub(crate) fn release_rules(&mut self, rules: &PeerRules) {
        for id in rules.terms() {
            self.term_mut(id).classes -= 1;
            self.release(id);
        }
    }

    /// Whether the rules let a pod to the node, where these pods of its own gang don't count.
    pub(crate) fn lets(&self, rules: &PeerRules, node: NodeId, own: Option<&Own>) -> Lets {
        let mut lets = Lets { now: true, empty: true };
        let apart = rules.apart.iter().map(|&term| (term, Side::Selected));
        let shy = rules.shy.iter().map(|&term| (term, Side::Holder));
        for (term, side) in apart.chain(shy) {
            let count = self.others(term, side, node, own);
            lets.now &= count.all == 0;
            lets.empty &= count.foreign == 0;
        }
        let joins = self.joins(rules, node, true);
        (lets.now, lets.empty) = (lets.now && joins, lets.empty && joins);
        lets
    }

    /// Whether a reservation on the node still stands: a pod could be bound there now.
    pub(crate) fn stands(&self, rules: &PeerRules, node: NodeId, own: &Own) -> bool {
        let away = |term: &TermId, side| self.others(*term, side, node, Some(own)).all > 0;
        !rules.apart.iter().any(|term| away(term, Side::Selected))
            && !rules.shy.iter().any(|term| away(term, Side::Holder))
            && self.joins(rules, node, false)
    }

    /// Whether the affinity lets a pod to the node. With `planned` who may be the first goes to where the first will be.
    fn joins(&self, rules: &PeerRules, node: NodeId, planned: bool) -> bool {
        let terms = || rules.together.iter().copied();
        let here = |of: fn(Count) -> u64| terms().all(|term| of(self.at(term, Side::Selected, node)) > 0);
        let anywhere = |of: fn(Count) -> u64| terms().any(|term| of(self.term(term).total) > 0);
        let within = |term| self.topologies.domain(self.term(term).topology, node).is_some();
        if here(|count| count.bound) {
            return true;
        }
        let first = rules.first && !anywhere(|count| count.bound) && terms().all(within);
        first && (!planned || !anywhere(|count| count.all) || here(|count| count.all))
    }

    /// Whether pods or reservations on the node's domains and a pod of this kind keep off each other.
    pub(crate) fn keeps_off(&self, kind: KindId, node: NodeId, own: Option<&Own>) -> bool {
        self.kinds.has_terms(kind)
            && self
                .kinds
                .terms(kind)
                .any(|(term, side)| self.others(term, side.other(), node, own).all > 0)
    }

    /// Whether pods of these kinds keep off each other in any topology.
    pub(crate) fn conflict(&self, one: KindId, other: KindId) -> bool {
        let keeps_off = |one: KindId, other: KindId| {
            let (Some(one), Some(other)) = (self.kinds.get(one), self.kinds.get(other)) else {
                return false;
            };
            one.apart.iter().any(|term| other.selected_by.contains(term))
        };
        keeps_off(one, other) || keeps_off(other, one)
    }

    fn others(&self, term: TermId, side: Side, node: NodeId, own: Option<&Own>) -> Count {
        let mut count = self.at(term, side, node);
        if let Some(own) = own
            && let Some(domain) = self.topologies.domain(self.term(term).topology, node)
        {
            count.subtract(own.get(term, side, domain));
        }
        count
    }

    fn at(&self, term: TermId, side: Side, node: NodeId) -> Count {
        let term = self.term(term);
        let domain = self.topologies.domain(term.topology, node);
        let count = domain.and_then(|domain| term.counts(side).get(&domain));
        count.copied().unwrap_or_default()
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Selected => Self::Holder,
            Self::Holder => Self::Selected,
        }
    }
}
