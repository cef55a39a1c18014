//! What the tasks of the service share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kompass_forecast::runtimes::Runtimes;
use kompass_forecast::shapes::Shapes;
use kompass_kube::lease::Claim;
use kompass_service::clock::Clock;
use tokio::sync::{Notify, watch};

use crate::act::journal::Journal;
use crate::act::metrics::ActMetrics;
use crate::args::Config;
use crate::arrivals::Arrivals;
use crate::certain::Certain;
use crate::decide::Decision;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::outlook::Outlook;
use crate::schedule::Schedule;

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
    /// What was learned does not fit any more.
    pub drifted: Notify,
    /// There is another decision.
    pub decided: Notify,
    /// What only a predictor that acts has.
    pub act: Option<Acting>,
    /// Of the lease; without one there is nobody else.
    pub claim: Option<watch::Receiver<Claim>>,
    state: Mutex<State>,
}

/// What only a predictor that acts has.
#[derive(Debug, Clone)]
pub struct Acting {
    /// What it counts of that.
    pub metrics: ActMetrics,
}

/// Who recommends, or acts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Leader {
    /// It is this replica.
    pub leads: bool,
    /// The lease's holder, as far as is known; none without a lease.
    pub holder: Option<String>,
}

/// What is known now.
#[derive(Debug, Default)]
pub struct State {
    /// The model in use.
    pub model: Option<Arc<Model>>,
    /// What went wrong when it was last tried to learn anew.
    pub trouble: Option<String>,
    /// What was wrong with the model files.
    pub file_trouble: Option<String>,
    /// What starts jobs at times that are known.
    pub schedules: Arc<Vec<Schedule>>,
    /// How long gangs ran.
    pub runtimes: Arc<Runtimes>,
    /// How many executors of which size they had.
    pub shapes: Arc<Shapes>,
    /// What is expected.
    pub outlook: Option<Outlook>,
    /// What else is.
    pub arrivals: Arrivals,
    /// The forecasts of the model in use are not followed: it has drifted, or the one before it had.
    pub demoted: bool,
    /// What is certain to be started soon.
    pub certain: Vec<Certain>,
    /// What is decided is held in truth.
    pub acts: bool,
    /// What is held now, in words; shown with the journal.
    pub aim: String,
    /// What was done.
    pub journal: Journal,
    decisions: VecDeque<Decision>,
}

impl App {
    /// Knows nothing yet.
    pub fn new(
        config: Config,
        clock: Clock,
        metrics: Metrics,
        act: Option<Acting>,
        claim: Option<watch::Receiver<Claim>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            act,
            decided: Notify::new(),
            config,
            clock,
            metrics,
            tried: Notify::new(),
            drifted: Notify::new(),
            claim,
            state: Mutex::default(),
        })
    }

    /// Who recommends now. A claim that was not renewed in time has ended, even if nothing else has noticed yet.
    pub fn leader(&self) -> Leader {
        let Some(claim) = &self.claim else {
            return Leader {
                leads: true,
                holder: None,
            };
        };
        let claim = claim.borrow();
        Leader {
            leads: claim.is_held(),
            holder: claim.holder.clone(),
        }
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
        let leads = self.leader().leads;
        self.metrics.leads.set_bool(leads);
        if let Some(recommended) = &self.metrics.recommended_nodes {
            // Never more than one number for those who follow it.
            let nodes = self
                .state()
                .decisions()
                .front()
                .map(|decision| f64::from(decision.nodes));
            recommended.set(nodes.filter(|_| leads).unwrap_or(f64::NAN));
        }
    }
}

impl State {
    /// Keeps a decision.
    pub fn decided(&mut self, decision: Decision) {
        self.decisions.push_front(decision);
        self.decisions.truncate(DECISIONS_MAX);
    }

    /// Whether the newest backtest says that the rule pays; else why not.
    pub fn pays(&self) -> Result<(), String> {
        let Some(model) = &self.model else {
            return Err(self
                .why_no_model()
                .unwrap_or_else(|| "nothing has been learned yet".to_owned()));
        };
        match model.choice.interval {
            Some(_) => Ok(()),
            None => Err(model.choice.to_string()),
        }
    }

    /// What went wrong, with the past and with the files of it.
    pub fn why_no_model(&self) -> Option<String> {
        let troubles: Vec<&str> = [&self.trouble, &self.file_trouble]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    /// The last ones first.
    pub fn decisions(&self) -> &VecDeque<Decision> {
        &self.decisions
    }
}
