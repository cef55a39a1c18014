//! Reads the nodes and what is on them, page by page: of pods only their sum is kept.

use kompass_core::Node;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kompass_kube::{convert, object};
use kube::api::ListParams;
use kube::{Api, Client};

use super::readiness::Taken;
use super::{Error, Right, refused};

/// Objects of one answer.
const PAGE: u32 = 500;

const NODES: Right = Right {
    group: "",
    resource: "nodes",
    verbs: "list",
    is_cluster_wide: true,
};
const PODS: Right = Right {
    group: "",
    resource: "pods",
    verbs: "list",
    is_cluster_wide: true,
};

/// All nodes. One that can't be read is none to start on.
pub(super) async fn nodes(client: &Client) -> Result<Vec<Node>, Error> {
    let api: Api<object::Node> = Api::all(client.clone());
    let mut nodes = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = within(REQUEST_TIMEOUT, api.list(&page)).await;
        let list = list.map_err(|source| refused("list", "nodes", NODES, source))?;
        nodes.extend(list.items.into_iter().filter_map(|node| convert::node(node).ok()));
        match list.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(nodes),
        }
    }
}

/// What the pods take.
pub(super) async fn taken(client: &Client) -> Result<Taken, Error> {
    let api: Api<object::Pod> = Api::all(client.clone());
    let mut taken = Taken::default();
    let mut page = ListParams::default()
        .fields("spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed")
        .limit(PAGE);
    loop {
        let list = within(REQUEST_TIMEOUT, api.list(&page)).await;
        let list = list.map_err(|source| refused("list", "pods", PODS, source))?;
        for pod in list.items {
            let node = pod.spec.node_name.clone();
            match convert::pod(pod) {
                Ok((pod, _)) => taken.add(&pod),
                Err(_unreadable) => taken.fill(&node),
            }
        }
        match list.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(taken),
        }
    }
}
