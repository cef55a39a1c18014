//! What the profiler asks and tells the API server.
//!
//! A configuration holds the user's secrets. Its text lives here for the moment of parsing, which keeps known keys
//! only; it is neither stored nor logged, and no error carries any of it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1;
use kompass_core::profile::Source;
use kompass_core::{JobProfile, names};
use kompass_kube::client::{RequestError, within};
use kompass_kube::events::{Note, Recorder, Severity};
use kompass_kube::patch::{self, Operations};
use kompass_kube::{config_map, object};
use kompass_service::logging::chain;
use kompass_spark::{CONF_KEY, Conf, DriverPod, TEMPLATE_KEY, profile, profile_key, scheduler};
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::Value;

use super::budget;
use super::budgets::Order;
use super::estimates::Estimates;
use super::holds::Gate;
use super::kept::Kept;
use super::memory::Memory;
use super::queue::{Progress, Task};
use super::rights::Rights;
use super::shadow::is_meant;
use crate::admit::Rules;
use crate::metrics;
use crate::patch::get;

/// For one request. Much shorter than the time a gate may stay closed, so that a stuck one is tried again.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// How often an event is tried, and the pause after a failure.
const NOTE_ATTEMPTS: usize = 3;
const NOTE_PAUSE: Duration = Duration::from_secs(1);

/// Does the work of one driver or gate; cheap to clone.
#[derive(Clone)]
pub(super) struct Worker {
    client: Client,
    recorder: Recorder,
    memory: Memory,
    estimates: Estimates,
    metrics: metrics::Profiler,
    rights: Rights,
    /// Whose pods are taken.
    rules: Arc<Rules>,
    /// Nothing is written.
    shadow: bool,
}

/// What every job uses.
pub(super) struct Tools {
    pub(super) rights: Rights,
    pub(super) recorder: Recorder,
    pub(super) memory: Memory,
    pub(super) estimates: Estimates,
    pub(super) metrics: metrics::Profiler,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

/// What came of the work on a driver.
#[derive(Debug)]
pub(super) struct Found {
    /// The profile that was written, if one was.
    pub(super) written: Option<JobProfile>,
    /// How the driver goes on.
    pub(super) progress: Progress,
    /// What its owner should know.
    pub(super) note: Option<Note>,
}

impl Found {
    fn without_profile(progress: Progress) -> Self {
        Self {
            written: None,
            progress,
            note: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read the driver")]
    Pod(#[source] RequestError),
    #[error("failed to read a ConfigMap of the driver")]
    ConfigMap(#[source] RequestError),
    #[error("failed to write the profile")]
    Write(#[source] patch::Error),
}

impl Error {
    const fn step(&self) -> &'static str {
        match self {
            Self::Pod(_) => "read-driver",
            Self::ConfigMap(_) => "read-config-map",
            Self::Write(_) => "write-profile",
        }
    }

    /// Whether rights are missing.
    fn is_denied(&self) -> bool {
        let request = match self {
            Self::Pod(request) | Self::ConfigMap(request) => request,
            Self::Write(patch::Error::Request { source, .. }) => source,
            Self::Write(patch::Error::Changed(_) | patch::Error::Gone(_)) => return false,
        };
        request.status() == Some(403)
    }
}

/// What is there of a ConfigMap that a driver names.
enum Text {
    /// The driver names none.
    None,
    /// It is not there yet.
    Missing(String),
    /// It may not be read.
    Denied,
    /// It is there; without the key that Spark writes, it is nobody's configuration.
    There(Option<String>),
}

impl Worker {
    pub(super) fn new(client: Client, tools: Tools, rules: Arc<Rules>, shadow: bool) -> Self {
        let Tools {
            recorder,
            memory,
            estimates,
            metrics,
            rights,
        } = tools;
        Self {
            client,
            recorder,
            memory,
            estimates,
            metrics,
            rights,
            rules,
            shadow,
        }
    }

    /// Looks for the driver's configuration and writes what can be written.
    pub(super) async fn profile(&self, task: Task) -> Found {
        let (namespace, name) = (task.namespace.clone(), task.name.clone());
        let (uid, may_guess, is_told) = (task.uid.clone(), task.may_guess, task.told);
        let result = match self.try_profile(task.clone()).await {
            // The pod is not as it was when it was read: once more with a fresh one.
            Err(Error::Write(patch::Error::Changed(_))) => self.try_profile(Task { pod: None, ..task }).await,
            result => result,
        };
        result.unwrap_or_else(|error| {
            self.metrics.failures.with([error.step()]).inc();
            tracing::warn!(
                namespace,
                pod = name,
                error = chain(&error),
                "failed to profile, trying again"
            );
            if !error.is_denied() {
                return Found::without_profile(Progress::Failed);
            }
            let denied = Progress::Denied {
                guessed: false,
                told: may_guess,
            };
            let tells = may_guess && !is_told && !self.shadow;
            Found {
                note: tells.then(|| self.rights.missing(namespace, name, uid, None)),
                ..Found::without_profile(denied)
            }
        })
    }

    async fn try_profile(&self, task: Task) -> Result<Found, Error> {
        let done = Found::without_profile(Progress::Done);
        let pod = match task.pod.as_ref().and_then(Kept::pod) {
            Some(pod) => pod,
            None => match self.pod(&task).await? {
                Some(pod) => pod,
                None => return Ok(done),
            },
        };
        let matters = if self.shadow {
            is_meant(&pod, &task.uid, &self.rules)
        } else {
            is_open(&pod, &task.uid)
        };
        let Some(driver) = DriverPod::from_json(&pod).filter(|_| matters) else {
            return Ok(done);
        };
        self.estimates.ask(&profile_key::keys(&driver));
        let (conf, template) = tokio::try_join!(
            self.text(&task.namespace, driver.conf_config_map(), CONF_KEY),
            self.text(&task.namespace, driver.template_config_map(), TEMPLATE_KEY),
        )?;
        let missing: Vec<String> = [&conf, &template]
            .into_iter()
            .filter_map(|text| {
                if let Text::Missing(name) = text {
                    Some(name.clone())
                } else {
                    None
                }
            })
            .collect();
        let is_denied = matches!(conf, Text::Denied) || matches!(template, Text::Denied);
        if is_denied && !task.may_guess {
            let progress = Progress::Denied {
                guessed: false,
                told: false,
            };
            return Ok(Found::without_profile(progress));
        }
        if !missing.is_empty() && !task.may_guess {
            let progress = Progress::Missing {
                config_maps: missing,
                pod: Kept::new(pod),
                guessed: false,
            };
            return Ok(Found::without_profile(progress));
        }
        let is_conf_missing = matches!(conf, Text::Missing(_));
        let is_conf_denied = matches!(conf, Text::Denied);
        let conf = if let Text::There(Some(text)) = conf {
            Some(Conf::parse(&text))
        } else {
            None
        };
        let template = if let Text::There(text) = template { text } else { None };
        let mut profile = profile::build(&driver, conf.as_ref(), template.as_deref());
        scheduler::leave_executors(&mut profile, |name| self.rules.takes_over(name));
        let mut profile = self.memory.complete(&task.namespace, profile);
        profile.runtime = self.estimates.of(&profile.profile_key);
        if self.shadow {
            self.tell_of_shadow(&task, &profile);
        } else if !self.write(&task, &pod, &profile).await? {
            return Ok(done);
        }
        let is_guess = profile.source != Source::Conf && !self.shadow;
        let note = is_guess.then(|| {
            if is_conf_denied {
                let Task {
                    namespace, name, uid, ..
                } = task;
                self.rights.missing(namespace, name, uid, Some(&profile))
            } else {
                guessed(&task, &profile)
            }
        });
        let progress = if is_conf_denied {
            Progress::Denied {
                guessed: true,
                told: true,
            }
        } else if is_conf_missing {
            Progress::Missing {
                config_maps: missing,
                pod: Kept::new(pod),
                guessed: true,
            }
        } else {
            Progress::Done
        };
        Ok(Found {
            written: Some(profile),
            progress,
            note,
        })
    }

    async fn pod(&self, task: &Task) -> Result<Option<Value>, Error> {
        let resource = ApiResource::erase::<v1::Pod>(&());
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &task.namespace, &resource);
        let pod = within(REQUEST_LIMIT, api.get_opt(&task.name))
            .await
            .map_err(Error::Pod)?;
        pod.map(serde_json::to_value)
            .transpose()
            .map_err(|error| Error::Pod(kube::Error::SerdeError(error).into()))
    }

    async fn text(&self, namespace: &str, name: Option<&str>, key: &str) -> Result<Text, Error> {
        let Some(name) = name else { return Ok(Text::None) };
        match config_map::read(&self.client, namespace, name, REQUEST_LIMIT).await {
            Ok(None) => Ok(Text::Missing(name.to_owned())),
            Ok(Some(mut data)) => Ok(Text::There(data.remove(key))),
            Err(error) if error.status() == Some(403) => {
                self.metrics.failures.with(["read-config-map"]).inc();
                Ok(Text::Denied)
            }
            Err(error) => Err(Error::ConfigMap(error)),
        }
    }

    /// Writes the profile; `false` if the pod is gone.
    async fn write(&self, task: &Task, pod: &Value, profile: &JobProfile) -> Result<bool, Error> {
        let annotation = profile.to_annotation();
        if let Some(operations) = annotate(pod, &annotation) {
            let api = Api::<object::Pod>::namespaced(self.client.clone(), &task.namespace);
            match patch::send(&api, &task.name, &operations, REQUEST_LIMIT).await {
                Ok(_) => {}
                Err(patch::Error::Gone(_)) => return Ok(false),
                Err(error) => return Err(Error::Write(error)),
            }
        }
        let source = source_name(profile.source);
        self.metrics.profiles.with([source]).inc();
        tracing::info!(
            namespace = task.namespace,
            pod = task.name,
            source,
            executors = profile.executors_at_start,
            "profiled"
        );
        Ok(true)
    }

    /// Says what would have been reserved, and changes nothing.
    fn tell_of_shadow(&self, task: &Task, profile: &JobProfile) {
        let source = source_name(profile.source);
        self.metrics.shadow_gangs.with([source]).inc();
        let executors = profile.executors_at_start;
        self.metrics.shadow_executors.inc_by(executors);
        let size = profile.executor.resources();
        tracing::info!(
            namespace = task.namespace,
            pod = task.name,
            source,
            "would reserve {executors} executors of {size}"
        );
    }

    /// Carries out an order about budgets. `None` if that failed; the namespaces found for an order to list.
    ///
    /// `labelled`: the only namespaces that are looked at.
    pub(super) async fn budget(&self, order: &Order, labelled: Option<&[String]>) -> Option<Vec<String>> {
        let (step, result) = match order {
            Order::List => ("list-budgets", budget::list(&self.client, labelled).await),
            Order::Apply(namespace) => (
                "apply-budget",
                budget::apply(&self.client, namespace).await.map(|()| Vec::new()),
            ),
            Order::Delete(namespace) => (
                "delete-budget",
                budget::delete(&self.client, namespace).await.map(|()| Vec::new()),
            ),
        };
        match result {
            Ok(found) => Some(found),
            Err(error) => {
                self.metrics.failures.with([step]).inc();
                tracing::warn!(
                    error = chain(&error),
                    "failed to keep a disruption budget, trying again"
                );
                None
            }
        }
    }

    /// Opens the gate of a pod that no planner will open. `true` if the gate is open now, by us or another; with a
    /// note for its owner if it was by us.
    pub(super) async fn open_gate(&self, gate: &Gate) -> (bool, Option<Note>) {
        let Gate {
            namespace,
            name,
            uid,
            index,
            ..
        } = gate;
        let operations = Operations::new()
            .test("/metadata/uid", uid.as_str())
            .test(&format!("/spec/schedulingGates/{index}/name"), names::GANG_GATE)
            .remove(&format!("/spec/schedulingGates/{index}"));
        let api = Api::<object::Pod>::namespaced(self.client.clone(), namespace);
        match patch::send(&api, name, &operations, REQUEST_LIMIT).await {
            Ok(_) => {
                tracing::warn!(namespace, pod = name, "opened a gate, since no planner lives");
                let text = "No planner of KOMPASS has been alive for too long: the pod goes on without a reservation \
                            for its gang."
                    .to_owned();
                let note = Note {
                    namespace: namespace.clone(),
                    pod: name.clone(),
                    uid: uid.clone(),
                    severity: Severity::Warning,
                    reason: "GateOpened",
                    action: "OpenGate",
                    text,
                };
                (true, Some(note))
            }
            Err(patch::Error::Gone(_)) => (true, None),
            Err(error) => {
                self.metrics.failures.with(["open-gate"]).inc();
                tracing::warn!(namespace, pod = name, error = chain(&error), "failed to open a gate");
                (false, None)
            }
        }
    }

    /// Tells a pod's owner. They are only words: after a few attempts they are given up.
    pub(super) async fn tell(&self, note: &Note) {
        for attempt in 1..=NOTE_ATTEMPTS {
            let Err(error) = self.recorder.write(note).await else {
                return;
            };
            self.metrics.failures.with(["write-event"]).inc();
            tracing::warn!(
                pod = note.pod,
                attempt,
                error = chain(&error),
                "failed to write an event"
            );
            tokio::time::sleep(NOTE_PAUSE).await;
        }
    }
}

fn guessed(task: &Task, profile: &JobProfile) -> Note {
    Note {
        namespace: task.namespace.clone(),
        pod: task.name.clone(),
        uid: task.uid.clone(),
        severity: Severity::Warning,
        reason: "ProfileGuessed",
        action: "Profile",
        text: format!(
            "The configuration of the job could not be read in time. {}",
            profile.warnings.join(". ")
        ),
    }
}

/// Whether the pod is the driver meant and its profile can still matter.
fn is_open(pod: &Value, uid: &str) -> bool {
    get(pod, &["metadata", "uid"]).is_some_and(|known| known == uid)
        && get(pod, &["metadata", "deletionTimestamp"]).is_none()
        && get(pod, &["metadata", "annotations", names::PLAN_ANNOTATION]).is_none()
        && get(pod, &["spec", "nodeName"]).is_none()
        && !is_profiled(pod)
}

/// Whether it has a profile of its configuration, from another replica: what the two remember of earlier runs may differ,
/// and a profile that goes to and fro helps nobody.
fn is_profiled(pod: &Value) -> bool {
    get(pod, &["metadata", "annotations", names::PROFILE_ANNOTATION])
        .and_then(Value::as_str)
        .and_then(|text| JobProfile::from_annotation(text).ok())
        .is_some_and(|profile| profile.source == Source::Conf)
}

/// The patch that writes the profile on the pod as it was read, and only if its gate is as it was: once it is open, a
/// plan may have been made of the profile before. `None` if the annotation is there already.
fn annotate(pod: &Value, annotation: &str) -> Option<Operations> {
    let uid = get(pod, &["metadata", "uid"])
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut operations = Operations::new().test("/metadata/uid", uid);
    let gates = get(pod, &["spec", "schedulingGates"])
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if let Some(index) = gates.iter().position(|gate| gate["name"] == names::GANG_GATE) {
        operations = operations.test(&format!("/spec/schedulingGates/{index}/name"), names::GANG_GATE);
    }
    let Some(annotations) = get(pod, &["metadata", "annotations"]) else {
        // The whole map is added, so nobody may have begun one meanwhile.
        let version = get(pod, &["metadata", "resourceVersion"]).cloned().unwrap_or_default();
        let map = serde_json::json!({ names::PROFILE_ANNOTATION: annotation });
        return Some(
            operations
                .test("/metadata/resourceVersion", version)
                .add("/metadata/annotations", map),
        );
    };
    if annotations
        .get(names::PROFILE_ANNOTATION)
        .is_some_and(|known| known == annotation)
    {
        return None;
    }
    let path = format!("/metadata/annotations/{}", patch::segment(names::PROFILE_ANNOTATION));
    Some(operations.add(&path, annotation))
}

const fn source_name(source: Source) -> &'static str {
    match source {
        Source::Conf => "conf",
        Source::History => "history",
        Source::Guess => "guess",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(pod: &Value) -> Option<Result<Value, json_patch::PatchError>> {
        let operations: json_patch::Patch = serde_json::from_value(annotate(pod, "P")?.to_json()).unwrap();
        let mut pod = pod.clone();
        Some(json_patch::patch(&mut pod, &operations).map(|()| pod))
    }

    #[test]
    fn the_profile_is_written_with_and_without_other_annotations() {
        for metadata in [
            json!({"uid": "u"}),
            json!({"uid": "u", "resourceVersion": "7"}),
            json!({"uid": "u", "annotations": {"a": "b"}}),
        ] {
            let mut pod = json!({"metadata": metadata, "spec": {"schedulingGates": [{"name": "x"}, {"name": "kompass.dev/gang"}]}});
            if pod["metadata"].get("annotations").is_none() && pod["metadata"].get("resourceVersion").is_none() {
                pod["metadata"]["resourceVersion"] = json!("1");
            }
            let after = applied(&pod).unwrap().unwrap();
            assert_eq!(after["metadata"]["annotations"]["kompass.dev/job-profile"], "P");
        }
    }

    #[test]
    fn the_same_profile_is_not_written_again() {
        let pod = json!({"metadata": {"uid": "u", "annotations": {"kompass.dev/job-profile": "P"}}});
        assert!(annotate(&pod, "P").is_none());
        assert!(annotate(&pod, "Q").is_some());
    }

    #[test]
    fn an_opened_gate_or_another_pod_stops_the_write() {
        let pod = json!({
            "metadata": {"uid": "u", "annotations": {"a": "b"}},
            "spec": {"schedulingGates": [{"name": "kompass.dev/gang"}]},
        });
        let operations: json_patch::Patch = serde_json::from_value(annotate(&pod, "P").unwrap().to_json()).unwrap();
        let mut opened = pod.clone();
        opened["spec"]["schedulingGates"] = json!([]);
        assert!(json_patch::patch(&mut opened, &operations).is_err());
        let mut other = pod;
        other["metadata"]["uid"] = json!("v");
        assert!(json_patch::patch(&mut other, &operations).is_err());
    }

    #[test]
    fn planned_bound_and_ending_drivers_are_left_alone() {
        let open = json!({"metadata": {"uid": "u"}, "spec": {"nodeName": null}});
        assert!(is_open(&open, "u"));
        assert!(!is_open(&open, "v"));
        for (path, value) in [
            ("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z"),
            ("/metadata/annotations", "x"),
            ("/spec/nodeName", "n1"),
        ] {
            let mut pod = open.clone();
            let (parent, key) = path.rsplit_once('/').unwrap();
            let value = if key == "annotations" {
                json!({names::PLAN_ANNOTATION: value})
            } else {
                json!(value)
            };
            pod.pointer_mut(parent).unwrap()[key] = value;
            assert!(!is_open(&pod, "u"), "{path}");
        }
    }

    #[test]
    fn only_a_guess_is_replaced() {
        let driver = json!({
            "metadata": {"name": "d", "uid": "u", "labels": {"spark-role": "driver"}},
            "spec": {"containers": [{"args": ["driver"]}]},
        });
        let driver_pod = DriverPod::from_json(&driver).unwrap();
        for (conf, open) in [(Some(Conf::default()), false), (None, true)] {
            let profile = profile::build(&driver_pod, conf.as_ref(), None);
            let mut pod = driver.clone();
            pod["metadata"]["annotations"] = json!({names::PROFILE_ANNOTATION: profile.to_annotation()});
            assert_eq!(is_open(&pod, "u"), open, "{:?}", profile.source);
        }
    }
}
