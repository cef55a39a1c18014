//! From the bytes of a request to what a choice is made from. Pure.

use kompass_core::{Resources, names};
use kompass_kube::convert;
use kompass_kube::object::{Node, Object as _, Pod};
use rustc_hash::FxHashMap;

use crate::choice::{Growth, Question, Waiting};
use crate::knowledge::Snapshot;
use crate::messages::BestOptionsRequest;

/// How many pods are looked at between two looks at the time.
const BETWEEN_LOOKS: usize = 64;

/// Why a request can't be decided on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pod or a node is not what it should be.
    #[error("failed to decode a {what} of the node group {group:?}")]
    Decode {
        /// Pod or node.
        what: &'static str,
        /// The option that it is of.
        group: String,
        /// What is wrong.
        #[source]
        source: prost::DecodeError,
    },
    /// Its amounts are no numbers.
    #[error("failed to read the resources of a {what} of the node group {group:?}")]
    Resources {
        /// Pod or node.
        what: &'static str,
        /// The option that it is of.
        group: String,
        /// What is wrong.
        #[source]
        source: convert::Error,
    },
    /// It takes too long.
    #[error("failed to read all pods in time")]
    Late,
}

/// Reads a request. `late` says whether the time is up.
pub fn read(request: &BestOptionsRequest, snapshot: &Snapshot, late: &dyn Fn() -> bool) -> Result<Question, Error> {
    let mut pods = Pods::default();
    let mut options = Vec::with_capacity(request.options.len());
    for option in &request.options {
        let group = &option.node_group_id;
        let known = snapshot.groups.get(group);
        let told = request.node(group).map(|node| shape(group, node)).transpose()?;
        let mut taken = Vec::with_capacity(option.pods().len());
        for (at, bytes) in option.pods().iter().enumerate() {
            if at % BETWEEN_LOOKS == 0 && late() {
                return Err(Error::Late);
            }
            taken.push(pods.read(group, bytes)?);
        }
        taken.sort_unstable();
        taken.dedup();
        options.push(Growth {
            id: group.clone(),
            nodes: u32::try_from(option.node_count).unwrap_or(0),
            shape: told.or_else(|| known.and_then(|known| known.shape.clone())),
            pods: taken,
            price_micro: known.and_then(|known| known.price_micro),
            spot: known.and_then(|known| known.spot).unwrap_or(false),
            headroom: known.map_or(0, |known| known.headroom),
        });
    }
    Ok(Question {
        gangs: pods.gangs.len(),
        pods: pods.all,
        options,
    })
}

/// All pods that have been read.
#[derive(Default)]
struct Pods<'a> {
    all: Vec<Waiting>,
    by_bytes: FxHashMap<&'a [u8], usize>,
    by_uid: FxHashMap<String, usize>,
    gangs: FxHashMap<String, usize>,
}

impl<'a> Pods<'a> {
    /// The place of a pod, which most options name with the same bytes.
    fn read(&mut self, group: &str, bytes: &'a [u8]) -> Result<usize, Error> {
        if let Some(&known) = self.by_bytes.get(bytes) {
            return Ok(known);
        }
        let what = "pod";
        let pod = Pod::from_protobuf(bytes).map_err(|source| Error::Decode {
            what,
            group: group.to_owned(),
            source,
        })?;
        let requests = convert::pod_requests(&pod).map_err(|source| Error::Resources {
            what,
            group: group.to_owned(),
            source,
        })?;
        let next = self.all.len();
        // The order of labels on the wire is free.
        let at = match pod.metadata.uid.clone() {
            Some(uid) => *self.by_uid.entry(uid).or_insert(next),
            None => next,
        };
        if at == next {
            let gangs = self.gangs.len();
            let gang = gang(pod).map(|uid| *self.gangs.entry(uid).or_insert(gangs));
            self.all.push(Waiting { gang, requests });
        }
        self.by_bytes.insert(bytes, at);
        Ok(at)
    }
}

/// The UID of the driver whose gang a pod belongs to.
fn gang(pod: Pod) -> Option<String> {
    let mut labels = pod.metadata.labels?;
    let named = [names::STAND_IN_LABEL, names::GANG_LABEL]
        .iter()
        .find_map(|label| labels.remove(*label))
        .filter(|uid| !uid.is_empty());
    let is_driver = pod.spec.scheduler_name == names::SCHEDULER
        && labels.get(names::SPARK_ROLE_LABEL).is_some_and(|role| role == "driver");
    named.or_else(|| pod.metadata.uid.filter(|_| is_driver))
}

/// What a node offers.
fn shape(group: &str, bytes: &[u8]) -> Result<Resources, Error> {
    let what = "node";
    let node = Node::from_protobuf(bytes).map_err(|source| Error::Decode {
        what,
        group: group.to_owned(),
        source,
    })?;
    let node = convert::node(node).map_err(|source| Error::Resources {
        what,
        group: group.to_owned(),
        source,
    })?;
    Ok(node.allocatable)
}
