//! Jobs that keep coming while a test does something to KOMPASS.

use std::time::Duration;

use kube::Client;
use tokio::task::JoinHandle;

use super::{Application, Behaviour, Drivers};
use crate::deployment::JOBS;
use crate::wait_for;
use crate::watchdog::Watchdog;

/// Between two jobs.
const PAUSE: Duration = Duration::from_millis(700);
/// How long a job runs.
const RUN_FOR: Duration = Duration::from_secs(4);

/// Jobs that come one after the other, of which several run at any moment: each needs most of a node.
#[derive(Debug)]
pub struct Stream {
    patience: Duration,
    applications: Vec<Application>,
    drivers: Drivers,
    watchdog: Watchdog,
    submitting: JoinHandle<anyhow::Result<()>>,
}

impl Stream {
    /// Begins to submit `count` jobs for KWOK's nodes. Nothing is waited for longer than `patience`.
    pub fn start(client: &Client, patience: Duration, prefix: &str, count: usize) -> Self {
        let applications: Vec<Application> = (0..count)
            .map(|number| Application::new(format!("{prefix}-{number:02}"), 1_000, 3, 2_000).on_fake_nodes())
            .collect();
        let behaviour = Behaviour {
            run_for: RUN_FOR,
            ..Behaviour::default()
        };
        let drivers = Drivers::start(client.clone(), JOBS, &applications, behaviour);
        let (api, submitted) = (client.clone(), applications.clone());
        let submitting = tokio::spawn(async move {
            for application in &submitted {
                application.submit(&api, JOBS).await?;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        });
        Self {
            patience,
            watchdog: Watchdog::start(client),
            applications,
            drivers,
            submitting,
        }
    }

    /// How many jobs are done.
    pub fn done(&self) -> usize {
        self.drivers.done()
    }

    /// Waits until `count` jobs are done.
    ///
    /// # Errors
    /// They are not, after all patience.
    pub async fn some_done(&self, count: usize) -> anyhow::Result<()> {
        wait_for("some jobs to be done", self.patience, || async {
            let done = self.done();
            if done >= count { Ok(()) } else { Err(done) }
        })
        .await
    }

    /// Every job comes to its end, and nothing was ever booked twice. Says how many there were.
    ///
    /// # Errors
    /// A job could not be submitted, or is not done after all patience; or the watchdog saw what must not be.
    #[expect(clippy::print_stdout, reason = "a long test tells what it has seen")]
    pub async fn finish(self, what: &str) -> anyhow::Result<()> {
        self.submitting.await??;
        wait_for("every job to be done", self.patience, || async {
            let timelines = self.drivers.timelines();
            let waiting: Vec<&str> = self
                .applications
                .iter()
                .filter(|app| timelines.get(&app.name).is_none_or(|one| one.done.is_none()))
                .map(|app| app.name.as_str())
                .collect();
            if waiting.is_empty() {
                Ok(())
            } else {
                Err(waiting.join(", "))
            }
        })
        .await?;
        let checks = self.watchdog.finish().await?;
        println!(
            "{what}: {} gangs done, the watchdog looked {checks} times",
            self.applications.len()
        );
        Ok(())
    }
}
