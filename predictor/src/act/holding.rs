//! Capacity buffers and pause pods: when to look at them, and what to tell of it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kompass_service::logging::chain;
use kube::{Api, Client};
use tokio::time::Instant;

use super::journal::{Entry, Kind};
use super::metrics::ActMetrics;
use super::named::Split;
use super::options::Options;
use super::spending::Spending;
use crate::hold::plan::Kind as By;
use crate::hold::{Holder, Owner, Report, Scheduled, Wish};
use crate::state::App;

/// Between two looks when nothing has changed.
const LOOK: Duration = Duration::from_secs(30);
/// What the bill is under: there is one, for all of it.
const BILL: &str = "headroom";

/// Holds nodes by objects of Kubernetes.
pub struct Holding {
    app: Arc<App>,
    metrics: ActMetrics,
    options: Options,
    cluster: Client,
    holder: Option<Holder>,
    /// The Deployment could not be asked: nothing may be made by it.
    is_without_owner: bool,
    spending: Spending,
    done: Option<(Wish, Instant, bool)>,
    told: Option<(By, u32)>,
}

impl std::fmt::Debug for Holding {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Holding")
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl Holding {
    /// Holds nothing yet; none where floors do.
    pub fn new(app: &Arc<App>, metrics: &ActMetrics, options: &Options, cluster: Client) -> Option<Self> {
        options.holder(&app.config, None)?;
        Some(Self {
            app: Arc::clone(app),
            metrics: metrics.clone(),
            options: options.clone(),
            cluster,
            holder: None,
            is_without_owner: false,
            spending: Spending::new(app.config.settings.prices.node_hour),
            done: None,
            told: None,
        })
    }

    /// A new term has begun: others have paid for what was held meanwhile.
    pub fn begin(&mut self) {
        self.spending = Spending::new(self.app.config.settings.prices.node_hour);
        (self.done, self.told) = (None, None);
    }

    /// Brings what is there to what is wanted; tells whether it was so when it was last looked at.
    pub async fn reconcile(&mut self, now_ms: i64, split: Split, why: &str, entries: &mut Vec<Entry>) -> bool {
        let mut scheduled: Vec<Scheduled> = Vec::new();
        for named in split.named {
            // Several jobs of one schedule are held for together.
            let same = |one: &&mut Scheduled| (&one.name, one.at_ms) == (&named.name, named.at_ms);
            match scheduled.iter_mut().find(same) {
                Some(one) => one.nodes = one.nodes.saturating_add(named.nodes),
                None => scheduled.push(Scheduled {
                    name: named.name,
                    at_ms: named.at_ms,
                    nodes: named.nodes,
                }),
            }
        }
        let wish = Wish {
            statistical: split.statistical,
            scheduled,
        };
        let is_done = |(done, at, settled): &(Wish, Instant, bool)| *done == wish && *settled && at.elapsed() < LOOK;
        if self.done.as_ref().is_some_and(is_done) {
            return true;
        }
        let claim = self.app.claim.clone();
        let leads = move || claim.as_ref().is_none_or(|claim| claim.borrow().is_held());
        let done = match self.holder(wish == Wish::default()).await {
            Ok(holder) => holder
                .reconcile(&wish, now_ms, &leads)
                .await
                .map_err(|error| chain(&error)),
            Err(error) => Err(error),
        };
        match done {
            Ok(report) => {
                self.done = Some((wish, Instant::now(), report.is_settled));
                self.tell(now_ms, &report, why, entries);
                true
            }
            Err(error) => {
                self.done = None;
                self.metrics.failures.with(["buffers"]).inc();
                tracing::warn!(error, "failed to hold nodes by buffers or pause pods");
                let is_news = self.told.take().is_some();
                if is_news {
                    entries.push(Entry::new(now_ms, Kind::Object, "", "failed".to_owned(), error));
                }
                false
            }
        }
    }

    /// Made when it is first needed: the Deployment has to be asked for its UID. What is only to be released needs none.
    async fn holder(&mut self, is_release: bool) -> Result<&mut Holder, String> {
        if self.holder.is_none() || self.is_without_owner && !is_release {
            let owner = match &self.options.deployment {
                None => None,
                Some(name) => match self.owner(name).await {
                    Ok(owner) => Some(owner),
                    Err(_) if is_release => None,
                    Err(error) => return Err(error),
                },
            };
            self.is_without_owner = owner.is_none() && self.options.deployment.is_some();
            let settings = self.options.holder(&self.app.config, owner);
            self.holder = settings.map(|settings| Holder::new(self.cluster.clone(), settings));
        }
        self.holder.as_mut().ok_or_else(|| "floors hold nodes".to_owned())
    }

    async fn owner(&self, name: &str) -> Result<Owner, String> {
        let namespace = &self.options.namespace;
        let api: Api<Deployment> = Api::namespaced(self.cluster.clone(), namespace);
        let deployment = within(REQUEST_TIMEOUT, api.get(name)).await;
        let deployment = deployment.map_err(|error| {
            format!(
                "failed to find the Deployment {namespace}/{name} (--deployment): {}",
                chain(&error)
            )
        })?;
        Ok(Owner {
            name: name.to_owned(),
            uid: deployment.metadata.uid.unwrap_or_default(),
        })
    }

    fn tell(&mut self, now_ms: i64, report: &Report, why: &str, entries: &mut Vec<Entry>) {
        let by = match report.by {
            By::Buffer => "capacity buffers",
            By::PausePods => "pause pods",
        };
        self.metrics
            .held_node_seconds
            .inc_by(self.spending.hold(BILL, report.nodes, now_ms));
        if self.told.replace((report.by, report.nodes)) == Some((report.by, report.nodes)) {
            return;
        }
        let what = format!("hold {} nodes by {by}", report.nodes);
        tracing::info!(what, why, "buffers");
        let mut entry = Entry::new(now_ms, Kind::Object, by, what, why.to_owned());
        if report.nodes == 0 {
            let (words, cost) = self.spending.end(BILL, now_ms);
            entry.what = format!("hold nothing any more: {words}");
            entry.cost = Some(cost);
        }
        entries.push(entry);
    }
}
