//! What executors really ask for beyond what their configuration says: pure.
//!
//! Other webhooks may run after ours and add containers to executors. The first executor of a run shows it, too late for
//! that run's profile but in time for the next one's. What is asked for less is no business of this: the planner takes
//! the size of slots from the first executor.

use kompass_core::profile::{Shape, Source};
use kompass_core::{JobProfile, Pod, Role};
use rustc_hash::FxHashMap;

use super::recent::Recent;

/// Jobs and namespaces remembered.
const MAX_JOBS: usize = 10_000;
const MAX_NAMESPACES: usize = 1_000;
/// Executors remembered whose driver has not been seen.
const MAX_STRAYS: usize = 10_000;
/// Jobs of a namespace that are compared, and how many there must be. What one job alone asks for may be of its own
/// code; taken for everybody's it could make gangs too large for every node, and then nothing would ever correct it.
const NEIGHBOURS: usize = 3;
const MIN_NEIGHBOURS: usize = 2;

/// The default resource profile of Spark: executors of others belong to stages and are of other sizes.
const DEFAULT_RESOURCE_PROFILE: &str = "0";

/// Additions by job and by namespace.
#[derive(Debug)]
pub(super) struct Additions {
    /// By UID of the driver, as long as it is there.
    runs: FxHashMap<Box<str>, Run>,
    /// The first executors of drivers that have not been seen, by their UID: at the start, pods come in any order.
    strays: FxHashMap<String, Shape>,
    jobs: Recent<Seen>,
    /// The last jobs of each namespace with their additions.
    namespaces: Recent<Vec<(String, Shape)>>,
}

/// What is known of a run.
#[derive(Debug)]
enum Run {
    Foretold(Box<Foretold>),
    /// Its first executor has been compared.
    Compared,
}

#[derive(Debug)]
struct Foretold {
    namespace: String,
    profile_key: String,
    executor: Shape,
}

/// The last comparison of a job.
#[derive(Debug)]
struct Seen {
    foretold: Shape,
    addition: Shape,
}

impl Default for Additions {
    fn default() -> Self {
        Self {
            runs: FxHashMap::default(),
            strays: FxHashMap::default(),
            jobs: Recent::new(MAX_JOBS),
            namespaces: Recent::new(MAX_NAMESPACES),
        }
    }
}

impl Additions {
    /// Takes over what the watch says of a pod.
    pub(super) fn observe(&mut self, pod: &Pod) {
        match (pod.role, &pod.profile, &pod.owner_pod_uid) {
            (Some(Role::Driver), Some(profile), _) if profile.source == Source::Conf => self.driver(pod, profile),
            (Some(Role::Executor), _, Some(driver)) if is_of_default_size(pod) => {
                self.executor(driver, Shape::from(&pod.requests));
            }
            _ => {}
        }
    }

    /// Takes over that a pod is gone.
    pub(super) fn remove(&mut self, uid: &str) {
        self.runs.remove(uid);
        self.strays.remove(uid);
    }

    fn driver(&mut self, pod: &Pod, profile: &JobProfile) {
        let foretold = Foretold {
            namespace: pod.namespace.clone(),
            profile_key: profile.profile_key.clone(),
            executor: without_additions(profile),
        };
        if matches!(self.runs.get(pod.uid.as_str()), Some(Run::Compared)) {
            return;
        }
        if let Some(real) = self.strays.remove(&pod.uid) {
            self.compare(&pod.uid, foretold, &real);
        } else {
            let run = Run::Foretold(Box::new(foretold));
            self.runs.insert(pod.uid.as_str().into(), run);
        }
    }

    fn executor(&mut self, driver: &str, real: Shape) {
        match self.runs.remove(driver) {
            Some(Run::Foretold(foretold)) => self.compare(driver, *foretold, &real),
            Some(Run::Compared) => {
                self.runs.insert(driver.into(), Run::Compared);
            }
            None => {
                // Most will never find their driver: it is no pod of Spark's, or has no configuration.
                if self.strays.len() >= MAX_STRAYS {
                    self.strays.clear();
                }
                self.strays.entry(driver.to_owned()).or_insert(real);
            }
        }
    }

    fn compare(&mut self, driver: &str, foretold: Foretold, real: &Shape) {
        self.runs.insert(driver.into(), Run::Compared);
        let mut addition = real.clone();
        addition.subtract(&foretold.executor);
        let mut neighbours = self.namespaces.take_or_default(&foretold.namespace);
        neighbours.retain(|(key, _)| *key != foretold.profile_key);
        neighbours.push((foretold.profile_key.clone(), addition.clone()));
        if neighbours.len() > NEIGHBOURS {
            neighbours.remove(0);
        }
        self.namespaces.insert(foretold.namespace, neighbours);
        let seen = Seen {
            foretold: foretold.executor,
            addition,
        };
        self.jobs.insert(foretold.profile_key, seen);
    }

    /// Adds to a profile what executors of the last run asked for beyond its configuration; or, if that was not this
    /// configuration, what those of all the last jobs in the namespace did.
    pub(super) fn add_to(&self, namespace: &str, profile: &mut JobProfile) {
        let own = self.jobs.get(&profile.profile_key);
        let (addition, whose) = match own.filter(|seen| seen.foretold == profile.executor) {
            Some(seen) => (seen.addition.clone(), "of its last run"),
            None => (self.of_all(namespace), "of other jobs in its namespace"),
        };
        if addition == Shape::default() {
            return;
        }
        profile.executor.add(&addition);
        profile.executor_additions = addition;
        profile.warnings.push(format!(
            "executors are taken to request more than they are configured to, as those {whose} did"
        ));
    }

    /// What the last jobs of a namespace have in common.
    fn of_all(&self, namespace: &str) -> Shape {
        let neighbours = self.namespaces.get(namespace).map_or(&[][..], Vec::as_slice);
        if neighbours.len() < MIN_NEIGHBOURS {
            return Shape::default();
        }
        let additions = neighbours.iter().map(|(_, addition)| addition.clone());
        additions
            .reduce(|common, addition| common.min(&addition))
            .unwrap_or_default()
    }
}

/// What the configuration alone says of an executor.
pub(super) fn without_additions(profile: &JobProfile) -> Shape {
    let mut executor = profile.executor.clone();
    executor.subtract(&profile.executor_additions);
    executor
}

fn is_of_default_size(pod: &Pod) -> bool {
    let id = pod.resource_profile_id.as_deref();
    id.is_none_or(|id| id == DEFAULT_RESOURCE_PROFILE)
}

#[cfg(test)]
mod tests;
