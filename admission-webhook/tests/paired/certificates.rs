//! Certificates that end, are wrong, change and vanish, and clocks that jump.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kompass_admission_webhook::certificates::SECRET;
use kompass_admission_webhook::registration::NAME;
use kompass_core::names;
use kompass_service::clock::Clock;
use kompass_service::tls::{Authority, Validity};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::harness::{ControlPlane, Recording, Webhook, eventually, gates};

const GIVEN: &str = "given-tls";
const DAY_MS: u64 = 24 * 3_600 * 1_000;
const END: &str = "kompass_webhook_certificate_end_timestamp_seconds";

fn now_ms() -> u64 {
    Clock::system().now_ms()
}

fn days(count: u64) -> Duration {
    Duration::from_millis(count * DAY_MS)
}

fn secrets(plane: &ControlPlane) -> Api<Secret> {
    Api::namespaced(plane.user.clone(), names::DEFAULT_NAMESPACE)
}

async fn put(plane: &ControlPlane, name: &str, fields: &[(&str, &str)]) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": {"cert-manager.io/certificate-name": "webhook"}},
        "data": fields.iter().map(|&(field, text)| (field, ByteString(text.into()))).collect::<BTreeMap<_, _>>(),
    });
    let parameters = PatchParams::apply("test").force();
    secrets(plane)
        .patch(name, &parameters, &Patch::Apply(object))
        .await
        .unwrap();
}

/// A leaf of `authority` for `subject` that began and ends so many days from now, put into the Secret.
async fn put_leaf(plane: &ControlPlane, authority: &Authority, subject: &str, begins: i64, ends: i64) {
    let at = |days: i64| now_ms().saturating_add_signed(days * DAY_MS.cast_signed());
    let validity = Validity {
        not_before_ms: at(begins),
        not_after_ms: at(ends),
    };
    let leaf = authority.issue(&[subject.into()], validity).unwrap();
    let fields = [
        ("tls.crt", leaf.certificate_pem.as_str()),
        ("tls.key", &leaf.key_pem),
        ("ca.crt", &authority.pair.certificate_pem),
    ];
    put(plane, GIVEN, &fields).await;
}

fn authority(name: &str) -> Authority {
    let validity = Validity {
        not_before_ms: now_ms() - 300 * DAY_MS,
        not_after_ms: now_ms() + 300 * DAY_MS,
    };
    Authority::generate(name, validity).unwrap()
}

async fn registered(plane: &ControlPlane) -> MutatingWebhookConfiguration {
    Api::all(plane.user.clone()).get(NAME).await.unwrap()
}

async fn bundle(plane: &ControlPlane) -> Option<String> {
    let webhooks = registered(plane).await.webhooks.unwrap();
    let bundle = webhooks[0].client_config.ca_bundle.clone()?;
    Some(String::from_utf8(bundle.0).unwrap())
}

/// Creates drivers as dry runs one after another until it is ended, and counts those that are not gated.
///
/// The API server keeps its connection and sees few handshakes. So connections are also made anew all the time, with the
/// trust that is registered at that moment.
struct Load {
    end: Arc<AtomicBool>,
    created: Arc<AtomicUsize>,
    missed: JoinHandle<Vec<usize>>,
    refused: JoinHandle<(usize, Vec<String>)>,
}

impl Load {
    fn start(plane: &ControlPlane, webhook: &Webhook) -> Self {
        let (end, created) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let driver = serde_json::from_value(Recording::read("4.1.4", "a-basic-scala", "load").driver).unwrap();
        let pods = plane.pods();
        let (is_over, count) = (Arc::clone(&end), Arc::clone(&created));
        let missed = tokio::spawn(async move {
            let parameters = PostParams {
                dry_run: true,
                ..PostParams::default()
            };
            let mut missed = Vec::new();
            while !is_over.load(Ordering::Acquire) {
                let pod = pods.create(&parameters, &driver).await.unwrap();
                let index = count.fetch_add(1, Ordering::AcqRel);
                if gates(&pod).is_empty() {
                    missed.push(index);
                }
            }
            missed
        });
        let api = Api::<MutatingWebhookConfiguration>::all(plane.user.clone());
        let (is_over, url) = (Arc::clone(&end), format!("https://{}", webhook.running.address));
        let refused = tokio::spawn(async move {
            let (mut count, mut refused) = (0, Vec::new());
            while !is_over.load(Ordering::Acquire) {
                let webhooks = api.get(NAME).await.unwrap().webhooks.unwrap();
                let bundle = webhooks[0].client_config.ca_bundle.clone().unwrap();
                count += 1;
                if let Err(error) = handshake(&url, &String::from_utf8(bundle.0).unwrap()).await {
                    refused.push(error);
                }
            }
            (count, refused)
        });
        Self {
            end,
            created,
            missed,
            refused,
        }
    }

    /// Waits for so many more.
    async fn more(&self, count: usize) {
        let goal = self.created.load(Ordering::Acquire) + count;
        eventually("more drivers", || async {
            (self.created.load(Ordering::Acquire) >= goal).then_some(())
        })
        .await;
    }

    async fn stop(self) {
        self.more(50).await;
        self.end.store(true, Ordering::Release);
        let missed = self.missed.await.unwrap();
        let created = self.created.load(Ordering::Acquire);
        assert!(missed.is_empty(), "not gated: {missed:?} of {created}");
        let (count, refused) = self.refused.await.unwrap();
        assert!(
            count > 10 && refused.is_empty(),
            "{} of {count}: {:?}",
            refused.len(),
            refused.first()
        );
    }
}

/// One connection that trusts `bundle`, PEM.
async fn handshake(url: &str, bundle: &str) -> Result<(), String> {
    let roots = bundle.split("-----BEGIN CERTIFICATE-----").skip(1).map(|part| {
        let text: String = part.split("-----END").next().unwrap().split_whitespace().collect();
        STANDARD.decode(text).unwrap()
    });
    let mut config = kube::Config::new(url.parse().unwrap());
    config.root_cert = Some(roots.collect());
    let client = kube::Client::try_from(config).unwrap();
    let request = http::Request::get("/nothing").body(Vec::new()).unwrap();
    match client.request_text(request).await {
        // It answers, whatever it says.
        Ok(_) | Err(kube::Error::Api(_)) => Ok(()),
        Err(error) => Err(format!("{error:?}")),
    }
}

async fn is_gated(plane: &ControlPlane) -> bool {
    let driver = serde_json::from_value(Recording::read("4.1.4", "a-basic-scala", "dry").driver).unwrap();
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    !gates(&plane.pods().create(&parameters, &driver).await.unwrap()).is_empty()
}

/// Makes the webhook look at its Secret now.
async fn touch(plane: &ControlPlane, secret: &str, stamp: u64) {
    let patch = json!({"metadata": {"annotations": {"example.com/touched": stamp.to_string()}}});
    let secrets = secrets(plane);
    secrets
        .patch(secret, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

async fn new_end(webhook: &Webhook, old: f64) -> f64 {
    eventually("another certificate", || async {
        let end = webhook.metric(END);
        ((end - old).abs() > 0.5).then_some(end)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_certificate_is_refused_with_the_reason_while_the_old_one_serves() {
    let plane = ControlPlane::start().await;
    let options = ["--certificates", "secret", "--certificate-secret", GIVEN];
    let webhook = plane.unready_webhook(Clock::system(), &options).await;
    webhook.says(&["certificate (", GIVEN, "create it"]).await;
    let first = authority("first");
    put_leaf(&plane, &first, "127.0.0.1", -20, -10).await;
    webhook.says(&["certificate (", "certificate expired"]).await;
    assert!(!webhook.running.readiness.is_ready());
    put_leaf(&plane, &first, "127.0.0.1", -1, 10).await;
    tokio::time::timeout(crate::harness::DEADLINE, webhook.running.readiness.ready())
        .await
        .unwrap_or_else(|_| panic!("{:?}", webhook.running.readiness.lacks()));
    assert!(is_gated(&plane).await);
    let end = webhook.metric(END);
    for (subject, begins, ends, said) in [
        ("127.0.0.1", -20, -10, "certificate expired"),
        ("127.0.0.1", 10, 20, "not valid yet"),
        ("192.0.2.1", -1, 11, "not valid for name \"127.0.0.1\""),
    ] {
        put_leaf(&plane, &first, subject, begins, ends).await;
        webhook.says(&[said, GIVEN]).await;
        assert!(webhook.running.readiness.is_ready(), "the old one serves");
        assert!(is_gated(&plane).await, "{said}");
    }
    let other = first.issue(&["127.0.0.1".into()], first.pair.validity).unwrap();
    let data = json!({"data": {"tls.key": ByteString(other.key_pem.into())}});
    secrets(&plane)
        .patch(GIVEN, &PatchParams::default(), &Patch::Merge(data))
        .await
        .unwrap();
    webhook.says(&["with its key"]).await;
    let data = json!({"data": {"ca.crt": null}});
    secrets(&plane)
        .patch(GIVEN, &PatchParams::default(), &Patch::Merge(data))
        .await
        .unwrap();
    webhook
        .says(&["ca.crt is missing", "put the certificate of the authority"])
        .await;
    secrets(&plane).delete(GIVEN, &DeleteParams::default()).await.unwrap();
    webhook.says(&["create it"]).await;
    assert!(is_gated(&plane).await);
    assert!((webhook.metric(END) - end).abs() < 0.5);

    // Another authority altogether, under load.
    let load = Load::start(&plane, &webhook);
    load.more(20).await;
    put_leaf(&plane, &authority("second"), "127.0.0.1", -1, 20).await;
    new_end(&webhook, end).await;
    load.stop().await;
    assert_eq!(
        bundle(&plane).await.unwrap().matches("BEGIN").count(),
        2,
        "both for a while"
    );
    assert!(webhook.running.readiness.concerns().is_empty());
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_certificate_that_ends_in_use_makes_unready() {
    let plane = ControlPlane::start().await;
    put_leaf(&plane, &authority("first"), "127.0.0.1", -1, 10).await;
    let (clock, hand) = Clock::manual(now_ms());
    let options = ["--certificates", "secret", "--certificate-secret", GIVEN];
    let webhook = plane.webhook_by(clock, &options).await;
    hand.advance(days(11));
    touch(&plane, GIVEN, 1).await;
    webhook.says(&["certificate (", "certificate expired"]).await;
    assert_eq!(webhook.running.readiness.missing(), ["certificate"]);
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_of_cert_managers_injector_is_never_touched() {
    let plane = ControlPlane::start().await;
    let first = authority("first");
    put_leaf(&plane, &first, "127.0.0.1", -1, 10).await;
    let options = ["--certificates", "cert-manager", "--certificate-secret", GIVEN];
    let webhook = plane.unready_webhook(Clock::system(), &options).await;
    // Nobody has injected anything: the API server says why it refuses us.
    webhook
        .says(&[
            "called by the API server (",
            "x509: certificate signed by unknown authority",
        ])
        .await;
    let object = registered(&plane).await;
    assert_eq!(
        object.metadata.annotations.unwrap()["cert-manager.io/inject-ca-from"],
        "kompass/webhook"
    );
    inject(&plane, &first.pair.certificate_pem).await;
    tokio::time::timeout(crate::harness::DEADLINE, webhook.running.readiness.ready())
        .await
        .unwrap();
    assert!(is_gated(&plane).await);
    // An edit of ours is put right, the bundle stays.
    let edit = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]);
    let edit: json_patch::Patch = serde_json::from_value(edit).unwrap();
    let api = Api::<MutatingWebhookConfiguration>::all(plane.user.clone());
    api.patch(NAME, &PatchParams::default(), &Patch::Json::<()>(edit))
        .await
        .unwrap();
    eventually("the edit put right", || async {
        let webhooks = registered(&plane).await.webhooks.unwrap();
        (webhooks[0].failure_policy.as_deref() == Some("Ignore")).then_some(())
    })
    .await;
    assert_eq!(bundle(&plane).await.unwrap(), first.pair.certificate_pem);
    let managers = registered(&plane).await.metadata.managed_fields.unwrap();
    let ours = managers
        .iter()
        .find(|entry| entry.manager.as_deref() == Some(NAME))
        .unwrap();
    assert!(!json!(ours).to_string().contains("caBundle"));
    // A new leaf of the same authority is shown at once.
    let end = webhook.metric(END);
    put_leaf(&plane, &first, "127.0.0.1", -1, 20).await;
    new_end(&webhook, end).await;
    assert!(is_gated(&plane).await);
    webhook.stop().await;
    plane.stop().await;
}

/// As cert-manager's CA injector does.
async fn inject(plane: &ControlPlane, pem: &str) {
    let bundle = json!(ByteString(pem.into()));
    let edit: Vec<_> = (0..2)
        .map(|index| json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": bundle}))
        .collect();
    let edit: json_patch::Patch = serde_json::from_value(json!(edit)).unwrap();
    let parameters = PatchParams {
        field_manager: Some("cert-manager-cainjector".to_owned()),
        ..PatchParams::default()
    };
    let api = Api::<MutatingWebhookConfiguration>::all(plane.user.clone());
    api.patch(NAME, &parameters, &Patch::Json::<()>(edit)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_the_api_server_does_not_reach_says_so() {
    let plane = ControlPlane::start().await;
    // Nobody listens there.
    let options = ["--url", "https://127.0.0.1:1"];
    let webhook = plane.unready_webhook(Clock::system(), &options).await;
    let words = [
        "called by the API server (",
        "failed calling webhook \"probe.kompass.dev\"",
        "connection refused",
    ];
    webhook.says(&words).await;
    assert_eq!(webhook.running.readiness.missing(), ["called by the API server"]);
    webhook.stop().await;
    let webhook = plane.unready_webhook(Clock::system(), &["--service", NAME]).await;
    webhook
        .says(&[
            "called by the API server (",
            "service \"kompass-admission-webhook-probe\" not found",
        ])
        .await;
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_rotates_and_its_secret_is_lost_without_a_missed_admission() {
    let plane = ControlPlane::start().await;
    let start_ms = now_ms() - 40 * 60 * 1_000;
    // An authority that is due within minutes: 365 days of life, and two thirds nearly over.
    let born_ms = start_ms - 243 * DAY_MS - 8 * 3_600 * 1_000 + 10 * 60 * 1_000;
    let old = Authority::generate("KOMPASS admission webhook", Validity::starting(born_ms, days(365))).unwrap();
    let stored = json!([{
        "certificate_pem": old.pair.certificate_pem,
        "key_pem": old.pair.key_pem,
        "validity": old.pair.validity,
        "born_ms": born_ms,
    }]);
    put(&plane, SECRET, &[("authorities.json", &stored.to_string())]).await;
    let (clock, hand) = Clock::manual(start_ms);
    let webhook = plane.webhook_by(clock, &[]).await;
    assert_eq!(bundle(&plane).await.unwrap().trim(), old.pair.certificate_pem.trim());
    let end = webhook.metric(END);
    let load = Load::start(&plane, &webhook);
    load.more(20).await;
    hand.advance(Duration::from_mins(20));
    touch(&plane, SECRET, 1).await;
    let both = eventually("both in the bundle", || async {
        let bundle = bundle(&plane).await.unwrap();
        (bundle.matches("BEGIN").count() == 2).then_some(bundle)
    })
    .await;
    assert!(both.contains(old.pair.certificate_pem.trim()));
    assert!(
        (webhook.metric(END) - end).abs() < 0.5,
        "the old one signs until the new one has settled"
    );
    load.more(20).await;
    hand.advance(Duration::from_mins(20));
    touch(&plane, SECRET, 2).await;
    let end = new_end(&webhook, end).await;
    load.more(20).await;
    secrets(&plane).delete(SECRET, &DeleteParams::default()).await.unwrap();
    let secret = eventually("the Secret back", || async {
        secrets(&plane).get_opt(SECRET).await.unwrap()
    })
    .await;
    let text = String::from_utf8(secret.data.unwrap()["authorities.json"].0.clone()).unwrap();
    let stored: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(stored.len(), 2, "the same authorities");
    assert_eq!(stored[0]["certificate_pem"], json!(old.pair.certificate_pem));
    load.stop().await;
    assert!((webhook.metric(END) - end).abs() < 0.5);
    webhook.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_may_jump() {
    let plane = ControlPlane::start().await;
    // A year behind; then set right, which is a jump of a year forward.
    let (clock, hand) = Clock::manual(now_ms() - 400 * DAY_MS);
    let webhook = plane.unready_webhook(clock, &[]).await;
    // Long over, for the API server: it says so.
    let said = webhook
        .says(&["called by the API server (", "x509: certificate has expired"])
        .await;
    assert!(!said.contains("registered"), "{said}");
    let end = webhook.metric(END);
    hand.set_wall(now_ms());
    touch(&plane, SECRET, 1).await;
    new_end(&webhook, end).await;
    tokio::time::timeout(crate::harness::DEADLINE, webhook.running.readiness.ready())
        .await
        .unwrap();
    assert!(is_gated(&plane).await);
    // Back: what the API server accepts stays good.
    let load = Load::start(&plane, &webhook);
    load.more(20).await;
    let end = webhook.metric(END);
    hand.set_wall(now_ms() - 10 * DAY_MS);
    touch(&plane, SECRET, 2).await;
    new_end(&webhook, end).await;
    load.more(50).await;
    hand.set_wall(now_ms());
    touch(&plane, SECRET, 3).await;
    load.stop().await;
    webhook.stop().await;
    plane.stop().await;
}
