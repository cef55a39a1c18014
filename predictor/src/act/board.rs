//! What cluster-autoscaler's expander knows of node groups.

use std::sync::Arc;

use arc_swap::ArcSwap;
use kompass_aws::facts::Facts;
use kompass_expander::{Group, Knowledge, Snapshot};
use kompass_floors::Fleet;

/// The last of it.
#[derive(Debug, Default)]
pub struct Board(ArcSwap<Snapshot>);

impl Board {
    /// Another acts: what was known of what is held is not true any more.
    pub fn clear(&self) {
        if !self.0.load().groups.is_empty() {
            self.0.store(Arc::default());
        }
    }

    /// Shows what is known now.
    pub fn show(&self, fleet: &Fleet, facts: &Facts) {
        let groups = fleet.members().map(|(name, member)| {
            let price = member
                .instance_type()
                .and_then(|kind| facts.price(kind, member.is_spot(), member.zones()));
            let group = Group {
                // The autoscaler tells the shape of its nodes.
                shape: None,
                price_micro: price,
                spot: Some(member.is_spot()),
                headroom: member.held(),
            };
            (name.to_owned(), group)
        });
        self.0.store(Arc::new(Snapshot {
            groups: groups.collect(),
        }));
    }
}

impl Knowledge for Board {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}
