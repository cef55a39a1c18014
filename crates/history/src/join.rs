//! Both sources together.

use std::collections::{BTreeMap, BTreeSet};

use crate::counters::{self, Counted};
use crate::kin;
use crate::pods::{self, Told};
use crate::questions::Topic;
use crate::seen::unseen;
use crate::{Dropped, End, Gang, Gap, History, Reason, Series, Why, Window};

/// Warnings of the server that are kept.
const MAX_WARNINGS: usize = 20;

/// What a Prometheus answered.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    counters: counters::Answers,
    pods: pods::Answers,
    /// In the order of their letters: the server's is by chance.
    warnings: BTreeSet<String>,
}

/// Why there is no history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing of either source.
    #[error(
        "failed to find gangs of the past: this Prometheus has neither KOMPASS's series (kompass_extender_gangs_ended_total) \
         nor those of kube-state-metrics (kube_pod_created) for that time; check that it scrapes one of them, that its \
         retention reaches back so far, and any selector"
    )]
    Nothing,
    /// Nothing of kube-state-metrics.
    #[error(
        "failed to find pods of the past: this Prometheus has no series of kube-state-metrics (kube_pod_created) for that \
         time; check that it scrapes it, that its retention reaches back so far, and any selector"
    )]
    NoPods,
    /// The window has no length.
    #[error("failed to look at a time without length: it ends when it begins, or before")]
    Window,
}

impl Answers {
    /// Takes over series that answer a question; a question may be answered in pieces and in any order.
    pub fn add(&mut self, topic: Topic, series: Vec<Series>) {
        let pods = &mut self.pods;
        let counters = &mut self.counters;
        let kept = match topic {
            Topic::Pod(fact) => return pods.learn(fact, &series),
            Topic::Counter(counter) => counters.counters.entry(counter).or_default(),
            Topic::Total => &mut counters.total,
            Topic::Starts => &mut counters.starts,
            Topic::Leaderless => &mut counters.leaderless,
            Topic::Kin => &mut counters.kin,
            Topic::PodsSeen => &mut pods.seen,
        };
        kept.extend(series);
    }

    /// Takes over what the server said about its answers.
    pub fn warn(&mut self, warning: String) {
        self.warnings.insert(warning);
        if self.warnings.len() > MAX_WARNINGS {
            self.warnings.pop_last();
        }
    }

    /// What was answered about pods alone.
    pub(crate) fn into_pods(self) -> pods::Answers {
        self.pods
    }

    /// Whether there are Spark pods that only their labels tell.
    pub fn has_other_names(&self) -> bool {
        self.pods.has_other_names()
    }

    /// Whether KOMPASS's counters were seen at all.
    pub fn has_counters(&self) -> bool {
        !self.counters.total.is_empty()
    }

    /// Whether kube-state-metrics was seen at all.
    pub fn has_pods(&self) -> bool {
        !self.pods.seen.is_empty()
    }
}

/// The history of a window.
///
/// A gang is counted by KOMPASS when it ends. So those that ended while it counted are its own, and of kube-state-metrics
/// only the others are taken: those that ended before KOMPASS was there or while it was not, and those that still run.
pub fn read(answers: Answers, window: Window) -> Result<History, Error> {
    if window.from_ms >= window.to_ms {
        return Err(Error::Window);
    }
    let mut answers = answers;
    let kin = kin::read(std::mem::take(&mut answers.counters.kin));
    let counted = counters::read(answers.counters, window);
    let told = pods::read(answers.pods, window);
    if counted.seen.first().is_none() && told.seen.first().is_none() && counted.leaderless.first().is_none() {
        return Err(Error::Nothing);
    }
    let gaps = gaps(&counted, &told, window);
    let mut dropped: BTreeMap<Reason, u64> = BTreeMap::new();
    let mut drop = |reason, count| {
        let sum = dropped.entry(reason).or_default();
        *sum = sum.saturating_add(count);
    };
    for line in counted.dropped.iter().chain(&told.dropped) {
        drop(line.reason, line.count);
    }
    let mut gangs = Vec::with_capacity(counted.gangs.len() + told.gangs.len());
    for gang in told.gangs {
        if gang.end != End::Running && counted_at(&counted, end_ms(&gang)) {
            drop(Reason::CountedByKompass, 1);
        } else {
            gangs.push(gang);
        }
    }
    for gang in counted.gangs {
        if window.contains(gang.submit_ms) {
            gangs.push(gang);
        } else {
            drop(Reason::Before, 1);
        }
    }
    gangs.sort_by(|one, other| key(one).cmp(&key(other)));
    Ok(History {
        window,
        gangs,
        ended: counted.ended,
        kin,
        gaps,
        dropped: dropped
            .into_iter()
            .map(|(reason, count)| Dropped { reason, count })
            .collect(),
        warnings: answers.warnings.into_iter().collect(),
    })
}

/// Whether what ended then was counted: the next moment is one at which gangs were counted.
fn counted_at(counted: &Counted, at_ms: i64) -> bool {
    let next = crate::seen::up(at_ms, crate::seen::STEP_MS);
    counted.seen.at(next) || counted.seen.at(next + crate::seen::STEP_MS)
}

fn end_ms(gang: &Gang) -> i64 {
    gang.submit_ms
        .saturating_add(gang.wait_ms)
        .saturating_add(gang.run_ms.unwrap_or(0))
}

fn key(gang: &Gang) -> (i64, &str, Option<&str>, i64, Option<i64>) {
    let namespace = gang.namespace.as_deref();
    (gang.submit_ms, &gang.profile, namespace, gang.wait_ms, gang.run_ms)
}

fn gaps(counted: &Counted, told: &Told, window: Window) -> Vec<Gap> {
    let known = counted.seen.or(&told.seen);
    let first = known.or(&counted.leaderless).first();
    let gap = |(from_ms, to_ms)| {
        let why = if first.is_none_or(|first| to_ms < first) {
            Why::BeforeFirst
        } else if counted
            .leaderless
            .times()
            .iter()
            .any(|&time| from_ms < time && time <= to_ms)
        {
            Why::NoLeader
        } else {
            Why::NoSamples
        };
        Gap { from_ms, to_ms, why }
    };
    unseen(window, &known).into_iter().map(gap).collect()
}
