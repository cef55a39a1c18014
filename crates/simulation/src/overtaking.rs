//! What overtaking costs: how long a head still waits once it would fit without those that overtook it.
//!
//! Measured on the simulation's own account and by the real ends of gangs: no expectation plays a part.

use std::collections::BTreeMap;

use kompass_core::Resources;

use crate::account::Account;

/// Room by node that those hold who overtook the present head.
#[derive(Debug, Default)]
pub(crate) struct Overtaking {
    head: Option<usize>,
    /// Pods on nodes of gangs that overtook, by gang.
    overtakers: BTreeMap<usize, Vec<(usize, Resources, u64)>>,
    fits_since_ms: Option<i64>,
    /// The longest that a head waited so, milliseconds.
    pub(crate) longest_ms: i64,
    /// How many gangs overtook a head.
    pub(crate) count: u64,
}

/// The pods of a gang.
#[derive(Debug, Clone)]
pub(crate) struct Need {
    pub(crate) driver: Resources,
    pub(crate) executor: Resources,
    pub(crate) executors: u64,
    /// All of it must be in one of so many zones, over which nodes are dealt out by turns; 1 where it may be anywhere.
    pub(crate) zones: usize,
}

impl Overtaking {
    /// The head of the queue is this gang now (`None`: nobody waits).
    pub(crate) fn head(&mut self, head: Option<usize>) {
        if self.head != head {
            self.head = head;
            self.overtakers.clear();
            self.fits_since_ms = None;
        }
    }

    /// A gang has started on these nodes; it overtakes if it is not the head.
    pub(crate) fn started(&mut self, gang: usize, pods: Vec<(usize, Resources, u64)>, now_ms: i64) {
        if self.head == Some(gang) {
            let late_ms = self.fits_since_ms.map_or(0, |since_ms| now_ms - since_ms);
            self.longest_ms = self.longest_ms.max(late_ms);
        } else if self.head.is_some() {
            self.count += 1;
            self.overtakers.insert(gang, pods);
        }
    }

    /// A gang has ended.
    pub(crate) fn ended(&mut self, gang: usize) {
        self.overtakers.remove(&gang);
    }

    /// Looks whether the head would fit without those that overtook it.
    pub(crate) fn look(&mut self, account: &Account, need: &Need, now_ms: i64) {
        if self.fits_since_ms.is_some() || self.overtakers.is_empty() {
            return;
        }
        let mut held: BTreeMap<usize, Resources> = BTreeMap::new();
        for (node, requests, count) in self.overtakers.values().flatten() {
            held.entry(*node).or_default().add_times(requests, *count);
        }
        let fits = (0..need.zones).any(|zone| {
            let (mut total, mut least_loss) = (0_u64, None::<u64>);
            for node in (zone..account.len()).step_by(need.zones) {
                let mut free = account.free(node);
                if let Some(held) = held.get(&node) {
                    free.add(held);
                }
                let takes = need.executor.times_in(&free).min(need.executors);
                total = total.saturating_add(takes);
                if need.driver.fits(&free) {
                    free.subtract(&need.driver);
                    let loss = takes - need.executor.times_in(&free).min(takes);
                    least_loss = Some(least_loss.map_or(loss, |known| known.min(loss)));
                }
            }
            least_loss.is_some_and(|loss| total - loss >= need.executors)
        });
        if fits {
            self.fits_since_ms = Some(now_ms);
        }
    }
}
