//! The last known profile of each job, for drivers whose configuration does not come: pure.

use kompass_core::profile::Source;
use kompass_core::{JobProfile, Pod};
use rustc_hash::FxHashMap;

/// Jobs remembered; beyond it the oldest are forgotten.
const MAX_JOBS: usize = 10_000;

/// Profiles by profile key.
#[derive(Debug, Default)]
pub(super) struct History {
    jobs: FxHashMap<String, (u64, JobProfile)>,
    counter: u64,
}

impl History {
    /// Learns from a pod that carries a profile: at the start, from the jobs of before.
    pub(super) fn observe(&mut self, pod: &Pod) {
        if let Some(profile) = &pod.profile {
            self.learn(profile);
        }
    }

    /// Learns from a profile, if it is of a configuration: a guess teaches nothing.
    pub(super) fn learn(&mut self, profile: &JobProfile) {
        if profile.source != Source::Conf {
            return;
        }
        self.counter += 1;
        self.jobs
            .insert(profile.profile_key.clone(), (self.counter, profile.clone()));
        if self.jobs.len() > MAX_JOBS {
            // A tenth at once, so that the search for the oldest is rare.
            let keep_from = self.counter - u64::try_from(MAX_JOBS - MAX_JOBS / 10).unwrap_or(0);
            self.jobs.retain(|_, (at, _)| *at > keep_from);
        }
    }

    /// The last profile of the job.
    pub(super) fn of(&self, key: Option<&str>) -> Option<JobProfile> {
        self.jobs.get(key?).map(|(_, profile)| profile.clone())
    }
}

/// A profile for the driver of which only `guess` is known, from the last run of the same job.
pub(super) fn from_past(guess: JobProfile, past: JobProfile) -> JobProfile {
    JobProfile {
        version: guess.version,
        spark_version: guess.spark_version,
        driver: guess.driver,
        profile_key: guess.profile_key,
        wider_keys: guess.wider_keys,
        source: Source::History,
        warnings: vec!["the configuration is not there: executors are taken to be as in the last run".to_owned()],
        ..past
    }
}

#[cfg(test)]
mod tests {
    use kompass_core::profile::{Shape, VERSION};

    use super::*;

    fn profile(key: &str, source: Source, executors: u64) -> JobProfile {
        JobProfile {
            version: VERSION,
            spark_version: None,
            driver: Shape {
                cpu_milli: executors,
                ..Shape::default()
            },
            executor: Shape::default(),
            executor_additions: Shape::default(),
            executors_at_start: executors,
            executors_max: None,
            dynamic_allocation: false,
            executor_constraints: kompass_core::Constraints::default(),
            executor_priority_class: None,
            profile_key: key.into(),
            wider_keys: Vec::new(),
            runtime: None,
            source,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_last_configuration_is_remembered_and_guesses_are_not() {
        let mut history = History::default();
        history.learn(&profile("job", Source::Conf, 3));
        history.learn(&profile("job", Source::Conf, 5));
        history.learn(&profile("job", Source::Guess, 0));
        assert_eq!(history.of(Some("job")).unwrap().executors_at_start, 5);
        assert_eq!(history.of(Some("other")), None);
        assert_eq!(history.of(None), None);
    }

    #[test]
    fn the_driver_is_this_runs_own() {
        let made = from_past(profile("job", Source::Guess, 1), profile("job", Source::Conf, 5));
        assert_eq!(
            (made.driver.cpu_milli, made.executors_at_start, made.source),
            (1, 5, Source::History)
        );
    }

    #[test]
    fn memory_is_bounded_and_the_youngest_stay() {
        let mut history = History::default();
        for n in 0..=MAX_JOBS {
            history.learn(&profile(&n.to_string(), Source::Conf, 1));
        }
        assert!(history.jobs.len() <= MAX_JOBS);
        assert!(history.of(Some(&MAX_JOBS.to_string())).is_some());
        assert!(history.of(Some("0")).is_none());
    }
}
