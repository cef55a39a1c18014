//! The policies: which of the spots that take the gang together take how much of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use kompass_core::Resources;

use super::spots::Spot;
use super::{Ask, Placement, Total};
use crate::config::Order;
use crate::nodes::NodeId;

/// Places the whole ask on spots that are known to take it.
pub(super) fn place(mut spots: Vec<Spot<'_>>, ask: &Ask<'_>) -> Placement {
    let order = ask.packing.order();
    if order == Order::FewPieces {
        spare_large(&mut spots, ask.count, |spots| Total::of(spots).fits(ask));
    }
    let driver = ask
        .driver
        .map(|driver| place_driver(&mut spots, driver.requests, ask.count, order));
    spots.retain(|spot| spot.takes > 0 && !spot.nodes.is_empty());
    let mut executors = Vec::new();
    let left = match order {
        Order::Balanced => spread(spots, ask.count, &mut executors),
        Order::Tight => tighten(spots, ask.count, &mut executors),
        Order::FewNodes | Order::FewPieces => {
            let mut left = ask.count;
            for tier in 0..=2 {
                let these = spots.iter().filter(|spot| spot.tier == tier).copied().collect();
                left = if order == Order::FewNodes {
                    gather(these, left, &mut executors)
                } else {
                    gather_pieces(these, left, &mut executors)
                };
            }
            left
        }
    };
    debug_assert_eq!(left, 0, "the spots were counted before");
    Placement { driver, executors }
}

/// The driver's node; its spot is one of its own afterwards, and the gang is there.
fn place_driver(spots: &mut Vec<Spot<'_>>, requests: &Resources, count: u64, order: Order) -> NodeId {
    let at = driver_spot(spots, count, order);
    let spot = &mut spots[at];
    let (node, others) = spot.nodes.split_at(1);
    spot.nodes = others;
    let alone = Spot {
        nodes: node,
        tier: 0,
        takes: spot.beside.expect("a driver spot takes the driver"),
        could: spot.beside.unwrap_or(0),
        slack: (
            spot.slack.0.saturating_sub(requests.cpu_milli),
            spot.slack.1.saturating_sub(requests.memory_bytes),
        ),
        ..*spot
    };
    spots.push(alone);
    node[0]
}

/// The spot for the driver. Balanced: the one with the most room of those that cost few executors. Tight: the fullest.
/// Else one that takes everything if there is one, else one that costs few executors; of several the fullest.
fn driver_spot(spots: &[Spot<'_>], count: u64, order: Order) -> usize {
    let total = spots.iter().fold(0_u64, |sum, spot| sum.saturating_add(spot.all()));
    let candidates = || {
        spots
            .iter()
            .enumerate()
            .filter_map(|(at, spot)| Some((at, spot, spot.beside?)))
    };
    let affordable = || candidates().filter(|&(_, spot, beside)| total - (spot.takes - beside) >= count);
    let first = |spot: &Spot<'_>| (spot.zone, spot.nodes[0]);
    let found = match order {
        Order::Balanced => {
            affordable().min_by_key(|(_, spot, beside)| (spot.takes - beside, Reverse(spot.slack), first(spot)))
        }
        Order::Tight => affordable().min_by_key(|(_, spot, _)| (spot.tier, spot.slack, first(spot))),
        Order::FewNodes | Order::FewPieces => candidates()
            .filter(|&(_, _, beside)| beside >= count)
            .min_by_key(|(_, spot, _)| (spot.tier, spot.slack, first(spot)))
            .or_else(|| {
                affordable().min_by_key(|(_, spot, beside)| (spot.tier, spot.takes - beside, spot.slack, first(spot)))
            }),
    };
    found.expect("the spots were chosen so that one takes the driver").0
}

/// Few nodes: those that take the most, and for the rest the one that takes just enough.
fn gather<'a>(spots: Vec<Spot<'a>>, mut left: u64, executors: &mut Vec<(NodeId, u64)>) -> u64 {
    let mut heap: BinaryHeap<Ordered<'a, _>> = spots.into_iter().map(|spot| Ordered(largest(&spot), spot)).collect();
    while left > 0
        && let Some(Ordered(_, spot)) = heap.pop()
    {
        if spot.takes >= left {
            let others = heap.iter().map(|Ordered(_, other)| other);
            executors.extend(just_enough(others.chain([&spot]), left).map(|node| (node, left)));
            return 0;
        }
        let rest = take_whole(spot, &mut left, executors);
        heap.extend(rest.map(|rest| Ordered(largest(&rest), rest)));
    }
    left
}

/// The same without nodes that could take far more than is left, as long as the others do: a large piece of free room is
/// worth more than many small ones.
fn gather_pieces(mut spots: Vec<Spot<'_>>, mut left: u64, executors: &mut Vec<(NodeId, u64)>) -> u64 {
    while left > 0 {
        spare_large(&mut spots, left, |spots| Total::of(spots).takes >= left);
        let Some(at) = (0..spots.len()).max_by_key(|&at| largest(&spots[at])) else {
            break;
        };
        if spots[at].takes >= left {
            executors.extend(just_enough(spots.iter(), left).map(|node| (node, left)));
            return 0;
        }
        let spot = spots.swap_remove(at);
        spots.extend(take_whole(spot, &mut left, executors));
    }
    left
}

/// Leaves nodes out that could take more than half way between what is left and what the largest could take, if the
/// others are enough.
fn spare_large<'a>(spots: &mut Vec<Spot<'a>>, left: u64, enough: impl Fn(&[Spot<'a>]) -> bool) {
    let largest = spots.iter().map(|spot| spot.could).max().unwrap_or(0);
    if largest <= left {
        return;
    }
    let limit = left + (largest - left) / 2;
    let others: Vec<Spot<'a>> = spots.iter().filter(|spot| spot.could < limit).copied().collect();
    if enough(&others) {
        *spots = others;
    }
}

/// Orders spots by what they take; of equal ones the fullest is the largest.
fn largest(spot: &Spot<'_>) -> impl Ord + use<> {
    (spot.takes, Reverse((spot.slack, spot.zone, spot.nodes[0])))
}

/// Of those that take all that is left, the one that takes the fewest; of equal ones the fullest.
fn just_enough<'a, 'b: 'a>(spots: impl Iterator<Item = &'a Spot<'b>>, left: u64) -> Option<NodeId> {
    spots
        .filter(|spot| spot.takes >= left)
        .min_by_key(|spot| (spot.takes, spot.slack, spot.zone, spot.nodes[0]))
        .map(|spot| spot.nodes[0])
}

/// Fills nodes of a spot each of which takes less than is left, until one would take all of the rest; the nodes that are
/// left over.
fn take_whole<'a>(spot: Spot<'a>, left: &mut u64, executors: &mut Vec<(NodeId, u64)>) -> Option<Spot<'a>> {
    let whole = usize::try_from((*left - 1) / spot.takes).unwrap_or(usize::MAX);
    let (these, nodes) = spot.nodes.split_at(whole.min(spot.nodes.len()));
    executors.extend(these.iter().map(|&node| (node, spot.takes)));
    *left -= spot.takes * these.len() as u64;
    (!nodes.is_empty()).then_some(Spot { nodes, ..spot })
}

/// The fullest nodes first, each with all that it takes.
fn tighten(mut spots: Vec<Spot<'_>>, mut left: u64, executors: &mut Vec<(NodeId, u64)>) -> u64 {
    spots.sort_unstable_by_key(|spot| (spot.tier, spot.slack, spot.zone, spot.nodes[0]));
    let nodes = spots
        .iter()
        .flat_map(|spot| spot.nodes.iter().map(|&node| (node, spot.takes)));
    for (node, takes) in nodes {
        if left == 0 {
            break;
        }
        executors.push((node, takes.min(left)));
        left -= takes.min(left);
    }
    left
}

/// As even as possible: one executor on each node in turn, those with the most room first, until all are placed.
fn spread(mut spots: Vec<Spot<'_>>, count: u64, executors: &mut Vec<(NodeId, u64)>) -> u64 {
    let at_most = |level: u64| {
        let parts = spots
            .iter()
            .map(|spot| spot.takes.min(level).saturating_mul(spot.nodes.len() as u64));
        parts.fold(0_u64, u64::saturating_add)
    };
    // The smallest number of turns that places all.
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if at_most(middle) >= count {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let level = low;
    let Some(before) = level.checked_sub(1) else { return 0 };
    let mut last = count.saturating_sub(at_most(before));
    spots.sort_unstable_by_key(|spot| (Reverse(spot.slack), spot.zone, spot.nodes[0]));
    let nodes = spots
        .iter()
        .flat_map(|spot| spot.nodes.iter().map(|&node| (node, spot.takes)));
    for (node, takes) in nodes {
        let one_more = u64::from(takes >= level && last > 0);
        last -= one_more;
        let part = takes.min(before) + one_more;
        if part > 0 {
            executors.push((node, part));
        } else if last == 0 {
            break;
        }
    }
    last
}

/// A spot ordered by a key.
struct Ordered<'a, K>(K, Spot<'a>);

impl<K: Ord> Ord for Ordered<'_, K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K: Ord> PartialOrd for Ordered<'_, K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for Ordered<'_, K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord> Eq for Ordered<'_, K> {}
