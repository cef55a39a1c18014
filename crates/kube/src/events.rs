//! Kubernetes events on pods, few of them: what `kubectl describe pod` shows its owner.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kompass_core::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;

use crate::client::{REQUEST_TIMEOUT, RequestError, within};

/// The API server refuses longer notes.
const MAX_NOTE_BYTES: usize = 1024;

/// Pods whose last event is remembered.
const REMEMBERED: usize = 10_000;

/// What kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// The owner may have to do something.
    Warning,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// Kind.
    pub severity: Severity,
    /// A word in camel case, from a fixed set: `GangWaiting`.
    pub reason: &'static str,
    /// What we were about to do, in the same form: `Plan`.
    pub action: &'static str,
    /// The sentence for the owner.
    pub text: String,
}

impl Note {
    /// An event on a pod.
    pub fn on(pod: &Pod, severity: Severity, reason: &'static str, action: &'static str, text: String) -> Self {
        let (namespace, name, uid) = (pod.namespace.clone(), pod.name.clone(), pod.uid.clone());
        Self {
            namespace,
            pod: name,
            uid,
            severity,
            reason,
            action,
            text,
        }
    }
}

/// Why an event was not written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write an event on pod {pod:?}")]
pub struct Error {
    /// The pod.
    pub pod: String,
    /// What the API server said.
    #[source]
    pub source: RequestError,
}

/// Writes events in the name of one component.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    controller: String,
    instance: String,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("controller", &self.controller)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// `controller` names the component (`kompass.dev/scheduler-extender`), `instance` the replica.
    pub fn new(client: Client, controller: &str, instance: &str) -> Self {
        Self {
            client,
            controller: controller.to_owned(),
            instance: instance.to_owned(),
        }
    }

    /// Writes one event now.
    pub async fn write(&self, note: &Note) -> Result<(), Error> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &note.namespace);
        let event = self.event(note, Timestamp::now());
        match within(REQUEST_TIMEOUT, events.create(&PostParams::default(), &event)).await {
            Ok(_) => Ok(()),
            Err(source) => Err(Error {
                pod: note.pod.clone(),
                source,
            }),
        }
    }

    fn event(&self, note: &Note, now: Timestamp) -> Event {
        Event {
            metadata: ObjectMeta {
                // The API server makes it unique; its limit for names is 253, of which it needs 5.
                generate_name: Some(format!("{}-", cut(&note.pod, 200).trim_end_matches(['.', '-']))),
                namespace: Some(note.namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(note.action.to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(cut(&note.text, MAX_NOTE_BYTES).to_owned()),
            reason: Some(note.reason.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(note.pod.clone()),
                namespace: Some(note.namespace.clone()),
                uid: Some(note.uid.clone()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(cut(&self.instance, 128).to_owned()),
            type_: Some(match note.severity {
                Severity::Normal => "Normal".to_owned(),
                Severity::Warning => "Warning".to_owned(),
            }),
            ..Event::default()
        }
    }
}

/// The first bytes of a text, up to `limit`, cut between characters.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// Says which events are worth writing: not the same words twice, not too often on one pod, not too many in all. Pure:
/// the time comes in as an argument.
#[derive(Debug)]
pub struct Limiter {
    per_pod: Duration,
    burst: f64,
    per_second: f64,
    tokens: f64,
    refilled: Option<Instant>,
    last: std::collections::HashMap<String, (Instant, &'static str, String)>,
}

impl Limiter {
    /// At most one event per pod and `per_pod`; in all `per_second` on average, `burst` at once.
    pub fn new(per_pod: Duration, per_second: u32, burst: u32) -> Self {
        Self {
            per_pod,
            burst: f64::from(burst),
            per_second: f64::from(per_second),
            tokens: f64::from(burst),
            refilled: None,
            last: std::collections::HashMap::new(),
        }
    }

    /// Whether to write this one now; a yes is counted.
    ///
    /// A change of the reason passes the limit per pod at once: it is news.
    pub fn allows(&mut self, note: &Note, now: Instant) -> bool {
        if let Some((at, reason, text)) = self.last.get(&note.uid) {
            let same = *text == note.text && *reason == note.reason;
            if same || (*reason == note.reason && now.saturating_duration_since(*at) < self.per_pod) {
                return false;
            }
        }
        let since = self
            .refilled
            .replace(now)
            .map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        self.tokens = (self.tokens + since.as_secs_f64() * self.per_second).min(self.burst);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        if self.last.len() >= REMEMBERED {
            // Pods that went away unnoticed; at worst some words are said twice.
            self.last
                .retain(|_, (at, _, _)| now.saturating_duration_since(*at) < self.per_pod);
        }
        self.last
            .insert(note.uid.clone(), (now, note.reason, note.text.clone()));
        true
    }

    /// Forgets a pod that is gone or no longer waits.
    pub fn forget(&mut self, uid: &str) {
        self.last.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::fake;

    fn note(uid: &str, reason: &'static str, text: &str) -> Note {
        let pod = Pod {
            uid: uid.into(),
            name: "driver".into(),
            namespace: "ns".into(),
            ..Pod::default()
        };
        Note::on(&pod, Severity::Normal, reason, "Plan", text.into())
    }

    #[test]
    fn the_same_words_are_said_once_and_new_reasons_at_once() {
        let mut limiter = Limiter::new(Duration::from_secs(30), 10, 100);
        let start = Instant::now();
        assert!(limiter.allows(&note("u", "GangWaiting", "position 3"), start));
        assert!(!limiter.allows(&note("u", "GangWaiting", "position 3"), start + Duration::from_mins(1)));
        assert!(limiter.allows(&note("u", "GangWaiting", "position 2"), start + Duration::from_secs(61)));
        assert!(!limiter.allows(&note("u", "GangWaiting", "position 1"), start + Duration::from_secs(62)));
        assert!(limiter.allows(&note("u", "GangPlanned", "3 nodes"), start + Duration::from_secs(62)));
        limiter.forget("u");
        assert!(limiter.allows(&note("u", "GangPlanned", "3 nodes"), start + Duration::from_secs(62)));
    }

    #[test]
    fn pods_that_went_away_are_forgotten() {
        let mut limiter = Limiter::new(Duration::from_secs(30), 1_000_000, 1_000_000);
        let start = Instant::now();
        for n in 0..3 * REMEMBERED {
            let later = start + Duration::from_millis(10) * u32::try_from(n).unwrap();
            assert!(limiter.allows(&note(&n.to_string(), "GangWaiting", "x"), later));
        }
        assert!(limiter.last.len() <= REMEMBERED, "{}", limiter.last.len());
    }

    #[test]
    fn all_together_stay_below_the_rate() {
        let mut limiter = Limiter::new(Duration::ZERO, 2, 5);
        let start = Instant::now();
        let count = |limiter: &mut Limiter, at: Instant| {
            (0..100)
                .filter(|n| limiter.allows(&note(&format!("{n}-{at:?}"), "GangWaiting", "x"), at))
                .count()
        };
        assert_eq!(count(&mut limiter, start), 5);
        assert_eq!(count(&mut limiter, start + Duration::from_secs(2)), 4);
    }

    #[tokio::test]
    async fn an_event_names_the_pod_and_is_cut_to_size() {
        let seen = Arc::new(Mutex::new(None));
        let log = Arc::clone(&seen);
        let client = fake::client(move |request| {
            *log.lock().unwrap() = Some(request.clone());
            fake::ok(&request.body)
        });
        let recorder = Recorder::new(client, "kompass.dev/scheduler-extender", "replica-0");
        recorder
            .write(&note("u", "GangWaiting", &"\u{20ac}".repeat(500)))
            .await
            .unwrap();
        let seen = seen.lock().unwrap().clone().unwrap();
        assert!(
            seen.path.starts_with("/apis/events.k8s.io/v1/namespaces/ns/events"),
            "{}",
            seen.path
        );
        assert_eq!(seen.body["regarding"]["uid"], json!("u"));
        assert_eq!(seen.body["type"], json!("Normal"));
        assert!(seen.body["note"].as_str().unwrap().len() <= MAX_NOTE_BYTES);
        assert!(seen.body["eventTime"].as_str().is_some());
    }
}
