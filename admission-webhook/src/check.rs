//! Whether the webhook is at work, seen from outside: the API server is asked to call it. For `helm test`.
//!
//! All requests are dry runs: nothing is created.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, RequestError, within};
use kompass_service::logging;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::admit::Mode;
use crate::args::CheckArgs;
use crate::probe;

/// Between two tries.
const RETRY: Duration = Duration::from_secs(1);

/// What does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server does not reach the webhook.
    #[error("failed to have the webhook called")]
    Probe(#[source] probe::Error),
    /// No pod may be created there, not even as a dry run.
    #[error("failed to create a Spark driver in namespace {namespace}, as a dry run")]
    Create {
        /// Where.
        namespace: String,
        /// What the API server said.
        #[source]
        source: RequestError,
    },
    /// It was created as if there were no webhook.
    #[error(
        "failed to have a Spark driver taken in namespace {namespace}: it was left alone; is the namespace labelled \
         {label}=true, and not excluded?",
        label = names::ENABLED_LABEL
    )]
    Left {
        /// Where.
        namespace: String,
    },
    /// In shadow mode.
    #[error("failed to have a Spark driver left alone in namespace {namespace}: the webhook is not in shadow mode")]
    Taken {
        /// Where.
        namespace: String,
    },
    /// No test driver.
    #[error("failed to make a Spark driver")]
    Make(#[from] serde_json::Error),
}

/// Tries until all works, or the time is over.
pub async fn run(client: &Client, args: &CheckArgs) -> Result<(), Error> {
    let end = Instant::now() + args.within;
    loop {
        match once(client, args).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() + RETRY >= end => return Err(error),
            Err(error) => tracing::info!(error = logging::chain(&error), "not yet"),
        }
        sleep(RETRY).await;
    }
}

async fn once(client: &Client, args: &CheckArgs) -> Result<(), Error> {
    let leases = Api::<Lease>::namespaced(client.clone(), &args.namespace);
    probe::probe(&leases).await.map_err(Error::Probe)?;
    tracing::info!("the API server reaches the webhook");
    for namespace in &args.jobs_in {
        let pods = Api::<Pod>::namespaced(client.clone(), namespace);
        let parameters = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let created = within(REQUEST_TIMEOUT, pods.create(&parameters, &driver()?))
            .await
            .map_err(|source| Error::Create {
                namespace: namespace.clone(),
                source,
            })?;
        let namespace = namespace.clone();
        match (args.mode, is_taken(&created)) {
            (Mode::Enforce, false) => return Err(Error::Left { namespace }),
            (Mode::Shadow, true) => return Err(Error::Taken { namespace }),
            (Mode::Enforce, true) => tracing::info!(namespace, "a Spark driver is taken, behind its gate"),
            (Mode::Shadow, false) => tracing::info!(namespace, "a Spark driver is left alone, in shadow mode"),
        }
    }
    Ok(())
}

/// Moved to our scheduler and gated.
fn is_taken(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| {
        let gates = spec.scheduling_gates.as_deref().unwrap_or_default();
        spec.scheduler_name.as_deref() == Some(names::SCHEDULER)
            && gates.iter().any(|gate| gate.name == names::GANG_GATE)
    })
}

/// A driver as spark-submit makes it, as far as anybody looks, which also passes quotas and the pod security standards.
fn driver() -> Result<Pod, serde_json::Error> {
    let resources = json!({ "cpu": "100m", "memory": "64Mi" });
    serde_json::from_value(json!({
        "metadata": {
            "generateName": "kompass-check-",
            "labels": { names::SPARK_ROLE_LABEL: "driver", names::SPARK_APP_SELECTOR_LABEL: "spark-kompass-check" },
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65_532, "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "spark-kubernetes-driver",
                "image": "kompass.dev/check",
                "args": ["driver"],
                "resources": { "requests": resources, "limits": resources },
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_taken_by_our_scheduler_behind_our_gate() {
        let mut pod = driver().unwrap();
        assert!(!is_taken(&pod));
        let spec = pod.spec.as_mut().unwrap();
        spec.scheduler_name = Some("kompass".into());
        assert!(!is_taken(&pod), "it has no gate");
        let gate = serde_json::from_value(json!({ "name": "kompass.dev/gang" })).unwrap();
        pod.spec.as_mut().unwrap().scheduling_gates = Some(vec![gate]);
        assert!(is_taken(&pod));
    }
}
