//! The objects by which the cluster knows the webhook, applied and kept as they should be.
//!
//! Server-side apply of our own fields only, when the certificates change and whenever somebody edits or deletes one
//! of the objects. What others add stays; with somebody who keeps changing our own fields we don't race. Objects of
//! another install are left alone.

mod install;
mod manifests;
mod owner;
mod pace;
mod policy;

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Namespace;
use kompass_kube::apply::{self, apply};
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError, within};
use kompass_service::clock::Clock;
use kompass_service::readiness::Condition;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use self::install::ANNOTATION as INSTALL_ANNOTATION;
pub use self::manifests::{Endpoint, NAME, PROBE_LABEL, PROBE_PATH, Settings, webhook_configuration};
use self::pace::Pace;
pub use self::policy::{policy, policy_binding};
use crate::certificates::Trust;
use crate::{changes, metrics};

/// Our name as the owner of fields.
const MANAGER: &str = "kompass-admission-webhook";
/// After a round that failed.
const RETRY: Duration = Duration::from_secs(2);
/// Between two looks whether another install is still there: its namespace may go without an event that we see.
const BLOCKED: Duration = Duration::from_secs(15);

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read the registered {kind}")]
    Read {
        kind: &'static str,
        #[source]
        source: RequestError,
    },
    #[error("failed to register the {kind}")]
    Apply {
        kind: &'static str,
        #[source]
        source: apply::Error,
    },
    #[error(
        "failed to register: there is no ClusterRole {0}, which is to own the registration; KOMPASS is being uninstalled, \
         or --owner-cluster-role names another"
    )]
    NoOwner(String),
    #[error(
        "failed to register: KOMPASS is installed already, by {0} (namespace/service); uninstall one of the two, or \
         delete the MutatingWebhookConfiguration, ValidatingAdmissionPolicy and its binding {NAME} if that one is gone"
    )]
    Taken(String),
}

/// What the registration is in touch with.
#[derive(Debug)]
pub struct Links {
    /// What the API server is to trust; nothing is registered before the first.
    pub trust: watch::Receiver<Option<Trust>>,
    /// Told the caBundle that is registered, as PEM, empty for none.
    pub in_force: watch::Sender<Option<String>>,
    /// Met once all is applied.
    pub registered: Condition,
    /// What is counted.
    pub metrics: metrics::Webhook,
}

/// Keeps the registration right until `draining` is cancelled.
pub async fn keep(client: Client, settings: Settings, clock: Clock, links: Links, draining: CancellationToken) {
    tokio::select! {
        biased;
        () = draining.cancelled() => {}
        () = rounds(client, settings, clock, links) => {}
    }
}

async fn rounds(client: Client, settings: Settings, clock: Clock, links: Links) {
    let Links {
        mut trust,
        in_force,
        registered,
        metrics,
    } = links;
    let mut changes = pin!(stream::select_all([
        changes::of::<MutatingWebhookConfiguration>(Api::all(client.clone()), NAME).boxed(),
        changes::of::<ValidatingAdmissionPolicy>(Api::all(client.clone()), NAME).boxed(),
        changes::of::<ValidatingAdmissionPolicyBinding>(Api::all(client.clone()), NAME).boxed(),
    ]));
    let registrar = Registrar {
        client,
        settings,
        metrics,
    };
    let mut pace = Pace::default();
    // Whether the next round only puts right what somebody has changed.
    let mut is_repair = false;
    loop {
        // An end: nobody makes certificates any more, the service is ending.
        let Ok(wanted) = trust.wait_for(Option::is_some).await.map(|trust| trust.clone()) else {
            return std::future::pending().await;
        };
        trust.mark_unchanged();
        let Some(wanted) = wanted else { continue };
        let pause = match registrar.round(&wanted, is_repair).await {
            Ok(Round { bundle, repaired }) => {
                registered.met();
                in_force.send_if_modified(|known| {
                    let is_new = known.as_ref() != Some(&bundle);
                    *known = Some(bundle);
                    is_new
                });
                pace.next(repaired, clock.monotonic())
            }
            Err(error) => {
                let is_taken = matches!(error, Error::Taken(_));
                let error = kompass_service::logging::chain(&error);
                tracing::warn!(error, "failed to register");
                if is_taken {
                    registered.lost_since(error);
                    tokio::select! {
                        () = sleep(BLOCKED) => {}
                        Some(()) = changes.next() => {}
                    }
                } else {
                    registered.concern(error);
                }
                sleep(RETRY).await;
                continue;
            }
        };
        // New certificates don't wait for a quarrel about other fields.
        tokio::select! {
            Ok(()) = trust.changed() => { is_repair = false; continue; }
            () = sleep(pause) => {}
        }
        is_repair = tokio::select! {
            Ok(()) = trust.changed() => false,
            Some(()) = changes.next() => true,
        };
        // Several events of one edit are one reason.
        while changes.next().now_or_never().is_some() {}
    }
}

struct Registrar {
    client: Client,
    settings: Settings,
    metrics: metrics::Webhook,
}

/// What came of a round.
struct Round {
    /// The caBundle that is registered, as PEM.
    bundle: String,
    /// Something had been changed by somebody else.
    repaired: bool,
}

impl Registrar {
    async fn round(&self, trust: &Trust, is_repair: bool) -> Result<Round, Error> {
        let webhook = self.read::<MutatingWebhookConfiguration>("webhook").await?;
        let known_policy = self.read::<ValidatingAdmissionPolicy>("policy").await?;
        let binding = self.read::<ValidatingAdmissionPolicyBinding>("policy-binding").await?;
        let claims = [
            webhook.as_ref().and_then(install::of_webhook),
            known_policy.as_ref().and_then(install::of),
            binding.as_ref().and_then(install::of),
        ];
        for owner in claims.into_iter().flatten() {
            if owner != self.settings.install && self.is_there(&owner).await? {
                return Err(Error::Taken(owner));
            }
        }
        let owner = match &self.settings.owner {
            Some(name) => Some(owner::find(&self.client, name).await?),
            None => None,
        };
        let with_owner = |mut object: Value| {
            if let Some(owner) = &owner {
                object["metadata"]["ownerReferences"] = json!([owner]);
            }
            object
        };
        let mut wanted = with_owner(webhook_configuration(&self.settings, trust));
        if let Some(known) = &webhook {
            manifests::adopt(&mut wanted, known);
        }
        let bypass = webhook.as_ref().and_then(install::bypassed);
        self.tell_bypass(bypass);
        if bypass.is_some() {
            manifests::bypass(&mut wanted);
        }
        // The policy comes first: it guards what the webhook lets into the cluster.
        let (_, policy_repaired) = self
            .apply("policy", known_policy, with_owner(policy(&self.settings)), is_repair)
            .await?;
        let (_, binding_repaired) = self
            .apply(
                "policy-binding",
                binding,
                with_owner(policy_binding(&self.settings)),
                is_repair,
            )
            .await?;
        let (registered, webhook_repaired) = self.apply("webhook", webhook, wanted, is_repair).await?;
        Ok(Round {
            bundle: manifests::bundle(&registered),
            repaired: policy_repaired || binding_repaired || webhook_repaired,
        })
    }

    fn tell_bypass(&self, reason: Option<&str>) {
        let was = self.metrics.bypassed.get() > 0.0;
        self.metrics.bypassed.set_bool(reason.is_some());
        match reason {
            Some(reason) if !was => tracing::warn!(reason, "bypassed: no pod is taken until `kompass bypass --undo`"),
            None if was => tracing::info!("no longer bypassed"),
            _ => {}
        }
    }

    /// Whether an install may still be alive: its namespace exists.
    async fn is_there(&self, install: &str) -> Result<bool, Error> {
        let namespace = install.split('/').next().unwrap_or_default();
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let namespace = within(REQUEST_TIMEOUT, namespaces.get_opt(namespace))
            .await
            .map_err(|source| Error::Read {
                kind: "namespace of the other install",
                source,
            })?;
        Ok(namespace.is_some())
    }

    async fn read<K>(&self, kind: &'static str) -> Result<Option<K>, Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        within(REQUEST_TIMEOUT, Api::<K>::all(self.client.clone()).get_opt(NAME))
            .await
            .map_err(|source| Error::Read { kind, source })
    }

    /// Applies one object over what was read of it; also says whether that undid somebody's change.
    async fn apply<K>(
        &self,
        kind: &'static str,
        known: Option<K>,
        mut object: Value,
        is_repair: bool,
    ) -> Result<(K, bool), Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let before = known.and_then(|known| known.resource_version());
        // What was decided from one version is not written over another.
        if let Some(version) = &before {
            object["metadata"]["resourceVersion"] = json!(version);
        }
        let result = apply(&Api::<K>::all(self.client.clone()), MANAGER, NAME, &object).await;
        self.metrics
            .applied
            .with([kind, if result.is_ok() { "ok" } else { "failed" }])
            .inc();
        let applied = result.map_err(|source| Error::Apply { kind, source })?;
        let repaired = is_repair && applied.resource_version() != before;
        if repaired {
            self.metrics.repaired.with([kind]).inc();
            tracing::info!(kind, "put right what somebody else had changed in the registration");
        }
        Ok((applied, repaired))
    }
}
