//! What happens to one gang, and when, as its pods tell it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kompass_core::{GangPlan, JobProfile, Role, names};
use kube::ResourceExt as _;

use super::watch::Change;

/// Something that happened to the gang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Moment {
    /// `spark-submit` was started.
    Started,
    /// The driver pod was created.
    Submitted,
    /// The profile was written.
    Profiled(String),
    /// The plan was written and the gate opened, in one write.
    Planned(String),
    /// The driver was bound to a node.
    DriverBound(String),
    /// The driver's Spark container runs.
    DriverRunning,
    /// An executor, by its number, was bound to a node.
    ExecutorBound(String, String),
    /// The first executor runs.
    FirstExecutorRunning,
    /// The driver's Spark container has ended.
    Done(Outcome),
}

/// How the job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Exit code 0.
    Succeeded,
    /// Another exit code, or the pod failed as a whole, with the reason.
    Failed(String),
    /// The driver was deleted.
    Deleted,
}

/// Moments of one gang.
#[derive(Debug)]
pub(super) struct Recorder {
    driver: String,
    uid: Option<String>,
    container: Option<String>,
    running: bool,
    waiting: bool,
    bound: BTreeSet<String>,
    outcome: Option<Outcome>,
    moments: Vec<(Moment, i64)>,
}

impl Recorder {
    /// For the gang of the driver pod of this name.
    pub(super) fn new(driver: &str) -> Self {
        Self {
            driver: driver.to_owned(),
            uid: None,
            container: None,
            running: false,
            waiting: false,
            bound: BTreeSet::new(),
            outcome: None,
            moments: Vec::new(),
        }
    }

    /// The driver pod's name.
    pub(super) fn driver(&self) -> &str {
        &self.driver
    }

    /// Everything so far, with its time in milliseconds since 1970.
    pub(super) fn moments(&self) -> &[(Moment, i64)] {
        &self.moments
    }

    /// How the job ended, once it has.
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Whether the driver's gate is closed.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// The driver's Spark container, once there is something to read of it.
    pub(super) fn container(&self) -> Option<&str> {
        self.container
            .as_deref()
            .filter(|_| self.running || self.outcome.is_some())
    }

    /// What the time line is of.
    pub(super) fn heading(&self, namespace: &str) -> String {
        format!("The gang of {namespace}/{}, seconds since its submission", self.driver)
    }

    /// Notes a moment, the first of its kind only.
    pub(super) fn note(&mut self, moment: Moment, now_ms: i64) {
        let same = |known: &Moment| match (&moment, known) {
            (Moment::ExecutorBound(new, _), Moment::ExecutorBound(old, _)) => new == old,
            (new, old) => std::mem::discriminant(new) == std::mem::discriminant(old),
        };
        if !self.moments.iter().any(|(known, _)| same(known)) {
            self.moments.push((moment, now_ms));
        }
    }

    /// Takes in a change seen now.
    pub(super) fn observe(&mut self, change: &Change, now_ms: i64) {
        match change {
            Change::Applied(pod) if pod.name_any() == self.driver => self.observe_driver(pod, now_ms),
            Change::Applied(pod) if self.owns(pod) => self.observe_executor(pod, now_ms),
            Change::Deleted(pod) if pod.name_any() == self.driver && self.outcome.is_none() => {
                self.end(Outcome::Deleted, now_ms);
            }
            Change::Applied(_) | Change::Deleted(_) => {}
        }
    }

    fn observe_driver(&mut self, pod: &Pod, now_ms: i64) {
        self.uid = pod.uid();
        self.note(Moment::Submitted, now_ms);
        if let Some(profile) = annotation(pod, names::PROFILE_ANNOTATION) {
            let text = JobProfile::from_annotation(profile)
                .map_or_else(|error| error.to_string(), |profile| described(&profile));
            self.note(Moment::Profiled(text), now_ms);
        }
        if let Some(plan) = annotation(pod, names::PLAN_ANNOTATION) {
            let text = GangPlan::from_annotation(plan).map_or_else(|error| error.to_string(), |plan| placed(&plan));
            self.note(Moment::Planned(text), now_ms);
        }
        let gates = pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten());
        self.waiting = gates.into_iter().any(|gate| gate.name == names::GANG_GATE);
        if let Some(node) = node(pod) {
            self.note(Moment::DriverBound(node.to_owned()), now_ms);
        }
        let Some(status) = spark_status(pod, Role::Driver) else {
            return self.observe_phase(pod, now_ms);
        };
        self.container = Some(status.name.clone());
        let state = status.state.as_ref();
        let ended = state.and_then(|state| state.terminated.as_ref());
        if ended.is_some() || state.is_some_and(|state| state.running.is_some()) {
            self.running = true;
            self.note(Moment::DriverRunning, now_ms);
        }
        match ended {
            Some(ended) if ended.exit_code == 0 => self.end(Outcome::Succeeded, now_ms),
            Some(ended) => {
                let reason = ended.reason.clone().unwrap_or_else(|| "Error".to_owned());
                self.end(
                    Outcome::Failed(format!("{reason}, exit code {}", ended.exit_code)),
                    now_ms,
                );
            }
            None => self.observe_phase(pod, now_ms),
        }
    }

    /// A pod can fail as a whole, without a word of its containers.
    fn observe_phase(&mut self, pod: &Pod, now_ms: i64) {
        let status = pod.status.as_ref();
        match status.and_then(|status| status.phase.as_deref()) {
            Some("Failed") => {
                let reason = status
                    .and_then(|status| status.reason.clone())
                    .unwrap_or_else(|| "the pod failed".to_owned());
                self.end(Outcome::Failed(reason), now_ms);
            }
            Some("Succeeded") => self.end(Outcome::Succeeded, now_ms),
            _ => {}
        }
    }

    fn observe_executor(&mut self, pod: &Pod, now_ms: i64) {
        let number = pod
            .labels()
            .get(names::SPARK_EXECUTOR_ID_LABEL)
            .cloned()
            .unwrap_or_else(|| pod.name_any());
        if let Some(node) = node(pod)
            && self.bound.insert(pod.name_any())
        {
            self.note(Moment::ExecutorBound(number, node.to_owned()), now_ms);
        }
        let running = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
        if spark_status(pod, Role::Executor).is_some_and(running) {
            self.note(Moment::FirstExecutorRunning, now_ms);
        }
    }

    fn owns(&self, pod: &Pod) -> bool {
        let Some(uid) = &self.uid else { return false };
        pod.owner_references()
            .iter()
            .any(|owner| owner.controller == Some(true) && owner.uid == *uid)
    }

    fn end(&mut self, outcome: Outcome, now_ms: i64) {
        self.note(Moment::Done(outcome.clone()), now_ms);
        self.outcome = Some(outcome);
        self.waiting = false;
    }
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.annotations().get(name).map(String::as_str)
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// The status of the container that runs Spark: a pod template may put others before it.
fn spark_status(pod: &Pod, role: Role) -> Option<&ContainerStatus> {
    let containers = &pod.spec.as_ref()?.containers;
    let command = match role {
        Role::Driver => "driver",
        Role::Executor => "executor",
    };
    let is_spark = |args: &Vec<String>| args.iter().any(|arg| arg.split('-').next() == Some(command));
    let name = &containers
        .iter()
        .find(|container| container.args.as_ref().is_some_and(is_spark))?
        .name;
    pod.status
        .as_ref()?
        .container_statuses
        .as_ref()?
        .iter()
        .find(|status| status.name == *name)
}

fn described(profile: &JobProfile) -> String {
    let executors = match (profile.executors_at_start, profile.executors_max) {
        (start, Some(max)) if start == max => format!("{start} executors"),
        (start, Some(max)) => format!("{start} to {max} executors"),
        (start, None) => format!("{start} and more executors"),
    };
    format!("{executors} of {}", profile.executor.resources())
}

fn placed(plan: &GangPlan) -> String {
    let nodes = plan
        .executors
        .iter()
        .map(|(node, _)| node)
        .chain([&plan.driver])
        .collect::<BTreeSet<_>>()
        .len();
    format!(
        "{} pods on {nodes} {}",
        plan.executor_count() + 1,
        if nodes == 1 { "node" } else { "nodes" }
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(value: Value) -> Change {
        Change::Applied(Box::new(serde_json::from_value(value).unwrap()))
    }

    fn driver() -> Value {
        json!({
            "metadata": {"name": "d", "uid": "u"},
            "spec": {
                "containers": [{"name": "side"}, {"name": "spark", "args": ["driver", "--class", "x"]}],
                "schedulingGates": [{"name": "kompass.dev/gang"}],
            },
        })
    }

    fn executor(owner: &str, number: &str) -> Value {
        json!({
            "metadata": {
                "name": format!("e-{number}"), "labels": {"spark-exec-id": number},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "d", "uid": owner, "controller": true}],
            },
            "spec": {"nodeName": "n1", "containers": [{"name": "spark", "args": ["executor"]}]},
        })
    }

    fn running(mut pod: Value) -> Value {
        pod["status"] = json!({"containerStatuses": [{
            "name": "spark", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}},
        }]});
        pod
    }

    fn ended(mut pod: Value, code: i32) -> Value {
        pod["status"] = json!({"containerStatuses": [{
            "name": "spark", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "reason": "Error"}},
        }]});
        pod
    }

    #[test]
    fn a_whole_life_is_recorded_once_each() {
        let mut recorder = Recorder::new("d");
        recorder.note(Moment::Started, 0);
        recorder.observe(&pod(executor("other", "9")), 1);
        recorder.observe(&pod(driver()), 10);
        assert!(recorder.is_waiting() && recorder.container().is_none());
        let mut planned = driver();
        planned["metadata"]["annotations"] = json!({
            "kompass.dev/job-profile": r#"{"version":1,"driver":{"cpu_milli":1,"memory_mib":1},"executor":{"cpu_milli":200,"memory_mib":768},"executors_at_start":2,"executors_max":2,"dynamic_allocation":false,"profile_key":"k","source":"conf"}"#,
            "kompass.dev/gang-plan": r#"{"v":1,"uid":"u","driver":"n1","executors":[["n1",1],["n2",1]],"at":5}"#,
        });
        planned["spec"]["schedulingGates"] = json!([]);
        recorder.observe(&pod(planned), 20);
        assert!(!recorder.is_waiting());
        let mut bound = driver();
        bound["spec"]["nodeName"] = json!("n1");
        recorder.observe(&pod(bound.clone()), 30);
        recorder.observe(&pod(running(bound.clone())), 40);
        assert_eq!(recorder.container(), Some("spark"));
        recorder.observe(&pod(executor("u", "1")), 50);
        recorder.observe(&pod(running(executor("u", "1"))), 60);
        recorder.observe(&pod(running(executor("u", "2"))), 70);
        recorder.observe(&pod(ended(bound, 0)), 80);
        assert_eq!(
            recorder.moments(),
            [
                (Moment::Started, 0),
                (Moment::Submitted, 10),
                (Moment::Profiled("2 executors of 200m CPU, 768 MiB".into()), 20),
                (Moment::Planned("3 pods on 2 nodes".into()), 20),
                (Moment::DriverBound("n1".into()), 30),
                (Moment::DriverRunning, 40),
                (Moment::ExecutorBound("1".into(), "n1".into()), 50),
                (Moment::FirstExecutorRunning, 60),
                (Moment::ExecutorBound("2".into(), "n1".into()), 70),
                (Moment::Done(Outcome::Succeeded), 80),
            ]
        );
    }

    #[test]
    fn every_bad_end_is_an_end() {
        let outcome = |change: Change| {
            let mut recorder = Recorder::new("d");
            recorder.observe(&pod(driver()), 0);
            recorder.observe(&change, 1);
            recorder.outcome().cloned()
        };
        let mut evicted = driver();
        evicted["status"] = json!({"phase": "Failed", "reason": "Evicted"});
        assert_eq!(
            outcome(pod(ended(driver(), 1))),
            Some(Outcome::Failed("Error, exit code 1".into()))
        );
        assert_eq!(outcome(pod(evicted)), Some(Outcome::Failed("Evicted".into())));
        let Change::Applied(gone) = pod(driver()) else { panic!() };
        assert_eq!(outcome(Change::Deleted(gone)), Some(Outcome::Deleted));
    }
}
