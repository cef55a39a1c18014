//! The objects by which the cluster knows the webhook, applied and kept as they should be.
//!
//! Server-side apply of our own fields only, when the certificates change and whenever somebody edits or deletes one
//! of the objects.

mod manifests;

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kompass_kube::apply::apply;
use kompass_service::readiness::Condition;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use self::manifests::{Endpoint, NAME, Settings, policy, policy_binding, webhook_configuration};
use crate::metrics;

/// Our name as the owner of fields.
const MANAGER: &str = "kompass-admission-webhook";
/// Between two rounds: two replicas of different versions that disagree must not fight at full speed.
const PAUSE: Duration = Duration::from_secs(1);
/// After a round that failed.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the registration right until `draining` is cancelled. `trust` holds the authorities' certificates as PEM;
/// nothing is registered before the first. `registered` is met once all is applied.
pub async fn keep(
    client: Client,
    settings: Settings,
    mut trust: watch::Receiver<Option<String>>,
    metrics: metrics::Webhook,
    registered: Condition,
    draining: CancellationToken,
) {
    let mut changes = pin!(stream::select_all([
        changes::<MutatingWebhookConfiguration>(&client).boxed(),
        changes::<ValidatingAdmissionPolicy>(&client).boxed(),
        changes::<ValidatingAdmissionPolicyBinding>(&client).boxed(),
    ]));
    loop {
        let bundle = tokio::select! {
            biased;
            () = draining.cancelled() => return,
            bundle = trust.wait_for(Option::is_some) => bundle.ok().and_then(|bundle| bundle.clone()),
        };
        // Nobody makes certificates any more: the service is ending.
        let Some(bundle) = bundle else {
            return draining.cancelled().await;
        };
        trust.mark_unchanged();
        let applied = apply_all(&client, &settings, &bundle, &metrics).await;
        if applied {
            registered.met();
        }
        let until_next_round = async {
            if !applied {
                return sleep(RETRY).await;
            }
            sleep(PAUSE).await;
            tokio::select! {
                _ = trust.changed() => {}
                Some(()) = changes.next() => {}
            }
            // Several events of one edit are one reason.
            while changes.next().now_or_never().is_some() {}
        };
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            () = until_next_round => {}
        }
    }
}

async fn apply_all(client: &Client, settings: &Settings, bundle: &str, metrics: &metrics::Webhook) -> bool {
    // The policy comes first: it guards what the webhook lets into the cluster.
    let policy = apply_one::<ValidatingAdmissionPolicy>(client, "policy", &policy(settings), metrics).await;
    let binding =
        apply_one::<ValidatingAdmissionPolicyBinding>(client, "policy-binding", &policy_binding(), metrics).await;
    let webhook = webhook_configuration(settings, bundle);
    let webhook = apply_one::<MutatingWebhookConfiguration>(client, "webhook", &webhook, metrics).await;
    policy && binding && webhook
}

async fn apply_one<K>(client: &Client, kind: &'static str, object: &Value, metrics: &metrics::Webhook) -> bool
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api = Api::<K>::all(client.clone());
    let result = apply(&api, MANAGER, NAME, object).await;
    metrics
        .applied
        .with([kind, if result.is_ok() { "ok" } else { "failed" }])
        .inc();
    if let Err(error) = &result {
        tracing::warn!(kind, error = %error.source, "failed to register");
    }
    result.is_ok()
}

/// Something may have happened to the object of that kind. A new list counts: what was deleted while the watch was
/// broken shows in no event.
fn changes<K>(client: &Client) -> impl Stream<Item = ()> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    watcher(Api::<K>::all(client.clone()), config)
        .default_backoff()
        .filter_map(async |event| {
            use watcher::Event::{Apply, Delete, InitDone};
            matches!(event, Ok(Apply(_) | Delete(_) | InitDone)).then_some(())
        })
}
