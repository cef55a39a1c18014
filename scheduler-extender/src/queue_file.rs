//! The administrator's queue file: read at the start, then followed for as long as the service runs.
//!
//! Its content is looked at again and again, on a timer. That works wherever the file is: a ConfigMap volume swaps a
//! symbolic link above it, editors put another file in its place, and whoever watches the file itself sees neither.
//!
//! What is wrong never takes the rules away: the service doesn't start with a wrong file, and later the rules stay as
//! they were until the file is right again.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kompass_queues::{MAX_BYTES, QueueTable};
use kompass_service::logging;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::state::App;

/// Between two looks at the file. What stands there comes into force after the second look that sees it.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// How long a look may take; a file may be on a network that hangs.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, or may not be read, or reading broke off.
    #[error("failed to read the queue file")]
    Read(#[from] io::Error),
    /// A directory, a pipe.
    #[error("failed to read the queue file: it is no ordinary file")]
    NoFile,
    /// The file system does not answer.
    #[error("failed to read the queue file within {LOOK_LIMIT:?}: its file system does not answer")]
    Slow,
    /// The reading itself has died, which is a bug.
    #[error("failed to go on reading the queue file")]
    Died(#[from] JoinError),
    /// What stands there is wrong.
    #[error(transparent)]
    Content(#[from] kompass_queues::Error),
}

/// The rules in force, and how they came about; shown on `/v1/queues`.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Where the file is, if there is one.
    pub path: Option<PathBuf>,
    /// The rules in force.
    pub table: Arc<QueueTable>,
    /// Since when, milliseconds since 1970. `None` without a file.
    pub applied_ms: Option<i64>,
    /// What is wrong with the file as it is now, if the rules in force are older ones.
    pub refused: Option<Refusal>,
}

/// A file that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, and what to do.
    pub message: String,
    /// Since when, milliseconds since 1970.
    pub since_ms: i64,
}

/// What a look at the file has shown: its bytes, or why there are none.
type Seen = Result<Arc<[u8]>, String>;
/// A look that goes on.
type Look = JoinHandle<Result<Arc<[u8]>, Error>>;

/// A queue file that was right when it was opened.
#[derive(Debug)]
pub struct QueueFile {
    path: PathBuf,
    /// What it said then.
    table: QueueTable,
    /// What was last put into force or refused.
    judged: Seen,
    /// What the last look has shown.
    last: Seen,
    /// A look that takes too long, so that never more than one hangs.
    pending: Option<Look>,
}

impl QueueFile {
    /// Reads the file.
    pub async fn open(path: PathBuf) -> Result<Self, Error> {
        let mut pending = None;
        let content = look(&path, &mut pending).await?;
        let table = parse(&content).await?;
        Ok(Self {
            path,
            table,
            judged: Ok(Arc::clone(&content)),
            last: Ok(content),
            pending,
        })
    }

    /// Puts into force what it said when it was opened.
    pub fn install(&self, app: &App) {
        app.queues.send_modify(|status| status.path = Some(self.path.clone()));
        apply(app, self.table.clone());
    }

    /// Looks at it `every` so often, and puts into force what stands there, until `end`.
    pub async fn follow(mut self, app: Arc<App>, every: Duration, end: CancellationToken) {
        let following = async {
            let mut looks = interval(every);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                self.look(&app).await;
            }
        };
        tokio::select! {
            biased;
            () = end.cancelled() => {}
            () = following => {}
        }
    }

    /// One look. A file that is being written can be half of what it will be, and half a file may be a right one: what
    /// two looks have shown counts.
    async fn look(&mut self, app: &App) {
        let shown = look(&self.path, &mut self.pending).await;
        let seen = shown.map_err(|error| logging::chain(&error));
        if seen == self.last && seen != self.judged {
            let read = match &seen {
                Ok(content) => parse(content).await.map_err(|error| logging::chain(&error)),
                Err(message) => Err(message.clone()),
            };
            match read {
                Ok(table) => apply(app, table),
                Err(message) => refuse(app, message),
            }
            self.judged.clone_from(&seen);
        }
        self.last = seen;
    }
}

fn apply(app: &App, table: QueueTable) {
    tracing::info!(queues = table.queues.len(), "the rules of the queue file are in force");
    app.planner(|planner, _| planner.set_queues(table.clone()));
    app.wake.notify_one();
    app.metrics.queue_file.loads.with(["applied"]).inc();
    app.metrics.queue_file.in_force.set_bool(true);
    let now_ms = app.now_ms();
    app.queues.send_modify(|status| {
        status.table = Arc::new(table);
        status.applied_ms = Some(now_ms);
        status.refused = None;
    });
}

fn refuse(app: &App, message: String) {
    tracing::warn!(error = message, "the queue file is refused; the rules in force stay");
    app.metrics.queue_file.loads.with(["refused"]).inc();
    app.metrics.queue_file.in_force.set_bool(false);
    let since_ms = app.now_ms();
    app.queues
        .send_modify(|status| status.refused = Some(Refusal { message, since_ms }));
}

/// Off this thread: it may take a while, and the thread has others to serve.
async fn parse(content: &Arc<[u8]>) -> Result<QueueTable, Error> {
    let content = Arc::clone(content);
    Ok(spawn_blocking(move || kompass_queues::parse(&content)).await??)
}

/// The file's bytes. A look that takes too long is left in `pending`, and the next call waits for the same.
async fn look(path: &Path, pending: &mut Option<Look>) -> Result<Arc<[u8]>, Error> {
    let look = pending.get_or_insert_with(|| {
        let path = path.to_owned();
        spawn_blocking(move || read(&path))
    });
    let done = timeout(LOOK_LIMIT, look).await.map_err(|_elapsed| Error::Slow)?;
    *pending = None;
    done?
}

/// The file's bytes, at most one more than a queue file may have.
fn read(path: &Path) -> Result<Arc<[u8]>, Error> {
    // Before it is opened: to open a pipe would wait for somebody to write.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::NoFile);
    }
    let mut content = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok(content.into())
}

#[cfg(test)]
mod tests;
