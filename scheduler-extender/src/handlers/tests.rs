use http::Request;
use kompass_core::{Node, Pod, Resources};
use kompass_kube::object;
use kompass_planner::{Config, Planner};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::fake;
use crate::queue_file::Refusal;

const DRIVER: &str = include_str!("../../tests/data/extender-filter.cacheable.driver.request.json");
const EXECUTOR: &str = include_str!("../../tests/data/extender-filter.cacheable.executor.request.json");
const THREE_NODES: &str = include_str!("../../tests/data/extender-filter.cacheable.3-nodes.request.json");
const FULL_NODES: &str = include_str!("../../tests/data/extender-filter.full-nodes.request.json");
const BIND: &str = include_str!("../../tests/data/extender-bind.driver.request.json");
const PREEMPT: &str = include_str!("../../tests/data/extender-preempt.cacheable.request.json");

fn app_with(nodes: &[&str], pods: &[Pod]) -> Arc<App> {
    let app = fake::app();
    app.planner(|planner, now_ms| {
        for name in nodes {
            planner.apply_node(Node {
                name: (*name).into(),
                allocatable: Resources::from_mib(8_000, 16_384),
                max_pods: 110,
                ready: true,
                ..Node::default()
            });
        }
        for pod in pods {
            planner.apply_pod(pod, now_ms);
        }
        planner.synced(now_ms);
        planner.take_over(now_ms);
    });
    app
}

async fn post_to(app: &Arc<App>, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    send(app, Request::post(path).body(body.into()).unwrap()).await
}

async fn send(app: &Arc<App>, request: Request<Body>) -> (StatusCode, Value) {
    let response = router(Arc::clone(app)).oneshot(request).await.unwrap();
    let status = response.status();
    let body = body::read(response.into_body(), 1 << 24).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// The pod of a recorded request, as the watch would have told of it.
fn pod_of(request: &str) -> Pod {
    let request: Value = serde_json::from_str(request).unwrap();
    let pod: object::Pod = serde_json::from_value(request["Pod"].clone()).unwrap();
    convert::pod(pod).unwrap().0
}

#[tokio::test]
async fn an_ordinary_pod_gets_one_of_the_nodes_offered() {
    let mut pod = pod_of(THREE_NODES);
    pod.constraints = kompass_core::Constraints::default();
    let mut request: Value = serde_json::from_str(THREE_NODES).unwrap();
    request["Pod"]["spec"]["nodeSelector"] = Value::Null;
    let app = app_with(&["fake-0", "fake-1", "fake-2", "other"], &[pod]);
    let (status, answer) = post_to(&app, "/filter", request.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let kept = answer["NodeNames"].as_array().unwrap();
    assert_eq!(kept.len(), 1, "{answer}");
    assert!(kept[0].as_str().unwrap().starts_with("fake-"), "{answer}");
    assert_eq!((&answer["Nodes"], &answer["Error"]), (&Value::Null, &"".into()));
    // Asked again, the answer is the same.
    assert_eq!(post_to(&app, "/filter", request.to_string()).await.1, answer);
}

#[tokio::test]
async fn nodes_that_came_in_full_go_back_in_full() {
    let mut request: Value = serde_json::from_str(FULL_NODES).unwrap();
    request["Pod"]["spec"]["nodeSelector"] = Value::Null;
    let items = request["Nodes"]["items"].as_array().unwrap().clone();
    let names: Vec<&str> = items
        .iter()
        .map(|node| node["metadata"]["name"].as_str().unwrap())
        .collect();
    let mut pod = pod_of(FULL_NODES);
    pod.constraints = kompass_core::Constraints::default();
    let app = app_with(&names, &[pod]);
    let (_, answer) = post_to(&app, "/filter", request.to_string()).await;
    assert_eq!(answer["NodeNames"], Value::Null);
    let kept = answer["Nodes"]["items"].as_array().unwrap();
    assert_eq!(kept.len(), 1, "{answer}");
    assert!(items.contains(&kept[0]), "passed back as it came");
}

#[tokio::test]
async fn a_refusal_is_one_entry_with_a_constant_text() {
    // No node that is known has room.
    let app = app_with(&[], &[pod_of(EXECUTOR)]);
    let (status, answer) = post_to(&app, "/filter", EXECUTOR).await;
    assert_eq!((status, &answer["NodeNames"]), (StatusCode::OK, &json!([])));
    let reasons = answer["FailedAndUnresolvableNodes"].as_object().unwrap();
    assert_eq!(reasons.len(), 1, "{answer}");
    assert!(
        reasons["kompass"].as_str().unwrap().starts_with("KOMPASS: "),
        "{answer}"
    );
    assert_eq!((&answer["FailedNodes"], &answer["Error"]), (&json!({}), &"".into()));
    assert_eq!(post_to(&app, "/filter", EXECUTOR).await.1, answer);
}

#[tokio::test]
async fn before_the_cluster_is_known_filter_is_an_error_and_not_a_refusal() {
    let app = app_with(&[], &[]);
    app.planner(|planner, _| *planner = Planner::new(Config::default()));
    let (status, answer) = post_to(&app, "/filter", DRIVER).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!answer["Error"].as_str().unwrap().is_empty(), "{answer}");
    assert_eq!(answer["FailedAndUnresolvableNodes"], json!({}));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_words() {
    let app = app_with(&["n"], &[]);
    for path in ["/filter", "/bind"] {
        for bad in [
            "",
            "{",
            "null",
            "\"x\"",
            "{\"Pod\":7,\"PodName\":7}",
            "{\"NodeNames\":[1],\"Node\":[1]}",
            "\u{0}\u{1}",
        ] {
            let (status, answer) = post_to(&app, path, bad).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {bad}");
            assert_eq!(answer["error"]["code"], "malformed", "{path} {bad}");
            assert!(
                answer["error"]["message"].as_str().unwrap().contains("kube-scheduler"),
                "{answer}"
            );
        }
    }
    let (status, answer) = post_to(&app, "/bind", "x".repeat(BIND_BODY_LIMIT + 1)).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &"too-large".into())
    );
}

#[tokio::test]
async fn what_can_be_read_but_makes_no_sense_is_answered_in_error() {
    let app = app_with(&["n"], &[]);
    let quantity = r#"{"Pod":{"spec":{"containers":[{"resources":{"requests":{"cpu":"much"}}}]}},"NodeNames":["n"]}"#;
    for (path, body) in [
        ("/filter", "{}"),
        ("/filter", "[]"),
        ("/bind", "[]"),
        ("/filter", r#"{"Pod":null,"NodeNames":null,"Unknown":{"deep":[]}}"#),
        ("/filter", quantity),
        ("/bind", "{}"),
        ("/bind", r#"{"PodName":"a","PodNamespace":"b","PodUID":"","Node":"n"}"#),
        // A pod that nobody knows.
        ("/bind", BIND),
    ] {
        let (status, answer) = post_to(&app, path, body).await;
        assert_eq!(status, StatusCode::OK, "{path} {body}");
        assert!(!answer["Error"].as_str().unwrap().is_empty(), "{path} {body}: {answer}");
    }
}

#[tokio::test]
async fn null_lists_offer_no_node() {
    let mut request: Value = serde_json::from_str(THREE_NODES).unwrap();
    request["NodeNames"] = Value::Null;
    let app = app_with(&["fake-0"], &[pod_of(THREE_NODES)]);
    let (status, answer) = post_to(&app, "/filter", request.to_string()).await;
    assert_eq!((status, &answer["NodeNames"]), (StatusCode::OK, &json!([])));
}

#[tokio::test]
async fn preemption_is_always_vetoed() {
    let app = app_with(&["fake-0"], &[]);
    for body in [PREEMPT, "", "{", "null"] {
        let (status, answer) = post_to(&app, "/preempt", body).await;
        assert_eq!(
            (status, answer),
            (StatusCode::OK, json!({ "NodeNameToMetaVictims": {} })),
            "{body}"
        );
    }
}

#[tokio::test]
async fn an_unknown_gang_is_a_404_with_words() {
    let app = app_with(&["n"], &[]);
    let (status, answer) = send(&app, Request::get("/v1/gangs").body(Body::empty()).unwrap()).await;
    assert_eq!((status, &answer["gangs"]), (StatusCode::OK, &json!([])));
    let (status, answer) = send(&app, Request::get("/v1/gangs/ns/driver").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::NOT_FOUND, &"not-found".into())
    );
}

#[tokio::test]
async fn filter_waits_while_all_binds_are_taken_but_not_for_ever() {
    let app = app_with(&["fake-0"], &[pod_of(THREE_NODES)]);
    let all = u32::try_from(app.limits.binds).unwrap();
    let taken = Arc::clone(&app.binds).acquire_many_owned(all).await.unwrap();
    post_to(&app, "/filter", THREE_NODES).await;
    assert_eq!(
        app.metrics.filter_brake_seconds.count(),
        1,
        "waited for its whole limit"
    );
    drop(taken);
    post_to(&app, "/filter", THREE_NODES).await;
    assert_eq!(app.metrics.filter_brake_seconds.count(), 1, "no wait with free slots");
}

#[tokio::test]
async fn a_bind_from_before_a_pause_is_refused() {
    let app = app_with(&["real-0"], &[pod_of(DRIVER)]);
    app.note_pause();
    let (_, answer) = post_to(&app, "/bind", BIND).await;
    assert!(answer["Error"].as_str().unwrap().contains("out of date"), "{answer}");
}

#[tokio::test]
async fn queues_are_shown_in_the_words_of_the_file() {
    let app = app_with(&[], &[]);
    let request = || Request::get("/v1/queues").body(Body::empty()).unwrap();
    let (status, answer) = send(&app, request()).await;
    let nothing = json!({
        "file": null, "in_force": true, "applied_ms": null, "refused": null, "version": 1, "queues": [],
        "leads": true, "total": { "cpu": "0", "memory": "0" }, "state": [],
    });
    assert_eq!((status, answer), (StatusCode::OK, nothing));

    let file = "{version: 1, queues: [{name: etl, limit: {cpu: 1500m, memory: 4Gi, a.b/c: 2}, packing: tight, namespaces: [x]}]}";
    app.queues.send_modify(|status| {
        status.path = Some("/etc/kompass/queues.yaml".into());
        status.table = Arc::new(kompass_queues::parse(file.as_bytes()).unwrap());
        status.applied_ms = Some(5);
        status.refused = Some(Refusal {
            message: "no".into(),
            since_ms: 7,
        });
    });
    let etl = json!({
        "name": "etl", "weight": 1, "guaranteed": {}, "limit": { "cpu": "1500m", "memory": "4Gi", "a.b/c": "2" },
        "packing": "tight", "namespaces": ["x"],
    });
    let expected = json!({
        "file": "/etc/kompass/queues.yaml", "in_force": false, "applied_ms": 5,
        "refused": { "message": "no", "since_ms": 7 }, "version": 1, "queues": [etl],
        "leads": true, "total": { "cpu": "0", "memory": "0" }, "state": [],
    });
    assert_eq!(send(&app, request()).await.1, expected);
}
