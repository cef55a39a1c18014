//! What is to be done to what is there. Pure: the time is an argument.
//!
//! Statistical headroom is *refilled*: its number stays when a gang has taken nodes, and the autoscaler buys others. What is
//! held for a scheduled gang *shrinks*: the wish goes down as the gang's pods are bound, and what is held goes down with it
//! and never up again, so that nothing is bought a second time for the same start.

use std::collections::{HashMap, HashSet};

use super::objects::{self, Target};
use super::{Limits, Part, Wish};

/// More gangs at once than this are not held for by name.
const SCHEDULED_MAX: usize = 64;
/// A stamp may be as much later than it should be, by clocks of replicas that differ.
const SKEW_MS: i64 = 60_000;
/// An autoscaler that looks at a buffer at all says something of it sooner.
const ANSWER_MS: i64 = 120_000;
/// Pods of a Job come within seconds; some may be refused for good.
const COMPLETE_MS: i64 = 30_000;

/// By what nodes are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A pod template and a capacity buffer.
    Buffer,
    /// A Job of pause pods.
    PausePods,
}

/// How far something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A buffer or its template alone.
    Partial,
    /// All of it.
    Whole,
    /// A Job that has ended: it has its name, but no pods any more.
    Ended,
    /// It is being deleted.
    Deleting,
}

/// Something that holds nodes, as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// By what.
    pub kind: Kind,
    /// The object's name.
    pub name: String,
    /// For what, as [`Part`] says it; empty where that is not known.
    pub held_for: String,
    /// How many.
    pub nodes: u32,
    /// Until when; none if that can't be read.
    pub expires_ms: Option<i64>,
    /// Since when it exists.
    pub created_ms: i64,
    /// How far it is there.
    pub state: State,
    /// How many nodes it holds stands in it: it is more than a buffer's template.
    pub has_number: bool,
    /// An autoscaler has said something of the buffer, whatever it was.
    pub is_answered: bool,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Remove it.
    Delete(Kind, String),
    /// Create it, or make it so.
    Apply(Kind, Target),
}

/// A pause pod that has no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its name.
    pub name: String,
    /// The Job that it is of.
    pub job: String,
    /// Since when it exists.
    pub created_ms: i64,
    /// Autoscalers can see that it needs a node.
    pub is_marked: bool,
}

/// What to do, in an order in which never more is held than before or after: what is removed first, then what gets less,
/// then what gets more.
pub fn actions(wish: &Wish, held: &[Held], kind: Kind, limits: &Limits, now_ms: i64) -> Vec<Action> {
    let targets = targets(wish, held, limits, now_ms);
    let names: HashSet<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    let is_useful = |one: &&Held| {
        one.kind == kind
            && names.contains(one.name.as_str())
            && one.state != State::Ended
            && one.expires_ms.is_some_and(|expires_ms| expires_ms > now_ms)
    };
    let (useful, useless): (Vec<&Held>, Vec<&Held>) = held.iter().partition(is_useful);
    let by_name: HashMap<&str, &Held> = useful.iter().map(|one| (one.name.as_str(), *one)).collect();

    let (mut less, mut more) = (Vec::new(), Vec::new());
    for mut target in targets {
        let Some(present) = by_name.get(target.name.as_str()) else {
            if target.nodes > 0 {
                more.push(Action::Apply(kind, target));
            }
            continue;
        };
        // Its name is free once it is gone.
        if present.state == State::Deleting || !is_due(present, &target, limits, now_ms) {
            continue;
        }
        target.created_ms = Some(present.created_ms);
        let list = if target.nodes > present.nodes {
            &mut more
        } else {
            &mut less
        };
        list.push(Action::Apply(kind, target));
    }
    let deletes = useless
        .into_iter()
        .filter(|one| one.state != State::Deleting)
        .map(|one| Action::Delete(one.kind, one.name.clone()));
    deletes.chain(less).chain(more).collect()
}

/// Whether an action makes more nodes held than before it.
pub fn raises(action: &Action, held: &[Held]) -> bool {
    match action {
        Action::Delete(..) => false,
        Action::Apply(kind, target) => {
            let present = held.iter().find(|one| one.kind == *kind && one.name == target.name);
            present.map_or(0, |one| one.nodes) < target.nodes
        }
    }
}

/// Whether buffers have turned out to be seen by nobody, by what an earlier process has left: pause pods, and no buffer that
/// was answered.
pub fn were_unanswered(held: &[Held]) -> bool {
    let has_pause_pods = held
        .iter()
        .any(|one| one.kind == Kind::PausePods && one.state == State::Whole);
    has_pause_pods && !held.iter().any(|one| one.kind == Kind::Buffer && one.is_answered)
}

/// Pause pods to be shown to autoscalers now: those of a Job together, so that nodes are bought for all of them at once.
pub fn to_mark(held: &[Held], pending: &[Pending], now_ms: i64) -> Vec<String> {
    let mut by_job: HashMap<&str, Vec<&Pending>> = HashMap::new();
    for pod in pending {
        by_job.entry(pod.job.as_str()).or_default().push(pod);
    }
    let wanted: HashMap<&str, usize> = jobs(held).collect();
    let mut names = Vec::new();
    for (job, pods) in by_job {
        let is_complete = wanted.get(job).is_none_or(|&nodes| pods.len() >= nodes);
        let oldest_ms = pods.iter().filter(|pod| !pod.is_marked).map(|pod| pod.created_ms).min();
        let is_late = oldest_ms.is_some_and(|oldest_ms| now_ms - oldest_ms >= COMPLETE_MS);
        if is_complete || is_late {
            names.extend(pods.iter().filter(|pod| !pod.is_marked).map(|pod| pod.name.clone()));
        }
    }
    names.sort_unstable();
    names
}

/// How many pause pods should be there and are not.
pub fn missing(held: &[Held], pending: &[Pending]) -> usize {
    let missing = jobs(held).map(|(name, nodes)| {
        let there = pending.iter().filter(|pod| pod.job == name).count();
        nodes.saturating_sub(there)
    });
    missing.sum()
}

/// Whether the buffers are seen by nobody: the definition is there, the autoscaler does not look at it.
pub fn are_unanswered(held: &[Held], now_ms: i64) -> bool {
    held.iter().any(|one| {
        one.kind == Kind::Buffer
            && one.state == State::Whole
            && one.nodes > 0
            && !one.is_answered
            && now_ms - one.created_ms >= ANSWER_MS
    })
}

fn jobs(held: &[Held]) -> impl Iterator<Item = (&str, usize)> {
    let live = held
        .iter()
        .filter(|one| one.kind == Kind::PausePods && one.state == State::Whole);
    live.map(|one| (one.name.as_str(), usize::try_from(one.nodes).unwrap_or(usize::MAX)))
}

/// The wish within the limits. What is certain comes first, and of that what is soonest.
fn targets(wish: &Wish, held: &[Held], limits: &Limits, now_ms: i64) -> Vec<Target> {
    let mut scheduled: Vec<_> = wish.scheduled.iter().collect();
    scheduled.sort_by(|a, b| (a.at_ms, &a.name).cmp(&(b.at_ms, &b.name)));
    scheduled.dedup_by(|a, b| (a.at_ms, &a.name) == (b.at_ms, &b.name));
    scheduled.truncate(SCHEDULED_MAX);

    let mut left = limits.nodes_max;
    let mut targets = Vec::new();
    for gang in scheduled {
        let part = Part::Scheduled {
            name: gang.name.clone(),
            at_ms: gang.at_ms,
        };
        let held_for = part.to_string();
        let present: Vec<_> = held.iter().filter(|one| one.held_for == held_for).collect();
        // A template whose buffer has not been made yet tells nothing of what the gang has had.
        let had = present.iter().filter(|one| one.has_number);
        let nodes = had.map(|one| one.nodes).fold(gang.nodes.min(left), u32::min);
        left -= nodes;
        // One of no nodes remembers that the gang has had them.
        if nodes > 0 || !present.is_empty() {
            targets.push(target(part, nodes, limits, now_ms));
        }
    }
    let nodes = wish.statistical.min(left);
    if nodes > 0 {
        targets.push(target(Part::Statistical, nodes, limits, now_ms));
    }
    targets
}

fn target(part: Part, nodes: u32, limits: &Limits, now_ms: i64) -> Target {
    Target {
        name: objects::name(&part, limits),
        part,
        nodes,
        expires_ms: now_ms.saturating_add(limits.ttl_ms),
        created_ms: None,
    }
}

/// Whether it is not as it should be, or a third of its time has passed.
fn is_due(present: &Held, target: &Target, limits: &Limits, now_ms: i64) -> bool {
    let left_ms = present.expires_ms.map_or(0, |expires_ms| expires_ms - now_ms);
    present.state == State::Partial
        || present.nodes != target.nodes
        || left_ms <= limits.ttl_ms - limits.ttl_ms / 3
        || left_ms > limits.ttl_ms.saturating_add(SKEW_MS)
}
