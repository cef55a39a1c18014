//! Floors beside the autoscaler, with jobs and a predictor that dies now and then: they hardly hinder it, and when they are
//! gone it takes the nodes away.

use kompass_floors::Write;

use crate::cloud::Cloud;
use crate::model::asg::LATE_MAX_MS;
use crate::model::autoscaler::{AFTER_ADD_MS, CACHE_MS, Did, PROVISION_MS, UNNEEDED_MS};
use crate::model::random::Random;
use crate::predictor::{Fate, Predictor, TTL_MS, Wish};
use crate::world::World;

const MINUTE_MS: i64 = 60_000;
const BASE: u32 = 1;
const MAX: u32 = 24;

/// Six hours; where it is dry, instances are short now and then.
fn run(seed: u64, dry: bool) -> (World, Cloud) {
    let mut world = World::new(seed, BASE, MAX);
    let mut random = Random::new(seed);
    let begin_ms = world.asg.now_ms;
    let (mut cloud, mut predictor) = (Cloud::default(), Predictor::new("me", begin_ms));
    let (mut dead_until_ms, mut headroom) = (0, 0);
    while world.asg.now_ms < begin_ms + 360 * MINUTE_MS {
        let now_ms = world.asg.now_ms;
        if random.below(15) == 0 {
            let nodes = 1 + usize::try_from(random.below(4)).unwrap();
            world.submit(nodes, random.between_ms(MINUTE_MS, 20 * MINUTE_MS));
        }
        if random.below(30) == 0 {
            headroom = u32::try_from(random.below(7)).unwrap();
        }
        if random.below(400) == 0 {
            dead_until_ms = now_ms + random.between_ms(MINUTE_MS, 100 * MINUTE_MS);
            predictor = Predictor::new("next", dead_until_ms);
        }
        if dry && random.below(100) == 0 {
            world.asg.capacity = [6, u32::MAX][usize::try_from(random.below(2)).unwrap()];
        }
        let wish = Wish {
            headroom,
            busy: world.busy(),
            pending: world.is_waiting(),
        };
        world.step(|asg| {
            if asg.now_ms >= dead_until_ms {
                predictor.step(asg, &mut cloud, &wish, &mut |_: &Write| Fate::Well);
            }
        });
    }
    (world, cloud)
}

#[test]
fn floors_cost_no_busy_node_and_hardly_hinder_the_autoscaler() {
    let (mut refused, mut grown, mut written) = (0, 0, 0);
    for seed in 0..100 {
        let (world, cloud) = run(seed, seed % 2 == 1);
        assert_eq!(world.casualties, 0, "seed {seed}: {:?}", world.autoscaler.did);
        for (_, did) in &world.autoscaler.did {
            grown += usize::from(matches!(did, Did::Grew { .. }));
            refused += usize::from(matches!(did, Did::Grew { refused: Some(_), .. }));
        }
        let rests = |pair: &[i64]| pair[1] - pair[0] >= MINUTE_MS;
        assert!(cloud.min_writes_ms.windows(2).all(rests), "seed {seed}");
        written += cloud.min_writes_ms.len();
    }
    let what = format!("{written} writes, {refused} of {grown} growths refused");
    assert!(written > 1_000 && refused > 0, "they never met: {what}");
    assert!(refused * 50 < grown, "{what}");
}

#[test]
fn when_the_floor_is_gone_the_nodes_go() {
    for seed in 0..50 {
        let (mut world, _) = run(seed, seed % 2 == 1);
        world.asg.capacity = u32::MAX;
        world.pass(TTL_MS + LATE_MAX_MS);
        assert_eq!(world.asg.min, BASE, "seed {seed}");
        while world.is_waiting() || !world.busy().is_empty() {
            world.pass(MINUTE_MS);
        }
        world.pass(CACHE_MS + AFTER_ADD_MS.max(UNNEEDED_MS) + PROVISION_MS + 10 * MINUTE_MS);
        assert_eq!(world.asg.desired, BASE, "seed {seed}");
    }
}
