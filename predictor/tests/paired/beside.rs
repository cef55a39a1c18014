//! The code of the service that writes, beside the replay model of cluster-autoscaler, both on the stand-in for AWS: no busy
//! node is lost, nobody but the autoscaler sets a size, and the nodes go when nobody wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kompass_local_cluster::moto::{Layer, Server};
use kompass_local_cluster::progress::Progress;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use self::model::asg::{AutoScaling, Described, Id, ValidationError};
use self::model::autoscaler::{Autoscaler, Did, Pods, SCAN_MS};
use self::model::random::Random;
use crate::stand_in::fields;
use crate::troubles::{GROUP, Scene};

#[path = "../../../crates/floors/tests/floors/model/mod.rs"]
#[expect(dead_code, reason = "the model's own group is not needed here")]
mod model;

const MINUTE_MS: i64 = 60_000;
const STEP: Duration = Duration::from_millis(SCAN_MS.unsigned_abs());

const BUSY_STEPS: usize = 540;
const STEPS: usize = BUSY_STEPS + 270;

/// The group, as the model of the autoscaler asks for it.
struct Group<'a> {
    layer: &'a Layer,
    /// The model knows instances by numbers.
    numbers: BTreeMap<String, Id>,
}

impl Group<'_> {
    fn call(&self, operation: &str, more: &[(&str, &str)]) -> Result<String, ValidationError> {
        let parameters = [&[("AutoScalingGroupName", GROUP)], more].concat();
        let called = block_in_place(|| Handle::current().block_on(self.layer.call(operation, &parameters)));
        called.map_err(|error| {
            let words = error.to_string();
            assert!(words.contains("ValidationError"), "{words}");
            if words.contains("above") {
                ValidationError::AboveMax
            } else {
                ValidationError::BelowMin
            }
        })
    }

    fn instances(&mut self) -> BTreeMap<String, Id> {
        let told = block_in_place(|| Handle::current().block_on(self.layer.call("DescribeAutoScalingGroups", &[])));
        let told = told.unwrap();
        let mut known = BTreeMap::new();
        for id in fields(&told, "InstanceId") {
            let next = Id::try_from(self.numbers.len()).unwrap();
            let number = *self.numbers.entry(id.to_owned()).or_insert(next);
            known.insert(id.to_owned(), number);
        }
        known
    }
}

impl AutoScaling for Group<'_> {
    fn now_ms(&self) -> i64 {
        self.layer.now_ms()
    }

    fn describe(&mut self) -> Described {
        let instances = self.instances().into_values().collect();
        let told = block_in_place(|| Handle::current().block_on(self.layer.call("DescribeAutoScalingGroups", &[])));
        let told = told.unwrap();
        let number = |name: &str| fields(&told, name)[0].parse().unwrap();
        Described {
            min: number("MinSize"),
            max: number("MaxSize"),
            desired: number("DesiredCapacity"),
            instances,
        }
    }

    fn set_desired(&mut self, desired: u32) -> Result<(), ValidationError> {
        let desired = desired.to_string();
        self.call("SetDesiredCapacity", &[("DesiredCapacity", &desired)])
            .map(drop)
    }

    fn terminate(&mut self, id: Id) -> Result<(), ValidationError> {
        let name = self.numbers.iter().find(|(_, number)| **number == id);
        let name = name
            .map(|(name, _)| name.clone())
            .ok_or(ValidationError::NoSuchInstance)?;
        let decrement = ("ShouldDecrementDesiredCapacity", "true");
        self.call(
            "TerminateInstanceInAutoScalingGroup",
            &[("InstanceId", &name), decrement],
        )
        .map(drop)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_autoscaler_and_floors_get_along() {
    kompass_service::tls::install_crypto_provider();
    let server = Server::start(&Progress::lines()).await.unwrap();
    let mut scene = Scene::start(&server, "ap-south-1", None).await;
    let mut random = Random::new(11);
    let mut autoscaler = Autoscaler::new();
    let mut numbers = BTreeMap::new();
    // Instances that jobs run on, and until when.
    let mut busy: BTreeMap<String, i64> = BTreeMap::new();
    let (mut waiting, mut headroom) = (0_u32, 0_u32);
    for step in 0..STEPS {
        scene.pass(STEP).await;
        let now_ms = scene.layer.now_ms();
        // Hours of jobs, then one without any.
        if step < BUSY_STEPS && random.below(40) == 0 {
            waiting += 1 + u32::try_from(random.below(3)).unwrap();
        }
        if step % 30 == 0 {
            headroom = if step < BUSY_STEPS {
                u32::try_from(random.below(4)).unwrap()
            } else {
                0
            };
        }
        let mut group = Group {
            layer: &scene.layer,
            numbers: std::mem::take(&mut numbers),
        };
        let instances = group.instances();
        let lost: Vec<&String> = busy.keys().filter(|id| !instances.contains_key(*id)).collect();
        assert!(
            lost.is_empty(),
            "step {step}: busy nodes were lost: {lost:?} {:?}",
            autoscaler.did
        );
        busy.retain(|_, until_ms| *until_ms > now_ms);
        for id in instances.keys() {
            if waiting > 0 && !busy.contains_key(id) {
                busy.insert(id.clone(), now_ms + random.between_ms(MINUTE_MS, 15 * MINUTE_MS));
                waiting -= 1;
            }
        }
        let pods = Pods {
            waiting_for: waiting,
            registered: instances.values().copied().collect(),
            busy: busy.keys().map(|id| instances[id]).collect(),
        };
        autoscaler.step(&mut group, &pods);
        numbers = group.numbers;
        let busy: BTreeSet<String> = busy.keys().cloned().collect();
        scene.hold(headroom, busy, waiting > 0).await.unwrap();
    }
    let grown = autoscaler
        .did
        .iter()
        .filter(|(_, did)| matches!(did, Did::Grew { refused: None, .. }));
    let took = autoscaler
        .did
        .iter()
        .filter(|(_, did)| matches!(did, Did::Took { refused: None, .. }));
    let log = scene.layer.log();
    let floors = log
        .iter()
        .filter(|request| request.operation == "UpdateAutoScalingGroup")
        .count();
    let (grown, took) = (grown.count(), took.count());
    println!(
        "{grown} growths, {took} nodes taken away, {floors} floors, {} requests of ours",
        log.len()
    );
    assert!(grown > 1 && took > 5 && floors > 5, "they never met");
    assert!(log.iter().all(|request| request.get("DesiredCapacity").is_none()));
    assert_eq!(scene.min().await, 1);
    let told = scene.layer.call("DescribeAutoScalingGroups", &[]).await.unwrap();
    assert_eq!(fields(&told, "DesiredCapacity"), ["1"], "the nodes went");
}
