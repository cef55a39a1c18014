//! How it ends: everything is healthy again, time goes on, and everybody who can runs, one after the other, to the end.

use kompass_core::wait::WaitCode;
use kompass_core::{Phase, Pod};
use kompass_planner::{GangState, GangView};

use super::act::{DEADLINE_MS, Model};
use super::api::{CLIENT_JOBS, OTHER_GATE, is_silent};
use super::replica::Replica;
use super::steps::Fate;
use super::turns;

/// Rounds after which nobody may wait any more who could run.
const ROUNDS: u32 = 300;

impl Model {
    /// Invariants 4 and 7: nothing is lost or stuck, whatever has happened before.
    pub(crate) fn come_to_rest(&mut self) {
        self.heal();
        for round in 1.. {
            assert!(round < ROUNDS, "gangs starve: {:#?}", self.gangs());
            self.round();
            // What runs in client mode may keep room for a while, and ends too.
            self.api.end_client(round as usize % CLIENT_JOBS);
            let gangs = self.gangs();
            for uid in self.ending(&gangs, round) {
                self.api.end(&uid, false);
            }
            self.api.reap();
            if gangs.iter().all(|gang| self.is_hopeless(gang, &gangs)) {
                break;
            }
        }
        self.leave_nothing();
    }

    fn heal(&mut self) {
        for index in 0..2 {
            if self.replicas[index].is_none() {
                self.replicas[index] = Some(Replica::start(&self.config, &self.api, 7));
            }
        }
        if self.leader.is_none() {
            self.hand_over();
        }
        // A planner that does not lead places nobody beside the slots, so the scheduler must not stay there for ever.
        self.scheduler = self.leader.unwrap_or(0);
        while self.replicas.iter().flatten().any(|replica| !replica.binds.is_empty()) {
            self.land(0, Fate::Written);
        }
        self.carry(usize::MAX, Fate::Written);
        self.tick(DEADLINE_MS);
        self.api.reap();
        for uid in self.api.uids(|pod| pod.uid.starts_with("plain")) {
            self.api.delete(&uid);
        }
        for uid in self.api.uids(is_silent) {
            self.api.silence(&uid);
        }
        // Who made executors too large for their slots makes others.
        let large = |pod: &Pod| {
            let job = pod.owner_pod_uid.as_ref().and_then(|driver| self.api.jobs.get(driver));
            pod.node.is_none() && job.is_some_and(|job| pod.requests.cpu_milli > job.executor.cpu_milli)
        };
        for uid in self.api.uids(large) {
            self.api.delete(&uid);
        }
        self.api.set_quota("a", None);
        for uid in self.api.drivers(|_| true) {
            if self.api.pods[&uid].profile.is_none() {
                self.api.profile(&uid);
            }
            if self.api.pods[&uid].has_gate(OTHER_GATE) {
                self.api.change(&uid, |pod| pod.gates.retain(|gate| gate != OTHER_GATE));
            }
        }
        for name in self.api.nodes.keys().cloned().collect::<Vec<_>>() {
            self.api
                .change_node(&name, |node| (node.ready, node.cordoned) = (true, false));
        }
    }

    fn round(&mut self) {
        self.spark_all();
        self.tick(3_500);
        for _ in 0..2 {
            self.turn();
            if let Some(replica) = &mut self.replicas[self.scheduler] {
                replica.deliver_all(&self.api);
            }
            self.schedule_all();
        }
        self.turn();
    }

    fn leader_now(&self) -> &Replica {
        self.leader
            .and_then(|leader| self.replicas[leader].as_ref())
            .expect("one leads")
    }

    fn gangs(&self) -> Vec<GangView> {
        self.leader_now().planner.gangs()
    }

    /// A gang that has all its executors works and ends; where nobody has, one that can get no more ends too.
    fn ending(&self, gangs: &[GangView], round: u32) -> Vec<String> {
        let uid = |gang: &GangView| gang.uid.clone();
        // More slots may be kept than its code asks for: an executor and the one that replaced it may have met.
        let has_all = |gang: &GangView| {
            let asks = self.api.jobs[&gang.uid].asks;
            gang.state == GangState::Running && asks.is_some_and(|asks| gang.executors_bound >= asks)
        };
        let done = gangs.iter().filter(|gang| Self::is_complete(gang) || has_all(gang));
        let done: Vec<String> = done.map(uid).collect();
        if done.is_empty() && round.is_multiple_of(20) {
            let runs = |gang: &&GangView| matches!(gang.state, GangState::DriverBound | GangState::Running);
            return gangs
                .iter()
                .filter(runs)
                .filter(|gang| {
                    let job = &self.api.jobs[&gang.uid];
                    gang.slots_missing > 0 || !job.spacing.is_none() || !job.executor_rules.is_none()
                })
                .map(uid)
                .collect();
        }
        done
    }

    /// It says, and it is true, that it can't run on this cluster.
    fn is_hopeless(&self, gang: &GangView, gangs: &[GangView]) -> bool {
        let lost = |other: &&GangView| other.state == GangState::Unplanned && other.queue == gang.queue;
        match gang.waiting.as_ref().map(|reason| reason.code) {
            Some(WaitCode::QueueLimit) => gangs.iter().filter(lost).count() >= self.config.unplanned_max,
            Some(WaitCode::TooLarge | WaitCode::NoMatchingNode | WaitCode::Replanning) => {
                !turns::fits_without_kompass(self.leader_now(), &gang.uid, &self.config)
            }
            _ => false,
        }
    }

    /// Whoever is left is taken away: no room is kept, no pod forgotten, no stand-in or marker left.
    fn leave_nothing(&mut self) {
        for uid in self.api.drivers(|_| true) {
            self.api.delete(&uid);
        }
        (0..CLIENT_JOBS).for_each(|job| self.api.end_client(job));
        for _ in 0..3 {
            self.tick(20_000);
            self.turn();
            self.api.reap();
        }
        for replica in self.replicas.iter_mut().flatten() {
            replica.deliver_all(&self.api);
            assert_eq!(replica.planner.charged().1, 0, "room is still kept");
            assert_eq!(
                replica.planner.summary().pods,
                self.api.pods.len() as u64,
                "pods are not known or not forgotten"
            );
            assert!(replica.planner.gangs().is_empty());
            assert_eq!(replica.planner.summary().client_slots, 0, "room is still set aside");
        }
        let left = self
            .api
            .uids(|pod| pod.stand_in_for.is_some() || pod.marker_for.is_some() || pod.phase == Phase::Running);
        assert!(left.is_empty(), "{left:?}");
    }
}
