//! The profiler: finds out what the job of each waiting driver needs and writes it on the driver; and opens gates that
//! no planner would ever open.
//!
//! One task owns all state: the queue of drivers, the closed gates, the memory of earlier runs. It hears of pods and of
//! the names of new `ConfigMaps`, and starts short jobs for everything that asks the API server. The webhook's memory of
//! gangs is kept from the same watch.

mod additions;
mod budget;
mod budgets;
mod config_maps;
mod estimates;
mod history;
mod holds;
mod kept;
mod memory;
mod namespaces;
mod planner;
mod queue;
mod recent;
mod rights;
mod shadow;
mod work;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::uri::Authority;
use kompass_core::profile::Source;
use kompass_core::{JobProfile, Pod, Role};
use kompass_kube::events::Note;
use kompass_kube::watch::{Event, Selection, feed};
use kompass_kube::{events, object};
use kompass_service::clock::Clock;
use kompass_service::readiness::Condition;
use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use self::budgets::{Budgets, Order};
use self::config_maps::Change;
use self::estimates::Estimates;
use self::holds::{Gate, Holds};
use self::memory::Memory;
use self::namespaces::Namespaces;
use self::queue::{Progress, Queue, Task};
use self::rights::Rights;
use self::shadow::Shadow;
use self::work::{Found, Worker};
use crate::admit::{Mode, Rules};
use crate::args::Scope;
use crate::gangs::Gangs;
use crate::metrics;

/// Drivers worked on at a time: each holds one connection to the API server for some milliseconds.
const WORKERS: usize = 32;
/// News of pods and `ConfigMaps` that may wait; a slow profiler slows the watches, not the memory.
const CHANNEL: usize = 1_024;
/// Between two looks at the closed gates.
const GATE_PERIOD: Duration = Duration::from_secs(1);

/// Settings of the profiler.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace of KOMPASS's own objects, where the planner's lease is.
    pub namespace: String,
    /// Which namespaces are looked at.
    pub scope: Scope,
    /// Namespaces that are never touched.
    pub excluded_namespaces: Vec<String>,
    /// Whether drivers are written on.
    pub mode: Mode,
    /// Settings of admission: whose drivers would be taken, in shadow mode.
    pub rules: Rules,
    /// Whether drivers get a disruption budget.
    pub driver_budget: bool,
    /// How long a driver's configuration is waited for before a profile is guessed.
    pub conf_hold: Duration,
    /// How long a gate stays closed while no planner lives.
    pub gate_hold: Duration,
    /// Host and port of the predictor, if there is one.
    pub predictor: Option<Authority>,
}

/// Why the profiler ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A feed ended, though feeds don't.
    #[error("failed to keep the watch of {0}")]
    FeedEnded(&'static str),
    /// A job panicked: what it worked on would never be finished.
    #[error("failed to finish a job of the profiler")]
    Job(#[source] tokio::task::JoinError),
}

/// The profiler, with all that it needs.
#[derive(Debug)]
pub struct Profiler {
    settings: Settings,
    clock: Clock,
    gangs: Arc<Gangs>,
    metrics: metrics::Profiler,
    worker: Worker,
    queue: Queue,
    namespaces: Namespaces,
    holds: Holds,
    memory: Memory,
    /// In shadow mode only.
    shadow: Option<Shadow>,
    /// With budgets only.
    budgets: Option<Budgets>,
    pods_synced: bool,
}

/// What a job reports to the owner of the state.
enum Done {
    /// Work on a driver.
    Driver { task: Box<Task>, found: Box<Found> },
    /// An attempt to open a gate.
    Gate {
        gate: Box<Gate>,
        opened: bool,
        note: Option<Note>,
    },
    /// An attempt at a budget; `found` are the namespaces that a list shows.
    Budget {
        order: Order,
        found: Option<Vec<String>>,
        ok: bool,
    },
    /// Words for an owner.
    Told,
}

/// Monotonic time in milliseconds. This process begins a day after zero, so that there are numbers for what was before.
fn monotonic_ms(clock: &Clock) -> u64 {
    const BEGIN_MS: u64 = 24 * 3_600 * 1_000;
    u64::try_from(clock.monotonic().as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(BEGIN_MS)
}

impl Profiler {
    /// A profiler that has seen nothing yet. `instance` names this replica in events.
    pub fn new(
        client: &Client,
        instance: &str,
        settings: Settings,
        clock: Clock,
        gangs: Arc<Gangs>,
        metrics: metrics::Profiler,
    ) -> Self {
        let recorder = events::Recorder::new(client.clone(), "kompass.dev/admission-webhook", instance);
        let shadow = (settings.mode == Mode::Shadow).then(|| Shadow::new(settings.rules.clone()));
        let memory = Memory::default();
        let estimates = Estimates::new(settings.predictor.clone(), clock.clone(), metrics.estimates.clone());
        let rights = Rights {
            scope: settings.scope,
            namespace: settings.namespace.clone(),
        };
        let tools = work::Tools {
            rights,
            recorder,
            memory: memory.clone(),
            estimates,
            metrics: metrics.clone(),
        };
        Self {
            queue: Queue::new(settings.conf_hold),
            namespaces: match settings.scope {
                Scope::All => Namespaces::all(),
                Scope::Labelled => Namespaces::labelled(),
            },
            holds: Holds::new(settings.gate_hold),
            memory,
            worker: Worker::new(
                client.clone(),
                tools,
                Arc::new(settings.rules.clone()),
                shadow.is_some(),
            ),
            budgets: (settings.driver_budget && shadow.is_none()).then(Budgets::default),
            shadow,
            settings,
            clock,
            gangs,
            metrics,
            pods_synced: false,
        }
    }

    /// Runs until `draining` is cancelled. `watched` is met once all existing Spark pods are known.
    pub async fn run(mut self, client: Client, watched: Condition, draining: CancellationToken) -> Result<(), Error> {
        let (pod_sender, mut pods) = mpsc::channel(CHANNEL);
        let (name_sender, mut names) = mpsc::channel(CHANNEL);
        let spark = Selection {
            labels: Some("spark-role in (driver,executor)".to_owned()),
            ..Selection::default()
        };
        let pod_feed = feed::<object::Pod, _>(client.clone(), spark, pod_sender, |event| event);
        let name_feed = self.config_maps(client.clone(), name_sender);
        let (planner_sender, mut planner) = mpsc::channel(1);
        let planner_feed = planner::feed(
            client,
            self.settings.namespace.clone(),
            self.clock.clone(),
            planner_sender,
        );
        let mut feeds = std::pin::pin!(async { tokio::join!(pod_feed, name_feed, planner_feed) });
        let mut gate_tick = interval(GATE_PERIOD);
        let mut jobs = JoinSet::new();
        loop {
            self.start_jobs(&mut jobs);
            let next = self.queue.next_ms(WORKERS).map_or(GATE_PERIOD, |at| self.until(at));
            tokio::select! {
                biased;
                () = draining.cancelled() => break,
                _ = &mut feeds => return Err(Error::FeedEnded("the cluster")),
                event = pods.recv() => self.pod(event.ok_or(Error::FeedEnded("pods"))?, &watched),
                change = names.recv() => self.config_map(change.ok_or(Error::FeedEnded("ConfigMaps"))?),
                sign = planner.recv() => {
                    let sign = sign.ok_or(Error::FeedEnded("the planner's lease"))?;
                    self.holds.planner_seen(sign);
                }
                Some(done) = jobs.join_next() => {
                    let note = self.done(done.map_err(Error::Job)?);
                    self.tell(note, &mut jobs);
                }
                _ = gate_tick.tick() => {
                    self.open_gates(&mut jobs);
                    self.keep_budgets(&mut jobs);
                }
                () = sleep(next) => {}
            }
        }
        // What is in flight is a single conditional write each: let them end rather than leave it to chance.
        while jobs.join_next().await.is_some() {}
        Ok(())
    }

    /// The feed of `ConfigMaps` for the scope.
    fn config_maps(&self, client: Client, changes: mpsc::Sender<Change>) -> BoxFuture<'static, ()> {
        match self.settings.scope {
            Scope::All => config_maps::feed(client, None, changes).boxed(),
            Scope::Labelled => {
                let excluded = self.settings.excluded_namespaces.clone();
                config_maps::feed_labelled(client, excluded, changes).boxed()
            }
        }
    }

    fn now_ms(&self) -> u64 {
        monotonic_ms(&self.clock)
    }

    fn until(&self, at_ms: u64) -> Duration {
        Duration::from_millis(at_ms.saturating_sub(self.now_ms()).max(1))
    }

    fn pod(&mut self, event: Event<Box<Pod>>, watched: &Condition) {
        match event {
            Event::Applied(pod) => {
                self.gangs.apply(&pod);
                let (now_ms, age_ms) = (self.now_ms(), self.age_ms(&pod));
                self.holds.observe(&pod, now_ms, age_ms);
                self.memory.observe(&pod);
                self.follow(&pod, now_ms);
                if let Some(budgets) = &mut self.budgets {
                    budgets.observe(&pod, now_ms);
                }
            }
            Event::Deleted(uid) => {
                let now_ms = self.now_ms();
                if let Some(shadow) = &mut self.shadow {
                    shadow.remove(&uid);
                }
                if let Some(budgets) = &mut self.budgets {
                    budgets.remove(&uid, now_ms);
                }
                self.gangs.remove(&uid);
                self.holds.remove(&uid);
                self.queue.remove(&uid);
                self.namespaces.remove(&uid);
                self.memory.remove(&uid);
            }
            Event::Synced => {
                watched.met();
                self.pods_synced = true;
                self.synced();
            }
        }
        self.metrics.waiting.set_count(self.queue.len());
    }

    /// Has a driver profiled that wants it and is in scope.
    fn follow(&mut self, pod: &Pod, now_ms: u64) {
        let wants = match &mut self.shadow {
            None => queue::waits(pod),
            Some(shadow) => shadow.wants(pod),
        };
        let age_ms = self.age_ms(pod);
        match (wants, self.namespaces.include(pod)) {
            (true, true) => {
                self.namespaces.remove(&pod.uid);
                self.queue.follow(pod, now_ms, age_ms);
            }
            (true, false) => {
                self.queue.remove(&pod.uid);
                self.namespaces.put_aside(pod);
            }
            (false, _) => {
                self.queue.remove(&pod.uid);
                self.namespaces.remove(&pod.uid);
            }
        }
    }

    /// All drivers and all namespaces in scope are known, if so.
    fn synced(&mut self) {
        if let Some(budgets) = &mut self.budgets
            && self.pods_synced
            && self.namespaces.is_synced()
        {
            budgets.synced();
        }
    }

    /// How long ago the pod was created, to the second, by the wall clock: for those that are older than this process.
    fn age_ms(&self, pod: &Pod) -> u64 {
        self.clock
            .now_ms()
            .saturating_sub(u64::try_from(pod.created_ms).unwrap_or(0))
    }

    fn config_map(&mut self, change: Change) {
        let now_ms = self.now_ms();
        match change {
            Change::Named { namespace, name } => {
                self.queue.config_map(&namespace, &name, now_ms);
                return;
            }
            Change::Unknown { namespace } => {
                if let Some(namespace) = &namespace {
                    self.namespaces.reached(namespace, true);
                }
                self.queue.recheck(namespace.as_deref(), now_ms);
            }
            Change::Denied { namespace } => {
                if let Some(namespace) = &namespace {
                    self.namespaces.reached(namespace, false);
                }
            }
            Change::Labelled(namespace) => {
                for pod in self.namespaces.begin(namespace) {
                    self.follow(&pod, now_ms);
                }
            }
            Change::Unlabelled(namespace) => self.namespaces.end(&namespace),
            Change::Synced => {
                self.namespaces.synced();
                self.synced();
            }
        }
        if self.settings.scope == Scope::All {
            return;
        }
        let (watched, denied) = self.namespaces.counts();
        self.metrics.namespaces.with(["watched"]).set_count(watched);
        self.metrics.namespaces.with(["denied"]).set_count(denied);
    }

    fn start_jobs(&mut self, jobs: &mut JoinSet<Done>) {
        let now_ms = self.now_ms();
        for task in self.queue.due(now_ms, WORKERS) {
            let worker = self.worker.clone();
            jobs.spawn(async move {
                let found = Box::new(worker.profile(task.clone()).await);
                let task = Box::new(task);
                Done::Driver { task, found }
            });
        }
    }

    /// Takes over what a job reports; the words for the owner of the pod, if there are any.
    fn done(&mut self, done: Done) -> Option<Note> {
        let now_ms = self.now_ms();
        match done {
            Done::Driver { task, found } => {
                if let Some(profile) = &found.written {
                    self.memory.learn(profile);
                    self.observe_times(&task, profile, now_ms);
                }
                if let (Some(shadow), Progress::Done) = (&mut self.shadow, &found.progress) {
                    shadow.told(&task.uid);
                }
                self.queue.finished(&task.uid, found.progress, now_ms);
                self.metrics.waiting.set_count(self.queue.len());
                found.note
            }
            Done::Gate { gate, opened, note } => {
                self.holds.finished(&gate.uid, opened, now_ms);
                if note.is_some() {
                    let role = match gate.role {
                        Role::Driver => "driver",
                        Role::Executor => "executor",
                    };
                    self.metrics.gates_opened.with([role]).inc();
                }
                note
            }
            Done::Budget { order, found, ok } => {
                if let Some(budgets) = &mut self.budgets {
                    match order {
                        Order::List => budgets.listed(found, now_ms),
                        order => budgets.finished(&order, ok, now_ms),
                    }
                }
                None
            }
            Done::Told => None,
        }
    }

    fn observe_times(&self, task: &Task, profile: &JobProfile, now_ms: u64) {
        let seconds_since = |at_ms: u64| Duration::from_millis(now_ms.saturating_sub(at_ms)).as_secs_f64();
        if let Some(since_ms) = task.unprofiled_since_ms {
            self.metrics.first_profile_seconds.observe(seconds_since(since_ms));
        }
        if let Some(heard_ms) = task.heard_ms.filter(|_| profile.source == Source::Conf) {
            self.metrics.read_and_write_seconds.observe(seconds_since(heard_ms));
        }
    }

    fn tell(&self, note: Option<Note>, jobs: &mut JoinSet<Done>) {
        if let Some(note) = note {
            let worker = self.worker.clone();
            jobs.spawn(async move {
                worker.tell(&note).await;
                Done::Told
            });
        }
    }

    fn keep_budgets(&mut self, jobs: &mut JoinSet<Done>) {
        let now_ms = self.now_ms();
        let Some(budgets) = &mut self.budgets else { return };
        for order in budgets.due(now_ms) {
            let worker = self.worker.clone();
            let labelled = self.namespaces.names();
            jobs.spawn(async move {
                let found = worker.budget(&order, labelled.as_deref()).await;
                Done::Budget {
                    ok: found.is_some(),
                    order,
                    found,
                }
            });
        }
    }

    fn open_gates(&mut self, jobs: &mut JoinSet<Done>) {
        let now_ms = self.now_ms();
        self.metrics.planner_alive.set_bool(self.holds.planner_alive(now_ms));
        if self.shadow.is_some() {
            return;
        }
        for gate in self.holds.due(now_ms, WORKERS) {
            let worker = self.worker.clone();
            jobs.spawn(async move {
                let (opened, note) = worker.open_gate(&gate).await;
                let gate = Box::new(gate);
                Done::Gate { gate, opened, note }
            });
        }
    }
}
