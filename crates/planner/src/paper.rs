//! The cluster as time goes on, on paper: gangs end when they are expected to, others start one after the other.
//!
//! With conservative backfill the next gangs behind a head are started so, one a slice of a decision, and what each of
//! them sees at its start is kept for a while: whoever passes them meanwhile takes its room there too.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ends::End;
use crate::gang::{Gang, GangId, OrderKey, Stage};
use crate::lookahead::{Part, Reservation};
use crate::outlook::Outlook;
use crate::pack::Placement;
use crate::planner::Planner;
use crate::space::Spaces;

/// Room that is given back at some time.
#[derive(Debug)]
enum Share {
    /// Of a gang, by its arrival too: it may be gone before.
    Gang(GangId, u64),
    Planned(Vec<Part>),
}

/// The cluster as time goes on.
#[derive(Debug)]
pub(crate) struct OnPaper {
    at_ms: i64,
    /// What is free; `None` while it is with one that is about to start.
    rooms: Option<Spaces>,
    shares: Vec<Share>,
    ends: BinaryHeap<Reverse<(i64, usize)>>,
}

impl OnPaper {
    /// At a time when these gangs have still to end. Without rooms they come with the first that starts.
    pub(crate) fn new(at_ms: i64, rooms: Option<Spaces>, ends: impl IntoIterator<Item = End>) -> Self {
        let (ends, shares): (Vec<_>, Vec<_>) = ends
            .into_iter()
            .enumerate()
            .map(|(share, (end_ms, arrival, id))| (Reverse((end_ms, share)), Share::Gang(id, arrival)))
            .unzip();
        Self {
            at_ms,
            rooms,
            shares,
            ends: ends.into(),
        }
    }

    /// Lets time go on until the gang fits: when that is, and what it sees then, for [`Self::start`]. `None`: it never does.
    pub(crate) fn next(&mut self, planner: &Planner, id: GangId) -> Option<(i64, Outlook)> {
        let mut outlook = Outlook::new(&planner.nodes, planner.wanted(id), self.rooms.take()?);
        while !outlook.fits(&planner.nodes) {
            let Reverse((end_ms, share)) = self.ends.pop()?;
            // Never before the one before: whoever is put in ends after the present time.
            self.at_ms = self.at_ms.max(end_ms);
            let nodes = &planner.nodes;
            match &self.shares[share] {
                Share::Gang(id, arrival) => {
                    if planner.gangs.get(*id).is_some_and(|gang| gang.arrival == *arrival) {
                        planner.each_share(*id, |node, requests, count| outlook.give(nodes, node, requests, count));
                    }
                }
                Share::Planned(parts) => {
                    for (node, requests, count) in parts {
                        outlook.give(nodes, *node, requests, *count);
                    }
                }
            }
        }
        Some((self.at_ms, outlook))
    }

    /// The gang takes its place in what it sees, and is expected to end in its turn, as so many percent of those like it.
    /// Tells whether there was a place.
    pub(crate) fn start(&mut self, planner: &Planner, id: GangId, sees: Outlook, percent: usize) -> bool {
        let placement = sees.place(&planner.nodes);
        let rooms = sees.into_rooms();
        placement.is_some_and(|placement| {
            self.start_at(planner, id, &placement, rooms, percent);
            true
        })
    }

    /// The same where what the gang sees is kept.
    fn start_beside(&mut self, planner: &Planner, id: GangId, sees: &Outlook) -> bool {
        sees.place(&planner.nodes).is_some_and(|placement| {
            self.start_at(planner, id, &placement, sees.rooms().clone(), PERCENT);
            true
        })
    }

    /// The same for a place that is known, in this room.
    fn start_at(&mut self, planner: &Planner, id: GangId, placement: &Placement, mut rooms: Spaces, percent: usize) {
        let gang = &planner.gangs[id];
        let mut parts = Vec::new();
        planner.each_part(gang, placement, |node, requests, count| {
            rooms.take(node, requests, count);
            parts.push((node, requests.clone(), count));
        });
        let end_ms = planner.runtime(gang).ends_by(percent, self.at_ms, self.at_ms).end_ms;
        self.ends.push(Reverse((end_ms, self.shares.len())));
        self.shares.push(Share::Planned(parts));
        self.rooms = Some(rooms);
    }
}

/// A gang behind the head: when it would start, and what it sees then.
#[derive(Debug)]
struct Behind {
    key: OrderKey,
    start_ms: i64,
    then: Outlook,
}

/// The next gangs behind a head.
#[derive(Debug)]
pub(crate) struct Next {
    head: u64,
    made_ms: i64,
    /// `None`: nobody more can be told.
    paper: Option<OnPaper>,
    behind: Vec<Behind>,
    /// The last one that was come to.
    last: OrderKey,
}

/// How often each node is looked at to start one more gang on paper, about.
pub(crate) const WORK_OF_ONE: usize = 4;
/// What percentage of gangs like it have ended when one on paper is expected to.
const PERCENT: usize = 75;
/// After this what is on paper is made anew, milliseconds.
const RENEW_MS: i64 = 1_000;

impl Next {
    /// Nobody behind the head yet.
    pub(crate) fn new(planner: &Planner, head: GangId, first: &Reservation, now_ms: i64) -> Self {
        let start_ms = first.last().map_or(now_ms, |(end_ms, ..)| end_ms);
        let mut paper = OnPaper::new(start_ms, None, planner.ends.all_after(first.last()));
        let started = paper.start_beside(planner, head, first.seen_then());
        let head = &planner.gangs[head];
        Self {
            head: head.arrival,
            made_ms: now_ms,
            paper: started.then_some(paper),
            behind: Vec::new(),
            last: head.key(first.of()),
        }
    }

    /// Whether it is this head's, and not too old.
    pub(crate) fn is_of(&self, head: &Gang, now_ms: i64) -> bool {
        self.head == head.arrival && now_ms >= self.made_ms && now_ms < self.made_ms + RENEW_MS
    }

    /// Whether there are as many as there can be.
    pub(crate) fn is_done(&self, depth: usize) -> bool {
        self.paper.is_none() || self.behind.len() + 1 >= depth
    }

    /// One gang more, if there is one.
    pub(crate) fn add(&mut self, planner: &Planner, queue: &str) {
        let Some(paper) = &mut self.paper else { return };
        let mut key = planner.queues.after(queue, Some(self.last));
        while let Some(other) = key.filter(|other| !planner.waits_for_room(other.gang)) {
            key = planner.queues.after(queue, Some(other));
        }
        let seen = key.and_then(|key| Some((key, paper.next(planner, key.gang)?)));
        let Some((key, (start_ms, then))) = seen else {
            self.paper = None;
            return;
        };
        if paper.start_beside(planner, key.gang, &then) {
            self.last = key;
            self.behind.push(Behind { key, start_ms, then });
        } else {
            self.paper = None;
        }
    }

    /// Whether none of those that are before the gang starts later because of it, which ends then.
    pub(crate) fn let_pass(
        &mut self,
        planner: &Planner,
        gang: &Gang,
        key: OrderKey,
        placement: &Placement,
        ends_ms: i64,
    ) -> bool {
        let mut before = self
            .behind
            .iter_mut()
            .filter(|other| other.key < key && other.start_ms < ends_ms && other.stands(planner));
        before.all(|other| {
            !planner.keep_apart(gang, &planner.gangs[other.key.gang])
                && planner.fits_beside(gang, placement, &mut other.then)
        })
    }

    /// The gang has started and ends then.
    pub(crate) fn passed(&mut self, planner: &Planner, gang: &Gang, placement: &Placement, ends_ms: i64) {
        for other in self.behind.iter_mut().filter(|other| other.start_ms < ends_ms) {
            if other.stands(planner) {
                planner.each_part(gang, placement, |node, requests, count| {
                    other.then.take(&planner.nodes, node, requests, count);
                });
            }
        }
    }
}

impl Behind {
    /// Whether it still waits, for the same.
    fn stands(&self, planner: &Planner) -> bool {
        let id = self.key.gang;
        let gang = planner.gangs.get(id);
        gang.is_some_and(|gang| gang.stage == Stage::Waiting && gang.key(id) == self.key)
            && planner.wanted(id) == *self.then.wanted()
    }
}
