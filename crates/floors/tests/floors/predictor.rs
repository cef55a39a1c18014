//! The predictor around a fleet, as the service does it: asks, writes in order, and may die between any two calls.

use std::collections::{BTreeMap, BTreeSet};

use kompass_floors::{Fleet, Refusal, Rules, Write};

use crate::cloud::{Cloud, Refused};

pub(crate) const TTL_MS: i64 = 3_600_000;

pub(crate) fn rules(owner: &str) -> Rules {
    Rules {
        owner: owner.to_owned(),
        ttl_ms: TTL_MS,
        boot_ms: 5 * 60_000,
        discovery_tag: "k8s.io/cluster-autoscaler/enabled".to_owned(),
        listed: BTreeSet::new(),
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
    /// The process dies before it.
    DiesBefore,
    /// The process dies after it.
    DiesAfter,
    /// It is sent now, and done only after others have written, as by a process that has lost its lease.
    Late,
}

#[derive(Debug)]
pub(crate) struct Predictor {
    pub(crate) fleet: Fleet,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) late: Vec<Write>,
}

/// Whether it lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Lives,
    Dies,
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
        cloud: &mut Cloud,
        headroom: u32,
        busy: &BTreeSet<String>,
        pending: bool,
        fate: &mut impl FnMut(&Write) -> Fate,
    ) -> Life {
        self.fleet.decide(cloud.now_ms, headroom, busy.clone());
        // Once more to read back.
        for _ in 0..2 {
            let Some(question) = self.fleet.question(cloud.now_ms) else {
                return Life::Lives;
            };
            let groups = [cloud.describe()];
            let is_new = self.fleet.new_groups(&groups).next().is_some();
            let mut company = BTreeMap::new();
            if is_new || question.company.contains("spark") {
                company.insert("spark".to_owned(), cloud.company());
            }
            for order in self.fleet.plan(cloud.now_ms, &groups, &company, pending) {
                self.refusals.extend(order.plan.refusal);
                for write in order.plan.writes {
                    match self.send(cloud, write, fate) {
                        Sent::Done => {}
                        Sent::Failed => break,
                        Sent::Died => return Life::Dies,
                    }
                }
            }
        }
        Life::Lives
    }

    fn send(&mut self, cloud: &mut Cloud, write: Write, fate: &mut impl FnMut(&Write) -> Fate) -> Sent {
        let mut write = write;
        match fate(&write) {
            Fate::Well => {}
            Fate::DiesBefore => return Sent::Died,
            Fate::DiesAfter => {
                let _ = cloud.write(&write);
                return Sent::Died;
            }
            Fate::Late => {
                self.late.push(write);
                return Sent::Died;
            }
            Fate::Refused => {
                self.fleet.failed(cloud.now_ms, "spark");
                return Sent::Failed;
            }
            Fate::Lost => {
                let _ = cloud.write(&write);
                self.fleet.failed(cloud.now_ms, "spark");
                return Sent::Failed;
            }
        }
        loop {
            match cloud.write(&write) {
                Ok(()) => {
                    self.fleet.wrote(cloud.now_ms, "spark", &write);
                    return Sent::Done;
                }
                Err(Refused::StartTaken) => match write.a_minute_earlier(cloud.now_ms) {
                    Some(earlier) => write = earlier,
                    None => break,
                },
                Err(refused) => panic!("{write}: {refused:?}"),
            }
        }
        self.fleet.failed(cloud.now_ms, "spark");
        Sent::Failed
    }
}

enum Sent {
    Done,
    Failed,
    Died,
}
