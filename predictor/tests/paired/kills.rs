//! kill -9 after each step of a raise, a change, a renewal and a release: the base comes back within the floor's time and
//! the two minutes that AWS may be late.
//!
//! The child is this very program: it runs the code of the service that writes, by the clock of the stand-in for AWS.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use kompass_aws::{Autoscaling, Config, Options};
use kompass_floors::fleet::HAND_OVER_MS;
use kompass_floors::{Rules, rules};
use kompass_local_cluster::moto::{GroupSpec, Layer, Moment, Next, Server};
use kompass_local_cluster::progress::Progress;
use kompass_predictor::act::floors::{Floors, Wish};
use kompass_predictor::act::metrics::ActMetrics;
use kompass_service::clock::Clock;
use kompass_service::metrics::Registry;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

const TTL: Duration = Duration::from_hours(1);
const GROUP: &str = "spark";
const BASE: u32 = 2;
/// A child takes a second.
const CHILD_LIMIT: Duration = Duration::from_mins(1);

/// An account of its own for each kill, on one server: nothing is shared between regions.
const REGIONS: [&str; 24] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ca-central-1",
    "sa-east-1",
    "eu-central-1",
    "eu-central-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "af-south-1",
    "me-south-1",
    "me-central-1",
    "ap-south-1",
    "ap-south-2",
    "ap-east-1",
    "ap-southeast-3",
    "ap-northeast-2",
    "ap-southeast-1",
    "ap-southeast-2",
];

/// What the children are told.
const NOW: &str = "KOMPASS_TEST_NOW_MS";
const NODES: &str = "KOMPASS_TEST_NODES";

/// A step of a floor's life: how many empty nodes are wanted, after how long.
#[derive(Debug, Clone, Copy)]
struct Step {
    name: &'static str,
    nodes: u32,
    after: Duration,
    /// How many writes it takes.
    writes: usize,
}

const STEPS: [Step; 5] = [
    Step {
        name: "raise",
        nodes: 3,
        after: Duration::ZERO,
        writes: 3,
    },
    Step {
        name: "raise more",
        nodes: 5,
        after: Duration::from_mins(5),
        writes: 2,
    },
    Step {
        name: "renew",
        nodes: 5,
        after: Duration::from_mins(25),
        writes: 2,
    },
    Step {
        name: "lower",
        nodes: 4,
        after: Duration::from_mins(6),
        writes: 2,
    },
    Step {
        name: "release",
        nodes: 0,
        after: Duration::from_mins(2),
        writes: 3,
    },
];

pub(crate) fn floor_rules() -> Rules {
    Rules {
        owner: "kompass/test".to_owned(),
        ttl_ms: i64::try_from(TTL.as_millis()).unwrap(),
        boot_ms: 300_000,
        discovery_tag: "k8s.io/cluster-autoscaler/enabled".to_owned(),
        listed: Some(BTreeSet::new()),
    }
}

/// One look of a predictor that has just taken over, or nothing where this is the parent.
#[tokio::test]
async fn child() {
    let (Ok(now_ms), Ok(nodes)) = (std::env::var(NOW), std::env::var(NODES)) else {
        return;
    };
    kompass_service::tls::install_crypto_provider();
    let hand_over_ms = HAND_OVER_MS.unsigned_abs();
    let (clock, manual) = Clock::manual(now_ms.parse::<u64>().unwrap() - hand_over_ms);
    let aws = Config::load(Options::default()).await.unwrap();
    let metrics = ActMetrics::register(&Registry::new());
    let mut floors = Floors::new(Autoscaling::new(&aws), clock, None, metrics, floor_rules(), 1);
    manual.advance(Duration::from_millis(hand_over_ms));
    let wish = Wish {
        nodes: nodes.parse().unwrap(),
        busy: BTreeSet::new(),
        pending: false,
        why: "test".to_owned(),
    };
    floors.reconcile(&wish, &mut Vec::new()).await.unwrap();
}

/// Runs a child to its end.
async fn run(layer: &Layer, folder: &Path, nodes: u32, pid: &AtomicI32) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--nocapture"])
        .envs(layer.environment())
        .env(NOW, layer.now_ms().to_string())
        .env(NODES, nodes.to_string())
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    pid.store(i32::try_from(child.id().unwrap()).unwrap(), Ordering::Release);
    let status = tokio::time::timeout(CHILD_LIMIT, child.wait())
        .await
        .expect("an end of the child");
    status.unwrap()
}

async fn min_size(layer: &Layer) -> u32 {
    crate::stand_in::min_sizes(layer).await[GROUP]
}

/// Lives through all steps up to one, and is killed at one of its writes.
async fn killed(server: &Server, region: &str, folder: &Path, last: usize, write: usize, moment: Moment) {
    let layer = Layer::start(server, region, 7).await.unwrap();
    let spec = GroupSpec {
        tags: &[("k8s.io/cluster-autoscaler/enabled", "true")],
        ..GroupSpec::new(GROUP, BASE, 12)
    };
    layer.create_group(&spec).await.unwrap();
    let pid = Arc::new(AtomicI32::new(0));
    for (index, step) in STEPS.iter().enumerate().take(last + 1) {
        layer.advance(step.after).await.unwrap();
        if index < last {
            assert!(
                run(&layer, folder, step.nodes, &pid).await.success(),
                "{} ends well",
                step.name
            );
            continue;
        }
        let (seen, victim) = (AtomicUsize::new(0), Arc::clone(&pid));
        layer.hook(move |request, now| {
            if request.write.is_none() || now != moment || seen.fetch_add(1, Ordering::AcqRel) + 1 != write {
                return Next::Go;
            }
            let pid = Pid::from_raw(victim.load(Ordering::Acquire));
            kill(pid, Signal::SIGKILL).expect("the child lives");
            Next::HangUp
        });
        let ended = run(&layer, folder, step.nodes, &pid).await;
        assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32), "{} is killed", step.name);
        layer.unhook();
    }
    let written = min_size(&layer).await;
    assert!((BASE..=BASE + 6).contains(&written), "{written}");
    let late = Duration::from_millis(rules::LATE_MS.unsigned_abs());
    layer.advance(TTL + late).await.unwrap();
    let what = format!("{} killed {moment:?} write {write}", STEPS[last].name);
    assert_eq!(min_size(&layer).await, BASE, "{what}");
    let desired = layer
        .log()
        .into_iter()
        .find(|request| request.get("DesiredCapacity").is_some());
    assert_eq!(desired, None, "{what}");
    // Who comes next finds nothing to be afraid of, and can raise again.
    assert!(run(&layer, folder, 4, &pid).await.success(), "{what}");
    assert_eq!(min_size(&layer).await, 4, "{what}: raised again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_any_step_leaves_no_floor() {
    kompass_service::tls::install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&Progress::lines()).await.unwrap();
    let mut regions = REGIONS.iter();
    for (last, step) in STEPS.iter().enumerate() {
        for write in 1..=step.writes {
            for moment in [Moment::Before, Moment::After] {
                let region = regions.next().unwrap();
                killed(&server, region, folder.path(), last, write, moment).await;
            }
        }
    }
}
