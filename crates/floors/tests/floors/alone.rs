//! The autoscaler with a group that nobody else touches.

use crate::model::asg::{AutoScaling as _, ValidationError};
use crate::model::autoscaler::{BACK_OFF_MS, CACHE_MS, Did, PROVISION_MS, SCAN_MS, UNNEEDED_MS};
use crate::world::World;

const MINUTE_MS: i64 = 60_000;

#[test]
fn it_adds_what_is_missing_once_and_takes_it_away_when_nobody_has_needed_it_for_long() {
    let mut world = World::new(1, 1, 10);
    world.submit(4, 5 * MINUTE_MS);
    world.pass(MINUTE_MS);
    assert_eq!(world.asg.desired, 4, "one was free");
    let grew = |did: &Did| matches!(did, Did::Grew { .. });
    world.pass(4 * MINUTE_MS);
    assert!(!world.is_waiting());
    assert_eq!(world.autoscaler.did.iter().filter(|(_, did)| grew(did)).count(), 1);
    while !world.busy().is_empty() {
        world.pass(SCAN_MS);
    }
    let ends_ms = world.asg.now_ms;
    while world.asg.desired > 1 {
        assert!(
            world.asg.now_ms <= ends_ms + UNNEEDED_MS + 2 * SCAN_MS,
            "{:?}",
            world.autoscaler.did
        );
        world.pass(SCAN_MS);
    }
    assert!(world.asg.now_ms - ends_ms >= UNNEEDED_MS);
    world.pass(60 * MINUTE_MS);
    assert_eq!((world.asg.desired, world.asg.in_service().len()), (1, 1), "MinSize");
}

#[test]
fn it_adds_no_more_than_there_may_be() {
    let mut world = World::new(1, 0, 3);
    world.submit(5, MINUTE_MS);
    world.pass(5 * MINUTE_MS);
    assert_eq!(world.asg.desired, 3);
    assert_eq!(world.autoscaler.did.last().unwrap().1, Did::AtMax);
}

#[test]
fn what_never_comes_is_given_up_and_not_asked_for_again_at_once() {
    let mut world = World::new(1, 1, 10);
    world.asg.capacity = 2;
    world.submit(4, 5 * MINUTE_MS);
    world.pass(PROVISION_MS - MINUTE_MS);
    assert_eq!(world.asg.desired, 4);
    while world.asg.desired > 2 {
        world.pass(SCAN_MS);
    }
    let first_ms = world.asg.now_ms;
    assert_eq!(world.autoscaler.backs_off_until_ms(), Some(first_ms + BACK_OFF_MS));
    while world.asg.desired == 2 {
        world.pass(SCAN_MS);
    }
    assert!(world.asg.now_ms - first_ms >= BACK_OFF_MS);
    // The second back-off is longer; when there is capacity again, all is forgotten.
    world.pass(PROVISION_MS + 2 * MINUTE_MS);
    let until_ms = world.autoscaler.backs_off_until_ms().unwrap();
    assert!(until_ms - world.asg.now_ms > BACK_OFF_MS);
    world.asg.capacity = 10;
    world.pass(30 * MINUTE_MS);
    assert!(!world.is_waiting());
    assert_eq!(world.autoscaler.backs_off_until_ms(), None);
}

#[test]
fn it_does_not_know_of_a_new_min_size_for_a_minute() {
    let mut world = World::new(1, 1, 10);
    world.step(|_| ());
    // Nothing of this reaches its cache before it writes.
    world.submit(2, MINUTE_MS);
    world.step(|asg| asg.set_min(5).unwrap());
    let refused = Some(ValidationError::BelowMin);
    assert_eq!(world.autoscaler.did.last().unwrap().1, Did::Grew { to: 2, refused });
    world.pass(2 * MINUTE_MS);
    assert_eq!((world.asg.desired, world.casualties), (5, 0));
    assert!(world.asg.now_ms < world.autoscaler.backs_off_until_ms().unwrap());
}

#[test]
fn a_desired_capacity_of_somebody_else_is_taken_back_within_a_minute() {
    let mut world = World::new(1, 2, 20);
    // Long jobs on all of it.
    world.submit(2, 600 * MINUTE_MS);
    // Its cache is new, and will be for a while.
    world.pass(2 * CACHE_MS + SCAN_MS);
    world.submit(1, MINUTE_MS);
    world.step(|asg| {
        asg.set_desired(10).unwrap();
    });
    assert_eq!(world.asg.desired, 3, "two that it knew of and one more");
    assert_eq!(world.asg.ended.len(), 7, "the group chose which end");
}

#[test]
fn what_comes_while_it_is_given_up_costs_other_nodes() {
    // Nobody else has a part in it: its cache says that they have not come.
    let mut lost = 0;
    for seed in 0..20 {
        let mut world = World::new(seed, 0, 10);
        world.asg.capacity = 4;
        world.submit(4, 600 * MINUTE_MS);
        world.pass(5 * MINUTE_MS);
        assert!(!world.is_waiting());
        world.submit(4, MINUTE_MS);
        // One loop before it does, just after it has looked.
        world.pass(PROVISION_MS + SCAN_MS);
        assert_eq!((world.asg.desired, world.asg.in_service().len()), (8, 4));
        world.asg.capacity = 10;
        world.pass(2 * CACHE_MS);
        lost += world.given_up;
        assert_eq!(world.casualties, 0);
    }
    assert!(lost > 0);
}
