//! What machines cost and how long they boot, kept fresh beside everything else.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kompass_aws::Config;
use kompass_aws::facts::{Facts, Reader, file};
use kompass_service::clock::Clock;
use kompass_service::logging::chain;
use kompass_service::metrics::GaugeVec;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::feed::Shared;
use super::view::Boot;

/// What is due is looked at so often; what is asked of AWS is far less.
const LOOK: Duration = Duration::from_secs(10);
/// Instances whose launch is asked for at once.
const BOOTS_MAX: usize = 100;
/// Nodes that were ready before are not asked for: after a start they would push out those that are known.
const LATELY_MS: i64 = 3_600_000;

/// What is known of machines, and of which types it should be.
#[derive(Debug, Clone, Default)]
pub struct Machines(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    facts: Facts,
    types: BTreeSet<String>,
}

impl Machines {
    /// What is known now.
    pub fn facts(&self) -> Facts {
        self.lock().facts.clone()
    }

    /// These types matter.
    pub fn set_types(&self, types: BTreeSet<String>) {
        self.lock().types = types;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is behind it is never left half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps it fresh.
pub struct Keeper {
    /// What is kept fresh.
    pub machines: Machines,
    /// The nodes, for their boots.
    pub view: Shared,
    /// Where it is kept for a start without AWS.
    pub path: Option<PathBuf>,
    /// The time.
    pub clock: Clock,
    /// How long machines boot, by quantile.
    pub boot_seconds: GaugeVec<1>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Keeper")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// Until `end`.
    pub async fn run(self, aws: Config, end: CancellationToken) {
        let reader = Reader::new(&aws);
        self.machines.lock().facts = self.kept().await.in_region(aws.region());
        let mut asked = HashSet::new();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                _ = looks.tick() => {}
            }
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = self.look(&reader, &mut asked) => {}
            }
        }
    }

    async fn look(&self, reader: &Reader, asked: &mut HashSet<String>) {
        let (before, types) = {
            let state = self.machines.lock();
            (state.facts.clone(), state.types.clone())
        };
        let mut facts = before.clone();
        let now_ms = i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX);
        reader.refresh(&mut facts, &types, now_ms).await;
        self.add_boots(reader, asked, now_ms, &mut facts).await;
        for (name, hundredths) in [("0.5", 50), ("0.9", 90)] {
            let boot_ms = facts.boots.quantile_ms(hundredths);
            let seconds = boot_ms.map_or(f64::NAN, |boot_ms| boot_ms as f64 / 1_000.0);
            self.boot_seconds.with([name]).set(seconds);
        }
        if facts == before {
            return;
        }
        self.machines.lock().facts = facts.clone();
        self.keep(facts).await;
    }

    /// Nodes that have become ready lately; each is asked for once.
    async fn add_boots(&self, reader: &Reader, asked: &mut HashSet<String>, now_ms: i64, facts: &mut Facts) {
        let boots: Option<Vec<Boot>> = self.view.look(|view| {
            let all: Vec<Boot> = view.boots().collect();
            asked.retain(|instance| all.iter().any(|boot| boot.instance == *instance));
            let is_new = |boot: &Boot| {
                now_ms - boot.ready_ms <= LATELY_MS
                    && !asked.contains(&boot.instance)
                    && !facts.boots.knows(&boot.instance)
            };
            all.into_iter().filter(is_new).take(BOOTS_MAX).collect()
        });
        let boots = boots.unwrap_or_default();
        asked.extend(boots.iter().map(|boot| boot.instance.clone()));
        if boots.is_empty() {
            return;
        }
        let instances = boots.iter().map(|boot| boot.instance.clone()).collect();
        match reader.launches(&instances).await {
            Ok(launches) => {
                for boot in boots {
                    if let Some(launch_ms) = launches.get(&boot.instance) {
                        facts.boots.add(&boot.instance, *launch_ms, boot.ready_ms);
                    }
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "failed to learn how long machines boot"),
        }
    }

    async fn kept(&self) -> Facts {
        let Some(path) = self.path.clone() else {
            return Facts::default();
        };
        if !path.exists() {
            return Facts::default();
        }
        match tokio::task::spawn_blocking(move || file::read(&path)).await {
            Ok(Ok(facts)) => facts,
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "what was known of machines is asked for anew");
                Facts::default()
            }
            Err(error) => {
                tracing::warn!(%error, "what was known of machines is asked for anew");
                Facts::default()
            }
        }
    }

    async fn keep(&self, facts: Facts) {
        let Some(path) = self.path.clone() else {
            return;
        };
        match tokio::task::spawn_blocking(move || file::write(&path, &facts)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "failed to keep what is known of machines"),
            Err(error) => tracing::warn!(%error, "failed to keep what is known of machines"),
        }
    }
}
