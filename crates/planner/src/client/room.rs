//! When room is set aside and given up, and who gets it.

use std::collections::BTreeMap;

use kompass_core::Spacing;
use rustc_hash::FxHashSet;

use super::{App, AppId, Stage};
use crate::decide::Turn;
use crate::gang::Gang;
use crate::nodes::NodeId;
use crate::pack::{Ask, View, pack};
use crate::planner::Planner;
use crate::pods::PodId;

impl Planner {
    /// Sets room aside for applications that have begun, and gives up what has been kept long enough.
    pub(crate) fn keep_client_room(&mut self, turn: &mut Turn) {
        if self.clients.apps.len() == 0 {
            return;
        }
        self.yield_client_room(turn);
        let due = self.clients.apps.iter().any(|(_, app)| app.stage == Stage::Due);
        let held_back = due && self.is_anyone_first();
        for id in self.clients.apps.ids() {
            let app = &self.clients.apps[id];
            if app.stage == Stage::Over {
                continue;
            }
            if turn.is_due(app.last_ms, self.config.unclaimed_after_ms) {
                self.release_aside(id);
                continue;
            }
            for node in app.aside.keys().copied().collect::<Vec<NodeId>>() {
                if !self.nodes.usable(node) {
                    self.release_aside_on(id, node);
                }
            }
            if self.clients.apps[id].stage == Stage::Due && !held_back {
                if !turn.may_pack() {
                    return;
                }
                self.set_aside(id);
            }
        }
    }

    /// Gives up what is set aside if anybody goes before all others; the next decision looks what it is good for.
    pub(crate) fn yield_client_room(&mut self, turn: &mut Turn) {
        self.attend();
        let keeping = |(id, app): (AppId, &App)| (!app.aside.is_empty()).then_some(id);
        let keeping: Vec<AppId> = self.clients.apps.iter().filter_map(keeping).collect();
        if !keeping.is_empty() && self.is_anyone_first() {
            for id in keeping {
                self.release_aside(id);
            }
            turn.go_on();
        }
    }

    /// Whether a gang that goes before all others waits for room.
    fn is_anyone_first(&self) -> bool {
        let first = |gang: &Gang| self.is_overdue(gang) || gang.is_bound() || gang.is_unplanned();
        let mut claiming = self.attention.claiming.iter().map(|&id| &self.gangs[id]);
        claiming.any(|gang| first(gang) && !gang.is_stuck())
    }

    fn set_aside(&mut self, id: AppId) {
        let app = &self.clients.apps[id];
        let near = self.near(&app.placed);
        let held: Vec<(NodeId, u64)> = app.placed.iter().map(|(&node, &count)| (node, count)).collect();
        let spacing = Spacing {
            host_ports: app.ports.to_vec(),
            ..Spacing::default()
        };
        let ask = Ask {
            driver: None,
            driver_at: None,
            executor: &app.request,
            class: Some(app.class),
            spacing: Some(&spacing).filter(|spacing| !spacing.is_none()),
            held: &held,
            count: app.expected.saturating_sub(app.placed()),
            partial: true,
            near: Some(&near),
            room: View::Now(None),
            zone: None,
            packing: self.config.packing,
        };
        let found = if ask.count > 0 { pack(&self.nodes, &ask) } else { None };
        let found = found.map(|placement| placement.executors).unwrap_or_default();
        let app = &mut self.clients.apps[id];
        app.stage = Stage::Done;
        for &(node, count) in &found {
            app.aside.insert(node, count);
            self.nodes.set_aside(node, &app.request, count);
        }
        if !found.is_empty() {
            for id in self.attention.claiming.iter().copied().collect::<Vec<_>>() {
                self.gangs[id].waiting.overtaken += 1;
            }
        }
    }

    /// Nothing is set aside for the application any more.
    pub(super) fn release_aside(&mut self, id: AppId) {
        for node in self.clients.apps[id].aside.keys().copied().collect::<Vec<NodeId>>() {
            self.release_aside_on(id, node);
        }
        self.clients.apps[id].stage = Stage::Over;
    }

    fn release_aside_on(&mut self, id: AppId, node: NodeId) {
        let app = &mut self.clients.apps[id];
        if let Some(count) = app.aside.remove(&node) {
            self.nodes.give_back(node, &app.request, count, true);
        }
    }

    /// The same for all applications: another planner leads.
    pub(crate) fn release_all_aside(&mut self) {
        for id in self.clients.apps.ids() {
            self.release_aside(id);
        }
    }

    /// A node of the list where room is set aside for the pod.
    pub(crate) fn aside_for<N: AsRef<str>>(&self, id: PodId, nodes: &[N]) -> Option<NodeId> {
        let app = &self.clients.apps[self.clients.pods.get(&id)?.app];
        let mut good = app
            .aside
            .keys()
            .copied()
            .filter(|&node| self.nodes.usable(node) && self.aside_takes(id, node));
        let first = good.next()?;
        let listed: FxHashSet<NodeId> = nodes.iter().filter_map(|name| self.nodes.find(name.as_ref())).collect();
        std::iter::once(first).chain(good).find(|node| listed.contains(node))
    }

    /// Whether the pod has room on the node where it takes what is set aside there for one of its kind.
    pub(crate) fn aside_takes(&self, id: PodId, node: NodeId) -> bool {
        let Some(member) = self.clients.pods.get(&id) else {
            return false;
        };
        let (app, pod) = (&self.clients.apps[member.app], &self.pods.all[id]);
        app.aside.contains_key(&node) && self.nodes.fits_without(node, &app.request, &pod.requests, &pod.ports)
    }

    /// Where executors of the pod's application are, by node index; `None` for a pod that is none of client mode.
    pub(crate) fn near_client(&self, id: PodId) -> Option<Vec<bool>> {
        let member = self.clients.pods.get(&id)?;
        Some(self.near(&self.clients.apps[member.app].placed))
    }

    fn near(&self, placed: &BTreeMap<NodeId, u64>) -> Vec<bool> {
        let mut near = vec![false; self.nodes.free().len()];
        for node in placed.keys() {
            near[node.index()] = true;
        }
        near
    }

    /// Executors of client mode for which room is set aside.
    pub(crate) fn client_slots(&self) -> u64 {
        self.clients.apps.iter().map(|(_, app)| app.aside()).sum()
    }
}
