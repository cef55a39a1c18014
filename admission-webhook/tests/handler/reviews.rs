//! Recorded and broken reviews.

use std::sync::atomic::Ordering;

use http::StatusCode;
use kompass_core::Pod;
use serde_json::{Value, json};

use crate::harness::{CONFIG_MAP, DRIVER, DRIVER_UID, EXECUTOR, Server, Webhook, driver, edited, pinned};

#[tokio::test]
async fn the_recorded_driver_is_gated() {
    let pod = Webhook::new(Server::Absent).admit(DRIVER).await;
    assert_eq!(pod["spec"]["schedulerName"], "kompass");
    assert_eq!(pod["spec"]["schedulingGates"], json!([{"name": "kompass.dev/gang"}]));
    let key = pod["metadata"]["labels"]["kompass.dev/profile-key"].as_str().unwrap();
    assert!(!key.is_empty() && key.len() <= 63, "{key}");
}

#[tokio::test]
async fn executors_in_a_burst_get_different_slots_and_the_surplus_a_gate() {
    let webhook = Webhook::new(Server::Absent);
    webhook.gangs.apply(&driver());
    let named = |name: &str| {
        edited(EXECUTOR, |review| {
            review["request"]["object"]["metadata"]["name"] = json!(name);
        })
    };
    let first = webhook.admit(&named("e1")).await;
    let second = webhook.admit(&named("e2")).await;
    let third = webhook.admit(&named("e3")).await;
    assert_eq!((pinned(&first), pinned(&second)), (vec!["n1", "n2"], vec!["n2", "n1"]));
    assert!(pinned(&third).is_empty());
    assert_eq!(third["spec"]["schedulingGates"], json!([{"name": "kompass.dev/gang"}]));
    // The same executor asked about again counts once.
    assert_eq!(pinned(&webhook.admit(&named("e2")).await), ["n2", "n1"]);
    assert_eq!(webhook.asked.load(Ordering::SeqCst), 0, "the driver is known");
}

#[tokio::test]
async fn a_dry_run_takes_no_slot() {
    let webhook = Webhook::new(Server::Absent);
    webhook.gangs.apply(&driver());
    let dry = edited(EXECUTOR, |review| {
        review["request"]["dryRun"] = json!(true);
        review["request"]["object"]["metadata"]["name"] = json!("dry");
    });
    assert_eq!(pinned(&webhook.admit(&dry).await), ["n1", "n2"]);
    assert_eq!(pinned(&webhook.admit(EXECUTOR).await), ["n1", "n2"]);
}

#[tokio::test]
async fn a_driver_not_seen_yet_is_asked_for_once() {
    let webhook = Webhook::new(Server::Has(DRIVER_UID));
    assert_eq!(pinned(&webhook.admit(EXECUTOR).await), ["n1", "n2"]);
    assert_eq!(webhook.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_owner_that_is_no_driver_is_asked_for_once_in_a_while() {
    let of_the_notebook = edited(EXECUTOR, |review| {
        review["request"]["object"]["metadata"]["ownerReferences"][0]["uid"] = json!("notebook");
    });
    for (server, review, asked) in [
        (Server::Notebook, of_the_notebook.as_str(), 1),
        (Server::Absent, EXECUTOR, 1),
        (Server::Fails, EXECUTOR, 3),
    ] {
        let webhook = Webhook::new(server);
        let first = webhook.admit(review).await;
        for _ in 0..2 {
            assert_eq!(webhook.admit(review).await, first, "the answer stays the same");
        }
        assert_eq!(webhook.asked.load(Ordering::SeqCst), asked);
    }
}

#[tokio::test]
async fn an_api_server_that_fails_or_hangs_costs_the_pin_only() {
    for server in [Server::Fails, Server::Hangs] {
        let begun = std::time::Instant::now();
        let pod = Webhook::new(server).admit(EXECUTOR).await;
        assert!(begun.elapsed() < std::time::Duration::from_secs(1));
        assert_eq!(pod["spec"]["schedulerName"], "kompass");
        assert_eq!(pod["metadata"]["labels"]["kompass.dev/gang"], DRIVER_UID);
        assert!(pinned(&pod).is_empty() && pod["spec"].get("schedulingGates").is_none());
    }
}

#[tokio::test]
async fn an_executor_without_its_driver_stays_as_it_is() {
    let original: Value = serde_json::from_str(EXECUTOR).unwrap();
    let original = &original["request"]["object"];
    for server in [Server::Absent, Server::Has("another")] {
        assert_eq!(&Webhook::new(server).admit(EXECUTOR).await, original);
    }
    let ownerless = edited(EXECUTOR, |review| {
        review["request"]["object"]["metadata"]["ownerReferences"] = json!([]);
        review["request"]["object"]["metadata"]["labels"]["kompass.dev/gang"] = json!(DRIVER_UID);
    });
    let webhook = Webhook::new(Server::Has(DRIVER_UID));
    webhook.gangs.apply(&driver());
    let pod = webhook.admit(&ownerless).await;
    assert!(
        pod["metadata"]["labels"].get("kompass.dev/gang").is_none(),
        "a label without the owner is forged"
    );
    assert!(pinned(&pod).is_empty(), "to KOMPASS it is an executor of client mode");
}

fn owned_by(api_version: &str, kind: &str) -> String {
    edited(EXECUTOR, |review| {
        review["request"]["object"]["metadata"]["ownerReferences"] =
            json!([{"apiVersion": api_version, "kind": kind, "name": "o", "uid": "o-uid", "controller": true}]);
        review["request"]["object"]["metadata"]["labels"]["kompass.dev/gang"] = json!("forged");
    })
}

#[tokio::test]
async fn executors_of_a_stateful_set_or_a_deployment_follow_the_driver_of_their_application() {
    let executor: Value = serde_json::from_str(EXECUTOR).unwrap();
    let application = executor["request"]["object"]["metadata"]["labels"]["spark-app-selector"].as_str();
    for kind in ["StatefulSet", "ReplicaSet"] {
        let webhook = Webhook::new(Server::Absent);
        webhook.gangs.apply(&Pod {
            app_selector: application.map(str::to_owned),
            ..driver()
        });
        let pod = webhook.admit(&owned_by("apps/v1", kind)).await;
        assert_eq!(pod["metadata"]["labels"]["kompass.dev/gang"], DRIVER_UID, "{kind}");
        assert_eq!(pinned(&pod), ["n1", "n2"], "{kind}");
        // The driver has gone: nobody's gang, and the label is worth nothing.
        webhook.gangs.remove(DRIVER_UID);
        let pod = webhook.admit(&owned_by("apps/v1", kind)).await;
        assert!(pod["metadata"]["labels"].get("kompass.dev/gang").is_none(), "{kind}");
    }
    let webhook = Webhook::new(Server::Absent);
    webhook.gangs.apply(&Pod {
        app_selector: application.map(str::to_owned),
        namespace: "other".into(),
        ..driver()
    });
    let pod = webhook.admit(&owned_by("apps/v1", "StatefulSet")).await;
    assert!(pinned(&pod).is_empty(), "the driver of another tenant");
}

#[tokio::test]
async fn executors_of_client_mode_are_placed_where_nothing_is_reserved() {
    // Without any owner, owned by the notebook's pod, and owned by something that no Spark makes.
    let ownerless = edited(EXECUTOR, |review| {
        review["request"]["object"]["metadata"]["ownerReferences"] = json!([]);
    });
    let notebook = edited(EXECUTOR, |review| {
        review["request"]["object"]["metadata"]["ownerReferences"][0]["uid"] = json!("notebook");
    });
    for review in [ownerless, notebook, owned_by("batch/v1", "Job")] {
        let webhook = Webhook::new(Server::Notebook);
        let pod = webhook.admit(&review).await;
        assert_eq!(pod["spec"]["schedulerName"], "kompass");
        assert!(pinned(&pod).is_empty() && pod["spec"].get("schedulingGates").is_none());
        assert!(pod["metadata"]["labels"].get("kompass.dev/gang").is_none());
        let key = pod["metadata"]["labels"]["kompass.dev/profile-key"].as_str().unwrap();
        assert!(key.starts_with("spark-pi-"), "{key}");
        let text = webhook.registry.render();
        assert!(text.contains(r#"outcome="client",role="executor"} 1"#), "{text}");
    }
    let foreign = edited(EXECUTOR, |review| {
        review["request"]["object"]["metadata"]["ownerReferences"] = json!([]);
        review["request"]["object"]["spec"]["schedulerName"] = json!("volcano");
    });
    let pod = Webhook::new(Server::Absent).admit(&foreign).await;
    assert_eq!(pod["spec"]["schedulerName"], "volcano");
}

#[tokio::test]
async fn a_driver_of_another_namespace_is_nobodys_gang() {
    let webhook = Webhook::new(Server::Absent);
    webhook.gangs.apply(&Pod {
        namespace: "other".to_owned(),
        ..driver()
    });
    let pod = webhook.admit(EXECUTOR).await;
    assert_eq!(pod["spec"]["schedulerName"], "default-scheduler");
}

#[tokio::test]
async fn what_is_not_the_creation_of_a_pod_is_allowed_unchanged() {
    let set = |path: &'static str, value: Value| {
        edited(DRIVER, |review| {
            let (parent, key) = path.rsplit_once('/').unwrap();
            review.pointer_mut(parent).unwrap()[key] = value;
        })
    };
    for (what, review) in [
        ("a ConfigMap", CONFIG_MAP.to_owned()),
        (
            "DELETE",
            edited(DRIVER, |review| {
                review["request"]["operation"] = json!("DELETE");
                review["request"]["oldObject"] = review["request"]["object"].take();
            }),
        ),
        ("UPDATE", set("/request/operation", json!("UPDATE"))),
        ("CONNECT", set("/request/operation", json!("CONNECT"))),
        ("no operation", set("/request/operation", json!(null))),
        ("a subresource", set("/request/subResource", json!("status"))),
        (
            "an unknown kind",
            set(
                "/request/kind",
                json!({"group": "example.com", "version": "v9", "kind": "Pod"}),
            ),
        ),
        ("kind of a wrong type", set("/request/kind", json!(1e9))),
        ("no object", set("/request/object", json!(null))),
        ("an object of a wrong type", set("/request/object", json!("pod"))),
        ("a number for an object", set("/request/object", json!(1e9))),
        ("an empty object", set("/request/object", json!({}))),
        (
            "metadata of a wrong type",
            set("/request/object/metadata", json!([1e9])),
        ),
        (
            "a role of a wrong type",
            set("/request/object/metadata/labels/spark-role", json!(1e9)),
        ),
    ] {
        let (status, answer) = Webhook::new(Server::Absent).post(review).await;
        assert_eq!(status, StatusCode::OK, "{what}");
        assert_eq!(answer["response"]["allowed"], true, "{what}");
        assert!(answer["response"].get("patch").is_none(), "{what}: {answer}");
    }
}

#[tokio::test]
async fn a_pod_with_fields_of_wrong_types_is_admitted_with_a_warning() {
    let review = edited(DRIVER, |review| {
        review["request"]["object"]["metadata"]["annotations"] = json!(1e9);
    });
    let (status, answer) = Webhook::new(Server::Absent).post(review).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["response"]["allowed"], true);
    assert!(answer["response"].get("patch").is_none());
    assert!(
        answer["response"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("/metadata/annotations is not an object")
    );
}

#[tokio::test]
async fn a_generated_name_is_no_problem() {
    let generated = |review: &str| {
        edited(review, |review| {
            let metadata = &mut review["request"]["object"]["metadata"];
            metadata["generateName"] = json!("spark-");
            metadata.as_object_mut().unwrap().remove("name");
            review["request"].as_object_mut().unwrap().remove("name");
        })
    };
    let webhook = Webhook::new(Server::Absent);
    webhook.gangs.apply(&driver());
    assert_eq!(
        webhook.admit(&generated(DRIVER)).await["spec"]["schedulerName"],
        "kompass"
    );
    assert_eq!(pinned(&webhook.admit(&generated(EXECUTOR)).await), ["n1", "n2"]);
}

#[tokio::test]
async fn what_is_no_review_is_refused_with_a_reason() {
    let webhook = Webhook::new(Server::Absent);
    let deep = "[".repeat(100_000);
    for (what, body, expected) in [
        ("nothing", String::new(), StatusCode::BAD_REQUEST),
        ("no JSON", "no json".to_owned(), StatusCode::BAD_REQUEST),
        (
            "half a review",
            DRIVER[..DRIVER.len() / 2].to_owned(),
            StatusCode::BAD_REQUEST,
        ),
        ("a number", "1e9".to_owned(), StatusCode::BAD_REQUEST),
        ("a list", "[]".to_owned(), StatusCode::BAD_REQUEST),
        ("an empty object", "{}".to_owned(), StatusCode::BAD_REQUEST),
        ("depth", deep, StatusCode::BAD_REQUEST),
        (
            "another version",
            DRIVER.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1"),
            StatusCode::BAD_REQUEST,
        ),
        (
            "no uid",
            edited(DRIVER, |review| review["request"]["uid"] = json!("")),
            StatusCode::BAD_REQUEST,
        ),
        (
            "no request",
            edited(DRIVER, |review| review["request"] = json!(null)),
            StatusCode::BAD_REQUEST,
        ),
        ("5 MiB", " ".repeat(5 * 1024 * 1024), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let (status, answer) = webhook.post(body).await;
        assert_eq!(status, expected, "{what}");
        assert!(
            answer["error"].as_str().unwrap().starts_with("failed to read the "),
            "{what}: {answer}"
        );
    }
    assert!(webhook.registry.render().contains("kompass_webhook_refused_total 11\n"));
}

#[tokio::test]
async fn a_large_pod_below_the_cap_is_patched() {
    let review = edited(DRIVER, |review| {
        review["request"]["object"]["metadata"]["annotations"] =
            json!({"example.com/large": "x".repeat(3 * 1024 * 1024)});
    });
    assert_eq!(
        Webhook::new(Server::Absent).admit(&review).await["spec"]["schedulerName"],
        "kompass"
    );
}

#[tokio::test]
async fn reviews_are_counted_by_role_and_outcome() {
    let webhook = Webhook::new(Server::Absent);
    webhook.admit(DRIVER).await;
    webhook.admit(EXECUTOR).await;
    let text = webhook.registry.render();
    for line in [
        r#"kompass_webhook_reviews_total{outcome="gated",role="driver"} 1"#,
        r#"kompass_webhook_reviews_total{outcome="not-ours",role="executor"} 1"#,
        r#"kompass_webhook_driver_lookups_total{result="absent"} 1"#,
        "kompass_webhook_review_seconds_count 2",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
