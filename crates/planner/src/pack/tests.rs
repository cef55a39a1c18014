use kompass_core::{Constraints, Node};
use proptest::prelude::*;

use super::*;
use crate::nodes::{Charge, Owner};
use crate::terms::KindId;

/// Nodes of so many CPUs, with so many taken by KOMPASS's pods.
fn nodes(cpus: &[(u64, u64)]) -> (Nodes, ClassId) {
    let mut nodes = Nodes::default();
    for (number, &(cpus, taken)) in cpus.iter().enumerate() {
        let name = format!("n{number}");
        nodes.apply(Node {
            name: name.clone(),
            labels: [("topology.kubernetes.io/zone".to_owned(), format!("z{}", number % 3))].into(),
            allocatable: Resources::new(cpus, 1_000),
            max_pods: 110,
            ready: true,
            ..Node::default()
        });
        let id = nodes.find(&name).unwrap();
        let charge = Charge {
            requests: &Resources::new(taken, 0),
            ports: &[],
            owner: Owner::Ours,
            kind: KindId::NONE,
        };
        nodes.charge(id, charge, u64::from(taken > 0));
    }
    let class = nodes.acquire_class(&Constraints::default(), KindId::NONE, &[]);
    (nodes, class)
}

fn place_gang(cpus: &[(u64, u64)], driver: u64, executor: u64, count: u64) -> Option<(usize, Vec<(usize, u64)>)> {
    let (nodes, class) = nodes(cpus);
    let ask = Ask {
        driver: Some(DriverAsk {
            requests: &Resources::new(driver, 1),
            ports: &[],
            class,
            among: None,
            avoid: None,
        }),
        executor: &Resources::new(executor, 1),
        class: Some(class),
        spacing: None,
        held: &[],
        driver_at: None,
        count,
        partial: false,
        near: None,
        room: View::Now(None),
        zone: None,
        packing: Packing::default(),
    };
    let placement = pack(&nodes, &ask)?;
    let executors = placement
        .executors
        .iter()
        .map(|&(node, count)| (node.index(), count))
        .collect();
    Some((placement.driver?.index(), executors))
}

proptest! {
    /// Tries every node for the driver and counts what is left: the packing must agree, and must not overfill.
    #[test]
    fn it_finds_a_place_exactly_when_there_is_one(
        cpus in prop::collection::vec((0..20_u64, 0..20_u64), 1..8),
        driver in 1..12_u64,
        executor in 1..6_u64,
        count in 0..20_u64,
    ) {
        let cpus: Vec<(u64, u64)> = cpus.into_iter().map(|(cpus, taken)| (cpus, taken.min(cpus))).collect();
        let free: Vec<u64> = cpus.iter().map(|(cpus, taken)| cpus - taken).collect();
        let exists = (0..free.len()).any(|at| {
            let rest = |(node, free): (usize, &u64)| if node == at { (free - driver) / executor } else { free / executor };
            free[at] >= driver && free.iter().enumerate().map(rest).sum::<u64>() >= count
        });
        let found = place_gang(&cpus, driver, executor, count);
        prop_assert_eq!(found.is_some(), exists);
        if let Some((at, executors)) = found {
            prop_assert_eq!(executors.iter().map(|(_, count)| count).sum::<u64>(), count);
            let mut used = vec![0; free.len()];
            used[at] += driver;
            for (node, count) in executors {
                prop_assert!(count > 0);
                prop_assert!(used[node] == 0 || (node == at && used[node] == driver), "each node once");
                used[node] += count * executor;
            }
            prop_assert!(used.iter().zip(&free).all(|(used, free)| used <= free), "{:?} of {:?}", used, free);
        }
    }
}

#[test]
fn it_prefers_nodes_in_use_then_few_nodes_then_the_fullest() {
    // All in zone 0: every third node.
    let zone0 = |free: &[(u64, u64)]| free.iter().flat_map(|&node| [node, (0, 0), (0, 0)]).collect::<Vec<_>>();
    let by_spot = |found: Option<(usize, Vec<(usize, u64)>)>| {
        found.map(|(driver, executors)| {
            (
                driver / 3,
                executors.into_iter().map(|(node, count)| (node / 3, count)).collect(),
            )
        })
    };
    for (nodes, count, expected) in [
        // The node in use is the tightest that takes all.
        (&[(10, 0), (10, 4), (10, 2)][..], 4, (1, vec![(1, 4)])),
        // Two nodes in use rather than one empty one.
        (&[(20, 0), (10, 6), (10, 6)], 6, (1, vec![(1, 3), (2, 3)])),
        // Empty ones: the smallest that takes all.
        (&[(30, 0), (12, 0), (20, 0)], 8, (1, vec![(1, 8)])),
        // None takes all: the largest, then the smallest that takes the rest.
        (&[(9, 0), (3, 0), (8, 0)], 9, (1, vec![(1, 2), (2, 7)])),
    ] {
        assert_eq!(
            by_spot(place_gang(&zone0(nodes), 1, 1, count)),
            Some(expected),
            "{nodes:?}"
        );
    }
}

#[test]
fn what_fits_in_part_is_placed_in_part_only_when_asked() {
    let (nodes, class) = nodes(&[(3, 0), (2, 0), (1, 0)]);
    let ask = Ask {
        driver: None,
        executor: &Resources::new(2, 1),
        class: Some(class),
        spacing: None,
        held: &[],
        driver_at: None,
        count: 5,
        partial: true,
        near: None,
        room: View::Now(None),
        zone: None,
        packing: Packing::default(),
    };
    let placed = |ask: &Ask<'_>| pack(&nodes, ask).map(|found| found.executors.iter().map(|(_, count)| count).sum());
    assert_eq!(placed(&ask), Some(2_u64));
    assert_eq!(placed(&Ask { partial: false, ..ask }), None);
    assert_eq!(
        placed(&Ask {
            executor: &Resources::new(4, 1),
            ..ask
        }),
        None
    );
    let without = [true, false, false];
    assert_eq!(
        placed(&Ask {
            room: View::Now(Some(&without)),
            ..ask
        }),
        Some(1)
    );
}
