//! Readiness that has to be earned: the service is ready when every named condition is met.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// All conditions of one service; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    conditions: Mutex<Vec<Entry>>,
    /// What is missing now; people who wait for readiness watch this.
    missing: watch::Sender<Vec<&'static str>>,
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    met: bool,
    /// Why it is not met, or what is amiss although it is.
    reason: Option<String>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            conditions: Mutex::default(),
            missing: watch::Sender::new(Vec::new()),
        }
    }
}

impl Readiness {
    /// Readiness without conditions: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, not met. Add them all before the first task starts, else the service is ready for a moment.
    pub fn condition(&self, name: &'static str) -> Condition {
        let index = self.change(|entries| {
            entries.push(Entry {
                name,
                met: false,
                reason: None,
            });
            entries.len() - 1
        });
        Condition {
            readiness: self.clone(),
            index,
        }
    }

    /// The names of the conditions that are not met, in the order they were added.
    pub fn missing(&self) -> Vec<&'static str> {
        self.0.missing.borrow().clone()
    }

    /// What is missing, each with its reason where one is known: for people.
    pub fn lacks(&self) -> Vec<String> {
        self.told(false)
    }

    /// What is amiss although its condition is met: for people.
    pub fn concerns(&self) -> Vec<String> {
        self.told(true)
    }

    fn told(&self, met: bool) -> Vec<String> {
        let entries = self.0.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let told = entries.iter().filter(|entry| entry.met == met).filter_map(|entry| {
            let reason = entry.reason.as_ref().map(|reason| format!("{} ({reason})", entry.name));
            reason.or_else(|| (!met).then(|| entry.name.to_owned()))
        });
        told.collect()
    }

    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.0.missing.borrow().is_empty()
    }

    /// Waits until nothing is missing. The caller bounds the wait.
    pub async fn ready(&self) {
        let mut missing = self.0.missing.subscribe();
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = missing.wait_for(Vec::is_empty).await;
    }

    fn change<T>(&self, f: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        let mut entries = self.0.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut entries);
        let missing = entries
            .iter()
            .filter(|entry| !entry.met)
            .map(|entry| entry.name)
            .collect();
        self.0.missing.send_replace(missing);
        result
    }
}

/// One condition, held by the task that earns it.
///
/// Dropped before it was met it stays unmet: a task that died has not done its work.
#[derive(Debug)]
pub struct Condition {
    readiness: Readiness,
    index: usize,
}

impl Condition {
    /// Says that the condition holds, and that nothing is amiss with it.
    pub fn met(&self) {
        self.set(true, None);
    }

    /// Says that the condition no longer holds.
    pub fn lost(&self) {
        self.set(false, None);
    }

    /// Says that the condition does not hold, and why: for people.
    pub fn lost_since(&self, reason: impl Into<String>) {
        self.set(false, Some(reason.into()));
    }

    /// Says what is amiss, which leaves the condition met or not as it was.
    pub fn concern(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.readiness
            .change(|entries| entries[self.index].reason = Some(reason));
    }

    fn set(&self, met: bool, reason: Option<String>) {
        self.readiness.change(|entries| {
            let entry = &mut entries[self.index];
            entry.met = met;
            entry.reason = reason;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_condition_is_met() {
        let readiness = Readiness::new();
        let watch = readiness.condition("watch caught up");
        let certificate = readiness.condition("certificate");
        assert_eq!(readiness.missing(), ["watch caught up", "certificate"]);
        watch.met();
        assert_eq!(readiness.missing(), ["certificate"]);
        certificate.met();
        assert!(readiness.is_ready());
        watch.lost();
        assert_eq!(readiness.missing(), ["watch caught up"]);
    }

    #[test]
    fn reasons_are_told_until_the_condition_is_met() {
        let readiness = Readiness::new();
        let certificate = readiness.condition("certificate");
        assert_eq!(readiness.lacks(), ["certificate"]);
        certificate.lost_since("no Secret");
        assert_eq!(readiness.lacks(), ["certificate (no Secret)"]);
        certificate.met();
        assert!(readiness.lacks().is_empty() && readiness.concerns().is_empty());
        certificate.concern("the next one has expired");
        assert!(readiness.is_ready(), "the old one is still good");
        assert_eq!(readiness.concerns(), ["certificate (the next one has expired)"]);
    }

    #[test]
    fn a_dropped_handle_does_not_make_ready() {
        let readiness = Readiness::new();
        drop(readiness.condition("model"));
        assert_eq!(readiness.missing(), ["model"]);
    }

    #[tokio::test]
    async fn waiters_are_woken() {
        let readiness = Readiness::new();
        let condition = readiness.condition("watch");
        let waiter = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        condition.met();
        tokio::time::timeout(std::time::Duration::from_secs(5), waiter)
            .await
            .unwrap()
            .unwrap();
    }
}
