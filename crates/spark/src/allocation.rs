//! How a driver asks for its executors: by its release and its configuration.

use serde::Serialize;

use crate::conf::{Key, Reader};
use crate::releases::{NextBatch, Release};

/// The allocator that is there unless told otherwise: the driver makes each pod itself.
const DIRECT: &str = "direct";

/// The rhythm in which a driver asks for executors. Whoever waits until all are there has to know it: some drivers ask
/// for a few and for no more until these run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Allocation {
    /// Executors asked for at a time.
    pub batch: u64,
    /// The driver asks for no more while so many wait to run; `None` without such a limit.
    pub pending_max: Option<u64>,
    /// The first is asked for alone, some tenths of a second before the others.
    pub first_alone: bool,
    /// An executor that the API server refuses (a quota, a webhook) counts as one that failed, of which a few end the
    /// application.
    pub refusal_fails: bool,
}

impl Allocation {
    /// `None` where the driver does not make its executors itself.
    pub(crate) fn of(reader: &mut Reader<'_>) -> Option<Self> {
        let release = Release::of(reader.version());
        let positive = |number: &u64| *number > 0;
        let batch = reader.integer(Key::AllocationBatchSize).filter(positive);
        let batch = batch.unwrap_or(release.batch);
        let all_at_once = i32::MAX as u64;
        let limit = reader.integer(Key::MaxPendingPods).filter(positive);
        let limit = limit.filter(|&pods| pods < all_at_once);
        let waits = (release.next_batch == NextBatch::OnceTheseRun).then_some(batch);
        let allocator = reader.text(Key::PodsAllocator).unwrap_or(DIRECT);
        (allocator == DIRECT).then_some(Self {
            batch,
            pending_max: limit.or(waits),
            first_alone: release.first_alone,
            refusal_fails: release.refusal_fails,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::Conf;
    use crate::version::Version;

    fn of(version: Version, conf: &str) -> Option<(u64, Option<u64>)> {
        let conf = Conf::parse(conf);
        let allocation = Allocation::of(&mut conf.reader(version))?;
        Some((allocation.batch, allocation.pending_max))
    }

    #[test]
    fn the_configuration_stands_over_the_releases_habit() {
        let (size, pending) = (Key::AllocationBatchSize.name(), Key::MaxPendingPods.name());
        let set = |key: &str, value: &str| format!("{key}={value}\n");
        for (version, conf, expected) in [
            ((3, 0, 3), String::new(), (5, Some(5))),
            ((3, 0, 3), set(size, "50"), (50, Some(50))),
            ((3, 0, 3), set(pending, "2"), (5, Some(5))),
            ((3, 1, 3), set(pending, "2"), (5, None)),
            ((3, 2, 0), set(pending, "2"), (5, Some(2))),
            ((4, 3, 0), String::new(), (20, None)),
            ((4, 3, 0), set(pending, "2147483647"), (20, None)),
            ((4, 3, 0), set(size, "3") + &set(pending, "7"), (3, Some(7))),
            ((4, 3, 0), set(size, "0") + &set(pending, "0"), (20, None)),
            ((4, 3, 0), set(size, "x") + &set(pending, "-1"), (20, None)),
        ] {
            let version = Version::new(version.0, version.1, version.2);
            assert_eq!(of(version, &conf), Some(expected), "{version} {conf}");
        }
    }

    #[test]
    fn only_a_driver_that_makes_its_executors_itself_has_a_rhythm() {
        let conf = |allocator| format!("{}={allocator}", Key::PodsAllocator.name());
        for (version, allocator, direct) in [
            ((3, 3, 0), "statefulset", false),
            ((3, 3, 0), "com.example.Allocator", false),
            ((3, 3, 0), "direct", true),
            ((3, 2, 0), "statefulset", true),
        ] {
            let version = Version::new(version.0, version.1, version.2);
            let found = of(version, &conf(allocator));
            assert_eq!(found.is_some(), direct, "{version} {allocator}");
        }
    }
}
