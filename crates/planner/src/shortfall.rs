//! What lacks for a gang to start, in numbers.

use std::fmt;

use kompass_core::Resources;
use rustc_hash::FxHashMap;

use crate::backfill::Need;
use crate::gang::GangId;
use crate::pack::{Ask, View, capacity, each_kind};
use crate::planner::Planner;

/// How much of a gang there is room for, and what lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortfall {
    /// Executors that have room, of how many.
    pub(crate) fit: u64,
    pub(crate) wanted: u64,
    /// On so many nodes, of those that the rules of its pods allow.
    pub(crate) on: u64,
    pub(crate) allowed: u64,
    /// So many more nodes would be allowed but for the pods that are there, or are not.
    pub(crate) kept_off: u64,
    /// The driver alone has room.
    pub(crate) driver: bool,
    /// Its executors have rules about each other.
    pub(crate) spaced: bool,
    /// The resource of which there is too little in all, by name; `None` where there is enough of each, in pieces that are
    /// too small or on nodes that lack another.
    pub(crate) lacks: Option<String>,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fit, wanted, .. } = self;
        if !self.driver {
            write!(f, "no node has room for its driver")?;
        } else if *wanted == 0 {
            write!(f, "its driver has room")?;
        } else if fit >= wanted && self.spaced {
            write!(
                f,
                "its {wanted} executors have room, but not with the driver and by their rules about each other"
            )?;
        } else if fit >= wanted {
            write!(
                f,
                "its {wanted} executors have room, but not with the driver beside them"
            )?;
        } else {
            let (on, allowed) = (self.on, self.allowed);
            write!(
                f,
                "{fit} of its {wanted} executors have room, on {on} of {allowed} nodes"
            )?;
        }
        if self.kept_off > 0 {
            write!(
                f,
                ", not counting {} where its rules about other pods, or theirs about it, don't let it",
                self.kept_off
            )?;
        }
        match &self.lacks {
            Some(name) => write!(f, "; {name} is what lacks"),
            None if fit < wanted && self.spaced => write!(
                f,
                "; there is enough in all, in pieces that are too small or where their rules about each other let no more go"
            ),
            None if fit < wanted => write!(f, "; there is enough in all, in pieces that are too small"),
            None => Ok(()),
        }
    }
}

/// What lacks, by need: gangs of equal needs lack the same.
#[derive(Debug, Default)]
pub(crate) struct Shortfalls(FxHashMap<(Need, bool), Shortfall>);

impl Planner {
    /// The same as [`Self::shortfall`], once for gangs of equal needs.
    pub(crate) fn shortfall_of(&self, id: GangId, empty: bool, known: &mut Shortfalls) -> Shortfall {
        let Some(need) = self.need(id) else {
            return self.shortfall(id, empty);
        };
        let known = known.0.entry((need, empty));
        known.or_insert_with(|| self.shortfall(id, empty)).clone()
    }

    /// What lacks for a gang that waits, now or (`empty`) even without KOMPASS's pods.
    pub(crate) fn shortfall(&self, id: GangId, empty: bool) -> Shortfall {
        let ask = self.ask(id, None);
        let room = if empty { View::Empty } else { View::Now(None) };
        let ask = Ask { room, ..ask };
        let class = ask.class.or_else(|| ask.driver.map(|driver| driver.class));
        let allowed = class.map(|class| match room {
            View::Empty => self.nodes.allowed_empty(class),
            _ => self.nodes.allowed(class),
        });
        let mut shortfall = Shortfall {
            fit: 0,
            wanted: ask.count,
            on: 0,
            allowed: allowed.map_or(0, |allowed| allowed.iter().filter(|allowed| **allowed).count() as u64),
            kept_off: class.map_or(0, |class| self.nodes.kept_off(class, empty)),
            driver: false,
            spaced: ask.spacing.is_some(),
            lacks: None,
        };
        let mut free = Resources::default();
        each_kind(&self.nodes, &ask, |kind, room| {
            if allowed.is_none_or(|allowed| !allowed[kind[0].index()]) {
                return;
            }
            let (takes, beside) = capacity(&self.nodes, &ask, kind[0], room);
            let nodes = kind.len() as u64;
            shortfall.on += if takes > 0 { nodes } else { 0 };
            shortfall.fit = shortfall.fit.saturating_add(takes.saturating_mul(nodes));
            shortfall.driver |= beside.is_some();
            if room.pods > 0 {
                free.add_times(&room.resources, nodes);
            }
        });
        shortfall.lacks = self.lacks(id, &free);
        shortfall
    }

    /// Of which resource the nodes together have less than the gang needs: the one of which the largest share lacks.
    fn lacks(&self, id: GangId, free: &Resources) -> Option<String> {
        let needs = self.needs(id).requests;
        let short = |name: &str, need: u64, have: u64| {
            let lack = u128::from(need.saturating_sub(have)) * 1_000;
            (need > have).then(|| (lack / u128::from(need), name.to_owned()))
        };
        let extended = needs
            .extended
            .iter()
            .map(|(name, &need)| short(name, need, free.units(name)));
        let all = extended.chain([
            short("memory", needs.memory_bytes, free.memory_bytes),
            short("CPU", needs.cpu_milli, free.cpu_milli),
        ]);
        all.flatten().max().map(|(_, name)| name)
    }
}
