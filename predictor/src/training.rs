//! Learns from the past on a schedule.
//!
//! What goes wrong costs nothing but time: the model in use stays until there is a better one, and why is said.

use std::sync::Arc;
use std::time::Duration;

use kompass_prometheus::history;
use kompass_service::logging::chain;
use kompass_service::readiness::Condition;
use tokio_util::sync::CancellationToken;

use crate::model;
use crate::state::App;

/// Pauses after failures: doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(30);
/// A past that is too short is looked at again so soon.
const TOO_LITTLE_PAUSE: Duration = Duration::from_hours(1);

/// What came of an attempt.
enum Outcome {
    Learned,
    TooLittle(String),
    Failed(String),
    Stopped,
}

/// Learns again and again until `end`. `ready` is met by the first model, or once it is known that the past has too little
/// for one.
pub async fn run(app: Arc<App>, ready: Condition, end: CancellationToken) {
    let mut failures = 0;
    loop {
        let timer = app.metrics.training_seconds.start_timer();
        let outcome = once(&app, &end).await;
        drop(timer);
        let every = app.config.train_every;
        let (result, trouble, pause) = match outcome {
            Outcome::Stopped => return,
            Outcome::Learned => ("learned", None, every),
            Outcome::TooLittle(why) => ("too-little", Some(why), TOO_LITTLE_PAUSE.min(every)),
            Outcome::Failed(why) => ("failed", Some(why), pause(failures).min(every)),
        };
        failures = if result == "failed" { failures + 1 } else { 0 };
        app.metrics.trainings.with([result]).inc();
        tell(&ready, result, trouble.as_deref(), pause);
        app.state().trouble = trouble;
        app.tried.notify_one();
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn tell(ready: &Condition, result: &str, trouble: Option<&str>, pause: Duration) {
    if result != "failed" {
        ready.met();
    }
    if let Some(trouble) = trouble {
        ready.concern(trouble);
        let again_s = pause.as_secs();
        tracing::warn!(result, trouble, again_s, "nothing new was learned");
    }
}

const fn pause(failures: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << if failures < 10 { failures } else { 10 });
    if pause.as_secs() < LONGEST_PAUSE.as_secs() {
        pause
    } else {
        LONGEST_PAUSE
    }
}

async fn once(app: &Arc<App>, end: &CancellationToken) -> Outcome {
    let (now_ms, since) = (app.clock.now_ms(), app.config.since);
    let read = tokio::select! {
        biased;
        () = end.cancelled() => return Outcome::Stopped,
        read = history(&app.config.whole, since, now_ms) => read,
    };
    let history = match read {
        Ok(history) => history,
        Err(error) => return Outcome::Failed(chain(&error)),
    };
    for dropped in &history.dropped {
        tracing::info!(count = dropped.count, reason = dropped.reason.words(), "of the past");
    }
    for warning in &history.warnings {
        tracing::warn!(warning, "Prometheus has something to say about its answers");
    }
    let (settings, before) = (app.config.settings, app.state().model.clone());
    let go_on = end.clone();
    // It looks at the token often, so the end need not wait for it long.
    let learned = tokio::task::spawn_blocking(move || {
        model::learn(history, &settings, before.as_deref(), &|| !go_on.is_cancelled())
    });
    match learned.await {
        Ok(Ok(model)) => {
            let (gangs, too_large, unknown_s) = (model.gangs.len(), model.too_large, model.unknown_ms / 1_000);
            tracing::info!(gangs, too_large, unknown_s, choice = %model.choice, "learned from the past");
            app.state().model = Some(Arc::new(model));
            Outcome::Learned
        }
        Ok(Err(error)) if error.is_too_little() => Outcome::TooLittle(chain(&error)),
        Ok(Err(_stopped)) => Outcome::Stopped,
        Err(panicked) => Outcome::Failed(format!("failed to learn from the past: {panicked}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_an_hour() {
        let minutes: Vec<u64> = [0, 1, 2, 4, 5, 31, u32::MAX]
            .map(|failures| pause(failures).as_secs() / 60)
            .to_vec();
        assert_eq!(minutes, [1, 2, 4, 16, 30, 30, 30]);
    }
}
