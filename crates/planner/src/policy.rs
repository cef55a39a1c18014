//! What the administrator has set for queues: who belongs where, and what each may have.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Whose gangs belong here where nothing else is said. Where there are any, those of other namespaces may not.
    pub namespaces: BTreeSet<String>,
}

impl Default for QueueRules {
    fn default() -> Self {
        Self {
            weight: 1,
            guaranteed: Limits::default(),
            limit: Limits::default(),
            namespaces: BTreeSet::new(),
        }
    }
}

impl Planner {
    /// The rules of queues from now on.
    pub fn set_queues(&mut self, table: QueueTable) {
        self.changed |= self.policy.table != table;
        self.policy.table = table;
    }

    /// A namespace was listed, added or changed; `queue`: what its label says.
    pub fn apply_namespace(&mut self, name: &str, queue: Option<&str>) {
        let _ = (name, queue);
    }

    /// A namespace is gone.
    pub fn delete_namespace(&mut self, name: &str) {
        self.apply_namespace(name, None);
    }

    /// The namespaces were listed anew: those for which `listed` is false are gone.
    pub fn retain_namespaces(&mut self, listed: impl Fn(&str) -> bool) {
        let _ = listed;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    pub(crate) table: QueueTable,
}
