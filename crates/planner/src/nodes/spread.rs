//! How many nodes have how much free CPU: a bound on what could fit that costs the same however many nodes there are.

/// Thousandths of a CPU in one step of the spread.
const STEP_MILLI: u64 = 250;
/// Steps; the last one is for all nodes with more.
const STEPS: usize = 256;

/// Nodes by free CPU, in steps.
#[derive(Debug)]
pub(super) struct Spread {
    nodes: Box<[u32; STEPS]>,
    /// Free CPU of the nodes in the last step together, thousandths.
    pub(super) beyond_milli: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            nodes: Box::new([0; STEPS]),
            beyond_milli: 0,
        }
    }
}

impl Spread {
    /// A node without free CPU comes.
    pub(super) fn add(&mut self) {
        self.nodes[0] += 1;
    }

    pub(super) fn change(&mut self, before_milli: u64, now_milli: u64) {
        let (before, now) = (Self::step(before_milli), Self::step(now_milli));
        self.nodes[before] -= 1;
        self.nodes[now] += 1;
        if before == STEPS - 1 {
            self.beyond_milli = self.beyond_milli.saturating_sub(before_milli);
        }
        if now == STEPS - 1 {
            self.beyond_milli = self.beyond_milli.saturating_add(now_milli);
        }
    }

    /// As if every node had all of the CPU that its step ends with.
    pub(super) fn takes_at_most(&self, cpu_milli: u64) -> u64 {
        if cpu_milli == 0 {
            return u64::MAX;
        }
        let steps = self.nodes[..STEPS - 1].iter().zip(1_u64..);
        // Most steps have no nodes, and a division each would be most of the cost.
        let within: u64 = steps
            .filter(|&(&nodes, _)| nodes > 0)
            .map(|(&nodes, end)| u64::from(nodes) * ((end * STEP_MILLI - 1) / cpu_milli))
            .sum();
        within.saturating_add(self.beyond_milli / cpu_milli)
    }

    fn step(cpu_milli: u64) -> usize {
        usize::try_from(cpu_milli / STEP_MILLI).map_or(STEPS - 1, |step| step.min(STEPS - 1))
    }
}
