//! Decides at every tick: reads the last day, and tells what came of it.

use std::sync::Arc;
use std::time::Duration;

use kompass_prometheus::history;
use kompass_service::logging::chain;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::act::journal;
use crate::state::App;
use crate::tick::{Event, Ticked, Ticker};

/// A little more than the day that rules look at closely.
const LATELY: Duration = Duration::from_hours(26);
/// What is said where it was not tried yet to learn.
const NOTHING_YET: &str = "nothing has been learned yet";

/// Ticks until `end`, from the first attempt to learn on.
pub async fn run(app: Arc<App>, end: CancellationToken) -> Result<(), Error> {
    tokio::select! {
        biased;
        () = end.cancelled() => return Ok(()),
        () = app.tried.notified() => {}
    }
    let tick = Duration::from_millis(app.config.settings.timing.tick_ms.unsigned_abs());
    let mut ticks = tokio::time::interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticker = Ticker::new(app.config.settings.clone());
    loop {
        tokio::select! {
            biased;
            () = end.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let lately = tokio::select! {
            biased;
            () = end.cancelled() => return Ok(()),
            lately = history(&app.config.lately, LATELY, app.clock.now_ms()) => lately,
        };
        let lately = lately.map_err(|error| chain(&error));
        if lately.is_err() {
            app.metrics.failed_reads.inc();
        }
        let (model, trouble, schedules, acts) = {
            let state = app.state();
            let schedules = Arc::clone(&state.schedules);
            (state.model.clone(), state.why_no_model(), schedules, state.acts)
        };
        let now_ms = app.now_ms();
        let given = tokio::task::spawn_blocking(move || {
            let why = trouble.as_deref().unwrap_or(NOTHING_YET);
            let model = model.as_deref().ok_or(why);
            let schedules = &schedules;
            let event = Event {
                lately,
                model,
                schedules,
                acts,
            };
            let given = ticker.tick(now_ms, event);
            (ticker, given)
        });
        let (kept, given) = given.await.map_err(Error)?;
        ticker = kept;
        tell(&app, given);
    }
}

/// A decision could not be made: a mistake in the program.
#[derive(Debug, thiserror::Error)]
#[error("failed to decide")]
pub struct Error(#[source] tokio::task::JoinError);

fn tell(app: &App, given: Ticked) {
    let Ticked {
        decision,
        verdict,
        certain,
        runtimes,
        shapes,
        followed,
        arrivals,
        unknown_ms,
        gaps,
    } = given;
    let metrics = &app.metrics;
    let kind = if decision.reactive { "reactive" } else { "rule" };
    metrics.decisions.with([kind]).inc();
    metrics.decision_nodes.set(f64::from(decision.nodes));
    let certain_nodes = certain.iter().map(|certain| f64::from(certain.nodes)).sum();
    metrics.certain_nodes.set(certain_nodes);
    metrics.hits.inc_by(verdict.all.hits);
    metrics.misses.inc_by(verdict.all.misses);
    metrics
        .idle_node_seconds
        .inc_by(verdict.all.idle_node_ms as f64 / 1_000.0);
    if let Some(act) = &app.act {
        act.metrics.judged(verdict.acted);
    }
    metrics.unknown_seconds.set(unknown_ms as f64 / 1_000.0);
    metrics.gaps.set_count(gaps);
    metrics.forecasts.tell(&followed);
    if let Some(drift) = followed.drift {
        tracing::warn!(%drift, "the model is demoted until another has proved itself for a day");
        app.drifted.notify_one();
    }
    let mut state = app.state();
    let last = state.decisions().front();
    // One line for each change, not for each tick.
    if last.is_none_or(|last| (last.nodes, last.reactive) != (decision.nodes, decision.reactive)) {
        tracing::info!(nodes = decision.nodes, reason = decision.reason, "decided");
    }
    if app.act.is_some() {
        state
            .journal
            .extend(journal::verdict(&app.config.settings, decision.at_ms, verdict.acted));
    }
    state.decided(decision);
    state.certain = certain;
    state.runtimes = Arc::new(runtimes);
    state.shapes = Arc::new(shapes);
    state.demoted = followed.demoted;
    state.outlook = Some(followed.outlook);
    state.arrivals = arrivals;
    drop(state);
    app.decided.notify_one();
}
