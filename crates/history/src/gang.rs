//! What a history is made of.

use std::collections::BTreeMap;

use kompass_core::Resources;
use kompass_core::names::DEFAULT_QUEUE;
use kompass_core::profile::MAX_EXECUTORS;
use kompass_core::resources::MIB;
use kompass_simulation::trace;

/// The time that is looked at, milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its begin.
    pub from_ms: i64,
    /// Its end, which is not part of it.
    pub to_ms: i64,
}

/// Who told of a gang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// KOMPASS's counters of ended gangs.
    Kompass,
    /// Pods that kube-state-metrics showed.
    KubeStateMetrics,
}

/// How a gang ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// By itself: its run time is whole.
    Succeeded,
    /// It failed, was deleted, or its pods were gone without a word: a whole run takes at least so long.
    CutOff,
    /// Not yet; its run time is what it has run until the end of the window.
    Running,
}

/// A gang of the past.
#[derive(Debug, Clone, PartialEq)]
pub struct Gang {
    /// When it was submitted, milliseconds since 1970 UTC.
    pub submit_ms: i64,
    /// So far from it the submission may have been in truth, milliseconds.
    pub submit_error_ms: i64,
    /// From submission to the driver's bind or start, milliseconds; until its end if it never came to that.
    pub wait_ms: i64,
    /// From the driver's start to its end, milliseconds; none if it never started.
    pub run_ms: Option<i64>,
    /// How it ended.
    pub end: End,
    /// Identity of "the same job": the profile key, or what comes closest to it.
    pub profile: String,
    /// Its namespace, where that is known.
    pub namespace: Option<String>,
    /// Its queue, where that is known.
    pub queue: Option<String>,
    /// What its driver requests; nothing if it has no driver of its own (client mode) or that is not known.
    pub driver: Resources,
    /// Most executors at once.
    pub executors: u64,
    /// What one executor requests.
    pub executor: Resources,
    /// The figures are the mean of so many gangs that ended together; 1: they are its own.
    pub averaged_over: u64,
    /// Who told of it.
    pub source: Source,
}

/// Why nothing is known of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Neither KOMPASS nor kube-state-metrics had samples then.
    NoSamples,
    /// KOMPASS ran and no replica led, so that nobody counted, and kube-state-metrics had no samples.
    NoLeader,
    /// It is before the first sample of all.
    BeforeFirst,
}

/// A time of which nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// From when, milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// Until when; that moment is known again.
    pub to_ms: i64,
    /// Why.
    pub why: Why,
}

/// Why something was not used, or is not quite what it seems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Samples that are NaN, infinite or below zero.
    NoNumber,
    /// Samples of a counter that leapt up and fell back, though its process ran on.
    Spike,
    /// Counters whose earlier value is not known, so that their first increase is not either.
    NoStart,
    /// Increases of sums without a gang that ended.
    Unmatched,
    /// More gangs ended at once than any cluster ends.
    TooMany,
    /// Gangs that ended, by KOMPASS's count of all, without a profile's series that tells of them.
    Untold,
    /// Gangs of which executors were not watched all the time: their executors are lower bounds. They are used.
    Partial,
    /// Gangs that were submitted before the window.
    Before,
    /// Gangs that kube-state-metrics shows and KOMPASS has counted: its counts are used.
    CountedByKompass,
    /// Pods named like a driver, without executors beside them and without labels: they may be anything.
    PerhapsNoSpark,
    /// Spark pods without a creation time.
    NoCreation,
    /// Spark pods without the label `spark-role` in `kube_pod_labels`: they are matched by their names. They are used.
    NoLabels,
    /// Spark pods without requests in `kube_pod_container_resource_requests`: they count as if they asked for nothing.
    NoRequests,
    /// Gangs that have not ended, so that their run time is not known.
    NotEnded,
    /// Gangs that never ran.
    NeverRan,
}

/// Something that was not used, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dropped {
    /// Why.
    pub reason: Reason,
    /// How many: gangs, pods, samples or counters, as the reason says.
    pub count: u64,
}

/// Counts per bin of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bins {
    /// When the first one begins, milliseconds since 1970 UTC.
    pub start_ms: i64,
    /// Length of each, milliseconds.
    pub bin_ms: i64,
    /// None where it is not known.
    pub counts: Vec<Option<u64>>,
}

/// Wider keys by profile key.
pub type Kin = BTreeMap<String, Vec<String>>;

/// The past.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The time that was asked for.
    pub window: Window,
    /// Gangs that were submitted in it, first ones first.
    pub gangs: Vec<Gang>,
    /// Gangs of all profiles that ended, by KOMPASS's count; empty without such a count.
    pub ended: Bins,
    /// Wider keys of profile keys, closest kin first, as KOMPASS last told them.
    pub kin: Kin,
    /// Times of which nothing is known, first ones first. Gangs may have been submitted then.
    pub gaps: Vec<Gap>,
    /// What was not used or is not quite what it seems, one line for each reason.
    pub dropped: Vec<Dropped>,
    /// What the server said about its answers: they may lack something.
    pub warnings: Vec<String>,
}

impl Reason {
    /// In words, and what can be done about it; "7" goes before it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoNumber => "samples are NaN, infinite or below zero",
            Self::Spike => "samples leapt up and fell back though the process ran on",
            Self::NoStart => "counters have no known value to start from: their first increase is not counted",
            Self::Unmatched => "increases of sums have no gang that ended with them",
            Self::TooMany => "gangs ended at once, more than any cluster ends: the counter is not believed",
            Self::Untold => "gangs were counted in total and are not told by any profile",
            Self::Partial => "gangs were not watched all the time: their executors are lower bounds",
            Self::Before => "gangs were submitted before the window",
            Self::CountedByKompass => "gangs of kube-state-metrics are counted by KOMPASS and not taken twice",
            Self::PerhapsNoSpark => {
                "pods are named like drivers, have no executors and no labels: start kube-state-metrics with \
                 --metric-labels-allowlist=pods=[spark-role,spark-app-selector,spark-app-name] if they are Spark's"
            }
            Self::NoCreation => "Spark pods have no creation time (kube_pod_created)",
            Self::NoLabels => {
                "Spark pods are matched by their names: kube-state-metrics shows labels only with \
                 --metric-labels-allowlist=pods=[spark-role,spark-app-selector,spark-app-name,\
                 kompass.dev/profile-key,kompass.dev/queue]"
            }
            Self::NoRequests => {
                "Spark pods have no requests (kube_pod_container_resource_requests) and count as if they asked for nothing"
            }
            Self::NotEnded => "gangs have not ended",
            Self::NeverRan => "gangs never ran",
        }
    }
}

impl std::fmt::Display for Dropped {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.count, self.reason.words())
    }
}

impl Window {
    /// Whether a moment is in it.
    pub const fn contains(&self, at_ms: i64) -> bool {
        self.from_ms <= at_ms && at_ms < self.to_ms
    }
}

impl History {
    /// The gangs that have run and ended as a trace that begins with the window, and what was left out of it. A run that
    /// was cut off counts as it was: it filled the cluster for so long.
    pub fn trace(&self) -> (Vec<trace::Gang>, Vec<Dropped>) {
        let (mut not_ended, mut never_ran) = (0, 0);
        let mut gangs = Vec::with_capacity(self.gangs.len());
        for gang in &self.gangs {
            match (gang.end, gang.run_ms) {
                (End::Running, _) => not_ended += 1,
                (_, None) => never_ran += 1,
                (_, Some(run_ms)) => gangs.push(self.line(gang, run_ms)),
            }
        }
        let dropped = [(Reason::NotEnded, not_ended), (Reason::NeverRan, never_ran)];
        let dropped = dropped.into_iter().filter(|&(_, count)| count > 0);
        (
            gangs,
            dropped.map(|(reason, count)| Dropped { reason, count }).collect(),
        )
    }

    /// Time of the window of which nothing is known, milliseconds.
    pub fn unknown_ms(&self) -> i64 {
        self.gaps.iter().map(|gap| gap.to_ms - gap.from_ms).sum()
    }

    fn line(&self, gang: &Gang, run_ms: i64) -> trace::Gang {
        trace::Gang {
            submit_time_s: (gang.submit_ms - self.window.from_ms) as f64 / 1_000.0,
            run_time_s: run_ms.max(1) as f64 / 1_000.0,
            profile: gang.profile.clone(),
            queue: gang.queue.clone().unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
            namespace: gang.namespace.clone(),
            driver_cpu_milli: gang.driver.cpu_milli,
            driver_memory_mib: gang.driver.memory_bytes.div_ceil(MIB),
            executors: gang.executors.min(MAX_EXECUTORS),
            executor_cpu_milli: gang.executor.cpu_milli,
            executor_memory_mib: gang.executor.memory_bytes.div_ceil(MIB),
        }
    }
}
