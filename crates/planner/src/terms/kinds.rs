//! Kinds of pods: those of equal namespace, labels and required anti-affinity.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use kompass_core::names::SPARK_APP_LABEL;
use kompass_core::peers::common_value;
use kompass_core::{PodSelector, PodTerm};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use super::{Side, TermId, Terms, What};

/// Points to a kind of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KindId(u32);

impl KindId {
    /// Of no kind: counted nowhere.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

impl Default for KindId {
    fn default() -> Self {
        Self::NONE
    }
}

/// All kinds.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    entries: Vec<Option<Kind>>,
    unused: Vec<KindId>,
    by_hash: FxHashMap<u64, Vec<KindId>>,
    words: Words,
}

#[derive(Debug)]
pub(super) struct Kind {
    hash: u64,
    users: u32,
    namespace: Arc<str>,
    /// In order.
    labels: Box<[(Arc<str>, Arc<str>)]>,
    /// Its rules as they were read.
    rules: Box<[PodTerm]>,
    /// Its rules as far as they are about other applications, in order.
    pub(super) apart: Box<[TermId]>,
    /// All terms that select it.
    pub(super) selected_by: Vec<TermId>,
}

impl Kind {
    fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|known| (*known.0).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    fn selected(&self, pods: &PodSelector) -> bool {
        pods.selects(&self.namespace, |key| self.label(key))
    }

    fn is(&self, namespace: &str, labels: &BTreeMap<String, String>, rules: &[PodTerm]) -> bool {
        let pairs = labels.iter().map(|(key, value)| (&**key, common_value(key, value)));
        *self.namespace == *namespace
            && *self.rules == *rules
            && self.labels.iter().map(|(key, value)| (&**key, &**value)).eq(pairs)
    }
}

impl Kinds {
    pub(super) fn get(&self, id: KindId) -> Option<&Kind> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn has_terms(&self, id: KindId) -> bool {
        self.get(id)
            .is_some_and(|kind| !kind.apart.is_empty() || !kind.selected_by.is_empty())
    }

    /// The terms that count pods of the kind, and as what.
    pub(super) fn terms(&self, id: KindId) -> impl Iterator<Item = (TermId, Side)> + use<> {
        let kind = self.get(id);
        let apart = kind.into_iter().flat_map(|kind| &kind.apart);
        let selected_by = kind.into_iter().flat_map(|kind| &kind.selected_by);
        let apart = apart.map(|&term| (term, Side::Holder));
        let all: Vec<_> = apart.chain(selected_by.map(|&term| (term, Side::Selected))).collect();
        all.into_iter()
    }

    pub(super) fn is_selected(&self, id: KindId, pods: &PodSelector) -> bool {
        self.get(id).is_some_and(|kind| kind.selected(pods))
    }

    /// A new term selects these pods.
    pub(super) fn select(&mut self, term: TermId, pods: &[PodSelector]) {
        for kind in self.entries.iter_mut().flatten() {
            if pods.iter().all(|selector| kind.selected(selector)) {
                kind.selected_by.push(term);
            }
        }
    }

    /// A term is gone.
    pub(super) fn deselect(&mut self, term: TermId) {
        for kind in self.entries.iter_mut().flatten() {
            kind.selected_by.retain(|&known| known != term);
        }
    }

    pub(super) fn selects(&self, term: TermId, id: KindId) -> bool {
        self.get(id).is_some_and(|kind| kind.selected_by.contains(&term))
    }

    fn find(&self, hash: u64, namespace: &str, labels: &BTreeMap<String, String>, rules: &[PodTerm]) -> Option<KindId> {
        let ids = self.by_hash.get(&hash)?.iter().copied();
        ids.into_iter()
            .find(|&id| self.get(id).is_some_and(|kind| kind.is(namespace, labels, rules)))
    }
}

impl Terms {
    /// Whether the kind is that of these pods.
    pub(crate) fn is_kind(
        &self,
        id: KindId,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        rules: &[PodTerm],
    ) -> bool {
        self.kinds.get(id).is_some_and(|kind| kind.is(namespace, labels, rules))
    }

    /// The kind of pods of this namespace with these labels and required anti-affinity, with one user more. To be released.
    pub(crate) fn acquire_kind<'a>(
        &mut self,
        namespace: &Arc<str>,
        labels: &BTreeMap<String, String>,
        rules: &[PodTerm],
        label: impl Fn(usize, &str) -> Option<&'a str>,
    ) -> KindId {
        let hash = hash(namespace, labels, rules);
        if let Some(id) = self.kinds.find(hash, namespace, labels, rules) {
            if let Some(kind) = &mut self.kinds.entries[id.0 as usize] {
                kind.users += 1;
            }
            return id;
        }
        let application = labels.get(SPARK_APP_LABEL).map(String::as_str);
        let mut apart: Vec<TermId> = Vec::new();
        for term in rules {
            let Some(pods) = term.pods.clone().about_others(application) else {
                continue;
            };
            let what = What {
                topology: term.topology.clone(),
                pods: [pods].into(),
            };
            let id = self.acquire(what, &label);
            if apart.contains(&id) {
                self.release(id);
                continue;
            }
            apart.push(id);
            let term = self.term_mut(id);
            term.ruled += 1;
            // Whom it selects has to hear of it.
            let first = term.ruled == 1;
            self.news |= first
                && self
                    .kinds
                    .entries
                    .iter()
                    .flatten()
                    .any(|kind| kind.selected_by.contains(&id));
        }
        apart.sort_unstable();
        let words = &mut self.kinds.words;
        let pairs = labels
            .iter()
            .map(|(key, value)| (words.get(key), words.get(common_value(key, value))));
        let mut kind = Kind {
            hash,
            users: 1,
            namespace: namespace.clone(),
            labels: pairs.collect(),
            rules: rules.into(),
            apart: apart.into(),
            selected_by: Vec::new(),
        };
        let terms = self.entries.iter().zip(0..);
        let terms = terms.filter_map(|(term, index)| Some((term.as_ref()?, TermId(index))));
        let selects = terms.filter(|(term, _)| term.what.pods.iter().all(|pods| kind.selected(pods)));
        kind.selected_by = selects.map(|(_, id)| id).collect();
        let id = self.kinds.unused.pop().unwrap_or_else(|| {
            self.kinds.entries.push(None);
            KindId(u32::try_from(self.kinds.entries.len() - 1).expect("fewer than 2^32 kinds"))
        });
        self.kinds.entries[id.0 as usize] = Some(kind);
        self.kinds.by_hash.entry(hash).or_default().push(id);
        id
    }

    /// One user less; with the last one nothing of the kind is counted anywhere any more.
    pub(crate) fn release_kind(&mut self, id: KindId) {
        let Some(kind) = self.kinds.entries.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        kind.users -= 1;
        if kind.users > 0 {
            return;
        }
        let Some(kind) = self.kinds.entries[id.0 as usize].take() else {
            return;
        };
        self.kinds.unused.push(id);
        if let Some(ids) = self.kinds.by_hash.get_mut(&kind.hash) {
            ids.retain(|&known| known != id);
            if ids.is_empty() {
                self.kinds.by_hash.remove(&kind.hash);
            }
        }
        for term in kind.apart {
            self.term_mut(term).ruled -= 1;
            self.release(term);
        }
    }

    /// Whether any term counts pods of the kind.
    pub(crate) fn has_terms(&self, id: KindId) -> bool {
        self.kinds.has_terms(id)
    }

    /// Kinds known.
    #[cfg(test)]
    pub(crate) fn kinds_known(&self) -> usize {
        self.kinds.entries.iter().flatten().count()
    }
}

fn hash(namespace: &str, labels: &BTreeMap<String, String>, rules: &[PodTerm]) -> u64 {
    let mut hasher = FxHasher::default();
    namespace.hash(&mut hasher);
    for (key, value) in labels {
        (key, common_value(key, value)).hash(&mut hasher);
    }
    rules.hash(&mut hasher);
    hasher.finish()
}

/// One shared copy of each word in labels.
#[derive(Debug, Default)]
struct Words {
    words: FxHashSet<Arc<str>>,
    /// At so many it is looked which of them nobody has any more.
    sweep_at: usize,
}

impl Words {
    fn get(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.words.get(word) {
            return known.clone();
        }
        if self.words.len() >= self.sweep_at {
            self.words.retain(|word| Arc::strong_count(word) > 1);
            self.sweep_at = 2 * self.words.len() + 1_024;
        }
        let word: Arc<str> = word.into();
        self.words.insert(word.clone());
        word
    }
}
