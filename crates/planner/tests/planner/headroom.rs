//! Room on fresh nodes for the pods of DaemonSets.

use crate::job::Job;
use crate::world::World;

#[test]
fn a_fresh_node_keeps_room_for_the_pods_of_daemon_sets() {
    let mut world = World::new(&[("old", 4, 8)]);
    let daemon = |world: &mut World, node: &str| {
        let uid = world.foreign(node, 1_000, 1_024);
        world.change(&uid, |pod| pod.daemon_set = Some("agent".to_owned()));
        uid
    };
    daemon(&mut world, "old");
    world.settle();
    // It looks empty; the agent comes in a moment, and three CPUs are left beside it.
    world.now_ms += 1_000_000;
    let now_ms = world.now_ms;
    world.add_node("new", 4, 8);
    world.change_node("new", |node| node.created_ms = now_ms);
    let whole = world.submit(Job::new("whole", 0).driver(4_000, 1_024));
    world.settle();
    assert_eq!(
        world.node_of(&whole),
        None,
        "four CPUs are on no node but for the agent"
    );
    let beside = world.submit(Job::new("beside", 2).queue("other"));
    world.settle();
    assert!(world.node_of(&beside).is_some());
    let agent = daemon(&mut world, "new");
    world.settle();
    assert!(world.node_of(&whole).is_none());
    // Where it does not come, the room is free after a while.
    world.delete(&agent);
    world.end(&beside);
    world.settle();
    assert!(world.node_of(&whole).is_none());
    world.tick(120_000);
    world.settle();
    assert_eq!(world.node_of(&whole).as_deref(), Some("new"));
}
