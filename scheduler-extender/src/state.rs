//! What all tasks and handlers share: the planner behind its lock, the client, the brake of Binds, the metrics.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kompass_kube::lease::Claim;
use kompass_planner::Planner;
use kompass_service::clock::Clock;
use kompass_service::shutdown::Shutdown;
use kube::Client;
use tokio::sync::{Notify, Semaphore, watch};

use crate::finished::Finished;
use crate::metrics::Metrics;
use crate::queue_file::Status;

/// Limits of the edge; the planner has its own.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Namespace of KOMPASS's own objects.
    pub namespace: String,
    /// Binds that are written at once.
    pub binds: usize,
    /// From a Bind's arrival to its answer. Nothing is written after it.
    pub bind_deadline: Duration,
    /// How long Filter waits at most while all Binds are taken.
    pub brake: Duration,
    /// For one write that an order of the planner asks for.
    pub order_deadline: Duration,
    /// Orders that are carried out at once.
    pub orders: usize,
    /// Image of stand-ins and markers: anything that sleeps.
    pub pause_image: String,
    /// How long a marker lives at most.
    pub marker_life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            namespace: kompass_core::names::DEFAULT_NAMESPACE.to_owned(),
            // More only pile up in the API server; with fewer the scheduler is as fast.
            binds: 64,
            // Below the scheduler's own 5 s: it must never give up before we do.
            bind_deadline: Duration::from_secs(3),
            brake: Duration::from_millis(500),
            order_deadline: Duration::from_secs(3),
            orders: 32,
            pause_image: "registry.k8s.io/pause:3.10".to_owned(),
            marker_life: Duration::from_mins(10),
        }
    }
}

/// The shared state.
pub struct App {
    planner: Mutex<Planner>,
    /// Wakes the planning loop; many calls wake it once.
    pub wake: Notify,
    /// The API server.
    pub client: Client,
    /// Limits.
    pub limits: Limits,
    /// Metrics.
    pub metrics: Metrics,
    /// The life of the service.
    pub shutdown: Shutdown,
    /// The planner's lease.
    pub claim: watch::Receiver<Claim>,
    /// Gangs that ended of late.
    pub finished: Finished,
    /// The rules of queues that are in force.
    pub queues: watch::Sender<Status>,
    /// Slots for writing Binds.
    pub binds: Arc<Semaphore>,
    clock: Clock,
    epoch_ms: i64,
    /// Requests that were read before this moment of the monotonic clock may be older than they seem.
    doubtful_until_ms: AtomicI64,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl App {
    /// The state of a service that has seen nothing yet.
    pub fn new(
        planner: Planner,
        client: Client,
        limits: Limits,
        metrics: Metrics,
        shutdown: Shutdown,
        claim: watch::Receiver<Claim>,
        clock: Clock,
    ) -> Arc<Self> {
        let wall_ms = i64::try_from(clock.now_ms()).unwrap_or(i64::MAX);
        let epoch_ms = wall_ms.saturating_sub(millis(clock.monotonic()));
        Arc::new(Self {
            planner: Mutex::new(planner),
            wake: Notify::new(),
            client,
            binds: Arc::new(Semaphore::new(limits.binds)),
            limits,
            metrics,
            shutdown,
            claim,
            finished: Finished::default(),
            queues: watch::Sender::default(),
            clock,
            epoch_ms,
            doubtful_until_ms: AtomicI64::new(i64::MIN),
        })
    }

    /// Milliseconds since 1970, as the wall clock said at the start and the monotonic clock counts since: the planner's
    /// waits must not jump with the wall clock.
    pub fn now_ms(&self) -> i64 {
        self.epoch_ms.saturating_add(millis(self.clock.monotonic()))
    }

    /// Calls the planner, now. Never held across an await; what is called must be short, since Filter waits for it.
    ///
    /// A panic in the planner poisons it, and the next call ends the service: it is rebuilt from the API server.
    pub fn planner<R>(&self, call: impl FnOnce(&mut Planner, i64) -> R) -> R {
        let now_ms = self.now_ms();
        let mut planner = self
            .planner
            .lock()
            .expect("a planner that has panicked ends the service");
        call(&mut planner, now_ms)
    }

    /// Tells that the process did not run for a while: what was asked of it meanwhile is out of date, and a request
    /// read within the next second may be of that time.
    pub fn note_pause(&self) {
        self.doubtful_until_ms.store(self.now_ms() + 1_000, Ordering::Release);
    }

    /// Whether requests may be older than they seem.
    pub fn is_doubtful(&self) -> bool {
        self.now_ms() < self.doubtful_until_ms.load(Ordering::Acquire)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
