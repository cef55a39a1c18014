//! Requests and their answers, without a server.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use kompass_core::Resources;
use kompass_expander::answer::{Outcome, answer};
use kompass_expander::messages::{BestOptionsRequest, BestOptionsResponse, Candidate};
use kompass_expander::{Group, Snapshot};
use proptest::prelude::*;
use prost::Message as _;

use crate::bytes::{gang_of_five, labelled, node, option, stand_in};

fn ask(request: &BestOptionsRequest) -> (Vec<String>, Outcome) {
    ask_with(request, &Snapshot::default())
}

fn ask_with(request: &BestOptionsRequest, snapshot: &Snapshot) -> (Vec<String>, Outcome) {
    let (response, outcome) = answer(request, snapshot, &|| false);
    (ids(&response), outcome)
}

fn ids(response: &BestOptionsResponse) -> Vec<String> {
    response
        .options
        .iter()
        .map(|option| option.node_group_id.clone())
        .collect()
}

#[test]
fn the_whole_gang_counts() {
    let (ids, outcome) = ask(&gang_of_five());
    assert_eq!((ids, outcome.name()), (vec!["whole".to_owned()], "chosen"));
}

#[test]
fn autoscalers_before_1_35_are_understood() {
    let mut request = gang_of_five();
    request.node_map = std::mem::take(&mut request.node_bytes_map);
    for option in &mut request.options {
        option.pod = std::mem::take(&mut option.pod_bytes);
    }
    assert_eq!(ask(&request).0, ["whole"]);
}

#[test]
fn executors_and_their_driver_are_one_gang() {
    let driver = labelled("d", &[("spark-role", "driver")], "kompass", "2", "8Gi");
    let executor = labelled("e", &[("kompass.dev/gang", "uid-of-d")], "kompass", "2", "8Gi");
    let other = labelled("o", &[("spark-role", "driver")], "default-scheduler", "2", "8Gi");
    let nodes = ["a", "b", "c"].map(|id| (id.to_owned(), node("8", "32Gi")));
    let request = BestOptionsRequest {
        options: vec![
            option("a", 1, &[executor.clone(), other.clone()]),
            option("b", 1, &[driver.clone(), executor]),
            option("c", 1, &[driver, other]),
        ],
        node_bytes_map: nodes.into(),
        ..BestOptionsRequest::default()
    };
    assert_eq!(ask(&request).0, ["b"]);
}

#[test]
fn a_pod_that_is_written_in_two_ways_is_one_pod() {
    let mut request = gang_of_five();
    // An unknown field behind it changes nothing.
    let last = request.options[0].pod_bytes.len() - 1;
    let twin = [&request.options[0].pod_bytes[last][..], &[0xf8, 0x01, 1]].concat();
    request.options[0].pod_bytes[last] = twin.into();
    let fifth = request.options[1].pod_bytes[4].clone();
    request.options[0].pod_bytes.push(fifth);
    request.options[0].node_count = 9;
    let (ids, outcome) = ask(&request);
    assert_eq!((ids, outcome.name()), (vec!["whole".to_owned()], "chosen"));
}

#[test]
fn shapes_may_be_known_from_elsewhere() {
    let mut request = gang_of_five();
    request.node_bytes_map.clear();
    let (left, outcome) = ask(&request);
    assert_eq!(
        (left, outcome.name()),
        (vec!["part".to_owned(), "whole".to_owned()], "unknown_shape")
    );
    let shape = Some(Resources::from_mib(8_000, 32_768));
    let group = Group {
        shape,
        ..Group::default()
    };
    let groups = ["part", "whole"].map(|id| (id.to_owned(), group.clone()));
    assert_eq!(ask_with(&request, &Snapshot { groups: groups.into() }).0, ["whole"]);
}

#[test]
fn what_is_not_understood_leaves_all_options_once_and_in_order() {
    let garbage = Bytes::from_static(b"\xff\xff\xff");
    let nonsense = stand_in("m9", "gang", "two", "8Gi");
    for (name, broken) in [("undecodable", garbage), ("undecodable", nonsense)] {
        let mut request = gang_of_five();
        request.options[1].pod_bytes.push(broken);
        request.options.push(request.options[0].clone());
        let (left, outcome) = ask(&request);
        assert_eq!(
            (left, outcome.name()),
            (vec!["part".to_owned(), "whole".to_owned()], name)
        );
    }
    let mut request = gang_of_five();
    request.node_bytes_map.insert("part".to_owned(), b"\xff".to_vec());
    assert_eq!(ask(&request).0, ["part", "whole"]);
    let (response, outcome) = answer(&gang_of_five(), &Snapshot::default(), &|| true);
    assert_eq!((ids(&response).len(), outcome.name()), (2, "late"));
    assert!(
        ask(&BestOptionsRequest::default()).0.is_empty(),
        "nothing was asked about"
    );
}

#[test]
fn prices_decide_between_groups_of_one_size() {
    let mut request = gang_of_five();
    request.options[0] = Candidate {
        node_group_id: "cheap".to_owned(),
        ..request.options[1].clone()
    };
    request.node_bytes_map.insert("cheap".to_owned(), node("8", "32Gi"));
    let price = |price_micro| Group {
        price_micro: Some(price_micro),
        ..Group::default()
    };
    let groups = |cheap, whole| [("cheap".to_owned(), price(cheap)), ("whole".to_owned(), price(whole))].into();
    let chosen = |cheap, whole| {
        ask_with(
            &request,
            &Snapshot {
                groups: groups(cheap, whole),
            },
        )
        .0
    };
    assert_eq!(
        (chosen(1, 2), chosen(2, 1)),
        (vec!["cheap".to_owned()], vec!["whole".to_owned()])
    );
}

fn requests() -> impl Strategy<Value = BestOptionsRequest> {
    let pods: Vec<Bytes> = (0..6)
        .map(|at| stand_in(&format!("m{at}"), ["a", "b"][at % 2], "2", "8Gi"))
        .collect();
    let pod = prop_oneof![
        20 => prop::sample::select(pods),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from),
    ];
    let asked = ("[a-d]{0,1}", -1_i32..5, prop::collection::vec(pod, 0..8), any::<bool>());
    let node = prop_oneof![
        8 => Just(node("8", "32Gi")),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    let nodes = prop::collection::btree_map("[a-d]{0,1}", node, 0..6);
    (prop::collection::vec(asked, 0..6), nodes).prop_map(|(options, node_bytes_map)| BestOptionsRequest {
        options: options
            .into_iter()
            .map(|(id, nodes, pods, old)| {
                let mut option = option(&id, nodes, &pods);
                if old {
                    std::mem::swap(&mut option.pod, &mut option.pod_bytes);
                }
                option
            })
            .collect(),
        node_bytes_map,
        ..BestOptionsRequest::default()
    })
}

/// What must hold of any answer: ids that were asked about, each once, and at least one.
fn holds(request: &BestOptionsRequest) -> Result<(), TestCaseError> {
    let (left, outcome) = ask(request);
    let asked: Vec<&String> = request.options.iter().map(|option| &option.node_group_id).collect();
    prop_assert_eq!(left.is_empty(), asked.is_empty());
    prop_assert!(left.iter().all(|id| asked.contains(&id)));
    prop_assert_eq!(left.iter().collect::<BTreeSet<_>>().len(), left.len());
    prop_assert!(Outcome::NAMES.contains(&outcome.name()));
    Ok(())
}

proptest! {
    #[test]
    fn an_answer_is_never_empty_nor_twice_nor_of_something_else(request in requests()) {
        holds(&request)?;
    }

    #[test]
    fn the_order_of_options_and_pods_makes_no_difference(request in requests(), turn in 0_usize..6) {
        let (left, outcome) = ask(&request);
        let mut other = request;
        if !other.options.is_empty() {
            let turn = turn % other.options.len();
            other.options.rotate_left(turn);
        }
        other.options.iter_mut().for_each(|option| option.pod_bytes.reverse());
        let (turned, _) = ask(&other);
        prop_assert_eq!(left.iter().collect::<BTreeSet<_>>(), turned.iter().collect::<BTreeSet<_>>());
        prop_assert_eq!(matches!(outcome, Outcome::Chosen), left.len() == 1 && matches!(ask(&other).1, Outcome::Chosen));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..300, with in any::<u8>()) {
        if let Ok(request) = BestOptionsRequest::decode(&bytes[..]) {
            holds(&request)?;
        }
        // A good request with one byte altered.
        let mut good = gang_of_five().encode_to_vec();
        let at = at % good.len();
        good[at] = with;
        if let Ok(request) = BestOptionsRequest::decode(&good[..]) {
            holds(&request)?;
        }
    }
}

#[test]
fn a_snapshot_is_knowledge_by_itself() {
    let snapshot = Arc::new(Snapshot::default());
    assert!(Arc::ptr_eq(
        &kompass_expander::Knowledge::snapshot(&snapshot),
        &snapshot
    ));
}
