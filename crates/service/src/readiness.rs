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
            entries.push(Entry { name, met: false });
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
    /// Says that the condition holds.
    pub fn met(&self) {
        self.set(true);
    }

    /// Says that the condition no longer holds.
    pub fn lost(&self) {
        self.set(false);
    }

    fn set(&self, met: bool) {
        self.readiness.change(|entries| entries[self.index].met = met);
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
