//! The predictor dies after any call, for ever or for a while, beside an autoscaler and its jobs: the base always comes back,
//! and no busy node is lost to it.

use kompass_floors::Write;
use kompass_floors::group::RELEASE_ACTION;
use kompass_floors::rules::LATE_MS;

use crate::cloud::Cloud;
use crate::model::autoscaler::SCAN_MS;
use crate::model::random::Random;
use crate::predictor::{Fate, Life, Predictor, TTL_MS, Wish};
use crate::world::World;

const MINUTE_MS: i64 = 60_000;
const RUNS: u64 = 2_000;

#[derive(Debug, Default)]
struct Tally {
    dead_with_floor: u32,
    raised: u32,
    deaths: u32,
}

/// A predictor that lives, dies and comes back, and what it has on its way.
struct Lives {
    cloud: Cloud,
    random: Random,
    living: Option<Predictor>,
    comes_back_ms: i64,
    headroom: u32,
    /// What a process that has lost its lease had on its way: it comes while the next one is at work.
    late: Vec<(i64, Write)>,
}

impl Lives {
    fn step(&mut self, world: &mut World, tally: &mut Tally) {
        let wish = Wish {
            headroom: self.headroom,
            busy: world.busy(),
            pending: world.is_waiting(),
        };
        world.step(|asg| {
            let now_ms = asg.now_ms;
            for (_, write) in self.late.extract_if(.., |(at_ms, _)| *at_ms <= now_ms) {
                let _ = self.cloud.write(asg, &write);
            }
            let Some(living) = &mut self.living else {
                if now_ms >= self.comes_back_ms {
                    self.living = Some(Predictor::new("next", now_ms));
                }
                return;
            };
            let random = &mut self.random;
            let mut fate = |_: &Write| match random.below(40) {
                0 => Fate::DiesBefore,
                1 => Fate::DiesAfter,
                2 => Fate::Refused,
                3 => Fate::Lost,
                4 => Fate::Late,
                _ => Fate::Well,
            };
            let life = living.step(asg, &mut self.cloud, &wish, &mut fate);
            for write in std::mem::take(&mut living.late) {
                self.late.push((now_ms + random.between_ms(0, MINUTE_MS - 1), write));
            }
            if life == Life::Dies {
                tally.deaths += 1;
                let away_ms = if random.below(2) == 0 { 4_000_000 } else { 30_000 };
                self.comes_back_ms = now_ms + random.between_ms(5_000, away_ms);
                self.living = None;
            }
        });
    }
}

/// A run of some hours, in which the predictor dies now and then, and at last for ever.
fn run(seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let base = u32::try_from(random.below(4)).unwrap();
    let mut world = World::new(seed, base, base + 10);
    let mut lives = Lives {
        cloud: Cloud::default(),
        random: Random::new(seed ^ 0xD1E),
        living: Some(Predictor::new("first", world.asg.now_ms)),
        comes_back_ms: 0,
        headroom: 3,
        late: Vec::new(),
    };
    for _ in 0..200 + random.below(1_200) {
        if random.below(30) == 0 {
            lives.headroom = u32::try_from(random.below(7)).unwrap();
        }
        if random.below(20) == 0 {
            let nodes = 1 + usize::try_from(random.below(4)).unwrap();
            world.submit(nodes, random.between_ms(MINUTE_MS, 20 * MINUTE_MS));
        }
        lives.step(&mut world, tally);
        assert!(world.asg.min >= base && world.asg.min <= world.asg.max, "seed {seed}");
        tally.raised += u32::from(world.asg.min > base);
    }
    // For ever.
    tally.dead_with_floor += u32::from(world.asg.min > base);
    for (_, write) in lives.late {
        let _ = lives.cloud.write(&mut world.asg, &write);
    }
    let died_ms = world.asg.now_ms;
    while world.asg.now_ms < died_ms + TTL_MS + LATE_MS {
        world.pass(SCAN_MS);
    }
    assert_eq!(world.asg.min, base, "seed {seed}: a floor stays");
    assert_eq!(world.asg.action(RELEASE_ACTION), None, "seed {seed}: a release stays");
    assert_eq!(world.casualties, 0, "seed {seed}: busy nodes were lost");
}

#[test]
fn the_base_comes_back_whenever_it_dies() {
    let mut tally = Tally::default();
    for seed in 0..RUNS {
        run(seed, &mut tally);
    }
    assert!(
        tally.dead_with_floor > 100 && tally.raised > 10_000 && tally.deaths > 2_000,
        "{tally:?}"
    );
}
