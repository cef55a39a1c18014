//! Nodes for gangs that schedules start: held until the very gang has them, and not bought again. Pure.

use crate::certain::{Certain, LATE_MS};
use crate::choice::HOLD_MS;

/// A driver that is created so long before its time counts: clocks differ.
const EARLY_MS: i64 = 60_000;

/// The gangs that are expected by name.
#[derive(Debug, Default)]
pub struct Named(Vec<Certain>);

/// What is to be held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// For nobody in particular: what is taken is bought again.
    pub statistical: u32,
    /// For gangs by name; what is taken goes.
    pub named: Vec<Certain>,
}

impl Split {
    /// Of both.
    pub fn nodes(&self) -> u32 {
        let named = self.named.iter().map(|named| named.nodes);
        named.fold(self.statistical, u32::saturating_add)
    }
}

impl Named {
    /// Remembers what the last decision expects.
    pub fn note(&mut self, certain: &[Certain]) {
        for one in certain {
            let same =
                |known: &&mut Certain| known.name == one.name && known.key == one.key && known.at_ms == one.at_ms;
            match self.0.iter_mut().find(same) {
                Some(known) => known.nodes = one.nodes,
                None => self.0.push(one.clone()),
            }
        }
    }

    /// What of the nodes of a decision is for whom. `is_bound`: whether a driver of this key that was created from this
    /// moment on has its nodes.
    pub fn split(&mut self, now_ms: i64, nodes: u32, is_bound: impl Fn(&str, i64) -> bool) -> Split {
        // So long the decision may go on with the nodes for it.
        self.0.retain(|named| now_ms <= named.at_ms + LATE_MS + HOLD_MS);
        let mut left = nodes;
        let mut split = Split::default();
        for named in &self.0 {
            let held = named.nodes.min(left);
            left -= held;
            if held > 0 && !is_bound(&named.key, named.at_ms - EARLY_MS) {
                split.named.push(Certain {
                    nodes: held,
                    ..named.clone()
                });
            }
        }
        split.statistical = left;
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_MS: i64 = 1_800_000_000_000;

    fn certain(key: &str, nodes: u32) -> Certain {
        Certain {
            name: format!("jobs/{key}"),
            key: key.to_owned(),
            at_ms: AT_MS,
            nodes,
        }
    }

    #[test]
    fn what_the_gang_has_is_not_held_again() {
        let mut named = Named::default();
        named.note(&[certain("etl", 5)]);
        named.note(&[certain("etl", 4), certain("report", 1)]);
        let split = named.split(AT_MS, 7, |_, _| false);
        assert_eq!(split.named, [certain("etl", 4), certain("report", 1)]);
        assert_eq!((split.statistical, split.nodes()), (2, 7));
        let bound = |key: &str, from_ms: i64| key == "etl" && from_ms < AT_MS;
        let split = named.split(AT_MS + 60_000, 7, bound);
        assert_eq!(
            (split.statistical, split.nodes()),
            (2, 3),
            "the decision still counts its nodes"
        );
        assert_eq!(split.named, [certain("report", 1)]);
    }

    #[test]
    fn it_is_forgotten_when_the_decision_has_let_go() {
        let mut named = Named::default();
        named.note(&[certain("etl", 5)]);
        let split = named.split(AT_MS + LATE_MS + HOLD_MS + 1, 2, |_, _| true);
        assert_eq!(
            split,
            Split {
                statistical: 2,
                named: vec![]
            }
        );
    }

    #[test]
    fn never_more_than_was_decided() {
        let mut named = Named::default();
        named.note(&[certain("etl", 5)]);
        assert_eq!(named.split(AT_MS, 3, |_, _| false).nodes(), 3);
    }
}
