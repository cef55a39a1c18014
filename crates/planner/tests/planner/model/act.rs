//! The model: one API server, two planners, one kube-scheduler, and everybody else.

use kompass_core::{Node, Phase, Pod, Resources, Role};
use kompass_planner::{Action, BindResult, Config, Failure, Order};

use super::api::{Api, CLIENT_JOBS, OTHER_GATE, has_ended};
use super::peers;
use super::replica::{Bind, Replica};
use super::steps::Step;
use crate::job::Job;
use crate::objects::GIB;

/// A write that was sent may arrive so much later, and no later.
pub(crate) const DEADLINE_MS: i64 = 3_000;
/// More gangs at once only cost time.
const GANGS_MAX: usize = 12;
const NODES_MAX: usize = 7;
const CLIENTS_MAX: usize = 8;

/// A write whose sender is gone or has given up.
#[derive(Debug)]
pub(crate) enum Ghost {
    Order(Action, i64),
    Bind(Bind),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) api: Api,
    pub(crate) config: Config,
    pub(crate) replicas: [Option<Replica>; 2],
    pub(crate) leader: Option<usize>,
    /// Beside which planner the kube-scheduler that works is.
    pub(crate) scheduler: usize,
    pub(crate) ghosts: Vec<Ghost>,
    pub(crate) serial: usize,
    /// What Filter has answered, and to be bound later: beside which planner, pod, node.
    pub(crate) chosen: Vec<(usize, String, String)>,
}

/// The one of these that is meant.
pub(crate) fn pick<T>(which: u8, items: Vec<T>) -> Option<T> {
    let count = items.len().max(1);
    items.into_iter().nth(usize::from(which) % count)
}

impl Model {
    pub(crate) fn new(config: Config, webhook: bool) -> Self {
        let mut api = Api::new(webhook);
        api.add_node(8, "a");
        api.add_node(4, "b");
        let mut replicas = [0, 1].map(|_| Some(Replica::start(&config, &api, 0)));
        let leader = replicas[0].as_mut().expect("it has just been started");
        leader.planner.take_over(api.now_ms);
        leader.leads_from_ms = Some(api.now_ms);
        Self {
            api,
            config,
            replicas,
            leader: Some(0),
            scheduler: 0,
            ghosts: Vec::new(),
            serial: 0,
            chosen: Vec::new(),
        }
    }

    fn index(&self, follower: bool) -> usize {
        let leader = self.leader.unwrap_or(0);
        if follower { 1 - leader } else { leader }
    }

    #[allow(clippy::too_many_lines, reason = "one arm for each kind of step")]
    pub(crate) fn apply(&mut self, step: Step) {
        self.serial += 1;
        let api = &mut self.api;
        match step {
            Step::Submit { .. } => self.submit(step),
            Step::Profile(which) => {
                if let Some(uid) = pick(which, api.drivers(|pod| pod.profile.is_none())) {
                    api.profile(&uid);
                }
            }
            Step::OtherGate(which) => {
                let closed = |pod: &Pod| pod.has_gate(OTHER_GATE);
                if let Some(uid) = pick(which, api.drivers(closed)) {
                    api.change(&uid, |pod| pod.gates.retain(|gate| gate != OTHER_GATE));
                }
            }
            Step::End(which, sidecar) => {
                if let Some(uid) = pick(which, api.drivers(|pod| pod.phase == Phase::Running)) {
                    api.end(&uid, sidecar);
                }
            }
            Step::DeleteDriver(which, at_once) => {
                if let Some(uid) = pick(which, api.drivers(|_| true)) {
                    if at_once {
                        api.delete(&uid);
                    } else {
                        api.change(&uid, |pod| pod.deleting = true);
                    }
                }
            }
            Step::Plain(cpu) => api.plain("a", cpu.into(), None),
            Step::Client(which, count) => {
                let there = api.uids(|pod| pod.uid.starts_with("client")).len();
                for _ in 0..CLIENTS_MAX.saturating_sub(there).min(count.into()) {
                    api.client(usize::from(which) % CLIENT_JOBS);
                }
            }
            Step::EndClient(which) => api.end_client(usize::from(which) % CLIENT_JOBS),
            Step::Spark(which, count) => {
                api.kubelets();
                let runs = |pod: &Pod| pod.phase == Phase::Running && !pod.deleting;
                if let Some(uid) = pick(which, api.drivers(runs)) {
                    self.spark(&uid, count.into());
                }
            }
            Step::SparkAll => self.spark_all(),
            Step::FailExecutor(which) => {
                if let Some(uid) = pick(which, self.executors(|pod| pod.node.is_some())) {
                    self.api.change(&uid, |pod| pod.phase = Phase::Failed);
                }
            }
            Step::DeleteExecutor(which) => {
                if let Some(uid) = pick(which, self.executors(|_| true)) {
                    self.api.delete(&uid);
                }
            }
            Step::LetGo(which) => {
                if let Some(uid) = pick(which, self.executors(|_| true)) {
                    self.api.change(&uid, |pod| pod.deleting = true);
                }
            }
            Step::Reap => api.reap(),
            Step::Large(which) => self.large(which),
            Step::Stranger(which) => self.stranger(which),
            Step::Silence(which) => self.silence(which),
            Step::ResizePod(which) => self.resize_pod(which),
            Step::Touch(which) => self.touch(which),
            Step::Deliver { follower, kind, count } => {
                let index = self.index(follower);
                if let Some(replica) = &mut self.replicas[index] {
                    replica.deliver(&self.api, usize::from(kind) % 3, count.into());
                }
                self.check_books(index);
            }
            Step::DeliverAll { follower } => {
                let index = self.index(follower);
                if let Some(replica) = &mut self.replicas[index] {
                    replica.deliver_all(&self.api);
                }
                self.check_books(index);
            }
            Step::Relist { follower, seed } => {
                let index = self.index(follower);
                if let Some(replica) = &mut self.replicas[index] {
                    replica.list(&self.api, seed);
                }
                self.check_books(index);
            }
            Step::Repeat(which) => self.repeat(which),
            Step::Late {
                follower,
                which,
                filter,
            } => self.late(self.index(follower), which.into(), filter),
            Step::Doze(ms) => self.doze(ms.into()),
            Step::Decide { follower } => _ = self.decide(self.index(follower)),
            Step::Carry { count, fate } => self.carry(usize::from(count) + 1, fate),
            Step::Turn => self.turn(),
            Step::Schedule(which, list) => {
                if let Some(uid) = pick(which, self.pending()) {
                    self.schedule(&uid, list);
                }
            }
            Step::ScheduleAll => self.schedule_all(),
            Step::Choose(which, list) => {
                if let Some(uid) = pick(which, self.pending()) {
                    self.choose(&uid, list);
                }
            }
            Step::BindChosen(which) => {
                let chosen = std::mem::take(&mut self.chosen);
                let pending = self.pending();
                let still = chosen.into_iter().filter(|(_, uid, _)| pending.contains(uid));
                if let Some((index, uid, node)) = pick(which, still.collect()) {
                    self.start_bind(index, &uid, &node);
                }
            }
            Step::Ask { follower, which, list } => {
                if let Some(uid) = pick(which, self.pending()) {
                    let nodes = self.list(&uid, list);
                    self.ask_repeatedly(self.index(follower), &uid, &nodes);
                }
            }
            Step::Land(which, fate) => self.land(which, fate),
            Step::MoveScheduler => self.scheduler = 1 - self.scheduler,
            Step::Foreign(which, cpus) => {
                let names: Vec<String> = api.nodes.keys().cloned().collect();
                if let Some(name) = pick(which, names) {
                    // Another scheduler sees what is bound, and no reservation.
                    let free = api.nodes[&name]
                        .allocatable
                        .cpu_milli
                        .saturating_sub(api.bound_on(&name));
                    if free >= u64::from(cpus) * 1000 && api.lets_next(&name) {
                        api.plain("other", cpus.into(), Some(&name));
                    }
                }
            }
            Step::Relabel(which) => {
                let serial = self.serial as u64;
                if let Some(uid) = pick(which, api.uids(|pod| pod.uid.starts_with("plain"))) {
                    api.change(&uid, |pod| peers::label_other(pod, serial));
                }
            }
            Step::RemovePlain(which) => {
                if let Some(uid) = pick(which, api.uids(|pod| pod.uid.starts_with("plain"))) {
                    api.delete(&uid);
                }
            }
            Step::AddNode(cpus, zone) => {
                if api.nodes.len() < NODES_MAX {
                    api.add_node(cpus.into(), if zone == 0 { "a" } else { "b" });
                }
            }
            Step::ScaleUp(which) => self.scale_up(which),
            Step::ScaleDown(which) => self.scale_down(which),
            Step::LoseNode(which, linger) => {
                let names: Vec<String> = api.nodes.keys().cloned().collect();
                if let Some(name) = pick(which, names).filter(|_| api.nodes.len() > 1) {
                    api.remove_node(&name, linger);
                }
            }
            Step::ReturnNode(which) => {
                if !api.lost.is_empty() && api.nodes.len() < NODES_MAX {
                    let node = api.lost.swap_remove(usize::from(which) % api.lost.len());
                    api.put_node((*node).clone());
                }
            }
            Step::Cordon(which) => self.change_node(which, |node| node.cordoned = !node.cordoned),
            Step::Unready(which) => self.change_node(which, |node| node.ready = !node.ready),
            Step::Resize(which, cpus) => {
                let size = Resources::from_mib(u64::from(cpus) * 1000, 256 * GIB);
                self.change_node(which, |node| node.allocatable = size);
            }
            Step::Quota(0) => api.set_quota("a", None),
            Step::Quota(cpus) => api.set_quota("a", Some(u64::from(cpus) * 1000)),
            Step::Kill { follower } => self.kill(self.index(follower)),
            Step::Restart(seed) => {
                if let Some(index) = (0..2).find(|&index| self.replicas[index].is_none()) {
                    self.replicas[index] = Some(Replica::start(&self.config, &self.api, seed));
                    self.check_books(index);
                }
            }
            Step::HandOver => self.hand_over(),
            Step::GhostLands(which) => {
                if !self.ghosts.is_empty() {
                    let ghost = self.ghosts.swap_remove(usize::from(which) % self.ghosts.len());
                    self.appear(ghost);
                }
            }
            Step::Tick(ms) => self.tick(ms.into()),
        }
    }

    fn submit(&mut self, step: Step) {
        let Step::Submit {
            executors,
            cpu,
            queue,
            priority,
            dynamic,
            profiled,
            gated,
            other_gate,
            zone,
            seconds,
        } = step
        else {
            return;
        };
        if self.api.drivers(|_| true).len() >= GANGS_MAX {
            return;
        }
        let mut job = Job::new(&format!("job-{:04}", self.serial), executors.into())
            .executor(u64::from(cpu) * 1000, GIB)
            .queue(&format!("q{queue}"))
            .priority(priority.into())
            .runs(u64::from(seconds), u64::from(seconds) * 2);
        job.namespace = if queue == 0 { "a" } else { "b" }.into();
        if dynamic {
            job = job.dynamic(u64::from(executors) + 3);
        }
        if zone > 0 {
            let pool = ["a", "b", "nowhere"][usize::from(zone) - 1];
            job.selector = [("pool".into(), pool.into())].into();
        }
        job.spacing = peers::spacing(seconds);
        peers::about_others(&mut job, seconds.wrapping_mul(7) ^ cpu);
        // What the code asks for is not always what the configuration says.
        match self.serial % 5 {
            0 => job.asks = Some(u64::from(executors) / 2),
            1 => job.asks = Some(u64::from(executors) + 1),
            2 => job.start_within_ms = Some(5_000),
            _ => {}
        }
        self.api.submit(job, profiled, gated, other_gate);
    }

    pub(crate) fn executors(&self, which: impl Fn(&Pod) -> bool) -> Vec<String> {
        self.api
            .uids(|pod| pod.role == Some(Role::Executor) && !has_ended(pod) && which(pod))
    }

    fn spark(&mut self, driver: &str, most: u64) {
        let alive = self.api.executors_of(driver).filter(|pod| !pod.deleting).count() as u64;
        for _ in 0..self.api.wanted(driver).saturating_sub(alive).min(most) {
            self.api.executor(driver, 0);
        }
    }

    pub(crate) fn spark_all(&mut self) {
        self.api.kubelets();
        for uid in self.api.drivers(|pod| pod.phase == Phase::Running && !pod.deleting) {
            self.spark(&uid, u64::MAX);
        }
    }

    fn change_node(&mut self, which: u8, change: impl FnOnce(&mut Node)) {
        let names: Vec<String> = self.api.nodes.keys().cloned().collect();
        if let Some(name) = pick(which, names) {
            self.api.change_node(&name, change);
        }
    }

    /// An autoscaler adds nodes for a demand that it sees.
    fn scale_up(&mut self, which: u8) {
        let stand_ins = self.api.uids(|pod| pod.stand_in_for.is_some());
        if let Some(uid) = pick(which, stand_ins)
            && self.api.nodes.len() < NODES_MAX
        {
            let zone = match self.api.pods[&uid].constraints.node_selector.get("pool") {
                Some(pool) if pool == "nowhere" => return,
                Some(pool) => pool.clone(),
                None => "a".into(),
            };
            self.api.add_node(8, &zone);
        }
    }

    /// It takes away nodes that no pod keeps.
    fn scale_down(&mut self, which: u8) {
        let busy = |name: &String| {
            self.api
                .pods
                .values()
                .any(|pod| pod.node.as_ref() == Some(name) && !has_ended(pod))
        };
        let idle: Vec<String> = self.api.nodes.keys().filter(|name| !busy(name)).cloned().collect();
        if let Some(name) = pick(which, idle).filter(|_| self.api.nodes.len() > 1) {
            self.api.remove_node(&name, false);
        }
    }

    fn kill(&mut self, index: usize) {
        if let Some(replica) = self.replicas[index].take() {
            self.haunt(
                replica.orders.into_iter().map(|order| order.action).collect(),
                replica.binds,
            );
        }
        if self.leader == Some(index) {
            self.leader = None;
        }
        if self.scheduler == index {
            self.scheduler = 1 - index;
        }
    }

    fn haunt(&mut self, actions: Vec<Action>, binds: Vec<Bind>) {
        let deadline_ms = self.api.now_ms + DEADLINE_MS;
        self.ghosts
            .extend(actions.into_iter().map(|action| Ghost::Order(action, deadline_ms)));
        self.ghosts.extend(binds.into_iter().map(Ghost::Bind));
    }

    /// A write arrives after all.
    fn appear(&mut self, ghost: Ghost) {
        match ghost {
            Ghost::Order(action, _) => _ = self.api.write(&action),
            Ghost::Bind(bind) => _ = self.write_bind(&bind),
        }
    }

    /// The lease goes to the other planner, or to one that lives.
    pub(crate) fn hand_over(&mut self) {
        let next = self.leader.map_or(0, |leader| 1 - leader);
        let Some(next) = [next, 1 - next]
            .into_iter()
            .find(|&index| self.replicas[index].is_some() && self.leader != Some(index))
        else {
            return;
        };
        let now_ms = self.api.now_ms;
        if let Some(replica) = self.leader.and_then(|leader| self.replicas[leader].as_mut()) {
            replica.planner.step_down();
            replica.leads_from_ms = None;
            replica.overtaken.clear();
            replica.spare.clear();
            assert!(
                replica.planner.decide(now_ms).orders.is_empty(),
                "it does not lead any more"
            );
            // What is under way may still be written.
            let orders: Vec<Order> = replica.orders.drain(..).collect();
            for order in &orders {
                replica.planner.action_failed(order.id, Failure::Unknown, now_ms);
            }
            self.haunt(orders.into_iter().map(|order| order.action).collect(), vec![]);
        }
        let replica = self.replicas[next].as_mut().expect("it was found alive");
        replica.planner.take_over(now_ms + DEADLINE_MS);
        replica.leads_from_ms = Some(now_ms + DEADLINE_MS);
        self.leader = Some(next);
    }

    pub(crate) fn tick(&mut self, ms: i64) {
        self.api.now_ms += ms;
        let now_ms = self.api.now_ms;
        self.ghosts.retain(|ghost| match ghost {
            Ghost::Order(_, deadline_ms) | Ghost::Bind(Bind { deadline_ms, .. }) => *deadline_ms > now_ms,
        });
        for replica in self.replicas.iter_mut().flatten() {
            let (late, rest): (Vec<Bind>, _) = replica.binds.drain(..).partition(|bind| bind.deadline_ms <= now_ms);
            replica.binds = rest;
            for bind in &late {
                replica.bind_done(bind, &BindResult::Unknown, now_ms);
            }
        }
    }
}
