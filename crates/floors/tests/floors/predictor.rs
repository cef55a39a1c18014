//! The predictor around a fleet, as the service does it: asks, writes in order, and may die between any two calls.

use std::collections::{BTreeMap, BTreeSet};

use kompass_floors::{Fleet, Refusal, Rules, Write};

use crate::cloud::{Cloud, GROUP, instance};
use crate::model::asg::{Asg, Id, ValidationError};

pub(crate) const TTL_MS: i64 = 3_600_000;

fn rules(owner: &str) -> Rules {
    Rules {
        owner: owner.to_owned(),
        ttl_ms: TTL_MS,
        boot_ms: 5 * 60_000,
        discovery_tag: "k8s.io/cluster-autoscaler/enabled".to_owned(),
        listed: Some(BTreeSet::new()),
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Well,
    /// It is not done, and that is known.
    Refused,
    /// It is done, but not known to be.
    Lost,
    /// It is not known to be done, and is done later.
    Stuck,
    /// The process dies before it.
    DiesBefore,
    /// The process dies after it.
    DiesAfter,
    /// The process dies, and what it has sent is done later.
    Late,
}

/// Whether it lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Lives,
    Dies,
}

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) headroom: u32,
    pub(crate) busy: BTreeSet<Id>,
    pub(crate) pending: bool,
}

#[derive(Debug)]
pub(crate) struct Predictor {
    pub(crate) fleet: Fleet,
    pub(crate) refusals: Vec<Refusal>,
    /// Sent and not done yet.
    pub(crate) late: Vec<Write>,
}

enum Sent {
    Done,
    Failed,
    Died,
}

impl Predictor {
    pub(crate) fn new(owner: &str, now_ms: i64) -> Self {
        Self {
            fleet: Fleet::new(rules(owner), now_ms),
            refusals: Vec::new(),
            late: Vec::new(),
        }
    }

    /// One look, with its writes.
    pub(crate) fn step(
        &mut self,
        asg: &mut Asg,
        cloud: &mut Cloud,
        wish: &Wish,
        fate: &mut impl FnMut(&Write) -> Fate,
    ) -> Life {
        let busy = wish.busy.iter().map(|id| instance(*id)).collect();
        self.fleet.decide(asg.now_ms, wish.headroom, busy);
        // Once more to read back.
        for _ in 0..2 {
            let Some(question) = self.fleet.question(asg.now_ms) else {
                return Life::Lives;
            };
            let groups = [cloud.describe(asg)];
            let is_new = self.fleet.new_groups(&groups).next().is_some();
            let mut company = BTreeMap::new();
            if is_new || question.company.contains(GROUP) {
                company.insert(GROUP.to_owned(), cloud.company(asg));
            }
            self.fleet.learn(&groups);
            for order in self.fleet.plan(asg.now_ms, &groups, &company, wish.pending) {
                self.refusals.extend(order.plan.refusal);
                for write in order.plan.writes {
                    match self.send(asg, cloud, write, fate) {
                        Sent::Done => {}
                        Sent::Failed => break,
                        Sent::Died => return Life::Dies,
                    }
                }
            }
        }
        Life::Lives
    }

    fn send(&mut self, asg: &mut Asg, cloud: &mut Cloud, write: Write, fate: &mut impl FnMut(&Write) -> Fate) -> Sent {
        let fate = fate(&write);
        let mut write = write;
        match fate {
            Fate::Well => {}
            Fate::DiesBefore => return Sent::Died,
            Fate::DiesAfter => {
                let _ = cloud.write(asg, &write);
                return Sent::Died;
            }
            Fate::Late => {
                self.late.push(write);
                return Sent::Died;
            }
            Fate::Refused | Fate::Lost | Fate::Stuck => {
                if fate == Fate::Lost {
                    let _ = cloud.write(asg, &write);
                } else if fate == Fate::Stuck {
                    self.late.push(write.clone());
                }
                self.fleet.failed(asg.now_ms, GROUP, Some(&write));
                return Sent::Failed;
            }
        }
        loop {
            match cloud.write(asg, &write) {
                Ok(()) => {
                    self.fleet.wrote(asg.now_ms, GROUP, &write);
                    return Sent::Done;
                }
                Err(ValidationError::StartTaken) => match write.a_minute_earlier(asg.now_ms) {
                    Some(earlier) => write = earlier,
                    None => break,
                },
                Err(refused) => panic!("{write}: {refused:?}"),
            }
        }
        self.fleet.failed(asg.now_ms, GROUP, Some(&write));
        Sent::Failed
    }
}
