//! Client mode: executors whose driver is no pod of Spark's making (a notebook, a task of a workflow, Spark Connect).
//!
//! Nothing in the cluster says how many executors such an application is going to have, but its last runs do. When the
//! first executor of another run comes, room for the rest of them is set aside, as far as there is any. It is soft:
//! - it is no charge: no node is ever too full because of it, and no plan breaks;
//! - it ends with the application, and `unclaimed_after_ms` after the application has created its last executor;
//! - it is set aside once in a run, and for those that wait for room that counts as one gang more that went before them;
//! - it is given up for whoever goes before all others: a gang that is overdue, a running one that lost slots, a driver
//!   that lost its plan.
//!
//! An executor that finds nothing set aside runs where it would have run without all this.
//!
//! The runs are remembered here alone, by every planner that watches the cluster, also by one that does not lead. Once all
//! of them are gone, the next run of each job is like its first.

use std::collections::BTreeMap;

use kompass_core::names::SCHEDULER;
use kompass_core::{Pod, Resources, Role};
use rustc_hash::FxHashMap;

use crate::arena::{Arena, Id};
use crate::classes::ClassId;
use crate::nodes::NodeId;
use crate::planner::Planner;
use crate::pods::PodId;
use crate::terms::KindId;

mod check;
mod past;
mod room;

use self::past::Past;

/// Points to an application.
type AppId = Id<App>;

/// Applications of client mode that have executors.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// By namespace and Spark's id of the application, with `/` between.
    apps: Arena<App>,
    /// Their executors that have not ended.
    pods: FxHashMap<PodId, Member>,
    past: Past,
}

/// An executor, as it was when its application was last brought up to date.
#[derive(Debug, Clone, Copy)]
struct Member {
    app: AppId,
    node: Option<NodeId>,
    bound: bool,
}

#[derive(Debug)]
struct App {
    /// What two runs of the same job have in common: namespace and profile key.
    job: Box<str>,
    /// What each executor requests, by the first that was seen.
    request: Resources,
    ports: Box<[u16]>,
    class: ClassId,
    /// Executors that have not ended.
    executors: u64,
    /// Executors that take room, by node.
    placed: BTreeMap<NodeId, u64>,
    /// Executors bound now, and at most at once.
    bound: u64,
    peak: u64,
    /// Executors that earlier runs let expect.
    expected: u64,
    stage: Stage,
    /// Executors for which room is set aside, by node.
    aside: BTreeMap<NodeId, u64>,
    /// When the last executor was created.
    last_ms: i64,
}

/// Whether room is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not yet.
    Due,
    /// As much as there was.
    Done,
    /// No more in this run.
    Over,
}

impl App {
    fn placed(&self) -> u64 {
        self.placed.values().sum()
    }

    fn aside(&self) -> u64 {
        self.aside.values().sum()
    }
}

/// Namespace and application of an executor of client mode, and its job. The webhook writes a profile key on no other
/// executors. Those of a stage's own size are not what earlier runs let expect.
fn identity(pod: &Pod) -> Option<(String, String)> {
    let (key, application) = (pod.profile_key.as_ref()?, pod.app_selector.as_ref()?);
    let is_usual = pod.resource_profile_id.as_deref().is_none_or(|id| id == "0");
    let is_client = pod.role == Some(Role::Executor) && pod.scheduler == SCHEDULER && pod.gang_label.is_none();
    (is_client && is_usual).then(|| {
        let in_namespace = |name: &str| format!("{}/{name}", pod.namespace);
        (in_namespace(application), in_namespace(key))
    })
}

impl Planner {
    /// A pod was seen, and its place is up to date.
    pub(crate) fn client_seen(&mut self, id: PodId, pod: &Pod) {
        if pod.is_terminal() {
            self.client_gone(id);
            return;
        }
        if !self.clients.pods.contains_key(&id) {
            let Some((application, job)) = identity(pod) else {
                return;
            };
            let kind = self.pods.all[id].peer;
            let app = self.clients.apps.id(&application);
            let app = app.unwrap_or_else(|| self.begin_application(&application, job, pod, kind));
            self.clients.apps[app].executors += 1;
            let member = Member {
                app,
                node: None,
                bound: false,
            };
            self.clients.pods.insert(id, member);
        }
        let app = &mut self.clients.apps[self.clients.pods[&id].app];
        app.last_ms = app.last_ms.max(pod.created_ms);
        self.client_moved(id);
    }

    fn begin_application(&mut self, application: &str, job: String, pod: &Pod, kind: KindId) -> AppId {
        let expected = self.clients.past.expected(&job);
        let app = App {
            job: job.into(),
            request: pod.requests.clone(),
            ports: pod.host_ports.as_slice().into(),
            class: self
                .nodes
                .acquire_class(&pod.constraints, kind, &pod.pod_rules.together),
            executors: 0,
            placed: BTreeMap::new(),
            bound: 0,
            peak: 0,
            expected,
            stage: if expected > 0 { Stage::Due } else { Stage::Over },
            aside: BTreeMap::new(),
            last_ms: pod.created_ms,
        };
        self.clients.apps.insert(application, app)
    }

    /// A pod has ended or is gone, and takes no room any more.
    pub(crate) fn client_gone(&mut self, id: PodId) {
        self.client_moved(id);
        let Some(member) = self.clients.pods.remove(&id) else {
            return;
        };
        let app = &mut self.clients.apps[member.app];
        app.executors -= 1;
        if app.executors == 0 {
            self.release_aside(member.app);
            let app = &self.clients.apps[member.app];
            self.nodes.release_class(app.class);
            self.clients.past.learn(&app.job, app.peak);
            self.clients.apps.remove(member.app);
        }
    }

    /// The place of a pod may have changed: an executor takes what is set aside for one, and leaves it to the one that
    /// comes in its place.
    pub(crate) fn client_moved(&mut self, id: PodId) {
        let Some(member) = self.clients.pods.get_mut(&id) else {
            return;
        };
        let entry = &self.pods.all[id];
        let (node, bound) = (entry.seat().map(|seat| seat.0), entry.is_bound());
        let before = std::mem::replace(member, Member { node, bound, ..*member });
        let app = &mut self.clients.apps[before.app];
        app.bound = app.bound + u64::from(bound) - u64::from(before.bound);
        app.peak = app.peak.max(app.bound);
        if before.node == node {
            return;
        }
        if let Some(left) = before.node {
            less(&mut app.placed, left);
            let spare = app.placed() + app.aside() < app.expected;
            if spare && app.stage == Stage::Done && self.nodes.usable(left) {
                *app.aside.entry(left).or_default() += 1;
                self.nodes.set_aside(left, &app.request, 1);
            }
        }
        if let Some(node) = node {
            *app.placed.entry(node).or_default() += 1;
            // It came for what is set aside there. One that found room elsewhere leaves nothing to be kept for it.
            let too_much = app.placed() + app.aside() > app.expected;
            let from = if app.aside.contains_key(&node) {
                Some(node)
            } else {
                app.aside.keys().next_back().copied().filter(|_| too_much)
            };
            if let Some(from) = from {
                less(&mut app.aside, from);
                // To those that wait nothing has changed where it takes all of it.
                let grows = from != node || !app.request.fits(&entry.requests);
                self.nodes.give_back(from, &app.request, 1, grows);
            }
        }
    }
}

/// One less on the node.
fn less(counts: &mut BTreeMap<NodeId, u64>, node: NodeId) {
    if let Some(count) = counts.get_mut(&node) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&node);
        }
    }
}
