//! How many nodes have how much CPU and memory free: a bound on what could fit that costs the same however many nodes there
//! are.

use kompass_core::Resources;

/// Thousandths of a CPU in one step.
const CPU_STEP: u64 = 250;
/// Bytes of memory in one step.
const MEMORY_STEP: u64 = 512 << 20;
/// Steps; the last one is for all nodes with more.
const STEPS: usize = 256;

/// Nodes by free CPU, and by free memory.
#[derive(Debug)]
pub(super) struct Spreads {
    pub(super) cpu: Spread,
    pub(super) memory: Spread,
}

impl Default for Spreads {
    fn default() -> Self {
        Self {
            cpu: Spread::new(CPU_STEP),
            memory: Spread::new(MEMORY_STEP),
        }
    }
}

impl Spreads {
    /// A node of which nothing is free comes.
    pub(super) fn add(&mut self) {
        self.cpu.nodes[0] += 1;
        self.memory.nodes[0] += 1;
    }

    pub(super) fn change(&mut self, (cpu_milli, memory_bytes): (u64, u64), now: &Resources) {
        self.cpu.change(cpu_milli, now.cpu_milli);
        self.memory.change(memory_bytes, now.memory_bytes);
    }

    /// Whether so many pods of such requests might fit: not if they are more than the nodes have CPU or memory for.
    pub(super) fn may_take(&self, requests: &Resources, count: u64) -> bool {
        self.cpu.takes_at_most(requests.cpu_milli) >= count && self.memory.takes_at_most(requests.memory_bytes) >= count
    }
}

/// Nodes by how much of one resource is free, in steps.
#[derive(Debug)]
pub(super) struct Spread {
    step: u64,
    nodes: Box<[u32; STEPS]>,
    /// What is free of the nodes in the last step together.
    pub(super) beyond: u64,
}

impl Spread {
    /// Without nodes; `step` in the resource's unit, not 0.
    fn new(step: u64) -> Self {
        Self {
            step,
            nodes: Box::new([0; STEPS]),
            beyond: 0,
        }
    }

    fn change(&mut self, before: u64, now: u64) {
        let (left, entered) = (self.step_of(before), self.step_of(now));
        self.nodes[left] -= 1;
        self.nodes[entered] += 1;
        if left == STEPS - 1 {
            self.beyond = self.beyond.saturating_sub(before);
        }
        if entered == STEPS - 1 {
            self.beyond = self.beyond.saturating_add(now);
        }
    }

    /// How many of so much each fit if every node has all that its step ends with.
    fn takes_at_most(&self, each: u64) -> u64 {
        if each == 0 {
            return u64::MAX;
        }
        let steps = self.nodes[..STEPS - 1].iter().zip(1_u64..);
        // Most steps have no nodes, and a division each would be most of the cost.
        let within: u64 = steps
            .filter(|&(&nodes, _)| nodes > 0)
            .map(|(&nodes, end)| u64::from(nodes) * ((end * self.step - 1) / each))
            .sum();
        within.saturating_add(self.beyond / each)
    }

    fn step_of(&self, free: u64) -> usize {
        usize::try_from(free / self.step).map_or(STEPS - 1, |step| step.min(STEPS - 1))
    }
}
