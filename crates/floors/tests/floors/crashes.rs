//! The predictor dies after any call, for ever or for a while: the base always comes back.

use std::collections::BTreeSet;

use kompass_floors::Write;
use kompass_floors::rules::LATE_MS;

use crate::cloud::Cloud;
use crate::predictor::{Fate, Life, Predictor, TTL_MS};
use crate::random::Random;

const STEP_MS: i64 = 5_000;
const RUNS: u64 = 3_000;

/// What the cluster wants, over time.
struct Demand {
    random: Random,
    headroom: u32,
    busy: u32,
}

impl Demand {
    fn pass(&mut self, cloud: &mut Cloud) -> BTreeSet<String> {
        if self.random.once_in(60) {
            self.headroom = u32::try_from(self.random.below(7)).unwrap();
        }
        if self.random.once_in(30) {
            self.busy = u32::try_from(self.random.below(6)).unwrap();
        }
        // The autoscaler: more for those that wait, fewer now and then.
        if self.busy > cloud.desired {
            cloud.set_desired(self.busy.min(cloud.max));
        } else if self.random.once_in(40) && cloud.desired > self.busy {
            cloud.take_away();
        }
        let names = cloud.instance_names().into_iter();
        names.take(self.busy as usize).collect()
    }
}

#[derive(Debug, Default)]
struct Tally {
    dead_with_floor: u32,
    raised: u32,
}

/// A run of some hours, in which the predictor dies now and then, and at last for ever.
fn run(seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let base = u32::try_from(random.below(4)).unwrap();
    let mut cloud = Cloud::new(seed, base, base + 8);
    let mut demand = Demand {
        random: Random::new(seed ^ 0xDE),
        headroom: 3,
        busy: 0,
    };
    let mut predictor = Some(Predictor::new("first", cloud.now_ms));
    let mut comes_back_ms = 0;
    let steps = 200 + random.below(2_500);
    // What a process that has lost its lease had on its way: it comes while the next one is at work.
    let mut late: Vec<(i64, Write)> = Vec::new();
    for _ in 0..steps {
        cloud.pass(STEP_MS);
        let now_ms = cloud.now_ms;
        for (_, write) in late.extract_if(.., |(at_ms, _)| *at_ms <= now_ms) {
            let _ = cloud.write(&write);
        }
        let busy = demand.pass(&mut cloud);
        assert!(cloud.min >= base && cloud.min <= cloud.max, "seed {seed}");
        let Some(living) = &mut predictor else {
            if cloud.now_ms >= comes_back_ms {
                predictor = Some(Predictor::new("next", cloud.now_ms));
            }
            continue;
        };
        let mut fate = |_: &_| match random.below(40) {
            0 => Fate::DiesBefore,
            1 => Fate::DiesAfter,
            2 => Fate::Refused,
            3 => Fate::Lost,
            4 => Fate::Late,
            _ => Fate::Well,
        };
        let life = living.step(&mut cloud, demand.headroom, &busy, false, &mut fate);
        for write in std::mem::take(&mut living.late) {
            let late_ms = i64::try_from(random.below(60_000)).unwrap();
            late.push((cloud.now_ms + late_ms, write));
        }
        if cloud.min > base {
            tally.raised += 1;
        }
        if life == Life::Dies {
            predictor = None;
            let for_long = random.once_in(2);
            let away_ms = random.below(if for_long { 4_000_000 } else { 30_000 });
            comes_back_ms = cloud.now_ms + 5_000 + i64::try_from(away_ms).unwrap();
        }
    }
    // For ever.
    if cloud.min > base {
        tally.dead_with_floor += 1;
    }
    for (_, write) in late {
        let _ = cloud.write(&write);
    }
    let died_ms = cloud.now_ms;
    while cloud.now_ms < died_ms + TTL_MS + LATE_MS {
        cloud.pass(STEP_MS);
    }
    assert_eq!(cloud.min, base, "seed {seed}: a floor stays");
    assert!(cloud.release.is_none(), "seed {seed}: a release stays");
}

#[test]
fn the_base_comes_back_whenever_it_dies() {
    let mut tally = Tally::default();
    for seed in 0..RUNS {
        run(seed, &mut tally);
    }
    assert!(tally.dead_with_floor > 100 && tally.raised > 10_000, "{tally:?}");
}
