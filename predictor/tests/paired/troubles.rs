//! What goes wrong with AWS while floors are kept: each time the group is right in the end, or as it was, and it is said.

use std::collections::BTreeSet;
use std::time::Duration;

use kompass_aws::{Autoscaling, Config, Options};
use kompass_floors::fleet::HAND_OVER_MS;
use kompass_kube::lease::Claim;
use kompass_local_cluster::moto::{Fault, GroupSpec, Layer, Server};
use kompass_local_cluster::progress::Progress;
use kompass_predictor::act::floors::{Floors, Wish};
use kompass_predictor::act::journal::{Entry, Kind};
use kompass_predictor::act::metrics::ActMetrics;
use kompass_service::clock::{Clock, Manual};
use kompass_service::metrics::Registry;
use tokio::sync::watch;

use crate::kills::floor_rules;
use crate::stand_in::min_sizes;

pub(crate) const GROUP: &str = "spark";

/// A predictor's writing part, and its AWS.
pub(crate) struct Scene {
    pub(crate) layer: Layer,
    floors: Floors,
    registry: Registry,
    time: Manual,
    entries: Vec<Entry>,
}

impl Scene {
    pub(crate) async fn start(server: &Server, region: &str, claim: Option<watch::Receiver<Claim>>) -> Self {
        let layer = Layer::start(server, region, 7).await.unwrap();
        let spec = GroupSpec {
            tags: &[("k8s.io/cluster-autoscaler/enabled", "true")],
            ..GroupSpec::new(GROUP, 1, 9)
        };
        layer.create_group(&spec).await.unwrap();
        let options = Options {
            region: Some(region.to_owned()),
            endpoint: Some(layer.url()),
            key: Some(("test".to_owned(), "test".to_owned())),
            ..Options::default()
        };
        let aws = Config::load(options).await.unwrap();
        let (clock, time) = Clock::manual(layer.now_ms().unsigned_abs());
        let registry = Registry::new();
        let metrics = ActMetrics::register(&registry);
        let floors = Floors::new(Autoscaling::new(&aws), clock, claim, metrics, floor_rules(), 1_000_000);
        let mut scene = Self {
            layer,
            floors,
            registry,
            time,
            entries: Vec::new(),
        };
        scene.pass(Duration::from_millis(HAND_OVER_MS.unsigned_abs())).await;
        scene
    }

    pub(crate) async fn pass(&mut self, span: Duration) {
        self.layer.advance(span).await.unwrap();
        self.time.advance(span);
    }

    /// One round of the service while nothing works or waits.
    async fn round(&mut self, nodes: u32) -> Result<(), kompass_aws::Error> {
        self.hold(nodes, BTreeSet::new(), false).await
    }

    /// One round of the service.
    pub(crate) async fn hold(
        &mut self,
        nodes: u32,
        busy: BTreeSet<String>,
        pending: bool,
    ) -> Result<(), kompass_aws::Error> {
        let wish = Wish {
            nodes,
            busy,
            pending,
            why: "test".to_owned(),
        };
        self.floors.reconcile(&wish, &mut self.entries).await
    }

    pub(crate) async fn min(&self) -> u32 {
        min_sizes(&self.layer).await[GROUP]
    }

    /// Whatever went wrong: no desired capacity, and no two sizes within a minute.
    fn is_decent(&self) {
        let log = self.layer.log();
        assert!(log.iter().all(|request| request.get("DesiredCapacity").is_none()));
        let sizes = log
            .iter()
            .filter(|request| request.operation == "UpdateAutoScalingGroup");
        let at_ms: Vec<i64> = sizes.map(|request| request.at_ms).collect();
        assert!(at_ms.windows(2).all(|pair| pair[1] - pair[0] >= 60_000), "{at_ms:?}");
    }

    fn told(&self, kind: Kind, words: &str) -> bool {
        let mut told = self.entries.iter().filter(|entry| entry.kind == kind);
        told.any(|entry| entry.what.contains(words) || entry.why.contains(words))
    }

    fn metric(&self, line: &str) -> bool {
        self.registry.render().contains(&format!("\n{line}\n"))
    }
}

async fn throttled_or_silent(server: &Server, region: &str, fault: Fault, words: &str) {
    let mut scene = Scene::start(server, region, None).await;
    scene.layer.inject("UpdateAutoScalingGroup", fault.clone(), 1);
    scene.round(4).await.unwrap();
    assert!(scene.told(Kind::Write, words), "{fault:?}: {:?}", scene.entries);
    scene.pass(Duration::from_secs(20)).await;
    scene.round(4).await.unwrap();
    scene.pass(Duration::from_mins(2)).await;
    scene.round(4).await.unwrap();
    assert_eq!(scene.min().await, 4, "{fault:?}");
    scene.round(0).await.unwrap();
    scene.pass(Duration::from_mins(2)).await;
    scene.round(0).await.unwrap();
    assert_eq!(scene.min().await, 1, "{fault:?}");
    scene.is_decent();
}

async fn expired(server: &Server, region: &str) {
    let mut scene = Scene::start(server, region, None).await;
    scene.layer.inject("DescribeAutoScalingGroups", Fault::EXPIRED, 50);
    let error = scene.round(4).await.unwrap_err().to_string();
    assert!(error.contains("renew them"), "{error}");
    assert_eq!(scene.min().await, 1);
    scene.layer.heal();
    scene.pass(Duration::from_secs(20)).await;
    scene.round(4).await.unwrap();
    assert_eq!(scene.min().await, 4);
    scene.is_decent();
}

async fn partly_filled(server: &Server, region: &str) {
    let mut scene = Scene::start(server, region, None).await;
    scene.layer.fill_at_most(GROUP, 2);
    scene.round(4).await.unwrap();
    assert_eq!(scene.min().await, 4);
    for _ in 0..7 {
        scene.pass(Duration::from_mins(1)).await;
        scene.round(4).await.unwrap();
    }
    assert_eq!(scene.min().await, 1, "{:?}", scene.entries);
    assert!(
        scene.told(Kind::Refused, "2 of 4 instances were in service"),
        "{:?}",
        scene.entries
    );
    assert!(scene.metric(r#"kompass_predictor_floor_refusals_total{reason="no-capacity"} 1"#));
    assert!(scene.told(Kind::Ended, "node-hours"), "{:?}", scene.entries);
    // It is left alone for a while.
    scene.layer.fill(GROUP);
    scene.pass(Duration::from_mins(1)).await;
    scene.round(4).await.unwrap();
    assert_eq!(scene.min().await, 1);
    scene.is_decent();
}

async fn deleted(server: &Server, region: &str) {
    let mut scene = Scene::start(server, region, None).await;
    scene.round(4).await.unwrap();
    let names = [("AutoScalingGroupName", GROUP), ("ForceDelete", "true")];
    scene.layer.call("DeleteAutoScalingGroup", &names).await.unwrap();
    scene.pass(Duration::from_mins(2)).await;
    scene.round(0).await.unwrap();
    assert!(scene.told(Kind::Ended, "the group is gone"), "{:?}", scene.entries);
    assert!(!scene.registry.render().contains(r#"floor_nodes{group="spark"}"#));
    scene.is_decent();
}

async fn changed_by_others(server: &Server, region: &str) {
    let mut scene = Scene::start(server, region, None).await;
    let start = jiff::Timestamp::from_millisecond(scene.layer.now_ms() + 3_600_000).unwrap();
    let start = start.round(jiff::Unit::Second).unwrap().to_string();
    let action = [
        ("AutoScalingGroupName", GROUP),
        ("ScheduledActionName", "nightly"),
        ("StartTime", start.as_str()),
        ("MinSize", "0"),
    ];
    scene
        .layer
        .call("PutScheduledUpdateGroupAction", &action)
        .await
        .unwrap();
    scene.round(4).await.unwrap();
    assert_eq!(scene.min().await, 1);
    assert!(scene.told(Kind::Refused, "nightly"), "{:?}", scene.entries);
    let gone = [("AutoScalingGroupName", GROUP), ("ScheduledActionName", "nightly")];
    scene.layer.call("DeleteScheduledAction", &gone).await.unwrap();
    scene.pass(Duration::from_mins(6)).await;
    scene.round(4).await.unwrap();
    assert_eq!(scene.min().await, 4);
    // Somebody sets another size: hands off.
    let other = [("AutoScalingGroupName", GROUP), ("MinSize", "3")];
    scene.layer.call("UpdateAutoScalingGroup", &other).await.unwrap();
    scene.pass(Duration::from_mins(21)).await;
    scene.round(4).await.unwrap();
    assert_eq!(scene.min().await, 3);
    assert!(scene.metric(r#"kompass_predictor_floor_releases_total{by="others"} 1"#));
    let action = scene
        .layer
        .call("DescribeScheduledActions", &[("AutoScalingGroupName", GROUP)])
        .await
        .unwrap();
    assert!(!action.contains("kompass-release"), "{action}");
    scene.is_decent();
}

async fn without_a_group(server: &Server, region: &str) {
    let mut scene = Scene::start(server, region, None).await;
    let names = [("AutoScalingGroupName", GROUP), ("ForceDelete", "true")];
    scene.layer.call("DeleteAutoScalingGroup", &names).await.unwrap();
    scene.round(4).await.unwrap();
    scene.round(4).await.unwrap();
    let told = scene.entries.iter().filter(|entry| entry.what == "no-groups");
    assert_eq!(told.count(), 1, "{:?}", scene.entries);
    assert!(scene.metric("kompass_predictor_unmet_nodes 4"));
}

async fn without_the_lease(server: &Server, region: &str) {
    let (_sender, claim) = watch::channel(Claim::default());
    let mut scene = Scene::start(server, region, Some(claim)).await;
    scene.round(4).await.unwrap();
    assert_eq!(scene.min().await, 1);
    let written = scene.layer.log().into_iter().find(|request| request.write.is_some());
    assert_eq!(written, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_trouble_leaves_groups_right() {
    kompass_service::tls::install_crypto_provider();
    let server = Server::start(&Progress::lines()).await.unwrap();
    throttled_or_silent(&server, "us-east-1", Fault::THROTTLED, "throttles").await;
    throttled_or_silent(&server, "us-east-2", Fault::Silence, "no answer").await;
    throttled_or_silent(&server, "us-west-1", Fault::DoneInSilence, "no answer").await;
    throttled_or_silent(
        &server,
        "us-west-2",
        Fault::DENIED,
        "autoscaling:UpdateAutoScalingGroup",
    )
    .await;
    expired(&server, "eu-central-1").await;
    partly_filled(&server, "eu-west-1").await;
    deleted(&server, "eu-west-2").await;
    changed_by_others(&server, "eu-west-3").await;
    without_a_group(&server, "eu-south-1").await;
    without_the_lease(&server, "eu-north-1").await;
}
