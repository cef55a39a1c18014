//! Deployments of the parts. Where a part runs in another way, it is left alone.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::error::failed;
use crate::{Error, Tell};

/// Longer than a service takes to end.
const LIMIT: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(500);

/// Lets a part's pods end, and waits for it.
pub(super) async fn scale_down(client: &Client, namespace: &str, component: &str, tell: Tell<'_>) -> Result<(), Error> {
    let all: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels(&format!(
        "app.kubernetes.io/component={component},app.kubernetes.io/part-of=kompass"
    ));
    let found = within(REQUEST_TIMEOUT, all.list(&ours))
        .await
        .map_err(failed("list", format!("the Deployments of the {component}")))?;
    for deployment in found {
        let name = deployment.name_any();
        if deployment.spec.as_ref().and_then(|spec| spec.replicas) != Some(0) {
            tell(&format!("  Deployment {name} to no replicas"));
            let patch = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
            within(REQUEST_TIMEOUT, all.patch(&name, &PatchParams::default(), &patch))
                .await
                .map_err(failed("scale", format!("the Deployment {namespace}/{name}")))?;
        }
        let started = Instant::now();
        loop {
            let known = within(REQUEST_TIMEOUT, all.get_opt(&name))
                .await
                .map_err(failed("read", format!("the Deployment {namespace}/{name}")))?;
            if known.is_none_or(|known| has_ended(&known)) {
                break;
            }
            if started.elapsed() >= LIMIT {
                tell(&format!("  pods of the Deployment {name} have not ended yet"));
                break;
            }
            sleep(LOOK).await;
        }
    }
    Ok(())
}

/// The controller has seen that there are to be none, and there are none.
fn has_ended(deployment: &Deployment) -> bool {
    let status = deployment.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation);
    seen >= deployment.metadata.generation && status.and_then(|status| status.replicas).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_status_does_not_count() {
        let of = |generation: i64, observed: i64, replicas: i64| -> Deployment {
            serde_json::from_value(json!({
                "metadata": { "name": "x", "generation": generation },
                "status": { "observedGeneration": observed, "replicas": replicas },
            }))
            .unwrap()
        };
        assert!(has_ended(&of(2, 2, 0)));
        assert!(!has_ended(&of(2, 1, 0)) && !has_ended(&of(2, 2, 1)));
    }
}
