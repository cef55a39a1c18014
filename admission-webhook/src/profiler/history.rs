//! What each job last asked of its executors, for drivers whose configuration does not come: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use kompass_core::profile::{Shape, Source};
use kompass_core::{Constraints, JobProfile, Pod, PodRules, Spacing};
use kompass_spark::profile_key::Level;
use rustc_hash::{FxHashMap, FxHashSet};

use super::additions::without_additions;
use super::recent::Recent;

/// Jobs remembered; beyond it the oldest are forgotten.
const MAX_JOBS: usize = 10_000;
/// Jobs remembered of those that share a wider key.
const MAX_KIN: usize = 8;
/// Kin tells something of a job as long as its largest member asks for no more than this times what its smallest asks.
const MAX_SPREAD: u64 = 2;

/// The executors of jobs by profile key.
#[derive(Debug)]
pub(super) struct History {
    jobs: Recent<Arc<Executors>>,
    /// Own keys of jobs by the wider key that they share, the last one that ran last.
    kin: FxHashMap<Box<str>, Vec<Arc<str>>>,
    /// All that is in `jobs`, each once: many jobs ask for the same.
    different: FxHashSet<Arc<Executors>>,
}

/// What a profile says of the executors; the rest of it is the business of each run.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Executors {
    executor: Shape,
    at_start: u64,
    max: Option<u64>,
    dynamic_allocation: bool,
    constraints: Constraints,
    spacing: Spacing,
    labels: BTreeMap<String, String>,
    pod_rules: PodRules,
    priority_class: Option<String>,
    batch_delay_ms: Option<u64>,
    scheduler: Option<String>,
}

impl From<&JobProfile> for Executors {
    /// Without what was added to the configuration: that is known better by the time of the next run.
    fn from(profile: &JobProfile) -> Self {
        // All fields are named, so that whoever adds one has to say whether it is kept.
        let JobProfile {
            version: _,
            spark_version: _,
            driver: _,
            executor: _,
            executor_additions: _,
            executors_at_start,
            executors_max,
            dynamic_allocation,
            executor_constraints,
            executor_spacing,
            executor_labels,
            executor_pod_rules,
            executor_priority_class,
            executor_batch_delay_ms,
            executor_scheduler,
            start_within_ms: _,
            profile_key: _,
            wider_keys: _,
            runtime: _,
            source: _,
            warnings: _,
        } = profile;
        Self {
            executor: without_additions(profile),
            at_start: *executors_at_start,
            max: *executors_max,
            dynamic_allocation: *dynamic_allocation,
            constraints: executor_constraints.clone(),
            spacing: executor_spacing.clone(),
            labels: executor_labels.clone(),
            pod_rules: executor_pod_rules.clone(),
            priority_class: executor_priority_class.clone(),
            batch_delay_ms: *executor_batch_delay_ms,
            scheduler: executor_scheduler.clone(),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            jobs: Recent::new(MAX_JOBS),
            kin: FxHashMap::default(),
            different: FxHashSet::default(),
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

    /// Learns from a profile, if it is of a configuration: a guess teaches nothing.
    pub(super) fn learn(&mut self, profile: &JobProfile) {
        if profile.source != Source::Conf {
            return;
        }
        let own = self.jobs.shared(&profile.profile_key);
        for wider in &profile.wider_keys {
            let kin = self.kin.entry(wider.as_str().into()).or_default();
            kin.retain(|known| *known != own);
            kin.push(Arc::clone(&own));
            if kin.len() > MAX_KIN {
                kin.remove(0);
            }
        }
        let executors = self.shared(Executors::from(profile));
        if self.jobs.insert(own, executors) {
            self.kin.retain(|_, kin| {
                kin.retain(|own| self.jobs.get(own).is_some());
                !kin.is_empty()
            });
        }
        // What no job asks for any more goes now and then, so that the search for it is rare.
        if self.different.len() > 2 * self.jobs.len() {
            self.different.retain(|executors| Arc::strong_count(executors) > 1);
        }
    }

    fn shared(&mut self, executors: Executors) -> Arc<Executors> {
        if let Some(known) = self.different.get(&executors) {
            return Arc::clone(known);
        }
        let executors = Arc::new(executors);
        self.different.insert(Arc::clone(&executors));
        executors
    }

    /// What the job asked for last; if this is its first run, what the last one of its closest kin did that is much the
    /// same throughout.
    pub(super) fn of(&self, own: &str, wider: &[String]) -> Option<(Level, &Executors)> {
        if let Some(executors) = self.jobs.get(own) {
            return Some((Level::Own, executors));
        }
        wider.iter().find_map(|key| {
            let kin = self.kin.get(key.as_str())?.iter();
            let kin: Vec<&Executors> = kin.filter_map(|own| self.jobs.get(own).map(Arc::as_ref)).collect();
            are_alike(&kin).then_some((Level::of(key), *kin.last()?))
        })
    }
}

/// Whether these jobs ask for much the same, so that one may stand for another.
fn are_alike(jobs: &[&Executors]) -> bool {
    let close = |amount: fn(&Executors) -> u64| {
        let amounts = || jobs.iter().map(|job| amount(job));
        let (least, most) = (amounts().min().unwrap_or(0), amounts().max().unwrap_or(0));
        most <= least.saturating_mul(MAX_SPREAD)
    };
    close(|job| job.at_start)
        && close(|job| job.executor.cpu_milli)
        && close(|job| job.executor.memory_mib)
        && jobs.windows(2).all(|pair| {
            pair[0].dynamic_allocation == pair[1].dynamic_allocation
                && pair[0].executor.extended == pair[1].executor.extended
                && pair[0].constraints == pair[1].constraints
        })
}

/// A profile for the driver of which only `guess` is known, from the last run of the same job or of its kin.
pub(super) fn from_past(guess: JobProfile, level: Level, past: &Executors) -> JobProfile {
    let run = match level {
        Level::Own => "the last run",
        Level::Dag => "the last run of another task of the same DAG",
        Level::Program => "the last run of another job with the same main class and file",
        Level::Name => "the last run of another job with the same name",
    };
    JobProfile {
        executor: past.executor.clone(),
        executor_additions: Shape::default(),
        executors_at_start: past.at_start,
        executors_max: past.max,
        dynamic_allocation: past.dynamic_allocation,
        executor_constraints: past.constraints.clone(),
        executor_spacing: past.spacing.clone(),
        executor_labels: past.labels.clone(),
        executor_pod_rules: past.pod_rules.clone(),
        executor_priority_class: past.priority_class.clone(),
        executor_batch_delay_ms: past.batch_delay_ms,
        executor_scheduler: past.scheduler.clone(),
        source: Source::History,
        warnings: vec![format!(
            "the configuration is not there: executors are taken to be as in {run}"
        )],
        ..guess
    }
}

#[cfg(test)]
mod tests {
    use kompass_core::profile::{RuntimeEstimate, VERSION};
    use kompass_core::{PodSelector, PodTerm};

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
        let (level, executors) = history.of(own, &wider)?;
        Some((level, executors.at_start))
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
    fn all_that_the_last_run_said_of_its_executors_comes_back() {
        let past = JobProfile {
            executor: Shape {
                cpu_milli: 1_000,
                memory_mib: 896,
                extended: [("nvidia.com/gpu".into(), 1)].into(),
            },
            executors_max: Some(9),
            dynamic_allocation: true,
            executor_constraints: Constraints {
                node_selector: [("pool".into(), "spark".into())].into(),
                ..Constraints::default()
            },
            executor_spacing: Spacing {
                host_ports: vec![4_040],
                ..Spacing::default()
            },
            executor_labels: [("team".into(), "etl".into())].into(),
            executor_pod_rules: PodRules {
                apart: vec![PodTerm {
                    topology: "kubernetes.io/hostname".into(),
                    pods: PodSelector::default(),
                }],
                together: vec![],
            },
            executor_priority_class: Some("high".into()),
            executor_batch_delay_ms: Some(500),
            executor_scheduler: Some("other".into()),
            ..profile("job", Source::Conf, 5)
        };
        let mut history = History::default();
        history.learn(&past);
        let (level, known) = history.of("job", &[]).unwrap();
        let guess = profile("job", Source::Guess, 1);
        let made = from_past(guess.clone(), level, known);
        let expected = JobProfile {
            driver: guess.driver,
            source: Source::History,
            warnings: made.warnings.clone(),
            ..past
        };
        assert_eq!(made, expected);
    }

    #[test]
    fn a_profile_of_kin_says_so() {
        let past = Executors::from(&profile("b", Source::Conf, 5));
        let made = from_past(profile("a", Source::Guess, 1), Level::Dag, &past);
        assert_eq!(made.profile_key, "a");
        assert!(made.warnings[0].contains("same DAG"), "{:?}", made.warnings);
    }

    #[test]
    fn equal_jobs_share_what_is_known_of_them() {
        let mut history = History::default();
        for n in 0..100 {
            history.learn(&profile(&n.to_string(), Source::Conf, 3));
        }
        assert_eq!((history.jobs.len(), history.different.len()), (100, 1));
        // One job that changes with each run leaves nothing behind for long.
        for executors in 0..1_000 {
            history.learn(&profile("0", Source::Conf, executors));
        }
        assert_eq!(found(&history, "0", &[]), Some((Level::Own, 999)));
        assert_eq!(found(&history, "1", &[]), Some((Level::Own, 3)));
        assert!(history.different.len() <= 2 * history.jobs.len());
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
