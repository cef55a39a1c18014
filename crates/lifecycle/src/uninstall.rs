//! Taking KOMPASS away so that nothing is stranded.
//!
//! Each step looks at the cluster first and does what is missing, so that a run that was ended anywhere is gone on with by the
//! next one.

mod deployments;
mod helm;
mod notes;

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

pub use self::helm::Helm;
use crate::error::failed;
use crate::pending::{self, Pending};
use crate::sweep::{self, Look};
use crate::{Error, Tell, bypass, predictor};

/// Without a new gate for so long, the API servers have heard that the webhook is off.
const QUIET: Duration = Duration::from_secs(3);
/// For the predictor to give back floors, buffers and pause pods: a group takes a minute at most.
const RELEASE_LIMIT: Duration = Duration::from_secs(90);
/// For what was deleted to be gone.
const CLEAR_LIMIT: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_secs(1);

/// What is to be taken away, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespace of KOMPASS's own objects.
    pub namespace: String,
    /// How Helm is called.
    pub helm: Helm,
    /// So long waiting gangs may be started by the planner, whole, before their gates are lifted.
    pub drain: Duration,
    /// So long pods may take to get their nodes after that.
    pub timeout: Duration,
    /// Delete the pods that got no node in that time.
    pub force: bool,
}

/// What is there.
#[derive(Debug, Default)]
pub struct Plan {
    /// Pods that wait for KOMPASS.
    pub pending: Vec<Pending>,
    /// Its objects.
    pub look: Look,
    /// Helm knows the release.
    pub is_release: bool,
}

impl Plan {
    /// Nothing is left to be done.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.look.found.is_empty() && !self.is_release
    }
}

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing of KOMPASS is left. What is the administrator's, a line each.
    Gone(Vec<String>),
    /// These pods name KOMPASS's scheduler and have no node; KOMPASS's scheduler was left as it is.
    Stranded(Vec<Pending>),
    /// All is ready for it, but there is no Helm here: the command to be run.
    HelmNeeded(String),
    /// These objects are still there.
    Left(Look),
}

/// Looks, and checks that the KOMPASS in the cluster is the one that is meant.
pub async fn plan(client: &Client, options: &Options) -> Result<Plan, Error> {
    if let Some(found) = bypass::state(client).await?.and_then(|state| state.install)
        && found.split('/').next() != Some(options.namespace.as_str())
    {
        return Err(Error::AnotherInstall {
            wanted: options.namespace.clone(),
            found,
        });
    }
    Ok(Plan {
        pending: pending::list(client).await?,
        look: sweep::look(client, &options.namespace).await?,
        is_release: options.helm.is_release(client, &options.namespace).await?,
    })
}

/// Does it all.
pub async fn run(client: &Client, options: &Options, tell: Tell<'_>) -> Result<Outcome, Error> {
    let plan = plan(client, options).await?;
    let namespace = options.namespace.as_str();
    if !plan.is_empty() {
        if exists(client, namespace).await? {
            tell("1. No new pod is taken from now on.");
            bypass::set(client, namespace, "kompass uninstall").await?;
            predictor::pause(client, namespace, "kompass uninstall").await?;
        }
        if let Some(stranded) = let_go(client, options, tell).await? {
            return Ok(Outcome::Stranded(stranded));
        }
        release(client, namespace, tell).await?;
        tell("5. The services end.");
        for component in ["scheduler", "predictor", "console"] {
            deployments::scale_down(client, namespace, component, tell).await?;
        }
        if options.helm.is_release(client, namespace).await? {
            tell("6. Helm takes away what it has installed.");
            if let Some(command) = options.helm.uninstall(namespace, tell).await? {
                return Ok(Outcome::HelmNeeded(command));
            }
        }
        tell("7. What was made at run time is deleted.");
    }
    let look = sweep::clear(client, namespace, CLEAR_LIMIT, tell).await?;
    if !look.found.is_empty() {
        return Ok(Outcome::Left(look));
    }
    // Whoever names our scheduler himself has not been kept from it.
    let late = pending::list(client).await?;
    if !late.is_empty() {
        return Ok(Outcome::Stranded(late));
    }
    let mut notes = notes::read(client, namespace).await?;
    notes.extend(look.unseen.iter().map(|kind| format!("could not be looked at: {kind}")));
    Ok(Outcome::Gone(notes))
}

/// Lets every pod that waits for KOMPASS get its node; those that did not.
async fn let_go(client: &Client, options: &Options, tell: Tell<'_>) -> Result<Option<Vec<Pending>>, Error> {
    let namespace = options.namespace.as_str();
    if !options.drain.is_zero() {
        tell("2. Waiting gangs are started by the planner while there is time for it.");
        drained(client, options.drain, tell).await?;
    }
    deployments::scale_down(client, namespace, "admission-webhook", tell).await?;
    tell("2. Gates are lifted.");
    let lifted = pending::lift_all(client, QUIET, options.timeout.max(QUIET * 2)).await?;
    tell(&format!("  {} gates lifted", lifted.gates));
    for (pod, why) in &lifted.failed {
        tell(&format!("  {pod} still has its gate: {why}"));
    }
    tell("3. Pods that name KOMPASS's scheduler get their nodes.");
    let changed = |count| tell(&format!("  {count} wait"));
    let mut left = pending::until_placed(client, options.timeout, changed).await?;
    if !left.is_empty() && options.force {
        tell(&format!(
            "  deleting {} pods that got no node in time (--force)",
            left.len()
        ));
        pending::delete(client, &left).await?;
        left = pending::until_placed(client, CLEAR_LIMIT, changed).await?;
    }
    // Another's scheduler, our gate: lifting failed.
    left.extend(
        pending::list(client)
            .await?
            .into_iter()
            .filter(|pod| pod.gate.is_some() && !pod.ours),
    );
    Ok((!left.is_empty()).then_some(left))
}

async fn drained(client: &Client, limit: Duration, tell: Tell<'_>) -> Result<(), Error> {
    let (started, mut told) = (Instant::now(), usize::MAX);
    loop {
        let gated = pending::list(client)
            .await?
            .iter()
            .filter(|pod| pod.gate.is_some())
            .count();
        if gated != told {
            tell(&format!("  {gated} wait at their gate"));
            told = gated;
        }
        if gated == 0 || started.elapsed() >= limit {
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// Waits for the predictor, if one runs, to give back what it holds.
async fn release(client: &Client, namespace: &str, tell: Tell<'_>) -> Result<(), Error> {
    tell("4. Floors, buffers and pause pods are given back.");
    let started = Instant::now();
    loop {
        let held = predictor::held(client, namespace).await?;
        let is_over = held.is_nothing() || started.elapsed() >= RELEASE_LIMIT;
        if is_over || held.running == 0 {
            if held.floor_nodes > 0.0 {
                tell(&format!(
                    "  floors of {} nodes are still there; they end by themselves, within an hour unless --hold-ttl says otherwise",
                    held.floor_nodes
                ));
            }
            if let Some(why) = held.untold {
                tell(&format!(
                    "  the predictor does not tell of its floors, which end by themselves: {why}"
                ));
            }
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

async fn exists(client: &Client, namespace: &str) -> Result<bool, Error> {
    let found = within(
        REQUEST_TIMEOUT,
        Api::<Namespace>::all(client.clone()).get_opt(namespace),
    )
    .await
    .map_err(failed("read", format!("the namespace {namespace}")))?;
    Ok(found.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none()))
}
