//! What happens seldom and is allowed all the same: late news, silent kubelets, pods of another size than was said, and a
//! planner that nobody tells anything for a while.

use kompass_core::{Phase, Pod};
use kompass_planner::{Action, FilterAnswer, Order};

use super::act::{Model, pick};
use super::api::{Event, PODS, has_ended, is_silent};
use super::replica::version;

impl Model {
    /// What was told before is told again: it was overtaken by newer news, and must change nothing.
    pub(crate) fn late(&mut self, index: usize, which: usize, filter: bool) {
        let now_ms = self.api.now_ms;
        let Some(replica) = &mut self.replicas[index] else {
            return;
        };
        let told = &self.api.log[PODS][..replica.cursors[PODS]];
        let Some(event) = told.get(which % told.len().max(1)) else {
            return;
        };
        let (before, pods) = (replica.planner.gangs(), replica.planner.summary().pods);
        match event {
            Event::Pod(pod) if replica.told.is_gone(&pod.uid) && filter => {
                let nodes: Vec<String> = self.api.nodes.keys().cloned().collect();
                let answer = replica.planner.filter(pod, &nodes, now_ms);
                assert!(!matches!(answer, FilterAnswer::Node(_)), "{pod:?} is gone: {answer:?}");
                // Filter looks at what became worse before it answers.
                assert_eq!(replica.planner.summary().pods, pods, "Filter has brought {pod:?} back");
                return;
            }
            Event::Pod(pod) => {
                let known = replica.told.pods.get(&pod.uid);
                let old = known.is_some_and(|known| version(pod) < version(known));
                if old || replica.told.is_gone(&pod.uid) {
                    replica.planner.apply_pod(pod, now_ms);
                }
            }
            Event::PodGone(uid) => replica.planner.delete_pod(uid, now_ms),
            _ => {}
        }
        assert_eq!(
            (replica.planner.gangs(), replica.planner.summary().pods),
            (before, pods),
            "late news has changed something: {event:?}"
        );
        self.check_books(index);
    }

    pub(crate) fn large(&mut self, which: u8) {
        let lacks = |pod: &Pod| {
            let alive = self.api.executors_of(&pod.uid).count() as u64;
            pod.phase == Phase::Running && !pod.deleting && alive < self.api.wanted(&pod.uid)
        };
        if let Some(uid) = pick(which, self.api.drivers(lacks)) {
            self.api.executor(&uid, 1);
        }
    }

    pub(crate) fn stranger(&mut self, which: u8) {
        if let Some(uid) = pick(which, self.api.drivers(|pod| pod.node.is_some())) {
            self.api.stranger(&uid);
        }
    }

    pub(crate) fn silence(&mut self, which: u8) {
        let runs = |pod: &Pod| pod.node.is_some() && (pod.phase == Phase::Running || is_silent(pod));
        if let Some(uid) = pick(which, self.api.uids(runs)) {
            self.api.silence(&uid);
        }
    }

    pub(crate) fn resize_pod(&mut self, which: u8) {
        let runs = |pod: &Pod| pod.phase == Phase::Running;
        if let Some(uid) = pick(which, self.api.uids(runs)) {
            self.api.resize(&uid);
        }
    }

    pub(crate) fn touch(&mut self, which: u8) {
        if let Some(uid) = pick(which, self.api.uids(|pod| !has_ended(pod))) {
            self.api.change(&uid, |_| {});
        }
    }

    /// Nothing happens until just before the time at which the planner wants to decide again: it has nothing to say then,
    /// and a moment later it comes to rest again.
    pub(crate) fn doze(&mut self, ms: i64) {
        self.look_again();
        self.turn();
        let Some(index) = self.leader else { return };
        let Some(replica) = &self.replicas[index] else { return };
        let wake_ms = replica.planner.next_wake().unwrap_or(i64::MAX);
        // The end of a Bind would be news.
        if !replica.binds.is_empty() {
            return;
        }
        self.tick(ms.min(wake_ms - 1 - self.api.now_ms));
        self.look_again();
        self.decide(index);
        let orders = self.replicas[index].iter().flat_map(|replica| &replica.orders);
        // In other words it may say why somebody waits when it happens to look.
        let more = orders.filter(|order| !matches!(order.action, Action::Explain { .. }));
        let more: Vec<&Order> = more.collect();
        assert!(
            more.is_empty(),
            "it wants to be woken at {wake_ms} and has more to say at {}: {more:#?}",
            self.api.now_ms
        );
        self.tick(1);
        self.turn();
    }

    /// The planner is told that it leads, as it does: so it looks at everything again, and nothing has changed. An answer
    /// to Filter alone does not make it look.
    fn look_again(&mut self) {
        if let Some(replica) = self.leader.and_then(|leader| self.replicas[leader].as_mut())
            && let Some(from_ms) = replica.leads_from_ms
        {
            replica.planner.take_over(from_ms);
        }
    }
}
