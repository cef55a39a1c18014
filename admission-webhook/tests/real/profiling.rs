//! From a driver and its configuration to its profile.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kompass_core::profile::Source;
use kompass_core::{JobProfile, names};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::harness::{ControlPlane, JOBS, Recording, annotation, eventually, gates, name};

fn profile(pod: &Pod) -> Option<JobProfile> {
    annotation(pod, names::PROFILE_ANNOTATION).map(|text| JobProfile::from_annotation(text).unwrap())
}

async fn profiled(plane: &ControlPlane, driver: &Pod, source: Source) -> JobProfile {
    eventually("a profile", || async {
        let pod = plane.pods().get(name(driver)).await.unwrap();
        profile(&pod).filter(|profile| profile.source == source)
    })
    .await
}

pub(crate) async fn create_config_maps(plane: &ControlPlane, recording: &Recording) {
    for map in &recording.config_maps {
        let map = serde_json::from_value(map.clone()).unwrap();
        plane.config_maps().create(&PostParams::default(), &map).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_submission_is_profiled_from_its_configuration() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&["--takeover", "template-scheduler,volcano"]).await;
    for (version, scenario, executors, cpu_milli) in [
        ("2.4.0", "a-basic-scala", 3, 2_000),
        ("3.3.4", "d-pod-template", 5, 1_100),
        ("3.5.9", "d-pod-template", 5, 1_100),
        ("4.1.4", "c-python-dynalloc", 4, 3_500),
        ("4.3.0", "a-basic-scala", 3, 2_000),
    ] {
        let recording = Recording::read(version, scenario, "x");
        let driver = plane.create(&recording.driver).await;
        create_config_maps(&plane, &recording).await;
        let profile = profiled(&plane, &driver, Source::Conf).await;
        assert_eq!(
            profile.executors_at_start, executors,
            "{version} {scenario}: {profile:?}"
        );
        assert_eq!(
            profile.executor.cpu_milli, cpu_milli,
            "{version} {scenario}: {profile:?}"
        );
    }
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_follows_its_config_map_within_moments() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let mut millis = Vec::new();
    for round in 0..40 {
        let recording = Recording::read("4.1.4", "a-basic-scala", &round.to_string());
        let driver = plane.create(&recording.driver).await;
        // As spark-submit does: some tenths of a second after the pod.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let version = plane
            .pods()
            .get(name(&driver))
            .await
            .unwrap()
            .metadata
            .resource_version
            .unwrap();
        let pods = plane.pods();
        let watch = WatchParams::default().fields(&format!("metadata.name={}", name(&driver)));
        let mut changes = pods.watch(&watch, &version).await.unwrap().boxed();
        create_config_maps(&plane, &recording).await;
        let begun = Instant::now();
        let written = async {
            while let Some(change) = changes.try_next().await.unwrap() {
                if let WatchEvent::Modified(pod) = change
                    && profile(&pod).is_some()
                {
                    return;
                }
            }
            panic!("the watch ended");
        };
        tokio::time::timeout(crate::harness::DEADLINE, written)
            .await
            .expect("a profile");
        millis.push(begun.elapsed().as_millis());
    }
    millis.sort_unstable();
    println!("ConfigMap there -> profile seen, ms: {millis:?}");
    // Generous: other tests run beside this one. On an idle machine the median is below ten.
    assert!(millis[20] < 250, "{millis:?}");
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_configuration_corrects_the_guess_while_the_gate_is_closed() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&["--conf-hold", "300ms"]).await;
    let waiting = Recording::read("4.1.4", "a-basic-scala", "waiting");
    let opened = Recording::read("4.1.4", "b-minimal", "opened");
    let (first, second) = (plane.create(&waiting.driver).await, plane.create(&opened.driver).await);
    let guess = profiled(&plane, &first, Source::Guess).await;
    assert_eq!(guess.executors_at_start, 0);
    assert!(guess.driver.cpu_milli > 0 && guess.driver.memory_mib > 0, "{guess:?}");
    profiled(&plane, &second, Source::Guess).await;
    let events = Api::<Event>::namespaced(plane.user.clone(), JOBS);
    eventually("an event that tells of the guess", || async {
        let all = events.list(&ListParams::default()).await.unwrap();
        let told = |event: &Event| event.reason.as_deref() == Some("ProfileGuessed");
        all.items.iter().any(told).then_some(())
    })
    .await;
    plane.plan(&second, &[]).await;

    create_config_maps(&plane, &waiting).await;
    create_config_maps(&plane, &opened).await;
    let profile = profiled(&plane, &first, Source::Conf).await;
    assert_eq!(profile.executors_at_start, 3);
    // By the time the one is corrected, the other would have been too.
    let planned = plane.pods().get(name(&second)).await.unwrap();
    assert_eq!(
        self::profile(&planned).unwrap().source,
        Source::Guess,
        "a plan stands on this profile"
    );

    // The next run of the same job needs no configuration to be known.
    let mut again = Recording::read("4.1.4", "a-basic-scala", "waiting");
    again.driver["metadata"]["name"] = json!("again-driver");
    again.driver["spec"]["volumes"] = json!(
        serde_json::from_str::<serde_json::Value>(
            &again.driver["spec"]["volumes"]
                .to_string()
                .replace("conf-map-waiting", "conf-map-never")
        )
        .unwrap()
    );
    let again = plane.create(&again.driver).await;
    let profile = profiled(&plane, &again, Source::History).await;
    assert_eq!(profile.executors_at_start, 3);
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_that_wait_since_before_a_restart_are_profiled() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let recording = Recording::read("4.1.4", "a-basic-scala", "x");
    let driver = plane.create(&recording.driver).await;
    webhook.stop().await;
    create_config_maps(&plane, &recording).await;
    let webhook = plane.webhook(&[]).await;
    profiled(&plane, &driver, Source::Conf).await;
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_configurations_never_leave_a_driver_without_a_profile() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&["--conf-hold", "1s"]).await;
    let large = format!("spark.executor.instances=7\n{}", "spark.garbage=x\n".repeat(40_000));
    for (case, properties, executors) in [
        ("garbage", "\\u12 = : \u{0}\u{7f}\n#\n=\n:::\n", 2),
        (
            "negative",
            "spark.executor.instances=-5\nspark.executor.memory=-1g\n",
            2,
        ),
        (
            "exponent",
            "spark.executor.instances=1e9\nspark.executor.cores=1e9\n",
            2,
        ),
        ("huge", "spark.executor.instances=99999999999999999999\n", 2),
        ("empty", "", 2),
        ("large", large.as_str(), 7),
    ] {
        let mut recording = Recording::read("4.1.4", "a-basic-scala", case);
        recording.config_maps[0]["data"]["spark.properties"] = json!(properties);
        let driver = plane.create(&recording.driver).await;
        create_config_maps(&plane, &recording).await;
        let profile = profiled(&plane, &driver, Source::Conf).await;
        assert_eq!(profile.executors_at_start, executors, "{case}: {profile:?}");
    }
    // Not Spark's ConfigMap at all: no configuration will ever come of it.
    let mut recording = Recording::read("4.1.4", "a-basic-scala", "keyless");
    recording.config_maps[0]["data"] = json!({"other": "x"});
    let driver = plane.create(&recording.driver).await;
    create_config_maps(&plane, &recording).await;
    // The same job has been seen above, so the last run stands in for it.
    profiled(&plane, &driver, Source::History).await;
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_opens_without_a_planner_and_stays_closed_with_one() {
    let plane = ControlPlane::start().await;
    let leases = Api::<Lease>::namespaced(plane.planner.clone(), names::DEFAULT_NAMESPACE);
    let renew = async |count: i64| {
        let time = k8s_openapi::jiff::Timestamp::now() + k8s_openapi::jiff::SignedDuration::from_micros(count);
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": names::PLANNER_LEASE},
            "spec": {"holderIdentity": "planner-1", "leaseDurationSeconds": 15, "renewTime": format!("{time:.6}")},
        });
        let apply = PatchParams::apply("planner").force();
        leases
            .patch(names::PLANNER_LEASE, &apply, &Patch::Apply(lease))
            .await
            .unwrap();
    };
    renew(0).await;
    let webhook = plane.webhook(&["--gate-hold", "8s"]).await;
    let driver = plane
        .create(&Recording::read("4.1.4", "a-basic-scala", "x").driver)
        .await;
    let begun = Instant::now();
    let mut renewals = 0;
    while begun.elapsed() < Duration::from_secs(16) {
        renewals += 1;
        renew(renewals).await;
        let pod = plane.pods().get(name(&driver)).await.unwrap();
        assert_eq!(gates(&pod), [names::GANG_GATE], "the planner lives");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    eventually("an open gate", || async {
        let pod = plane.pods().get(name(&driver)).await.unwrap();
        gates(&pod).is_empty().then_some(())
    })
    .await;
    let text = webhook.running.registry.render();
    assert!(
        text.contains(r#"kompass_profiler_gates_opened_total{role="driver"} 1"#),
        "{text}"
    );
    webhook.stop().await;
    plane.stop().await;
}
