//! Nodes for gangs that schedules start: held until the very gang has them, and not bought again. Pure.

use crate::certain::Certain;
use crate::choice::HOLD_MS;

/// A driver that is created so long before its time counts: clocks differ.
const EARLY_MS: i64 = 60_000;

/// The gangs that are expected by name.
#[derive(Debug, Default)]
pub struct Named(Vec<Expected>);

/// A gang, and when a decision counted its nodes last, milliseconds since 1970 UTC.
#[derive(Debug)]
struct Expected {
    gang: Certain,
    counted_ms: i64,
}

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
    /// Remembers what a decision expects. `at_ms`: when it was made.
    pub fn note(&mut self, at_ms: i64, certain: &[Certain]) {
        // Here, too: a replica that does not act splits nothing.
        self.forget(at_ms);
        for one in certain {
            let same = |known: &&mut Expected| {
                let gang = &known.gang;
                gang.name == one.name && gang.key == one.key && gang.at_ms == one.at_ms
            };
            match self.0.iter_mut().find(same) {
                Some(known) => {
                    known.gang.nodes = one.nodes;
                    known.counted_ms = known.counted_ms.max(at_ms);
                }
                None => self.0.push(Expected {
                    gang: one.clone(),
                    counted_ms: at_ms,
                }),
            }
        }
    }

    /// What of the nodes of a decision is for whom. `is_bound`: whether a driver of this key that was created from this
    /// moment on has its nodes.
    pub fn split(&mut self, now_ms: i64, nodes: u32, is_bound: impl Fn(&str, i64) -> bool) -> Split {
        self.forget(now_ms);
        let is_bound = |expected: &&Expected| is_bound(&expected.gang.key, expected.gang.at_ms - EARLY_MS);
        let (bound, waiting): (Vec<&Expected>, Vec<&Expected>) = self.0.iter().partition(is_bound);
        let mut left = nodes;
        let mut split = Split::default();
        // Those that have still to come go first: what others have is only taken off what is left.
        for expected in waiting {
            let held = expected.gang.nodes.min(left);
            left -= held;
            if held > 0 {
                split.named.push(Certain {
                    nodes: held,
                    ..expected.gang.clone()
                });
            }
        }
        for expected in bound {
            left = left.saturating_sub(expected.gang.nodes);
        }
        split.statistical = left;
        split
    }

    /// Those whose nodes no decision goes on with.
    fn forget(&mut self, now_ms: i64) {
        self.0.retain(|expected| now_ms - expected.counted_ms <= HOLD_MS);
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
        named.note(AT_MS - 300_000, &[certain("etl", 5)]);
        named.note(AT_MS, &[certain("etl", 4), certain("report", 1)]);
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
    fn the_next_start_is_held_for_though_the_one_before_still_counts() {
        let mut named = Named::default();
        let next = Certain {
            at_ms: AT_MS + 600_000,
            ..certain("etl", 5)
        };
        named.note(AT_MS - 60_000, &[certain("etl", 5)]);
        named.note(AT_MS + 300_000, std::slice::from_ref(&next));
        let bound = |_: &str, from_ms: i64| from_ms < AT_MS;
        let split = named.split(AT_MS + 300_000, 5, bound);
        assert_eq!((split.named, split.statistical), (vec![next], 0));
    }

    #[test]
    fn it_is_forgotten_when_the_decision_has_let_go() {
        let mut named = Named::default();
        named.note(AT_MS, &[certain("etl", 5)]);
        let split = named.split(AT_MS + HOLD_MS + 1, 2, |_, _| true);
        let expected = Split {
            statistical: 2,
            named: vec![],
        };
        assert_eq!(split, expected);
    }

    #[test]
    fn who_does_not_act_forgets_too() {
        let mut named = Named::default();
        for hour in 0..1_000 {
            let at_ms = AT_MS + hour * 3_600_000;
            named.note(
                at_ms,
                &[Certain {
                    at_ms,
                    ..certain("etl", 5)
                }],
            );
        }
        assert_eq!(named.0.len(), 1);
    }

    #[test]
    fn never_more_than_was_decided() {
        let mut named = Named::default();
        named.note(AT_MS, &[certain("etl", 5)]);
        assert_eq!(named.split(AT_MS, 3, |_, _| false).nodes(), 3);
    }
}
