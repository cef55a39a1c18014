//! Shadow mode: everything is told and nothing is done.

use http::StatusCode;
use kompass_admission_webhook::admit::Mode;
use kompass_core::Pod;
use serde_json::json;

use crate::harness::{DRIVER, EXECUTOR, Server, Webhook, driver, edited};

#[tokio::test]
async fn nothing_is_changed_and_what_would_be_is_counted() {
    let webhook = Webhook::in_mode(Mode::Shadow, Server::Absent);
    // The driver was left to its scheduler, so there is no plan.
    webhook.gangs.apply(&Pod {
        scheduler: "default-scheduler".to_owned(),
        plan: None,
        ..driver()
    });
    let labelled = |review: &str, key: &str, value: &str| {
        edited(review, |review| {
            review["request"]["object"]["metadata"]["labels"][key] = json!(value);
        })
    };
    let malformed = edited(DRIVER, |review| {
        review["request"]["object"]["spec"]["schedulingGates"] = json!("x");
    });
    for review in [
        DRIVER.to_owned(),
        EXECUTOR.to_owned(),
        labelled(DRIVER, "yunikorn.apache.org/app-id", "a"),
        labelled(DRIVER, "kompass.dev/enabled", "false"),
        labelled(DRIVER, "kompass.dev/gang", "forged"),
        malformed,
    ] {
        let (status, answer) = webhook.post(review).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["response"]["allowed"], true);
        for field in ["patch", "patchType", "warnings"] {
            assert!(answer["response"].get(field).is_none(), "{answer}");
        }
    }
    let text = webhook.registry.render();
    for line in [
        r#"kompass_webhook_shadow_total{outcome="gated",role="driver"} 2"#,
        r#"kompass_webhook_shadow_total{outcome="unpinned",role="executor"} 1"#,
        r#"kompass_webhook_shadow_total{outcome="held",role="driver"} 1"#,
        r#"kompass_webhook_shadow_total{outcome="opted-out",role="driver"} 1"#,
        r#"kompass_webhook_shadow_total{outcome="malformed",role="driver"} 1"#,
        r#"kompass_webhook_reviews_total{outcome="shadow",role="driver"} 5"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn executors_of_a_foreign_scheduler_would_be_left_in_shadow_mode_too() {
    let webhook = Webhook::in_mode(Mode::Shadow, Server::Absent);
    webhook.gangs.apply(&Pod {
        scheduler: "yunikorn".to_owned(),
        plan: None,
        ..driver()
    });
    webhook.post(EXECUTOR).await;
    let text = webhook.registry.render();
    let line = r#"kompass_webhook_shadow_total{outcome="not-ours",role="executor"} 1"#;
    assert!(text.contains(line), "{line} is not in\n{text}");
}

#[tokio::test]
async fn without_shadow_mode_nothing_is_counted_as_shadow() {
    let webhook = Webhook::new(Server::Absent);
    webhook.admit(DRIVER).await;
    assert!(!webhook.registry.render().contains("kompass_webhook_shadow_total{"));
}
