//! Which gates nobody will open: pure, all times are monotonic milliseconds.
//!
//! A planner that lives may keep a gate closed for as long as its queue is. When none has lived for the hold limit, a
//! gate that has been closed for as long is opened: the extender may still place the pod, and at worst it waits where
//! everybody can see it.

use std::time::Duration;

use kompass_core::{Pod, Role, names};
use rustc_hash::FxHashMap;

/// A planner that has not renewed its lease for this long is not alive.
const ALIVE_MS: u64 = 30_000;
/// After an attempt that failed.
const RETRY_MS: u64 = 5_000;
/// A pod older than this at its first sight is older than this process.
const OLD_MS: u64 = 5_000;

/// The closed gates. Thousands of drivers may wait, so that no more is kept of each than what opening its gate takes.
#[derive(Debug)]
pub(super) struct Holds {
    limit_ms: u64,
    /// By UID of the pod.
    gated: FxHashMap<Box<str>, Hold>,
    /// `None`: nothing has been heard of the lease yet, so nothing is known.
    planner: Option<Sign>,
}

#[derive(Debug)]
struct Hold {
    namespace: Box<str>,
    name: Box<str>,
    role: Role,
    /// Where KOMPASS's gate stands among the pod's gates.
    index: usize,
    since_ms: u64,
    not_before_ms: u64,
    running: bool,
}

/// A gate that is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gate {
    /// Namespace of the pod.
    pub(super) namespace: String,
    /// Name of the pod.
    pub(super) name: String,
    /// UID of the pod.
    pub(super) uid: String,
    /// What the pod is to Spark.
    pub(super) role: Role,
    /// Where it stood among the pod's gates when the pod was last seen.
    pub(super) index: usize,
}

/// What the lease says of the planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// It lived at that time, as far as is known.
    LivedAt(u64),
    /// There has never been one.
    Never,
}

impl Holds {
    pub(super) fn new(limit: Duration) -> Self {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Self {
            limit_ms,
            gated: FxHashMap::default(),
            planner: None,
        }
    }

    /// Takes over what the lease says.
    pub(super) fn planner_seen(&mut self, sign: Sign) {
        self.planner = Some(sign);
    }

    /// Whether the planner lives.
    pub(super) fn planner_alive(&self, now_ms: u64) -> bool {
        matches!(self.planner, Some(Sign::LivedAt(at)) if now_ms.saturating_sub(at) < ALIVE_MS)
    }

    /// Takes over what the watch says of a pod of that age.
    pub(super) fn observe(&mut self, pod: &Pod, now_ms: u64, age_ms: u64) {
        let is_open = pod.scheduler == names::SCHEDULER && !pod.deleting && !pod.is_terminal();
        let index = pod.gates.iter().position(|gate| gate == names::GANG_GATE);
        let (true, Some(role), Some(index)) = (is_open, pod.role, index) else {
            self.remove(&pod.uid);
            return;
        };
        if let Some(hold) = self.gated.get_mut(pod.uid.as_str()) {
            hold.index = index;
            return;
        }
        // Kubernetes keeps whole seconds, so the age of a new pod says nothing.
        let age_ms = if age_ms > OLD_MS { age_ms } else { 0 };
        let hold = Hold {
            namespace: pod.namespace.as_str().into(),
            name: pod.name.as_str().into(),
            role,
            index,
            since_ms: now_ms.saturating_sub(age_ms),
            not_before_ms: 0,
            running: false,
        };
        self.gated.insert(pod.uid.as_str().into(), hold);
    }

    /// Takes over that a pod is gone.
    pub(super) fn remove(&mut self, uid: &str) {
        self.gated.remove(uid);
    }

    /// The gates that are to be opened now, `limit` at most, drivers' before executors'.
    pub(super) fn due(&mut self, now_ms: u64, limit: usize) -> Vec<Gate> {
        let alone_since_ms = match self.planner {
            None => return Vec::new(),
            Some(Sign::LivedAt(at)) => at,
            Some(Sign::Never) => 0,
        };
        if now_ms.saturating_sub(alone_since_ms) < self.limit_ms {
            return Vec::new();
        }
        let mut due: Vec<(&Box<str>, &mut Hold)> = self
            .gated
            .iter_mut()
            .filter(|(_, hold)| !hold.running && hold.not_before_ms <= now_ms)
            .filter(|(_, hold)| now_ms.saturating_sub(hold.since_ms) >= self.limit_ms)
            .collect();
        due.sort_unstable_by_key(|(_, hold)| (hold.role != Role::Driver, hold.since_ms));
        let due = due.into_iter().take(limit);
        due.map(|(uid, hold)| {
            hold.running = true;
            Gate {
                namespace: hold.namespace.to_string(),
                name: hold.name.to_string(),
                uid: uid.to_string(),
                role: hold.role,
                index: hold.index,
            }
        })
        .collect()
    }

    /// Takes over what came of an attempt. The watch tells when a gate is open.
    pub(super) fn finished(&mut self, uid: &str, opened: bool, now_ms: u64) {
        if let Some(hold) = self.gated.get_mut(uid) {
            hold.running = false;
            hold.not_before_ms = now_ms + RETRY_MS;
            if opened {
                self.gated.remove(uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_MS: u64 = 180_000;

    fn holds() -> Holds {
        Holds::new(Duration::from_millis(LIMIT_MS))
    }

    fn gated(uid: &str, role: Role) -> Pod {
        Pod {
            uid: uid.into(),
            role: Some(role),
            scheduler: names::SCHEDULER.into(),
            gates: vec![names::GANG_GATE.into()],
            ..Pod::default()
        }
    }

    fn uids(gates: &[Gate]) -> Vec<&str> {
        gates.iter().map(|gate| gate.uid.as_str()).collect()
    }

    #[test]
    fn a_living_planner_may_hold_for_ever() {
        let mut holds = holds();
        holds.observe(&gated("d", Role::Driver), 0, 0);
        for now_ms in (0..3_600_000).step_by(10_000) {
            holds.planner_seen(Sign::LivedAt(now_ms));
            assert!(holds.planner_alive(now_ms));
            assert!(holds.due(now_ms, 10).is_empty());
        }
    }

    #[test]
    fn without_a_planner_each_gate_opens_after_its_own_limit() {
        let mut holds = holds();
        holds.planner_seen(Sign::Never);
        holds.observe(&gated("executor", Role::Executor), 0, 0);
        holds.observe(&gated("driver", Role::Driver), 1_000, 0);
        assert!(holds.due(LIMIT_MS - 1, 10).is_empty());
        assert_eq!(uids(&holds.due(LIMIT_MS, 10)), ["executor"]);
        assert!(holds.due(LIMIT_MS, 10).is_empty(), "it is being opened");
        holds.finished("executor", true, LIMIT_MS);
        assert_eq!(uids(&holds.due(LIMIT_MS + 1_000, 10)), ["driver"]);
    }

    #[test]
    fn the_limit_counts_from_the_planners_last_sign_of_life() {
        let mut holds = holds();
        holds.observe(&gated("d", Role::Driver), 0, 0);
        holds.planner_seen(Sign::LivedAt(50_000));
        assert!(!holds.planner_alive(80_000));
        assert!(holds.due(LIMIT_MS + 49_999, 10).is_empty());
        assert_eq!(uids(&holds.due(LIMIT_MS + 50_000, 10)), ["d"]);
    }

    #[test]
    fn as_long_as_nothing_is_known_of_the_planner_nothing_is_opened() {
        let mut holds = holds();
        holds.observe(&gated("d", Role::Driver), 0, 0);
        assert!(holds.due(u64::MAX, 10).is_empty());
    }

    #[test]
    fn a_restart_does_not_begin_the_wait_anew() {
        let mut holds = holds();
        holds.planner_seen(Sign::Never);
        let now_ms = 1_000_000;
        holds.observe(&gated("d", Role::Driver), now_ms, LIMIT_MS);
        assert_eq!(uids(&holds.due(now_ms, 10)), ["d"]);
    }

    #[test]
    fn a_failed_attempt_is_repeated_later_and_drivers_go_first() {
        let mut holds = holds();
        holds.planner_seen(Sign::Never);
        holds.observe(&gated("e", Role::Executor), 0, 0);
        holds.observe(&gated("d", Role::Driver), 5, 0);
        let now_ms = LIMIT_MS + 10;
        assert_eq!(uids(&holds.due(now_ms, 1)), ["d"]);
        holds.finished("d", false, now_ms);
        assert_eq!(uids(&holds.due(now_ms, 10)), ["e"]);
        assert_eq!(uids(&holds.due(now_ms + RETRY_MS, 10)), ["d"]);
    }

    #[test]
    fn the_gate_is_opened_where_it_stands_now() {
        let mut holds = holds();
        holds.planner_seen(Sign::Never);
        let behind = Pod {
            gates: vec!["other".into(), names::GANG_GATE.into()],
            ..gated("d", Role::Driver)
        };
        holds.observe(&behind, 0, 0);
        holds.observe(&gated("d", Role::Driver), 1, 0);
        let due = holds.due(LIMIT_MS, 10);
        assert_eq!((uids(&due), due[0].index), (vec!["d"], 0), "since its first sight");
    }

    #[test]
    fn other_pods_and_other_gates_are_left_alone() {
        let mut holds = holds();
        holds.planner_seen(Sign::Never);
        holds.observe(
            &Pod {
                scheduler: "default-scheduler".into(),
                ..gated("a", Role::Driver)
            },
            0,
            0,
        );
        holds.observe(
            &Pod {
                gates: vec!["other".into()],
                ..gated("b", Role::Driver)
            },
            0,
            0,
        );
        holds.observe(
            &Pod {
                role: None,
                ..gated("c", Role::Driver)
            },
            0,
            0,
        );
        holds.observe(&gated("d", Role::Driver), 0, 0);
        holds.observe(
            &Pod {
                gates: vec![],
                ..gated("d", Role::Driver)
            },
            1,
            0,
        );
        assert!(holds.due(LIMIT_MS * 2, 10).is_empty());
    }
}
