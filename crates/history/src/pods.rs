//! Gangs by the pods that kube-state-metrics shows, which needs no KOMPASS.
//!
//! By default it shows no labels of pods (`--metric-labels-allowlist` of kube-state-metrics 2.x). Without them Spark's pods
//! are known by the names that Spark gives (`<prefix>-driver`, `<prefix>-exec-<number>`), and jobs by the driver's name
//! without what changes from run to run. With them names may be any, and executors without a driver pod (client mode) are
//! gangs too: from their first one to their last one.
//!
//! There may be hundreds of thousands of pods with many series each, so answers are not kept: each tells something about a
//! pod, in any order, and only that stays.

mod grouping;
mod known;

use std::collections::BTreeMap;

use self::grouping::gangs;
use self::known::{Pod, PodId, Texts};
use crate::questions::{PodFact, is_spark_name};
use crate::seen::{Seen, unseen};
use crate::series::{label, merged};
use crate::starts::Starts;
use crate::{Dropped, Gang, Gap, Reason, Series, Why, Window};

/// What a Prometheus answered to the questions about pods.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    pods: BTreeMap<PodId, Pod>,
    texts: Texts,
    /// Samples about pods that are NaN, infinite or below zero.
    no_numbers: u64,
    /// There are Spark pods that the names which Spark gives don't tell.
    has_other_names: bool,
    /// Something at each moment at which kube-state-metrics was seen.
    pub seen: Vec<Series>,
}

/// What the pods tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) gangs: Vec<Gang>,
    /// Moments at which kube-state-metrics was seen.
    pub(crate) seen: Seen,
    pub(crate) dropped: Vec<Dropped>,
}

/// Counts of what was dropped, by reason.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<Reason, u64>);

impl Answers {
    /// Takes over what series tell about pods.
    pub fn learn(&mut self, fact: PodFact, series: &[Series]) {
        for series in series {
            let good = series
                .points
                .iter()
                .filter(|point| point.value.is_finite() && point.value >= 0.0);
            self.no_numbers += (series.points.len() - good.clone().count()) as u64;
            let largest = good.clone().map(|point| point.value).reduce(f64::max);
            let last_ms = good.map(|point| point.at_ms).max();
            let (Some(largest), Some(last_ms)) = (largest, last_ms) else {
                continue;
            };
            let [namespace, name, uid] = ["namespace", "pod", "uid"].map(|name| label(&series.labels, name));
            self.has_other_names |= fact == PodFact::Labels && !is_spark_name(name);
            let id = PodId::new(self.texts.shared(namespace), name, uid);
            let pod = self.pods.entry(id).or_default();
            pod.learn(fact, &series.labels, largest, last_ms, &mut self.texts);
        }
    }

    /// Whether there are Spark pods that the names which Spark gives don't tell.
    pub fn has_other_names(&self) -> bool {
        self.has_other_names
    }
}

/// How gangs came to their executors; none where kube-state-metrics was not seen.
pub(crate) fn starts(answers: Answers, window: Window, least_ms: i64) -> Option<Starts> {
    let mut tally = Tally::default();
    let seen = Seen::new(
        answers
            .seen
            .iter()
            .flat_map(|series| &series.points)
            .map(|point| point.at_ms),
    );
    seen.first()?;
    let (mut gangs, mut never) = (Vec::new(), 0);
    grouping::each(
        answers.pods,
        &seen,
        window,
        &mut tally,
        |start| match start {
            Some(start) => gangs.push(start),
            None => never += 1,
        },
        least_ms,
    );
    gangs.sort_by(|one, other| (one.begin_ms, &one.driver).cmp(&(other.begin_ms, &other.driver)));
    let first = seen.first();
    let gap = |(from_ms, to_ms)| Gap {
        from_ms,
        to_ms,
        why: if first.is_none_or(|first| to_ms < first) {
            Why::BeforeFirst
        } else {
            Why::NoSamples
        },
    };
    Some(Starts {
        window,
        gangs,
        never,
        gaps: unseen(window, &seen).into_iter().map(gap).collect(),
        dropped: tally
            .0
            .into_iter()
            .map(|(reason, count)| Dropped { reason, count })
            .collect(),
    })
}

/// Reads the answers.
pub(crate) fn read(answers: Answers, window: Window) -> Told {
    let mut tally = Tally::default();
    let seen = merged(answers.seen);
    tally.add(Reason::NoNumber, seen.not_finite + answers.no_numbers);
    let seen = Seen::new(
        seen.series
            .iter()
            .flat_map(|series| &series.points)
            .map(|point| point.at_ms),
    );
    let gangs = gangs(answers.pods, &seen, window, &mut tally);
    let dropped = tally.0.into_iter();
    Told {
        gangs,
        seen,
        dropped: dropped.map(|(reason, count)| Dropped { reason, count }).collect(),
    }
}

impl Tally {
    fn add(&mut self, reason: Reason, count: u64) {
        if count > 0 {
            let sum = self.0.entry(reason).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}
