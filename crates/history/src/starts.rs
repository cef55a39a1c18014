//! How gangs came to their executors: which drivers held room while executors that they had asked for had no node.
//!
//! That is what a gang scheduler does away with, and it can be told from the pods of kube-state-metrics alone, in a cluster
//! without KOMPASS or with one that only looks on.

use kompass_core::Resources;

use crate::join::Answers;
use crate::{Dropped, Error, Gap, Window, pods};

/// Executors that have their node sooner after they were asked for are as they should be: a scheduler needs a second, and
/// times are whole seconds.
pub const LEAST_MS: i64 = 10_000;

/// A gang whose driver has run.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Its namespace.
    pub namespace: String,
    /// Its driver pod.
    pub driver: String,
    /// From its driver's creation to its start, milliseconds.
    pub wait_ms: i64,
    /// When its driver started, milliseconds since 1970 UTC.
    pub begin_ms: i64,
    /// When its driver ended, or the window does.
    pub end_ms: i64,
    /// Most executors at once.
    pub executors: u64,
    /// Executors that never had a node.
    pub without_node: u64,
    /// So long its driver ran without any executor though it had asked for some, milliseconds. Part of it is the driver's own
    /// start.
    pub alone_ms: i64,
    /// When it held room while an executor had no node: from and until, in order, apart from each other.
    pub short: Vec<(i64, i64)>,
    /// What it held meanwhile.
    pub held: Held,
}

/// Room over time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Held {
    /// Hours of a CPU.
    pub cpu_hours: f64,
    /// Hours of a GiB.
    pub gib_hours: f64,
}

/// What is known of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Starts {
    /// The window.
    pub window: Window,
    /// Gangs that were submitted in it and whose driver has run, first ones first.
    pub gangs: Vec<Start>,
    /// Gangs that were submitted in it and whose driver never ran.
    pub never: u64,
    /// Times of which nothing is known.
    pub gaps: Vec<Gap>,
    /// What was not used or is not quite what it seems.
    pub dropped: Vec<Dropped>,
}

impl Held {
    pub(crate) fn add(&mut self, size: &Resources, for_ms: i64) {
        if for_ms > 0 {
            let hours = for_ms as f64 / 3_600_000.0;
            self.cpu_hours += size.cpu_milli as f64 / 1_000.0 * hours;
            self.gib_hours += size.memory_bytes as f64 / f64::from(1 << 30) * hours;
        }
    }
}

impl Start {
    /// How long it was short of executors, milliseconds.
    pub fn short_ms(&self) -> i64 {
        self.short.iter().map(|(from_ms, to_ms)| to_ms - from_ms).sum()
    }
}

/// The starts of a window.
///
/// # Errors
/// The window has no length, or kube-state-metrics was not seen in it.
pub fn starts(answers: Answers, window: Window) -> Result<Starts, Error> {
    if window.from_ms >= window.to_ms {
        return Err(Error::Window);
    }
    pods::starts(answers.into_pods(), window, LEAST_MS).ok_or(Error::NoPods)
}

/// Spans that overlap or touch are one.
pub(crate) fn merged(mut spans: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    spans.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (from_ms, to_ms) in spans {
        match merged.last_mut() {
            Some((_, end_ms)) if from_ms <= *end_ms => *end_ms = to_ms.max(*end_ms),
            _ => merged.push((from_ms, to_ms)),
        }
    }
    merged
}

/// When at least `count` of some spans, each list apart in itself, are there at once.
pub fn at_once<'a>(lists: impl IntoIterator<Item = &'a [(i64, i64)]>, count: usize) -> Vec<(i64, i64)> {
    let mut changes: Vec<(i64, i64)> = Vec::new();
    for &(from_ms, to_ms) in lists.into_iter().flatten() {
        changes.push((from_ms, 1));
        changes.push((to_ms, -1));
    }
    // One that ends when another begins is not beside it.
    changes.sort_unstable();
    let least = i64::try_from(count.max(1)).unwrap_or(i64::MAX);
    let (mut now, mut begun, mut found) = (0, None, Vec::new());
    for (at_ms, change) in changes {
        now += change;
        match begun {
            None if now >= least => begun = Some(at_ms),
            Some(from_ms) if now < least => {
                found.push((from_ms, at_ms));
                begun = None;
            }
            _ => {}
        }
    }
    merged(found.into_iter().filter(|(from_ms, to_ms)| from_ms < to_ms).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::questions::{PodFact, Topic};
    use crate::{Point, Series};

    const SECOND: i64 = 1_000;
    const BEGIN: i64 = 1_800_000_000_000;

    #[test]
    fn spans_at_once_are_counted() {
        let (a, b, c) = ([(0, 10), (20, 30)], [(5, 25)], [(10, 12)]);
        let all = || [&a[..], &b[..], &c[..]];
        assert_eq!(at_once(all(), 1), [(0, 30)]);
        assert_eq!(at_once(all(), 2), [(5, 12), (20, 25)]);
        assert_eq!(at_once(all(), 3), []);
        assert_eq!(at_once([], 1), []);
    }

    /// A pod of kube-state-metrics that asks for 2 CPUs: when it was created, started and completed, seconds after the begin.
    fn pod(answers: &mut Answers, name: &str, created: i64, started: Option<i64>, completed: Option<i64>) {
        let mut tell = |fact, more: &[(&str, &str)], value: f64| {
            let mut labels: crate::Labels = [("namespace", "etl"), ("pod", name)]
                .map(|(key, value)| (key.into(), value.into()))
                .into();
            labels.extend(more.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
            let points = vec![Point {
                at_ms: BEGIN + 3_600 * SECOND,
                value,
            }];
            answers.add(Topic::Pod(fact), vec![Series { labels, points }]);
        };
        let at = |second: i64| (BEGIN / 1_000 + second) as f64;
        tell(PodFact::Created, &[], at(created));
        tell(PodFact::Requests, &[("resource", "cpu")], 2.0);
        if let Some(started) = started {
            tell(PodFact::Started, &[], at(started));
        }
        if let Some(completed) = completed {
            tell(PodFact::Completed, &[], at(completed));
        }
    }

    fn seen(answers: &mut Answers) {
        let points = (0..=120).map(|minute| Point {
            at_ms: BEGIN + minute * 60 * SECOND,
            value: 1.0,
        });
        answers.add(
            Topic::PodsSeen,
            vec![Series {
                labels: crate::Labels::new(),
                points: points.collect(),
            }],
        );
    }

    #[test]
    fn a_driver_holds_room_from_its_first_executor_that_waits_to_the_last() {
        let mut answers = Answers::default();
        seen(&mut answers);
        pod(&mut answers, "a-driver", 0, Some(60), Some(3_660));
        // At once; after half an hour; never.
        pod(&mut answers, "a-exec-1", 70, Some(72), Some(3_660));
        pod(&mut answers, "a-exec-2", 70, Some(1_870), Some(3_660));
        pod(&mut answers, "a-exec-3", 2_000, None, Some(2_300));
        let window = Window {
            from_ms: BEGIN,
            to_ms: BEGIN + 7_200 * SECOND,
        };
        let told = starts(answers, window).unwrap();
        let [gang] = &told.gangs[..] else { panic!("{told:?}") };
        assert_eq!((gang.namespace.as_str(), gang.driver.as_str()), ("etl", "a-driver"));
        assert_eq!((gang.wait_ms, gang.alone_ms), (60 * SECOND, 12 * SECOND));
        let span = |from: i64, to: i64| (BEGIN + from * SECOND, BEGIN + to * SECOND);
        // A pod that completed has run for all that is known, where it is not told when it started.
        assert_eq!(gang.short, [span(70, 1_870)]);
        assert_eq!(gang.short_ms(), 1_800 * SECOND);
        // Two pods of 2 CPUs for half an hour, less the two seconds of the first executor.
        assert!(
            (gang.held.cpu_hours - (2.0 - 4.0 / 3_600.0)).abs() < 1e-6,
            "{:?}",
            gang.held
        );
    }

    #[test]
    fn without_kube_state_metrics_nothing_is_told() {
        let window = Window { from_ms: 0, to_ms: 1 };
        assert_eq!(starts(Answers::default(), window), Err(Error::NoPods));
    }
}
