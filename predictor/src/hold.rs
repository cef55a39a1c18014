//! Holds empty nodes where no floor of a node group does (EKS-managed groups, Karpenter): by capacity buffers where the API
//! server serves them and an autoscaler looks at them, by Jobs of pause pods otherwise. Never by both for one wish.
//!
//! Whatever is made ends by itself: each object carries a stamp ([`names::EXPIRES_ANNOTATION`]) that is renewed while it is
//! wanted, the scheduler extender's leader removes what is past it, and a Job has a deadline. All of it belongs to the
//! predictor's Deployment and goes with it. The wish says what is wanted *now*; the decision is made elsewhere.
//!
//! Pure are [`objects`] and [`plan`].

mod buffers;
pub mod objects;
mod pause_pods;
pub mod plan;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;
use kompass_capacity::Shape;
use kompass_core::{Constraints, names};
use kompass_kube::buffers as api;
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError};
use kube::Client;
use kube::api::ApiResource;

use self::plan::{Action, Held, Kind, State};

/// A write takes no longer: a lease has five seconds of margin before another may write.
const WRITE_LIMIT: std::time::Duration = std::time::Duration::from_secs(4);
/// The name that fields are owned under.
const MANAGER: &str = "kompass-predictor";

/// What is to be held now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Empty nodes for gangs that the past lets expect; they are bought again when gangs have taken them.
    pub statistical: u32,
    /// Empty nodes for gangs that start at known times.
    pub scheduled: Vec<Scheduled>,
}

/// Nodes for one gang that is to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// What starts it.
    pub name: String,
    /// When, milliseconds since 1970. Another time is another gang.
    pub at_ms: i64,
    /// How many it still lacks: fewer as its pods are bound. More than it has had once is not held again.
    pub nodes: u32,
}

/// What nodes are held for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Gangs that the past lets expect.
    Statistical,
    /// A gang that starts at a known time.
    Scheduled {
        /// What starts it.
        name: String,
        /// When, milliseconds since 1970.
        at_ms: i64,
    },
}

/// What an empty node is, and how much of them may be held.
#[derive(Debug, Clone)]
pub struct Limits {
    /// What a node offers to pods beside those of DaemonSets.
    pub shape: Shape,
    /// Which nodes: selector and tolerations.
    pub constraints: Constraints,
    /// The image of pods that sleep.
    pub image: String,
    /// No more nodes than this at any time.
    pub nodes_max: u32,
    /// How long nodes are held after the last word of the predictor, milliseconds.
    pub ttl_ms: i64,
}

/// The Deployment of the predictor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its name, in the namespace that is held in.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What to hold by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Means {
    /// Buffers if there are any and they are looked at.
    #[default]
    Auto,
    /// Pause pods, whatever there is.
    PausePods,
}

/// What [`Holder`] runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// KOMPASS's own namespace, in which everything is made.
    pub namespace: String,
    /// What is held, and how much at most.
    pub limits: Limits,
    /// Whom it belongs to; none where the predictor is not a Deployment.
    pub owner: Option<Owner>,
    /// By what.
    pub means: Means,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// By what nodes are held.
    pub by: Kind,
    /// How many are asked for now.
    pub nodes: u32,
    /// Objects that were made or changed.
    pub applied: usize,
    /// Objects that were removed.
    pub deleted: usize,
    /// Pause pods that were shown to autoscalers.
    pub marked: usize,
    /// Nothing is left to be done. Otherwise the pods of a Job are yet to come or to be marked: to be called again in a second
    /// or two.
    pub is_settled: bool,
    /// There are buffers, but no autoscaler looks at them: pause pods are used from the next time on.
    pub is_unanswered: bool,
}

/// Why nodes could not be held, or not be released.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A right is missing.
    #[error("failed to {verb} {what}: give the predictor's service account the rule {rule}")]
    Forbidden {
        /// What was tried.
        verb: &'static str,
        /// With what.
        what: String,
        /// What would have let it.
        rule: Right,
        /// What the API server said.
        #[source]
        source: Box<RequestError>,
    },
    /// Any other refusal, or no answer.
    #[error("failed to {verb} {what}")]
    Request {
        /// What was tried.
        verb: &'static str,
        /// With what.
        what: String,
        /// What the API server said.
        #[source]
        source: Box<RequestError>,
    },
    /// Another replica may lead by now: nothing more was written.
    #[error("failed to hold nodes: the lease is not held any more; the replica that holds it goes on")]
    LeaseLost,
}

/// A rule of a Role or a `ClusterRole`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) verbs: &'static str,
    pub(crate) is_cluster_wide: bool,
}

/// Holds nodes and releases them.
pub struct Holder {
    client: Client,
    settings: Settings,
    has_priority_class: bool,
    has_looked: bool,
    is_unanswered: bool,
}

impl Holder {
    /// Holds nothing yet; what an earlier one holds is found when it is first called.
    pub const fn new(client: Client, settings: Settings) -> Self {
        Self {
            client,
            settings,
            has_priority_class: false,
            has_looked: false,
            is_unanswered: false,
        }
    }

    /// Makes what is there as it is wished. To be called at least every third of the time to live, and soon again if it is not
    /// settled. `leads` is asked before each write. After an error the rest is left for the next time: in any other order more
    /// could be held than is allowed.
    pub async fn reconcile(
        &mut self,
        wish: &Wish,
        now_ms: i64,
        leads: &(dyn Fn() -> bool + Sync),
    ) -> Result<Report, Error> {
        let resource = self.served().await?;
        let kind = self.kind(resource.as_ref());
        let held = self.held(resource.as_ref()).await?;
        if !std::mem::replace(&mut self.has_looked, true) && kind == Kind::Buffer && plan::were_unanswered(&held) {
            // The next call goes on with what there is.
            self.is_unanswered = true;
        }
        let kind = self.kind(resource.as_ref());
        let limits = &self.settings.limits;
        let actions = plan::actions(wish, &held, kind, limits, now_ms);
        if kind == Kind::PausePods && actions.iter().any(|action| matches!(action, Action::Apply(..))) {
            self.ensure_priority_class(leads).await?;
        }
        let (mut applied, mut deleted) = (0, 0);
        let mut first = None;
        for action in &actions {
            // What could not be let go counts on: nothing more is made then, but all else is let go.
            if first.is_some() && plan::raises(action, &held) {
                continue;
            }
            match (self.carry_out(action, resource.as_ref(), now_ms, leads).await, action) {
                (Err(Error::LeaseLost), _) => return Err(Error::LeaseLost),
                (Err(error), _) => drop(first.get_or_insert(error)),
                (Ok(()), Action::Apply(..)) => applied += 1,
                (Ok(()), Action::Delete(..)) => deleted += 1,
            }
        }
        if let Some(error) = first {
            return Err(error);
        }
        let (marked, missing) = self.mark(&held, kind, now_ms, leads).await?;
        self.is_unanswered |= kind == Kind::Buffer && plan::are_unanswered(&held, now_ms);
        Ok(Report {
            by: kind,
            nodes: nodes_after(&held, &actions),
            applied,
            deleted,
            marked,
            is_settled: actions.is_empty() && marked == 0 && missing == 0,
            is_unanswered: self.is_unanswered,
        })
    }

    /// Lets everything go, whatever it is held by and by whom it was made. All of it is tried; the first error is told.
    pub async fn release_all(&mut self, leads: &(dyn Fn() -> bool + Sync)) -> Result<usize, Error> {
        let resource = self.served().await?;
        let held = self.held(resource.as_ref()).await?;
        let limits = &self.settings.limits;
        let actions = plan::actions(&Wish::default(), &held, Kind::Buffer, limits, 0);
        let mut first = None;
        for action in &actions {
            if let Err(error) = self.carry_out(action, resource.as_ref(), 0, leads).await {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(actions.len()), Err)
    }

    async fn served(&self) -> Result<Option<ApiResource>, Error> {
        let served = api::served(&self.client, REQUEST_TIMEOUT).await;
        served.map_err(|source| request("find", "capacity buffers", source))
    }

    fn kind(&self, resource: Option<&ApiResource>) -> Kind {
        if resource.is_some() && self.settings.means == Means::Auto && !self.is_unanswered {
            Kind::Buffer
        } else {
            Kind::PausePods
        }
    }

    async fn held(&self, resource: Option<&ApiResource>) -> Result<Vec<Held>, Error> {
        let mut held = self.buffers(resource).await?;
        held.extend(self.jobs().await?);
        Ok(held)
    }

    async fn carry_out(
        &self,
        action: &Action,
        resource: Option<&ApiResource>,
        now_ms: i64,
        leads: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Error> {
        let may_write = || if leads() { Ok(()) } else { Err(Error::LeaseLost) };
        may_write()?;
        match (action, resource) {
            (Action::Apply(Kind::Buffer, target), Some(resource)) => {
                self.apply_template(target).await?;
                may_write()?;
                self.apply_buffer(target, resource).await
            }
            // Not planned where there are none.
            (Action::Apply(Kind::Buffer, _), None) => Ok(()),
            (Action::Apply(Kind::PausePods, target), _) => self.apply_job(target, now_ms).await,
            (Action::Delete(Kind::Buffer, name), resource) => {
                if let Some(resource) = resource {
                    self.delete_buffer(name, resource).await?;
                }
                self.delete_template(name).await
            }
            (Action::Delete(Kind::PausePods, name), _) => self.delete_job(name).await,
        }
    }
}

/// How many nodes are held once the actions are done.
fn nodes_after(held: &[Held], actions: &[Action]) -> u32 {
    let is_left = |one: &&Held| {
        one.state != State::Deleting
            && !actions.iter().any(|action| match action {
                Action::Delete(kind, name) => (*kind, name) == (one.kind, &one.name),
                Action::Apply(kind, target) => (*kind, &target.name) == (one.kind, &one.name),
            })
    };
    let left = held.iter().filter(is_left).map(|one| one.nodes);
    let applied = actions.iter().filter_map(|action| match action {
        Action::Apply(_, target) => Some(target.nodes),
        Action::Delete(..) => None,
    });
    left.chain(applied).fold(0, u32::saturating_add)
}

fn request(verb: &'static str, what: impl Into<String>, source: RequestError) -> Error {
    Error::Request {
        verb,
        what: what.into(),
        source: Box::new(source),
    }
}

/// An error that names the missing right, if that is what it is.
fn refused(verb: &'static str, what: impl Into<String>, rule: Right, source: RequestError) -> Error {
    if source.status() == Some(403) {
        let what = what.into();
        return Error::Forbidden {
            verb,
            what,
            rule,
            source: Box::new(source),
        };
    }
    request(verb, what, source)
}

impl Part {
    /// The value of [`names::HEADROOM_LABEL`].
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Statistical => names::HEADROOM_STATISTICAL,
            Self::Scheduled { .. } => names::HEADROOM_SCHEDULED,
        }
    }
}

/// `statistical`, or `jobs/nightly at 2026-12-01T02:00:00Z`.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statistical => f.write_str(names::HEADROOM_STATISTICAL),
            Self::Scheduled { name, at_ms } => {
                let at = Timestamp::from_millisecond(*at_ms).unwrap_or(Timestamp::MAX);
                write!(f, "{name} at {at}")
            }
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group, resource, verbs, ..
        } = self;
        write!(
            f,
            "{{apiGroups: [{group:?}], resources: [{resource}], verbs: [{verbs}]}}"
        )?;
        f.write_str(if self.is_cluster_wide {
            " in a ClusterRole"
        } else {
            " in a Role of the namespace"
        })
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
