//! Gangs as the extender shows them on `/v1/gangs`.

use kompass_core::{GangPlan, Outcome, WaitReason};
use serde::{Deserialize, Serialize};

/// One gang. Fields that the extender does not send are left at their defaults, so that an older or newer one is read
/// too. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Gang {
    pub(crate) namespace: String,
    /// The driver's name.
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) queue: String,
    pub(crate) priority: i32,
    /// `waiting`, `reserved`, `unplanned`, `driver-bound`, `running`.
    pub(crate) state: String,
    pub(crate) waiting: Option<WaitReason>,
    pub(crate) executors_min: Option<u64>,
    pub(crate) executors_unclaimed: u64,
    pub(crate) executors_bound: u64,
    pub(crate) slots_missing: u64,
    pub(crate) executors_gated: u64,
    pub(crate) demand: bool,
    pub(crate) plan: Option<GangPlan>,
    pub(crate) submitted_ms: i64,
    pub(crate) profiled_ms: Option<i64>,
    pub(crate) planned_ms: Option<i64>,
    pub(crate) bound_ms: Option<i64>,
    pub(crate) first_executor_ms: Option<i64>,
    pub(crate) started_ms: Option<i64>,
}

/// A gang that has ended. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Finished {
    pub(crate) namespace: String,
    /// The driver's name.
    pub(crate) name: String,
    pub(crate) ended_ms: i64,
    /// From submission to the driver's bind, milliseconds.
    pub(crate) wait_ms: i64,
    /// From the driver's start to the end, milliseconds.
    pub(crate) run_ms: Option<i64>,
    pub(crate) outcome: Outcome,
}

/// The answer of `/v1/gangs`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Answer {
    /// Gangs that wait or run.
    pub(crate) gangs: Vec<Gang>,
    /// The last that have ended, oldest first.
    #[serde(default)]
    pub(crate) finished: Vec<Finished>,
}

/// Reads the answer of `/v1/gangs`, gangs in the order of their queues.
pub(crate) fn answer(text: &str) -> Result<Answer, serde_json::Error> {
    let mut answer: Answer = serde_json::from_str(text)?;
    answer.gangs.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(answer)
}

/// Reads the answer of `/v1/gangs/{namespace}/{driver}`; none when the gang has ended.
pub(crate) fn one(text: &str) -> Result<Option<Gang>, serde_json::Error> {
    #[derive(Deserialize)]
    struct One {
        gang: Option<Gang>,
    }
    serde_json::from_str::<One>(text).map(|one| one.gang)
}

/// Queue by queue; running gangs first, then the waiting ones by their position.
fn order(gang: &Gang) -> (&str, u64, i64, &str, &str) {
    let position = gang.waiting.as_ref().map_or(0, |reason| reason.position);
    (&gang.queue, position, gang.submitted_ms, &gang.namespace, &gang.name)
}

/// Has a driver.
pub(crate) trait Driven {
    /// The driver's namespace and name.
    fn driver(&self) -> (&str, &str);
}

impl Driven for Gang {
    fn driver(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Driven for Finished {
    fn driver(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

/// The gangs that a user means by a job's name: the driver pod of that name, else those whose name begins with it, as
/// Spark makes the driver's name from the application's.
pub(crate) fn matching<'a, T: Driven>(gangs: &'a [T], namespace: Option<&str>, job: &str) -> Vec<&'a T> {
    let here = || {
        gangs
            .iter()
            .filter(|gang| namespace.is_none_or(|namespace| gang.driver().0 == namespace))
    };
    let exact: Vec<_> = here().filter(|gang| gang.driver().1 == job).collect();
    if !exact.is_empty() {
        return exact;
    }
    let prefix = format!("{}-", job.to_lowercase());
    here().filter(|gang| gang.driver().1.starts_with(&prefix)).collect()
}

#[cfg(test)]
mod tests {
    use kompass_core::Resources;
    use kompass_core::wait::WaitCode;
    use kompass_planner::FinishedGang;
    use serde_json::{Value, json};

    use super::*;

    fn gang(queue: &str, name: &str, position: Option<u64>) -> Value {
        let waiting = position.map(|position| {
            json!({"code": "no-room", "text": "full", "position": position, "start_p50": null, "start_p90": null})
        });
        json!({"namespace": "ns", "name": name, "queue": queue, "state": "waiting", "waiting": waiting, "later": 1})
    }

    fn list(gangs: &[Value]) -> Vec<Gang> {
        answer(&json!({"leads": true, "gangs": gangs}).to_string())
            .unwrap()
            .gangs
    }

    #[test]
    fn gangs_are_ordered_by_queue_and_position() {
        let gangs = list(&[
            gang("b", "x", None),
            gang("a", "second", Some(2)),
            gang("a", "first", Some(1)),
            gang("a", "runs", None),
        ]);
        let names: Vec<&str> = gangs.iter().map(|gang| gang.name.as_str()).collect();
        assert_eq!(names, ["runs", "first", "second", "x"]);
        assert_eq!(gangs[1].waiting.as_ref().unwrap().code, WaitCode::NoRoom);
        assert!(answer(r#"{"error": "x"}"#).is_err());
    }

    #[test]
    fn what_the_planner_shows_is_read() {
        let resources = Resources::from_mib(1, 1);
        let finished = FinishedGang {
            namespace: "ns".into(),
            name: "old-driver".into(),
            uid: "u".into(),
            queue: "q".into(),
            profile_key: None,
            wider_keys: Vec::new(),
            driver: resources,
            executor: None,
            executors_min: 0,
            executors_max: None,
            submitted_ms: 1,
            profiled_ms: None,
            planned_ms: None,
            bound_ms: None,
            first_executor_ms: None,
            started_ms: None,
            ended_ms: 9,
            wait_ms: 3,
            run_ms: None,
            executor_ms: 0,
            executors_peak: 0,
            outcome: Outcome::Deleted,
            whole: true,
        };
        let text = json!({"leads": false, "gangs": [], "finished": [finished]}).to_string();
        let read = answer(&text).unwrap().finished;
        assert_eq!(
            (read[0].name.as_str(), read[0].ended_ms, read[0].outcome),
            ("old-driver", 9, Outcome::Deleted)
        );
        assert_eq!(one(&json!({"finished": finished}).to_string()).unwrap(), None);
        assert_eq!(
            one(&json!({"gang": gang("q", "x", None)}).to_string())
                .unwrap()
                .unwrap()
                .name,
            "x"
        );
    }

    #[test]
    fn a_job_is_found_by_driver_or_by_the_beginning_of_its_name() {
        let gangs = list(&[
            gang("a", "etl-1-driver", None),
            gang("a", "etl-2-driver", None),
            gang("a", "etlx-driver", None),
        ]);
        let names = |namespace, job| {
            matching(&gangs, namespace, job)
                .iter()
                .map(|gang| gang.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(None, "etl"), ["etl-1-driver", "etl-2-driver"]);
        assert_eq!(names(None, "ETL-2"), ["etl-2-driver"]);
        assert_eq!(names(Some("ns"), "etl-1-driver"), ["etl-1-driver"]);
        assert!(names(Some("other"), "etl").is_empty());
    }
}
