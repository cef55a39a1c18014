//! What the packing policies do with clusters that other schedulers are tested with, and with those that tell them apart.

use kompass_core::{Constraints, Node};
use proptest::prelude::*;

use super::*;
use crate::nodes::{Charge, Owner};
use crate::terms::KindId;

/// A node: CPUs, GiB, GPUs, zone.
type Size = (u64, u64, u64, u32);

fn nodes(sizes: &[Size]) -> (Nodes, ClassId) {
    let mut nodes = Nodes::default();
    for (number, &(cpus, gib, gpus, zone)) in sizes.iter().enumerate() {
        nodes.apply(Node {
            name: format!("n{number:02}"),
            labels: [("topology.kubernetes.io/zone".to_owned(), format!("z{zone}"))].into(),
            allocatable: Resources::from_mib(1_000 * cpus, 1_024 * gib).with("nvidia.com/gpu", gpus),
            max_pods: 110,
            ready: true,
            ..Node::default()
        });
    }
    let class = nodes.acquire_class(&Constraints::default(), KindId::NONE, &[]);
    (nodes, class)
}

/// CPUs, GiB, GPUs.
fn pod((cpus, gib, gpus): (u64, u64, u64)) -> Resources {
    Resources::from_mib(1_000 * cpus, 1_024 * gib).with("nvidia.com/gpu", gpus)
}

/// The driver's node and how many executors are on each.
fn place(
    sizes: &[Size],
    packing: Packing,
    driver: Option<(u64, u64, u64)>,
    executor: (u64, u64, u64),
    count: u64,
) -> Option<(Option<usize>, Vec<u64>)> {
    let (nodes, class) = nodes(sizes);
    let driver = driver.map(pod);
    let ask = Ask {
        driver: driver.as_ref().map(|requests| DriverAsk {
            requests,
            ports: &[],
            class,
            among: None,
            avoid: None,
        }),
        executor: &pod(executor),
        class: Some(class),
        spacing: None,
        held: &[],
        driver_at: None,
        count,
        partial: false,
        near: None,
        room: View::Now(None),
        zone: None,
        packing,
    };
    let placement = pack(&nodes, &ask)?;
    let mut on = vec![0; sizes.len()];
    for (node, count) in placement.executors {
        on[node.index()] += count;
    }
    Some((placement.driver.map(NodeId::index), on))
}

fn cpus(cpus: &[u64]) -> Vec<Size> {
    cpus.iter().map(|&cpus| (cpus, 1_000, 0, 0)).collect()
}

/// Palantir's k8s-spark-scheduler-lib, minimal fragmentation: nodes that take 1, 1, 3, 5, 5 and 17 executors.
#[test]
fn left_over_pieces_are_used_before_a_large_one_is_broken() {
    let sizes = cpus(&[1, 1, 3, 5, 5, 17]);
    for (count, expected) in [
        (11, [1, 0, 0, 5, 5, 0]),
        (6, [1, 0, 0, 5, 0, 0]),
        (15, [1, 1, 3, 5, 5, 0]),
        (17, [0, 0, 0, 0, 0, 17]),
        (19, [1, 1, 0, 0, 0, 17]),
    ] {
        let found = place(&sizes, Packing::MinFragmentation, None, (1, 1, 0), count);
        assert_eq!(found, Some((None, expected.to_vec())), "{count}");
    }
}

/// From the same tests, with a driver of one CPU and 3 GiB and five executors of 2 CPUs and 5 GiB. There the driver takes
/// the first node on which the rest still fits; here it goes where it costs the fewest executors, and executors go beside
/// it first. So some counts differ; which nodes are spared does not.
#[test]
fn a_gang_keeps_off_the_nodes_that_are_too_large_for_it() {
    let of = |sizes: &[(u64, u64)]| sizes.iter().map(|&(cpus, gib)| (cpus, gib, 0, 0)).collect::<Vec<_>>();
    for (sizes, driver, expected) in [
        // Both are needed, and the driver costs nothing on either.
        (&[(5, 25), (9, 24)][..], 0, &[2, 3][..]),
        // The small ones do, and the large one is left whole.
        (&[(10, 25), (5, 25), (20, 25)], 1, &[3, 2, 0]),
        // It would take all, and is left whole.
        (&[(10, 25), (5, 25), (100, 100)], 1, &[3, 2, 0]),
        // Of two that take all, the smaller one.
        (&[(200, 500), (100, 250)], 1, &[0, 5]),
        // The rest goes where the least is left over.
        (&[(6, 30), (3, 30), (8, 30)], 1, &[0, 1, 4]),
        // Large ones only where needed: then one, not several.
        (&[(1, 3), (8, 10), (20, 25), (20, 25), (20, 25)], 0, &[0, 0, 5, 0, 0]),
    ] {
        let found = place(&of(sizes), Packing::MinFragmentation, Some((1, 3, 0)), (2, 5, 0), 5);
        let (at, on) = found.unwrap();
        assert_eq!(on.iter().sum::<u64>(), 5, "{sizes:?}");
        assert_eq!((at, on), (Some(driver), expected.to_vec()), "{sizes:?}");
    }
}

/// From the same library, tightly-pack and GPUs: forty executors fit exactly, and where one resource lacks nothing does.
#[test]
fn an_exact_fit_is_found_and_a_lack_of_any_resource_seen() {
    let exact = [(13, 14, 13, 0), (12, 12, 12, 0), (16, 16, 16, 0)];
    let (driver, on) = place(&exact, Packing::Tight, Some((1, 2, 1)), (1, 1, 1), 40).unwrap();
    assert_eq!((driver, on), (Some(0), vec![12, 12, 16]));
    let gpus = [(4, 4, 4, 0), (128, 128, 0, 0)];
    assert_eq!(place(&gpus, Packing::Tight, Some((1, 1, 0)), (1, 1, 1), 8), None);
    let short = [(8, 100, 0, 0)];
    assert_eq!(place(&short, Packing::Tight, Some((1, 1, 0)), (1, 1, 0), 8), None);
    for packing in Packing::ALL {
        let found = place(&exact, packing, Some((1, 2, 1)), (1, 1, 1), 40);
        assert!(found.is_some(), "{packing:?}");
    }
}

/// From the same library, single-AZ and AZ-aware: one zone if there is one that takes all, the better filled of two; and
/// across zones only where that is allowed.
#[test]
fn zones_are_kept_to_where_the_policy_says_so() {
    // Zone 0 takes three pods, zone 1 takes six in two nodes.
    let sizes = [(3, 9, 0, 0), (3, 9, 0, 1), (3, 9, 0, 1)];
    let run = |packing, count| place(&sizes, packing, Some((1, 1, 0)), (1, 1, 0), count).map(|(_, on)| on);
    assert_eq!(
        run(Packing::SingleZone, 2),
        Some(vec![2, 0, 0]),
        "the zone that is filled"
    );
    assert_eq!(run(Packing::SingleZone, 4).unwrap()[0], 0, "the zone that takes all");
    assert_eq!(run(Packing::SingleZone, 6), None, "no zone takes all");
    for packing in [
        Packing::SingleZonePreferred,
        Packing::MinFragmentation,
        Packing::Tight,
        Packing::Balanced,
    ] {
        let on = run(packing, 6).unwrap();
        assert_eq!(on.iter().sum::<u64>(), 6, "{packing:?}");
    }
}

#[test]
fn policies_differ_in_which_nodes_they_take() {
    let sizes = cpus(&[4, 8, 6, 8]);
    for (packing, expected) in [
        // The fullest first, which is the driver's, and so on.
        (Packing::Tight, (Some(0), vec![3, 0, 2, 0])),
        // The smallest that takes all.
        (Packing::SingleZonePreferred, (Some(2), vec![0, 0, 5, 0])),
        (Packing::Balanced, (Some(1), vec![1, 1, 1, 2])),
    ] {
        let found = place(&sizes, packing, Some((1, 1, 0)), (1, 1, 0), 5);
        assert_eq!(found, Some(expected), "{packing:?}");
    }
}

proptest! {
    /// Whether a gang fits is the same for all policies (but for the zone), and none overfills a node.
    #[test]
    fn policies_agree_on_whether_a_gang_fits(
        sizes in prop::collection::vec((0..20_u64, 0..20_u64, 0..3_u64, 0..3_u32), 1..8),
        driver in (1..6_u64, 1..6_u64, 0..2_u64),
        executor in (1..6_u64, 1..6_u64, 0..2_u64),
        count in 0..20_u64,
    ) {
        let fits = place(&sizes, Packing::default(), Some(driver), executor, count).is_some();
        let in_zone = |zone: u32| {
            let sizes: Vec<Size> = sizes.iter().copied().filter(|size| size.3 == zone).collect();
            place(&sizes, Packing::Tight, Some(driver), executor, count).is_some()
        };
        for packing in Packing::ALL {
            let expected = if packing == Packing::SingleZone { (0..3).any(in_zone) } else { fits };
            let found = place(&sizes, packing, Some(driver), executor, count);
            prop_assert_eq!(found.is_some(), expected, "{:?}", packing);
            let Some((at, on)) = found else { continue };
            prop_assert_eq!(on.iter().sum::<u64>(), count);
            for (node, &(cpus, gib, gpus, zone)) in sizes.iter().enumerate() {
                let mut used = Resources::default();
                used.add_times(&pod(executor), on[node]);
                used.add_times(&pod(driver), u64::from(at == Some(node)));
                prop_assert!(used.fits(&pod((cpus, gib, gpus))), "{:?} on {}", packing, node);
                let one = packing == Packing::SingleZone && !used.is_zero();
                prop_assert!(!one || at.is_none_or(|at| sizes[at].3 == zone));
            }
        }
    }

    /// Even means even: no node has two more than another that could have taken one more.
    #[test]
    fn balanced_is_even(free in prop::collection::vec(0..9_u64, 1..8), count in 0..30_u64) {
        let Some((_, on)) = place(&cpus(&free), Packing::Balanced, None, (1, 1, 0), count) else {
            return Ok(());
        };
        let most = on.iter().max().copied().unwrap_or(0);
        for (on, free) in on.iter().zip(&free) {
            prop_assert!(*on == *free || *on + 1 >= most, "{} of {} where the most is {}", on, free, most);
        }
    }

    /// Kinds of nodes are a short cut: node by node the answer is the same.
    #[test]
    fn kinds_of_nodes_give_the_same_answer_as_nodes(
        free in prop::collection::vec((0..4_u64, 0..3_u32, any::<bool>()), 1..12),
        count in 0..12_u64,
    ) {
        let sizes: Vec<Size> = free.iter().map(|&(cpus, zone, _)| (2 * cpus + 1, 64, 0, zone)).collect();
        let (mut nodes, class) = nodes(&sizes);
        let taken = Resources::new(100, 1);
        for (index, _) in free.iter().enumerate().filter(|(_, (_, _, used))| *used) {
            nodes.charge(NodeId::at(index), Charge { requests: &taken, ports: &[], owner: Owner::Ours, kind: KindId::NONE }, 1);
        }
        let (driver, executor) = (pod((1, 1, 0)), pod((2, 1, 0)));
        let every = vec![true; sizes.len()];
        for packing in Packing::ALL {
            let ask = |among| Ask {
                driver: Some(DriverAsk { requests: &driver, ports: &[], class, among, avoid: None }),
                executor: &executor,
                class: Some(class),
                spacing: None,
                held: &[],
                driver_at: None,
                count,
                partial: false,
                near: None,
                room: View::Now(None),
                zone: None,
                packing,
            };
            // A choice among all nodes is looked for node by node.
            let sorted = |placement: Option<Placement>| placement.map(|mut placement| {
                placement.executors.sort_unstable();
                placement
            });
            prop_assert_eq!(sorted(pack(&nodes, &ask(None))), sorted(pack(&nodes, &ask(Some(&every)))), "{:?}", packing);
        }
    }
}
