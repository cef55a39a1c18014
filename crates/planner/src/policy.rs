//! What the administrator has set for queues: who belongs where, and what each may have.
//!
//! A gang's queue is what its driver's label says, else what its namespace's label says, else the queue that names the
//! namespace, else [`DEFAULT_QUEUE`]. A driver's label can't get past limits: a queue that names namespaces takes nobody
//! else, and as soon as the table has any queue, no others come to be by labels of drivers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kompass_core::names::DEFAULT_QUEUE;
use rustc_hash::FxHashMap;

use crate::config::Packing;
use crate::planner::Planner;
use crate::quota::Limits;

/// Rules of all queues that have any. A queue that is not named has the rules of [`QueueRules::default`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueTable {
    /// By name.
    pub queues: BTreeMap<String, QueueRules>,
}

/// Rules of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRules {
    /// Its share beside the other queues: with twice the weight it gets twice as much. At least 1.
    pub weight: u32,
    /// What it has the first claim on, of the resources named. Nothing where none is.
    pub guaranteed: Limits,
    /// What all of its gangs together may have at most; what isn't named is without limit.
    pub limit: Limits,
    /// Which nodes its gangs get; `None`: as the planner's configuration says.
    pub packing: Option<Packing>,
    /// Whose gangs belong here where nothing else is said. Where there are any, those of other namespaces may not.
    pub namespaces: BTreeSet<String>,
}

impl Default for QueueRules {
    fn default() -> Self {
        Self {
            weight: 1,
            guaranteed: Limits::default(),
            limit: Limits::default(),
            packing: None,
            namespaces: BTreeSet::new(),
        }
    }
}

/// The table, and what namespaces say.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    table: QueueTable,
    fallback: QueueRules,
    /// Labels of namespaces that have one.
    labels: FxHashMap<Box<str>, Arc<str>>,
    /// The queue that names a namespace.
    by_namespace: FxHashMap<Box<str>, Arc<str>>,
}

impl Policy {
    fn new(table: QueueTable, labels: FxHashMap<Box<str>, Arc<str>>) -> Self {
        let named = table.queues.iter().flat_map(|(name, rules)| {
            let name: Arc<str> = name.as_str().into();
            let pair = move |namespace: &String| (namespace.as_str().into(), name.clone());
            rules.namespaces.iter().map(pair)
        });
        Self {
            by_namespace: named.collect(),
            table,
            fallback: QueueRules::default(),
            labels,
        }
    }

    /// Rules of a queue.
    pub(crate) fn rules(&self, queue: &str) -> &QueueRules {
        self.table.queues.get(queue).unwrap_or(&self.fallback)
    }

    /// The queue of a driver in the namespace with this label.
    pub(crate) fn queue(&self, namespace: &str, label: Option<&str>) -> Arc<str> {
        let of_namespace = self.labels.get(namespace);
        let open = |queue: &str| {
            let known = self.table.queues.is_empty() || self.table.queues.contains_key(queue);
            let rules = self.rules(queue);
            known && rules.namespaces.is_empty()
                || rules.namespaces.contains(namespace)
                || of_namespace.is_some_and(|label| **label == *queue)
        };
        match label.filter(|label| !label.is_empty() && open(label)) {
            Some(label) => label.into(),
            None => of_namespace
                .or_else(|| self.by_namespace.get(namespace))
                .cloned()
                .unwrap_or_else(|| DEFAULT_QUEUE.into()),
        }
    }
}

impl Planner {
    /// The rules of queues from now on: gangs that wait change their queues where the rules say so.
    pub fn set_queues(&mut self, table: QueueTable) {
        if self.policy.table != table {
            let labels = std::mem::take(&mut self.policy.labels);
            self.policy = Policy::new(table, labels);
            // With another packing there may be room where there was none.
            self.nodes.grown += 1;
            self.requeue(|_| true);
        }
    }

    /// The rules of queues.
    pub fn queue_table(&self) -> &QueueTable {
        &self.policy.table
    }

    /// The queue of a driver in the namespace, with this label.
    pub fn queue_of(&self, namespace: &str, label: Option<&str>) -> Arc<str> {
        self.policy.queue(namespace, label)
    }

    /// The rules of a queue, also where the table doesn't name it.
    pub(crate) fn rules_of(&self, queue: &str) -> QueueRules {
        self.policy.rules(queue).clone()
    }

    /// Which nodes the gangs of a queue get.
    pub(crate) fn packing(&self, queue: &str) -> Packing {
        self.policy.rules(queue).packing.unwrap_or(self.config.packing)
    }

    /// A namespace was listed, added or changed; `queue`: what its label says.
    pub fn apply_namespace(&mut self, name: &str, queue: Option<&str>) {
        let queue = queue.filter(|queue| !queue.is_empty());
        if self.policy.labels.get(name).map(|known| &**known) == queue {
            return;
        }
        match queue {
            Some(queue) => _ = self.policy.labels.insert(name.into(), queue.into()),
            None => _ = self.policy.labels.remove(name),
        }
        self.requeue(|namespace| namespace == name);
    }

    /// A namespace is gone.
    pub fn delete_namespace(&mut self, name: &str) {
        self.apply_namespace(name, None);
    }

    /// The namespaces were listed anew: those for which `listed` is false are gone.
    pub fn retain_namespaces(&mut self, listed: impl Fn(&str) -> bool) {
        let labels = self.policy.labels.keys();
        for name in labels.filter(|name| !listed(name)).cloned().collect::<Vec<_>>() {
            self.delete_namespace(&name);
        }
    }

    /// Looks again where gangs of these namespaces belong.
    fn requeue(&mut self, of: impl Fn(&str) -> bool) {
        self.changed = true;
        for id in self.gangs.ids() {
            if of(&self.gangs[id].namespace) {
                // A limit may have kept its executors back.
                self.gangs[id].extras = None;
                self.enqueue(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_table_queues_come_to_be_by_labels() {
        let policy = Policy::default();
        assert_eq!(&*policy.queue("a", Some("mine")), "mine");
        assert_eq!(&*policy.queue("a", None), "default");
    }

    #[test]
    fn a_gang_belongs_where_its_label_then_its_namespace_then_the_table_say() {
        let rules = |namespaces: &[&str]| QueueRules {
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            ..QueueRules::default()
        };
        let table = QueueTable {
            queues: [("etl".to_owned(), rules(&["a"])), ("open".to_owned(), rules(&[]))].into(),
        };
        let labels = [("b".into(), "etl".into()), ("c".into(), "open".into())]
            .into_iter()
            .collect();
        let policy = Policy::new(table, labels);
        for (namespace, label, queue) in [
            ("a", None, "etl"),
            ("a", Some("open"), "open"),
            ("a", Some("unknown"), "etl"),
            ("d", Some("unknown"), "default"),
            ("a", Some(""), "etl"),
            ("b", None, "etl"),
            ("b", Some("etl"), "etl"),
            ("c", None, "open"),
            // Not one of those that the queue names.
            ("c", Some("etl"), "open"),
            ("d", Some("etl"), "default"),
            ("d", Some("open"), "open"),
            ("d", None, "default"),
        ] {
            assert_eq!(&*policy.queue(namespace, label), queue, "{namespace} {label:?}");
        }
    }
}
