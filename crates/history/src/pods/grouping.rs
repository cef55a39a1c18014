//! Which pods are one gang, and what it was.

mod starts;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kompass_core::Resources;
use kompass_spark::profile_key::stable_name;

use super::Tally;
use super::known::{Pod, PodId, SparkLabels};
use crate::questions::is_spark_name;
use crate::seen::{STEP_MS, Seen};
use crate::starts::Start;
use crate::{End, Gang, Reason, Source, Window};

/// A pod of a gang.
#[derive(Debug)]
struct Member {
    namespace: Arc<str>,
    name: Box<str>,
    pod: Pod,
    created_ms: i64,
    /// When it ended, and whether it is only known to have run until then.
    ended: Option<(i64, bool)>,
}

/// A driver or nobody, and executors.
#[derive(Debug, Default)]
struct Members {
    driver: Option<Member>,
    executors: Vec<Member>,
}

/// Finds the driver of an executor.
#[derive(Debug, Default)]
struct Directory {
    /// By namespace and application id.
    by_application: HashMap<(Arc<str>, Arc<str>), usize>,
    /// By namespace and what the driver's name begins with.
    by_prefix: HashMap<(Arc<str>, Box<str>), Vec<usize>>,
}

/// The gangs that were submitted in the window.
pub(super) fn gangs(pods: BTreeMap<PodId, Pod>, seen: &Seen, window: Window, tally: &mut Tally) -> Vec<Gang> {
    let mut gangs = Vec::new();
    for members in grouped(pods, seen, tally) {
        if members.driver.is_none() && members.executors.is_empty() {
            continue;
        }
        let gang = members.gang(window);
        if gang.submit_ms < window.from_ms {
            tally.add(Reason::Before, 1);
        } else if window.contains(gang.submit_ms) {
            gangs.push(gang);
        }
    }
    gangs
}

/// Tells of each gang with a driver pod that was submitted in the window how it came to its executors.
pub(super) fn each(
    pods: BTreeMap<PodId, Pod>,
    seen: &Seen,
    window: Window,
    tally: &mut Tally,
    mut tell: impl FnMut(Option<Start>),
    least_ms: i64,
) {
    for members in grouped(pods, seen, tally) {
        match &members.driver {
            Some(driver) if window.contains(driver.created_ms) => tell(members.start(window, least_ms)),
            Some(_) => tally.add(Reason::Before, 1),
            None => {}
        }
    }
}

fn grouped(pods: BTreeMap<PodId, Pod>, seen: &Seen, tally: &mut Tally) -> Vec<Members> {
    let mut groups: Vec<Members> = Vec::new();
    let mut directory = Directory::default();
    // Drivers first. Executors are many times more: each is taken out of the map into its gang.
    for (id, pod) in &pods {
        if let Some(driver) = Member::new(id, pod, true, seen) {
            directory.add(&driver, groups.len());
            groups.push(Members {
                driver: Some(driver),
                executors: Vec::new(),
            });
        }
    }
    let mut orphans: BTreeMap<(Arc<str>, Box<str>), Members> = BTreeMap::new();
    for (id, pod) in pods {
        if is_driver(&id, &pod).is_some() && pod.created_ms().is_none() {
            tally.add(Reason::NoCreation, 1);
        }
        let Some(executor) = Member::new(&id, &pod, false, seen) else {
            continue;
        };
        let members = if let Some(index) = directory.driver_of(&executor, &groups) {
            &mut groups[index]
        } else {
            let key = (executor.namespace.clone(), executor.application().into());
            orphans.entry(key).or_default()
        };
        members.executors.push(executor);
    }
    groups.extend(orphans.into_values());
    groups.retain(|members| members.is_sparks(tally));
    groups
}

/// Whether a pod is a driver or an executor; none if it is neither.
fn is_driver(id: &PodId, pod: &Pod) -> Option<bool> {
    match pod.labels.as_ref().and_then(|labels| labels.role.as_deref()) {
        Some("driver") => Some(true),
        Some("executor") => Some(false),
        _ => is_spark_name(&id.name).then(|| id.name.ends_with("-driver")),
    }
}

impl Directory {
    fn add(&mut self, driver: &Member, index: usize) {
        let namespace = || driver.namespace.clone();
        if let Some(application) = driver.application_id() {
            self.by_application.insert((namespace(), application.clone()), index);
        }
        let prefix = driver.name.strip_suffix("-driver").unwrap_or(&driver.name);
        let same = self.by_prefix.entry((namespace(), prefix.into())).or_default();
        same.push(index);
    }

    /// By application id if it has one; else the last driver before it whose name begins in the same way. An operator's
    /// driver is `<name>-driver` and its executors `<name>-<id>-exec-<number>`, so parts of the prefix are left out.
    fn driver_of(&self, executor: &Member, groups: &[Members]) -> Option<usize> {
        let namespace = || executor.namespace.clone();
        if let Some(application) = executor.application_id() {
            let index = self.by_application.get(&(namespace(), application.clone()));
            if index.is_some() {
                return index.copied();
            }
        }
        let mut prefix = executor.name.rsplit_once("-exec-")?.0;
        loop {
            let same = self.by_prefix.get(&(namespace(), prefix.into()));
            let drivers = same.into_iter().flatten().copied().filter(|&index| {
                let driver = groups[index].driver.as_ref();
                driver.is_some_and(|driver| driver.may_have(executor))
            });
            let created = |index: &usize| groups[*index].driver.as_ref().map(|driver| driver.created_ms);
            if let Some(index) = drivers.max_by_key(created) {
                return Some(index);
            }
            prefix = prefix.rsplit_once('-')?.0;
        }
    }
}

impl Member {
    /// A driver, or an executor, that has a time of creation.
    fn new(id: &PodId, pod: &Pod, driver: bool, seen: &Seen) -> Option<Self> {
        let created_ms = pod.created_ms().filter(|_| is_driver(id, pod) == Some(driver))?;
        Some(Self {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            pod: pod.clone(),
            created_ms,
            ended: pod.ended(seen),
        })
    }

    fn labels(&self) -> Option<&SparkLabels> {
        self.pod.labels.as_deref()
    }

    fn application_id(&self) -> Option<&Arc<str>> {
        self.labels()?.application_id.as_ref()
    }

    /// What its application is called, as far as an executor tells.
    fn application(&self) -> &str {
        self.application_id().map_or_else(|| self.prefix(), AsRef::as_ref)
    }

    fn prefix(&self) -> &str {
        let executor = self.name.rsplit_once("-exec-").map(|(prefix, _)| prefix);
        let driver = self.name.strip_suffix("-driver");
        executor.or(driver).unwrap_or(&self.name)
    }

    /// Whether an executor was created in its time, to a second: that is how exact creation times are.
    fn may_have(&self, executor: &Self) -> bool {
        let begun = self.created_ms <= executor.created_ms;
        begun
            && self
                .ended
                .is_none_or(|(end_ms, _)| executor.created_ms <= end_ms + STEP_MS)
    }

    /// The profile key, or the namespace with the name of the application or the pod without what changes.
    fn profile(&self) -> String {
        if let Some(key) = self.labels().and_then(|labels| labels.profile_key.as_deref()) {
            return key.to_owned();
        }
        let name = self.labels().and_then(|labels| labels.application.as_deref());
        let name = name.unwrap_or_else(|| self.prefix());
        format!("{}/{}", self.namespace, stable_name(name))
    }
}

impl Members {
    /// Whether it is Spark's for all that is known; also counts what is odd about its pods.
    fn is_sparks(&self, tally: &mut Tally) -> bool {
        let unlabelled = |member: &&Member| member.pod.labels.is_none();
        if self.executors.is_empty() && self.driver.iter().any(|driver| unlabelled(&driver)) {
            tally.add(Reason::PerhapsNoSpark, 1);
            return false;
        }
        let all = || self.driver.iter().chain(&self.executors);
        tally.add(Reason::NoLabels, all().filter(unlabelled).count() as u64);
        let without = all().filter(|member| !member.pod.has_requests());
        tally.add(Reason::NoRequests, without.count() as u64);
        true
    }

    fn gang(&self, window: Window) -> Gang {
        let all = || self.driver.iter().chain(&self.executors);
        // What speaks for the gang: its driver, or all executors of client mode together.
        let lead: Vec<&Member> = match &self.driver {
            Some(driver) => vec![driver],
            None => self.executors.iter().collect(),
        };
        let submit_ms = lead.iter().map(|one| one.created_ms).min().unwrap_or(window.from_ms);
        let started_ms = lead.iter().filter_map(|one| one.pod.started_ms()).min();
        let running = lead.iter().any(|one| one.ended.is_none());
        let ended = lead.iter().filter_map(|one| one.ended).max();
        let end_ms = match ended {
            Some((end_ms, _)) if !running => end_ms.max(submit_ms),
            _ => window.to_ms.max(submit_ms),
        };
        let end = match (running, &self.driver) {
            (true, _) => End::Running,
            (false, Some(driver)) => driver.pod.end.unwrap_or(End::CutOff),
            // Nobody tells; its executors are gone when it ends.
            (false, None) if ended.is_some_and(|(_, lost)| lost) => End::CutOff,
            (false, None) => End::Succeeded,
        };
        let start_ms = started_ms.map(|started_ms| started_ms.clamp(submit_ms, end_ms));
        let queue = all().find_map(|member| member.labels()?.queue.as_deref());
        Gang {
            submit_ms,
            submit_error_ms: 0,
            wait_ms: start_ms.unwrap_or(end_ms) - submit_ms,
            run_ms: start_ms.map(|start_ms| end_ms - start_ms),
            end,
            profile: lead.first().map(|one| one.profile()).unwrap_or_default(),
            namespace: lead.first().map(|one| one.namespace.to_string()),
            queue: queue.map(str::to_owned),
            driver: self.driver.as_ref().map(|driver| driver.pod.size()).unwrap_or_default(),
            executors: self.peak(),
            executor: self.executor(),
            averaged_over: 1,
            source: Source::KubeStateMetrics,
        }
    }

    /// Most executors at once.
    fn peak(&self) -> u64 {
        let mut changes: Vec<(i64, i64)> = Vec::with_capacity(2 * self.executors.len());
        for executor in &self.executors {
            changes.push((executor.created_ms, 1));
            if let Some((end_ms, _)) = executor.ended {
                changes.push((end_ms.max(executor.created_ms), -1));
            }
        }
        // Of one that comes and one that goes at once, the one that goes is first: it may be its replacement.
        changes.sort_unstable();
        let (mut now, mut peak) = (0_i64, 0_i64);
        for (_, change) in changes {
            now += change;
            peak = peak.max(now);
        }
        // One that came and went within a second was there all the same.
        u64::try_from(peak)
            .unwrap_or(0)
            .max(u64::from(!self.executors.is_empty()))
    }

    /// The size that most executors have; of several, the largest.
    fn executor(&self) -> Resources {
        let mut sizes: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        for executor in &self.executors {
            let size = executor.pod.size();
            *sizes.entry((size.cpu_milli, size.memory_bytes)).or_default() += 1;
        }
        let most = sizes.into_iter().max_by_key(|&(size, count)| (count, size));
        most.map(|((cpu_milli, memory_bytes), _)| Resources::new(cpu_milli, memory_bytes))
            .unwrap_or_default()
    }
}
