//! Notices when the process was stopped (SIGSTOP, a frozen machine, hopeless overload).
//!
//! A Bind that waited in a socket meanwhile has been given up by the scheduler long ago, and its pod may have been
//! promised another place. It carries no time, so it can't be told from a fresh one; for a moment all are refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::state::App;

const BEAT: Duration = Duration::from_millis(100);
/// Well below the time after which a scheduler gives up, well above what a busy machine does to a timer.
const PAUSE: Duration = Duration::from_millis(1_500);

/// Watches until `end`.
pub async fn run(app: Arc<App>, end: CancellationToken) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            _ = beats.tick() => {}
        }
        let gap = last.elapsed();
        if gap > PAUSE {
            tracing::warn!(
                gap_ms = gap.as_millis(),
                "the process did not run for a while; refusing Binds for a moment"
            );
            app.note_pause();
        }
        last = Instant::now();
    }
}
