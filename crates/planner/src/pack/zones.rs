//! Rules about zones: how many executors each zone takes so that the rules hold, and then the packing zone by zone.
//!
//! Why it is exact: a zone takes any number of executors up to what its nodes take together, and one less or so with the
//! driver there. What zones may differ by is then a question of numbers: with the fewest in any zone as high as
//! possible every other one may have the most, so that one look at these tells whether the count is reached.

use kompass_core::{Constraints, Spacing};

use super::spots::spots;
use super::{Ask, Placement, Total, pack_anywhere};
use crate::config::{Order, Zones};
use crate::nodes::{NodeId, Nodes};

/// One zone, as the rules see it.
#[derive(Debug, Clone, Copy)]
struct Zone {
    id: u32,
    /// It counts where zones are compared: a pod with these rules about nodes might go there.
    counts: bool,
    /// Executors that the gang has there already.
    held: u64,
    /// What its nodes take.
    total: Total,
}

/// Executors of a zone: how many there are, and how many there may be at most.
#[derive(Debug, Clone, Copy)]
struct Level {
    held: u64,
    most: u64,
    counts: bool,
}

/// Which zones take the pods.
#[derive(Debug, Clone, Copy)]
struct Choice {
    /// The one that takes all executors; `None`: any.
    only: Option<u32>,
    /// One that takes none of them.
    not: Option<u32>,
    /// The one that takes the driver; `None`: there is none to be placed.
    driver: Option<u32>,
    /// The one where the driver is or will be.
    at: Option<u32>,
}

/// As [`super::pack`], by the rules about zones.
pub(super) fn pack(nodes: &Nodes, ask: &Ask<'_>, spacing: &Spacing) -> Option<Placement> {
    let zones = zones(nodes, ask, spacing);
    let (choice, count) = choose(nodes, &zones, ask, spacing)?;
    let levels = levels(&zones, spacing, choice);
    let mut shares = shares(&levels, spacing, count, ask.packing.order());
    // The driver's zone first, as elsewhere what is near the driver comes first.
    let mut order: Vec<usize> = (0..zones.len()).collect();
    order.sort_by_key(|&at| Some(zones[at].id) != choice.driver);
    let mut found = Placement::default();
    for at in order {
        let zone = zones[at].id;
        let driver = ask.driver.filter(|_| choice.driver == Some(zone));
        let count = std::mem::take(&mut shares[at]);
        if count == 0 && driver.is_none() {
            continue;
        }
        let part = pack_anywhere(
            nodes,
            &Ask {
                driver,
                count,
                partial: false,
                zone: Some(zone),
                ..*ask
            },
        )?;
        found.driver = found.driver.or(part.driver);
        found.executors.extend(part.executors);
    }
    Some(found)
}

/// Whether one more executor on the node keeps the rules.
pub(crate) fn takes_one_more(nodes: &Nodes, ask: &Ask<'_>, node: NodeId) -> bool {
    let Some(spacing) = ask.spacing else { return true };
    let on = ask.held.binary_search_by_key(&node, |&(known, _)| known);
    let with_driver = spacing.driver.other_node && ask.driver_at == Some(node);
    if on.map_or(0, |at| ask.held[at].1) >= spacing.node_max() || with_driver {
        return false;
    }
    if !spacing.is_zonal() {
        return true;
    }
    // Room is judged elsewhere: any zone that counts is taken to have some.
    let id = nodes.zone(node);
    let mut zones = known_zones(nodes, ask);
    for zone in &mut zones {
        zone.total.takes = u64::from(zone.id == id);
    }
    forbid(nodes, spacing, &mut zones);
    let only = spacing.one_zone.then_some(id);
    let stays = !spacing.one_zone || homes(&zones).contains(&id);
    let driver = ask.driver_at.map(|node| nodes.zone(node));
    let Some((only, not)) = beside_driver(nodes, spacing, only, driver) else {
        return false;
    };
    let choice = Choice {
        only,
        not,
        driver: None,
        at: driver,
    };
    stays && only.is_none_or(|only| only == id) && room(&levels(&zones, spacing, choice), spacing) > 0
}

/// The zones and what they take.
fn zones(nodes: &Nodes, ask: &Ask<'_>, spacing: &Spacing) -> Vec<Zone> {
    let mut zones = known_zones(nodes, ask);
    for spot in spots(nodes, ask) {
        if let Some(zone) = zones.iter_mut().find(|zone| zone.id == spot.zone) {
            zone.total.add(&spot);
        }
    }
    forbid(nodes, spacing, &mut zones);
    zones
}

/// Where a rule needs a zone, nodes that say none take no executor.
fn forbid(nodes: &Nodes, spacing: &Spacing, zones: &mut [Zone]) {
    let unzoned = nodes
        .unzoned()
        .filter(|_| spacing.one_zone || spacing.zone_skew.is_some() || spacing.driver.same_zone);
    for zone in zones.iter_mut().filter(|zone| Some(zone.id) == unzoned) {
        zone.total.takes = 0;
        zone.total.loss = zone.total.loss.map(|_| 0);
    }
}

/// All zones, without what they take.
fn known_zones(nodes: &Nodes, ask: &Ask<'_>) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::new();
    let rules = ask.class.map(|class| nodes.class_rules(class));
    let policies = ask.spacing.map_or((false, false), |spacing| {
        (spacing.any_zone_counts, spacing.tainted_count_not)
    });
    let unzoned = nodes.unzoned();
    for node in nodes.ids() {
        let Some(object) = nodes.node(node) else { continue };
        let id = nodes.zone(node);
        let at = zones.iter().position(|zone| zone.id == id).unwrap_or_else(|| {
            zones.push(Zone {
                id,
                counts: false,
                held: 0,
                total: Total::default(),
            });
            zones.len() - 1
        });
        // As kube-scheduler counts unless told otherwise: nodes that are cordoned or tainted too.
        let counts = |rules: &Constraints| {
            let (any, untainted) = policies;
            (any || rules.selects(object)) && (!untainted || rules.tolerate(object))
        };
        let zone = &mut zones[at];
        zone.counts = zone.counts || (Some(id) != unzoned && rules.is_none_or(counts));
    }
    for &(node, count) in ask.held {
        if let Some(zone) = zones.iter_mut().find(|zone| zone.id == nodes.zone(node)) {
            zone.held += count;
        }
    }
    zones
}

/// The best choice by which all executors have room, or with `partial` the most; and how many.
fn choose(nodes: &Nodes, zones: &[Zone], ask: &Ask<'_>, spacing: &Spacing) -> Option<(Choice, u64)> {
    let in_one = ask.packing.zones() == Zones::One;
    let executors: Vec<Option<u32>> = match (spacing.one_zone, in_one) {
        (true, _) => homes(zones).into_iter().map(Some).collect(),
        (false, true) => zones.iter().map(|zone| Some(zone.id)).collect(),
        (false, false) => vec![None],
    };
    let drivers: Vec<Option<u32>> = if ask.driver.is_some() {
        let takes = zones.iter().filter(|zone| zone.total.loss.is_some());
        takes.map(|zone| Some(zone.id)).collect()
    } else {
        vec![None]
    };
    let mut choices = Vec::new();
    for &only in &executors {
        for &driver in &drivers {
            let at = driver.or_else(|| ask.driver_at.map(|node| nodes.zone(node)));
            let Some((only, not)) = beside_driver(nodes, spacing, only, at) else {
                continue;
            };
            let choice = Choice { only, not, driver, at };
            let apart = only.is_some() && driver.is_some() && only != driver;
            if in_one && apart {
                continue;
            }
            let of = |id: Option<u32>| zones.iter().find(|zone| Some(zone.id) == id);
            let fit = room(&levels(zones, spacing, choice), spacing).min(ask.count);
            if fit < ask.count && !(ask.partial && ask.driver.is_none() && fit > 0) {
                continue;
            }
            let loss = of(driver).and_then(|zone| zone.total.loss).unwrap_or(0);
            // The most of them; then the driver with them, at the least cost, in the tightest zone.
            let takes = of(only).map_or(0, |zone| zone.total.takes);
            choices.push(((ask.count - fit, apart, loss, takes), (choice, fit)));
        }
    }
    choices
        .into_iter()
        .min_by_key(|&(cost, _)| cost)
        .map(|(_, found)| found)
}

/// Which zone alone may take executors and which may not, with their driver in this one; `None`: none may.
fn beside_driver(
    nodes: &Nodes,
    spacing: &Spacing,
    only: Option<u32>,
    driver: Option<u32>,
) -> Option<(Option<u32>, Option<u32>)> {
    let rules = spacing.driver;
    let only = match driver {
        Some(driver) if rules.same_zone && only.is_none_or(|only| only == driver) => Some(driver),
        Some(_) if rules.same_zone => return None,
        _ => only,
    };
    // A driver on a node that says no zone is in none.
    let not = driver.filter(|&driver| rules.other_zone && Some(driver) != nodes.unzoned());
    Some((only, not))
}

/// The zones that executors which have to be in one may go to: where they are already, else any.
fn homes(zones: &[Zone]) -> Vec<u32> {
    let any = zones.iter().any(|zone| zone.held > 0);
    let homes = zones.iter().filter(|zone| !any || zone.held > 0);
    homes.map(|zone| zone.id).collect()
}

/// How many there may be in each zone at most, whatever is in the others.
fn levels(zones: &[Zone], spacing: &Spacing, choice: Choice) -> Vec<Level> {
    let level = |zone: &Zone| {
        let lost = zone.total.loss.filter(|_| choice.driver == Some(zone.id)).unwrap_or(0);
        let takes = if choice.only.is_none_or(|only| only == zone.id) && choice.not != Some(zone.id) {
            zone.total.takes - lost
        } else {
            0
        };
        // Nodes that say no zone share none with each other.
        let most = spacing.per_zone_max.filter(|_| zone.counts).unwrap_or(u64::MAX);
        let most = zone.held.saturating_add(takes).min(most).max(zone.held);
        let driver = u64::from(spacing.driver.counts && choice.at == Some(zone.id));
        Level {
            held: zone.held + driver,
            most: most + driver,
            counts: zone.counts,
        }
    };
    zones.iter().map(level).collect()
}

/// The fewest executors that any zone can have in the end; none where zones are too few to be compared.
fn floor(levels: &[Level], spacing: &Spacing) -> u64 {
    let counted = || levels.iter().filter(|level| level.counts);
    if spacing
        .zones_min
        .is_some_and(|least| (counted().count() as u64) < least)
    {
        return 0;
    }
    counted().map(|level| level.most).min().unwrap_or(0)
}

/// How many there may be in a zone at most where every one has `floor` at least.
fn ceiling(level: &Level, floor: u64, skew: Option<u64>) -> u64 {
    // The API server takes nothing below one.
    let skew = skew.map_or(u64::MAX, |skew| skew.max(1));
    level.most.min(floor.saturating_add(skew)).max(level.held)
}

/// How many more executors all zones take together.
fn room(levels: &[Level], spacing: &Spacing) -> u64 {
    let floor = floor(levels, spacing);
    let more = levels
        .iter()
        .map(|level| ceiling(level, floor, spacing.zone_skew) - level.held);
    more.fold(0, u64::saturating_add)
}

/// How many of `count` executors, for which there is room, go to each zone.
fn shares(levels: &[Level], spacing: &Spacing, count: u64, order: Order) -> Vec<u64> {
    let skew = spacing.zone_skew;
    let raised = |floor: u64| {
        levels.iter().map(move |level| {
            let to = if level.counts && skew.is_some() { floor } else { 0 };
            to.saturating_sub(level.held)
        })
    };
    // The highest floor that takes no more than there are.
    let (mut low, mut high) = (0, floor(levels, spacing).min(u64::MAX - 1));
    while low < high {
        let middle = high - (high - low) / 2;
        if raised(middle).fold(0, u64::saturating_add) <= count {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    let mut shares: Vec<u64> = raised(low).collect();
    let mut left = count - shares.iter().sum::<u64>();
    let spare = |at: usize, share: u64| ceiling(&levels[at], low, skew) - levels[at].held - share;
    while left > 0 {
        let open = (0..levels.len()).filter(|&at| spare(at, shares[at]) > 0);
        // Even ones by turns, else as many as go to where the most go.
        let at = if order == Order::Balanced {
            open.min_by_key(|&at| levels[at].held + shares[at])
        } else {
            open.max_by_key(|&at| spare(at, shares[at]))
        };
        let Some(at) = at else { break };
        let more = if order == Order::Balanced {
            1
        } else {
            left.min(spare(at, shares[at]))
        };
        shares[at] += more;
        left -= more;
    }
    debug_assert_eq!(left, 0, "there is room for all");
    shares
}

#[cfg(test)]
mod tests;
