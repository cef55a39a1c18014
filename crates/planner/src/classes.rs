//! Constraint classes: each distinct set of rules is matched against each node once, not once per gang.

use kompass_core::{Constraints, Node};
use rustc_hash::FxHashMap;

/// A class: equal rules of any number of gangs. What is kept of a class that is gone never equals another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClassId {
    index: u32,
    /// Classes that were made before.
    made: u64,
}

/// All classes and, for each, which nodes it allows.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    entries: Vec<Option<Class>>,
    by_rules: FxHashMap<Constraints, ClassId>,
    made: u64,
}

#[derive(Debug)]
struct Class {
    rules: Constraints,
    users: u32,
    allowed: Vec<bool>,
}

impl Classes {
    /// The class of these rules, with one user more. `usable` yields the nodes in order, `None` where no pod may go.
    pub(crate) fn acquire<'a>(
        &mut self,
        rules: &Constraints,
        usable: impl Iterator<Item = Option<&'a Node>>,
    ) -> ClassId {
        if let Some(&id) = self.by_rules.get(rules) {
            self.class_mut(id).users += 1;
            return id;
        }
        let allowed = usable.map(|node| node.is_some_and(|node| rules.allow(node))).collect();
        let class = Some(Class {
            rules: rules.clone(),
            users: 1,
            allowed,
        });
        let index = self.entries.iter().position(Option::is_none).unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[index] = class;
        let id = ClassId {
            index: u32::try_from(index).expect("fewer than 2^32 classes"),
            made: self.made,
        };
        self.made += 1;
        self.by_rules.insert(rules.clone(), id);
        id
    }

    /// One user less; the last one takes the class away.
    pub(crate) fn release(&mut self, id: ClassId) {
        let class = self.class_mut(id);
        class.users -= 1;
        if class.users == 0 {
            let rules = std::mem::take(&mut class.rules);
            self.by_rules.remove(&rules);
            self.entries[id.index as usize] = None;
        }
    }

    /// The node at `index` has changed; `None` where no pod may go.
    pub(crate) fn update(&mut self, index: usize, node: Option<&Node>) {
        for class in self.entries.iter_mut().flatten() {
            if class.allowed.len() <= index {
                class.allowed.resize(index + 1, false);
            }
            class.allowed[index] = node.is_some_and(|node| class.rules.allow(node));
        }
    }

    /// Which nodes the class allows, by node index.
    pub(crate) fn allowed(&self, id: ClassId) -> &[bool] {
        &self.class(id).allowed
    }

    /// The rules.
    pub(crate) fn rules(&self, id: ClassId) -> &Constraints {
        &self.class(id).rules
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

    #[test]
    fn a_class_that_is_gone_equals_no_other() {
        let rules = |pool: &str| Constraints {
            node_selector: [("pool".to_owned(), pool.to_owned())].into(),
            ..Constraints::default()
        };
        let mut classes = Classes::default();
        let gone = classes.acquire(&rules("a"), std::iter::empty());
        classes.release(gone);
        let other = classes.acquire(&rules("b"), std::iter::empty());
        assert_eq!(gone.index, other.index, "its place is used again");
        assert_ne!(gone, other);
        assert_eq!(classes.acquire(&rules("b"), std::iter::empty()), other);
    }
}
