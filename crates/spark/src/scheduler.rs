//! Executors that name a scheduler of their own.

use kompass_core::JobProfile;
use kompass_core::names::{DEFAULT_SCHEDULER, SCHEDULER};
use serde_json::Value;

use crate::conf::{Key, Reader};
use crate::explain::Field;
use crate::json;

/// Longer names are of no scheduler.
const MAX_NAME_CHARS: usize = 253;

/// The scheduler of the executors, where it is not the ordinary one: the executors' own key counts before that of both
/// roles, even where it is empty, and any of them before the template.
pub(crate) fn of_executors(reader: &mut Reader<'_>, pod: &Value) -> Option<String> {
    reader.about(Field::ExecutorScheduler);
    let named = reader
        .text(Key::ExecutorScheduler)
        .or_else(|| reader.text(Key::Scheduler));
    let scheduler = named.or_else(|| json::text(pod, "/spec/schedulerName"))?;
    let foreign = !["", DEFAULT_SCHEDULER, SCHEDULER].contains(&scheduler);
    foreign.then(|| scheduler.chars().take(MAX_NAME_CHARS).collect())
}

/// Reserves nothing for executors of a scheduler that is not KOMPASS's and that it does not stand in for either, as
/// `takes_over` tells: they would go elsewhere, and their room would be kept for nobody.
pub fn leave_executors(profile: &mut JobProfile, takes_over: impl Fn(&str) -> bool) {
    let Some(scheduler) = &profile.executor_scheduler else {
        return;
    };
    if takes_over(scheduler) {
        profile.executor_scheduler = None;
        return;
    }
    (profile.executors_at_start, profile.executors_max) = (0, Some(0));
    profile
        .warnings
        .push("the executors name a scheduler of their own: nothing is reserved for them".to_owned());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile;
    use crate::{Conf, DriverPod};

    fn profile(version: &str, conf: &str, template: Option<&str>) -> JobProfile {
        let pod = json!({
            "metadata": {"name": "d", "labels": {"spark-role": "driver", "spark-version": version}},
            "spec": {"containers": [{"args": ["driver"]}]},
        });
        profile::build(&DriverPod::from_json(&pod).unwrap(), Some(&Conf::parse(conf)), template)
    }

    #[test]
    fn the_scheduler_of_executors_is_the_one_that_spark_writes() {
        let (both, own) = (
            "spark.kubernetes.scheduler.name=",
            "spark.kubernetes.executor.scheduler.name=",
        );
        let template = Some("spec: {schedulerName: third}");
        for (version, conf, template, expected) in [
            ("4.1.4", String::new(), None, None),
            ("4.1.4", format!("{both}volcano"), None, Some("volcano")),
            ("4.1.4", format!("{own}volcano"), None, Some("volcano")),
            ("4.1.4", format!("{both}a\n{own}b"), None, Some("b")),
            ("4.1.4", format!("{both}a\n{own}"), None, None),
            ("4.1.4", String::new(), template, Some("third")),
            ("4.1.4", format!("{own}default-scheduler"), template, None),
            ("4.1.4", format!("{own}kompass"), template, None),
            ("3.2.0", format!("{both}a"), None, None),
            ("3.2.0", format!("{own}b"), None, Some("b")),
            ("2.4.8", format!("{own}b"), template, None),
        ] {
            let found = profile(version, &conf, template).executor_scheduler;
            assert_eq!(found.as_deref(), expected, "{version} {conf} {template:?}");
        }
    }

    #[test]
    fn nothing_is_reserved_for_executors_that_go_elsewhere() {
        let conf = "spark.executor.instances=9\nspark.kubernetes.executor.scheduler.name=volcano\n";
        let mut left = profile("4.1.4", conf, None);
        leave_executors(&mut left, |_| false);
        assert_eq!((left.executors_at_start, left.executors_max), (0, Some(0)));
        assert_eq!(
            (left.executor_scheduler.as_deref(), left.warnings.len()),
            (Some("volcano"), 1)
        );
        let mut taken = profile("4.1.4", conf, None);
        leave_executors(&mut taken, |scheduler| scheduler == "volcano");
        assert_eq!(
            (taken.executors_at_start, taken.executor_scheduler, taken.warnings.len()),
            (9, None, 0)
        );
        let mut plain = profile("4.1.4", "spark.executor.instances=9", None);
        leave_executors(&mut plain, |_| false);
        assert_eq!((plain.executors_at_start, plain.warnings.len()), (9, 0));
    }

    #[test]
    fn the_pause_between_batches_is_read() {
        let of = |conf: &str| profile("4.1.4", conf, None).executor_batch_delay_ms;
        assert_eq!(of(""), None);
        assert_eq!(of("spark.kubernetes.allocation.batch.delay=30s"), Some(30_000));
        assert_eq!(of("spark.kubernetes.allocation.batch.delay=250"), Some(250));
    }
}
