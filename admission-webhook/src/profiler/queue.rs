//! Which drivers wait for a profile, and when to work on which: pure, all times are monotonic milliseconds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kompass_core::profile::Source;
use kompass_core::{Pod, Role, names};
use rustc_hash::FxHashMap;

use super::kept::Kept;

/// Pauses between two vain looks for a ConfigMap. The watch tells of it in time; this is for when it didn't.
const PAUSES_MS: [u64; 5] = [250, 500, 1_000, 2_000, 5_000];
/// The same for a driver that has a guess: it may wait for hours, and thousands of them must not ask all the time.
const GUESSED_PAUSE_MS: u64 = 60_000;
/// Pauses where the API server refuses for lack of rights: somebody has to give them first.
const FIRST_DENIED_PAUSE_MS: u64 = 5_000;
const LONGEST_DENIED_PAUSE_MS: u64 = 300_000;
/// Pods kept between two looks, some 2 KiB each; more drivers than that are read again when they are looked at.
const KEPT_MAX: usize = 4_000;
/// A pod older than this at its first sight is older than this process.
const OLD_MS: u64 = 5_000;

/// The drivers that wait.
#[derive(Debug)]
pub(super) struct Queue {
    hold_ms: u64,
    /// By UID.
    drivers: FxHashMap<Arc<str>, Box<Waiting>>,
    /// Those that nobody is at, by when they are due, and UID.
    due: BTreeSet<(u64, Arc<str>)>,
    /// UIDs of the drivers that wait for a ConfigMap.
    wanted: FxHashMap<ConfigMap, Vec<Arc<str>>>,
    running: usize,
    /// Drivers whose pod is kept.
    kept: usize,
}

/// Namespace and name.
type ConfigMap = (Box<str>, Box<str>);

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "none says anything of another")]
struct Waiting {
    namespace: String,
    name: String,
    since_ms: u64,
    next_ms: u64,
    /// Where it stands among those that are due.
    scheduled_ms: Option<u64>,
    tries: usize,
    /// When a worker was last sent; `None`: never.
    tried_ms: Option<u64>,
    /// Looks in a row that were refused for lack of rights.
    denials: u32,
    /// Its owner has been told that rights are missing.
    told: bool,
    running: bool,
    /// Something happened while a worker was at it.
    news: bool,
    /// Any profile has been written.
    profiled: bool,
    heard_ms: Option<u64>,
    pod: Option<Kept>,
    wanted: Vec<String>,
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Task {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// The pod as it was read before, if it was.
    pub(super) pod: Option<Kept>,
    /// The time for waiting is over and nothing has been written yet: a guess is better than nothing.
    pub(super) may_guess: bool,
    /// When the driver was first seen, if it has no profile yet.
    pub(super) unprofiled_since_ms: Option<u64>,
    /// When the last of its `ConfigMaps` was heard of.
    pub(super) heard_ms: Option<u64>,
    /// Its owner has been told that rights are missing.
    pub(super) told: bool,
}

/// What came of a piece of work.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Progress {
    /// The profile is final, or the driver needs none any more.
    Done,
    /// These `ConfigMaps` of the driver's namespace are not there yet; `guessed`: a profile was written all the same.
    Missing {
        config_maps: Vec<String>,
        pod: Kept,
        guessed: bool,
    },
    /// Rights are missing in the driver's namespace; `guessed`: a profile was written all the same; `told`: the owner
    /// knows.
    Denied { guessed: bool, told: bool },
    /// Something failed; the pod must be read again.
    Failed,
}

impl Queue {
    pub(super) fn new(hold: Duration) -> Self {
        Self {
            hold_ms: u64::try_from(hold.as_millis()).unwrap_or(u64::MAX),
            drivers: FxHashMap::default(),
            due: BTreeSet::new(),
            wanted: FxHashMap::default(),
            running: 0,
            kept: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.drivers.len()
    }

    /// Waits with the driver `pod`, as the watch tells it, of that age.
    pub(super) fn follow(&mut self, pod: &Pod, now_ms: u64, age_ms: u64) {
        let age_ms = if age_ms > OLD_MS { age_ms } else { 0 };
        let profiled = pod.profile.is_some();
        let driver = self.drivers.entry(pod.uid.as_str().into()).or_insert_with(|| {
            Box::new(Waiting {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                since_ms: now_ms.saturating_sub(age_ms),
                next_ms: now_ms,
                scheduled_ms: None,
                tries: 0,
                tried_ms: None,
                denials: 0,
                told: false,
                running: false,
                news: false,
                profiled,
                heard_ms: None,
                pod: None,
                wanted: Vec::new(),
            })
        });
        driver.profiled = profiled;
        self.schedule(&pod.uid);
    }

    /// Takes over that a pod is gone or needs no profile.
    pub(super) fn remove(&mut self, uid: &str) {
        if let Some((uid, mut driver)) = self.drivers.remove_entry(uid) {
            self.running -= usize::from(driver.running);
            self.kept -= usize::from(driver.pod.is_some());
            self.unwant(&uid, &driver);
            if let Some(due_ms) = driver.scheduled_ms.take() {
                self.due.remove(&(due_ms, uid));
            }
        }
    }

    /// Takes over that a ConfigMap was made or changed.
    pub(super) fn config_map(&mut self, namespace: &str, name: &str, now_ms: u64) {
        let Some(uids) = self.wanted.get(&(namespace.into(), name.into())) else {
            return;
        };
        for uid in uids.clone() {
            if let Some(driver) = self.drivers.get_mut(&uid) {
                driver.heard_ms = Some(now_ms);
                driver.hurry(now_ms);
                self.schedule(&uid);
            }
        }
    }

    /// Looks at all drivers again, or at those of a namespace: `ConfigMaps` may have come that nobody told of.
    pub(super) fn recheck(&mut self, namespace: Option<&str>, now_ms: u64) {
        let drivers = self.drivers.iter_mut();
        let concerned = drivers.filter(|(_, driver)| namespace.is_none_or(|namespace| driver.namespace == namespace));
        let uids: Vec<Arc<str>> = concerned
            .map(|(uid, driver)| {
                driver.hurry(now_ms);
                Arc::clone(uid)
            })
            .collect();
        for uid in uids {
            self.schedule(&uid);
        }
    }

    /// The work that is due, as long as no more than `workers` are at it.
    pub(super) fn due(&mut self, now_ms: u64, workers: usize) -> Vec<Task> {
        let free = workers.saturating_sub(self.running);
        if free == 0 {
            return Vec::new();
        }
        let due = self.due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms);
        let due: Vec<Arc<str>> = due.take(free).map(|(_, uid)| Arc::clone(uid)).collect();
        self.running += due.len();
        due.into_iter().filter_map(|uid| self.start(uid, now_ms)).collect()
    }

    fn start(&mut self, uid: Arc<str>, now_ms: u64) -> Option<Task> {
        let hold_ms = self.hold_ms;
        let driver = self.drivers.get_mut(&uid)?;
        driver.running = true;
        driver.tried_ms = Some(now_ms);
        driver.news = false;
        let task = Task {
            uid: uid.to_string(),
            namespace: driver.namespace.clone(),
            name: driver.name.clone(),
            pod: driver.pod.clone(),
            may_guess: !driver.profiled && now_ms >= driver.since_ms.saturating_add(hold_ms),
            unprofiled_since_ms: (!driver.profiled).then_some(driver.since_ms),
            heard_ms: driver.heard_ms,
            told: driver.told,
        };
        if let Some(due_ms) = driver.scheduled_ms.take() {
            self.due.remove(&(due_ms, uid));
        }
        Some(task)
    }

    /// Takes over what came of a piece of work.
    pub(super) fn finished(&mut self, uid: &str, progress: Progress, now_ms: u64) {
        let Some(driver) = self.drivers.get_mut(uid).filter(|driver| driver.running) else {
            return;
        };
        driver.running = false;
        self.running -= 1;
        self.kept -= usize::from(driver.pod.take().is_some());
        let news = driver.news;
        if !matches!(progress, Progress::Denied { .. }) {
            driver.denials = 0;
        }
        match progress {
            // The watch will tell if a profile goes lost again.
            Progress::Done => self.remove(uid),
            Progress::Missing {
                config_maps,
                pod,
                guessed,
            } => {
                // News of a map that was not known to be wanted is no news: it is looked for once more.
                let unknown = driver.wanted != config_maps;
                driver.pod = (self.kept < KEPT_MAX).then_some(pod);
                self.kept += usize::from(driver.pod.is_some());
                driver.profiled |= guessed;
                driver.next_ms = if news || unknown {
                    now_ms
                } else {
                    now_ms + driver.pause_ms()
                };
                if unknown {
                    self.want(uid, config_maps);
                }
            }
            Progress::Denied { guessed, told } => {
                driver.profiled |= guessed;
                driver.told |= told;
                driver.next_ms = if news {
                    now_ms
                } else {
                    now_ms + driver.denied_pause_ms()
                };
            }
            Progress::Failed => {
                driver.next_ms = if news { now_ms } else { now_ms + driver.pause_ms() };
            }
        }
        self.schedule(uid);
    }

    /// Notes when a driver is due, unless somebody is at it.
    fn schedule(&mut self, uid: &str) {
        let Some((uid, _)) = self.drivers.get_key_value(uid) else {
            return;
        };
        let uid = Arc::clone(uid);
        let Some(driver) = self.drivers.get_mut(&uid) else {
            return;
        };
        let due_ms = (!driver.running).then(|| driver.due_ms(self.hold_ms));
        let before = std::mem::replace(&mut driver.scheduled_ms, due_ms);
        if before == due_ms {
            return;
        }
        if let Some(before) = before {
            self.due.remove(&(before, Arc::clone(&uid)));
        }
        if let Some(due_ms) = due_ms {
            self.due.insert((due_ms, uid));
        }
    }

    /// When the next work is due; `None` without any, or while all workers are busy: then only the end of a job
    /// changes anything.
    pub(super) fn next_ms(&self, workers: usize) -> Option<u64> {
        if self.running >= workers {
            return None;
        }
        self.due.first().map(|&(due_ms, _)| due_ms)
    }

    fn want(&mut self, uid: &str, config_maps: Vec<String>) {
        let Some((uid, mut driver)) = self.drivers.remove_entry(uid) else {
            return;
        };
        self.unwant(&uid, &driver);
        for name in &config_maps {
            self.wanted
                .entry((driver.namespace.as_str().into(), name.as_str().into()))
                .or_default()
                .push(Arc::clone(&uid));
        }
        driver.wanted = config_maps;
        self.drivers.insert(uid, driver);
    }

    fn unwant(&mut self, uid: &str, driver: &Waiting) {
        for name in &driver.wanted {
            let key = (driver.namespace.as_str().into(), name.as_str().into());
            if let Some(uids) = self.wanted.get_mut(&key) {
                uids.retain(|known| **known != *uid);
                if uids.is_empty() {
                    self.wanted.remove(&key);
                }
            }
        }
    }
}

impl Waiting {
    fn hurry(&mut self, now_ms: u64) {
        self.next_ms = now_ms;
        self.tries = 0;
        self.news = true;
    }

    fn pause_ms(&mut self) -> u64 {
        if self.profiled {
            return GUESSED_PAUSE_MS;
        }
        let pause_ms = PAUSES_MS[self.tries.min(PAUSES_MS.len() - 1)];
        self.tries += 1;
        pause_ms
    }

    fn denied_pause_ms(&mut self) -> u64 {
        let factor = 1_u64.checked_shl(self.denials).unwrap_or(u64::MAX);
        self.denials = self.denials.saturating_add(1);
        FIRST_DENIED_PAUSE_MS
            .saturating_mul(factor)
            .min(LONGEST_DENIED_PAUSE_MS)
    }

    /// When it is due: at its next look, or when the time for waiting is over. What failed after that is tried again
    /// at the next look, not at once.
    fn due_ms(&self, hold_ms: u64) -> u64 {
        let hold_end_ms = self.since_ms.saturating_add(hold_ms);
        let was_tried = self.tried_ms.is_some_and(|tried_ms| tried_ms >= hold_end_ms);
        if self.profiled || was_tried {
            self.next_ms
        } else {
            self.next_ms.min(hold_end_ms)
        }
    }
}

/// Whether a pod is a driver of KOMPASS's that has no profile from its configuration, and could use one.
///
/// One without a gate gets its first profile (it came past the webhook, and the extender can't place it without), but
/// no correction: it may be placed at any moment.
pub(super) fn waits(pod: &Pod) -> bool {
    let open = pod.role == Some(Role::Driver)
        && pod.scheduler == names::SCHEDULER
        && pod.node.is_none()
        && !pod.deleting
        && !pod.is_terminal()
        && pod.plan.is_none();
    open && match &pod.profile {
        None => true,
        Some(profile) => profile.source != Source::Conf && pod.has_gate(names::GANG_GATE),
    }
}

#[cfg(test)]
mod tests;
