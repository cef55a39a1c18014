//! Constraint classes: each distinct set of rules is matched against each node once, not once per gang.

use std::sync::Arc;

use kompass_core::{Constraints, Node};
use rustc_hash::FxHashMap;

use crate::nodes::NodeId;
use crate::terms::{Lets, PeerRules, TermId};

/// A class: equal rules of any number of gangs. What is kept of a class that is gone never equals another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClassId {
    index: u32,
    /// Classes that were made before.
    made: u64,
}

/// Rules about nodes, and about the pods there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Rules {
    nodes: Constraints,
    /// `None` where there are none.
    peers: Option<Arc<PeerRules>>,
}

/// All classes and, for each, which nodes it allows.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    entries: Vec<Option<Class>>,
    by_rules: FxHashMap<Rules, ClassId>,
    made: u64,
}

#[derive(Debug)]
struct Class {
    rules: Rules,
    users: u32,
    allowed: Vec<bool>,
    /// What would be allowed if all of KOMPASS's pods were gone; only where there are rules about pods.
    allowed_empty: Vec<bool>,
}

impl Class {
    /// Sets what is allowed; tells whether that is more now, and whether it would be another without KOMPASS's pods.
    fn set(&mut self, index: usize, node: Option<&Node>, lets: impl FnOnce(&PeerRules) -> Lets) -> (bool, bool) {
        if self.allowed.len() <= index {
            self.allowed.resize(index + 1, false);
        }
        let allowed = node.is_some_and(|node| self.rules.nodes.allow(node));
        let Some(peers) = &self.rules.peers else {
            let before = std::mem::replace(&mut self.allowed[index], allowed);
            return (allowed && !before, allowed != before);
        };
        if self.allowed_empty.len() <= index {
            self.allowed_empty.resize(index + 1, false);
        }
        let lets = if allowed {
            lets(peers)
        } else {
            Lets {
                now: false,
                empty: false,
            }
        };
        let before = std::mem::replace(&mut self.allowed[index], lets.now);
        let before_empty = std::mem::replace(&mut self.allowed_empty[index], lets.empty);
        (lets.now && !before, lets.empty != before_empty)
    }
}

impl Classes {
    /// The class of these rules, with one user more; `None` where there is none yet. Rules about pods that it has already
    /// are not taken over.
    pub(crate) fn share(&mut self, nodes: &Constraints, peers: &PeerRules) -> Option<ClassId> {
        let rules = Rules {
            nodes: nodes.clone(),
            peers: (!peers.is_none()).then(|| Arc::new(peers.clone())),
        };
        let id = *self.by_rules.get(&rules)?;
        self.class_mut(id).users += 1;
        Some(id)
    }

    /// A new class of these rules, with one user; `shared` with others of the same rules or not. `usable` yields the nodes
    /// in order, `None` where no pod may go.
    pub(crate) fn make<'a>(
        &mut self,
        nodes: &Constraints,
        peers: PeerRules,
        shared: bool,
        usable: impl Iterator<Item = Option<&'a Node>>,
        lets: impl Fn(NodeId, &PeerRules) -> Lets,
    ) -> ClassId {
        let rules = Rules {
            nodes: nodes.clone(),
            peers: (!peers.is_none()).then(|| Arc::new(peers)),
        };
        let mut class = Class {
            rules: rules.clone(),
            users: 1,
            allowed: Vec::with_capacity(usable.size_hint().0),
            allowed_empty: Vec::new(),
        };
        for (index, node) in usable.enumerate() {
            class.set(index, node, |peers| lets(NodeId::at(index), peers));
        }
        let index = self.entries.iter().position(Option::is_none).unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[index] = Some(class);
        let id = ClassId {
            index: u32::try_from(index).expect("fewer than 2^32 classes"),
            made: self.made,
        };
        self.made += 1;
        if shared {
            self.by_rules.insert(rules, id);
        }
        id
    }

    /// One user less; the last one takes the class away: then these are the rules about pods that it had.
    pub(crate) fn release(&mut self, id: ClassId) -> Option<Arc<PeerRules>> {
        let class = self.class_mut(id);
        class.users -= 1;
        if class.users > 0 {
            return None;
        }
        let class = self.entries[id.index as usize].take()?;
        if self.by_rules.get(&class.rules) == Some(&id) {
            self.by_rules.remove(&class.rules);
        }
        class.rules.peers
    }

    /// The node has changed; `None` where no pod may go.
    pub(crate) fn update(&mut self, id: NodeId, node: Option<&Node>, lets: impl Fn(&PeerRules) -> Lets) {
        for class in self.entries.iter_mut().flatten() {
            class.set(id.index(), node, &lets);
        }
    }

    /// What a term counts on the node has changed. Tells whether any class allows more now, and whether any would allow
    /// others without KOMPASS's pods.
    pub(crate) fn reconsider(
        &mut self,
        term: TermId,
        id: NodeId,
        node: Option<&Node>,
        lets: impl Fn(&PeerRules) -> Lets,
    ) -> (bool, bool) {
        let (mut more, mut other) = (false, false);
        for class in self.entries.iter_mut().flatten() {
            if class.rules.peers.as_ref().is_some_and(|peers| peers.speaks_of(term)) {
                let changed = class.set(id.index(), node, &lets);
                (more, other) = (more | changed.0, other | changed.1);
            }
        }
        (more, other)
    }

    /// Whether all classes allow what they should on the node.
    pub(crate) fn check(
        &self,
        id: NodeId,
        node: Option<&Node>,
        lets: impl Fn(&PeerRules) -> Lets,
    ) -> Result<(), String> {
        for class in self.entries.iter().flatten() {
            let allowed = node.is_some_and(|node| class.rules.nodes.allow(node));
            let lets = class.rules.peers.as_deref().map(&lets);
            let now = allowed && lets.is_none_or(|lets| lets.now);
            let empty = lets.map(|lets| allowed && lets.empty);
            let known_empty = class.rules.peers.is_some().then(|| class.allowed_empty[id.index()]);
            if class.allowed[id.index()] != now || known_empty != empty {
                return Err(format!(
                    "{:?} allows node {id:?} otherwise than {now}, {empty:?}",
                    class.rules
                ));
            }
        }
        Ok(())
    }

    /// Which nodes the class allows, by node index.
    pub(crate) fn allowed(&self, id: ClassId) -> &[bool] {
        &self.class(id).allowed
    }

    /// The same if all of KOMPASS's pods were gone: some more.
    pub(crate) fn allowed_empty(&self, id: ClassId) -> &[bool] {
        let class = self.class(id);
        if class.rules.peers.is_some() {
            &class.allowed_empty
        } else {
            &class.allowed
        }
    }

    /// The rules about nodes.
    pub(crate) fn rules(&self, id: ClassId) -> &Constraints {
        &self.class(id).rules.nodes
    }

    /// The rules about pods, where there are any.
    pub(crate) fn peers(&self, id: ClassId) -> Option<&Arc<PeerRules>> {
        self.class(id).rules.peers.as_ref()
    }

    fn class(&self, id: ClassId) -> &Class {
        self.entries[id.index as usize]
            .as_ref()
            .expect("a class lives as long as its users")
    }

    fn class_mut(&mut self, id: ClassId) -> &mut Class {
        self.entries[id.index as usize]
            .as_mut()
            .expect("a class lives as long as its users")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(classes: &mut Classes, rules: &Constraints) -> ClassId {
        let none = PeerRules::default();
        let known = classes.share(rules, &none);
        let every = |_: NodeId, _: &PeerRules| Lets { now: true, empty: true };
        known.unwrap_or_else(|| classes.make(rules, none, true, std::iter::empty(), every))
    }

    #[test]
    fn a_class_that_is_gone_equals_no_other() {
        let rules = |pool: &str| Constraints {
            node_selector: [("pool".to_owned(), pool.to_owned())].into(),
            ..Constraints::default()
        };
        let mut classes = Classes::default();
        let gone = acquire(&mut classes, &rules("a"));
        classes.release(gone);
        let other = acquire(&mut classes, &rules("b"));
        assert_eq!(gone.index, other.index, "its place is used again");
        assert_ne!(gone, other);
        assert_eq!(acquire(&mut classes, &rules("b")), other);
    }
}
