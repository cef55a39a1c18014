//! Rules of executors about each other, against every way to place a small gang.

use kompass_core::{DriverSpacing, Node, Resources};
use proptest::prelude::*;

use super::*;
use crate::config::Packing;
use crate::nodes::{Charge, Owner};
use crate::pack::{DriverAsk, View, pack};
use crate::terms::KindId;

const PORT: u16 = 4_040;

/// A small cluster and what a gang with rules asks of it.
#[derive(Debug, Clone)]
struct Case {
    /// By node: CPUs, zone (0: none), executors of the gang already there, whether somebody has the port.
    nodes: Vec<(u64, u8, u64, bool)>,
    driver: Option<u64>,
    /// Where the driver is already.
    driver_at: Option<usize>,
    driver_has_port: bool,
    executor: u64,
    count: u64,
    spacing: Spacing,
}

/// The driver's node and the executors on each node.
type Way = (Option<usize>, Vec<u64>);

impl Case {
    fn cluster(&self) -> Nodes {
        let mut nodes = Nodes::default();
        for (number, &(cpus, zone, _, taken)) in self.nodes.iter().enumerate() {
            let zone = (zone > 0).then(|| ("topology.kubernetes.io/zone".to_owned(), format!("z{zone}")));
            let name = format!("n{number}");
            nodes.apply(Node {
                name: name.clone(),
                labels: zone.into_iter().collect(),
                allocatable: Resources::from_mib(1_000 * cpus, 1_024),
                max_pods: 110,
                ready: true,
                ..Node::default()
            });
            let charge = Charge {
                requests: &Resources::new(0, 0),
                ports: &[PORT],
                owner: Owner::Foreign,
                kind: KindId::NONE,
            };
            let id = nodes.find(&name).unwrap();
            nodes.charge(id, charge, u64::from(taken));
        }
        nodes
    }

    fn found(&self, packing: Packing, partial: bool) -> Option<Way> {
        let mut nodes = self.cluster();
        let class = nodes.acquire_class(&Constraints::default(), KindId::NONE, &[]);
        let driver = self.driver.map(|cpus| Resources::new(1_000 * cpus, 0));
        let ports: &[u16] = if self.driver_has_port { &[PORT] } else { &[] };
        let held: Vec<(NodeId, u64)> = (0..self.nodes.len())
            .map(|index| (NodeId::at(index), self.nodes[index].2))
            .filter(|&(_, held)| held > 0)
            .collect();
        let ask = Ask {
            driver: driver.as_ref().map(|requests| DriverAsk {
                requests,
                ports,
                class,
                among: None,
                avoid: None,
            }),
            executor: &Resources::new(1_000 * self.executor, 0),
            class: Some(class),
            spacing: Some(&self.spacing),
            held: &held,
            driver_at: self.driver_at.map(NodeId::at),
            count: self.count,
            partial,
            near: None,
            room: View::Now(None),
            zone: None,
            packing,
        };
        let placement = pack(&nodes, &ask)?;
        let mut on = vec![0; self.nodes.len()];
        for &(node, count) in &placement.executors {
            assert_eq!(on[node.index()], 0, "each node once");
            on[node.index()] = count;
        }
        Some((placement.driver.map(NodeId::index), on))
    }

    /// Whether the rules hold, and there is room: checked one rule after the other.
    fn holds(&self, (driver, on): &Way, packing: Packing) -> bool {
        let ported = !self.spacing.host_ports.is_empty();
        let room = self.nodes.iter().enumerate().all(|(at, &(cpus, _, held, taken))| {
            let here = *driver == Some(at);
            let used = on[at] * self.executor + if here { self.driver.unwrap_or(0) } else { 0 };
            let ports = u64::from(taken)
                + if ported && on[at] > 0 { on[at] + held } else { 0 }
                + u64::from(here && self.driver_has_port);
            let ports_matter = (ported && on[at] > 0) || (here && self.driver_has_port);
            let here = here || self.driver_at == Some(at);
            let most = self.spacing.per_node_max.unwrap_or(u64::MAX);
            let other_node = self.spacing.driver.other_node && here && on[at] > 0;
            !other_node && used <= cpus && (!ports_matter || ports <= 1) && (on[at] == 0 || on[at] + held <= most)
        });
        let new = |zone: u8| self.sum(zone, |at| on[at]);
        let all = |zone: u8| new(zone) + self.sum(zone, |at| self.nodes[at].2);
        let at = driver.or(self.driver_at).filter(|_| self.spacing.driver.counts);
        let compared = |zone: u8| all(zone) + u64::from(at.is_some_and(|at| self.nodes[at].1 == zone));
        let there: Vec<u8> = (0..4)
            .filter(|zone| self.nodes.iter().any(|node| node.1 == *zone))
            .collect();
        let zoned: Vec<u8> = there.iter().copied().filter(|&zone| zone > 0).collect();
        let in_use: Vec<u8> = there.iter().copied().filter(|&zone| new(zone) > 0).collect();
        let homes: Vec<u8> = there.iter().copied().filter(|&zone| all(zone) > new(zone)).collect();
        let one = !self.spacing.one_zone
            || in_use.is_empty()
            || (in_use.len() == 1 && in_use[0] > 0 && (homes.is_empty() || homes.contains(&in_use[0])));
        let few = self.spacing.zones_min.is_some_and(|least| (zoned.len() as u64) < least);
        let least = zoned.iter().map(|&zone| compared(zone)).min().filter(|_| !few);
        let least = least.unwrap_or(0);
        let with_driver = driver.or(self.driver_at).is_none_or(|at| {
            let at = self.nodes[at].1;
            let same = !self.spacing.driver.same_zone || (at > 0 && in_use == [at]);
            let other = !self.spacing.driver.other_zone || at == 0 || !in_use.contains(&at);
            in_use.is_empty() || (same && other)
        });
        let grown = in_use.iter().all(|&zone| {
            let most = self.spacing.per_zone_max.filter(|_| zone > 0).unwrap_or(u64::MAX);
            let skew = self.spacing.zone_skew;
            all(zone) <= most && skew.is_none_or(|skew| zone > 0 && compared(zone) - least <= skew)
        });
        let policy = packing.zones() != Zones::One || {
            let mut used = in_use.clone();
            used.extend(driver.map(|at| self.nodes[at].1));
            used.dedup();
            used.len() <= 1
        };
        let zoned_only = !self.spacing.driver.same_zone || !in_use.contains(&0);
        room && one && grown && policy && with_driver && zoned_only
    }

    fn sum(&self, zone: u8, of: impl Fn(usize) -> u64) -> u64 {
        (0..self.nodes.len())
            .filter(|&at| self.nodes[at].1 == zone)
            .map(of)
            .sum()
    }

    /// The first of all ways to place so many that is good.
    fn any_way(&self, count: u64, packing: Packing) -> Option<Way> {
        let drivers: Vec<Option<usize>> = match self.driver {
            Some(_) => (0..self.nodes.len()).map(Some).collect(),
            None => vec![None],
        };
        let mut ways = vec![vec![]];
        for _ in &self.nodes {
            let longer = |way: &Vec<u64>| {
                let left = count - way.iter().sum::<u64>();
                (0..=left)
                    .map(|here| [way.clone(), vec![here]].concat())
                    .collect::<Vec<_>>()
            };
            ways = ways.iter().flat_map(longer).collect();
        }
        ways.retain(|way| way.iter().sum::<u64>() == count);
        let both = drivers
            .iter()
            .flat_map(|&driver| ways.iter().map(move |way| (driver, way.clone())));
        let mut both = both.filter(|way| self.holds(way, packing));
        both.next()
    }
}

fn spacing() -> impl Strategy<Value = Spacing> {
    let few = || prop::option::weighted(0.4, 1..4_u64);
    let seldom = || prop::bool::weighted(0.15);
    let driver = (seldom(), seldom(), seldom(), any::<bool>());
    let own = (any::<bool>(), few(), few(), prop::bool::weighted(0.3), few(), few());
    (own, driver).prop_map(
        |((ports, node, zone, one_zone, skew, zones_min), (other_node, other_zone, same_zone, counts))| Spacing {
            host_ports: if ports { vec![PORT] } else { vec![] },
            per_node_max: node,
            per_zone_max: zone,
            one_zone,
            zone_skew: skew,
            zones_min,
            driver: DriverSpacing {
                other_node,
                other_zone,
                same_zone,
                counts,
            },
            ..Spacing::default()
        },
    )
}

fn case(held: u64) -> impl Strategy<Value = Case> {
    let node = (0..7_u64, 0..4_u8, 0..=held, prop::bool::weighted(0.2));
    (
        prop::collection::vec(node, 1..6),
        prop::option::weighted(0.8, 1..4_u64),
        any::<bool>(),
        1..3_u64,
        1..7_u64,
        spacing(),
    )
        .prop_map(|(nodes, driver, driver_has_port, executor, count, spacing)| Case {
            nodes,
            driver,
            driver_at: None,
            driver_has_port,
            executor,
            count,
            spacing,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_gang_with_rules_is_placed_exactly_when_it_can_be(case in case(0)) {
        for packing in Packing::ALL {
            let found = case.found(packing, false);
            let way = case.any_way(case.count, packing);
            prop_assert_eq!(found.is_some(), way.is_some(), "{:?}: {:?} and {:?}", packing, found, way);
            if let Some(found) = found {
                prop_assert_eq!(found.1.iter().sum::<u64>(), case.count);
                prop_assert!(case.holds(&found, packing), "{:?}: {:?}", packing, found);
            }
        }
    }

    /// Executors beside those that are there already: as many as there can be.
    #[test]
    fn a_gang_that_runs_is_completed_by_its_rules(case in case(2)) {
        let case = Case { driver: None, driver_at: Some(0), ..case };
        // Where the policy keeps to one zone, the zone of a gang that runs is part of the ask.
        for packing in Packing::ALL.into_iter().filter(|packing| packing.zones() != Zones::One) {
            let found = case.found(packing, true);
            let most = (1..=case.count).rev().find(|&count| case.any_way(count, packing).is_some());
            let placed = found.as_ref().map(|found| found.1.iter().sum::<u64>());
            prop_assert_eq!(placed, most, "{:?}: {:?}", packing, found);
            prop_assert!(found.is_none_or(|found| case.holds(&found, packing)));
        }
    }
}
