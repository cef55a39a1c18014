//! Packing: where a gang goes. One pass over the nodes decides exactly whether it fits; the rest is preference, and what
//! is preferred is the policy's business (see [`Packing`]).
//!
//! Why it is exact: a node takes a known number of executors, and one less or so with the driver on it. The gang fits if
//! and only if for some driver node the sum of these numbers reaches the count, so trying each driver node's *loss*
//! against the surplus is enough.

use kompass_core::{Resources, Spacing};

use crate::classes::ClassId;
use crate::config::{Packing, Zones};
use crate::nodes::{NodeId, Nodes};
use crate::space::Spaces;

mod place;
mod spots;
mod zones;

use self::spots::{Spot, spots};
pub(crate) use self::spots::{capacity, each_kind, looks_at};
pub(crate) use self::zones::takes_one_more;

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) driver: Option<DriverAsk<'a>>,
    pub(crate) executor: &'a Resources,
    /// Class of the executors' rules; `None` where there are no executors.
    pub(crate) class: Option<ClassId>,
    /// The executors' rules about each other, where they have any.
    pub(crate) spacing: Option<&'a Spacing>,
    /// Executors that the gang has already, by node in order: they count for these rules.
    pub(crate) held: &'a [(NodeId, u64)],
    /// Where the driver is, if it is bound: executors may have rules about that.
    pub(crate) driver_at: Option<NodeId>,
    pub(crate) count: u64,
    /// As many as there is room for, instead of all or nothing.
    pub(crate) partial: bool,
    /// Nodes of the gang already, by node index: preferred.
    pub(crate) near: Option<&'a [bool]>,
    /// The room to look at.
    pub(crate) room: View<'a>,
    /// Only nodes of this zone.
    pub(crate) zone: Option<u32>,
    /// What is preferred.
    pub(crate) packing: Packing,
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
    /// What is free at another time.
    Then(&'a Spaces),
}

/// Where a gang goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) driver: Option<NodeId>,
    /// Each node once, counts above zero.
    pub(crate) executors: Vec<(NodeId, u64)>,
}

/// Finds a place, or `None` where there is not enough room (with `partial`: where there is none at all).
pub(crate) fn pack(nodes: &Nodes, ask: &Ask<'_>) -> Option<Placement> {
    match ask.spacing.filter(|spacing| spacing.is_zonal() && ask.count > 0) {
        Some(spacing) => zones::pack(nodes, ask, spacing),
        None => pack_anywhere(nodes, ask),
    }
}

/// The same without regard to the executors' rules about zones.
fn pack_anywhere(nodes: &Nodes, ask: &Ask<'_>) -> Option<Placement> {
    let mut spots = spots(nodes, ask);
    let choice = choose(&spots, ask);
    if choice.is_none() && ask.partial {
        let room = spots.iter().fold(0_u64, |sum, spot| sum.saturating_add(spot.all()));
        let count = room.min(ask.count);
        return (count > 0).then(|| place::place(spots, &Ask { count, ..*ask }));
    }
    let chosen = choice?;
    spots.retain(|spot| chosen.holds(spot));
    Some(place::place(spots, ask))
}

/// A part of the spots: one zone or all, used ones or all.
#[derive(Debug, Clone, Copy)]
struct Part {
    zone: Option<u32>,
    tier: u8,
}

impl Part {
    fn holds(self, spot: &Spot<'_>) -> bool {
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
    fn of(spots: &[Spot<'_>]) -> Self {
        let mut total = Self::default();
        for spot in spots {
            total.add(spot);
        }
        total
    }

    fn add(&mut self, spot: &Spot<'_>) {
        self.takes = self.takes.saturating_add(spot.all());
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

/// The part of the spots to use: the tightest zone that takes all (where the policy looks at zones), in nodes in use if
/// possible (where it cares about them); else all zones (where it may).
fn choose(spots: &[Spot<'_>], ask: &Ask<'_>) -> Option<Part> {
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
    let tier = |used: &Total| {
        if ask.packing.fills_used() && used.fits(ask) {
            1
        } else {
            2
        }
    };
    let zone = zones
        .iter()
        .filter(|(_, _, all)| ask.packing.zones() != Zones::Any && all.fits(ask))
        .min_by_key(|(zone, used, all)| (tier(used), all.takes, *zone))
        .map(|(zone, used, _)| Part {
            zone: Some(*zone),
            tier: tier(used),
        });
    if zone.is_some() || ask.packing.zones() == Zones::One {
        return zone;
    }
    all.fits(ask).then(|| Part {
        zone: None,
        tier: tier(&used),
    })
}

#[cfg(test)]
mod policies;
#[cfg(test)]
mod tests;
