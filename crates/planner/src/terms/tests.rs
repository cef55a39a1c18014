use std::collections::BTreeMap;
use std::sync::Arc;

use kompass_core::constraints::{Operator, Requirement};
use kompass_core::names::SPARK_APP_LABEL;
use kompass_core::{PodSelector, PodTerm};
use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn about(topology: &str, key: &str, operator: Operator, value: &str) -> PodTerm {
    PodTerm {
        topology: topology.into(),
        pods: PodSelector {
            namespaces: None,
            labels: vec![Requirement {
                key: key.into(),
                operator,
                values: vec![value.into()],
            }],
        },
    }
}

/// A kind of pods in the namespace `ns`, on nodes without labels.
fn kind(terms: &mut Terms, pairs: &[(&str, &str)], rules: &[PodTerm]) -> KindId {
    terms.acquire_kind(&Arc::from("ns"), &labels(pairs), rules, |_, _| None)
}

#[test]
fn executors_of_an_application_are_of_one_kind_and_nothing_stays_of_them() {
    let mut terms = Terms::default();
    let rules = [about("zone", "app", Operator::In, "web")];
    let executor = |number| [("spark-exec-id", number), ("app", "x")];
    let first = kind(&mut terms, &executor("1"), &rules);
    assert_eq!(kind(&mut terms, &executor("2"), &rules), first);
    let other = kind(&mut terms, &executor("1"), &[]);
    assert_ne!(other, first, "its rules are others");
    assert_eq!(terms.kinds_known(), 2);
    for id in [first, first, other] {
        terms.release_kind(id);
    }
    assert_eq!(terms.kinds_known(), 0);
    assert!(terms.entries.iter().all(Option::is_none) && terms.by_what.is_empty());
    assert!(terms.topologies.ids().is_empty());
}

#[test]
fn rules_of_many_applications_about_all_others_are_one_term() {
    let mut terms = Terms::default();
    for app in ["a", "b", "c"] {
        let own = about("zone", SPARK_APP_LABEL, Operator::NotIn, app);
        let alone = about("zone", SPARK_APP_LABEL, Operator::In, app);
        kind(&mut terms, &[(SPARK_APP_LABEL, app)], &[own, alone]);
    }
    assert_eq!(terms.entries.len(), 1);
}

/// Something happens to pods, nodes or rules.
#[derive(Debug, Clone)]
enum Event {
    Come(usize, usize),
    Go(usize, usize),
    Move(usize, Option<u8>),
    Use(usize),
    Drop(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..4_usize, 0..6_usize).prop_map(|(node, kind)| Event::Come(node, kind)),
        (0..4_usize, 0..6_usize).prop_map(|(node, kind)| Event::Go(node, kind)),
        (0..4_usize, prop::option::of(0..3_u8)).prop_map(|(node, zone)| Event::Move(node, zone)),
        (0..6_usize).prop_map(Event::Use),
        (0..6_usize).prop_map(Event::Drop),
    ]
}

proptest! {
    /// In whatever order terms, pods and nodes come and go: the counts are those that counting anew gives.
    #[test]
    fn counts_are_right_whatever_comes_first(events in prop::collection::vec(event(), 0..60)) {
        let one = Count { all: 1, foreign: 0, bound: 0 };
        let mut terms = Terms::default();
        terms.grow(4);
        let mut zones: Vec<Option<String>> = vec![None; 4];
        // Some have rules, some are selected by them, and one is both.
        let wanted: Vec<(BTreeMap<String, String>, Vec<PodTerm>)> = (0..6)
            .map(|number: usize| {
                let app = ["a", "b", "c"][number % 3];
                let rule = about("zone", "app", Operator::In, ["b", "c", "a"][number % 3]);
                (labels(&[("app", app)]), if number < 3 { vec![rule] } else { vec![] })
            })
            .collect();
        let mut known: Vec<Option<KindId>> = vec![None; 6];
        let mut there = [[0_u64; 6]; 4];
        let mut used = Vec::new();
        for event in events {
            match event {
                Event::Come(node, number) => {
                    let (pairs, rules) = &wanted[number];
                    let namespace = Arc::from("ns");
                    let id = *known[number].get_or_insert_with(|| {
                        terms.acquire_kind(&namespace, pairs, rules, |index, _| zones[index].as_deref())
                    });
                    terms.count(NodeId::at(node), id, one, Step::Come);
                    there[node][number] += 1;
                }
                Event::Go(node, number) => {
                    if let Some(id) = known[number].filter(|_| there[node][number] > 0) {
                        terms.count(NodeId::at(node), id, one, Step::Go);
                        there[node][number] -= 1;
                        if there.iter().all(|on| on[number] == 0) {
                            terms.release_kind(id);
                            known[number] = None;
                        }
                    }
                }
                Event::Move(node, zone) => {
                    zones[node] = zone.map(|zone| format!("z{zone}"));
                    terms.move_node(NodeId::at(node), |_| zones[node].as_deref());
                }
                Event::Use(number) => {
                    if let Some(id) = known[number] {
                        let together = [about("zone", "app", Operator::In, "a")];
                        used.push(terms.acquire_rules(id, &together, |index, _| zones[index].as_deref()));
                    }
                }
                Event::Drop(which) => {
                    if !used.is_empty() {
                        let rules = used.swap_remove(which % used.len());
                        terms.release_rules(&rules);
                    }
                }
            }
            terms.take_changed();
            if let Err(text) = terms.check() {
                return Err(TestCaseError::fail(text));
            }
        }
    }
}
