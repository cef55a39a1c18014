//! Resource quotas: how much more a namespace may ask for.

use std::collections::BTreeMap;

use kompass_core::quantity;

use super::Error;
use crate::object::{self, Quantities};

/// A namespace's quota.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// It counts Spark's pods: it has no scopes, or only such that they are in whatever their priority class is.
    pub applies_to_spark: bool,
    /// The limits.
    pub hard: Amounts,
    /// What is used, as the API server last counted.
    pub used: Amounts,
}

/// Amounts of a quota by their Kubernetes names: thousandths for CPU, whole units for all else. A limit that is not
/// set is not there.
pub type Amounts = BTreeMap<String, u64>;

/// A quota. The limits are those of the status where it has them: only these are enforced.
pub fn quota(quota: object::ResourceQuota) -> Result<Quota, Error> {
    let object::ResourceQuota { metadata, spec, status } = quota;
    let hard = if status.hard.is_empty() {
        &spec.hard
    } else {
        &status.hard
    };
    Ok(Quota {
        namespace: metadata.namespace.ok_or(Error::Missing("namespace"))?,
        name: metadata.name.ok_or(Error::Missing("name"))?,
        applies_to_spark: applies_to_spark(&spec),
        hard: amounts(hard)?,
        used: amounts(&status.used)?,
    })
}

/// Spark's pods have requests and no deadline. A scope by priority class may hold some of them; which is not followed
/// here, the API server still enforces it.
fn applies_to_spark(spec: &object::QuotaSpec) -> bool {
    let holds = |scope: &str| matches!(scope, "NotTerminating" | "NotBestEffort");
    let selected = &spec.scope_selector.match_expressions;
    spec.scopes.iter().all(|scope| holds(scope))
        && selected
            .iter()
            .all(|rule| holds(&rule.scope_name) && rule.operator == "Exists")
}

fn amounts(quantities: &Quantities) -> Result<Amounts, Error> {
    let read = |(name, amount): (&String, &object::Quantity)| {
        let read = if matches!(name.as_str(), "cpu" | "requests.cpu" | "limits.cpu") {
            quantity::milli
        } else {
            quantity::units
        };
        let value = read(&amount.0).map_err(|source| Error::Quantity {
            resource: name.clone(),
            source,
        })?;
        Ok((name.clone(), value))
    };
    quantities.iter().map(read).collect()
}
