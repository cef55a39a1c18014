//! Nodes by the pods that are there: classes of rules about them, and what changes when pods come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use kompass_core::{Constraints, PodTerm};

use super::{Entry, NodeId, Nodes, label};
use crate::classes::ClassId;
use crate::terms::{Count, KindId, Own, PeerRules, Step};

impl Nodes {
    /// The kind of pods of this namespace with these labels and required anti-affinity; to be released.
    pub(crate) fn acquire_kind(
        &mut self,
        namespace: &Arc<str>,
        labels: &BTreeMap<String, String>,
        rules: &[PodTerm],
    ) -> KindId {
        let Self { terms, entries, .. } = self;
        let label = |index: usize, key: &str| label(entries[index].node.as_ref(), key);
        terms.acquire_kind(namespace, labels, rules, label)
    }

    /// Nothing of the kind may be charged any more with the last one.
    pub(crate) fn release_kind(&mut self, kind: KindId) {
        self.terms.release_kind(kind);
    }

    pub(crate) fn is_kind(
        &self,
        kind: KindId,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        rules: &[PodTerm],
    ) -> bool {
        self.terms.is_kind(kind, namespace, labels, rules)
    }

    /// Pods that are charged to the node are of another kind than they were.
    pub(crate) fn change_kind(&mut self, id: NodeId, from: KindId, to: KindId, count: Count) {
        if from != to {
            self.terms.count(id, to, count, Step::Come);
            self.terms.count(id, from, count, Step::Go);
            self.settle_terms();
        }
    }

    /// A pod that is charged to the node is bound, or is so no more.
    pub(crate) fn note_bound(&mut self, id: NodeId, kind: KindId, step: Step) {
        let bound = Count {
            bound: 1,
            ..Count::default()
        };
        self.terms.count(id, kind, bound, step);
        self.settle_terms();
    }

    /// The class of these rules about nodes, for pods of this kind with these terms of affinity; to be released.
    pub(crate) fn acquire_class(&mut self, rules: &Constraints, kind: KindId, together: &[PodTerm]) -> ClassId {
        let peers = self.acquire_rules(kind, together);
        if let Some(known) = self.classes.share(rules, &peers) {
            self.terms.release_rules(&peers);
            return known;
        }
        self.make_class(rules, peers, None)
    }

    /// A class of its own where pods of one gang don't count, if there are rules about pods; to be released.
    pub(crate) fn acquire_class_besides(
        &mut self,
        rules: &Constraints,
        kind: KindId,
        together: &[PodTerm],
        own: Option<&Own>,
    ) -> ClassId {
        let peers = self.acquire_rules(kind, together);
        if peers.is_none() {
            return self.acquire_class(rules, kind, together);
        }
        self.make_class(rules, peers, own)
    }

    fn acquire_rules(&mut self, kind: KindId, together: &[PodTerm]) -> PeerRules {
        let Self { terms, entries, .. } = self;
        let label = |index: usize, key: &str| label(entries[index].node.as_ref(), key);
        terms.acquire_rules(kind, together, label)
    }

    fn make_class(&mut self, rules: &Constraints, peers: PeerRules, own: Option<&Own>) -> ClassId {
        let Self {
            terms,
            entries,
            classes,
            ..
        } = self;
        let lets = |node: NodeId, peers: &PeerRules| terms.lets(peers, node, own);
        classes.make(rules, peers, own.is_none(), entries.iter().map(Entry::open), lets)
    }

    pub(crate) fn release_class(&mut self, id: ClassId) {
        if let Some(peers) = self.classes.release(id) {
            self.terms.release_rules(&peers);
        }
    }

    /// Whether any rule speaks of pods of the kind, or is one of theirs.
    pub(crate) fn has_terms(&self, kind: KindId) -> bool {
        self.terms.has_terms(kind)
    }

    /// Whether the class has rules about pods.
    pub(crate) fn has_peer_rules(&self, id: ClassId) -> bool {
        self.classes.peers(id).is_some()
    }

    /// How many nodes the class would be allowed, now or without KOMPASS's pods, but for its rules about pods.
    pub(crate) fn kept_off(&self, id: ClassId, empty: bool) -> u64 {
        if !self.has_peer_rules(id) {
            return 0;
        }
        let allowed = if empty {
            self.allowed_empty(id)
        } else {
            self.allowed(id)
        };
        let rules = self.class_rules(id);
        let kept_off = self.entries.iter().zip(allowed).filter(|(entry, allowed)| {
            let open = entry.open().is_some_and(|node| rules.allow(node));
            open && !**allowed
        });
        kept_off.count() as u64
    }

    /// Whether room kept on the node for a pod of the class can still be used, by the rules about pods.
    pub(crate) fn stands(&self, id: ClassId, node: NodeId, own: &Own) -> bool {
        let peers = self.classes.peers(id);
        peers.is_none_or(|peers| self.terms.stands(peers, node, own))
    }

    /// Whether pods or reservations on the node and a pod of this kind keep off each other.
    pub(crate) fn keeps_off(&self, kind: KindId, node: NodeId, own: Option<&Own>) -> bool {
        self.terms.keeps_off(kind, node, own)
    }

    /// Whether pods of these kinds keep off each other.
    pub(crate) fn conflict(&self, one: KindId, other: KindId) -> bool {
        self.terms.conflict(one, other)
    }

    /// Notes that many pods of a kind on the node as a gang's own.
    pub(crate) fn note_own(&self, own: &mut Own, node: NodeId, kind: KindId, count: u64) {
        own.note(&self.terms, node, kind, count);
    }

    /// Whether pods of kinds that were known before may have got rules about them since the last call.
    pub(crate) fn take_news(&mut self) -> bool {
        self.terms.take_news()
    }

    /// Nodes where pods may not get on with each other any more, since the last call.
    pub(crate) fn take_doubtful(&mut self) -> Vec<NodeId> {
        let mut doubtful = std::mem::take(&mut self.doubtful);
        doubtful.sort_unstable();
        doubtful.dedup();
        doubtful
    }

    /// They may be so.
    pub(crate) fn doubt(&mut self, nodes: &[NodeId]) {
        self.doubtful.extend(nodes);
    }

    /// What is there of each kind.
    pub(crate) fn kinds_there(&self) -> impl Iterator<Item = ((NodeId, KindId), Count)> {
        self.terms.there()
    }

    /// Recounts what terms count, and looks whether classes allow what they should.
    pub(crate) fn check_classes(&self) -> Result<(), String> {
        self.terms.check()?;
        for id in self.ids() {
            let lets = |peers: &PeerRules| self.terms.lets(peers, id, None);
            self.classes.check(id, self.entries[id.index()].open(), lets)?;
        }
        Ok(())
    }

    pub(super) fn update_classes(&mut self, id: NodeId) {
        let Self {
            terms,
            entries,
            classes,
            ..
        } = self;
        classes.update(id, entries[id.index()].open(), |peers| terms.lets(peers, id, None));
    }

    /// Brings classes up to date with what has changed about the pods on nodes.
    pub(super) fn settle_terms(&mut self) {
        if !self.terms.any_changed() {
            return;
        }
        for (term, domain) in self.terms.take_changed() {
            let nodes: Vec<NodeId> = match domain {
                Some(domain) => self.terms.nodes_of(term, domain).to_vec(),
                None => self.ids().collect(),
            };
            let (mut more, mut other) = (false, false);
            for &id in &nodes {
                let Self {
                    terms,
                    entries,
                    classes,
                    journal,
                    ..
                } = self;
                let node = entries[id.index()].open();
                let changed = classes.reconsider(term, id, node, |peers| terms.lets(peers, id, None));
                (more, other) = (more | changed.0, other | changed.1);
                journal.note(id);
            }
            self.grown += u64::from(more);
            self.capacity += u64::from(other);
            self.doubtful.extend(nodes);
        }
    }
}
