//! All groups that may be given floors: what each is to hold, whom to ask, what to write.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::{Company, Group, Instance};
use crate::keeper::{Keeper, Look, Told};
use crate::plan::Plan;
use crate::rules::Rules;
use crate::share::{Room, share};
use crate::write::Write;

const MINUTE_MS: i64 = 60_000;
/// Nodes that no known group has are looked for among the groups at most so often.
const STRANGERS_MS: i64 = MINUTE_MS;
/// From the beginning of a term to the first question: what another had on its way has come by then.
pub const HAND_OVER_MS: i64 = MINUTE_MS;
/// New groups, and what has changed of those without a floor, are found after so long where nodes are wanted.
const DISCOVERY_MS: i64 = 30 * MINUTE_MS;

/// The groups.
#[derive(Debug, Clone)]
pub struct Fleet {
    rules: Rules,
    begun_ms: i64,
    members: BTreeMap<String, Member>,
    headroom: u32,
    /// Instances whose nodes pods run on.
    busy: BTreeSet<String>,
    /// Those of them that no group has, as far as is known.
    unknown: BTreeSet<String>,
    /// Those that no group had when the groups were last described.
    strangers: BTreeSet<String>,
    described_ms: Option<i64>,
}

/// A group, and what is wanted of it.
#[derive(Debug, Clone)]
pub struct Member {
    keeper: Keeper,
    max: u32,
    instances: BTreeSet<String>,
    instance_type: Option<String>,
    spot: bool,
    zones: Vec<String>,
    price: u64,
    busy: u32,
    held: u32,
    wanted: Option<u32>,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Groups of which also who else may change them is to be asked, and of new ones in any case.
    pub company: BTreeSet<String>,
}

/// What is to be done with a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub group: String,
    /// What to write, and why not more.
    pub plan: Plan,
}

impl Fleet {
    /// Knows no group yet. `now_ms`: the beginning of the term in which this process alone writes.
    pub const fn new(rules: Rules, now_ms: i64) -> Self {
        Self {
            rules,
            begun_ms: now_ms,
            members: BTreeMap::new(),
            headroom: 0,
            busy: BTreeSet::new(),
            unknown: BTreeSet::new(),
            strangers: BTreeSet::new(),
            described_ms: None,
        }
    }

    /// Groups that the autoscaler is told of one by one.
    pub fn set_listed(&mut self, listed: BTreeSet<String>) {
        self.rules.listed = Some(listed);
    }

    /// What a node of a group costs an hour, in any unit.
    pub fn set_prices(&mut self, price: impl Fn(&Member) -> Option<u64>) {
        for member in self.members.values_mut() {
            // Without a price it is not preferred to one that has one.
            member.price = price(member).unwrap_or(u64::MAX);
        }
    }

    /// How long instances take to be in service at most.
    pub const fn set_boot_ms(&mut self, boot_ms: i64) {
        self.rules.boot_ms = boot_ms;
    }

    /// Spreads the headroom over the groups. `busy`: the instances whose nodes pods run on.
    pub fn decide(&mut self, now_ms: i64, headroom: u32, busy: BTreeSet<String>) {
        self.headroom = headroom;
        self.busy = busy;
        self.spread(now_ms);
    }

    fn spread(&mut self, now_ms: i64) {
        let mut unknown: BTreeSet<&String> = self.busy.iter().collect();
        for member in self.members.values_mut() {
            let busy = member
                .instances
                .iter()
                .filter(|instance| unknown.remove(instance))
                .count();
            member.busy = u32::try_from(busy).unwrap_or(u32::MAX);
        }
        self.unknown = unknown.into_iter().cloned().collect();
        let rooms: Vec<Room> = self.members.values().map(|member| member.room(now_ms)).collect();
        for (member, wanted) in self.members.values_mut().zip(share(&rooms, self.headroom)) {
            let from = member.keeper.base().max(member.busy);
            member.held = wanted.map_or(0, |wanted| wanted - from);
            member.wanted = wanted;
        }
    }

    /// Whom to ask before [`Self::plan`]; nobody if nothing is to be done.
    pub fn question(&self, now_ms: i64) -> Option<Question> {
        // A clock that was set back makes it no longer.
        if (0..HAND_OVER_MS).contains(&(now_ms - self.begun_ms)) {
            return None;
        }
        let Some(described_ms) = self.described_ms else {
            return Some(Question {
                company: BTreeSet::new(),
            });
        };
        let age_ms = now_ms - described_ms;
        let is_wanted = self.headroom > 0;
        let mut is_needed = is_wanted && age_ms >= STRANGERS_MS && !self.unknown.is_subset(&self.strangers)
            || is_wanted && age_ms >= DISCOVERY_MS;
        let mut company = BTreeSet::new();
        for (name, member) in &self.members {
            match member.keeper.look(now_ms, member.wanted, &self.rules) {
                None => {}
                Some(Look::Group) => is_needed = true,
                Some(Look::Company) => {
                    is_needed = true;
                    company.insert(name.clone());
                }
            }
        }
        is_needed.then_some(Question { company })
    }

    /// New ones among the groups that were described: their company is to be asked, too,
    /// so that what is left of a floor is known at once.
    pub fn new_groups<'a>(&self, groups: &'a [Group]) -> impl Iterator<Item = &'a str> {
        let is_new = |group: &&Group| !self.members.contains_key(&group.name);
        groups.iter().filter(is_new).map(|group| group.name.as_str())
    }

    /// Learns which groups there are.
    pub fn learn(&mut self, groups: &[Group]) {
        self.members
            .retain(|name, _| groups.iter().any(|group| group.name == *name));
        for group in groups {
            let member = self.members.entry(group.name.clone()).or_default();
            member.see(group, &self.busy);
        }
    }

    /// What to write to groups that were [learned of](Self::learn). `company` of those that were asked; `pending`: pods wait for the autoscaler to add nodes.
    pub fn plan(
        &mut self,
        now_ms: i64,
        groups: &[Group],
        company: &BTreeMap<String, Company>,
        pending: bool,
    ) -> Vec<Order> {
        self.described_ms = Some(now_ms);
        self.spread(now_ms);
        self.strangers = self.unknown.clone();
        let mut orders = Vec::new();
        for group in groups {
            let Some(member) = self.members.get_mut(&group.name) else {
                continue;
            };
            let company = company.get(&group.name);
            match member.keeper.look(now_ms, member.wanted, &self.rules) {
                Some(Look::Group) => {}
                Some(Look::Company) if company.is_some() => {}
                // Nothing is to be done, or it is asked next time.
                _ => continue,
            }
            let told = Told {
                now_ms,
                group,
                company,
                pending,
            };
            let plan = member.keeper.plan(told, member.wanted, &self.rules);
            if plan != Plan::default() {
                orders.push(Order {
                    group: group.name.clone(),
                    plan,
                });
            }
        }
        orders
    }

    /// A write has come through.
    pub fn wrote(&mut self, now_ms: i64, group: &str, write: &Write) {
        if let Some(member) = self.members.get_mut(group) {
            member.keeper.wrote(now_ms, write);
        }
    }

    /// A call has failed, or it is not known what came of it. `write`: which, if it was one.
    pub fn failed(&mut self, now_ms: i64, group: &str, write: Option<&Write>) {
        if let Some(member) = self.members.get_mut(group) {
            member.keeper.failed(now_ms, write);
        }
    }

    /// What was planned was not written after all.
    pub fn postponed(&mut self, now_ms: i64, group: &str) {
        if let Some(member) = self.members.get_mut(group) {
            member.keeper.postponed(now_ms);
        }
    }

    /// The groups have been told of.
    pub const fn is_described(&self) -> bool {
        self.described_ms.is_some()
    }

    /// Empty nodes that are wanted and that no group can hold now.
    pub fn unmet(&self) -> u32 {
        let idle = |member: &Member| member.keeper.base().saturating_sub(member.busy);
        let met = self
            .members
            .values()
            .map(|member| member.held.saturating_add(idle(member)));
        self.headroom.saturating_sub(met.fold(0, u32::saturating_add))
    }

    /// Each group by name.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.members.iter().map(|(name, member)| (name.as_str(), member))
    }
}

impl Default for Member {
    fn default() -> Self {
        Self {
            keeper: Keeper::default(),
            max: 0,
            instances: BTreeSet::new(),
            instance_type: None,
            spot: false,
            zones: Vec::new(),
            // Without a price it is not preferred to one that has one.
            price: u64::MAX,
            busy: 0,
            held: 0,
            wanted: None,
        }
    }
}

impl Member {
    fn see(&mut self, group: &Group, busy: &BTreeSet<String>) {
        self.max = group.max;
        self.instances = group.instances.iter().map(|Instance { id, .. }| id.clone()).collect();
        self.instance_type = group.instance_types.first().cloned();
        self.spot = group.spot;
        self.zones.clone_from(&group.zones);
        if self.keeper.see(group) {
            // Goes on with what another has raised, or this one before its start.
            let busy = self.instances.intersection(busy).count();
            let from = self.keeper.base().max(u32::try_from(busy).unwrap_or(u32::MAX));
            self.held = group.min.saturating_sub(from);
        }
    }

    fn room(&self, now_ms: i64) -> Room {
        Room {
            base: self.keeper.base(),
            max: self.max,
            busy: self.busy,
            held: self.held,
            price: self.price,
            is_open: self.keeper.is_open(now_ms),
        }
    }

    /// What is known of its floor.
    pub const fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// The type that it launches first, if that is known.
    pub fn instance_type(&self) -> Option<&str> {
        self.instance_type.as_deref()
    }

    /// Whether it launches spot instances only.
    pub const fn is_spot(&self) -> bool {
        self.spot
    }

    /// The zones that it launches in.
    pub fn zones(&self) -> &[String] {
        &self.zones
    }

    /// Nodes that pods run on.
    pub const fn busy(&self) -> u32 {
        self.busy
    }

    /// Empty nodes that it is to hold.
    pub const fn held(&self) -> u32 {
        self.held
    }
}
