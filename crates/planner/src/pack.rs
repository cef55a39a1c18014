//! Packing: where a gang goes. One pass over the nodes decides exactly whether it fits; the rest is preference:
//! one zone, nodes that are in use already, few nodes, and of equal ones the fullest.
//!
//! Why it is exact: a node takes a known number of executors, and one less or so with the driver on it. The gang fits if
//! and only if for some driver node the sum of these numbers reaches the count, so trying each driver node's *loss*
//! against the surplus is enough.

use kompass_core::Resources;

use crate::classes::ClassId;
use crate::nodes::{NodeId, Nodes, Room};

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) driver: Option<DriverAsk<'a>>,
    pub(crate) executor: &'a Resources,
    /// Class of the executors' rules; `None` where there are no executors.
    pub(crate) class: Option<ClassId>,
    pub(crate) count: u64,
    /// As many as there is room for, instead of all or nothing.
    pub(crate) partial: bool,
    /// Nodes of the gang already, by node index: preferred.
    pub(crate) near: Option<&'a [bool]>,
    /// The room to look at.
    pub(crate) room: View<'a>,
}

/// The driver's part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DriverAsk<'a> {
    pub(crate) requests: &'a Resources,
    pub(crate) ports: &'a [u16],
    pub(crate) class: ClassId,
    /// Only these nodes, by node index.
    pub(crate) among: Option<&'a [bool]>,
    /// Not this node.
    pub(crate) avoid: Option<NodeId>,
}

/// Which room counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum View<'a> {
    /// What is free now, without the nodes marked (by node index).
    Now(Option<&'a [bool]>),
    /// What would be free without any of KOMPASS's pods.
    Empty,
    /// What is free at another time, by node index.
    Then(&'a [Room]),
}

/// Where a gang goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) driver: Option<NodeId>,
    /// Each node once, counts above zero.
    pub(crate) executors: Vec<(NodeId, u64)>,
}

/// A node that can take a part.
#[derive(Debug, Clone, Copy)]
struct Spot {
    node: NodeId,
    zone: u32,
    /// 0: the gang is there; 1: others of KOMPASS's are; 2: nobody is.
    tier: u8,
    /// Executors that it takes, at most the count.
    takes: u64,
    /// The same with the driver on it; `None` where the driver can't go.
    beside: Option<u64>,
    /// Orders equal spots: the one with less free room first.
    slack: (u64, u64),
}

/// Finds a place, or `None` where there is not enough room (with `partial`: where there is none at all).
pub(crate) fn pack(nodes: &Nodes, ask: &Ask<'_>) -> Option<Placement> {
    let spots = spots(nodes, ask);
    let choice = choose(&spots, ask);
    if choice.is_none() && ask.partial {
        let room: u64 = spots.iter().map(|spot| spot.takes).sum();
        let count = room.min(ask.count);
        return (count > 0).then(|| place(spots, &Ask { count, ..*ask }));
    }
    let chosen = choice?;
    let spots = spots.into_iter().filter(|spot| chosen.holds(spot)).collect();
    Some(place(spots, ask))
}

/// A part of the spots: one zone or all, used ones or all.
#[derive(Debug, Clone, Copy)]
struct Part {
    zone: Option<u32>,
    tier: u8,
}

impl Part {
    fn holds(self, spot: &Spot) -> bool {
        spot.tier <= self.tier && self.zone.is_none_or(|zone| zone == spot.zone)
    }
}

/// What a set of spots can take together.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    takes: u64,
    /// The least that a driver costs.
    loss: Option<u64>,
}

impl Total {
    fn add(&mut self, spot: &Spot) {
        self.takes = self.takes.saturating_add(spot.takes);
        if let Some(beside) = spot.beside {
            let loss = spot.takes - beside;
            self.loss = Some(self.loss.map_or(loss, |known| known.min(loss)));
        }
    }

    fn fits(self, ask: &Ask<'_>) -> bool {
        match (ask.driver, self.loss) {
            (None, _) => self.takes >= ask.count,
            (Some(_), Some(loss)) => self.takes - loss >= ask.count,
            (Some(_), None) => false,
        }
    }
}

fn spots(nodes: &Nodes, ask: &Ask<'_>) -> Vec<Spot> {
    let (rooms, without) = match ask.room {
        View::Now(without) => (nodes.free(), without),
        View::Empty => (nodes.empty(), None),
        View::Then(rooms) => (rooms, None),
    };
    let mut spots = Vec::new();
    for (index, room) in rooms.iter().enumerate() {
        if without.is_some_and(|without| without[index]) {
            continue;
        }
        let node = NodeId::at(index);
        let (takes, beside) = capacity(nodes, ask, node, room);
        if takes > 0 || beside.is_some() {
            let near = ask.near.is_some_and(|near| near[index]);
            let tier = if near { 0 } else { 2 - u8::from(nodes.in_use(node)) };
            let slack = (room.resources.cpu_milli, room.resources.memory_bytes);
            spots.push(Spot {
                node,
                zone: nodes.zone(node),
                tier,
                takes,
                beside,
                slack,
            });
        }
    }
    spots
}

/// What a node with this room takes: executors, at most the count, and the same with the driver on it; `None` where the
/// driver can't go.
pub(crate) fn capacity(nodes: &Nodes, ask: &Ask<'_>, node: NodeId, room: &Room) -> (u64, Option<u64>) {
    let index = node.index();
    if room.pods == 0 {
        return (0, None);
    }
    let now = matches!(ask.room, View::Now(_));
    let takes = match ask.class {
        Some(class) if ask.count > 0 && nodes.allowed(class)[index] => times(ask.executor, room, None).min(ask.count),
        _ => 0,
    };
    let beside = ask.driver.filter(|driver| {
        nodes.allowed(driver.class)[index]
            && driver.among.is_none_or(|among| among[index])
            && driver.avoid != Some(node)
            && driver.requests.fits(&room.resources)
            && (!now || nodes.ports_free(node, driver.ports))
    });
    let beside = beside.map(|driver| match takes {
        0 => 0,
        _ => times(ask.executor, room, Some(driver.requests)).min(ask.count),
    });
    (takes, beside)
}

/// How many of `want` fit in `room` after `first`.
fn times(want: &Resources, room: &Room, first: Option<&Resources>) -> u64 {
    let share = |have: u64, taken: u64, want: u64| {
        let have = have.saturating_sub(taken);
        if have < want {
            0
        } else {
            have.checked_div(want).unwrap_or(u64::MAX)
        }
    };
    let taken = |of: fn(&Resources) -> u64| first.map_or(0, of);
    let cpu = share(room.resources.cpu_milli, taken(|first| first.cpu_milli), want.cpu_milli);
    if cpu == 0 {
        return 0;
    }
    let memory = share(
        room.resources.memory_bytes,
        taken(|first| first.memory_bytes),
        want.memory_bytes,
    );
    let pods = room.pods - u64::from(first.is_some());
    want.extended
        .iter()
        .fold(cpu.min(memory).min(pods), |least, (name, &units)| {
            let taken = first.map_or(0, |first| first.units(name));
            least.min(share(room.resources.units(name), taken, units))
        })
}

/// The part of the spots to use: the tightest zone that takes all, in nodes in use if possible; else all zones.
fn choose(spots: &[Spot], ask: &Ask<'_>) -> Option<Part> {
    let mut zones: Vec<(u32, Total, Total)> = Vec::new();
    let (mut used, mut all) = (Total::default(), Total::default());
    for spot in spots {
        let at = zones.iter().position(|zone| zone.0 == spot.zone).unwrap_or_else(|| {
            zones.push((spot.zone, Total::default(), Total::default()));
            zones.len() - 1
        });
        let (_, zone_used, zone_all) = &mut zones[at];
        zone_all.add(spot);
        all.add(spot);
        if spot.tier < 2 {
            zone_used.add(spot);
            used.add(spot);
        }
    }
    let zone = zones
        .iter()
        .filter(|(_, _, all)| all.fits(ask))
        .min_by_key(|(zone, used, all)| (!used.fits(ask), all.takes, *zone))
        .map(|(zone, used, _)| Part {
            zone: Some(*zone),
            tier: if used.fits(ask) { 1 } else { 2 },
        });
    zone.or_else(|| used.fits(ask).then_some(Part { zone: None, tier: 1 }))
        .or_else(|| all.fits(ask).then_some(Part { zone: None, tier: 2 }))
}

/// Places the whole ask on spots that are known to take it.
fn place(mut spots: Vec<Spot>, ask: &Ask<'_>) -> Placement {
    let driver = ask.driver.map(|_| {
        let at = driver_spot(&spots, ask.count);
        let spot = &mut spots[at];
        spot.takes = spot.beside.expect("a driver spot takes the driver");
        spot.tier = 0;
        spot.node
    });
    let mut executors = Vec::new();
    let mut left = ask.count;
    for tier in 0..=2 {
        let mut these: Vec<Spot> = spots
            .iter()
            .filter(|spot| spot.tier == tier && spot.takes > 0)
            .copied()
            .collect();
        left = fill(&mut these, left, &mut executors);
        if left == 0 {
            break;
        }
    }
    debug_assert_eq!(left, 0, "the spots were counted before");
    Placement { driver, executors }
}

/// The spot for the driver: one that takes everything if there is one, else one that costs few executors.
fn driver_spot(spots: &[Spot], count: u64) -> usize {
    let total = spots.iter().fold(0_u64, |sum, spot| sum.saturating_add(spot.takes));
    let candidates = || {
        spots
            .iter()
            .enumerate()
            .filter_map(|(at, spot)| Some((at, spot, spot.beside?)))
    };
    candidates()
        .filter(|&(_, _, beside)| beside >= count)
        .min_by_key(|(_, spot, _)| (spot.tier, spot.slack, spot.node))
        .or_else(|| {
            candidates()
                .filter(|&(_, spot, beside)| total - (spot.takes - beside) >= count)
                .min_by_key(|(_, spot, beside)| (spot.tier, spot.takes - beside, spot.slack, spot.node))
        })
        .expect("the spots were chosen so that one takes the driver")
        .0
}

/// Places up to `left` executors on few of the spots; returns how many are left over.
fn fill(spots: &mut [Spot], mut left: u64, executors: &mut Vec<(NodeId, u64)>) -> u64 {
    if left == 0 {
        return 0;
    }
    spots.sort_unstable_by_key(|spot| (std::cmp::Reverse(spot.takes), spot.slack, spot.node));
    let mut at = 0;
    while at < spots.len() && left > 0 {
        if spots[at].takes >= left {
            // Of those that take all the rest, the one that takes the fewest; of equal ones the fullest.
            let end = at + spots[at..].partition_point(|spot| spot.takes >= left);
            let takes = spots[end - 1].takes;
            let first = at + spots[at..end].partition_point(|spot| spot.takes > takes);
            executors.push((spots[first].node, left));
            return 0;
        }
        executors.push((spots[at].node, spots[at].takes));
        left -= spots[at].takes;
        at += 1;
    }
    left
}

#[cfg(test)]
mod tests;
