//! The autoscaler beside somebody who moves `MinSize`: what holds whoever it is, as long as it is lowered rarely.

use std::collections::BTreeSet;

use crate::model::asg::Asg;
use crate::model::autoscaler::{AFTER_ADD_MS, CACHE_MS, Did, UNNEEDED_MS};
use crate::model::random::Random;
use crate::world::World;

const MINUTE_MS: i64 = 60_000;
const BASE: u32 = 1;
const MAX: u32 = 24;

/// Somebody who raises `MinSize` a little above what is desired, and lowers it so long after that at the soonest.
struct Floor {
    random: Random,
    rest_ms: i64,
    next_ms: i64,
}

impl Floor {
    fn step(&mut self, asg: &mut Asg) {
        if asg.now_ms < self.next_ms {
            return;
        }
        if asg.min > BASE {
            asg.set_min(BASE).unwrap();
            self.next_ms = asg.now_ms + self.random.between_ms(2 * MINUTE_MS, 20 * MINUTE_MS);
        } else {
            let more = 1 + u32::try_from(self.random.below(4)).unwrap();
            asg.set_min((asg.desired + more).min(MAX)).unwrap();
            let rest_ms = self.rest_ms + self.random.between_ms(10_000, 40_000);
            self.next_ms = asg.now_ms + rest_ms;
        }
    }
}

/// Six hours of jobs and floors, then rest.
fn run(seed: u64, rest_ms: i64) -> World {
    let mut world = World::new(seed, BASE, MAX);
    let mut random = Random::new(seed);
    let mut floor = Floor {
        random: Random::new(seed ^ 0xF100),
        rest_ms,
        next_ms: 0,
    };
    let ends_ms = world.asg.now_ms + 360 * MINUTE_MS;
    while world.asg.now_ms < ends_ms {
        if random.below(15) == 0 {
            let nodes = 1 + usize::try_from(random.below(4)).unwrap();
            world.submit(nodes, random.between_ms(MINUTE_MS, 20 * MINUTE_MS));
        }
        world.asg.capacity = if random.below(500) == 0 { 6 } else { u32::MAX };
        world.step(|asg| floor.step(asg));
        let asg = &world.asg;
        assert!((asg.min..=asg.max).contains(&asg.desired), "seed {seed}");
        assert!(asg.in_service().len() <= asg.max as usize, "seed {seed}");
    }
    world.asg.set_min(BASE).unwrap();
    world
}

#[test]
fn no_busy_node_is_lost_to_a_floor_that_is_not_lowered_within_a_minute() {
    let mut refused = 0;
    for seed in 0..40 {
        let world = run(seed, CACHE_MS);
        assert_eq!(world.casualties, 0, "seed {seed}: {:?}", world.autoscaler.did);
        let was_refused = |did: &Did| matches!(did, Did::Grew { refused: Some(_), .. });
        refused += world.autoscaler.did.iter().filter(|(_, did)| was_refused(did)).count();
    }
    assert!(refused > 0, "they never met");
}

#[test]
fn one_that_is_lowered_at_once_may_cost_busy_nodes() {
    let lost: usize = (0..40).map(|seed| run(seed, 0).casualties).sum();
    assert!(lost > 0);
}

#[test]
fn when_it_is_over_all_goes_back_to_the_base() {
    for seed in 0..20 {
        let mut world = run(seed, CACHE_MS);
        while world.is_waiting() || !world.busy().is_empty() {
            world.pass(MINUTE_MS);
        }
        world.pass(CACHE_MS + AFTER_ADD_MS.max(UNNEEDED_MS) + 20 * MINUTE_MS);
        assert_eq!(
            (world.asg.desired, world.asg.in_service().len()),
            (BASE, BASE as usize),
            "seed {seed}"
        );
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let all: BTreeSet<String> = (0..2).map(|_| format!("{:?}", run(7, CACHE_MS))).collect();
    assert_eq!(all.len(), 1);
}
