//! Questions about the pods of kube-state-metrics.
//!
//! There may be many pods, each for a short time. A server works the more the more moments are asked of it at once and the
//! more pods it has to hold against each other at each of them. So what does not change is asked for once in hours, and only
//! where a pod goes away is looked at closely.

use super::{Fine, PodFact, Question, SLOW_RANGE, Topic, offset, series, slow};
use crate::Window;
use crate::seen::up;

/// How close it is looked for pods that go away, milliseconds: a pod is gone if it has no sample of this time and a minute.
pub const GONE_STEP_MS: i64 = 300_000;
/// In the server's words.
const GONE_RANGE: &str = "6m";
/// Names of pods that Spark gives: `<prefix>-driver`, `<prefix>-exec-<number>`.
const NAMES: &str = ".*-driver|.*-exec-[0-9]+";
const POD: &str = "namespace, pod, uid";
const ROLES: &str = "label_spark_role=~\"driver|executor\"";
/// Moments that are asked for at once: two days, three days of one pod or half a day of all.
const GONE_POINTS: usize = 576;
const OWN_POINTS: usize = 4_320;
const ANY_POINTS: usize = 720;

/// Whether kube-state-metrics is seen: by its own pod, which costs little, or, if it does not show that, by any.
pub fn about_presence(window: Window, selector: &str, by_any: bool) -> Question {
    let (own, points) = if by_any {
        ("", ANY_POINTS)
    } else {
        ("pod=~\".*kube-state-metrics.*\"", OWN_POINTS)
    };
    let pods = series("kube_pod_created", selector, own);
    // Two steps, so that a scrape that comes a moment late is no gap.
    let promql = format!("count(last_over_time({pods}[2m]))");
    Fine::of(window).ask(Topic::PodsSeen, promql, points)
}

/// The labels of pods that have a role in Spark.
pub fn about_labels(window: Window, selector: &str) -> Question {
    const BY: &str = "label_spark_role, label_spark_app_selector, label_spark_app_name, label_kompass_dev_profile_key, \
                      label_kompass_dev_queue";
    let labels = series("kube_pod_labels", selector, ROLES);
    let promql = format!("max by ({POD}, {BY}) (last_over_time({labels}[{SLOW_RANGE}]))");
    slow(window, Topic::Pod(PodFact::Labels), promql)
}

/// All else about Spark's pods. `labelled`: there are some that only their labels tell, not their names.
pub fn about_pods(window: Window, selector: &str, labelled: bool) -> Vec<Question> {
    let spark = Spark { selector, labelled };
    let time = |metric| format!("max by ({POD}) ({})", spark.last(metric, "", SLOW_RANGE));
    let requests = |metric, over| {
        let each = spark.last(metric, "resource=~\"cpu|memory\"", SLOW_RANGE);
        format!("{over} by ({POD}, resource) (max by ({POD}, container, resource) ({each}))")
    };
    let ended = spark.last("kube_pod_status_phase", "phase=~\"Succeeded|Failed\"", SLOW_RANGE);
    let present = |offset: &str| spark.at("kube_pod_created", "", GONE_RANGE, offset);
    let (now, before) = (present(""), present(&offset(GONE_STEP_MS)));
    let gone = Question {
        topic: Topic::Pod(PodFact::Gone),
        promql: format!("max by ({POD}) ({before} unless on ({POD}) {now})"),
        moments: (
            up(window.from_ms, GONE_STEP_MS),
            window.to_ms.div_euclid(GONE_STEP_MS) * GONE_STEP_MS,
        ),
        step_ms: GONE_STEP_MS,
        points: GONE_POINTS,
    };
    let at_end = Question {
        topic: Topic::Pod(PodFact::AtEnd),
        promql: format!("max by ({POD}) ({now})"),
        moments: (gone.moments.1, gone.moments.1),
        ..gone.clone()
    };
    vec![
        gone,
        at_end,
        slow(window, Topic::Pod(PodFact::Created), time("kube_pod_created")),
        slow(window, Topic::Pod(PodFact::Started), time("kube_pod_start_time")),
        slow(window, Topic::Pod(PodFact::Completed), time("kube_pod_completion_time")),
        slow(
            window,
            Topic::Pod(PodFact::Requests),
            requests("kube_pod_container_resource_requests", "sum"),
        ),
        slow(
            window,
            Topic::Pod(PodFact::InitRequests),
            requests("kube_pod_init_container_resource_requests", "max"),
        ),
        slow(
            window,
            Topic::Pod(PodFact::Phase),
            format!("max by ({POD}, phase) ({ended}) == 1"),
        ),
    ]
}

/// Which pods are Spark's.
struct Spark<'a> {
    selector: &'a str,
    labelled: bool,
}

impl Spark<'_> {
    /// The last values of a metric of them within some time.
    fn last(&self, metric: &str, matchers: &str, range: &str) -> String {
        self.at(metric, matchers, range, "")
    }

    /// The same, as it was some time before.
    fn at(&self, metric: &str, matchers: &str, range: &str, offset: &str) -> String {
        let comma = if matchers.is_empty() { "" } else { "," };
        let of = |names: &str| {
            let pods = series(
                metric,
                self.selector,
                &format!("{matchers}{comma}pod{names}\"{NAMES}\""),
            );
            format!("last_over_time({pods}[{range}]{offset})")
        };
        if !self.labelled {
            return of("=~");
        }
        let roles = series("kube_pod_labels", self.selector, ROLES);
        format!(
            "({} or ({} and on ({POD}) last_over_time({roles}[{range}]{offset})))",
            of("=~"),
            of("!~")
        )
    }
}
