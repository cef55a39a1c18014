//! What each node, or each kind of nodes, takes of a gang.

use kompass_core::{Resources, Spacing};

use super::{Ask, DriverAsk, View};
use crate::nodes::{Batch, LEAST_CPU_MILLI, NodeId, Nodes, Room};
use crate::space::Space;

/// Nodes that take equal parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'a> {
    /// At least one.
    pub(super) nodes: &'a [NodeId],
    pub(super) zone: u32,
    /// 0: the gang is there; 1: others of KOMPASS's are; 2: nobody is.
    pub(super) tier: u8,
    /// Executors that each of them takes, at most the count.
    pub(super) takes: u64,
    /// The same however many are wanted.
    pub(super) could: u64,
    /// Executors that it takes with the driver on it; `None` where the driver can't go.
    pub(super) beside: Option<u64>,
    /// Orders equal spots: the one with less free room first.
    pub(super) slack: (u64, u64),
}

impl Spot<'_> {
    /// Executors that its nodes take together.
    pub(super) fn all(&self) -> u64 {
        self.takes.saturating_mul(self.nodes.len() as u64)
    }
}

/// All that can take a part.
pub(super) fn spots<'a>(nodes: &'a Nodes, ask: &Ask<'_>) -> Vec<Spot<'a>> {
    let spots = match ask.room {
        View::Now(None) if is_plain(nodes, ask) => of_batches(nodes, ask, nodes.alike_now()),
        View::Empty if is_plain(nodes, ask) => of_batches(nodes, ask, nodes.alike_empty()),
        View::Now(without) => of_nodes(nodes, ask, |index| &nodes.free()[index], without),
        View::Empty => of_nodes(nodes, ask, |index| &nodes.empty()[index], None),
        View::Then(spaces) => of_nodes(nodes, ask, |index| spaces.get(index), None),
    };
    debug_assert!(spots.iter().all(|spot| !spot.nodes.is_empty()));
    spots
}

/// All nodes with their room as the ask sees it, those together that are the same to the gang.
pub(crate) fn each_kind<'a>(nodes: &'a Nodes, ask: &Ask<'a>, mut each: impl FnMut(&[NodeId], &Room)) {
    let each_node = |room: &dyn Fn(usize) -> &'a Room, each: &mut dyn FnMut(&[NodeId], &Room)| {
        for index in 0..nodes.free().len() {
            each(nodes.alone(NodeId::at(index)), room(index));
        }
    };
    match ask.room {
        View::Now(None) if is_plain(nodes, ask) => {
            nodes.alike_now().for_each(|batch| each(&batch.nodes, &batch.room));
        }
        View::Empty if is_plain(nodes, ask) => {
            nodes.alike_empty().for_each(|batch| each(&batch.nodes, &batch.room));
        }
        View::Now(_) => each_node(&|index| &nodes.free()[index], &mut each),
        View::Empty => each_node(&|index| &nodes.empty()[index], &mut each),
        View::Then(_) => debug_assert!(false, "nothing asks what lacks at another time"),
    }
}

/// How many nodes or kinds of nodes are looked at to find a place now.
pub(crate) fn looks_at(nodes: &Nodes, ask: &Ask<'_>) -> usize {
    if is_plain(nodes, ask) {
        nodes.kinds_now()
    } else {
        nodes.free().len()
    }
}

/// Whether nodes that are alike are the same to this gang.
fn is_plain(nodes: &Nodes, ask: &Ask<'_>) -> bool {
    let large = |requests: &Resources| requests.cpu_milli >= LEAST_CPU_MILLI;
    let class = |class| nodes.is_plain(class);
    ask.near.is_none()
        && ask.spacing.is_none_or(|spacing| spacing.host_ports.is_empty())
        && ask.held.is_empty()
        && ask
            .class
            .is_none_or(|it| class(it) && (ask.count == 0 || large(ask.executor)))
        && ask.driver.is_none_or(|driver| {
            let anywhere = driver.among.is_none() && driver.avoid.is_none() && driver.ports.is_empty();
            anywhere && class(driver.class) && large(driver.requests)
        })
}

fn of_batches<'a>(nodes: &Nodes, ask: &Ask<'_>, batches: impl Iterator<Item = &'a Batch>) -> Vec<Spot<'a>> {
    let mut spots = Vec::new();
    let driver = ask.driver.map(|driver| driver.requests.cpu_milli);
    let executor = ask.class.filter(|_| ask.count > 0).map(|_| ask.executor.cpu_milli);
    let least_cpu_milli = driver.into_iter().chain(executor).min().unwrap_or(0);
    for batch in batches {
        let lie = batch.lie;
        if batch.room.resources.cpu_milli < least_cpu_milli || ask.zone.is_some_and(|zone| zone != lie.zone) {
            continue;
        }
        // Any of them speaks for all.
        let (takes, beside) = capacity(nodes, ask, batch.nodes[0], &batch.room);
        if takes > 0 || beside.is_some() {
            spots.push(Spot {
                nodes: &batch.nodes,
                zone: lie.zone,
                tier: 2 - u8::from(lie.in_use),
                takes,
                could: could(ask, batch.nodes[0], &batch.room, takes),
                beside,
                slack: (batch.room.resources.cpu_milli, batch.room.resources.memory_bytes),
            });
        }
    }
    spots
}

fn of_nodes<'a, S: Space>(
    nodes: &'a Nodes,
    ask: &Ask<'_>,
    room: impl Fn(usize) -> S,
    without: Option<&[bool]>,
) -> Vec<Spot<'a>> {
    let mut spots = Vec::with_capacity(nodes.free().len());
    for index in 0..nodes.free().len() {
        let (node, room) = (NodeId::at(index), room(index));
        let outside = ask.zone.is_some_and(|zone| zone != nodes.zone(node));
        if outside || without.is_some_and(|without| without[index]) {
            continue;
        }
        let (takes, beside) = capacity(nodes, ask, node, &room);
        if takes > 0 || beside.is_some() {
            let near = ask.near.is_some_and(|near| near[index]);
            spots.push(Spot {
                nodes: nodes.alone(node),
                zone: nodes.zone(node),
                tier: if near { 0 } else { 2 - u8::from(nodes.in_use(node)) },
                takes,
                could: could(ask, node, &room, takes),
                beside,
                slack: (room.cpu_milli(), room.memory_bytes()),
            });
        }
    }
    spots
}

/// What a node with this room takes: executors, at most the count, and the same with the driver on it; `None` where the
/// driver can't go.
#[inline]
pub(crate) fn capacity(nodes: &Nodes, ask: &Ask<'_>, node: NodeId, room: &impl Space) -> (u64, Option<u64>) {
    let index = node.index();
    if room.pods() == 0 {
        return (0, None);
    }
    let now = matches!(ask.room, View::Now(_));
    let allowed = |class| match ask.room {
        View::Empty => nodes.allowed_empty(class)[index],
        View::Now(_) | View::Then(_) => nodes.allowed(class)[index],
    };
    let takes = match ask.class {
        Some(class) if ask.count > 0 && allowed(class) => times(ask.executor, room, None).min(ask.count),
        _ => 0,
    };
    let takes = match ask.spacing {
        None => takes,
        Some(spacing) => by_rules(nodes, ask, spacing, node, takes, now),
    };
    let clash = |driver: &DriverAsk<'_>| {
        ask.spacing.is_some_and(|spacing| {
            spacing.driver.other_node || spacing.host_ports.iter().any(|port| driver.ports.contains(port))
        })
    };
    let beside = ask.driver.filter(|driver| {
        allowed(driver.class)
            && driver.among.is_none_or(|among| among[index])
            && driver.avoid != Some(node)
            && room.holds(driver.requests)
            && (!now || nodes.ports_free(node, driver.ports))
    });
    let beside = beside.map(|driver| match takes {
        0 => 0,
        _ if clash(&driver) => 0,
        // Never more than without the driver, whatever the rules.
        _ => times(ask.executor, room, Some(driver.requests)).min(takes),
    });
    (takes, beside)
}

/// What a node takes by the executors' rules about each other, of those that it has room for. Apart, so that gangs without
/// rules don't pay for it.
#[cold]
fn by_rules(nodes: &Nodes, ask: &Ask<'_>, spacing: &Spacing, node: NodeId, takes: u64, now: bool) -> u64 {
    if now && !nodes.ports_free(node, &spacing.host_ports) {
        0
    } else {
        takes.min(rest_of(ask, node))
    }
}

/// Executors that a node with this room takes which takes so many of those wanted.
#[inline]
fn could(ask: &Ask<'_>, node: NodeId, room: &impl Space, takes: u64) -> u64 {
    if takes < ask.count {
        takes
    } else {
        let could = times(ask.executor, room, None);
        ask.spacing.map_or(could, |_| could.min(rest_of(ask, node)))
    }
}

/// Executors that the rules about each other let go to the node besides those that the gang has there.
fn rest_of(ask: &Ask<'_>, node: NodeId) -> u64 {
    let Some(spacing) = ask.spacing else { return u64::MAX };
    if spacing.driver.other_node && ask.driver_at == Some(node) {
        return 0;
    }
    let most = spacing.node_max();
    let held = ask.held.binary_search_by_key(&node, |&(known, _)| known);
    most.saturating_sub(held.map_or(0, |at| ask.held[at].1))
}

/// How many of `want` fit in `room` after `first`.
#[inline]
fn times(want: &Resources, room: &impl Space, first: Option<&Resources>) -> u64 {
    let share = |have: u64, taken: u64, want: u64| {
        let have = have.saturating_sub(taken);
        if have < want {
            0
        } else {
            have.checked_div(want).unwrap_or(u64::MAX)
        }
    };
    let taken = |of: fn(&Resources) -> u64| first.map_or(0, of);
    let cpu = share(room.cpu_milli(), taken(|first| first.cpu_milli), want.cpu_milli);
    if cpu == 0 {
        return 0;
    }
    let memory = share(
        room.memory_bytes(),
        taken(|first| first.memory_bytes),
        want.memory_bytes,
    );
    let pods = room.pods() - u64::from(first.is_some());
    want.extended
        .iter()
        .fold(cpu.min(memory).min(pods), |least, (name, &units)| {
            let taken = first.map_or(0, |first| first.units(name));
            least.min(share(room.units(name), taken, units))
        })
}
