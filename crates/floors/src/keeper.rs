//! Keeps the floor of one group: remembers what was seen and written, asks the cloud only when something is to be done,
//! and leaves a group alone where things go wrong.

use crate::group::{Company, FLOOR_TAG, Group};
use crate::late::{Late, is_within};
use crate::patience::Patience;
use crate::plan::{By, Plan, Release, Sight, plan};
use crate::rules::{LOWER_PAUSE_MS, Refusal, Rules, START_MARGIN_MS, WRITE_PAUSE_MS};
use crate::tag::Tag;
use crate::write::Write;

const MINUTE_MS: i64 = 60_000;

/// What to ask the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// The group alone.
    Group,
    /// Also who else may change it, and the scheduled release.
    Company,
}

/// What the cloud has just told, and when.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The time, milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// The group.
    pub group: &'a Group,
    /// Who else may change it, where that was asked.
    pub company: Option<&'a Company>,
    /// Pods wait for the autoscaler to add nodes.
    pub pending: bool,
}

/// What a keeper believes of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Belief {
    /// After the start, or after a call whose end is not known.
    Unknown,
    /// There is no floor.
    Nothing,
    /// There is one.
    Floor { tag: Tag, release: Option<Release> },
}

/// The floor of one group.
#[derive(Debug, Clone)]
pub struct Keeper {
    belief: Belief,
    /// `MinSize`, as last seen or written.
    min: u32,
    /// `MaxSize`, as last seen.
    max: u32,
    /// The floor was seen.
    in_place: bool,
    /// When `MinSize` was last written.
    wrote_ms: Option<i64>,
    /// It is to be looked at then in any case.
    look_ms: Option<i64>,
    /// Since when instances are missing.
    short_since_ms: Option<i64>,
    /// What ends is somebody else's now.
    hands_off: bool,
    patience: Patience,
    late: Late,
}

impl Default for Keeper {
    fn default() -> Self {
        Self {
            belief: Belief::Unknown,
            min: 0,
            max: u32::MAX,
            in_place: false,
            wrote_ms: None,
            look_ms: None,
            short_since_ms: None,
            hands_off: false,
            patience: Patience::default(),
            late: Late::default(),
        }
    }
}

impl Keeper {
    /// The floor that there is: tag and `MinSize`.
    pub fn floor(&self) -> Option<(&Tag, u32)> {
        match &self.belief {
            Belief::Floor { tag, .. } => Some((tag, self.min)),
            Belief::Unknown | Belief::Nothing => None,
        }
    }

    /// The nodes that the group has in any case.
    pub fn base(&self) -> u32 {
        self.floor().map_or(self.min, |(tag, _)| tag.base)
    }

    /// Why there is no floor, or not the wanted one.
    pub const fn refusal(&self) -> Option<&Refusal> {
        self.patience.refusal()
    }

    /// Whether it may be raised, as far as is known.
    pub fn is_open(&self, now_ms: i64) -> bool {
        self.patience.is_open(now_ms)
    }

    /// What the cloud has to be asked before [`Self::plan`]; nothing if nothing is to be done.
    pub fn look(&self, now_ms: i64, wanted: Option<u32>, rules: &Rules) -> Option<Look> {
        if !self.patience.may_call(now_ms) {
            return None;
        }
        let wanted = wanted.map(|wanted| wanted.min(self.max));
        let rested = |pause_ms| !self.wrote_within(now_ms, pause_ms);
        let rests = self.look_ms.is_some_and(|at_ms| now_ms < at_ms);
        let may_raise = rested(WRITE_PAUSE_MS) && self.patience.may_raise(now_ms);
        let is_asked = self.look_ms.is_some_and(|at_ms| now_ms >= at_ms) || self.late.is_due(now_ms);
        match &self.belief {
            Belief::Unknown => Some(Look::Company),
            Belief::Floor { release: None, .. } => (!rests).then_some(Look::Company),
            Belief::Nothing => {
                let is_raise = wanted.is_some_and(|wanted| wanted > self.min);
                (is_asked || is_raise && may_raise).then_some(Look::Company)
            }
            Belief::Floor {
                tag,
                release: Some(release),
            } => {
                let left_ms = release.start_ms - now_ms;
                if left_ms < -START_MARGIN_MS {
                    return Some(Look::Company);
                }
                let close = left_ms <= START_MARGIN_MS;
                let moves = match wanted.filter(|&wanted| wanted > tag.base) {
                    None => rested(WRITE_PAUSE_MS),
                    // AWS may be running the release.
                    Some(_) if close => false,
                    Some(wanted) if wanted > self.min => may_raise,
                    Some(wanted) if wanted < self.min => rested(LOWER_PAUSE_MS),
                    Some(_) => false,
                };
                let is_due = left_ms <= rules.ttl_ms * 2 / 3 && !close;
                (moves || is_due || is_asked).then_some(Look::Group)
            }
        }
    }

    /// Learns how a group is now. Tells whether nothing was known of it.
    pub fn see(&mut self, group: &Group) -> bool {
        let tag = group.tags.get(FLOOR_TAG).and_then(|text| text.parse::<Tag>().ok());
        self.max = group.max;
        match &self.belief {
            Belief::Unknown => {
                self.min = group.min;
                if let Some(tag) = tag {
                    self.belief = Belief::Floor { tag, release: None };
                }
                true
            }
            Belief::Nothing if tag.is_none() => {
                self.min = group.min;
                false
            }
            Belief::Nothing | Belief::Floor { .. } => false,
        }
    }

    /// What to write, from what the cloud has just told.
    pub fn plan(&mut self, told: Told<'_>, wanted: Option<u32>, rules: &Rules) -> Plan {
        let plan = self.planned(told, wanted, rules);
        self.late.forget(told.now_ms);
        plan
    }

    fn planned(&mut self, told: Told<'_>, wanted: Option<u32>, rules: &Rules) -> Plan {
        let Told {
            now_ms,
            group,
            company,
            pending,
        } = told;
        self.look_ms = None;
        self.patience.looked();
        self.late.looked(now_ms);
        let release = company.map_or_else(|| self.release(), Release::of);
        (self.min, self.max) = (group.min, group.max);
        self.hands_off = false;
        if !group.tags.contains_key(&rules.discovery_tag) {
            // Another cluster's, perhaps: not even what looks like a floor is touched.
            self.belief = Belief::Nothing;
            let refusal = Refusal::NotDiscovered(rules.discovery_tag.clone());
            return self.refused(now_ms, refusal);
        }
        let tag = match group.tags.get(FLOOR_TAG).map(|text| text.parse::<Tag>()) {
            None => None,
            Some(Ok(tag)) => Some(tag),
            Some(Err(error)) => {
                // Its release runs by itself.
                self.belief = Belief::Unknown;
                self.patience.rest(now_ms);
                return self.refused(now_ms, Refusal::Malformed(error));
            }
        };
        self.belief = tag
            .clone()
            .map_or(Belief::Nothing, |tag| Belief::Floor { tag, release });
        if tag.is_none()
            && release.is_none()
            && let Some(base) = self.late.raised(now_ms, group.min)
        {
            return Plan {
                writes: vec![Write::SetMin(base)],
                ..Plan::default()
            };
        }
        self.note(now_ms, tag.as_ref(), group);
        let left_alone_until_ms = self.patience.left_alone_until_ms(now_ms).filter(|_| wanted.is_some());
        let sight = Sight {
            now_ms,
            group,
            tag: tag.as_ref(),
            release,
            company,
            pending,
            sent: self.late.sent(),
            seen_in_place: self.in_place,
            short_since_ms: self.short_since_ms,
        };
        let plan = plan(&sight, wanted.filter(|_| left_alone_until_ms.is_none()), rules);
        let pause_ms = self.pause_ms(&plan.writes);
        if let Some(wrote_ms) = self.wrote_ms.filter(|_| self.wrote_within(now_ms, pause_ms)) {
            self.look_ms = Some(wrote_ms + pause_ms);
            return Plan::default();
        }
        self.hands_off = plan.ended == Some(By::Others);
        if self.short_since_ms.is_some() {
            self.look_ms = Some(now_ms + MINUTE_MS);
        }
        let refusal = plan
            .refusal
            .clone()
            .or_else(|| left_alone_until_ms.map(|until_ms| Refusal::BackingOff { until_ms }));
        let refusal = self.patience.judged(now_ms, refusal);
        Plan { refusal, ..plan }
    }

    /// A write has come through.
    pub fn wrote(&mut self, now_ms: i64, write: &Write) {
        self.patience.succeeded();
        match write {
            Write::Tag(tag) => {
                self.belief = Belief::Floor {
                    release: self.release(),
                    tag: tag.clone(),
                };
            }
            Write::Schedule { base, start_ms } => {
                if let Belief::Floor { release, .. } = &mut self.belief {
                    *release = Some(Release {
                        start_ms: *start_ms,
                        base: Some(*base),
                    });
                }
            }
            Write::SetMin(min) => {
                self.min = *min;
                self.in_place = false;
                self.wrote_ms = Some(now_ms);
                // Read back.
                self.look_ms = Some(now_ms);
            }
            Write::Unschedule => {
                if let Belief::Floor { release, .. } = &mut self.belief {
                    *release = None;
                }
            }
            Write::Untag => {
                if let Belief::Floor { tag, .. } = &self.belief
                    && (!self.hands_off || !self.late.sent().is_empty())
                {
                    self.late.released(tag.clone(), now_ms);
                }
                self.belief = Belief::Nothing;
                self.in_place = false;
                self.short_since_ms = None;
            }
        }
    }

    /// A call has failed, or it is not known what came of it: all is looked at anew, and later each further time. `write`:
    /// which, if it was one.
    pub fn failed(&mut self, now_ms: i64, write: Option<&Write>) {
        if let Some(Write::SetMin(min)) = write {
            self.late.lost(*min, now_ms);
            self.wrote_ms = Some(now_ms);
        }
        self.belief = Belief::Unknown;
        self.patience.failed(now_ms);
    }

    /// What was planned was not written after all: it is looked at anew.
    pub const fn postponed(&mut self, now_ms: i64) {
        self.look_ms = Some(now_ms);
    }

    fn release(&self) -> Option<Release> {
        match &self.belief {
            Belief::Floor { release, .. } => *release,
            Belief::Unknown | Belief::Nothing => None,
        }
    }

    /// How long the last write of `MinSize` must be ago.
    fn pause_ms(&self, writes: &[Write]) -> i64 {
        let min = writes.iter().find_map(|write| match write {
            Write::SetMin(min) => Some(*min),
            _ => None,
        });
        match min {
            None => 0,
            Some(min) if min < self.min && min > self.base() => LOWER_PAUSE_MS,
            Some(_) => WRITE_PAUSE_MS,
        }
    }

    fn wrote_within(&self, now_ms: i64, span_ms: i64) -> bool {
        self.wrote_ms
            .is_some_and(|wrote_ms| is_within(wrote_ms, now_ms, span_ms))
    }

    fn refused(&mut self, now_ms: i64, refusal: Refusal) -> Plan {
        Plan {
            refusal: self.patience.judged(now_ms, Some(refusal)),
            ..Plan::default()
        }
    }

    /// Remembers what can only be told over time.
    fn note(&mut self, now_ms: i64, tag: Option<&Tag>, group: &Group) {
        let Some(tag) = tag else {
            self.in_place = false;
            self.short_since_ms = None;
            return;
        };
        if group.min == tag.floor && tag.floor > tag.base {
            self.in_place = true;
        }
        let is_short = group.min > tag.base && group.in_service() < group.min;
        if !is_short {
            self.short_since_ms = None;
            if group.min > tag.base {
                self.patience.fulfilled();
            }
        } else if self.short_since_ms.is_none() {
            self.short_since_ms = Some(now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another cluster's, or one that this cluster's autoscaler is told of otherwise.
    #[test]
    fn what_the_autoscaler_does_not_find_is_not_touched_whatever_its_tags_say() {
        let rules = Rules {
            owner: "me".to_owned(),
            ttl_ms: 3_600_000,
            boot_ms: 300_000,
            discovery_tag: "autoscaler".to_owned(),
            listed: Some(std::collections::BTreeSet::new()),
        };
        let floor = "base=2 floor=7 was=2 since=2026-11-30T06:00:00Z until=2026-11-30T07:00:00Z owner=other";
        let mut group = Group {
            min: 7,
            max: 9,
            ..Group::default()
        };
        for tags in [vec![], vec![(FLOOR_TAG, floor)], vec![(FLOOR_TAG, "nonsense")]] {
            group.tags = tags
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            for wanted in [None, Some(9)] {
                let told = Told {
                    now_ms: 0,
                    group: &group,
                    company: Some(&Company::default()),
                    pending: false,
                };
                let plan = Keeper::default().plan(told, wanted, &rules);
                assert!(plan.writes.is_empty(), "{plan:?}");
                assert_eq!(plan.refusal.as_ref().map(Refusal::code), Some("not-discovered"));
            }
        }
    }
}
