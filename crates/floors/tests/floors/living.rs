//! A predictor that lives: it follows what is wanted, asks little, and keeps its hands off what is somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use kompass_floors::fleet::HAND_OVER_MS;
use kompass_floors::{Refusal, Write};

use kompass_floors::group::RELEASE_ACTION;

use crate::cloud::Cloud;
use crate::model::asg::{Asg, AutoScaling as _};
use crate::model::random::Random;
use crate::predictor::{Fate, Life, Predictor, TTL_MS, Wish};

const STEP_MS: i64 = 5_000;
const MINUTE_MS: i64 = 60_000;

/// A predictor and its group.
struct Scene {
    asg: Asg,
    cloud: Cloud,
    predictor: Predictor,
    headroom: u32,
    busy: usize,
    pending: bool,
}

impl Scene {
    fn new(base: u32) -> Self {
        let mut asg = Asg::new(7, base, 12);
        asg.boot_ms = (90_000, 90_000);
        let predictor = Predictor::new("me", asg.now_ms);
        asg.pass(HAND_OVER_MS);
        Self {
            asg,
            cloud: Cloud::default(),
            predictor,
            headroom: 0,
            busy: 0,
            pending: false,
        }
    }

    fn pass(&mut self, span_ms: i64) {
        let until_ms = self.asg.now_ms + span_ms;
        while self.asg.now_ms < until_ms {
            self.asg.pass(STEP_MS);
            let wish = Wish {
                headroom: self.headroom,
                busy: self.asg.in_service().into_iter().take(self.busy).collect(),
                pending: self.pending,
            };
            let mut well = |_: &Write| Fate::Well;
            let life = self.predictor.step(&mut self.asg, &mut self.cloud, &wish, &mut well);
            assert_eq!(life, Life::Lives);
        }
    }

    fn raised(base: u32, headroom: u32) -> Self {
        let mut scene = Self::new(base);
        scene.headroom = headroom;
        scene.pass(5 * MINUTE_MS);
        assert_eq!(scene.asg.min, base.max(headroom), "it is raised");
        scene
    }

    fn refused(&self, is_it: impl Fn(&Refusal) -> bool) -> bool {
        self.predictor.refusals.iter().any(is_it)
    }

    fn release_ms(&self) -> Option<i64> {
        self.asg.action(RELEASE_ACTION).map(|(start_ms, _)| start_ms)
    }
}

#[test]
fn a_floor_follows_and_goes() {
    let mut scene = Scene::new(1);
    scene.headroom = 3;
    scene.pass(2 * STEP_MS);
    // One of the base is idle: two more make three.
    assert_eq!(scene.asg.min, 3, "{:?}", scene.predictor.refusals);
    scene.busy = 2;
    scene.pass(5 * MINUTE_MS);
    assert_eq!((scene.asg.min, scene.asg.desired), (5, 5), "two busy and three empty");
    scene.headroom = 1;
    scene.pass(6 * MINUTE_MS);
    assert_eq!(scene.asg.min, 3);
    scene.headroom = 0;
    scene.pass(2 * MINUTE_MS);
    assert_eq!((scene.asg.min, scene.cloud.has_tag()), (1, false));
    assert!(scene.release_ms().is_none());
    let written = &scene.cloud.min_writes_ms;
    assert!(
        written.windows(2).all(|pair| pair[1] - pair[0] >= MINUTE_MS),
        "{written:?}"
    );
}

#[test]
fn a_steady_floor_costs_ten_calls_an_hour_at_most_and_never_ends() {
    let mut scene = Scene::raised(0, 4);
    scene.pass(20 * MINUTE_MS);
    let before = scene.cloud.calls;
    let mut least_left_ms = TTL_MS;
    for _ in 0..24 * 60 {
        scene.pass(MINUTE_MS);
        let start_ms = scene.release_ms().unwrap();
        least_left_ms = least_left_ms.min(start_ms - scene.asg.now_ms);
    }
    let each_hour = (scene.cloud.calls - before) / 24;
    assert!(each_hour <= 10, "{each_hour} calls an hour");
    assert!(least_left_ms > TTL_MS / 2, "{least_left_ms} ms were left");
    assert_eq!(scene.asg.min, 4);
    // Nothing wanted: nothing asked.
    scene.headroom = 0;
    scene.pass(30 * MINUTE_MS);
    let before = scene.cloud.calls;
    scene.pass(24 * 60 * MINUTE_MS);
    assert_eq!(scene.cloud.calls, before);
}

#[test]
fn it_does_not_flap_with_busy_nodes() {
    let mut scene = Scene::raised(0, 3);
    let before = scene.cloud.min_writes_ms.len();
    for minute in 0..120 {
        scene.busy = if minute % 2 == 0 { 0 } else { 3 };
        scene.pass(MINUTE_MS);
    }
    let written = scene.cloud.min_writes_ms.len() - before;
    assert!(written <= 2 * 120 / 5 + 2, "{written} writes in two hours");
}

#[test]
fn a_min_size_of_somebody_else_stays() {
    let mut scene = Scene::raised(2, 4);
    scene.asg.set_min(3).unwrap();
    scene.pass(30 * MINUTE_MS);
    assert!(scene.refused(|refusal| matches!(
        refusal,
        Refusal::ForeignMin {
            found: 3,
            base: 2,
            floor: 4
        }
    )));
    // After a while it goes on above the new base.
    scene.pass(TTL_MS);
    assert_eq!(scene.asg.min, 4);
    scene.headroom = 0;
    scene.pass(2 * MINUTE_MS);
    assert_eq!(scene.asg.min, 3);
    // Lowered to the base by hand: not raised again at once.
    let mut scene = Scene::raised(2, 4);
    scene.asg.set_min(2).unwrap();
    scene.headroom = 5;
    scene.pass(5 * MINUTE_MS);
    assert_eq!(scene.asg.min, 2);
    assert!(scene.release_ms().is_none() && !scene.cloud.has_tag());
}

#[test]
fn without_its_release_no_floor_stays() {
    // Deleted by somebody: the next renewal makes it again; a process that starts meanwhile gives the floor back.
    let mut scene = Scene::raised(0, 4);
    assert!(scene.asg.unschedule(RELEASE_ACTION));
    scene.pass(TTL_MS / 3 + MINUTE_MS);
    assert!(scene.release_ms().is_some() && scene.asg.min == 4);
    assert!(scene.asg.unschedule(RELEASE_ACTION));
    scene.predictor = Predictor::new("another", scene.asg.now_ms);
    scene.pass(3 * MINUTE_MS);
    assert_eq!((scene.asg.min, scene.cloud.has_tag()), (0, false));
    assert!(scene.refused(|refusal| *refusal == Refusal::Tampered));
    let mut scene = Scene::raised(0, 4);
    scene.asg.suspended = true;
    scene.pass(TTL_MS / 3 + 2 * MINUTE_MS);
    assert_eq!((scene.asg.min, scene.cloud.has_tag()), (0, false));
    assert!(scene.refused(|refusal| matches!(refusal, Refusal::Suspended(_))));
    scene.pass(TTL_MS);
    assert_eq!(scene.asg.min, 0, "it is not raised while it is suspended");
}

#[test]
fn where_no_instances_are_to_be_had_it_gives_up_and_backs_off() {
    let mut scene = Scene::new(1);
    scene.asg.capacity = 1;
    scene.headroom = 4;
    scene.pass(2 * MINUTE_MS);
    assert_eq!(scene.asg.min, 4);
    scene.pass(5 * MINUTE_MS);
    assert_eq!(scene.asg.min, 1, "after five minutes");
    assert!(scene.refused(|refusal| matches!(
        refusal,
        Refusal::NoCapacity {
            in_service: 1,
            floor: 4,
            ..
        }
    )));
    let tries = |scene: &Scene| scene.cloud.min_writes_ms.len() / 2;
    // Whoever wants instances that are not there leaves a desired size behind; the autoscaler takes it back.
    for _ in 0..48 {
        scene.pass(10 * MINUTE_MS);
        // Refused while the floor stands.
        let _ = scene.asg.set_desired(1);
    }
    assert!(
        (3..=8).contains(&tries(&scene)),
        "{} tries in eight hours",
        tries(&scene)
    );
    scene.asg.capacity = u32::MAX;
    scene.pass(3 * 60 * MINUTE_MS);
    assert_eq!(scene.asg.min, 4);
}

#[test]
fn it_waits_while_the_autoscaler_is_at_work() {
    let mut scene = Scene::new(0);
    scene.headroom = 2;
    scene.pending = true;
    scene.pass(10 * MINUTE_MS);
    assert_eq!(scene.asg.min, 0);
    scene.pending = false;
    scene.asg.set_desired(3).unwrap();
    scene.pass(MINUTE_MS);
    assert_eq!(scene.asg.min, 0, "three are on their way");
    scene.pass(6 * MINUTE_MS);
    assert_eq!(scene.asg.min, 2);
    assert!(scene.refused(|refusal| *refusal == Refusal::Pending));
    assert!(scene.refused(|refusal| matches!(refusal, Refusal::Unsettled { .. })));
}

#[test]
fn two_releases_at_one_time_are_a_minute_apart() {
    let mut scene = Scene::new(0);
    scene.headroom = 2;
    // The next step is the one that raises.
    let start_ms = scene.asg.now_ms + STEP_MS + TTL_MS;
    scene.asg.schedule("nightly", start_ms, 0).unwrap();
    scene.pass(STEP_MS);
    let start_ms = scene.release_ms().unwrap();
    assert_eq!(start_ms, scene.asg.now_ms + TTL_MS - MINUTE_MS);
    assert_eq!(scene.asg.min, 2);
}

#[test]
fn a_late_write_of_a_process_that_was_stopped_is_taken_back() {
    for late_ms in [10_000, 45_000, 10 * MINUTE_MS] {
        let mut scene = Scene::raised(1, 4);
        scene.headroom = 0;
        scene.pass(2 * MINUTE_MS);
        assert_eq!(scene.asg.min, 1);
        scene.pass(late_ms);
        scene.cloud.write(&mut scene.asg, &Write::SetMin(4)).unwrap();
        scene.pass(17 * MINUTE_MS);
        assert_eq!(scene.asg.min, 1, "late by {late_ms} ms");
    }
}

#[test]
fn a_successor_goes_on_with_a_floor() {
    let mut scene = Scene::raised(1, 4);
    let written = scene.cloud.min_writes_ms.len();
    scene.predictor = Predictor::new("another", scene.asg.now_ms);
    scene.pass(TTL_MS);
    assert_eq!(scene.cloud.min_writes_ms.len(), written, "nothing moves");
    let (tag, _) = scene
        .predictor
        .fleet
        .members()
        .next()
        .unwrap()
        .1
        .keeper()
        .floor()
        .unwrap();
    assert_eq!((tag.owner.as_str(), tag.base), ("another", 1));
    scene.headroom = 0;
    scene.pass(2 * MINUTE_MS);
    assert_eq!(scene.asg.min, 1);
}

/// A process that lives on while a write of its own that it took for failed comes up to a quarter of an hour later.
#[test]
fn what_was_stuck_on_its_way_is_taken_back() {
    let mut stuck = 0;
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut scene = Scene::new(1);
        let mut late: Vec<(i64, Write)> = Vec::new();
        for step in 0..1_500 {
            scene.asg.pass(STEP_MS);
            let now_ms = scene.asg.now_ms;
            for (_, write) in late.extract_if(.., |(at_ms, _)| *at_ms <= now_ms) {
                let _ = scene.cloud.write(&mut scene.asg, &write);
            }
            if step % 60 == 0 {
                // The last half hour nothing is wanted.
                let wanted = u32::try_from(random.below(6)).unwrap();
                scene.headroom = if step < 1_140 { wanted } else { 0 };
                scene.busy = usize::try_from(random.below(3)).unwrap();
            }
            let wish = Wish {
                headroom: scene.headroom,
                busy: scene.asg.in_service().into_iter().take(scene.busy).collect(),
                pending: false,
            };
            let mut fate = |write: &Write| {
                let sticks = matches!(write, Write::SetMin(_)) && random.below(4) == 0;
                if sticks { Fate::Stuck } else { Fate::Well }
            };
            scene.predictor.step(&mut scene.asg, &mut scene.cloud, &wish, &mut fate);
            for write in std::mem::take(&mut scene.predictor.late) {
                stuck += 1;
                late.push((now_ms + random.between_ms(5_000, 15 * MINUTE_MS), write));
            }
        }
        scene.headroom = 0;
        scene.pass(17 * MINUTE_MS);
        assert_eq!((scene.asg.min, scene.cloud.has_tag()), (1, false), "seed {seed}");
    }
    assert!(stuck > 300, "{stuck}");
}

#[test]
fn trouble_with_one_group_leaves_the_other_alone() {
    let mut asgs = [Asg::new(7, 0, 12), Asg::new(8, 0, 12)];
    let mut clouds = [Cloud::default(), Cloud::default()];
    let names = ["spark-a", "spark-b"];
    let mut fleet = Predictor::new("me", asgs[0].now_ms).fleet;
    let mut refused = Vec::new();
    for step in 0..400 {
        for asg in &mut asgs {
            asg.pass(STEP_MS);
        }
        let now_ms = asgs[0].now_ms;
        fleet.decide(now_ms, if step < 200 { 4 } else { 8 }, BTreeSet::new());
        for _ in 0..2 {
            let Some(question) = fleet.question(now_ms) else {
                break;
            };
            let mut groups = Vec::new();
            for (at, name) in names.iter().enumerate() {
                let mut group = clouds[at].describe(&asgs[at]);
                (*name).clone_into(&mut group.name);
                groups.push(group);
            }
            let mut asked = question.company;
            asked.extend(fleet.new_groups(&groups).map(str::to_owned));
            let company: BTreeMap<String, _> = asked
                .into_iter()
                .map(|name| {
                    let at = usize::from(name == names[1]);
                    (name, clouds[at].company(&asgs[at]))
                })
                .collect();
            fleet.learn(&groups);
            for order in fleet.plan(now_ms, &groups, &company, false) {
                refused.extend(order.plan.refusal.filter(Refusal::is_strike));
                let at = usize::from(order.group == names[1]);
                for write in order.plan.writes {
                    // Each fourth call on the first group fails, and is done nevertheless every other time.
                    let fails = at == 0 && step % 4 == 0;
                    if !fails || step % 8 == 0 {
                        clouds[at].write(&mut asgs[at], &write).unwrap();
                    }
                    if fails {
                        fleet.failed(now_ms, &order.group, Some(&write));
                        break;
                    }
                    fleet.wrote(now_ms, &order.group, &write);
                }
            }
        }
    }
    assert_eq!(refused, []);
    assert_eq!([asgs[0].min, asgs[1].min], [4, 4]);
    let rests = |cloud: &Cloud| {
        cloud
            .min_writes_ms
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= MINUTE_MS)
    };
    assert!(clouds.iter().all(rests));
}
