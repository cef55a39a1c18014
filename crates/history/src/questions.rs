//! What is asked, in Prometheus's language.
//!
//! Counters are long and change seldom: 200 profile keys for four weeks are a hundred million samples. So the server is asked
//! for values only where they differ from those a step before, and marks those that had none then ([`BORN`]). What they
//! mean is decided here, since `increase` does not see the value that a series begins with.
//!
//! Every answer is aggregated by the labels that say whose value it is. Whatever else tells series apart (two Prometheus
//! servers that scrape the same, two scrape jobs, two replicas of kube-state-metrics) is one value then, the largest.

mod counters;
mod pods;

use crate::Window;
use crate::seen::{STEP_MS, up};

pub use counters::about_counters;
pub use pods::{GONE_STEP_MS, about_labels, about_pods, about_presence};

/// Label of values that had none one step before.
pub const BORN: &str = "kompass_born";
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
    /// When it was created.
    Created,
    /// Moments at which it was gone and had not been one [`GONE_STEP_MS`] before.
    Gone,
    /// That it was there at the end.
    AtEnd,
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
    /// Which wider keys a profile key has.
    Kin,
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

/// What does not change is asked for once in so long: the last value of that time.
const SLOW_STEP_MS: i64 = 21_600_000;
const SLOW_RANGE: &str = "6h";
/// Moments that are asked for at once: a week.
const SLOW_POINTS: usize = 28;

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

/// What does not change.
fn slow(window: Window, topic: Topic, promql: String) -> Question {
    // Back from the end, as some servers answer nothing about the future, to the first time that reaches over the begin.
    let Fine { last_ms, .. } = Fine::of(window);
    let steps = up(last_ms - window.from_ms, SLOW_STEP_MS) / SLOW_STEP_MS;
    Question {
        topic,
        promql,
        moments: (last_ms - (steps - 1).max(0) * SLOW_STEP_MS, last_ms),
        step_ms: SLOW_STEP_MS,
        points: SLOW_POINTS,
    }
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
        let labels = about_labels(window, "cluster=\"a\"");
        assert_eq!((labels.moments, labels.step_ms), ((7_200_000, 7_200_000), 21_600_000));
        let day = Window {
            to_ms: window.from_ms + 24 * 3_600_000,
            ..window
        };
        let (first, last) = about_labels(day, "").moments;
        assert_eq!((last - first) / 21_600_000, 3, "four times six hours");
        assert!(last <= day.to_ms && first - 21_600_000 <= day.from_ms);
        assert!(
            labels.promql.contains("{cluster=\"a\",label_spark_role"),
            "{}",
            labels.promql
        );
    }
}
