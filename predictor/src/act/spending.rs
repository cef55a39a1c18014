//! What held nodes have cost. Pure.

use std::collections::BTreeMap;

const HOUR_MS: f64 = 3_600_000.0;

/// The bill of each floor, from its beginning to its end.
#[derive(Debug, Default)]
pub struct Spending {
    /// Millionths of the operator's money.
    node_hour: u64,
    bills: BTreeMap<String, Bill>,
}

#[derive(Debug, Clone, Copy)]
struct Bill {
    held: u32,
    last_ms: i64,
    node_ms: u64,
}

impl Spending {
    /// With what a node costs an hour, millionths.
    pub fn new(node_hour: u64) -> Self {
        Self {
            node_hour,
            bills: BTreeMap::new(),
        }
    }

    /// So many empty nodes are held from now on; how many node-seconds were since the last time.
    pub fn hold(&mut self, group: &str, held: u32, now_ms: i64) -> f64 {
        if held == 0 && !self.bills.contains_key(group) {
            return 0.0;
        }
        let bill = self.bills.entry(group.to_owned()).or_insert(Bill {
            held,
            last_ms: now_ms,
            node_ms: 0,
        });
        let since_ms = now_ms.saturating_sub(bill.last_ms).max(0).unsigned_abs();
        let node_ms = since_ms.saturating_mul(u64::from(bill.held));
        *bill = Bill {
            held,
            last_ms: now_ms.max(bill.last_ms),
            node_ms: bill.node_ms.saturating_add(node_ms),
        };
        node_ms as f64 / 1_000.0
    }

    /// A floor has ended: what it came to in words, and its cost in the operator's money.
    pub fn end(&mut self, group: &str, now_ms: i64) -> (String, f64) {
        self.hold(group, 0, now_ms);
        let node_ms = self.bills.remove(group).map_or(0, |bill| bill.node_ms);
        let hours = node_ms as f64 / HOUR_MS;
        let cost = hours * self.node_hour as f64 / 1e6;
        (format!("{hours:.2} node-hours of headroom, {cost:.2}"), cost)
    }

    /// Those with a bill.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.bills.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_paid_for() {
        let mut spending = Spending::new(2_000_000);
        assert!(spending.hold("a", 3, 0).abs() < 1e-9);
        let half_hour_ms = 1_800_000;
        assert!((spending.hold("a", 1, half_hour_ms) - 3.0 * 1_800.0).abs() < 1e-9);
        // A clock that was set back costs nothing.
        assert!(spending.hold("a", 1, 0).abs() < 1e-9);
        let (words, cost) = spending.end("a", 2 * half_hour_ms);
        assert!((cost - 4.0).abs() < 1e-9, "{words}");
        assert_eq!(words, "2.00 node-hours of headroom, 4.00");
        assert_eq!(spending.groups().count(), 0);
        assert!(spending.end("b", 0).1.abs() < 1e-9);
    }
}
