//! Amounts of node resources, in integers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a pod requests, or what a node has: CPU, memory and any extended resource.
///
/// Arithmetic saturates at zero and at `u64::MAX`: no input can make it panic or wrap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Thousandths of a CPU.
    #[serde(default)]
    pub cpu_milli: u64,
    /// Bytes of memory.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Units of every other resource by its Kubernetes name (`nvidia.com/gpu`, `ephemeral-storage` in bytes). An
    /// entry of zero is the same as no entry and is dropped by the arithmetic here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extended: BTreeMap<String, u64>,
}

/// Bytes in a MiB.
pub const MIB: u64 = 1024 * 1024;

impl Resources {
    /// CPU in thousandths and memory in bytes, nothing else.
    pub const fn new(cpu_milli: u64, memory_bytes: u64) -> Self {
        Self {
            cpu_milli,
            memory_bytes,
            extended: BTreeMap::new(),
        }
    }

    /// CPU in thousandths and memory in MiB, nothing else.
    pub const fn from_mib(cpu_milli: u64, memory_mib: u64) -> Self {
        Self::new(cpu_milli, memory_mib.saturating_mul(MIB))
    }

    /// The same with `units` of an extended resource.
    #[must_use]
    pub fn with(mut self, name: &str, units: u64) -> Self {
        if units > 0 {
            self.extended.insert(name.to_owned(), units);
        }
        self
    }

    /// Whether nothing at all is asked.
    pub fn is_zero(&self) -> bool {
        self.cpu_milli == 0 && self.memory_bytes == 0 && self.extended.values().all(|&units| units == 0)
    }

    /// Units of an extended resource, 0 where it is not named.
    pub fn units(&self, name: &str) -> u64 {
        self.extended.get(name).copied().unwrap_or(0)
    }

    /// Whether this request fits in `free`.
    pub fn fits(&self, free: &Self) -> bool {
        self.cpu_milli <= free.cpu_milli
            && self.memory_bytes <= free.memory_bytes
            && self.extended.iter().all(|(name, &units)| units <= free.units(name))
    }

    /// How many times this request fits in `free`; `u64::MAX` for a request of nothing.
    pub fn times_in(&self, free: &Self) -> u64 {
        let share = |have: u64, want: u64| have.checked_div(want).unwrap_or(u64::MAX);
        self.extended
            .iter()
            .map(|(name, &units)| share(free.units(name), units))
            .fold(
                share(free.cpu_milli, self.cpu_milli).min(share(free.memory_bytes, self.memory_bytes)),
                u64::min,
            )
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.add_times(other, 1);
    }

    /// Adds `other`, `count` times.
    pub fn add_times(&mut self, other: &Self, count: u64) {
        self.cpu_milli = self.cpu_milli.saturating_add(other.cpu_milli.saturating_mul(count));
        self.memory_bytes = self
            .memory_bytes
            .saturating_add(other.memory_bytes.saturating_mul(count));
        if count > 0 {
            for (name, &units) in other.extended.iter().filter(|&(_, &units)| units > 0) {
                let entry = self.extended.entry(name.clone()).or_insert(0);
                *entry = entry.saturating_add(units.saturating_mul(count));
            }
        }
    }

    /// Takes `other` away; what would go below zero stays at zero.
    pub fn subtract(&mut self, other: &Self) {
        self.subtract_times(other, 1);
    }

    /// Takes `other` away `count` times; what would go below zero stays at zero.
    pub fn subtract_times(&mut self, other: &Self, count: u64) {
        self.cpu_milli = self.cpu_milli.saturating_sub(other.cpu_milli.saturating_mul(count));
        self.memory_bytes = self
            .memory_bytes
            .saturating_sub(other.memory_bytes.saturating_mul(count));
        for (name, &units) in &other.extended {
            if let Some(entry) = self.extended.get_mut(name) {
                *entry = entry.saturating_sub(units.saturating_mul(count));
                if *entry == 0 {
                    self.extended.remove(name);
                }
            }
        }
    }

    /// The larger of each amount: what a pod needs whose init containers run before its containers.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        let mut extended = self.extended.clone();
        for (name, &units) in &other.extended {
            let entry = extended.entry(name.clone()).or_insert(0);
            *entry = (*entry).max(units);
        }
        Self {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            extended,
        }
    }
}

/// `500m CPU, 768 MiB, 1 nvidia.com/gpu`.
impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m CPU, {} MiB", self.cpu_milli, self.memory_bytes.div_ceil(MIB))?;
        self.extended
            .iter()
            .try_for_each(|(name, units)| write!(f, ", {units} {name}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amounts() -> impl Strategy<Value = Resources> {
        (0..1_000_000_u64, 0..1_u64 << 50, proptest::option::of(0..64_u64)).prop_map(|(cpu, memory, gpu)| {
            let resources = Resources::new(cpu, memory);
            match gpu {
                Some(units) => resources.with("nvidia.com/gpu", units),
                None => resources,
            }
        })
    }

    proptest! {
        #[test]
        fn adding_and_taking_away_again_changes_nothing(a in amounts(), b in amounts(), count in 0..1000_u64) {
            let mut sum = a.clone();
            sum.add_times(&b, count);
            sum.subtract_times(&b, count);
            prop_assert_eq!(sum, a);
        }

        #[test]
        fn what_fits_n_times_fits_n_times_and_not_once_more(want in amounts(), free in amounts()) {
            let times = want.times_in(&free);
            prop_assume!(!want.is_zero());
            let mut all = Resources::default();
            all.add_times(&want, times);
            prop_assert!(all.fits(&free));
            all.add(&want);
            prop_assert!(!all.fits(&free));
        }
    }

    #[test]
    fn nothing_wraps_at_the_ends() {
        let mut most = Resources::new(u64::MAX, u64::MAX);
        most.add_times(&Resources::new(7, 7), u64::MAX);
        assert_eq!(most, Resources::new(u64::MAX, u64::MAX));
        most.subtract_times(&Resources::new(u64::MAX, 2), u64::MAX);
        assert!(most.is_zero());
    }

    #[test]
    fn a_request_of_an_unknown_resource_does_not_fit() {
        assert!(!Resources::new(1, 1).with("a/b", 1).fits(&Resources::new(2, 2)));
        assert_eq!(Resources::default().times_in(&Resources::default()), u64::MAX);
    }
}
