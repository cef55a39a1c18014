//! Learns from the past on a schedule.
//!
//! When what was learned does not fit any more ([`crate::follow`]), it learns at once. What goes wrong costs nothing but time: the model in use stays until there is a better one, and why is said.

use std::sync::Arc;
use std::time::Duration;

use kompass_prometheus::history;
use kompass_service::logging::chain;
use kompass_service::readiness::Condition;
use tokio_util::sync::CancellationToken;

use crate::model::{self, Model};
use crate::state::App;
use crate::{kept, shelf};

/// Pauses after failures: doubled from the first to the longest. A Prometheus that comes with the same install is up, and has
/// its first samples, within a minute or two.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
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
    if restore(&app, &end).await {
        ready.met();
        app.tried.notify_one();
    }
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
            () = app.drifted.notified() => {}
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
    let settings = app.config.settings.clone();
    let (before, schedules) = {
        let state = app.state();
        let schedules = Arc::clone(&state.schedules);
        // Errors of a model that has drifted say nothing about the next one.
        (state.model.clone().filter(|_| !state.demoted), schedules)
    };
    let go_on = end.clone();
    // It looks at the token often, so the end need not wait for it long.
    let learned = tokio::task::spawn_blocking(move || {
        model::learn(history, &settings, &schedules, before.as_deref(), &|| {
            !go_on.is_cancelled()
        })
    });
    match learned.await {
        Ok(Ok(model)) => {
            let model = use_it(app, model);
            keep(app, model).await;
            Outcome::Learned
        }
        Ok(Err(error)) if error.is_too_little() => Outcome::TooLittle(chain(&error)),
        Ok(Err(_stopped)) => Outcome::Stopped,
        Err(panicked) => Outcome::Failed(format!("failed to learn from the past: {panicked}")),
    }
}

fn use_it(app: &App, model: Model) -> Arc<Model> {
    let (gangs, too_large, unknown_s) = (model.gangs.len(), model.too_large, model.unknown_ms / 1_000);
    tracing::info!(gangs, too_large, unknown_s, choice = %model.choice, "learned from the past");
    let model = Arc::new(model);
    app.state().model = Some(Arc::clone(&model));
    model
}

/// Keeps what a model was learned from, if there is a folder for it.
async fn keep(app: &App, model: Arc<Model>) {
    let Some(folder) = app.config.model_dir.clone() else {
        return;
    };
    let written = tokio::task::spawn_blocking(move || shelf::write(&folder, &kept::encode(&model)));
    let trouble = match written.await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(panicked) => Some(format!("failed to keep the past: {panicked}")),
    };
    let result = if trouble.is_none() { "written" } else { "failed" };
    app.metrics.model_files.with([result]).inc();
    if let Some(trouble) = &trouble {
        tracing::warn!(trouble, "a start without Prometheus will know less");
    }
    app.state().file_trouble = trouble;
}

/// Learns from the past that was kept, if there is one, so that a start need not wait for Prometheus. Whether it has.
async fn restore(app: &App, end: &CancellationToken) -> bool {
    let Some(folder) = app.config.model_dir.clone() else {
        return false;
    };
    let (settings, now_ms, go_on) = (app.config.settings.clone(), app.now_ms(), end.clone());
    let learned = tokio::task::spawn_blocking(move || {
        let (history, trouble) = shelf::load(&folder, now_ms);
        let learned = history.map(|history| model::learn(history, &settings, &[], None, &|| !go_on.is_cancelled()));
        (learned, trouble)
    });
    let (learned, trouble) = match learned.await {
        Ok((Some(Ok(model)), trouble)) => (Some(model), trouble),
        Ok((Some(Err(error)), _)) => (None, Some(chain(&error))),
        Ok((None, trouble)) => (None, trouble),
        Err(panicked) => (None, Some(format!("failed to learn from the past: {panicked}"))),
    };
    if let Some(trouble) = &trouble {
        tracing::warn!(trouble, "of the model files not all is of use");
    }
    app.state().file_trouble = trouble;
    let result = if learned.is_some() { "restored" } else { "not-restored" };
    app.metrics.model_files.with([result]).inc();
    learned.is_some_and(|model| {
        use_it(app, model);
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_an_hour() {
        let seconds = [0, 1, 2, 8, 9, 31, u32::MAX].map(|failures| pause(failures).as_secs());
        assert_eq!(seconds, [5, 10, 20, 1_280, 1_800, 1_800, 1_800]);
    }
}
