//! From what the cloud tells and what is wanted to what is written. Every prefix of what is written leaves a group that
//! comes back to its base by itself: the tag comes first, then the scheduled release, and only then the floor.

use crate::group::{Company, Group, RELEASE_ACTION};
use crate::rules::{Refusal, Rules, START_MARGIN_MS};
use crate::tag::Tag;
use crate::write::Write;

/// What is known at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// The time, milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// The group, as just described.
    pub group: &'a Group,
    /// Its tag, if it has one.
    pub tag: Option<&'a Tag>,
    /// Its scheduled release: when it runs, and the `MinSize` that it sets.
    pub release: Option<Release>,
    /// The others that may change it; needed where there is no floor yet.
    pub company: Option<&'a Company>,
    /// Pods wait for the autoscaler to add nodes.
    pub pending: bool,
    /// Sizes that this process has sent lately without learning what became of them, and when: as good as those of the tag.
    pub sent: &'a [(u32, i64)],
    /// This process has seen the floor of the tag in place.
    pub seen_in_place: bool,
    /// Since when fewer instances are in service than the floor says, milliseconds.
    pub short_since_ms: Option<i64>,
}

/// The scheduled release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// When it runs, milliseconds since 1970 UTC.
    pub start_ms: i64,
    /// The `MinSize` that it sets; what else it sets makes it none of ours.
    pub base: Option<u32>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order; the first that fails ends it.
    pub writes: Vec<Write>,
    /// Why there is no floor, or not the wanted one.
    pub refusal: Option<Refusal>,
    /// Who has given a floor back, if one ends with this.
    pub ended: Option<By>,
}

/// Who gives a floor back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// These writes do.
    Us,
    /// The scheduled release has.
    Cloud,
    /// Somebody else has, or has changed it so that it is theirs now.
    Others,
}

impl By {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Us => "predictor",
            Self::Cloud => "cloud",
            Self::Others => "others",
        }
    }
}

impl Release {
    /// That of a group, if it has one.
    pub fn of(company: &Company) -> Option<Self> {
        let action = company.actions.iter().find(|action| action.name == RELEASE_ACTION)?;
        let alone = !action.recurs && action.desired.is_none() && action.max.is_none();
        Some(Self {
            start_ms: action.start_ms.unwrap_or(i64::MAX),
            base: action.min.filter(|_| alone && action.start_ms.is_some()),
        })
    }
}

/// What is to be written so that the group has this floor (in all, busy nodes included), or none.
pub fn plan(sight: &Sight<'_>, wanted: Option<u32>, rules: &Rules) -> Plan {
    let Some(tag) = sight.tag else {
        return without_tag(sight, wanted, rules);
    };
    let min = sight.group.min;
    let base = tag.base;
    let was_sent = sight.sent.iter().any(|&(sent, _)| sent == min);
    if !tag.is_ours(min) && !was_sent {
        let refusal = Refusal::ForeignMin {
            found: min,
            base,
            floor: tag.floor,
        };
        return given_up(vec![Write::Unschedule, Write::Untag], refusal, By::Others);
    }
    let Some(release) = sight.release else {
        // It has run; or the raise or the release that was to come has never come so far.
        if min == base {
            let mut raised = without_tag(sight, wanted, rules);
            if raised.writes.is_empty() {
                raised.writes.push(Write::Untag);
            }
            raised.ended = sight.seen_in_place.then_some(By::Cloud);
            return raised;
        }
        return given_up(vec![Write::SetMin(base), Write::Untag], Refusal::Tampered, By::Us);
    };
    if release.base != Some(base) {
        return given_up(give_back(sight, base), Refusal::Tampered, By::Us);
    }
    let left_ms = release.start_ms - sight.now_ms;
    if left_ms < -START_MARGIN_MS {
        if min == base {
            return Plan {
                writes: vec![Write::Unschedule, Write::Untag],
                refusal: None,
                ended: Some(By::Cloud),
            };
        }
        return given_up(give_back(sight, base), Refusal::Overdue, By::Us);
    }
    let close = left_ms <= START_MARGIN_MS;
    let wanted = wanted
        .map(|wanted| wanted.min(sight.group.max))
        .filter(|&wanted| wanted > base);
    let Some(wanted) = wanted else {
        return Plan {
            writes: give_back(sight, base),
            refusal: None,
            ended: Some(By::Us),
        };
    };
    if let Some(process) = suspended(sight.group) {
        return given_up(give_back(sight, base), Refusal::Suspended(process), By::Us);
    }
    if close {
        // AWS may be running it; what comes of it is seen soon.
        return Plan::default();
    }
    if min == base && tag.floor > base && sight.seen_in_place && !was_sent {
        let refusal = Refusal::ForeignMin {
            found: min,
            base,
            floor: tag.floor,
        };
        return given_up(vec![Write::Unschedule, Write::Untag], refusal, By::Others);
    }
    if let Some(since_ms) = sight
        .short_since_ms
        .filter(|since_ms| sight.now_ms - since_ms >= rules.boot_ms)
    {
        let refusal = Refusal::NoCapacity {
            in_service: sight.group.in_service(),
            floor: min,
            minutes: (sight.now_ms - since_ms) / 60_000,
        };
        return given_up(give_back(sight, base), refusal, By::Us);
    }
    follow(sight, tag, release, wanted, rules)
}

/// Keeps a floor that is in order at the wanted number of nodes.
fn follow(sight: &Sight<'_>, tag: &Tag, release: Release, wanted: u32, rules: &Rules) -> Plan {
    let min = sight.group.min;
    let is_raise = wanted > min;
    let held_back = is_raise.then(|| unsettled(sight)).flatten();
    let wanted = if held_back.is_some() { min } else { wanted };
    let left_ms = release.start_ms - sight.now_ms;
    let is_due = left_ms <= rules.ttl_ms * 2 / 3;
    let mut writes = Vec::new();
    let mut until_ms = release.start_ms;
    if is_due && wanted > tag.base {
        until_ms = end_ms(sight.now_ms, rules);
        writes.push(Write::Schedule {
            base: tag.base,
            start_ms: until_ms,
        });
    }
    let next = Tag {
        base: tag.base,
        floor: wanted,
        was: min,
        since_ms: if is_raise && wanted > min {
            sight.now_ms
        } else {
            tag.since_ms
        },
        until_ms,
        owner: rules.owner.clone(),
    };
    let changed = wanted != min;
    // A tag that names another owner or end is put right along with the next renewal; one that does not know what has come
    // late, at once.
    if changed || is_due || !tag.is_ours(min) {
        writes.push(Write::Tag(next));
    }
    if changed {
        writes.push(Write::SetMin(wanted));
    }
    Plan {
        writes,
        refusal: held_back,
        ended: None,
    }
}

fn without_tag(sight: &Sight<'_>, wanted: Option<u32>, rules: &Rules) -> Plan {
    let group = sight.group;
    let base = group.min;
    if sight.tag.is_none()
        && let Some(release) = sight.release
    {
        // Somebody has deleted the tag. What it would set is the base.
        return if release.base.is_some_and(|before| before >= base) {
            Plan {
                writes: vec![Write::Unschedule],
                ..Plan::default()
            }
        } else {
            refused(Refusal::Stray)
        };
    }
    let Some(wanted) = wanted.filter(|&wanted| wanted > base) else {
        return Plan::default();
    };
    let Some(company) = sight.company else {
        // Nobody has asked who else changes it.
        return Plan::default();
    };
    if let Some(refusal) = unfit(group, company, rules) {
        return refused(refusal);
    }
    if group.max <= base {
        return refused(Refusal::Full { max: group.max, base });
    }
    if let Some(refusal) = unsettled(sight) {
        return refused(refusal);
    }
    let until_ms = end_ms(sight.now_ms, rules);
    let floor = wanted.min(group.max);
    let tag = Tag {
        base,
        floor,
        was: base,
        since_ms: sight.now_ms,
        until_ms,
        owner: rules.owner.clone(),
    };
    Plan {
        writes: vec![
            Write::Tag(tag),
            Write::Schedule {
                base,
                start_ms: until_ms,
            },
            Write::SetMin(floor),
        ],
        ..Plan::default()
    }
}

/// Why the group gets no floor at all.
fn unfit(group: &Group, company: &Company, rules: &Rules) -> Option<Refusal> {
    if group.tags.contains_key(crate::group::EKS_TAG) {
        return Some(Refusal::Eks);
    }
    match &rules.listed {
        None => return Some(Refusal::ListedUnknown),
        Some(listed) if listed.contains(&group.name) => return Some(Refusal::Listed),
        Some(_) => {}
    }
    if let Some(process) = suspended(group) {
        return Some(Refusal::Suspended(process));
    }
    let mut foreign = company.actions.iter().filter(|action| action.name != RELEASE_ACTION);
    if let Some(action) = foreign.next() {
        return Some(Refusal::ForeignAction(action.name.clone()));
    }
    company.policies.first().cloned().map(Refusal::Policy)
}

/// Why it is not raised now.
fn unsettled(sight: &Sight<'_>) -> Option<Refusal> {
    let (desired, in_service) = (sight.group.desired, sight.group.in_service());
    if desired != in_service {
        return Some(Refusal::Unsettled { desired, in_service });
    }
    sight.pending.then_some(Refusal::Pending)
}

/// A process without which a floor does not come or go.
fn suspended(group: &Group) -> Option<String> {
    let needed = ["ScheduledActions", "Launch"];
    needed
        .into_iter()
        .find(|process| group.suspended.contains(*process))
        .map(str::to_owned)
}

fn give_back(sight: &Sight<'_>, base: u32) -> Vec<Write> {
    let mut writes = Vec::with_capacity(3);
    if sight.group.min != base {
        writes.push(Write::SetMin(base));
    }
    writes.extend([Write::Unschedule, Write::Untag]);
    writes
}

/// Whole seconds: AWS knows no others.
fn end_ms(now_ms: i64, rules: &Rules) -> i64 {
    let end_ms = now_ms + rules.ttl_ms;
    end_ms - end_ms.rem_euclid(1_000)
}

fn refused(refusal: Refusal) -> Plan {
    Plan {
        refusal: Some(refusal),
        ..Plan::default()
    }
}

fn given_up(writes: Vec<Write>, refusal: Refusal, by: By) -> Plan {
    Plan {
        writes,
        refusal: Some(refusal),
        ended: Some(by),
    }
}

#[cfg(test)]
mod tests;
