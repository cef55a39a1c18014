//! What a head sees at a later time, kept between decisions: nodes and gangs that have changed since are counted anew, all
//! else is as it was.

use kompass_core::Resources;
use rustc_hash::FxHashMap;

use crate::ends::End;
use crate::gang::GangId;
use crate::nodes::NodeId;
use crate::outlook::Outlook;
use crate::planner::Planner;
use crate::space::Spaces;

/// Some room that a gang has: on which node, of one pod, how many.
pub(crate) type Part = (NodeId, Resources, u64);

/// Room as it is now, and that of some gangs besides.
#[derive(Debug)]
pub(crate) struct Lookahead {
    of: GangId,
    arrival: u64,
    outlook: Outlook,
    /// The room that was free when it was last looked at.
    free: Spaces,
    /// Gangs that count as gone, with what they held.
    gone: FxHashMap<GangId, Vec<Part>>,
    /// Of the journals of nodes and gangs, so many entries are seen.
    nodes_seen: u64,
    gangs_seen: u64,
}

impl Lookahead {
    /// With nobody gone.
    pub(crate) fn new(planner: &Planner, of: GangId) -> Self {
        let free = Spaces::now(&planner.nodes);
        Self {
            of,
            arrival: planner.gangs[of].arrival,
            outlook: Outlook::new(&planner.nodes, planner.wanted(of), free.clone()),
            free,
            gone: FxHashMap::default(),
            nodes_seen: planner.nodes.journal.seen(),
            gangs_seen: planner.ends.journal.seen(),
        }
    }

    /// Brings it up to date; `is_gone` tells which of the gangs that have changed count as gone. It is made anew where it
    /// is another gang's, or too much has changed: then nobody is gone, and false is returned.
    pub(crate) fn follow(&mut self, planner: &Planner, of: GangId, is_gone: impl Fn(GangId) -> bool) -> bool {
        let same = self.of == of
            && self.arrival == planner.gangs[of].arrival
            && *self.outlook.wanted() == planner.wanted(of)
            && self.follow_nodes(planner)
            && self.follow_gangs(planner, is_gone);
        if !same {
            *self = Self::new(planner, of);
        }
        same
    }

    fn follow_nodes(&mut self, planner: &Planner) -> bool {
        let nodes = &planner.nodes;
        if !self.free.covers(nodes) {
            return false;
        }
        let Some(changed) = nodes.journal.since(self.nodes_seen) else {
            return false;
        };
        self.outlook.grow(nodes);
        self.free.grow(nodes);
        for node in changed {
            let room = &nodes.free()[node.index()];
            self.outlook.rooms_mut().follow(&mut self.free, node, room);
            self.outlook.count(nodes, node.index());
        }
        self.nodes_seen = nodes.journal.seen();
        true
    }

    fn follow_gangs(&mut self, planner: &Planner, is_gone: impl Fn(GangId) -> bool) -> bool {
        let Some(changed) = planner.ends.journal.since(self.gangs_seen) else {
            return false;
        };
        for id in changed {
            self.comes_back(planner, id);
            if is_gone(id) {
                self.goes(planner, id);
            }
        }
        self.gangs_seen = planner.ends.journal.seen();
        true
    }

    /// The gang counts as gone.
    pub(crate) fn goes(&mut self, planner: &Planner, id: GangId) {
        let mut parts = Vec::new();
        planner.each_share(id, |node, requests, count| parts.push((node, requests.clone(), count)));
        for (node, requests, count) in &parts {
            self.outlook.give(&planner.nodes, *node, requests, *count);
        }
        self.gone.insert(id, parts);
    }

    /// It does not any more.
    pub(crate) fn comes_back(&mut self, planner: &Planner, id: GangId) {
        for (node, requests, count) in self.gone.remove(&id).unwrap_or_default() {
            self.outlook.take(&planner.nodes, node, &requests, count);
        }
    }

    pub(crate) fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    pub(crate) fn outlook_mut(&mut self) -> &mut Outlook {
        &mut self.outlook
    }
}

/// When the head of a queue would start, everybody ending as expected.
#[derive(Debug)]
pub(crate) struct Reservation {
    /// What it sees then.
    then: Lookahead,
    /// The last gang whose end it waits for.
    last: Option<End>,
    /// What it sees now without those that overtook it; only where there are any.
    without: Option<Lookahead>,
}

impl Reservation {
    pub(crate) fn new(planner: &Planner, head: GangId) -> Self {
        Self {
            then: Lookahead::new(planner, head),
            last: None,
            without: None,
        }
    }

    /// Brings it up to date. Expected ends must be. `None`: nobody may overtake, because the head waits for those that
    /// did already, or for nobody can tell what.
    pub(crate) fn follow(&mut self, planner: &Planner, head: GangId) -> Option<i64> {
        let last = self.last;
        let is_gone = |id: GangId| planner.ends.of(id).is_some_and(|end| Some(end) <= last);
        if !self.then.follow(planner, head, is_gone) {
            self.last = None;
        }
        let start_ms = self.settle(planner)?;
        (!self.waits_for_overtakers(planner, head)).then_some(start_ms)
    }

    /// Until enough gangs have ended for the head to fit, and no more than that.
    fn settle(&mut self, planner: &Planner) -> Option<i64> {
        while self.last.is_none() || !self.then.outlook.fits(&planner.nodes) {
            let next = planner.ends.after(self.last)?;
            self.then.goes(planner, next.2);
            self.last = Some(next);
        }
        while let Some(until) = self.last {
            let (last, before) = planner.ends.last_two(until);
            // The one that it waited for may be gone.
            self.last = last.or(self.last);
            let (Some(last), Some(before)) = (last, before) else {
                break;
            };
            self.then.comes_back(planner, last.2);
            if !self.then.outlook.fits(&planner.nodes) {
                self.then.goes(planner, last.2);
                break;
            }
            self.last = Some(before);
        }
        self.last.map(|(end_ms, ..)| end_ms)
    }

    fn waits_for_overtakers(&mut self, planner: &Planner, head: GangId) -> bool {
        let Some(overtakers) = planner.ends.overtakers(planner.gangs[head].arrival) else {
            self.without = None;
            return false;
        };
        let without = self.without.get_or_insert_with(|| Lookahead::new(planner, head));
        without.follow(planner, head, |id| overtakers.contains(&id));
        for &id in overtakers {
            if !without.gone.contains_key(&id) {
                without.goes(planner, id);
            }
        }
        without.outlook.fits(&planner.nodes)
    }

    /// What the head sees at its start.
    pub(crate) fn then(&mut self) -> &mut Outlook {
        self.then.outlook_mut()
    }

    pub(crate) fn seen_then(&self) -> &Outlook {
        self.then.outlook()
    }

    /// Whose it is.
    pub(crate) fn of(&self) -> GangId {
        self.then.of
    }

    /// The last gang whose end it waits for.
    pub(crate) fn last(&self) -> Option<End> {
        self.last
    }
}
