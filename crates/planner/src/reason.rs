//! Why gangs wait, in words.

use kompass_core::WaitReason;
use kompass_core::names::START_WITHIN_ANNOTATION;
use kompass_core::resources::MIB;
use kompass_core::wait::WaitCode;

use crate::action::Action;
use crate::decide::Turn;
use crate::gang::{Behind, Gang, GangId, Lack, Stage};
use crate::planner::Planner;
use crate::quota::Usage;
use crate::shortfall::Shortfalls;

/// Places of so many gangs are counted one by one.
const FEW: usize = 16;

impl Planner {
    /// Tells the drivers whose kind of reason has changed.
    pub(crate) fn explain(&mut self, turn: &mut Turn) {
        self.attend();
        let mut untold: Vec<GangId> = self.attention.untold.iter().copied().collect();
        let positions: Vec<(GangId, u64)> = if untold.len() <= FEW {
            untold.sort_by_key(|&id| (&self.gangs[id].queue, self.gangs[id].key(id)));
            untold.into_iter().map(|id| (id, self.position(id))).collect()
        } else {
            // One walk for all of them.
            let all = self.positions().into_iter();
            all.filter(|(id, _)| self.attention.untold.contains(id)).collect()
        };
        let mut known = Shortfalls::default();
        for (id, position) in positions {
            let Some(code) = self.wait_code(id) else { continue };
            if turn.orders.len() >= self.config.orders_per_decide {
                turn.again = true;
                return;
            }
            self.gangs[id].waiting.told = Some(code);
            let driver = self.pods.reference(self.gangs[id].driver);
            let reason = self.reason(id, code, position, &mut known);
            self.order(turn, Action::Explain { driver, reason }, None);
        }
    }

    /// The place of a gang that waits in its queue, from 1: ungated drivers without a plan first.
    pub(crate) fn position(&self, id: GangId) -> u64 {
        let gang = &self.gangs[id];
        let key = gang.key(id);
        let lost = self.unplanned().filter(|(_, other)| other.queue == gang.queue);
        if gang.is_unplanned() {
            return 1 + lost.filter(|(other_id, other)| other.key(*other_id) < key).count() as u64;
        }
        lost.count() as u64 + self.queues.place(&gang.queue, key)
    }

    /// Gangs that wait and their place in their queue, from 1: ungated drivers first.
    pub(crate) fn positions(&self) -> Vec<(GangId, u64)> {
        let mut unplanned: Vec<_> = self
            .unplanned()
            .map(|(id, gang)| (gang.queue.clone(), gang.key(id)))
            .collect();
        unplanned.sort_unstable();
        let mut positions: Vec<(GangId, u64)> = Vec::new();
        let mut before = std::collections::BTreeMap::new();
        for (queue, key) in unplanned {
            let position = before.entry(queue).or_insert(0_u64);
            *position += 1;
            positions.push((key.gang, *position));
        }
        for queue in self.queues.names() {
            let before = before.get(queue).copied().unwrap_or(0);
            positions.extend(self.queues.order(queue).zip(before + 1..));
        }
        positions
    }

    /// The kind of reason for which a gang waits, `None` where it doesn't.
    pub(crate) fn wait_code(&self, id: GangId) -> Option<WaitCode> {
        let gang = &self.gangs[id];
        if gang.is_unplanned() {
            return Some(match gang.waiting.verdict.map(|verdict| verdict.lack) {
                Some(Lack::Ever) => WaitCode::TooLarge,
                Some(Lack::Match) => WaitCode::NoMatchingNode,
                Some(Lack::Now) | None => WaitCode::Replanning,
            });
        }
        if gang.stage != Stage::Waiting {
            return None;
        }
        if self.holds_back {
            return Some(WaitCode::TakingOver);
        }
        let first = match (&gang.shape, gang.foreign_gate) {
            (_, true) => WaitCode::ForeignGate,
            (None, _) => WaitCode::NoProfile,
            _ => WaitCode::BehindOthers,
        };
        match gang.waiting.code.unwrap_or(first) {
            WaitCode::NoRoom if self.asks(id) => Some(WaitCode::NodesRequested),
            code => Some(code),
        }
    }

    /// The whole reason.
    pub(crate) fn reason(&self, id: GangId, code: WaitCode, position: u64, known: &mut Shortfalls) -> WaitReason {
        let text = self.text(id, code, position, known) + &self.patience_text(id);
        let expected = self.gangs[id].waiting.expected;
        let held = self.promises.held();
        WaitReason {
            code,
            text,
            position,
            start_p50: expected.map(|expected| expected.p50_ms),
            start_p90: expected.map(|expected| expected.p90_ms),
            starts_told: held.samples,
            starts_held_p50: held.within_p50,
            starts_held_p90: held.within_p90,
        }
    }

    /// How long its driver may wait, where that has an end, and what helps.
    fn patience_text(&self, id: GangId) -> String {
        let gang = &self.gangs[id];
        let Some(within_ms) = gang.start_within_ms.filter(|_| !gang.is_bound()) else {
            return String::new();
        };
        let first_s = within_ms.saturating_sub(self.config.start_margin_ms) / 1000;
        format!(
            "; its operator gives it up unless it runs {} s after its creation, so that from {first_s} s on it goes before \
             other queues: raise driverStartTimeoutMillis of its SparkApplication, and say so in the annotation \
             {START_WITHIN_ANNOTATION} of its driver",
            within_ms / 1000
        )
    }

    /// Which limit of its queue a gang meets.
    fn limit_text(&self, gang: &Gang, needs: &str) -> String {
        let queue = &gang.queue;
        let limit = &self.policy.rules(queue).limit;
        let mut more = Usage::default();
        more.add(&self.pods.all[gang.driver].requests, 1);
        if let Some(shape) = &gang.shape {
            more.add(&shape.executor, shape.minimum);
        }
        let amount = |name: &str, usage: &Usage| match name {
            "cpu" => format!("{}m", usage.requests.cpu_milli),
            "memory" => format!("{} MiB", usage.requests.memory_bytes.div_ceil(MIB)),
            "pods" => usage.pods.to_string(),
            name => usage.requests.units(name).to_string(),
        };
        let most = |name: &str| match name {
            "cpu" => limit.cpu_milli.map(|milli| format!("{milli}m")),
            "memory" => limit.memory_bytes.map(|bytes| format!("{} MiB", bytes / MIB)),
            "pods" => limit.pods.map(|pods| pods.to_string()),
            name => limit.extended.get(name).map(u64::to_string),
        };
        if let Some(name) = self.over_limit_alone(queue, &more) {
            let most = most(&name).unwrap_or_default();
            return format!("it needs {needs}: more {name} than the queue {queue} may have at all ({most})");
        }
        if let Some(name) = self.over_limit(queue, &more) {
            let (used, need) = (
                self.shares.used(queue).map(|used| amount(&name, used)),
                amount(&name, &more),
            );
            let (used, most) = (used.unwrap_or_default(), most(&name).unwrap_or_default());
            return format!(
                "the queue {queue} has {used} {name} of the {most} that it may have, and this needs {need}"
            );
        }
        format!("too many started drivers of the queue {queue} have lost their room and go first")
    }

    /// Who goes before a gang.
    fn ahead_text(&self, gang: &Gang, position: u64) -> String {
        let queue = &gang.queue;
        let name = |id: GangId| {
            let other = &self.gangs[id];
            format!("{}/{}", other.namespace, self.pods.all[other.driver].name)
        };
        match gang.waiting.behind {
            Some(Behind::Lost) => format!("a started driver of the queue {queue} has lost its room and goes first"),
            Some(Behind::Overdue(id)) if self.gangs.get(id).is_some() => {
                let other = &self.gangs[id].waiting;
                if other.pressed && other.overtaken < self.config.overtakes_max {
                    format!("{} has little time left to start and goes first", name(id))
                } else {
                    format!("{} was passed {} times and goes first", name(id), other.overtaken)
                }
            }
            Some(Behind::Guaranteed) => {
                format!("the queue {queue} has what it is guaranteed, and another that has not waits for room")
            }
            _ => {
                let before = position.saturating_sub(1);
                let head = self.queues.order(queue).next();
                let head = head.filter(|&head| before > 0 && self.gangs[head].driver != gang.driver);
                let head = head.map_or_else(String::new, |head| {
                    let code = self.wait_code(head).map_or("", WaitCode::as_str);
                    format!(", first of them {} ({code})", name(head))
                });
                format!("{before} before it in the queue {queue}{head}")
            }
        }
    }

    fn text(&self, id: GangId, code: WaitCode, position: u64, known: &mut Shortfalls) -> String {
        let asks = self.asks(id);
        let gang = &self.gangs[id];
        let driver = &self.pods.all[gang.driver].requests;
        let needs = match &gang.shape {
            Some(shape) if shape.minimum > 0 => {
                format!(
                    "a driver of {driver} and {} executors of {} each",
                    shape.minimum, shape.executor
                )
            }
            _ => format!("a driver of {driver}"),
        };
        let asked = if asks { "; nodes are asked for" } else { "" };
        match code {
            WaitCode::NoProfile => {
                "the number and size of its executors are still to be read from its configuration".to_owned()
            }
            WaitCode::BehindOthers => self.ahead_text(gang, position),
            WaitCode::NoRoom | WaitCode::NodesRequested => {
                format!("it needs {needs}; {}{asked}", self.shortfall_of(id, false, known))
            }
            WaitCode::TooLarge => format!(
                "it needs {needs}, more than the present nodes hold even without other jobs: {}{asked}",
                self.shortfall_of(id, true, known)
            ),
            WaitCode::NoMatchingNode => {
                let ruled = if self.has_peer_rules(gang) {
                    ", beside the pods that are there"
                } else {
                    ""
                };
                format!("no node satisfies its node selector, affinity and tolerations for {needs}{ruled}{asked}")
            }
            WaitCode::ResourceQuota => format!(
                "a ResourceQuota of the namespace {} has no room for its {} executors",
                gang.namespace,
                gang.minimum()
            ),
            WaitCode::QueueLimit => self.limit_text(gang, &needs),
            WaitCode::ForeignGate => "another scheduling gate than KOMPASS's is closed".to_owned(),
            WaitCode::Replanning => "its room was lost and is being looked for anew".to_owned(),
            WaitCode::TakingOver => "the planner has just taken over and still catches up".to_owned(),
        }
    }
}
