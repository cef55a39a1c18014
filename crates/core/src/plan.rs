//! Where a gang runs: the annotation `kompass.dev/gang-plan`, written with the gate's removal in one patch.

use serde::{Deserialize, Serialize};

/// The plan's schema version that this code writes and reads.
pub const VERSION: u32 = 1;
/// No plan longer than this is written: together with the user's own annotations it must stay far below Kubernetes'
/// limit of 256 KiB for all annotations of an object.
pub const MAX_ANNOTATION_BYTES: usize = 64 * 1024;

/// Why a plan was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON of a plan.
    #[error("failed to read the gang plan annotation")]
    Malformed(#[source] serde_json::Error),
    /// Of another schema version.
    #[error("failed to read the gang plan annotation: schema version {0} is not {VERSION}")]
    Version(u32),
}

/// Where a gang runs: a reservation on nodes for the driver and each executor of the minimum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GangPlan {
    /// Schema version, [`VERSION`].
    #[serde(rename = "v")]
    pub version: u32,
    /// UID of the driver that it was made for: a copied plan is worth nothing.
    pub uid: String,
    /// The driver's node.
    pub driver: String,
    /// Executors by node, in the plan's order; each node once, counts above zero.
    pub executors: Vec<(String, u64)>,
    /// When it was planned, milliseconds since 1970.
    #[serde(rename = "at")]
    pub planned_ms: i64,
    /// Slots of the minimum that were given up for good, because the job has never asked for them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unclaimed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl GangPlan {
    /// Executors in the plan.
    pub fn executor_count(&self) -> u64 {
        self.executors.iter().map(|(_, count)| count).sum()
    }

    /// Executors planned on a node.
    pub fn executors_on(&self, node: &str) -> u64 {
        self.executors
            .iter()
            .filter(|(name, _)| name == node)
            .map(|(_, count)| count)
            .sum()
    }

    /// Reads the annotation.
    pub fn from_annotation(text: &str) -> Result<Self, Error> {
        let plan: Self = serde_json::from_str(text).map_err(Error::Malformed)?;
        if plan.version == VERSION {
            Ok(plan)
        } else {
            Err(Error::Version(plan.version))
        }
    }

    /// Writes the annotation.
    pub fn to_annotation(&self) -> String {
        serde_json::to_string(self).expect("a plan has string keys only, so it is always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_its_annotation_and_stays_small() {
        let plan = GangPlan {
            version: VERSION,
            uid: "6f0c2a34-1111-2222-3333-444455556666".into(),
            driver: "ip-10-0-0-1.eu-central-1.compute.internal".into(),
            executors: (0..1000)
                .map(|n| (format!("ip-10-0-{n}-1.eu-central-1.compute.internal"), 5))
                .collect(),
            planned_ms: 1_700_000_000_000,
            unclaimed: 2,
        };
        let text = plan.to_annotation();
        assert_eq!(GangPlan::from_annotation(&text).unwrap(), plan);
        assert_eq!(plan.executor_count(), 5000);
        assert_eq!(plan.executors_on("ip-10-0-7-1.eu-central-1.compute.internal"), 5);
        assert!(text.len() < MAX_ANNOTATION_BYTES, "{}", text.len());
        assert!(matches!(
            GangPlan::from_annotation(&text.replace("\"v\":1", "\"v\":9")),
            Err(Error::Version(9))
        ));
    }
}
