//! Events on waiting drivers, few enough to be no load.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use kompass_core::{GangPlan, WaitReason};
use kompass_kube::events::{Limiter, Note, Recorder, Severity};
use kompass_planner::PodRef;
use kompass_service::logging;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::orders::planned_note;

/// Between two events of one kind on one driver.
const PER_POD: Duration = Duration::from_secs(30);
/// Events per second and at once, of all drivers: a thousand gangs that move up by one place are a thousand events.
const PER_SECOND: u32 = 10;
const BURST: u32 = 50;
/// Events that wait to be written; more are dropped.
const QUEUE: usize = 256;

/// Takes what is to be told.
#[derive(Debug)]
pub struct Explainer {
    notes: mpsc::Sender<Note>,
    limiter: Mutex<Limiter>,
    metrics: Metrics,
}

impl Explainer {
    /// An explainer, and the task that writes for it.
    pub fn start(
        recorder: Recorder,
        metrics: Metrics,
        end: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, notes) = mpsc::channel(QUEUE);
        let task = write(recorder, notes, metrics.clone(), end);
        let limiter = Mutex::new(Limiter::new(PER_POD, PER_SECOND, BURST));
        (
            Self {
                notes: sender,
                limiter,
                metrics,
            },
            task,
        )
    }

    /// Why a gang waits, and until when.
    pub fn wait(&self, driver: &PodRef, reason: &WaitReason, now_ms: i64) {
        self.tell(Note {
            namespace: driver.namespace.clone(),
            pod: driver.name.clone(),
            uid: driver.uid.clone(),
            severity: Severity::Normal,
            reason: "GangWaiting",
            action: "Plan",
            text: format!(
                "{} (position {} in its queue){}",
                reason.text,
                reason.position,
                until(reason, now_ms)
            ),
        });
    }

    /// Where a gang's room is. Its driver waits no longer.
    pub fn planned(&self, driver: &PodRef, plan: &GangPlan) {
        self.tell(planned_note(driver, plan));
        self.limiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .forget(&driver.uid);
    }

    fn tell(&self, note: Note) {
        let allowed = self
            .limiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .allows(&note, Instant::now());
        if !allowed || self.notes.try_send(note).is_err() {
            self.metrics.events_dropped.inc();
        }
    }
}

async fn write(recorder: Recorder, mut notes: mpsc::Receiver<Note>, metrics: Metrics, end: CancellationToken) {
    loop {
        let note = tokio::select! {
            biased;
            () = end.cancelled() => return,
            note = notes.recv() => note,
        };
        let Some(note) = note else {
            // Nobody can tell anything any more; the end is near.
            return end.cancelled().await;
        };
        if let Err(error) = recorder.write(&note).await {
            metrics.events_dropped.inc();
            tracing::debug!(error = logging::chain(&error), "failed to write an event");
        }
    }
}

/// When a gang is expected to start, from now on.
fn until(reason: &WaitReason, now_ms: i64) -> String {
    let (Some(p50_ms), Some(p90_ms)) = (reason.start_p50, reason.start_p90) else {
        return String::new();
    };
    let minutes = |moment_ms: i64| match moment_ms.saturating_sub(now_ms) / 60_000 {
        ..1 => "less than a minute".to_owned(),
        minutes @ 1..120 => format!("{minutes} min"),
        minutes => format!("{} h", minutes / 60),
    };
    format!(
        "; expected to start in {}, in 9 of 10 cases within {}",
        minutes(p50_ms),
        minutes(p90_ms)
    )
}
