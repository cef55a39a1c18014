//! Everything that terms count, counted anew: for tests and debug builds.

use rustc_hash::FxHashMap;

use super::{Count, Side, TermId, Terms};

impl Terms {
    /// Recounts all that is counted.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (term, index) in self.entries.iter().zip(0..) {
            let Some(term) = term else { continue };
            let (mut selected, mut holders) = (FxHashMap::default(), FxHashMap::default());
            let id = TermId(index);
            for ((node, kind), count) in self.there() {
                let Some(domain) = self.topologies.domain(term.topology, node) else {
                    continue;
                };
                for (_, side) in self.kinds.terms(kind).filter(|(known, _)| *known == id) {
                    let counts = match side {
                        Side::Selected => &mut selected,
                        Side::Holder => &mut holders,
                    };
                    counts.entry(domain).or_insert_with(Count::default).add(count);
                }
            }
            let mut total = Count::default();
            for &count in selected.values() {
                total.add(count);
            }
            if term.selected != selected || term.holders != holders || term.total != total {
                return Err(format!("{term:?}, but {selected:?} and {holders:?}"));
            }
        }
        Ok(())
    }
}
