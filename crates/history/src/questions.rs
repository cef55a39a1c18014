//! What is asked, in Prometheus's language.
//!
//! Series are long and change seldom: 200 profile keys for four weeks are a hundred million samples. So the server is asked
//! for values only where they differ from those a step before, and marks those that had none then ([`BORN`]). What they
//! mean is decided here, since `increase` does not see the value that a series begins with.
//!
//! Every answer is aggregated by the labels that say whose value it is. Whatever else tells series apart (two Prometheus
//! servers that scrape the same, two scrape jobs, two replicas of kube-state-metrics) is one value then, the largest.

use crate::Window;
use crate::seen::{STEP_MS, up};

/// Label of values that had none one step before.
pub const BORN: &str = "kompass_born";
/// Names of pods that Spark gives: `<prefix>-driver`, `<prefix>-exec-<number>`.
const NAMES: &str = ".*-driver|.*-exec-[0-9]+";
/// What is asked of a pod and does not change is looked for once in so long; the last value of that time is taken.
const SLOW_STEP_MS: i64 = 3_600_000;
/// Points of a series that are asked for at once. Pods come and go: the fewer moments at once, the fewer of them does the
/// server hold together. The most that a Prometheus gives are 11,000.
const COUNTER_POINTS: usize = 5_000;
const POD_POINTS: usize = 720;

/// KOMPASS's counters by profile key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the metric's name says it")]
pub enum Counter {
    Finished,
    Partial,
    WaitSum,
    CutWaitSum,
    RunSum,
    RunCount,
    CutRunSum,
    CutRunCount,
    PeakSum,
    ExecutorSeconds,
    ExecutorCpu,
    ExecutorMemory,
    DriverCpu,
    DriverMemory,
}

/// What is asked about pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodFact {
    /// Labels of Spark's, KOMPASS's.
    Labels,
    /// When it was created, where it came into sight or went out of it.
    Presence,
    /// When it was created, of those that were there when the window began.
    AtBegin,
    /// When the kubelet took it.
    Started,
    /// When a container ended.
    Completed,
    /// What its containers request.
    Requests,
    /// What its init containers request, the largest of them.
    InitRequests,
    /// That it succeeded or failed.
    Phase,
}

/// Who an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A counter by profile key.
    Counter(Counter),
    /// All gangs that ended.
    Total,
    /// When KOMPASS's processes started.
    Starts,
    /// Moments at which no replica led.
    Leaderless,
    /// Whether kube-state-metrics was seen.
    PodsSeen,
    /// Something about pods.
    Pod(PodFact),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who its answer is for.
    pub topic: Topic,
    /// What is asked.
    pub promql: String,
    /// Of which moments, first and last, milliseconds since 1970 UTC.
    pub moments: (i64, i64),
    /// How far these are apart, milliseconds.
    pub step_ms: i64,
    /// How many of them are to be asked for at once.
    pub points: usize,
}

impl Counter {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Finished,
        Self::Partial,
        Self::WaitSum,
        Self::CutWaitSum,
        Self::RunSum,
        Self::RunCount,
        Self::CutRunSum,
        Self::CutRunCount,
        Self::PeakSum,
        Self::ExecutorSeconds,
        Self::ExecutorCpu,
        Self::ExecutorMemory,
        Self::DriverCpu,
        Self::DriverMemory,
    ];

    /// The metric.
    pub const fn metric(self) -> &'static str {
        match self {
            Self::Finished => "kompass_extender_gangs_finished_total",
            Self::Partial => "kompass_extender_gangs_partial_total",
            Self::WaitSum => "kompass_extender_gang_wait_seconds_sum",
            Self::CutWaitSum => "kompass_extender_gang_cut_wait_seconds_sum",
            Self::RunSum => "kompass_extender_gang_run_seconds_sum",
            Self::RunCount => "kompass_extender_gang_run_seconds_count",
            Self::CutRunSum => "kompass_extender_gang_cut_run_seconds_sum",
            Self::CutRunCount => "kompass_extender_gang_cut_run_seconds_count",
            Self::PeakSum => "kompass_extender_gang_executors_peak_sum",
            Self::ExecutorSeconds => "kompass_extender_gang_executor_seconds_total",
            Self::ExecutorCpu => "kompass_extender_gang_executor_cpu_core_seconds_total",
            Self::ExecutorMemory => "kompass_extender_gang_executor_memory_byte_seconds_total",
            Self::DriverCpu => "kompass_extender_gang_driver_cpu_core_seconds_total",
            Self::DriverMemory => "kompass_extender_gang_driver_memory_byte_seconds_total",
        }
    }
}

/// The questions about KOMPASS's own counters. `selector` are matchers that every series must meet, such as
/// `cluster="blue"`; may be empty.
pub fn about_counters(window: Window, selector: &str) -> Vec<Question> {
    const KEY: &str = "instance, pod, profile_key, outcome";
    let fine = Fine::of(window);
    let total = format!(
        "sum by (instance, pod) (max by (instance, pod, outcome) (kompass_extender_gangs_ended_total{{{selector}}}))"
    );
    let leaderless = format!("max(kompass_extender_leader{{{selector}}}) == 0");
    let start = |offset: &str| {
        format!(
            "max by (instance, pod) (process_start_time_seconds{{{selector}}}{offset} \
             and on (instance, pod) kompass_extender_leader{{{selector}}}{offset})"
        )
    };
    let changed = |value: &dyn Fn(&str) -> String| format!("{} unless ({0} == {})", value(""), value(&offset(STEP_MS)));
    let mut questions = vec![
        fine.ask(Topic::Total, total, COUNTER_POINTS),
        fine.ask(Topic::Leaderless, leaderless, COUNTER_POINTS),
        fine.ask(Topic::Starts, changed(&start), COUNTER_POINTS),
        fine.ask_before(Topic::Starts, start("")),
    ];
    for counter in Counter::ALL {
        let metric = counter.metric();
        // To aggregate what has changed costs a seventh of looking for changes in what is aggregated.
        let (now, before) = (
            format!("{metric}{{{selector}}}"),
            format!("{metric}{{{selector}}}{}", offset(STEP_MS)),
        );
        let born = with_born(&format!("max by ({KEY}) ({now} unless on ({KEY}) {before})"));
        let promql = format!("{born} or max by ({KEY}) ({now} != {before})");
        let value = format!("max by ({KEY}) ({now})");
        questions.push(fine.ask(Topic::Counter(counter), promql, COUNTER_POINTS));
        questions.push(fine.ask_before(Topic::Counter(counter), value));
    }
    questions
}

/// The first questions about pods: whether there are any, and their labels.
pub fn about_labels(window: Window, selector: &str) -> Vec<Question> {
    const BY: &str = "namespace, pod, uid, label_spark_role, label_spark_app_selector, label_spark_app_name, \
                      label_kompass_dev_profile_key, label_kompass_dev_queue";
    let fine = Fine::of(window);
    let labels = |offset: &str| {
        let series = series("kube_pod_labels", selector, "label_spark_role=~\"driver|executor\"");
        format!("max by ({BY}) (last_over_time({series}[1h]{offset}))")
    };
    vec![
        fine.ask(
            Topic::PodsSeen,
            // As long as pods are looked for below: what is gone with kube-state-metrics is not gone from the cluster.
            format!("count(last_over_time(kube_pod_created{{{selector}}}[2m]))"),
            POD_POINTS,
        ),
        slow(window, PodFact::Labels, &labels),
    ]
}

/// The other questions about pods. `labelled`: there are Spark pods that only their labels tell, not their names.
pub fn about_pods(window: Window, selector: &str, labelled: bool) -> Vec<Question> {
    const POD: &str = "namespace, pod, uid";
    let spark = |metric: &str, matchers: &str, range: &str, offset: &str| {
        let of = |pods: &str| {
            let matchers = [matchers, pods].map(str::to_owned);
            let matchers: Vec<String> = matchers.into_iter().filter(|one| !one.is_empty()).collect();
            format!(
                "last_over_time({}[{range}]{offset})",
                series(metric, selector, &matchers.join(","))
            )
        };
        let named = of(&format!("pod=~\"{NAMES}\""));
        if !labelled {
            return named;
        }
        let others = of(&format!("pod!~\"{NAMES}\""));
        let roles = series("kube_pod_labels", selector, "label_spark_role=~\"driver|executor\"");
        format!("({named} or ({others} and on ({POD}) last_over_time({roles}[1h]{offset})))")
    };
    let fine = Fine::of(window);
    let present = |offset: &str| {
        // Two steps, so that a scrape that comes a moment late does not look like a pod that is gone.
        format!("max by ({POD}) ({})", spark("kube_pod_created", "", "2m", offset))
    };
    let (now, before) = (present(""), present(&offset(STEP_MS)));
    let presence = format!(
        "{} or ({before} unless {now})",
        with_born(&format!("{now} unless {before}"))
    );
    let time =
        |metric: &'static str| move |offset: &str| format!("max by ({POD}) ({})", spark(metric, "", "1h", offset));
    let requests = |metric: &'static str, over: &'static str| {
        move |offset: &str| {
            let each = spark(metric, "resource=~\"cpu|memory\"", "1h", offset);
            format!("{over} by ({POD}, resource) (max by ({POD}, container, resource) ({each}))")
        }
    };
    let phase = |offset: &str| {
        let ended = spark("kube_pod_status_phase", "phase=~\"Succeeded|Failed\"", "1h", offset);
        format!("(max by ({POD}, phase) ({ended}) == 1)")
    };
    vec![
        fine.ask(Topic::Pod(PodFact::Presence), presence, POD_POINTS),
        fine.ask_before(Topic::Pod(PodFact::AtBegin), now),
        slow(window, PodFact::Started, &time("kube_pod_start_time")),
        slow(window, PodFact::Completed, &time("kube_pod_completion_time")),
        slow(
            window,
            PodFact::Requests,
            &requests("kube_pod_container_resource_requests", "sum"),
        ),
        slow(
            window,
            PodFact::InitRequests,
            &requests("kube_pod_init_container_resource_requests", "max"),
        ),
        slow(window, PodFact::Phase, &phase),
    ]
}

/// Whether Spark gives such names to pods.
pub fn is_spark_name(name: &str) -> bool {
    name.ends_with("-driver")
        || name
            .rsplit_once("-exec-")
            .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Every minute.
struct Fine {
    first_ms: i64,
    last_ms: i64,
}

impl Fine {
    fn of(window: Window) -> Self {
        let last_ms = window.to_ms.div_euclid(STEP_MS) * STEP_MS;
        Self {
            first_ms: up(window.from_ms, STEP_MS),
            last_ms,
        }
    }

    fn ask(&self, topic: Topic, promql: String, points: usize) -> Question {
        let moments = (self.first_ms, self.last_ms);
        Question {
            topic,
            promql,
            moments,
            step_ms: STEP_MS,
            points,
        }
    }

    /// A step before the first moment.
    fn ask_before(&self, topic: Topic, promql: String) -> Question {
        let before = self.first_ms - STEP_MS;
        Question {
            topic,
            promql,
            moments: (before, before),
            step_ms: STEP_MS,
            points: 1,
        }
    }
}

/// What changes seldom: the values of the last hour, where they differ from those an hour before.
fn slow(window: Window, fact: PodFact, value: &dyn Fn(&str) -> String) -> Question {
    let promql = format!("{} unless ({0} == {})", value(""), value(&offset(SLOW_STEP_MS)));
    Question {
        topic: Topic::Pod(fact),
        promql,
        // The hours that reach into the window: the last one may end after it.
        moments: (up(window.from_ms, SLOW_STEP_MS), up(window.to_ms, SLOW_STEP_MS)),
        step_ms: SLOW_STEP_MS,
        points: POD_POINTS / 60,
    }
}

/// With a label that says that there was no value one step before.
fn with_born(promql: &str) -> String {
    format!("label_replace({promql}, \"{BORN}\", \"1\", \"\", \"\")")
}

fn offset(step_ms: i64) -> String {
    format!(" offset {}s", step_ms / 1_000)
}

fn series(metric: &str, selector: &str, matchers: &str) -> String {
    let comma = if selector.is_empty() || matchers.is_empty() {
        ""
    } else {
        ","
    };
    format!("{metric}{{{selector}{comma}{matchers}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spark_names_are_known() {
        for (name, expected) in [
            ("pi-1f2e-driver", true),
            ("pi-1f2e-exec-12", true),
            ("pi-exec-", false),
            ("pi-exec-1a", false),
            ("driver", false),
            ("driver-7", false),
        ] {
            assert_eq!(is_spark_name(name), expected, "{name}");
        }
    }

    #[test]
    fn the_window_is_covered_by_whole_steps() {
        let window = Window {
            from_ms: 3_600_001,
            to_ms: 2 * 3_600_000 + 59_999,
        };
        let of = |questions: Vec<Question>, topic| questions.into_iter().find(|one| one.topic == topic).unwrap();
        let total = of(about_counters(window, ""), Topic::Total);
        assert_eq!(total.moments, (3_660_000, 7_200_000));
        let labels = of(about_labels(window, "cluster=\"a\""), Topic::Pod(PodFact::Labels));
        assert_eq!((labels.moments, labels.step_ms), ((7_200_000, 10_800_000), 3_600_000));
        assert!(
            labels.promql.contains("{cluster=\"a\",label_spark_role"),
            "{}",
            labels.promql
        );
    }
}
