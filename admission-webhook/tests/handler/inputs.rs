//! The bad inputs that must be survived, each by name: whatever comes, a review is answered with "allowed", and a patch
//! touches our fields only.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use futures::{StreamExt as _, stream};
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{DRIVER, DRIVER_UID, EXECUTOR, Server, Webhook, driver, edited, pinned};

/// What comes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Taken, and gated.
    Gated,
    /// Allowed as it is.
    Unchanged,
    /// Allowed as it is, with a warning.
    Warned,
    /// No review: the API server goes on as if there were no webhook.
    Refused(StatusCode),
}

async fn fate(body: impl Into<Body>) -> Fate {
    let (status, answer) = Webhook::new(Server::Absent).post(body).await;
    if status != StatusCode::OK {
        assert!(answer["error"].is_string(), "{answer}");
        return Fate::Refused(status);
    }
    assert_eq!(answer["response"]["allowed"], true);
    match (answer["response"].get("patch"), answer["response"].get("warnings")) {
        (Some(_), None) => Fate::Gated,
        (None, None) => Fate::Unchanged,
        (None, Some(_)) => Fate::Warned,
        (Some(_), Some(_)) => panic!("{answer}"),
    }
}

/// The recorded driver's review, with `value` at `path`.
fn with(path: &str, value: &Value) -> String {
    edited(DRIVER, |review| {
        let (parent, key) = path.rsplit_once('/').unwrap();
        review.pointer_mut(parent).unwrap()[key] = value.clone();
    })
}

/// With fields of `spec`.
fn with_spec(fields: &Value) -> String {
    edited(DRIVER, |review| {
        let spec = review["request"]["object"]["spec"].as_object_mut().unwrap();
        spec.extend(fields.as_object().unwrap().clone());
    })
}

/// What is left of a pod when our fields are taken out of it.
fn without_ours(mut pod: Value) -> Value {
    for (parent, ours) in [
        ("/metadata/labels", &["kompass.dev/profile-key", "kompass.dev/gang"][..]),
        (
            "/metadata/annotations",
            &[
                "karpenter.sh/do-not-disrupt",
                "cluster-autoscaler.kubernetes.io/safe-to-evict",
            ],
        ),
        ("/spec", &["schedulerName", "affinity"]),
    ] {
        if let Some(fields) = pod.pointer_mut(parent).and_then(Value::as_object_mut) {
            for key in ours {
                fields.remove(*key);
            }
        }
    }
    if let Some(gates) = pod.pointer_mut("/spec/schedulingGates").and_then(Value::as_array_mut) {
        gates.retain(|gate| gate["name"] != "kompass.dev/gang");
    }
    // What holds nothing but ours was not there before.
    for (parent, key) in [("/metadata", "annotations"), ("/spec", "schedulingGates")] {
        let fields = pod.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        let is_empty = |value: &Value| *value == json!({}) || *value == json!([]);
        if fields.get(key).is_some_and(is_empty) {
            fields.remove(key);
        }
    }
    pod
}

fn object(review: &str) -> Value {
    serde_json::from_str::<Value>(review).unwrap()["request"]["object"].take()
}

#[tokio::test]
async fn reviews_that_are_about_something_else_are_allowed_unchanged() {
    let deleted = edited(DRIVER, |review| {
        review["request"]["operation"] = json!("DELETE");
        review["request"]["oldObject"] = review["request"]["object"].take();
    });
    let created_and_old = edited(DRIVER, |review| {
        review["request"]["operation"] = json!("UPDATE");
        review["request"]["oldObject"] = review["request"]["object"].clone();
    });
    let ephemeral = edited(DRIVER, |review| {
        review["request"]["operation"] = json!("UPDATE");
        review["request"]["subResource"] = json!("ephemeralcontainers");
        review["request"]["object"]["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "i"}]);
    });
    for (what, review) in [
        ("DELETE with oldObject only", deleted),
        ("UPDATE", created_and_old),
        ("ephemeral containers", ephemeral),
        ("status", with("/request/subResource", &json!("status"))),
        ("binding", with("/request/subResource", &json!("binding"))),
        ("eviction", with("/request/subResource", &json!("eviction"))),
        (
            "an unknown kind",
            with(
                "/request/kind",
                &json!({"group": "x.io", "version": "v7", "kind": "Gizmo"}),
            ),
        ),
        (
            "a Pod of a later version",
            with("/request/kind", &json!({"group": "", "version": "v2", "kind": "Pod"})),
        ),
        ("no object", with("/request/object", &json!(null))),
    ] {
        assert_eq!(fate(review).await, Fate::Unchanged, "{what}");
    }
}

#[tokio::test]
async fn bodies_that_are_no_review_are_refused() {
    let gzip: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0,
    ];
    let mut latin = DRIVER.as_bytes().to_vec();
    let at = DRIVER.find("spark-kubernetes-driver").unwrap();
    latin[at] = 0xe9;
    let nested = |depth: usize| {
        let inner = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        DRIVER.replacen("\"spec\":", &format!("\"deep\":{inner},\"spec\":"), 1)
    };
    assert!(nested(1).len() > DRIVER.len(), "the recording has a spec");
    for (what, body) in [
        (
            "v1beta1",
            Body::from(DRIVER.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1")),
        ),
        ("gzip", Body::from(gzip)),
        ("not UTF-8", Body::from(latin)),
        ("nested 10,000 deep", Body::from(nested(10_000))),
    ] {
        assert_eq!(fate(body).await, Fate::Refused(StatusCode::BAD_REQUEST), "{what}");
    }
}

#[tokio::test]
async fn a_body_of_100_mb_is_not_read_to_its_end() {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    let chunks = stream::iter(0..1_600).map(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, Infallible>(chunk.clone())
    });
    assert_eq!(
        fate(Body::from_stream(chunks)).await,
        Fate::Refused(StatusCode::PAYLOAD_TOO_LARGE)
    );
    let read = sent.load(std::sync::atomic::Ordering::SeqCst);
    assert!(read <= 66, "{read} chunks of 64 KiB were read");
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_given_up_before_the_api_server_gives_up() {
    let half = Ok::<_, Infallible>(Bytes::from_static(&DRIVER.as_bytes()[..DRIVER.len() / 2]));
    let stuck = stream::iter([half]).chain(stream::pending());
    let begun = Instant::now();
    assert_eq!(
        fate(Body::from_stream(stuck)).await,
        Fate::Refused(StatusCode::REQUEST_TIMEOUT)
    );
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn unusual_pods_are_taken_and_nothing_else_of_them_is_touched() {
    let container = json!({"name": "c", "image": "i"});
    let quantities = |cpu: &str, memory: &str| {
        json!({"containers": [{"name": "spark-kubernetes-driver", "args": ["driver"],
                               "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
    };
    let mut cases = vec![
        (
            "foreign gates",
            json!({"schedulingGates": [{"name": "x.io/a"}, {"name": "x.io/b", "more": 1}]}),
        ),
        (
            "sidecars, init containers and a restart policy",
            json!({
                "initContainers": [
                    {"name": "proxy", "image": "i", "restartPolicy": "Always"},
                    {"name": "init", "image": "i"},
                ],
                "restartPolicy": "OnFailure",
            }),
        ),
        (
            "pod-level resources",
            json!({"resources": {"requests": {"cpu": "1e3", "memory": "9E"}, "limits": {"cpu": "-1"}}}),
        ),
        (
            "claims of dynamic resource allocation",
            json!({
                "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}],
                "containers": [{"name": "c", "args": ["driver"], "resources": {"claims": [{"name": "gpu", "request": "r"}]}}],
            }),
        ),
        ("ephemeral containers", json!({"ephemeralContainers": [container]})),
        (
            "fields of a later Kubernetes",
            json!({"fromTheFuture": {"a": [1, null, 1.50, "x"]}}),
        ),
    ];
    for quantity in [
        "1e3",
        "0.1m",
        "-1",
        "9E",
        "1e400",
        "99999999999999999999999E",
        "",
        "NaN",
        "１２",
        "1 ",
        "0x10",
    ] {
        cases.push(("quantities", quantities(quantity, quantity)));
    }
    for (what, spec) in cases {
        let review = with_spec(&spec);
        let before = object(&review);
        let webhook = Webhook::new(Server::Absent);
        let after = webhook.admit(&review).await;
        assert_eq!(after["spec"]["schedulerName"], "kompass", "{what}: {spec}");
        assert_eq!(without_ours(after), without_ours(before), "{what}: {spec}");
    }
}

#[tokio::test]
async fn a_driver_by_its_label_alone_is_none() {
    for containers in [
        json!([]),
        json!(null),
        json!("none"),
        json!({"name": "spark-kubernetes-driver"}),
        json!([1e9]),
    ] {
        let review = with_spec(&json!({"containers": containers}));
        assert_eq!(fate(review).await, Fate::Unchanged, "{containers}");
    }
}

#[tokio::test]
async fn quantities_of_a_wrong_type_are_survived() {
    for value in [json!(1e9), json!(-1), json!({"a": 1}), json!([1]), json!(true)] {
        let spec =
            json!({"containers": [{"name": "c", "args": ["driver"], "resources": {"requests": {"cpu": value}}}]});
        assert_eq!(fate(with_spec(&spec)).await, Fate::Gated, "{value}");
        let spec = json!({"containers": [{"name": "c", "args": ["driver"], "resources": value}]});
        assert_eq!(fate(with_spec(&spec)).await, Fate::Gated, "{value}");
    }
}

#[tokio::test]
async fn gates_of_a_wrong_type_leave_the_pod_as_it_is_with_a_warning() {
    for gates in [json!("x"), json!({"name": "kompass.dev/gang"}), json!(1e9)] {
        assert_eq!(
            fate(with_spec(&json!({"schedulingGates": gates}))).await,
            Fate::Warned,
            "{gates}"
        );
    }
}

#[tokio::test]
async fn the_profile_key_is_a_label_whatever_the_job_is_called() {
    let long = "x".repeat(64);
    for name in [
        long.as_str(),
        &"y".repeat(10_000),
        "名前",
        "１２３",
        "a b\r\n\u{1b}[31m",
        "<b>&\"'",
        "-._",
        "",
    ] {
        let review = edited(DRIVER, |review| {
            let metadata = &mut review["request"]["object"]["metadata"];
            metadata["name"] = json!(name);
            for label in ["spark-app-name", "spark-app-selector", "kompass.dev/profile-key"] {
                metadata["labels"][label] = json!(name);
            }
        });
        let pod = Webhook::new(Server::Absent).admit(&review).await;
        let key = pod["metadata"]["labels"]["kompass.dev/profile-key"].as_str().unwrap();
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        assert!(
            key.len() <= 63 && key.chars().all(inner) && outer(key.chars().next()) && outer(key.chars().last()),
            "{name:?} became {key:?}"
        );
        assert_eq!(pod["metadata"]["name"], name);
    }
}

#[tokio::test]
async fn two_jobs_of_the_same_name_are_two_gangs_of_one_job() {
    let named = |name: &str| {
        edited(DRIVER, |review| {
            review["request"]["uid"] = json!(name);
            review["request"]["object"]["metadata"]["name"] = json!(name);
        })
    };
    let webhook = Webhook::new(Server::Absent);
    let key = |pod: &Value| pod["metadata"]["labels"]["kompass.dev/profile-key"].clone();
    let (first, second) = (webhook.admit(&named("a")).await, webhook.admit(&named("b")).await);
    assert_eq!(key(&first), key(&second), "they learn from each other");
    // The executors of one don't take the slots of the other, though all else is alike.
    webhook.gangs.apply(&driver());
    webhook.gangs.apply(&kompass_core::Pod {
        uid: "other".to_owned(),
        plan: driver().plan.map(|plan| kompass_core::GangPlan {
            uid: "other".to_owned(),
            ..plan
        }),
        ..driver()
    });
    let executor_of = |uid: &str| {
        edited(EXECUTOR, |review| {
            review["request"]["object"]["metadata"]["ownerReferences"][0]["uid"] = json!(uid);
        })
    };
    for uid in [DRIVER_UID, "other"] {
        let pod = webhook.admit(&executor_of(uid)).await;
        assert_eq!(pod["metadata"]["labels"]["kompass.dev/gang"], uid);
        assert_eq!(pinned(&pod), ["n1", "n2"], "{uid}");
    }
}

#[tokio::test]
async fn a_dry_run_of_a_driver_is_patched_as_the_real_thing() {
    let real = Webhook::new(Server::Absent).admit(DRIVER).await;
    let dry = with("/request/dryRun", &json!(true));
    assert_eq!(Webhook::new(Server::Absent).admit(&dry).await, real);
}

#[tokio::test]
async fn a_generated_name_needs_no_name() {
    let review = edited(DRIVER, |review| {
        let metadata = review["request"]["object"]["metadata"].as_object_mut().unwrap();
        metadata.remove("name");
        metadata.insert("generateName".to_owned(), json!("spark-"));
    });
    let pod = Webhook::new(Server::Absent).admit(&review).await;
    assert_eq!(pod["spec"]["schedulerName"], "kompass");
    assert_eq!(pod["metadata"]["generateName"], "spark-");
    assert!(pod["metadata"].get("name").is_none());
}

#[tokio::test]
async fn a_reinvocation_on_the_patched_pod_patches_nothing() {
    let webhook = Webhook::new(Server::Absent);
    webhook.gangs.apply(&driver());
    for review in [DRIVER, EXECUTOR] {
        let pod = webhook.admit(review).await;
        let again = edited(review, |review| review["request"]["object"] = pod);
        let (_, answer) = webhook.post(again).await;
        assert!(answer["response"].get("patch").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn a_deep_pod_below_the_limit_is_answered_at_once() {
    // serde_json stops at 128; the review itself takes some.
    let mut deep = json!("x");
    for _ in 0..100 {
        deep = json!({"a": deep});
    }
    let review = with_spec(&json!({"deep": deep}));
    let begun = Instant::now();
    assert_eq!(fate(review).await, Fate::Gated);
    assert!(begun.elapsed() < Duration::from_secs(1));
}
