//! What earlier runs tell of a job: kept by the profiler's task, asked by its workers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kompass_core::profile::Source;
use kompass_core::{JobProfile, Pod};

use super::additions::Additions;
use super::history::{History, from_past};

/// Everything remembered of earlier runs; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    history: History,
    additions: Additions,
}

impl Memory {
    /// Learns from a pod of the watch.
    pub(super) fn observe(&self, pod: &Pod) {
        let mut state = self.state();
        state.history.observe(pod);
        state.additions.observe(pod);
    }

    /// Takes over that a pod is gone.
    pub(super) fn remove(&self, uid: &str) {
        self.state().additions.remove(uid);
    }

    /// Learns from a profile that was written.
    pub(super) fn learn(&self, profile: &JobProfile) {
        self.state().history.learn(profile);
    }

    /// The profile with what earlier runs tell.
    pub(super) fn complete(&self, namespace: &str, mut profile: JobProfile) -> JobProfile {
        let state = self.state();
        if profile.source == Source::Guess {
            let Some((level, past)) = state.history.of(&profile.profile_key, &profile.wider_keys) else {
                return profile;
            };
            profile = from_past(profile, level, past);
        }
        state.additions.add_to(namespace, &mut profile);
        profile
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is behind it is never left half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
