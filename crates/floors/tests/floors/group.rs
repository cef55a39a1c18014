//! The group by itself.

use crate::model::asg::{Asg, AutoScaling as _, End, LATE_MAX_MS, ValidationError};

const MINUTE_MS: i64 = 60_000;

#[test]
fn a_min_size_above_the_desired_capacity_raises_it_and_a_lower_one_takes_nothing_away() {
    let mut asg = Asg::new(1, 2, 10);
    asg.set_min(6).unwrap();
    assert_eq!((asg.desired, asg.describe().instances.len()), (6, 6));
    asg.pass(5 * MINUTE_MS);
    assert_eq!(asg.in_service().len(), 6);
    asg.set_min(0).unwrap();
    asg.pass(60 * MINUTE_MS);
    assert_eq!((asg.desired, asg.in_service().len()), (6, 6));
    assert_eq!(asg.set_min(11), Err(ValidationError::AboveMax));
}

#[test]
fn sizes_out_of_bounds_are_refused() {
    let mut asg = Asg::new(1, 2, 4);
    assert_eq!(asg.set_desired(1), Err(ValidationError::BelowMin));
    assert_eq!(asg.set_desired(5), Err(ValidationError::AboveMax));
    assert_eq!((asg.desired, asg.ended.len()), (2, 0));
    let id = *asg.in_service().first().unwrap();
    assert_eq!(asg.terminate(id), Err(ValidationError::BelowMin), "at MinSize");
    asg.set_desired(3).unwrap();
    assert_eq!(asg.terminate(99), Err(ValidationError::NoSuchInstance));
    asg.terminate(id).unwrap();
    assert_eq!(
        (asg.desired, asg.ended.as_slice()),
        (2, [(asg.now_ms, id, End::Named)].as_slice())
    );
}

#[test]
fn a_lower_desired_capacity_ends_instances_that_nobody_named() {
    let mut asg = Asg::new(1, 0, 10);
    asg.set_desired(6).unwrap();
    asg.set_desired(2).unwrap();
    assert_eq!(asg.ended.iter().filter(|(_, _, end)| *end == End::Chosen).count(), 4);
}

#[test]
fn scheduled_actions_run_once_and_up_to_two_minutes_late() {
    let mut latest_ms = 0;
    for seed in 0..200 {
        let mut asg = Asg::new(seed, 5, 10);
        let start_ms = asg.now_ms + 10 * MINUTE_MS;
        asg.schedule("release", start_ms, 1).unwrap();
        while asg.min == 5 {
            assert!(asg.now_ms <= start_ms + LATE_MAX_MS, "seed {seed}");
            asg.pass(1_000);
        }
        assert!(asg.now_ms >= start_ms, "seed {seed}");
        latest_ms = latest_ms.max(asg.now_ms - start_ms);
        assert!(!asg.unschedule("release"), "it is gone");
    }
    assert!(latest_ms > LATE_MAX_MS / 2, "some are late: {latest_ms} ms");
}

#[test]
fn scheduled_actions_have_start_times_of_their_own_and_rest_while_suspended() {
    let mut asg = Asg::new(1, 5, 10);
    let start_ms = asg.now_ms + MINUTE_MS;
    assert_eq!(asg.schedule("release", asg.now_ms, 1), Err(ValidationError::StartPast));
    asg.schedule("other", start_ms, 4).unwrap();
    assert_eq!(asg.schedule("release", start_ms, 1), Err(ValidationError::StartTaken));
    asg.schedule("other", start_ms, 3).unwrap();
    assert_eq!(
        (asg.action("other"), asg.action("release")),
        (Some((start_ms, 3)), None)
    );
    asg.suspended = true;
    asg.pass(60 * MINUTE_MS);
    assert_eq!(asg.min, 5);
    asg.suspended = false;
    asg.pass(1_000);
    assert_eq!((asg.min, asg.ran.len()), (3, 1));
}

#[test]
fn what_is_not_to_be_had_comes_when_it_is() {
    let mut asg = Asg::new(1, 2, 10);
    asg.capacity = 4;
    asg.set_min(6).unwrap();
    asg.pass(60 * MINUTE_MS);
    assert_eq!((asg.desired, asg.in_service().len()), (6, 4), "a part of it");
    asg.capacity = u32::MAX;
    asg.pass(1_000);
    asg.pass(5 * MINUTE_MS);
    assert_eq!(asg.in_service().len(), 6);
}
