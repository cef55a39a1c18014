//! The leader lease: at most one of several replicas acts.
//!
//! The rules are those of client-go's leader election. Clocks of different machines are never compared: a holder is
//! taken for dead when its record has not *changed* for the lease's duration on our own monotonic clock. A holder
//! counts itself out earlier than that, after the renew deadline, counted from before it sent its last successful
//! renewal. So a process that was stopped for a while finds its claim lapsed by the clock alone, before it has run any
//! other code, if it asks [`Claim::check`] right before each write.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::client::{RequestError, within};
use crate::convert::chain;

/// Which lease, who we are, and how long things may take.
#[derive(Debug, Clone)]
pub struct Config {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Our name in it; must differ between replicas. A process that comes back under the same name (a restarted
    /// container) takes its lease on at once.
    pub identity: String,
    /// Others wait this long after the last change of the record before they take over. Whole seconds.
    pub duration: Duration,
    /// We count ourselves out this long after our last renewal; must be shorter than `duration`.
    pub renew_deadline: Duration,
    /// Between two attempts to renew or to take over.
    pub retry: Duration,
    /// Another lease of the namespace, which a neighbour in the same pod runs for under our identity, an underscore and
    /// more, as Kubernetes' own components do. While somebody else holds that one, this one is not ours to hold: two that
    /// work together lead together.
    pub beside: Option<String>,
}

impl Config {
    /// 15 s, 10 s and 2 s, as Kubernetes' own controllers have it.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            beside: None,
        }
    }
}

/// Why a lease can't be run at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The durations contradict each other.
    #[error("failed to use the lease {0:?}: retry < renew deadline < duration must hold, and an identity be given")]
    Configuration(String),
}

/// Why a write must not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to act: the lease is not ours")]
pub struct NotHeld;

/// What is known of the lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Who holds it, as far as is known.
    pub holder: Option<String>,
    /// Our own term, which may have run out since.
    pub term: Option<Term>,
}

/// A term of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// When it began.
    pub since: Instant,
    /// When it ends unless it is renewed.
    pub until: Instant,
    /// Somebody held the lease before, so that writes of theirs may still be on their way.
    pub predecessor: bool,
}

impl Claim {
    /// The claim of a process that runs without a lease, alone by its operator's word: it never ends.
    pub fn unconditional() -> Self {
        let since = Instant::now();
        // A hundred years: `Instant` has no maximum.
        let until = since + Duration::from_hours(100 * 365 * 24);
        Self {
            holder: None,
            term: Some(Term {
                since,
                until,
                predecessor: true,
            }),
        }
    }

    /// Our term, if it runs now.
    pub fn term(&self) -> Option<Term> {
        self.term.filter(|term| Instant::now() < term.until)
    }

    /// Whether the lease is ours now.
    pub fn is_held(&self) -> bool {
        self.term().is_some()
    }

    /// To be asked right before a write: how long the write may take at most.
    pub fn check(&self) -> Result<Duration, NotHeld> {
        let remaining = self
            .term()
            .map(|term| term.until.saturating_duration_since(Instant::now()));
        remaining.filter(|remaining| !remaining.is_zero()).ok_or(NotHeld)
    }
}

/// Runs for the lease until `end` is cancelled, then gives it back and returns. The future is a critical task: with it
/// the claim ends.
pub fn run(
    client: Client,
    config: Config,
    end: CancellationToken,
) -> Result<(watch::Receiver<Claim>, impl Future<Output = ()> + Send), Error> {
    if config.identity.is_empty() || config.retry >= config.renew_deadline || config.renew_deadline >= config.duration {
        return Err(Error::Configuration(config.name));
    }
    let (claims, receiver) = watch::channel(Claim::default());
    let candidate = Candidate {
        leases: Api::namespaced(client, &config.namespace),
        config,
        claims,
        seen: None,
        in_doubt: false,
    };
    Ok((receiver, candidate.run(end)))
}

struct Candidate {
    leases: Api<Lease>,
    config: Config,
    claims: watch::Sender<Claim>,
    /// The last record read or written, and when it was first seen.
    seen: Option<(Lease, Instant)>,
    /// A write of ours had no answer: what is stored may be newer than `seen`.
    in_doubt: bool,
}

impl Candidate {
    async fn run(mut self, end: CancellationToken) {
        loop {
            let attempt = tokio::select! {
                biased;
                () = end.cancelled() => break,
                attempt = self.attempt() => attempt,
            };
            if let Err(error) = attempt {
                tracing::warn!(
                    lease = self.config.name,
                    error = chain(&error),
                    "failed to renew or read the lease"
                );
            }
            self.lapse();
            tokio::select! {
                biased;
                () = end.cancelled() => break,
                () = sleep(self.pause()) => {}
            }
        }
        self.release().await;
    }

    /// Until the next attempt; a term that ends before it is noticed in time.
    fn pause(&self) -> Duration {
        let claim = self.claims.borrow();
        let ends = claim
            .term
            .map(|term| term.until.saturating_duration_since(Instant::now()));
        ends.map_or(self.config.retry, |ends| ends.min(self.config.retry))
            .max(Duration::from_millis(1))
    }

    fn lapse(&self) {
        let lapsed = self.claims.send_if_modified(|claim| {
            let over = claim.term.is_some_and(|term| term.until <= Instant::now());
            if over {
                claim.term = None;
            }
            over
        });
        if lapsed {
            tracing::warn!(
                lease = self.config.name,
                "the lease was not renewed in time and is lost"
            );
        }
    }

    /// One attempt to renew or to take over, where it is ours to hold.
    async fn attempt(&mut self) -> Result<(), RequestError> {
        if let Some(neighbour) = self.neighbour_elsewhere().await? {
            if self.claims.borrow().is_held() {
                tracing::info!(
                    lease = self.config.name,
                    neighbour,
                    "the neighbour leads elsewhere: leading there, too"
                );
                self.release().await;
            }
            return self.look().await;
        }
        self.renew().await
    }

    /// Who holds the neighbour's lease, if it is not ours.
    async fn neighbour_elsewhere(&self) -> Result<Option<String>, RequestError> {
        let Some(beside) = &self.config.beside else {
            return Ok(None);
        };
        let lease = within(self.limit(), self.leases.get_opt(beside)).await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity);
        let ours = format!("{}_", self.config.identity);
        Ok(holder.filter(|holder| !holder.is_empty() && !holder.starts_with(&ours)))
    }

    /// Only tells who holds the lease.
    async fn look(&mut self) -> Result<(), RequestError> {
        // What is read now is no longer the last that we knew of when we may hold it again.
        self.seen = None;
        let lease = within(self.limit(), self.leases.get_opt(&self.config.name)).await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity);
        let others = |holder: &String| !holder.is_empty() && *holder != self.config.identity;
        self.publish(holder.filter(others), None);
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), RequestError> {
        // A holder writes on what it wrote last; whoever interfered makes that a conflict.
        let certain = !self.in_doubt && self.claims.borrow().is_held();
        if let Some((lease, _)) = self.seen.clone().filter(|_| certain) {
            return self.write(lease).await;
        }
        let read = within(self.limit(), self.leases.get_opt(&self.config.name)).await?;
        let Some(lease) = read else {
            return self.create().await;
        };
        let changed = self.seen.as_ref().is_none_or(|(known, _)| known.spec != lease.spec);
        let since = self.seen.take().map_or_else(Instant::now, |(_, since)| since);
        let since = if changed { Instant::now() } else { since };
        self.in_doubt = false;
        self.seen = Some((lease.clone(), since));
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        // The holder's own word on how long its lease lasts counts, as in client-go.
        let seconds = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(self.config.duration, Duration::from_secs);
        let is_other = holder.as_ref().is_some_and(|holder| *holder != self.config.identity);
        if is_other && since.elapsed() < duration {
            self.publish(holder, None);
            return Ok(());
        }
        self.write(lease).await
    }

    fn limit(&self) -> Duration {
        self.config.renew_deadline / 2
    }

    async fn create(&mut self) -> Result<(), RequestError> {
        let started = Instant::now();
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec(None)),
        };
        let created = within(self.limit(), self.leases.create(&PostParams::default(), &lease)).await;
        self.written(created, started, false)
    }

    async fn write(&mut self, mut lease: Lease) -> Result<(), RequestError> {
        let started = Instant::now();
        lease.spec = Some(self.spec(lease.spec.as_ref()));
        let parameters = PostParams::default();
        let replaced = within(
            self.limit(),
            self.leases.replace(&self.config.name, &parameters, &lease),
        )
        .await;
        self.written(replaced, started, true)
    }

    /// Our record after `before`.
    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        let mine = before.filter(|spec| spec.holder_identity.as_ref() == Some(&self.config.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.duration.as_secs().max(1)).ok(),
            acquire_time: mine
                .and_then(|spec| spec.acquire_time.clone())
                .or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if mine.is_some() || before.is_none() {
                transitions
            } else {
                transitions + 1
            }),
            ..before.cloned().unwrap_or_default()
        }
    }

    fn written(
        &mut self,
        result: Result<Lease, RequestError>,
        started: Instant,
        predecessor: bool,
    ) -> Result<(), RequestError> {
        match result {
            Ok(lease) => {
                self.seen = Some((lease, started));
                // One that has lapsed meanwhile, as of a process that was stopped, is over: others may have written since.
                let known = self.claims.borrow().term.filter(|term| started < term.until);
                let (since, predecessor) = known.map_or((started, predecessor), |term| (term.since, term.predecessor));
                if known.is_none() {
                    tracing::info!(
                        lease = self.config.name,
                        identity = self.config.identity,
                        "the lease is ours"
                    );
                }
                let term = Term {
                    since,
                    until: started + self.config.renew_deadline,
                    predecessor,
                };
                self.publish(Some(self.config.identity.clone()), Some(term));
                Ok(())
            }
            // Somebody wrote since we read: it is theirs, until the next reading says otherwise.
            Err(error) if error.status() == Some(409) => {
                self.seen = None;
                tracing::info!(lease = self.config.name, "another has written the lease");
                self.publish(None, None);
                Ok(())
            }
            Err(error) => {
                self.in_doubt = true;
                Err(error)
            }
        }
    }

    fn publish(&self, holder: Option<String>, term: Option<Term>) {
        self.claims.send_if_modified(|claim| {
            let next = Claim { holder, term };
            let changed = *claim != next;
            *claim = next;
            changed
        });
    }

    /// Gives the lease back, so that another need not wait for it to run out.
    async fn release(&self) {
        let held = self.claims.borrow().is_held();
        self.publish(None, None);
        if !held {
            return;
        }
        match within(self.limit(), self.hand_over()).await {
            Ok(()) => tracing::info!(lease = self.config.name, "gave the lease back"),
            Err(error) => tracing::warn!(
                lease = self.config.name,
                error = chain(&error),
                "failed to give it back"
            ),
        }
    }

    /// Reads before it writes: the end may have cut off a renewal of which the answer is unknown.
    async fn hand_over(&self) -> Result<(), kube::Error> {
        let mut lease = self.leases.get(&self.config.name).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.config.identity) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
        self.leases
            .replace(&self.config.name, &PostParams::default(), &lease)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
