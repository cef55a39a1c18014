//! Floors of node groups: asks AWS, writes in order, and tells what was done.

use std::collections::{BTreeMap, BTreeSet};

use kompass_aws::facts::Facts;
use kompass_aws::{Autoscaling, Error};
use kompass_floors::fleet::{HAND_OVER_MS, Order};
use kompass_floors::{Fleet, Group, Rules, Write};
use kompass_kube::lease::{Claim, Term};
use kompass_service::clock::Clock;
use kompass_service::logging::chain;
use tokio::sync::watch;
use tokio::time::Instant;

use super::journal::{Entry, Kind};
use super::metrics::ActMetrics;
use super::spending::Spending;

/// Looks in a row: one to decide by, one to read back.
const LOOKS_MAX: usize = 3;

/// After a question that failed; twice as long each further time.
const RETRY_MS: i64 = 5_000;
const RETRY_MAX_MS: i64 = 300_000;
/// What was described so long ago is not acted on.
const STALE_MS: i64 = 10_000;
/// With fewer boots than these the operator's word counts.
const BOOTS_MIN: usize = 8;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Empty nodes to hold in all.
    pub nodes: u32,
    /// The instances whose nodes pods work on.
    pub busy: BTreeSet<String>,
    /// Pods wait for the autoscaler to add nodes.
    pub pending: bool,
    /// Why so many, for the journal.
    pub why: String,
}

/// Keeps floors.
#[derive(Debug)]
pub struct Floors {
    cloud: Autoscaling,
    clock: Clock,
    claim: Option<watch::Receiver<Claim>>,
    /// When the term began in which it writes.
    term: Option<Instant>,
    /// What is known of machines.
    facts: Facts,
    metrics: ActMetrics,
    fleet: Fleet,
    node_hour: u64,
    spending: Spending,
    /// Questions that have failed in a row, and until when none is asked.
    failures: u32,
    again_ms: Option<i64>,
    /// The last refusal of each group, so that each is told once.
    told: BTreeMap<String, &'static str>,
}

impl Floors {
    /// Knows of no group yet. `rules` for the term that begins now.
    pub fn new(
        cloud: Autoscaling,
        clock: Clock,
        claim: Option<watch::Receiver<Claim>>,
        metrics: ActMetrics,
        rules: Rules,
        node_hour: u64,
    ) -> Self {
        let fleet = Fleet::new(rules, now_ms(&clock));
        Self {
            cloud,
            clock,
            claim,
            term: None,
            facts: Facts::default(),
            metrics,
            fleet,
            node_hour,
            spending: Spending::new(node_hour),
            failures: 0,
            again_ms: None,
            told: BTreeMap::new(),
        }
    }

    /// A term has begun: what was known is not trusted any more. Where there was another before, its writes may still be on
    /// their way.
    pub fn begin(&mut self, rules: Rules, term: Term) {
        self.term = Some(term.since);
        let waited_ms = if term.predecessor { 0 } else { HAND_OVER_MS };
        self.fleet = Fleet::new(rules, now_ms(&self.clock) - waited_ms);
        self.told.clear();
        // Others have paid for what was held meanwhile.
        self.spending = Spending::new(self.node_hour);
    }

    /// Groups that the autoscaler is told of one by one.
    pub fn set_listed(&mut self, listed: BTreeSet<String>) {
        self.fleet.set_listed(listed);
    }

    /// Takes what is known of machines: their prices, and how long they boot.
    pub fn note_facts(&mut self, facts: Facts, ready_ms: i64) {
        let measured_ms = facts.boots.quantile_ms(90).filter(|_| facts.boots.len() >= BOOTS_MIN);
        self.fleet
            .set_boot_ms(2 * measured_ms.unwrap_or(ready_ms).max(ready_ms));
        self.facts = facts;
    }

    /// Another acts now: what was held here is told by it.
    pub fn stand_down(&self) {
        self.metrics.floor_nodes.reset();
        self.metrics.unmet_nodes.set(f64::NAN);
    }

    /// The groups as they are known.
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Brings the groups closer to what is wanted. An error leaves the rest for the next time; entries tell of what was
    /// done before it.
    pub async fn reconcile(&mut self, wish: &Wish, entries: &mut Vec<Entry>) -> Result<(), Error> {
        let at_ms = now_ms(&self.clock);
        self.fleet.decide(at_ms, wish.nodes, wish.busy.clone());
        if self
            .again_ms
            .is_some_and(|again_ms| (0..RETRY_MAX_MS).contains(&(again_ms - at_ms)))
        {
            return Ok(());
        }
        let mut first = None;
        for _ in 0..LOOKS_MAX {
            let Some(question) = self.fleet.question(now_ms(&self.clock)) else {
                break;
            };
            let groups = match self.cloud.groups().await {
                Ok(groups) => groups,
                Err(error) => {
                    let pause_ms = (RETRY_MS << self.failures.min(6)).min(RETRY_MAX_MS);
                    self.again_ms = Some(now_ms(&self.clock) + pause_ms);
                    self.failures += 1;
                    return Err(error);
                }
            };
            (self.failures, self.again_ms) = (0, None);
            let mut asked = question.company;
            asked.retain(|name| groups.iter().any(|group| group.name == *name));
            asked.extend(self.fleet.new_groups(&groups).map(str::to_owned));
            let mut company = BTreeMap::new();
            for name in asked {
                match self.cloud.company(&name).await {
                    Ok(told) => drop(company.insert(name, told)),
                    // The others go on.
                    Err(error) => {
                        let at_ms = now_ms(&self.clock);
                        self.fleet.failed(at_ms, &name, None);
                        first.get_or_insert(error);
                    }
                }
            }
            self.fleet.learn(&groups);
            let facts = &self.facts;
            self.fleet
                .set_prices(|member| facts.price(member.instance_type()?, member.is_spot(), member.zones()));
            let planned_ms = now_ms(&self.clock);
            for order in self.fleet.plan(planned_ms, &groups, &company, wish.pending) {
                // With many groups, or a slow AWS: what was described may not be true any more.
                if now_ms(&self.clock) - planned_ms > STALE_MS {
                    self.fleet.postponed(planned_ms, &order.group);
                } else {
                    self.carry_out(order, &groups, wish, entries).await;
                }
            }
        }
        self.account(entries);
        self.tell_if_there_are_none(wish, entries);
        first.map_or(Ok(()), Err)
    }

    async fn carry_out(&mut self, order: Order, groups: &[Group], wish: &Wish, entries: &mut Vec<Entry>) {
        let Order { group, plan } = order;
        self.tell_refusal(&group, plan.refusal.as_ref(), entries);
        let min = groups
            .iter()
            .find(|known| known.name == group)
            .map_or(0, |known| known.min);
        for write in plan.writes {
            let sent = self.send(&group, write).await;
            let at_ms = now_ms(&self.clock);
            match sent {
                Ok(write) => {
                    self.fleet.wrote(at_ms, &group, &write);
                    if let Write::SetMin(nodes) = write {
                        let what = format!("MinSize {min} → {nodes}");
                        tracing::info!(group, what, why = wish.why, "floor");
                        entries.push(Entry::new(at_ms, Kind::Write, &group, what, wish.why.clone()));
                    }
                }
                Err((write, Unsent::NotClaimed)) => {
                    self.fleet.postponed(at_ms, &group);
                    tracing::info!(group, %write, "not written: the lease is not held any more");
                    return;
                }
                Err((write, Unsent::Failed(error))) => {
                    self.fleet.failed(at_ms, &group, Some(&write));
                    let error = chain(&error);
                    tracing::warn!(group, %write, error, "failed to write a floor");
                    entries.push(Entry::new(
                        at_ms,
                        Kind::Write,
                        &group,
                        format!("failed to {write}"),
                        error,
                    ));
                    return;
                }
            }
        }
        if let Some(by) = plan.ended {
            self.metrics.releases.with([by.name()]).inc();
            let at_ms = now_ms(&self.clock);
            let (what, cost) = self.spending.end(&group, at_ms);
            let why = plan.refusal.map_or_else(|| wish.why.clone(), |refusal| chain(&refusal));
            let what = format!("the floor has ended, by {}: {what}", by.name());
            tracing::info!(group, what, why, "floor");
            entries.push(Entry {
                cost: Some(cost),
                ..Entry::new(at_ms, Kind::Ended, &group, what, why)
            });
        }
    }

    /// Sends a write; a scheduled release at whose time another is to start is moved by a minute.
    async fn send(&self, group: &str, write: Write) -> Result<Write, (Write, Unsent)> {
        let mut write = write;
        loop {
            // Right before each: only who holds the lease writes, and in the term in which it was planned.
            let is_ours = |claim: &watch::Receiver<Claim>| {
                let term = claim.borrow().term();
                term.is_some_and(|term| Some(term.since) == self.term)
            };
            if !self.claim.as_ref().is_none_or(is_ours) {
                return Err((write, Unsent::NotClaimed));
            }
            let Err(error) = self.cloud.write(group, &write).await else {
                return Ok(write);
            };
            let taken = matches!(error, Error::StartTimeTaken { .. });
            match write.a_minute_earlier(now_ms(&self.clock)).filter(|_| taken) {
                Some(earlier) => write = earlier,
                None => return Err((write, Unsent::Failed(error))),
            }
        }
    }

    fn tell_refusal(&mut self, group: &str, refusal: Option<&kompass_floors::Refusal>, entries: &mut Vec<Entry>) {
        let Some(refusal) = refusal else {
            self.told.remove(group);
            return;
        };
        let code = refusal.code();
        self.metrics.refusals.with([code]).inc();
        if self.told.insert(group.to_owned(), code) != Some(code) {
            let why = chain(refusal);
            tracing::info!(group, code, why, "no floor, or not the wanted one");
            let at_ms = now_ms(&self.clock);
            entries.push(Entry::new(at_ms, Kind::Refused, group, code.to_owned(), why));
        }
    }

    /// Without a group nothing can be held: a tag that is forgotten must not look like a calm day.
    fn tell_if_there_are_none(&mut self, wish: &Wish, entries: &mut Vec<Entry>) {
        const NONE: &str = "no-groups";
        if wish.nodes == 0 || self.fleet.members().next().is_some() || !self.fleet.is_described() {
            self.told.remove("");
        } else if self.told.insert(String::new(), NONE) != Some(NONE) {
            let why = "no Auto Scaling group of this region has the tag kompass.dev/managed=true";
            tracing::warn!(why, "no floor");
            entries.push(Entry::new(
                now_ms(&self.clock),
                Kind::Refused,
                "",
                NONE.to_owned(),
                why.to_owned(),
            ));
        }
    }

    /// What is held, for the metrics and the bill.
    fn account(&mut self, entries: &mut Vec<Entry>) {
        if !self.fleet.is_described() {
            return;
        }
        let at_ms = now_ms(&self.clock);
        self.metrics.unmet_nodes.set(f64::from(self.fleet.unmet()));
        let mut gone: BTreeSet<String> = self.spending.groups().map(str::to_owned).collect();
        for (group, member) in self.fleet.members() {
            gone.remove(group);
            let floor = member.keeper().floor().map(|(tag, min)| min.saturating_sub(tag.base));
            self.metrics
                .floor_nodes
                .with([group])
                .set(f64::from(floor.unwrap_or(0)));
            let held = member.held().min(floor.unwrap_or(0));
            self.metrics
                .held_node_seconds
                .inc_by(self.spending.hold(group, held, at_ms));
        }
        for group in gone {
            // Deleted, or not to be touched any more.
            self.metrics.floor_nodes.remove([&group]);
            let (what, cost) = self.spending.end(&group, at_ms);
            let what = format!("the group is gone: {what}");
            let why = "AWS does not tell of it, or without kompass.dev/managed=true".to_owned();
            entries.push(Entry {
                cost: Some(cost),
                ..Entry::new(at_ms, Kind::Ended, &group, what, why)
            });
        }
    }
}

/// Why a write did not come through.
enum Unsent {
    NotClaimed,
    Failed(Error),
}

fn now_ms(clock: &Clock) -> i64 {
    i64::try_from(clock.now_ms()).unwrap_or(i64::MAX)
}
