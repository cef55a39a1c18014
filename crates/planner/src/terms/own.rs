//! The pods of one gang, by what terms count of them: rules among themselves are the packing's affair.

use rustc_hash::FxHashMap;

use super::topology::DomainId;
use super::{Count, KindId, Side, TermId, Terms};
use crate::nodes::NodeId;

/// What terms count of one gang's pods.
#[derive(Debug, Default)]
pub(crate) struct Own(FxHashMap<(TermId, Side, DomainId), Count>);

impl Own {
    /// The gang has that many pods of a kind on the node.
    pub(crate) fn note(&mut self, terms: &Terms, node: NodeId, kind: KindId, count: u64) {
        if count == 0 || !terms.kinds.has_terms(kind) {
            return;
        }
        for (term, side) in terms.kinds.terms(kind) {
            if let Some(domain) = terms.topologies.domain(terms.term(term).topology, node) {
                self.0.entry((term, side, domain)).or_default().all += count;
            }
        }
    }

    pub(super) fn get(&self, term: TermId, side: Side, domain: DomainId) -> Count {
        self.0.get(&(term, side, domain)).copied().unwrap_or_default()
    }
}
