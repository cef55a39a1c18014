//! Break-glass: from now on no pod is taken, by an annotation of the webhook configuration alone.
//!
//! The webhook reads the annotation whenever it looks after its registration, and registers nothing that the API server would
//! ask about pods while it is there. So nobody undoes the bypass, whether the webhook lives, comes back or is upgraded.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kompass_kube::patch;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::error::failed;

/// Conflicts in a row that are lived with.
const ATTEMPTS: usize = 5;
/// The webhook's own pause before it looks after its registration is 1 s; a quarrel that it was in makes it longer.
const RETURNS: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(250);

/// The annotation that names the install a registration belongs to.
pub const INSTALL_ANNOTATION: &str = "kompass.dev/install";

/// What the webhook configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Why no pod is to be taken, where that is so.
    pub reason: Option<String>,
    /// The API server asks about pods.
    pub asks: bool,
    /// Whose it is: `namespace/service`.
    pub install: Option<String>,
}

impl State {
    /// Reads it.
    pub fn of(object: &MutatingWebhookConfiguration) -> Self {
        let webhooks = object.webhooks.as_deref().unwrap_or_default();
        Self {
            reason: object.annotations().get(names::BYPASS_ANNOTATION).cloned(),
            asks: webhooks.iter().any(|webhook| webhook.name == names::PODS_WEBHOOK),
            install: object.annotations().get(INSTALL_ANNOTATION).cloned(),
        }
    }
}

/// How it stands; none where there is no webhook configuration.
pub async fn state(client: &Client) -> Result<Option<State>, Error> {
    Ok(read(client).await?.as_ref().map(State::of))
}

/// Sets the bypass; it is set when this returns, and the API servers follow within a second or two.
pub async fn set(client: &Client, namespace: &str, reason: &str) -> Result<(), Error> {
    let all: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    for _ in 0..ATTEMPTS {
        let Some(known) = read(client).await? else {
            installed(client, namespace).await?;
            let object: MutatingWebhookConfiguration = serde_json::from_value(without(reason)).unwrap_or_default();
            match within(REQUEST_TIMEOUT, all.create(&PostParams::default(), &object)).await {
                Ok(_) => return Ok(()),
                // The webhook was faster.
                Err(error) if error.status() == Some(409) => continue,
                Err(error) => return Err(failed("create", object_name())(error)),
            }
        };
        match patched(client, &passed_by(&known, reason)).await? {
            Patched::Done => return Ok(()),
            Patched::Changed => {}
        }
    }
    Err(Error::Contested(object_name()))
}

/// Ends the bypass. Whether the webhook has taken its place again: if not, none lives, or it can't be reached, and it will
/// when it starts.
pub async fn undo(client: &Client) -> Result<Option<bool>, Error> {
    for _ in 0..ATTEMPTS {
        let Some(known) = read(client).await? else {
            return Ok(None);
        };
        if State::of(&known).reason.is_none() {
            return Ok(None);
        }
        let patch = json!({ "metadata": {
            "annotations": { names::BYPASS_ANNOTATION: null },
            "resourceVersion": known.resource_version(),
        } });
        if matches!(patched(client, &patch).await?, Patched::Done) {
            let started = Instant::now();
            while started.elapsed() < RETURNS {
                if state(client).await?.is_some_and(|state| state.asks) {
                    return Ok(Some(true));
                }
                sleep(LOOK).await;
            }
            return Ok(Some(false));
        }
    }
    Err(Error::Contested(object_name()))
}

/// The configuration of a cluster that has none, with nothing but the bypass.
fn without(reason: &str) -> Value {
    json!({
        "metadata": {
            "name": names::REGISTRATION,
            "labels": { "app.kubernetes.io/part-of": "kompass" },
            "annotations": { names::BYPASS_ANNOTATION: reason },
        },
        "webhooks": [],
    })
}

/// The patch that sets the bypass on the configuration as it was read.
fn passed_by(known: &MutatingWebhookConfiguration, reason: &str) -> Value {
    let webhooks = known.webhooks.iter().flatten();
    let left: Vec<_> = webhooks.filter(|webhook| webhook.name != names::PODS_WEBHOOK).collect();
    json!({
        "metadata": {
            "annotations": { names::BYPASS_ANNOTATION: reason },
            "resourceVersion": known.resource_version(),
        },
        "webhooks": left,
    })
}

enum Patched {
    Done,
    Changed,
}

async fn patched(client: &Client, patch: &Value) -> Result<Patched, Error> {
    let all: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    match patch::merge(&all, names::REGISTRATION, patch, REQUEST_TIMEOUT).await {
        Ok(_) => Ok(Patched::Done),
        Err(patch::Error::Changed(_) | patch::Error::Gone(_)) => Ok(Patched::Changed),
        Err(patch::Error::Request { source, .. }) => Err(failed("change", object_name())(source)),
    }
}

async fn read(client: &Client) -> Result<Option<MutatingWebhookConfiguration>, Error> {
    let all: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    within(REQUEST_TIMEOUT, all.get_opt(names::REGISTRATION))
        .await
        .map_err(failed("read", object_name()))
}

/// Without a namespace there is no KOMPASS, and a configuration would only wait for one that somebody installs later.
async fn installed(client: &Client, namespace: &str) -> Result<(), Error> {
    let found = within(
        REQUEST_TIMEOUT,
        Api::<Namespace>::all(client.clone()).get_opt(namespace),
    )
    .await
    .map_err(failed("read", format!("the namespace {namespace}")))?;
    found.map(drop).ok_or_else(|| Error::NotInstalled(namespace.to_owned()))
}

fn object_name() -> String {
    format!("the MutatingWebhookConfiguration {}", names::REGISTRATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> MutatingWebhookConfiguration {
        let webhook = |name: &str| json!({ "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": { "url": "https://x" } });
        serde_json::from_value(json!({
            "metadata": { "name": names::REGISTRATION, "resourceVersion": "7",
                "annotations": { "kompass.dev/install": "kompass/w" } },
            "webhooks": [webhook("pods.kompass.dev"), webhook("probe.kompass.dev")],
        }))
        .unwrap()
    }

    #[test]
    fn the_patch_takes_out_the_pods_and_nothing_else() {
        let patch = passed_by(&known(), "an incident");
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(
            patch["metadata"]["annotations"],
            json!({ "kompass.dev/bypass": "an incident" })
        );
        let left = patch["webhooks"].as_array().unwrap();
        assert_eq!((left.len(), &left[0]["name"]), (1, &json!("probe.kompass.dev")));
    }

    #[test]
    fn the_state_is_read_from_the_object() {
        let state = State::of(&known());
        assert!(state.asks && state.reason.is_none() && state.install.as_deref() == Some("kompass/w"));
        let object: MutatingWebhookConfiguration = serde_json::from_value(without("x")).unwrap();
        let state = State::of(&object);
        assert!(!state.asks && state.reason.as_deref() == Some("x"));
    }
}
