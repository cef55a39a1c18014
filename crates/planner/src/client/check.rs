//! What is kept of applications in client mode, against sums made anew: for tests and debug builds.

use std::collections::BTreeMap;

use kompass_core::Resources;
use rustc_hash::FxHashMap;

use super::Stage;
use crate::nodes::NodeId;
use crate::planner::Planner;

impl Planner {
    /// Each executor is where it is said to be, and no more is set aside than earlier runs let expect.
    pub(crate) fn check_clients(&self) -> Result<(), String> {
        let ensure = |holds: bool, text: String| if holds { Ok(()) } else { Err(text) };
        let mut nodes: FxHashMap<NodeId, (Resources, u64)> = FxHashMap::default();
        for (id, app) in self.clients.apps.iter() {
            let members = || self.clients.pods.iter().filter(move |(_, member)| member.app == id);
            let mut placed: BTreeMap<NodeId, u64> = BTreeMap::new();
            for (&pod, member) in members() {
                let entry = &self.pods.all[pod];
                let seat = (entry.seat().map(|seat| seat.0), entry.is_bound());
                ensure(
                    seat == (member.node, member.bound) && !entry.terminal,
                    format!("{app:?}: {member:?} is at {seat:?}"),
                )?;
                if let Some(node) = member.node {
                    *placed.entry(node).or_default() += 1;
                }
            }
            let bound = members().filter(|(_, member)| member.bound).count() as u64;
            let executors = members().count() as u64;
            ensure(
                (executors, bound, &placed) == (app.executors, app.bound, &app.placed) && executors > 0,
                format!("{app:?}: {executors} executors, {bound} bound, {placed:?}"),
            )?;
            let most = app.expected.saturating_sub(app.placed());
            ensure(
                app.aside() <= most && (app.aside.is_empty() || app.stage == Stage::Done && self.leads()),
                format!("{app:?}: too much is set aside"),
            )?;
            for (&node, &count) in &app.aside {
                let (resources, pods) = nodes.entry(node).or_default();
                resources.add_times(&app.request, count);
                *pods += count;
            }
        }
        for node in self.nodes.ids() {
            let expected = nodes.remove(&node).unwrap_or_default();
            let known = self.nodes.aside(node);
            ensure(
                (&known.resources, known.pods) == (&expected.0, expected.1),
                format!("node {}: {known:?} set aside, but {expected:?}", self.nodes.name(node)),
            )?;
        }
        Ok(())
    }
}
