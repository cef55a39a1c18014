//! Reads the cluster's schedules again and again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kompass_kube::client::REQUEST_TIMEOUT;
use kompass_kube::schedules;
use kompass_service::logging::chain;
use tokio_util::sync::CancellationToken;

use crate::schedule::{Error, Schedule};
use crate::state::App;

/// As often as is decided.
const PAUSE: Duration = Duration::from_mins(5);

/// Reads them until `end`. Where they can't be read, those that are known are used on: they change rarely.
pub async fn run(app: Arc<App>, cluster: kube::Client, end: CancellationToken) {
    let mut told = HashSet::new();
    loop {
        let listed = tokio::select! {
            biased;
            () = end.cancelled() => return,
            listed = schedules::list(&cluster, REQUEST_TIMEOUT) => listed,
        };
        match listed {
            Ok(listed) => {
                let (known, wrong): (Vec<_>, Vec<_>) = listed.iter().map(Schedule::new).partition(Result::is_ok);
                let known: Vec<Schedule> = known.into_iter().flatten().collect();
                told = tell(wrong.into_iter().filter_map(Result::err), &told);
                app.metrics.schedules.set_count(known.len());
                app.state().schedules = Arc::new(known);
            }
            Err(error) => {
                app.metrics.failed_schedule_reads.inc();
                tracing::warn!(error = chain(&error), "failed to list the schedules");
            }
        }
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Once for each that is wrong.
fn tell(wrong: impl Iterator<Item = Error>, told: &HashSet<String>) -> HashSet<String> {
    let is_news = |error: &Error| !matches!(error, Error::Suspended(_));
    let words: HashSet<String> = wrong.filter(is_news).map(|error| error.to_string()).collect();
    for error in words.difference(told) {
        tracing::warn!(error, "a schedule is not looked at");
    }
    words
}
