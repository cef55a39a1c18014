//! Gangs by the pods that kube-state-metrics shows, which needs no KOMPASS.
//!
//! By default it shows no labels of pods (`--metric-labels-allowlist` of kube-state-metrics 2.x). Without them Spark's pods
//! are known by the names that Spark gives (`<prefix>-driver`, `<prefix>-exec-<number>`), and jobs by the driver's name
//! without what changes from run to run. With them names may be any, and executors without a driver pod (client mode) are
//! gangs too: from their first one to their last one.

mod grouping;

use std::collections::BTreeMap;

use kompass_core::Resources;

use self::grouping::gangs;
use crate::numbers::{milliseconds, whole};
use crate::questions::{GONE_STEP_MS, PodFact, is_spark_name};
use crate::seen::{STEP_MS, Seen};
use crate::series::{label, merged};
use crate::{Dropped, End, Gang, Labels, Reason, Series, Window};

/// What a Prometheus answered to the questions about pods.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// By what was asked.
    pub facts: BTreeMap<PodFact, Vec<Series>>,
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

/// Namespace, name and UID of a pod.
type PodId = (String, String, String);

/// A pod, as far as it is known.
#[derive(Debug, Clone, Default)]
struct Pod {
    created_ms: Option<i64>,
    started_ms: Option<i64>,
    completed_ms: Option<i64>,
    /// When it was last seen to be gone.
    gone_ms: Option<i64>,
    /// Whether it was there at the end.
    at_end: bool,
    requests: Option<Resources>,
    init: Resources,
    labels: Option<Labels>,
    /// How it ended, if that was seen.
    end: Option<End>,
}

/// Whether there are Spark pods that the names which Spark gives don't tell.
pub fn has_other_names(labels: &[Series]) -> bool {
    labels.iter().any(|series| !is_spark_name(label(&series.labels, "pod")))
}

/// Reads the answers.
pub(crate) fn read(answers: Answers, window: Window) -> Told {
    let mut tally = Tally::default();
    let seen = take(answers.seen, &mut tally);
    let seen = Seen::new(seen.iter().flat_map(|series| &series.points).map(|point| point.at_ms));
    let mut pods: BTreeMap<PodId, Pod> = BTreeMap::new();
    for (fact, series) in answers.facts {
        for series in take(series, &mut tally) {
            let id = ["namespace", "pod", "uid"].map(|name| label(&series.labels, name).to_owned());
            let [namespace, name, uid] = id;
            let pod = pods.entry((namespace, name, uid)).or_default();
            pod.learn(fact, series, &mut tally);
        }
    }
    let gangs = gangs(pods, &seen, window, &mut tally);
    let dropped = tally.0.into_iter();
    Told {
        gangs,
        seen,
        dropped: dropped.map(|(reason, count)| Dropped { reason, count }).collect(),
    }
}

fn take(series: Vec<Series>, tally: &mut Tally) -> Vec<Series> {
    let merged = merged(series);
    tally.add(Reason::NoNumber, merged.not_finite);
    merged.series
}

impl Pod {
    fn learn(&mut self, fact: PodFact, series: Series, tally: &mut Tally) {
        let below = series.points.iter().filter(|point| point.value < 0.0).count();
        tally.add(Reason::NoNumber, below as u64);
        let values = || {
            series
                .points
                .iter()
                .map(|point| point.value)
                .filter(|value| *value >= 0.0)
        };
        // Times and sizes don't change; of the containers of a pod the last one ends it.
        let Some(largest) = values().reduce(f64::max) else {
            return;
        };
        match fact {
            PodFact::Labels => self.labels = Some(series.labels),
            PodFact::Created => self.created_ms = Some(milliseconds(largest)),
            PodFact::Gone => self.gone_ms = series.points.last().map(|point| point.at_ms),
            PodFact::AtEnd => self.at_end = true,
            PodFact::Started => self.started_ms = Some(milliseconds(largest)),
            PodFact::Completed => self.completed_ms = Some(milliseconds(largest)),
            PodFact::Requests => amount(self.requests.get_or_insert_default(), &series.labels, largest),
            PodFact::InitRequests => amount(&mut self.init, &series.labels, largest),
            PodFact::Phase => {
                self.end = match label(&series.labels, "phase") {
                    "Succeeded" => Some(End::Succeeded),
                    _ => Some(End::CutOff),
                }
            }
        }
    }

    /// When it ended, and whether it is only known to have run until then; none if it has not ended.
    fn ended(&self, seen: &Seen) -> Option<(i64, bool)> {
        if let Some(completed_ms) = self.completed_ms {
            return Some((completed_ms, false));
        }
        let gone_ms = self.gone_ms.filter(|_| !self.at_end)?;
        // Its last sample is older than the time in which none was found, by a step at most.
        let unseen_ms = gone_ms - GONE_STEP_MS - STEP_MS;
        let looked = (unseen_ms + 2 * STEP_MS..=gone_ms)
            .step_by(60_000)
            .any(|at_ms| seen.at(at_ms));
        Some(if looked {
            (unseen_ms - GONE_STEP_MS / 2, false)
        } else {
            // Everything was out of sight then, and it did not come again.
            (seen.before(unseen_ms + STEP_MS).unwrap_or(unseen_ms), true)
        })
    }

    /// What the scheduler counts for it: the sum of its containers, or an init container that asks for more.
    fn size(&self) -> Resources {
        let requests = self.requests.clone().unwrap_or_default();
        Resources::new(
            requests.cpu_milli.max(self.init.cpu_milli),
            requests.memory_bytes.max(self.init.memory_bytes),
        )
    }
}

fn amount(resources: &mut Resources, labels: &Labels, value: f64) {
    match label(labels, "resource") {
        "cpu" => resources.cpu_milli = whole(value * 1_000.0),
        "memory" => resources.memory_bytes = whole(value),
        _ => {}
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
