//! Amounts of resources: from quantities and back, exactly.

use std::collections::BTreeMap;

use kompass_core::quantity;
use kompass_planner::Limits;

use crate::names;

/// The resources that a limit names, each with how its amount is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Thousandths of a CPU.
    Milli,
    /// Bytes.
    Bytes,
    /// Pods, GPUs: things that are there in whole.
    Whole,
}

impl Unit {
    /// How the resource is counted; `None` if there is no such resource.
    pub(crate) fn of(resource: &str) -> Option<Self> {
        match resource {
            "cpu" => Some(Self::Milli),
            "memory" | "ephemeral-storage" => Some(Self::Bytes),
            "pods" => Some(Self::Whole),
            _ if resource.strip_prefix("hugepages-").is_some_and(is_page_size) => Some(Self::Bytes),
            _ => names::is_extended_resource(resource).then_some(Self::Whole),
        }
    }

    /// The amount in this unit; `None` where it would have to be rounded and may not be.
    pub(crate) fn read(self, text: &str) -> Result<Option<u64>, quantity::Error> {
        match self {
            Self::Milli => quantity::milli(text).map(Some),
            Self::Bytes => quantity::units(text).map(Some),
            Self::Whole => {
                let units = quantity::units(text)?;
                // What is too large in thousandths has no part that anyone would miss.
                let whole = quantity::milli(text).map_or(true, |milli| milli == units.saturating_mul(1_000));
                Ok(whole.then_some(units))
            }
        }
    }

    /// The shortest quantity that is read as exactly this amount.
    pub(crate) fn render(self, amount: u64) -> String {
        match self {
            Self::Milli if !amount.is_multiple_of(1_000) => format!("{amount}m"),
            Self::Milli => (amount / 1_000).to_string(),
            Self::Bytes => bytes(amount),
            Self::Whole => amount.to_string(),
        }
    }
}

fn is_page_size(text: &str) -> bool {
    quantity::units(text).is_ok_and(|size| size > 0)
}

fn bytes(amount: u64) -> String {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut left = amount;
    let mut suffixes = SUFFIXES.iter().peekable();
    while left > 0 && left.is_multiple_of(1024) && suffixes.len() > 1 {
        left /= 1024;
        suffixes.next();
    }
    format!("{left}{}", suffixes.peek().copied().unwrap_or(&""))
}

/// Sets the amount of one resource.
pub(crate) fn set(limits: &mut Limits, resource: &str, amount: u64) {
    match resource {
        "cpu" => limits.cpu_milli = Some(amount),
        "memory" => limits.memory_bytes = Some(amount),
        "pods" => limits.pods = Some(amount),
        _ => _ = limits.extended.insert(resource.to_owned(), amount),
    }
}

/// All amounts by the names of their resources.
pub(crate) fn all(limits: &Limits) -> BTreeMap<&str, u64> {
    let Limits {
        cpu_milli,
        memory_bytes,
        pods,
        extended,
    } = limits;
    let named = [("cpu", cpu_milli), ("memory", memory_bytes), ("pods", pods)];
    let named = named.into_iter().filter_map(|(name, amount)| Some((name, (*amount)?)));
    named
        .chain(extended.iter().map(|(name, &amount)| (name.as_str(), amount)))
        .collect()
}

/// An amount of a resource as a quantity.
pub(crate) fn render(resource: &str, amount: u64) -> String {
    Unit::of(resource).unwrap_or(Unit::Whole).render(amount)
}
