//! From a driver and its configuration to its profile.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kompass_core::profile::{Shape, Source};
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

/// What a sidecar's injection after our webhook does to a pod.
fn with_sidecar(mut pod: serde_json::Value) -> serde_json::Value {
    let sidecar = json!({
        "name": "proxy", "image": "proxy", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    });
    pod["spec"]["containers"].as_array_mut().unwrap().push(sidecar);
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn what_executors_really_ask_for_is_in_the_next_profile() {
    let plane = ControlPlane::start().await;
    let webhook = plane.webhook(&[]).await;
    let mut configured = None;
    // The second run is profiled by what the first one's executor showed, which the watch may tell a moment later.
    for run in ["first", "second"] {
        let recording = Recording::read("4.1.4", "a-basic-scala", run);
        let driver = plane.create(&recording.driver).await;
        create_config_maps(&plane, &recording).await;
        let profile = profiled(&plane, &driver, Source::Conf).await;
        let Some(configured) = &configured else {
            assert_eq!(profile.executor_additions, Shape::default());
            plane.plan(&driver, &[("n1", 3)]).await;
            let mut of_a_stage = recording.executor_of(&driver, 1);
            of_a_stage["metadata"]["labels"]["spark-exec-resourceprofile-id"] = json!("1");
            of_a_stage["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("90");
            of_a_stage["spec"]["containers"][0]["resources"]["limits"] = json!({});
            plane.create(&of_a_stage).await;
            plane.create(&with_sidecar(recording.executor_of(&driver, 2))).await;
            configured = Some(profile.executor);
            // The watch tells of pods in order: once a later driver has a profile, the executors are known.
            let later = Recording::read("4.1.4", "c-python-dynalloc", "later");
            let later_driver = plane.create(&later.driver).await;
            create_config_maps(&plane, &later).await;
            profiled(&plane, &later_driver, Source::Conf).await;
            continue;
        };
        let additions = &profile.executor_additions;
        assert_eq!((additions.cpu_milli, additions.memory_mib), (100, 64), "{profile:?}");
        assert_eq!(profile.executor.cpu_milli, configured.cpu_milli + 100);
        assert_eq!(profile.executor.memory_mib, configured.memory_mib + 64);
    }
    webhook.stop().await;
    plane.stop().await;
}

/// What a predictor may do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Predictor {
    Tells,
    Hangs,
    Lies,
    Babbles,
    Fails,
}

/// The URL of one.
async fn predictor(kind: Predictor) -> String {
    let runtime = axum::routing::get(
        move |axum::extract::RawQuery(query): axum::extract::RawQuery| async move {
            let query = query.unwrap_or_default();
            let key = query.split('&').next().unwrap().trim_start_matches("key=").to_owned();
            let ok = http::StatusCode::OK;
            match kind {
                Predictor::Tells => (
                    ok,
                    json!({"p50_s": 60, "p90_s": 90, "samples": 7, "key": key}).to_string(),
                ),
                Predictor::Hangs => std::future::pending().await,
                Predictor::Lies => (
                    ok,
                    json!({"p50_s": 90, "p90_s": 60, "samples": 7, "key": key}).to_string(),
                ),
                Predictor::Babbles => (ok, format!("{{\"p50_s\": {}", "9".repeat(1 << 20))),
                Predictor::Fails => (http::StatusCode::INTERNAL_SERVER_ERROR, String::new()),
            }
        },
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/v1/runtime", runtime);
    tokio::spawn(std::future::IntoFuture::into_future(axum::serve(listener, router)));
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_has_the_predictors_run_time_and_never_waits_for_it() {
    let plane = ControlPlane::start().await;
    for kind in [
        Predictor::Tells,
        Predictor::Hangs,
        Predictor::Lies,
        Predictor::Babbles,
        Predictor::Fails,
    ] {
        let url = predictor(kind).await;
        let webhook = plane.webhook(&["--predictor", &url]).await;
        let mut recording = Recording::read("4.1.4", "a-basic-scala", &format!("{kind:?}").to_lowercase());
        // The API server may still call the webhook before this one; the profiler takes the driver all the same.
        recording.driver["spec"]["schedulerName"] = json!(names::SCHEDULER);
        let driver = plane.create(&recording.driver).await;
        let metric = |result: &str| {
            let line = format!("kompass_profiler_estimates_total{{result=\"{result}\"}}");
            webhook.running.registry.render().contains(&line).then_some(())
        };
        // As with a real submission, the predictor has its say before the configuration is there; one that hangs is not
        // waited for.
        match kind {
            Predictor::Hangs => {}
            Predictor::Tells => eventually("an answer", || async { metric("told") }).await,
            Predictor::Lies => eventually("a lie", || async { metric("refused") }).await,
            Predictor::Babbles | Predictor::Fails => eventually("no estimate", || async { metric("failed") }).await,
        }
        create_config_maps(&plane, &recording).await;
        let profile = profiled(&plane, &driver, Source::Conf).await;
        let expected = (kind == Predictor::Tells).then_some((60, 90, 7));
        let found = profile.runtime.map(|told| (told.p50_s, told.p90_s, told.samples));
        assert_eq!(found, expected, "{kind:?}");
        webhook.stop().await;
    }
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
    // The API server shows the open gate before the webhook has its answer and counts.
    eventually("the open gate counted", || async {
        (webhook.metric(r#"kompass_profiler_gates_opened_total{role="driver"}"#) >= 1.0).then_some(())
    })
    .await;
    webhook.stop().await;
    plane.stop().await;
}
