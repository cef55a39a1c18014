//! The fault proxy itself: what a fault before and after the API server does to a request.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kompass_local_cluster::api_only::{Cluster, Options};
use kompass_local_cluster::pki::MASTERS;
use kompass_local_cluster::process::{Daemon, Spec};
use kompass_local_cluster::progress::Progress;
use kompass_tests::fault_proxy::{Effect, FaultProxy, Moment};
use kube::api::PostParams;
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::PATIENCE;

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "words": "a b c" } })).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_hits_the_request_that_it_is_for_before_or_after_the_api_server() {
    let options = Options {
        controller_manager: false,
        default_scheduler: false,
        progress: Progress::lines(),
        ..Options::default()
    };
    let cluster = Cluster::start(options).await.unwrap();
    let proxy = FaultProxy::start(&cluster, "proxied", &[MASTERS]).await.unwrap();
    let through = kompass_kube::client::connect(Some(proxy.kubeconfig()), "kompass-tests")
        .await
        .unwrap();
    let direct = kompass_kube::client::connect(Some(cluster.kubeconfig()), "kompass-tests")
        .await
        .unwrap();
    let (through, direct): (Api<ConfigMap>, Api<ConfigMap>) =
        (Api::default_namespaced(through), Api::default_namespaced(direct));
    let spec = Spec::new("victim", "/bin/sleep", cluster.folder()).argument("1000");
    let victim = Daemon::start(spec).unwrap();
    let cases = [
        ("cut-before", Moment::Before, Effect::Cut, false, false),
        ("cut-after", Moment::After, Effect::Cut, false, true),
        (
            "refused",
            Moment::Before,
            Effect::Answer(StatusCode::FORBIDDEN),
            false,
            false,
        ),
        (
            "denied-though-done",
            Moment::After,
            Effect::Answer(StatusCode::INTERNAL_SERVER_ERROR),
            false,
            true,
        ),
        (
            "late",
            Moment::Before,
            Effect::Delay(Duration::from_millis(300)),
            true,
            true,
        ),
        (
            "kill",
            Moment::After,
            Effect::Kill(victim.record().clone()),
            false,
            true,
        ),
    ];
    for (name, moment, effect, answered, written) in cases {
        let path = "/api/v1/namespaces/default/configmaps";
        let needle = format!("\"{name}\"");
        let mut armed = proxy.arm(moment, effect, move |seen| {
            seen.method == Method::POST && seen.path == path && seen.has(&needle)
        });
        through.create(&PostParams::default(), &map("another")).await.unwrap();
        assert_eq!(armed.hits(), 0, "{name}");
        let result = through.create(&PostParams::default(), &map(name)).await;
        assert_eq!(result.is_ok(), answered, "{name}: {result:?}");
        armed.hit(PATIENCE).await.unwrap();
        assert_eq!(direct.get_opt(name).await.unwrap().is_some(), written, "{name}");
        // It was for one request only.
        assert_eq!(
            through.create(&PostParams::default(), &map(name)).await.is_ok(),
            !written,
            "{name}"
        );
        direct
            .delete("another", &kube::api::DeleteParams::default())
            .await
            .unwrap();
    }
    assert!(!victim.record().is_running());

    let mut events = watcher(through, watcher::Config::default()).boxed();
    let seen = async {
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                watcher::Event::InitDone => {
                    direct
                        .create(&PostParams::default(), &map("seen-by-watch"))
                        .await
                        .unwrap();
                }
                watcher::Event::Apply(map) if map.name_any() == "seen-by-watch" => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
    drop(proxy);
    cluster.stop().await.unwrap();
}
