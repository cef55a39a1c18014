//! Gangs that something may have to be done about, so that a decision costs what has changed, not what there is.

use std::collections::BTreeSet;

use crate::config::Backfill;
use crate::gang::{Gang, GangId, Stage, Verdict};
use crate::planner::Planner;

/// Sets of gangs, right for every gang that was not touched since.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    /// Ungated, or about to be, and the driver not bound.
    pub(crate) opening: BTreeSet<GangId>,
    /// Running and short of slots, as far as nodes have not come into use again since.
    pub(crate) short: BTreeSet<GangId>,
    /// The written plan is not the reserved one.
    pub(crate) unwritten: BTreeSet<GangId>,
    /// Executors beyond the minimum found no room.
    pub(crate) wanting: BTreeSet<GangId>,
    /// Nodes are asked for.
    pub(crate) asking: BTreeSet<GangId>,
    /// No room was found.
    pub(crate) lacking: BTreeSet<GangId>,
    /// No room was found, and waiting helps.
    pub(crate) claiming: BTreeSet<GangId>,
    /// The reason to wait is another one than was told.
    pub(crate) untold: BTreeSet<GangId>,
    /// Room is reserved for pods that are still to come.
    pub(crate) reserving: BTreeSet<GangId>,
    /// Markers were asked for.
    pub(crate) marking: BTreeSet<GangId>,
}

impl Planner {
    /// Looks at the gangs that were touched since the last time.
    pub(crate) fn attend(&mut self) {
        for id in self.gangs.take_touched() {
            let gang = self.gangs.get(id);
            let is = |what: &dyn Fn(&Gang) -> bool| gang.is_some_and(what);
            let waits = |gang: &Gang| {
                let code = self.wait_code(id);
                !gang.is_bound() && code.is_some() && code != gang.waiting.told
            };
            let opening = is(&|gang| matches!(gang.stage, Stage::Opening { .. } | Stage::Open(_)));
            let short = is(&|gang| gang.is_bound() && self.unplaced(id) > 0);
            let open = is(&|gang| matches!(gang.stage, Stage::Open(_) | Stage::Bound));
            let unwritten = open && self.is_unwritten(id);
            let wanting = is(&|gang| gang.extras.is_some());
            let asking = is(&|gang| gang.demand.active.is_some());
            let lacking = is(&|gang| gang.waiting.verdict.is_some());
            let claiming = is(&|gang| gang.waiting.verdict.is_some_and(Verdict::is_now));
            let untold = is(&waits);
            let reserving = is(&|gang| gang.held.is_some() && (gang.slots.free() > 0 || !gang.is_bound()));
            let marking = is(&|gang| !gang.markers.is_empty());
            let held = gang.and_then(|gang| Some((gang.queue.clone(), self.holds(id)?)));
            if self.config.backfill != Backfill::Off && (held.is_some() || self.shares.counted(id).is_some()) {
                self.ends.touch(id);
            }
            self.shares.count(id, held);
            let sets = &mut self.attention;
            for (set, member) in [
                (&mut sets.opening, opening),
                (&mut sets.short, short),
                (&mut sets.unwritten, unwritten),
                (&mut sets.wanting, wanting),
                (&mut sets.asking, asking),
                (&mut sets.lacking, lacking),
                (&mut sets.claiming, claiming),
                (&mut sets.untold, untold),
                (&mut sets.reserving, reserving),
                (&mut sets.marking, marking),
            ] {
                if member {
                    set.insert(id);
                } else {
                    set.remove(&id);
                }
            }
        }
    }
}
