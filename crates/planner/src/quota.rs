//! resource quotas: a gang that its namespace can't take waits at the driver, because an executor that is denied
//! creation kills the driver from Spark 4.2 on.
//!
//! What is used is the larger of what the quota's status says (it lags behind) and what the known pods sum up to, plus
//! the executors that gangs already let in have still to create.

use std::collections::BTreeMap;
use std::sync::Arc;

use kompass_core::Resources;
use rustc_hash::FxHashMap;

use crate::pods::PodEntry;

/// One resource quota that applies to Spark pods (no scopes, or only scopes that they are in).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota {
    /// `spec.hard`.
    pub hard: Limits,
    /// `status.used`.
    pub used: Limits,
}

/// Amounts that a quota names; what it doesn't name is without limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// `requests.cpu` (or `cpu`), thousandths.
    pub cpu_milli: Option<u64>,
    /// `requests.memory` (or `memory`), bytes.
    pub memory_bytes: Option<u64>,
    /// `pods` or `count/pods`.
    pub pods: Option<u64>,
    /// `requests.<name>` of other resources, by their name without `requests.`.
    pub extended: BTreeMap<String, u64>,
}

/// All quotas, and what each namespace's pods use.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    quotas: BTreeMap<String, BTreeMap<String, Quota>>,
    used: FxHashMap<Arc<str>, Usage>,
}

/// Requests of some pods and their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) requests: Resources,
    pub(crate) pods: u64,
}

impl Usage {
    pub(crate) fn add(&mut self, requests: &Resources, count: u64) {
        self.requests.add_times(requests, count);
        self.pods = self.pods.saturating_add(count);
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.requests.subtract(&other.requests);
        self.pods = self.pods.saturating_sub(other.pods);
    }
}

impl Limits {
    /// The resource of which `used` and `more` together are too much, by name.
    pub(crate) fn exceeded_by(&self, used: &Usage, more: &Usage) -> Option<String> {
        let over = |limit: Option<u64>, used: u64, more: u64| {
            limit.is_some_and(|limit| more > 0 && used.saturating_add(more) > limit)
        };
        let (used_of, more_of) = (&used.requests, &more.requests);
        if over(self.cpu_milli, used_of.cpu_milli, more_of.cpu_milli) {
            return Some("cpu".to_owned());
        }
        if over(self.memory_bytes, used_of.memory_bytes, more_of.memory_bytes) {
            return Some("memory".to_owned());
        }
        if over(self.pods, used.pods, more.pods) {
            return Some("pods".to_owned());
        }
        let mut extended = self.extended.iter();
        let name = extended.find(|(name, limit)| over(Some(**limit), used_of.units(name), more_of.units(name)));
        name.map(|(name, _)| name.clone())
    }
}

impl Quotas {
    pub(crate) fn apply(&mut self, namespace: &str, name: &str, quota: Quota) -> bool {
        let quotas = self.quotas.entry(namespace.to_owned()).or_default();
        let changed = quotas.get(name) != Some(&quota);
        quotas.insert(name.to_owned(), quota);
        changed
    }

    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> bool {
        let Some(quotas) = self.quotas.get_mut(namespace) else {
            return false;
        };
        let removed = quotas.remove(name).is_some();
        if quotas.is_empty() {
            self.quotas.remove(namespace);
        }
        removed
    }

    /// The names of all quotas, by namespace.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        let pair = |namespace: &String, name: &String| (namespace.clone(), name.clone());
        self.quotas
            .iter()
            .flat_map(|(space, quotas)| quotas.keys().map(move |name| pair(space, name)))
            .collect()
    }

    /// A pod that has not ended was created, or its requests are known now.
    pub(crate) fn enter(&mut self, pod: &PodEntry) {
        if !pod.terminal {
            let usage = self.used.entry(pod.namespace.clone()).or_default();
            usage.requests.add(&pod.requests);
            usage.pods += 1;
        }
    }

    /// The opposite of [`Self::enter`].
    pub(crate) fn leave(&mut self, pod: &PodEntry) {
        if !pod.terminal
            && let Some(usage) = self.used.get_mut(&pod.namespace)
        {
            usage.requests.subtract(&pod.requests);
            usage.pods = usage.pods.saturating_sub(1);
            if usage.pods == 0 {
                self.used.remove(&pod.namespace);
            }
        }
    }

    /// Whether the namespace has any quota.
    pub(crate) fn any(&self, namespace: &str) -> bool {
        self.quotas.contains_key(namespace)
    }

    /// The quota that can't take `more` pods, if there is one.
    pub(crate) fn short_of(&self, namespace: &str, more: &Usage) -> Option<&str> {
        let none = Usage::default();
        let known = self.used.get(namespace).unwrap_or(&none);
        self.quotas
            .get(namespace)?
            .iter()
            .find(|(_, quota)| !quota.takes(known, more))
            .map(|(name, _)| name.as_str())
    }
}

impl Quota {
    fn takes(&self, known: &Usage, more: &Usage) -> bool {
        let fits = |hard: Option<u64>, used: Option<u64>, known: u64, more: u64| {
            hard.is_none_or(|hard| more == 0 || used.unwrap_or(0).max(known).saturating_add(more) <= hard)
        };
        let (hard, used) = (&self.hard, &self.used);
        fits(
            hard.cpu_milli,
            used.cpu_milli,
            known.requests.cpu_milli,
            more.requests.cpu_milli,
        ) && fits(
            hard.memory_bytes,
            used.memory_bytes,
            known.requests.memory_bytes,
            more.requests.memory_bytes,
        ) && fits(hard.pods, used.pods, known.pods, more.pods)
            && hard.extended.iter().all(|(name, &units)| {
                let used = used.extended.get(name).copied();
                fits(Some(units), used, known.requests.units(name), more.requests.units(name))
            })
    }
}
