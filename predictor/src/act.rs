//! Holds in truth what is decided: floors of node groups, or capacity buffers and pause pods.
//!
//! ```text
//!  decision, pause, lease ──> aim ──> named: for whom ──> floors (AWS) or hold (Kubernetes) ──> journal, metrics
//!                               ▲
//!        watches ──> feed ──> view: busy nodes, bound drivers
//! ```
//!
//! Whatever ends this process, what is held ends by itself: floors by a scheduled action of AWS, buffers and pause pods by
//! their time. It never sets a desired capacity: nodes are the autoscaler's.
//!
//! Pure are [`aim`], [`named`], [`view`], [`journal`] and [`spending`].

pub mod aim;
pub mod board;
pub mod diary;
pub mod feed;
pub mod floors;
pub mod holding;
pub mod journal;
pub mod listed;
pub mod machines;
pub mod metrics;
pub mod named;
pub mod options;
pub mod pause;
pub mod spending;
pub mod view;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kompass_aws::{Autoscaling, Operation};
use kompass_kube::lease::Term;
use kompass_service::logging::chain;
use kube::Client;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::aim::{Aim, Pause, Sight};
use self::board::Board;
use self::feed::Shared;
use self::floors::{Floors, Wish};
use self::holding::Holding;
use self::journal::{Entry, Kind};
use self::machines::Machines;
use self::metrics::ActMetrics;
use self::named::{Named, Split};
use self::options::Options;
use crate::state::App;

/// Between two looks at what is to be held; a decision wakes it at once.
const ROUND: Duration = Duration::from_secs(5);
/// So long the API server may be silent before nothing is touched any more.
const SILENT: Duration = Duration::from_mins(1);
/// A disk may hang.
const JOURNAL_LIMIT: Duration = Duration::from_secs(2);
/// Between two looks at what the autoscaler is told of.
const LISTED: Duration = Duration::from_mins(10);
const LISTED_AGAIN: Duration = Duration::from_mins(1);

/// What it is made of.
pub struct Parts {
    /// What is decided.
    pub app: Arc<App>,
    /// What is counted.
    pub metrics: ActMetrics,
    /// How nodes are held.
    pub options: Options,
    /// Where pods and objects are.
    pub cluster: Client,
    /// Who is busy there.
    pub view: Shared,
    /// What machines cost.
    pub machines: Machines,
    /// What the expander knows.
    pub board: Arc<Board>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Parts")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Asks AWS as `options` say, and counts that.
pub async fn aws(options: &Options, metrics: &ActMetrics) -> Result<kompass_aws::Config, kompass_aws::Error> {
    let requests = metrics.cloud_requests.clone();
    let observer = move |operation: Operation, result: &'static str| {
        requests.with([operation.name(), result]).inc();
    };
    let options = kompass_aws::Options {
        region: options.region.clone(),
        observer: Some(Arc::new(observer)),
        ..kompass_aws::Options::default()
    };
    kompass_aws::Config::load(options).await
}

/// What acts.
pub struct Act {
    app: Arc<App>,
    metrics: ActMetrics,
    options: Options,
    cluster: Client,
    view: Shared,
    machines: Machines,
    board: Arc<Board>,
    floors: Option<Floors>,
    holding: Option<Holding>,
    named: Named,
    pause: Pause,
    heard: Option<Instant>,
    /// When it is next looked who is listed.
    listed: Option<Instant>,
    term: Option<Term>,
    told: Option<Aim>,
}

impl std::fmt::Debug for Act {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Act")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Act {
    /// Makes what it needs; nothing is done yet. `aws` where floors hold nodes.
    pub fn new(parts: Parts, aws: Option<&kompass_aws::Config>) -> Self {
        let Parts {
            app,
            metrics,
            options,
            cluster,
            view,
            machines,
            board,
        } = parts;
        let floors = aws.map(|aws| {
            let (clock, claim) = (app.clock.clone(), app.claim.clone());
            let node_hour = app.config.settings.prices.node_hour;
            let rules = options.rules(&app.config);
            Floors::new(Autoscaling::new(aws), clock, claim, metrics.clone(), rules, node_hour)
        });
        let holding = Holding::new(&app, &metrics, &options, cluster.clone());
        Self {
            app,
            metrics,
            options,
            cluster,
            view,
            machines,
            board,
            floors,
            holding,
            named: Named::default(),
            pause: Pause::Unknown,
            heard: None,
            listed: None,
            term: None,
            told: None,
        }
    }

    /// Acts until `end`. What is held then stays, for the replica that comes next, and ends by itself without one.
    pub async fn run(mut self, end: CancellationToken) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let app = Arc::clone(&self.app);
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = app.decided.notified() => {}
                _ = rounds.tick() => {}
            }
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = self.round() => {}
            }
        }
    }

    async fn round(&mut self) {
        self.ask_whether_paused().await;
        self.note_term();
        let now_ms = self.app.now_ms();
        let aim = {
            let state = self.app.state();
            let pays = state.pays();
            let decision = state.decisions().front();
            // Also while another acts: who takes over goes on with it.
            if let Some(decision) = decision {
                self.named.note(decision.at_ms, &state.certain);
            }
            let sight = Sight {
                decision,
                pays: pays.as_ref().map_err(String::as_str).copied(),
                leads: self.app.leader().leads,
                pause: &self.pause,
            };
            aim::aim(now_ms, sight)
        };
        let mut entries = Vec::new();
        self.tell(now_ms, &aim, &mut entries);
        if aim.nodes().is_none() {
            self.stand_down();
        }
        let mut is_held = false;
        if let Some(nodes) = aim.nodes()
            && self.heard.is_some_and(|heard| heard.elapsed() < SILENT)
        {
            is_held = self.hold(now_ms, nodes, aim.why(), &mut entries).await;
        }
        self.told = Some(aim);
        {
            let mut state = self.app.state();
            state.acts = is_held && self.pause == Pause::Off && state.pays().is_ok();
        }
        self.keep(entries).await;
        self.metrics.rounds.inc();
    }

    /// Another acts, or nothing is known yet.
    fn stand_down(&self) {
        self.board.clear();
        self.metrics.ready_nodes.set(f64::NAN);
        if let Some(floors) = &self.floors {
            floors.stand_down();
        }
    }

    /// Brings what is held to this number of nodes; tells whether they are held, or on their way.
    async fn hold(&mut self, now_ms: i64, nodes: u32, why: &str, entries: &mut Vec<Entry>) -> bool {
        let (shape, constraints) = (self.app.config.settings.shape, &self.options.constraints);
        let named = &mut self.named;
        let seen = self.view.look(|view| {
            let split = named.split(now_ms, nodes, |key, from_ms| view.is_bound(key, from_ms));
            let ready = view.ready(shape, constraints);
            (split, view.busy_instances(), view.is_pending(now_ms), ready)
        });
        // What is only to be given back needs no view.
        let seen = seen.or_else(|| (nodes == 0).then(|| (Split::default(), BTreeSet::new(), false, 0)));
        let Some((split, busy, pending, ready)) = seen else {
            return false;
        };
        self.metrics.ready_nodes.set(ready as f64);
        self.ask_who_is_listed().await;
        let wish = Wish {
            nodes: split.nodes(),
            busy,
            pending,
            why: why.to_owned(),
        };
        let mut is_held = false;
        if let Some(floors) = &mut self.floors {
            let facts = self.machines.facts();
            floors.note_facts(facts.clone(), self.app.config.settings.timing.ready_ms);
            let done = floors.reconcile(&wish, entries).await;
            is_held = done.is_ok() && floors.fleet().unmet() == 0;
            if let Err(error) = done {
                self.metrics.failures.with(["floors"]).inc();
                tracing::warn!(error = chain(&error), "failed to bring floors up to date");
            }
            let types = floors.fleet().members();
            let types = types.filter_map(|(_, member)| member.instance_type().map(str::to_owned));
            self.machines.set_types(types.collect());
            self.board.show(floors.fleet(), &facts);
        }
        if let Some(holding) = &mut self.holding {
            is_held = holding.reconcile(now_ms, split, why, entries).await;
        }
        is_held
    }

    async fn ask_whether_paused(&mut self) {
        match pause::read(&self.cluster, &self.options.namespace).await {
            Ok(pause) => {
                self.heard = Some(Instant::now());
                self.pause = pause;
            }
            Err(error) => {
                self.metrics.failures.with(["pause"]).inc();
                tracing::warn!(error = chain(&error), "failed to ask whether it is paused");
            }
        }
        self.metrics.paused.set_bool(matches!(self.pause, Pause::On(_)));
    }

    async fn ask_who_is_listed(&mut self) {
        let Some(floors) = &mut self.floors else { return };
        if self.listed.is_some_and(|again| Instant::now() < again) {
            return;
        }
        let namespace = &self.options.autoscaler_namespace;
        let pause = match listed::read(&self.cluster, namespace).await {
            Ok(found) => {
                if found.autoscalers == 0 {
                    let what =
                        "no pod of cluster-autoscaler there: if it is elsewhere, say so by --autoscaler-namespace";
                    tracing::warn!(namespace, "{what}");
                }
                floors.set_listed(found.groups);
                LISTED
            }
            Err(error) => {
                let what = "failed to look for cluster-autoscaler's --nodes; no floor is raised until the predictor may list \
                            pods there";
                tracing::warn!(namespace, error = chain(&error), "{what}");
                LISTED_AGAIN
            }
        };
        self.listed = Some(Instant::now() + pause);
    }

    /// With another term, others may have written in between.
    fn note_term(&mut self) {
        let term = self.app.claim.as_ref().and_then(|claim| claim.borrow().term());
        let is_other = term.map(|term| term.since) != self.term.map(|term| term.since);
        self.term = term;
        let Some(term) = term.filter(|_| is_other) else {
            return;
        };
        if let Some(floors) = &mut self.floors {
            floors.begin(self.options.rules(&self.app.config), term);
            self.listed = None;
        }
        if let Some(holding) = &mut self.holding {
            holding.begin();
        }
    }

    /// One line and one entry for each change.
    fn tell(&self, now_ms: i64, aim: &Aim, entries: &mut Vec<Entry>) {
        let (nodes, why) = (aim.nodes(), aim.why());
        self.metrics.aim_nodes.set(nodes.map_or(f64::NAN, f64::from));
        let is_news = self.told.as_ref().map(Aim::nodes) != Some(nodes);
        if is_news && let Some(nodes) = nodes {
            tracing::info!(nodes, why, "holding");
            let what = format!("hold {nodes} empty nodes");
            entries.push(Entry::new(now_ms, Kind::Aim, "", what, why.to_owned()));
        }
        why.clone_into(&mut self.app.state().aim);
    }

    async fn keep(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        self.app.state().journal.extend(entries.iter().cloned());
        let Some(path) = self.options.journal.clone() else {
            return;
        };
        if let Err(error) = write(path, entries).await {
            tracing::warn!(error, "an entry of the journal is not in its file");
        }
    }
}

async fn write(path: PathBuf, entries: Vec<Entry>) -> Result<(), String> {
    let writing = tokio::task::spawn_blocking(move || diary::append(&path, &entries));
    match tokio::time::timeout(JOURNAL_LIMIT, writing).await {
        Ok(Ok(written)) => written.map_err(|error| chain(&error)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err(format!(
            "failed to write the journal within {JOURNAL_LIMIT:?}: its disk does not answer"
        )),
    }
}
