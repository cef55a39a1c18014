//! Orderly end of a service.
//!
//! First signal: readiness is lost and the service goes on serving for a grace period, so that nobody is sent to a
//! closed port; then it stops accepting and drains. A second signal ends it at once. The unplanned end of a critical
//! task starts the same drain, without the grace, and makes the process fail: half a service is worse than none.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::readiness::{Condition, Readiness};

/// Any error of a task.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// Why a service did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The signal handlers could not be set up.
    #[error("failed to listen for signals")]
    Signals(#[source] std::io::Error),
    /// A critical task returned an error.
    #[error("failed to keep the task {name:?} running")]
    TaskFailed {
        /// The task.
        name: &'static str,
        /// What it said.
        #[source]
        source: TaskError,
    },
    /// A critical task ended, though nobody asked it to.
    #[error("failed to keep the task {name:?} running: it ended by itself")]
    TaskEnded {
        /// The task.
        name: &'static str,
    },
    /// A critical task panicked.
    #[error("failed to keep the task {name:?} running: it panicked")]
    TaskPanicked {
        /// The task.
        name: &'static str,
    },
    /// A second signal came during the drain.
    #[error("failed to drain: a second signal asked to stop at once")]
    Aborted,
    /// Some tasks did not end in time.
    #[error("failed to drain {left} tasks within {limit:?}")]
    DrainTimeout {
        /// Tasks still running.
        left: usize,
        /// The limit.
        limit: Duration,
    },
}

/// How long each step of the end may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between losing readiness and closing the port.
    pub grace: Duration,
    /// For all tasks to end after that.
    pub drain: Duration,
}

impl Default for Timing {
    /// 3 s is what endpoints need to be taken out everywhere; both together stay below the 30 s that Kubernetes gives.
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(3),
            drain: Duration::from_secs(20),
        }
    }
}

/// The life of a service: its critical tasks, and the tokens that tell them to end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    alive: Condition,
    terminating: CancellationToken,
    draining: CancellationToken,
    tasks: TaskTracker,
    /// The first critical task that died.
    dead: Mutex<Option<Error>>,
    died: CancellationToken,
    requests: mpsc::Sender<()>,
    /// Taken by the one `run`.
    requested: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Shutdown {
    /// A running service, whose readiness is lost when it begins to end.
    pub fn new(readiness: &Readiness) -> Self {
        let alive = readiness.condition("not shutting down");
        alive.met();
        // Two: one request to end, one to end at once; more say nothing new.
        let (requests, requested) = mpsc::channel(2);
        Self(Arc::new(Shared {
            alive,
            terminating: CancellationToken::new(),
            draining: CancellationToken::new(),
            tasks: TaskTracker::new(),
            dead: Mutex::new(None),
            died: CancellationToken::new(),
            requests,
            requested: Mutex::new(Some(requested)),
        }))
    }

    /// Cancelled when the service begins to end: take no new work of your own, e.g. give a lease back.
    pub fn terminating(&self) -> CancellationToken {
        self.0.terminating.clone()
    }

    /// Cancelled when the grace is over: servers stop accepting, tasks finish what they have and return.
    pub fn draining(&self) -> CancellationToken {
        self.0.draining.clone()
    }

    /// Starts a critical task. It must run until [`draining`](Self::draining) is cancelled and then return soon; if
    /// it ends before the service is terminating, the service ends.
    pub fn spawn<F, E>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let error = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) if this.0.terminating.is_cancelled() => return,
                Ok(Ok(())) => Error::TaskEnded { name },
                Ok(Err(source)) => Error::TaskFailed {
                    name,
                    source: source.into(),
                },
                Err(_panic) => Error::TaskPanicked { name },
            };
            tracing::error!(task = name, error = %error, "a critical task died");
            this.0
                .dead
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(error);
            this.0.died.cancel();
        });
    }

    /// Starts a piece of work that may end at any time; the drain waits for it.
    pub fn spawn_brief<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.tasks.spawn(task);
    }

    /// Asks to end, as SIGTERM does; asked twice, to end at once.
    pub fn trigger(&self) {
        // A full channel holds two requests already.
        let _ = self.0.requests.try_send(());
    }

    /// Waits for SIGTERM, SIGINT, [`trigger`](Self::trigger) or the death of a critical task, then ends the service in
    /// order. To be called once; a second call waits for nothing and returns.
    pub async fn run(&self, timing: Timing) -> Result<(), Error> {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
        let signals = async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => self.trigger(),
                    _ = interrupt.recv() => self.trigger(),
                }
            }
        };
        let Some(requested) = self.0.requested.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        tokio::select! {
            result = self.end_in_order(requested, timing) => result,
            () = signals => Ok(()),
        }
    }

    async fn end_in_order(&self, mut requested: mpsc::Receiver<()>, timing: Timing) -> Result<(), Error> {
        let shared = &self.0;
        let asked = tokio::select! {
            biased;
            _ = requested.recv() => true,
            () = shared.died.cancelled() => false,
        };
        tracing::info!(asked, "shutting down");
        shared.alive.lost();
        shared.terminating.cancel();
        if asked {
            tokio::select! {
                biased;
                _ = requested.recv() => return Err(Error::Aborted),
                () = shared.died.cancelled() => {}
                () = tokio::time::sleep(timing.grace) => {}
            }
        }
        shared.draining.cancel();
        shared.tasks.close();
        tokio::select! {
            biased;
            _ = requested.recv() => return Err(Error::Aborted),
            ended = timeout(timing.drain, shared.tasks.wait()) => if ended.is_err() {
                let dead = shared.dead.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Err(dead.unwrap_or(Error::DrainTimeout { left: shared.tasks.len(), limit: timing.drain }));
            },
        }
        match shared.dead.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        grace: Duration::from_millis(20),
        drain: Duration::from_secs(10),
    };

    fn until_drained(shutdown: &Shutdown) -> impl Future<Output = Result<(), TaskError>> + Send + use<> {
        let draining = shutdown.draining();
        async move {
            draining.cancelled().await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn readiness_is_lost_before_the_drain_begins() {
        let readiness = Readiness::new();
        let shutdown = Shutdown::new(&readiness);
        shutdown.spawn("server", until_drained(&shutdown));
        let run = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.run(TIMING).await }
        });
        let order = tokio::spawn({
            let (shutdown, readiness) = (shutdown.clone(), readiness.clone());
            async move {
                shutdown.draining().cancelled().await;
                (shutdown.terminating().is_cancelled(), readiness.is_ready())
            }
        });
        assert!(readiness.is_ready());
        shutdown.trigger();
        run.await.unwrap().unwrap();
        assert_eq!(order.await.unwrap(), (true, false));
    }

    #[tokio::test]
    async fn a_second_request_aborts() {
        let shutdown = Shutdown::new(&Readiness::new());
        shutdown.spawn("stuck", std::future::pending::<Result<(), TaskError>>());
        shutdown.trigger();
        shutdown.trigger();
        assert!(matches!(shutdown.run(TIMING).await, Err(Error::Aborted)));
    }

    #[tokio::test]
    async fn a_stuck_task_does_not_hold_the_process() {
        let shutdown = Shutdown::new(&Readiness::new());
        shutdown.spawn("stuck", std::future::pending::<Result<(), TaskError>>());
        shutdown.trigger();
        let timing = Timing {
            drain: Duration::from_millis(20),
            ..TIMING
        };
        assert!(matches!(
            shutdown.run(timing).await,
            Err(Error::DrainTimeout { left: 1, .. })
        ));
    }

    #[tokio::test]
    async fn the_death_of_a_critical_task_ends_the_service() {
        let shutdown = Shutdown::new(&Readiness::new());
        shutdown.spawn("server", until_drained(&shutdown));
        shutdown.spawn("watch", async { Err::<(), TaskError>("gone".into()) });
        assert!(matches!(
            shutdown.run(TIMING).await,
            Err(Error::TaskFailed { name: "watch", .. })
        ));

        let shutdown = Shutdown::new(&Readiness::new());
        shutdown.spawn("watch", async { Ok::<(), TaskError>(()) });
        assert!(matches!(
            shutdown.run(TIMING).await,
            Err(Error::TaskEnded { name: "watch" })
        ));

        let shutdown = Shutdown::new(&Readiness::new());
        shutdown.spawn::<_, TaskError>("watch", async { panic!("bug") });
        assert!(matches!(
            shutdown.run(TIMING).await,
            Err(Error::TaskPanicked { name: "watch" })
        ));
    }

    #[tokio::test]
    async fn brief_work_may_end_and_is_waited_for() {
        let shutdown = Shutdown::new(&Readiness::new());
        let (done, mut finished) = mpsc::channel(1);
        let draining = shutdown.draining();
        shutdown.spawn_brief(async {});
        shutdown.spawn_brief(async move {
            draining.cancelled().await;
            tokio::task::yield_now().await;
            let _ = done.send(()).await;
        });
        shutdown.trigger();
        shutdown.run(TIMING).await.unwrap();
        assert!(finished.try_recv().is_ok());
    }
}
