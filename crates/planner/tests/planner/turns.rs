//! Whose turn it is, and when.

use kompass_core::wait::WaitCode;
use kompass_planner::Config;

use crate::job::Job;
use crate::world::World;

#[test]
fn room_that_other_schedulers_pods_held_is_used_at_once() {
    let mut world = World::new(&[("n1", 8, 64), ("n2", 8, 64)]);
    let foreign = world.foreign("n1", 7_000, 1_024);
    let last = world.foreign("n2", 8_000, 1_024);
    let gangs: Vec<String> = (0..50)
        .map(|number| world.submit(Job::new(&format!("gang-{number}"), 3)))
        .collect();
    world.settle();
    assert_eq!(world.gang(&gangs[0]).waiting.unwrap().code, WaitCode::TooLarge);
    // Behind them one of another size.
    let small = world.submit(Job::new("small", 1));
    world.settle();
    world.delete(&last);
    world.settle();
    let started = gangs.iter().filter(|gang| world.node_of(gang).is_some()).count();
    assert_eq!(started, 2, "both that have room now, without any time having passed");
    assert!(world.node_of(&small).is_none());
    world.delete(&foreign);
    world.settle();
    assert!(world.node_of(&gangs[2]).is_some());
}

#[test]
fn whoever_an_overdue_gang_held_up_has_its_turn_as_soon_as_that_has_started() {
    let config = Config {
        overtakes_max: 1,
        ..Config::default()
    };
    let mut world = World::with(config, &[("n1", 16, 64)]);
    let running = world.submit(Job::new("running", 7).queue("c"));
    world.submit(Job::new("of-a", 2).queue("a"));
    world.settle();
    let large = world.submit(Job::new("large", 7).queue("a"));
    world.settle();
    world.submit(Job::new("passes", 0).queue("b"));
    world.settle();
    let next_of_a = world.submit(Job::new("next-of-a", 3).queue("a"));
    let next_of_b = world.submit(Job::new("next-of-b", 3).queue("b"));
    world.settle();
    assert!(
        world.node_of(&next_of_b).is_none(),
        "the large one was passed once already"
    );
    world.end(&running);
    world.settle();
    assert!(world.node_of(&large).is_some());
    assert!(
        world.node_of(&next_of_b).is_some(),
        "the share of its queue is the smaller one"
    );
    assert!(world.node_of(&next_of_a).is_none());
}
