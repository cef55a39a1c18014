//! The last known profile of each job, for drivers whose configuration does not come: pure.

use kompass_core::profile::{Shape, Source};
use kompass_core::{JobProfile, Pod};
use kompass_spark::profile_key::Level;
use rustc_hash::FxHashMap;

use super::additions::without_additions;
use super::recent::Recent;

/// Jobs remembered; beyond it the oldest are forgotten.
const MAX_JOBS: usize = 10_000;
/// Jobs remembered of those that share a wider key.
const MAX_KIN: usize = 8;
/// Kin tells something of a job as long as its largest member asks for no more than this times what its smallest asks.
const MAX_SPREAD: u64 = 2;

/// Profiles by profile key.
#[derive(Debug)]
pub(super) struct History {
    jobs: Recent<JobProfile>,
    /// Own keys of jobs by the wider key that they share, the last one that ran last.
    kin: FxHashMap<String, Vec<String>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            jobs: Recent::new(MAX_JOBS),
            kin: FxHashMap::default(),
        }
    }
}

impl History {
    /// Learns from a pod that carries a profile: at the start, from the jobs of before.
    pub(super) fn observe(&mut self, pod: &Pod) {
        if let Some(profile) = &pod.profile {
            self.learn(profile);
        }
    }

    /// Learns from a profile, if it is of a configuration: a guess teaches nothing. What was added to the configuration
    /// is not kept, nor is how long the run was expected to take: both are known better by the time of the next run.
    pub(super) fn learn(&mut self, profile: &JobProfile) {
        if profile.source != Source::Conf {
            return;
        }
        let own = &profile.profile_key;
        for wider in &profile.wider_keys {
            let kin = self.kin.entry(wider.clone()).or_default();
            kin.retain(|known| known != own);
            kin.push(own.clone());
            if kin.len() > MAX_KIN {
                kin.remove(0);
            }
        }
        let kept = JobProfile {
            executor: without_additions(profile),
            executor_additions: Shape::default(),
            runtime: None,
            ..profile.clone()
        };
        if self.jobs.insert(own.clone(), kept) {
            self.kin.retain(|_, kin| {
                kin.retain(|own| self.jobs.get(own).is_some());
                !kin.is_empty()
            });
        }
    }

    /// The last profile of the job; if it is its first run, the last one of its closest kin that is much the same
    /// throughout.
    pub(super) fn of(&self, own: &str, wider: &[String]) -> Option<(Level, &JobProfile)> {
        if let Some(profile) = self.jobs.get(own) {
            return Some((Level::Own, profile));
        }
        wider.iter().find_map(|key| {
            let kin = self.kin.get(key)?.iter();
            let kin: Vec<&JobProfile> = kin.filter_map(|own| self.jobs.get(own)).collect();
            are_alike(&kin).then_some((Level::of(key), *kin.last()?))
        })
    }
}

/// Whether these jobs ask for much the same, so that one may stand for another.
fn are_alike(jobs: &[&JobProfile]) -> bool {
    let close = |amount: fn(&JobProfile) -> u64| {
        let amounts = || jobs.iter().map(|job| amount(job));
        let (least, most) = (amounts().min().unwrap_or(0), amounts().max().unwrap_or(0));
        most <= least.saturating_mul(MAX_SPREAD)
    };
    close(|job| job.executors_at_start)
        && close(|job| job.executor.cpu_milli)
        && close(|job| job.executor.memory_mib)
        && jobs.windows(2).all(|pair| {
            pair[0].dynamic_allocation == pair[1].dynamic_allocation
                && pair[0].executor.extended == pair[1].executor.extended
                && pair[0].executor_constraints == pair[1].executor_constraints
        })
}

/// A profile for the driver of which only `guess` is known, from the last run of the same job or of its kin.
pub(super) fn from_past(guess: JobProfile, level: Level, past: &JobProfile) -> JobProfile {
    let run = match level {
        Level::Own => "the last run",
        Level::Dag => "the last run of another task of the same DAG",
        Level::Program => "the last run of another job with the same main class and file",
        Level::Name => "the last run of another job with the same name",
    };
    JobProfile {
        version: guess.version,
        spark_version: guess.spark_version,
        driver: guess.driver,
        profile_key: guess.profile_key,
        wider_keys: guess.wider_keys,
        start_within_ms: guess.start_within_ms,
        runtime: guess.runtime,
        source: Source::History,
        warnings: vec![format!(
            "the configuration is not there: executors are taken to be as in {run}"
        )],
        ..past.clone()
    }
}

#[cfg(test)]
mod tests {
    use kompass_core::profile::{RuntimeEstimate, VERSION};

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
            executor_spacing: kompass_core::Spacing::default(),
            executor_labels: std::collections::BTreeMap::new(),
            executor_pod_rules: kompass_core::PodRules::default(),
            executor_priority_class: None,
            profile_key: key.into(),
            executor_batch_delay_ms: None,
            executor_scheduler: None,
            start_within_ms: None,
            wider_keys: Vec::new(),
            runtime: None,
            source,
            warnings: Vec::new(),
        }
    }

    fn with_kin(key: &str, wider: &[&str], executors: u64) -> JobProfile {
        JobProfile {
            wider_keys: wider.iter().map(|&key| key.to_owned()).collect(),
            ..profile(key, Source::Conf, executors)
        }
    }

    fn found(history: &History, own: &str, wider: &[&str]) -> Option<(Level, u64)> {
        let wider: Vec<String> = wider.iter().map(|&key| key.to_owned()).collect();
        let (level, profile) = history.of(own, &wider)?;
        Some((level, profile.executors_at_start))
    }

    #[test]
    fn the_last_configuration_is_remembered_and_guesses_are_not() {
        let mut history = History::default();
        history.learn(&profile("job", Source::Conf, 3));
        history.learn(&profile("job", Source::Conf, 5));
        history.learn(&profile("job", Source::Guess, 0));
        assert_eq!(found(&history, "job", &[]), Some((Level::Own, 5)));
        assert_eq!(found(&history, "other", &[]), None);
    }

    #[test]
    fn kin_stands_in_for_a_new_job_closest_first() {
        let mut history = History::default();
        history.learn(&with_kin("a", &["dag.d", "name.n"], 3));
        history.learn(&with_kin("b", &["name.n"], 4));
        assert_eq!(found(&history, "b", &["dag.d"]), Some((Level::Own, 4)));
        assert_eq!(found(&history, "new", &["dag.d", "name.n"]), Some((Level::Dag, 3)));
        assert_eq!(found(&history, "new", &["dag.x", "name.n"]), Some((Level::Name, 4)));
        assert_eq!(found(&history, "new", &["dag.x", "name.x"]), None);
    }

    #[test]
    fn kin_that_differs_among_itself_tells_nothing() {
        let mut history = History::default();
        history.learn(&with_kin("a", &["dag.d", "program.p"], 3));
        history.learn(&with_kin("b", &["dag.d"], 50));
        assert_eq!(found(&history, "new", &["dag.d"]), None);
        assert_eq!(
            found(&history, "new", &["dag.d", "program.p"]),
            Some((Level::Program, 3))
        );
        let mut large = with_kin("c", &["program.p"], 3);
        large.executor.memory_mib = 1_024;
        history.learn(&large);
        assert_eq!(found(&history, "new", &["program.p"]), None);
    }

    #[test]
    fn the_run_is_its_own_and_so_is_how_long_it_takes() {
        let mut past = profile("job", Source::Conf, 5);
        past.runtime = Some(RuntimeEstimate {
            p50_s: 1,
            p90_s: 2,
            samples: 3,
        });
        past.executor.cpu_milli = 1_100;
        past.executor_additions.cpu_milli = 100;
        let mut history = History::default();
        history.learn(&past);
        let (level, past) = history.of("job", &[]).unwrap();
        let made = from_past(profile("job", Source::Guess, 1), level, past);
        assert_eq!(
            (made.driver.cpu_milli, made.executors_at_start, made.source),
            (1, 5, Source::History)
        );
        assert_eq!(made.runtime, None);
        assert_eq!(
            (made.executor.cpu_milli, made.executor_additions),
            (1_000, Shape::default())
        );
    }

    #[test]
    fn a_profile_of_kin_says_so() {
        let past = profile("b", Source::Conf, 5);
        let made = from_past(profile("a", Source::Guess, 1), Level::Dag, &past);
        assert_eq!(made.profile_key, "a");
        assert!(made.warnings[0].contains("same DAG"), "{:?}", made.warnings);
    }

    #[test]
    fn memory_is_bounded_and_the_youngest_stay() {
        let mut history = History::default();
        for n in 0..=MAX_JOBS {
            let wider = format!("name.{n}");
            history.learn(&with_kin(&n.to_string(), &[&wider, "dag.all"], 1));
        }
        assert!(history.jobs.len() <= MAX_JOBS && history.kin.len() <= MAX_JOBS);
        assert!(history.kin["dag.all"].len() <= MAX_KIN);
        assert!(found(&history, &MAX_JOBS.to_string(), &[]).is_some());
        assert_eq!(found(&history, "0", &["name.0"]), None);
    }
}
