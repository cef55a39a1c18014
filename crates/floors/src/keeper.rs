//! Keeps the floor of one group: remembers what was seen and written, asks the cloud only when something is to be done,
//! and leaves a group alone where things go wrong.

use crate::group::{Company, FLOOR_TAG, Group};
use crate::plan::{By, Plan, Release, Sight, plan};
use crate::rules::{LOWER_PAUSE_MS, Refusal, Rules, START_MARGIN_MS, WRITE_PAUSE_MS};
use crate::tag::Tag;
use crate::write::Write;

const MINUTE_MS: i64 = 60_000;
/// What was refused is asked for again after so long, or after a minute if it passes by itself; twice as long each further
/// time, up to the longest.
const REFUSED_MS: i64 = 5 * MINUTE_MS;
const REFUSED_MAX_MS: i64 = 60 * MINUTE_MS;
const SHORT_MAX_MS: i64 = 4 * MINUTE_MS;
/// The first back-off; each further one is twice as long.
const BACK_OFF_MS: i64 = 10 * MINUTE_MS;
const BACK_OFF_MAX_MS: i64 = 120 * MINUTE_MS;
/// After a write that failed.
const RETRY_MS: i64 = 15_000;
const RETRY_MAX_MS: i64 = 8 * MINUTE_MS;
/// What was sent can come so late: as long as a signed request counts.
const LATE_MAX_MS: i64 = 16 * MINUTE_MS;
/// Looks after a release: what another process had on its way may come late, at most as long as its signature counts.
const AFTERWARDS_MS: [i64; 3] = [0, MINUTE_MS, LATE_MAX_MS];

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
    /// A call has failed: nothing before then.
    retry_ms: Option<i64>,
    failures: u32,
    refusal: Option<Refusal>,
    /// How often in a row it was refused for the same reason.
    refused_times: u32,
    /// What was refused is not tried before then.
    refused_until_ms: Option<i64>,
    short_since_ms: Option<i64>,
    strikes: u32,
    left_alone_until_ms: Option<i64>,
    /// A floor that was given back, when, and the looks that are still to come.
    released: Option<(Tag, i64)>,
    afterwards_ms: Vec<i64>,
    /// Sizes that were sent and of which it is not known what became, and when.
    sent: Vec<(u32, i64)>,
    /// What ends is somebody else's now.
    hands_off: bool,
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
            retry_ms: None,
            failures: 0,
            refusal: None,
            refused_times: 0,
            refused_until_ms: None,
            short_since_ms: None,
            strikes: 0,
            left_alone_until_ms: None,
            released: None,
            afterwards_ms: Vec::new(),
            sent: Vec::new(),
            hands_off: false,
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
        self.refusal.as_ref()
    }

    /// Whether it may be raised, as far as is known.
    pub fn is_open(&self, now_ms: i64) -> bool {
        let is_short = self.refusal.as_ref().is_some_and(Refusal::is_short);
        passed(self.left_alone_until_ms, now_ms) && (is_short || passed(self.refused_until_ms, now_ms))
    }

    /// What the cloud has to be asked before [`Self::plan`]; nothing if nothing is to be done.
    pub fn look(&self, now_ms: i64, wanted: Option<u32>, rules: &Rules) -> Option<Look> {
        if !passed(self.retry_ms, now_ms) {
            return None;
        }
        let wanted = wanted.map(|wanted| wanted.min(self.max));
        let rested = |pause_ms| !is_within(self.wrote_ms, now_ms, pause_ms);
        let rests = self.look_ms.is_some_and(|at_ms| now_ms < at_ms);
        let may_raise =
            rested(WRITE_PAUSE_MS) && passed(self.refused_until_ms, now_ms) && passed(self.left_alone_until_ms, now_ms);
        let is_asked = self.look_ms.is_some_and(|at_ms| now_ms >= at_ms)
            || self.afterwards_ms.first().is_some_and(|&at_ms| now_ms >= at_ms);
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
        // Not before: what has come since the last look is known by them.
        self.sent
            .retain(|&(_, at_ms)| is_within(Some(at_ms), told.now_ms, LATE_MAX_MS));
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
        self.retry_ms = None;
        self.afterwards_ms.retain(|&at_ms| at_ms > now_ms);
        let known = match &self.belief {
            Belief::Floor { release, .. } => *release,
            Belief::Unknown | Belief::Nothing => None,
        };
        let release = company.map_or(known, Release::of);
        (self.min, self.max) = (group.min, group.max);
        self.hands_off = false;
        if !group.tags.contains_key(&rules.discovery_tag) {
            // Another cluster's, perhaps: not even what looks like a floor is touched.
            self.belief = Belief::Nothing;
            let refusal = Refusal::NotDiscovered(rules.discovery_tag.clone());
            return Plan {
                refusal: Some(self.refuse(now_ms, refusal)),
                ..Plan::default()
            };
        }
        let tag = match group.tags.get(FLOOR_TAG).map(|text| text.parse::<Tag>()) {
            None => None,
            Some(Ok(tag)) => Some(tag),
            Some(Err(error)) => {
                // Its release runs by itself.
                self.belief = Belief::Unknown;
                self.retry_ms = Some(now_ms + REFUSED_MS);
                return Plan {
                    refusal: Some(self.refuse(now_ms, Refusal::Malformed(error))),
                    ..Plan::default()
                };
            }
        };
        self.belief = tag
            .clone()
            .map_or(Belief::Nothing, |tag| Belief::Floor { tag, release });
        if let Some(base) = self.late(now_ms, tag.as_ref(), release) {
            // Until that has come through.
            if let Some((_, at_ms)) = &mut self.released {
                *at_ms = now_ms;
            }
            self.afterwards_ms = AFTERWARDS_MS[1..].iter().map(|after_ms| now_ms + after_ms).collect();
            return Plan {
                writes: vec![Write::SetMin(base)],
                ..Plan::default()
            };
        }
        self.note(now_ms, tag.as_ref(), group);
        let left_alone_until_ms = self
            .left_alone_until_ms
            .filter(|&until_ms| now_ms < until_ms && wanted.is_some());
        let sight = Sight {
            now_ms,
            group,
            tag: tag.as_ref(),
            release,
            company,
            pending,
            sent: &self.sent,
            seen_in_place: self.in_place,
            short_since_ms: self.short_since_ms,
        };
        let plan = plan(&sight, wanted.filter(|_| left_alone_until_ms.is_none()), rules);
        let pause_ms = self.pause_ms(&plan.writes);
        if let Some(wrote_ms) = self
            .wrote_ms
            .filter(|&wrote_ms| is_within(Some(wrote_ms), now_ms, pause_ms))
        {
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
        self.refused_until_ms = None;
        if refusal.is_none() {
            (self.refusal, self.refused_times) = (None, 0);
        }
        let refusal = refusal.map(|refusal| self.refuse(now_ms, refusal));
        Plan { refusal, ..plan }
    }

    /// A write has come through.
    pub fn wrote(&mut self, now_ms: i64, write: &Write) {
        self.failures = 0;
        match write {
            Write::Tag(tag) => {
                let release = match &self.belief {
                    Belief::Floor { release, .. } => *release,
                    Belief::Unknown | Belief::Nothing => None,
                };
                self.belief = Belief::Floor {
                    tag: tag.clone(),
                    release,
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
                    && (!self.hands_off || !self.sent.is_empty())
                {
                    // Also where `MinSize` was not raised, as far as was seen: what was sent may still come.
                    self.released = Some((tag.clone(), now_ms));
                    self.afterwards_ms = AFTERWARDS_MS.iter().map(|after_ms| now_ms + after_ms).collect();
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
            self.sent.push((*min, now_ms));
            self.wrote_ms = Some(now_ms);
        }
        self.belief = Belief::Unknown;
        self.retry_ms = Some(now_ms + (RETRY_MS << self.failures.min(6)).min(RETRY_MAX_MS));
        self.failures = self.failures.saturating_add(1);
    }

    /// What was planned was not written after all: it is looked at anew.
    pub const fn postponed(&mut self, now_ms: i64) {
        self.look_ms = Some(now_ms);
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

    /// The base, if somebody's late write has raised what was given back.
    fn late(&self, now_ms: i64, tag: Option<&Tag>, release: Option<Release>) -> Option<u32> {
        let (before, at_ms) = self.released.as_ref()?;
        let lately = is_within(Some(*at_ms), now_ms, LATE_MAX_MS + MINUTE_MS);
        let sent = self.sent.iter().any(|&(min, _)| min == self.min);
        let ours = (before.is_ours(self.min) || sent) && self.min != before.base;
        (lately && ours && tag.is_none() && release.is_none()).then_some(before.base)
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
                self.strikes = 0;
            }
        } else if self.short_since_ms.is_none() {
            self.short_since_ms = Some(now_ms);
        }
    }

    fn refuse(&mut self, now_ms: i64, refusal: Refusal) -> Refusal {
        if refusal.is_strike() {
            let back_off_ms = (BACK_OFF_MS << self.strikes.min(8)).min(BACK_OFF_MAX_MS);
            self.left_alone_until_ms = Some(now_ms + back_off_ms);
            self.strikes = self.strikes.saturating_add(1);
        }
        let is_same = self.refusal.as_ref().is_some_and(|last| last.code() == refusal.code());
        self.refused_times = if is_same {
            self.refused_times.saturating_add(1)
        } else {
            0
        };
        let (pause_ms, longest_ms) = if refusal.is_short() {
            (MINUTE_MS, SHORT_MAX_MS)
        } else {
            (REFUSED_MS, REFUSED_MAX_MS)
        };
        let pause_ms = (pause_ms << self.refused_times.min(6)).min(longest_ms);
        self.refused_until_ms = Some(now_ms + pause_ms);
        self.refusal = Some(refusal.clone());
        refusal
    }
}

/// Whether a moment is less than so long ago. One of the future is of a clock that was set back.
fn is_within(at_ms: Option<i64>, now_ms: i64, span_ms: i64) -> bool {
    at_ms.is_some_and(|at_ms| (0..span_ms).contains(&(now_ms - at_ms)))
}

fn passed(until_ms: Option<i64>, now_ms: i64) -> bool {
    until_ms.is_none_or(|until_ms| now_ms >= until_ms)
}
