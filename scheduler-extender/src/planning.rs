//! The planning loop: wakes on every change, lets the planner decide while the lease is ours, hands its orders out.

use std::sync::Arc;
use std::time::Duration;

use kompass_kube::lease::Term;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::orders::{Tools, Workers};
use crate::state::App;

/// How long the loop sleeps at most, so that a missed wake heals.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A decision that takes less than this delays nobody.
const SHORT: Duration = Duration::from_millis(1);
/// After a longer one the loop pauses as long, and no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Plans until `end`; then the orders under way are finished and `done` is cancelled, after which the lease may go.
pub async fn run(tools: Arc<Tools>, end: CancellationToken, done: CancellationToken) {
    let app = Arc::clone(&tools.app);
    let (workers, mut tasks) = Workers::start(&tools);
    let mut claim = app.claim.clone();
    let mut term = None;
    loop {
        term = follow(&app, term);
        let again = decide(&app, &workers).await;
        if again {
            // Filter calls that wait for the planner come first.
            tokio::task::yield_now().await;
            if end.is_cancelled() {
                break;
            }
            continue;
        }
        let wake = next_wake(&app, term);
        tokio::select! {
            biased;
            () = end.cancelled() => break,
            () = app.wake.notified() => {}
            changed = claim.changed() => {
                if changed.is_err() {
                    // The lease's task has ended: without it nothing may be planned.
                    break;
                }
            }
            () = sleep_until(wake) => {}
        }
    }
    app.planner(|planner, _| planner.step_down());
    app.metrics.leader.set_bool(false);
    drop(workers);
    while tasks.join_next().await.is_some() {}
    done.cancel();
    end.cancelled().await;
}

/// Lets the planner take over or step down as the lease says.
fn follow(app: &App, led: Option<Term>) -> Option<Term> {
    let term = app.claim.borrow().term();
    // A term that is renewed keeps its beginning.
    if led.map(|led| led.since) == term.map(|term| term.since) {
        return term;
    }
    if let Some(term) = term {
        let hold = hold_back(term, app.limits.bind_deadline, Instant::now());
        tracing::info!(hold_ms = hold.as_millis(), "planning from now on");
        let hold_ms = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
        app.planner(|planner, now_ms| planner.take_over(now_ms.saturating_add(hold_ms)));
    } else {
        tracing::info!("not planning any more: the lease is not ours");
        app.planner(|planner, _| planner.step_down());
    }
    app.metrics.leader.set_bool(term.is_some());
    term
}

/// How long no new plan is made: Binds of whoever led before may still be on their way for as long as their deadline.
fn hold_back(term: Term, bind_deadline: Duration, now: Instant) -> Duration {
    if term.predecessor {
        (term.since + bind_deadline).saturating_duration_since(now)
    } else {
        Duration::ZERO
    }
}

async fn decide(app: &App, workers: &Workers) -> bool {
    let started = Instant::now();
    let decision = app.planner(kompass_planner::Planner::decide);
    let took = started.elapsed();
    app.metrics.decide_seconds.observe(took.as_secs_f64());
    for order in decision.orders {
        workers.send(order).await;
    }
    if took >= SHORT {
        // At most half of the time is spent with the planner locked, and what comes meanwhile is decided on together.
        sleep(took.min(LONGEST_PAUSE)).await;
    }
    decision.again
}

fn next_wake(app: &App, term: Option<Term>) -> Instant {
    let now = Instant::now();
    let latest = now + LONGEST_SLEEP;
    let planned = app.planner(|planner, now_ms| {
        let wait_ms = planner.next_wake()?.saturating_sub(now_ms).max(0);
        Some(now + Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).max(Duration::from_millis(1)))
    });
    let ends = term.map(|term| term.until);
    [planned, ends]
        .into_iter()
        .flatten()
        .fold(latest, Instant::min)
        .max(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_held_back_only_while_anothers_binds_can_arrive() {
        let since = Instant::now();
        let term = |predecessor| Term {
            since,
            until: since + Duration::from_secs(10),
            predecessor,
        };
        let deadline = Duration::from_secs(3);
        assert_eq!(
            hold_back(term(true), deadline, since + Duration::from_secs(1)),
            Duration::from_secs(2)
        );
        assert_eq!(
            hold_back(term(true), deadline, since + Duration::from_secs(9)),
            Duration::ZERO
        );
        assert_eq!(hold_back(term(false), deadline, since), Duration::ZERO);
    }
}
