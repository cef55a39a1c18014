//! The shape of a node, and how much of one a gang takes.

/// No node has more of either resource: 16,777 CPUs in thousandths, 16 TiB in MiB. With it every sum over a gang stays
/// within 64 bits.
const MAX: u64 = 1 << 24;

/// What each node offers to pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    cpu_milli: u64,
    memory_mib: u64,
}

/// Why a shape was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing of a resource, or more than any node has.
    #[error("failed to use the node shape: {what} must be from 1 to {MAX}")]
    OutOfRange {
        /// Which resource, with its unit.
        what: &'static str,
    },
}

/// Pods of a gang that request the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Members {
    /// How many.
    pub count: u64,
    /// What each requests, thousandths of a CPU.
    pub cpu_milli: u64,
    /// What each requests, MiB.
    pub memory_mib: u64,
}

impl Shape {
    /// A node with this many thousandths of a CPU and MiB.
    pub const fn new(cpu_milli: u64, memory_mib: u64) -> Result<Self, Error> {
        if cpu_milli == 0 || cpu_milli > MAX {
            let what = "its CPU in thousandths";
            return Err(Error::OutOfRange { what });
        }
        if memory_mib == 0 || memory_mib > MAX {
            let what = "its memory in MiB";
            return Err(Error::OutOfRange { what });
        }
        Ok(Self { cpu_milli, memory_mib })
    }

    /// Thousandths of a CPU.
    pub const fn cpu_milli(self) -> u64 {
        self.cpu_milli
    }

    /// MiB.
    pub const fn memory_mib(self) -> u64 {
        self.memory_mib
    }

    /// Into how many parts a node is divided, so that every dominant share is a whole number of them.
    pub const fn parts(self) -> u64 {
        self.cpu_milli * self.memory_mib
    }

    /// The dominant share of requests, max(cpu / C, memory / M), in [`Self::parts`] of a node.
    pub const fn share(self, cpu_milli: u64, memory_mib: u64) -> u64 {
        let (cpu, memory) = (
            cpu_milli.saturating_mul(self.memory_mib),
            memory_mib.saturating_mul(self.cpu_milli),
        );
        if cpu > memory { cpu } else { memory }
    }

    /// Whether a pod with these requests fits on an empty node.
    pub const fn holds(self, cpu_milli: u64, memory_mib: u64) -> bool {
        cpu_milli <= self.cpu_milli && memory_mib <= self.memory_mib
    }

    /// The node-size of a gang, Σ over its members of max(cpu / C, memory / M), in [`Self::parts`] of a node.
    pub fn size(self, members: &[Members]) -> u64 {
        members.iter().fold(0, |size, member| {
            let share = self.share(member.cpu_milli, member.memory_mib);
            size.saturating_add(share.saturating_mul(member.count))
        })
    }

    /// A number of parts in whole nodes, `times` thousandths of it, rounded up.
    pub fn nodes(self, parts: u128, times_milli: u32) -> u32 {
        let whole = u128::from(self.parts()) * 1_000;
        let nodes = parts.saturating_mul(u128::from(times_milli)).div_ceil(whole);
        u32::try_from(nodes).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u64, cpu_milli: u64, memory_mib: u64) -> Members {
        Members {
            count,
            cpu_milli,
            memory_mib,
        }
    }

    #[test]
    fn the_larger_share_counts_for_each_member() {
        let shape = Shape::new(8_000, 65_536).unwrap();
        for (gang, eighths) in [
            (vec![members(1, 1_000, 4_096)], 1),
            (vec![members(1, 1_000, 16_384)], 2),
            (vec![members(1, 1_000, 8_192), members(7, 1_000, 4_096)], 8),
            (vec![members(1, 4_000, 1), members(1, 1, 32_768)], 8),
            (vec![], 0),
        ] {
            assert_eq!(shape.size(&gang) * 8, eighths * shape.parts(), "{gang:?}");
        }
    }

    #[test]
    fn thirds_of_a_node_are_exact() {
        let shape = Shape::new(3_000, 1_000).unwrap();
        let third = u128::from(shape.share(1_000, 1));
        assert_eq!(
            (shape.nodes(3 * third, 1_000), shape.nodes(3 * third + 1, 1_000)),
            (1, 2)
        );
        assert_eq!((shape.nodes(2 * third, 1_500), shape.nodes(2 * third, 1_501)), (1, 2));
        assert_eq!((shape.nodes(0, 1_000), shape.nodes(u128::MAX, 1_000)), (0, u32::MAX));
    }

    #[test]
    fn shapes_that_cannot_be_are_refused() {
        assert!(Shape::new(0, 1).is_err() && Shape::new(1, 0).is_err());
        let error = Shape::new(1, MAX + 1).unwrap_err().to_string();
        assert!(error.contains("memory in MiB must be from 1 to"), "{error}");
        assert!(Shape::new(MAX, MAX).is_ok_and(|shape| shape.size(&[members(20_000, MAX, MAX)]) < u64::MAX));
    }
}
