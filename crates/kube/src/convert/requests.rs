//! What a pod takes from its node, by kube-scheduler's rules.
//!
//! The rules are those of `PodRequests` in `k8s.io/component-helpers/resource/helpers.go` (1.36, default feature gates):
//! containers and sidecars sum up, a plain init container needs its own beside the sidecars before it, amounts of the
//! pod as a whole replace those sums for CPU, memory and huge pages, and during an in-place resize the larger of what
//! is asked, allocated and in effect counts.

use std::borrow::Cow;

use kompass_core::{Resources, quantity};

use super::Error;
use crate::object::{ContainerStatus, Pod, Quantities, Quantity};

/// The pod's effective requests.
pub fn pod_requests(pod: &Pod) -> Result<Resources, Error> {
    let infeasible = resize_is_infeasible(pod);
    let mut total = Resources::default();
    for container in &pod.spec.containers {
        let status = pod
            .status
            .container_statuses
            .iter()
            .find(|status| status.name == container.name);
        total.add(&in_resize(&container.resources.requests, status, infeasible)?);
    }
    let mut sidecars = Resources::default();
    let mut init_peak = Resources::default();
    for container in &pod.spec.init_containers {
        let mut peak = if container.is_sidecar() {
            let status = pod
                .status
                .init_container_statuses
                .iter()
                .find(|status| status.name == container.name);
            let requests = in_resize(&container.resources.requests, status, infeasible)?;
            total.add(&requests);
            requests
        } else {
            resources(&container.resources.requests)?
        };
        peak.add(&sidecars);
        if container.is_sidecar() {
            sidecars.clone_from(&peak);
        }
        init_peak = init_peak.max(&peak);
    }
    total = total.max(&init_peak);
    for (name, amount) in of_whole_pod(pod, infeasible)?
        .iter()
        .filter(|(name, _)| is_pod_level(name))
    {
        set(&mut total, name, amount)?;
    }
    total.add(&resources(&pod.spec.overhead)?);
    Ok(total)
}

/// Amounts as resources of a node.
pub(super) fn resources(amounts: &Quantities) -> Result<Resources, Error> {
    let mut resources = Resources::default();
    for (name, amount) in amounts {
        set(&mut resources, name, amount)?;
    }
    Ok(resources)
}

/// Sets one amount by its Kubernetes name.
pub(super) fn set(resources: &mut Resources, name: &str, amount: &Quantity) -> Result<(), Error> {
    let refused = |source| Error::Quantity {
        resource: name.to_owned(),
        source,
    };
    match name {
        "cpu" => resources.cpu_milli = quantity::milli(&amount.0).map_err(refused)?,
        "memory" => resources.memory_bytes = quantity::units(&amount.0).map_err(refused)?,
        _ => match quantity::units(&amount.0).map_err(refused)? {
            0 => {
                resources.extended.remove(name);
            }
            units => {
                resources.extended.insert(name.to_owned(), units);
            }
        },
    }
    Ok(())
}

/// What a container takes while its resize may be on the way.
fn in_resize(asked: &Quantities, status: Option<&ContainerStatus>, infeasible: bool) -> Result<Resources, Error> {
    let asked = resources(asked)?;
    // Without reported resources there is no resize, and what is asked counts.
    let Some((status, actual)) = status.and_then(|status| Some((status, status.resources.as_ref()?))) else {
        return Ok(asked);
    };
    let held = resources(&actual.requests)?.max(&resources(&status.allocated_resources)?);
    Ok(if infeasible { held } else { held.max(&asked) })
}

/// The amounts of the pod as a whole, empty when it has none.
fn of_whole_pod(pod: &Pod, infeasible: bool) -> Result<Cow<'_, Quantities>, Error> {
    let asked = &pod.spec.resources.requests;
    let Some(actual) = pod
        .status
        .resources
        .as_ref()
        .filter(|_| asked.keys().any(|name| is_pod_level(name)))
    else {
        return Ok(Cow::Borrowed(asked));
    };
    let mut largest = Quantities::new();
    for (name, asked) in asked {
        let held = [actual.requests.get(name), pod.status.allocated_resources.get(name)];
        let candidates = held.into_iter().flatten().chain((!infeasible).then_some(asked));
        let mut best: Option<(u64, &Quantity)> = None;
        for candidate in candidates {
            let refused = |source| Error::Quantity {
                resource: name.clone(),
                source,
            };
            let amount = if name == "cpu" {
                quantity::milli(&candidate.0)
            } else {
                quantity::units(&candidate.0)
            };
            let amount = amount.map_err(refused)?;
            if best.is_none_or(|(known, _)| known < amount) {
                best = Some((amount, candidate));
            }
        }
        let zero = || Quantity("0".to_owned());
        largest.insert(name.clone(), best.map_or_else(zero, |(_, amount)| amount.clone()));
    }
    Ok(Cow::Owned(largest))
}

/// Whether an amount can be given to a pod as a whole.
fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn resize_is_infeasible(pod: &Pod) -> bool {
    let pending = pod
        .status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "PodResizePending");
    pending.is_some_and(|condition| condition.reason == "Infeasible")
}
