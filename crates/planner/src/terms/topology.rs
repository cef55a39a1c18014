//! Domains: nodes with the same value of a label.

use rustc_hash::FxHashMap;

use crate::nodes::NodeId;

/// Points to a topology: a label of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TopologyId(u32);

/// Points to a domain of a topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DomainId(u32);

/// The topologies that any term speaks of.
#[derive(Debug, Default)]
pub(super) struct Topologies(Vec<Option<Topology>>);

#[derive(Debug)]
struct Topology {
    key: String,
    users: u32,
    by_value: FxHashMap<String, DomainId>,
    /// By node index.
    of: Vec<Option<DomainId>>,
    /// By domain.
    nodes: Vec<Vec<NodeId>>,
    unused: Vec<DomainId>,
}

impl Topologies {
    /// Those in use.
    pub(super) fn ids(&self) -> Vec<TopologyId> {
        let used = self.0.iter().zip(0..).filter(|(topology, _)| topology.is_some());
        used.map(|(_, index)| TopologyId(index)).collect()
    }

    pub(super) fn key(&self, id: TopologyId) -> &String {
        &self.get(id).key
    }

    pub(super) fn grow(&mut self, nodes: usize) {
        for topology in self.0.iter_mut().flatten() {
            topology.of.resize(nodes, None);
        }
    }

    /// The topology, with one user more; this tells the labels of nodes by index.
    pub(super) fn acquire<'a>(
        &mut self,
        key: &str,
        nodes: usize,
        label: &impl Fn(usize, &str) -> Option<&'a str>,
    ) -> TopologyId {
        let known = self.0.iter_mut().zip(0..);
        let known = known.filter_map(|(topology, index)| Some((topology.as_mut()?, index)));
        if let Some((topology, index)) = known.into_iter().find(|(topology, _)| topology.key == key) {
            topology.users += 1;
            return TopologyId(index);
        }
        let mut topology = Topology {
            key: key.to_owned(),
            users: 1,
            by_value: FxHashMap::default(),
            of: vec![None; nodes],
            nodes: Vec::new(),
            unused: Vec::new(),
        };
        for index in 0..nodes {
            topology.set(NodeId::at(index), label(index, key));
        }
        let index = self.0.iter().position(Option::is_none).unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[index] = Some(topology);
        TopologyId(u32::try_from(index).expect("fewer than 2^32 topologies"))
    }

    pub(super) fn release(&mut self, id: TopologyId) {
        if let Some(topology) = &mut self.0[id.0 as usize] {
            topology.users -= 1;
            if topology.users == 0 {
                self.0[id.0 as usize] = None;
            }
        }
    }

    /// The node has this value now; its domain before and now.
    pub(super) fn set(
        &mut self,
        id: TopologyId,
        node: NodeId,
        value: Option<&str>,
    ) -> (Option<DomainId>, Option<DomainId>) {
        self.0[id.0 as usize]
            .as_mut()
            .map_or((None, None), |topology| topology.set(node, value))
    }

    /// Nothing is counted in the domain any more, if no node is in it.
    pub(super) fn tidy(&mut self, id: TopologyId, domain: DomainId) {
        if let Some(topology) = &mut self.0[id.0 as usize]
            && topology.nodes[domain.0 as usize].is_empty()
        {
            topology.by_value.retain(|_, known| *known != domain);
            topology.unused.push(domain);
        }
    }

    pub(super) fn domain(&self, id: TopologyId, node: NodeId) -> Option<DomainId> {
        self.get(id).of[node.index()]
    }

    pub(super) fn nodes(&self, id: TopologyId, domain: DomainId) -> &[NodeId] {
        &self.get(id).nodes[domain.0 as usize]
    }

    fn get(&self, id: TopologyId) -> &Topology {
        self.0[id.0 as usize]
            .as_ref()
            .expect("a topology lives as long as its terms")
    }
}

impl Topology {
    fn domain_of(&mut self, value: &str) -> DomainId {
        if let Some(&domain) = self.by_value.get(value) {
            return domain;
        }
        let domain = self.unused.pop().unwrap_or_else(|| {
            self.nodes.push(Vec::new());
            DomainId(u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 domains"))
        });
        self.by_value.insert(value.to_owned(), domain);
        domain
    }

    fn set(&mut self, node: NodeId, value: Option<&str>) -> (Option<DomainId>, Option<DomainId>) {
        let new = value.map(|value| self.domain_of(value));
        let old = std::mem::replace(&mut self.of[node.index()], new);
        if old != new {
            if let Some(old) = old {
                self.nodes[old.0 as usize].retain(|&known| known != node);
            }
            if let Some(new) = new {
                self.nodes[new.0 as usize].push(node);
            }
        }
        (old, new)
    }
}
