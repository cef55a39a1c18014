//! What the tasks of the service share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kompass_forecast::runtimes::Runtimes;
use kompass_service::clock::Clock;
use tokio::sync::Notify;

use crate::args::Config;
use crate::decide::Decision;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::outlook::Outlook;

/// Decisions that are kept to be shown: those of a day.
const DECISIONS_MAX: usize = 288;

/// The service.
#[derive(Debug)]
pub struct App {
    /// What it runs with.
    pub config: Config,
    /// What it tells the time by.
    pub clock: Clock,
    /// What it counts.
    pub metrics: Metrics,
    /// It was tried to learn from the past.
    pub tried: Notify,
    state: Mutex<State>,
}

/// What is known now.
#[derive(Debug, Default)]
pub struct State {
    /// The model in use.
    pub model: Option<Arc<Model>>,
    /// What went wrong when it was last tried to learn anew.
    pub trouble: Option<String>,
    /// How long gangs ran.
    pub runtimes: Arc<Runtimes>,
    /// What is expected.
    pub outlook: Option<Outlook>,
    decisions: VecDeque<Decision>,
}

impl App {
    /// Knows nothing yet.
    pub fn new(config: Config, clock: Clock, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            config,
            clock,
            metrics,
            tried: Notify::new(),
            state: Mutex::default(),
        })
    }

    /// Milliseconds since 1970 UTC.
    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX)
    }

    /// What is known now. Not to be held while anything is waited for.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // What is behind it is never left half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the gauges up to date that change by themselves.
    pub fn show(&self) {
        let until_ms = self.state().model.as_ref().map(|model| model.until_ms);
        let age = until_ms.map_or(f64::NAN, |until_ms| (self.now_ms() - until_ms) as f64 / 1_000.0);
        self.metrics.model_age_seconds.set(age);
    }
}

impl State {
    /// Keeps a decision.
    pub fn decided(&mut self, decision: Decision) {
        self.decisions.push_front(decision);
        self.decisions.truncate(DECISIONS_MAX);
    }

    /// The last ones first.
    pub fn decisions(&self) -> &VecDeque<Decision> {
        &self.decisions
    }
}
