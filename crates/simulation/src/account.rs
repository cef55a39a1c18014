//! The simulation's own account of the cluster: what is used on each node, and for how long.

use kompass_core::Resources;

use crate::series::Levels;

/// What runs where, without the planner's help.
#[derive(Debug)]
pub(crate) struct Account {
    capacity: Resources,
    nodes: Vec<Used>,
    used_cpu_milli: u64,
    nodes_in_use: u64,
    /// CPU that is free on nodes in use, thousandths.
    stranded_cpu_milli: u64,
    since_ms: Option<i64>,
    until_ms: i64,
    pub(crate) sums: Sums,
    /// Times at which a node was given more than it has.
    pub(crate) overbooked: u64,
}

#[derive(Debug, Clone, Default)]
struct Used {
    resources: Resources,
    pods: u64,
}

/// Integrals over time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    /// Thousandths of a CPU × milliseconds in use.
    pub(crate) cpu: u128,
    /// Nodes in use × milliseconds.
    pub(crate) nodes: u128,
    /// Thousandths of a CPU × milliseconds that were free on nodes in use.
    pub(crate) stranded: u128,
}

impl Account {
    pub(crate) fn new(nodes: usize, capacity: Resources) -> Self {
        Self {
            capacity,
            nodes: vec![Used::default(); nodes],
            used_cpu_milli: 0,
            nodes_in_use: 0,
            stranded_cpu_milli: 0,
            since_ms: None,
            until_ms: 0,
            sums: Sums::default(),
            overbooked: 0,
        }
    }

    /// Time goes on; the first call is the beginning.
    pub(crate) fn until(&mut self, now_ms: i64) {
        if self.since_ms.is_none() {
            self.since_ms = Some(now_ms);
            self.until_ms = now_ms;
        }
        let passed = u128::from(now_ms.saturating_sub(self.until_ms).max(0).unsigned_abs());
        self.sums.cpu += passed * u128::from(self.used_cpu_milli);
        self.sums.nodes += passed * u128::from(self.nodes_in_use);
        self.sums.stranded += passed * u128::from(self.stranded_cpu_milli);
        self.until_ms = self.until_ms.max(now_ms);
    }

    /// What is in use now, while so many gangs wait.
    pub(crate) fn levels(&self, waiting: usize) -> Levels {
        Levels {
            cpu_milli: self.used_cpu_milli,
            nodes: self.nodes_in_use,
            stranded_cpu_milli: self.stranded_cpu_milli,
            waiting: waiting as u64,
        }
    }

    /// From the beginning until now, milliseconds.
    pub(crate) fn span_ms(&self) -> i64 {
        self.since_ms.map_or(0, |since_ms| self.until_ms - since_ms)
    }

    pub(crate) fn take(&mut self, node: usize, requests: &Resources, count: u64) {
        self.change(node, |used| {
            used.resources.add_times(requests, count);
            used.pods += count;
        });
        if !self.nodes[node].resources.fits(&self.capacity) {
            self.overbooked += 1;
        }
    }

    pub(crate) fn give(&mut self, node: usize, requests: &Resources, count: u64) {
        self.change(node, |used| {
            used.resources.subtract_times(requests, count);
            used.pods = used.pods.saturating_sub(count);
        });
    }

    /// What is free on a node.
    pub(crate) fn free(&self, node: usize) -> Resources {
        let mut free = self.capacity.clone();
        free.subtract(&self.nodes[node].resources);
        free
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    fn change(&mut self, node: usize, change: impl FnOnce(&mut Used)) {
        self.count(node, false);
        change(&mut self.nodes[node]);
        self.count(node, true);
    }

    fn count(&mut self, node: usize, add: bool) {
        let used = &self.nodes[node];
        if used.pods == 0 {
            return;
        }
        let cpu = used.resources.cpu_milli;
        let stranded = self.capacity.cpu_milli.saturating_sub(cpu);
        if add {
            self.nodes_in_use += 1;
            self.used_cpu_milli += cpu;
            self.stranded_cpu_milli += stranded;
        } else {
            self.nodes_in_use -= 1;
            self.used_cpu_milli -= cpu;
            self.stranded_cpu_milli -= stranded;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_integrals_and_too_much_is_seen() {
        let mut account = Account::new(2, Resources::from_mib(1_000, 100));
        account.until(5_000);
        account.take(0, &Resources::from_mib(400, 10), 2);
        account.until(6_000);
        account.give(0, &Resources::from_mib(400, 10), 1);
        account.until(8_000);
        assert_eq!(account.sums.cpu, 800 * 1_000 + 400 * 2_000);
        assert_eq!(account.sums.nodes, 3_000);
        assert_eq!(account.sums.stranded, 200 * 1_000 + 600 * 2_000);
        assert_eq!((account.span_ms(), account.overbooked), (3_000, 0));
        assert_eq!(account.free(0), Resources::from_mib(600, 90));
        account.take(1, &Resources::from_mib(1, 101), 1);
        assert_eq!(account.overbooked, 1);
    }
}
