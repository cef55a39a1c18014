//! What the tests of related schedulers ask, in terms of the planner: each test says where it comes from, and why where
//! KOMPASS answers otherwise on purpose.

mod coscheduling;
mod ours;
mod palantir;
mod upstream;
mod volcano;
mod yunikorn;

use kompass_core::wait::WaitCode;

use crate::job::Job;
use crate::world::World;

/// Everybody goes on until nothing changes. What was taken for too large is looked at again after a moment.
fn run(world: &mut World) {
    world.tick(250);
    world.settle();
    world.spark();
    world.settle();
}

/// The whole gang is bound: its driver and all executors of its minimum.
fn runs(world: &World, uid: &str) -> bool {
    let gang = world.gang(uid);
    world.node_of(uid).is_some() && Some(gang.executors_bound) >= gang.executors_min
}

/// Nothing of the gang is bound.
fn waits(world: &World, uid: &str) -> bool {
    world.node_of(uid).is_none() && world.executors(uid).is_empty()
}

fn code(world: &World, uid: &str) -> Option<WaitCode> {
    world.gang(uid).waiting.map(|reason| reason.code)
}

/// A gang of equal pods: the driver is one of them.
fn group(name: &str, pods: u64, cpu_milli: u64, memory_mib: u64) -> Job {
    Job::new(name, pods - 1)
        .driver(cpu_milli, memory_mib)
        .executor(cpu_milli, memory_mib)
}

/// Gives every node so many units of an extended resource.
fn equip(world: &mut World, resource: &str, units: u64) {
    for name in world.nodes.keys().cloned().collect::<Vec<_>>() {
        world.change_node(&name, |node| {
            node.allocatable = node.allocatable.clone().with(resource, units);
        });
    }
}
