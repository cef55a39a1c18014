//! What is known of a pod.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::num::NonZeroI64;
use std::sync::Arc;

use kompass_core::Resources;

use crate::numbers::{milliseconds, whole};
use crate::questions::{GONE_STEP_MS, PodFact};
use crate::seen::{STEP_MS, Seen};
use crate::series::label;
use crate::{End, Labels};

/// Namespace, name and UID of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PodId {
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    /// A number instead of the text, which would take three times as much.
    uid: u128,
}

/// Milliseconds since 1970 UTC; 1970 itself is no time.
type Time = Option<NonZeroI64>;

/// A pod, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Pod {
    created_ms: Time,
    started_ms: Time,
    completed_ms: Time,
    /// When it was last seen to be gone.
    gone_ms: Time,
    /// Whether it was there at the end.
    at_end: bool,
    /// What its containers request together, and the largest of its init containers: thousandths of a CPU, bytes.
    requests: Option<(u64, u64)>,
    init: (u64, u64),
    /// When its labels were seen last, and which.
    labels_ms: Time,
    pub(super) labels: Option<Arc<SparkLabels>>,
    /// How it ended, if that was seen.
    pub(super) end: Option<End>,
}

/// Labels of Spark and of KOMPASS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SparkLabels {
    pub(super) role: Option<Arc<str>>,
    pub(super) application_id: Option<Arc<str>>,
    pub(super) application: Option<Arc<str>>,
    pub(super) profile_key: Option<Arc<str>>,
    pub(super) queue: Option<Arc<str>>,
}

/// Texts and labels that many pods have in common, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    texts: HashSet<Arc<str>>,
    labels: HashSet<Arc<SparkLabels>>,
}

impl PodId {
    pub(super) fn new(namespace: Arc<str>, name: &str, uid: &str) -> Self {
        Self {
            namespace,
            name: name.into(),
            uid: number(uid),
        }
    }
}

/// The number that a UUID is; of any other text one that hardly any other has.
fn number(uid: &str) -> u128 {
    if let (36, Ok(number)) = (uid.len(), u128::from_str_radix(&uid.replace('-', ""), 16)) {
        return number;
    }
    let hash = |salt: u8| BuildHasherDefault::<DefaultHasher>::default().hash_one((salt, uid));
    u128::from(hash(0)) << 64 | u128::from(hash(1))
}

impl Texts {
    pub(super) fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }

    fn labels(&mut self, labels: &Labels) -> Arc<SparkLabels> {
        let mut of = |name| {
            Some(label(labels, name))
                .filter(|text| !text.is_empty())
                .map(|text| self.shared(text))
        };
        let labels = SparkLabels {
            role: of("label_spark_role"),
            application_id: of("label_spark_app_selector"),
            application: of("label_spark_app_name"),
            profile_key: of("label_kompass_dev_profile_key"),
            queue: of("label_kompass_dev_queue"),
        };
        if let Some(known) = self.labels.get(&labels) {
            return known.clone();
        }
        let labels = Arc::new(labels);
        self.labels.insert(labels.clone());
        labels
    }
}

impl Pod {
    /// Takes over what one series tells: times and sizes don't change, and of the containers of a pod the last one ends it,
    /// so that the largest value counts.
    pub(super) fn learn(&mut self, fact: PodFact, labels: &Labels, largest: f64, last_ms: i64, texts: &mut Texts) {
        let latest = |known: &mut Time, at_ms: i64| *known = (*known).max(NonZeroI64::new(at_ms));
        match fact {
            PodFact::Labels => {
                // The last ones count, in whatever order they come.
                let new = (NonZeroI64::new(last_ms), Some(texts.labels(labels)));
                if (self.labels_ms, &self.labels) < (new.0, &new.1) {
                    (self.labels_ms, self.labels) = new;
                }
            }
            PodFact::Created => latest(&mut self.created_ms, milliseconds(largest)),
            PodFact::Gone => latest(&mut self.gone_ms, last_ms),
            PodFact::AtEnd => self.at_end = true,
            PodFact::Started => latest(&mut self.started_ms, milliseconds(largest)),
            PodFact::Completed => latest(&mut self.completed_ms, milliseconds(largest)),
            PodFact::Requests => amount(self.requests.get_or_insert_default(), labels, largest),
            PodFact::InitRequests => amount(&mut self.init, labels, largest),
            // What succeeded was never said to have failed, but for a mistake.
            PodFact::Phase if label(labels, "phase") == "Succeeded" => self.end = Some(End::Succeeded),
            PodFact::Phase => self.end = self.end.or(Some(End::CutOff)),
        }
    }

    /// When it ended, and whether it is only known to have run until then; none if it has not ended.
    pub(super) fn ended(&self, seen: &Seen) -> Option<(i64, bool)> {
        if let Some(completed_ms) = self.completed_ms {
            return Some((completed_ms.get(), false));
        }
        let gone_ms = self.gone_ms.filter(|_| !self.at_end)?.get();
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

    /// When it was created.
    pub(super) fn created_ms(&self) -> Option<i64> {
        self.created_ms.map(NonZeroI64::get)
    }

    /// When it began to run. Some releases of kube-state-metrics don't tell of pods that are gone soon.
    pub(super) fn started_ms(&self) -> Option<i64> {
        let ended = self.completed_ms.and(self.created_ms);
        self.started_ms.or(ended).map(NonZeroI64::get)
    }

    /// Whether it is known what it requests.
    pub(super) fn has_requests(&self) -> bool {
        self.requests.is_some()
    }

    /// What the scheduler counts for it: the sum of its containers, or an init container that asks for more.
    pub(super) fn size(&self) -> Resources {
        let (cpu_milli, memory_bytes) = self.requests.unwrap_or_default();
        Resources::new(cpu_milli.max(self.init.0), memory_bytes.max(self.init.1))
    }
}

fn amount((cpu_milli, memory_bytes): &mut (u64, u64), labels: &Labels, value: f64) {
    match label(labels, "resource") {
        "cpu" => *cpu_milli = whole(value * 1_000.0).max(*cpu_milli),
        "memory" => *memory_bytes = whole(value).max(*memory_bytes),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_told_apart() {
        let uid = "0f6f7a52-2c5a-4f7e-9d39-6c5f1f0f8a11";
        assert_eq!(number(uid), 0x0f6f_7a52_2c5a_4f7e_9d39_6c5f_1f0f_8a11);
        let all = [uid, "", "a", "b", "0f6f7a52-2c5a-4f7e-9d39-6c5f1f0f8a1g", "7"];
        let numbers: HashSet<u128> = all.into_iter().map(number).collect();
        assert_eq!(numbers.len(), all.len());
    }
}
