//! Somebody who submits and cancels, and bursts a hundred times as large as ever: what floors cost stays within the budget,
//! they don't flap, and none is left.

use kompass_capacity::budget::{Budget, Limits};
use kompass_capacity::hysteresis::Hysteresis;
use kompass_floors::{Refusal, Write};

use crate::cloud::Cloud;
use crate::model::autoscaler::SCAN_MS;
use crate::model::random::Random;
use crate::predictor::{Fate, Predictor, Wish};
use crate::world::World;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const TICK_MS: i64 = 5 * MINUTE_MS;
const NODES_MAX: u32 = 12;
const NODE_HOURS_A_DAY: u64 = 36;
const BASE: u32 = 1;

/// What somebody makes the rule want at each tick.
type Adversary = fn(&mut Random, u32, i64) -> u32;

fn cancels(_: &mut Random, last: u32, _: i64) -> u32 {
    if last == 0 { 10 } else { 0 }
}

fn spikes(random: &mut Random, _: u32, _: i64) -> u32 {
    if random.below(12) == 0 { 1_000 } else { 1 }
}

fn always(_: &mut Random, _: u32, _: i64) -> u32 {
    400
}

/// The predictor stops for an hour, each third hour.
fn pauses(_: &mut Random, _: u32, hour: i64) -> u32 {
    if hour % 3 == 0 { 0 } else { 8 }
}

/// A day against somebody, and the hours after it.
fn day(seed: u64, adversary: Adversary) {
    let mut random = Random::new(seed);
    let mut world = World::new(seed, BASE, 40);
    let begin_ms = world.asg.now_ms;
    let (mut cloud, mut predictor) = (Cloud::default(), Predictor::new("me", begin_ms));
    // As the service decides.
    let mut hysteresis = Hysteresis::new(10 * MINUTE_MS);
    let limits = Limits {
        hour_node_ms: u64::from(NODES_MAX) * 3_600_000,
        day_node_ms: NODE_HOURS_A_DAY * 3_600_000,
    };
    let mut budget = Budget::new(limits, TICK_MS);
    let (mut wanted, mut headroom, mut next_ms) = (0, 0, begin_ms);
    let mut held_node_ms = 0_u64;
    while world.asg.now_ms < begin_ms + 24 * HOUR_MS {
        let now_ms = world.asg.now_ms;
        if now_ms >= next_ms {
            next_ms += TICK_MS;
            wanted = adversary(&mut random, wanted, (now_ms - begin_ms) / HOUR_MS);
            let held = hysteresis.hold(now_ms, wanted.min(NODES_MAX));
            headroom = budget.allow(now_ms, held).nodes;
            // Jobs come and go meanwhile.
            if random.below(4) == 0 {
                let nodes = 1 + usize::try_from(random.below(3)).unwrap();
                world.submit(nodes, random.between_ms(MINUTE_MS, 15 * MINUTE_MS));
            }
        }
        let wish = Wish {
            headroom,
            busy: world.busy(),
            pending: world.is_waiting(),
        };
        let busy = u32::try_from(wish.busy.len()).unwrap();
        world.step(|asg| {
            predictor.step(asg, &mut cloud, &wish, &mut |_: &Write| Fate::Well);
            let above = asg.min.saturating_sub(BASE.max(busy));
            assert!(
                asg.min <= asg.max && asg.min - BASE <= NODES_MAX + asg.desired,
                "seed {seed}"
            );
            held_node_ms += u64::from(above) * SCAN_MS.unsigned_abs();
        });
    }
    // A floor goes down at most every five minutes, and nodes that become idle below it are held so long, too.
    let hours = held_node_ms / 3_600_000;
    let moves = cloud.min_writes_ms.len();
    assert!(
        hours <= NODE_HOURS_A_DAY + NODE_HOURS_A_DAY / 4,
        "seed {seed}: {hours} node-hours"
    );
    assert!(moves <= 24 * 12, "seed {seed}: {moves} moves of MinSize in a day");
    assert!(
        cloud
            .min_writes_ms
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= MINUTE_MS),
        "seed {seed}"
    );
    let idle = Wish::default();
    for _ in 0..60 {
        world.step(|asg| {
            predictor.step(asg, &mut cloud, &idle, &mut |_: &Write| Fate::Well);
        });
    }
    assert_eq!((world.asg.min, cloud.has_tag()), (BASE, false), "seed {seed}");
    assert_eq!(world.casualties, 0, "seed {seed}");
    assert!(
        !predictor.refusals.iter().any(Refusal::is_strike),
        "seed {seed}: {:?}",
        predictor.refusals
    );
}

#[test]
fn the_budget_holds_and_no_floor_is_left() {
    for adversary in [cancels, spikes, always, pauses] as [Adversary; 4] {
        for seed in 0..10 {
            day(seed, adversary);
        }
    }
}
