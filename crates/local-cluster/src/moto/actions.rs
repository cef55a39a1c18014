//! Scheduled actions. The layer has them, not moto: moto runs none, and knows them by name alone, so that those of two
//! groups would be one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::request::Request;
use super::rules::{Refusal, invalid};
use super::xml;

/// AWS runs an action so much too late at most.
pub const LATE_MAX_MS: i64 = 120_000;

/// A scheduled action.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) start_ms: Option<i64>,
    pub(crate) runs_ms: Option<i64>,
    pub(crate) recurrence: Option<String>,
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) desired: Option<i64>,
}

/// An action that was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// When it should have run, milliseconds since 1970 UTC.
    pub start_ms: i64,
    /// When it ran.
    pub at_ms: i64,
    /// The `MinSize` that it set.
    pub min: Option<i64>,
    /// It had no effect: actions were suspended, the group was gone, or the sizes didn't fit.
    pub skipped: bool,
}

/// All of them, by group and name.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    all: BTreeMap<(String, String), Action>,
    /// Decides how late they are.
    seed: u64,
}

impl Actions {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            all: BTreeMap::new(),
            seed,
        }
    }

    /// Makes or changes one; what is not said stays as it was.
    pub(crate) fn put(&mut self, request: &Request, now_ms: i64) -> Result<(), Refusal> {
        let (Some(group), Some(name)) = (request.group(), request.get("ScheduledActionName")) else {
            return Err(invalid("1 validation error detected: a name is missing"));
        };
        let key = (group.to_owned(), name.to_owned());
        let mut action = self.all.get(&key).cloned().unwrap_or_default();
        if let Some(text) = request.get("StartTime") {
            let start: Timestamp = text.parse().map_err(|_| invalid("StartTime is no time"))?;
            action.start_ms = Some(start.as_millisecond());
        }
        action.recurrence = request.get("Recurrence").map(str::to_owned).or(action.recurrence);
        for (field, name) in [
            (&mut action.min, "MinSize"),
            (&mut action.max, "MaxSize"),
            (&mut action.desired, "DesiredCapacity"),
        ] {
            *field = request.number(name).or(*field);
        }
        if action.min.is_none() && action.max.is_none() && action.desired.is_none() {
            return Err(invalid(
                "At least one of MinSize, MaxSize and DesiredCapacity is needed",
            ));
        }
        if action.start_ms.is_some_and(|start_ms| start_ms <= now_ms) {
            return Err(invalid("Given start time is in the past"));
        }
        let others = self
            .all
            .iter()
            .filter(|(other, _)| other.0 == key.0 && other.1 != key.1);
        if others
            .filter_map(|(_, other)| other.start_ms)
            .any(|other_ms| Some(other_ms) == action.start_ms)
        {
            return Err(Refusal {
                code: "AlreadyExists",
                message: "Scheduled action with this scheduled start time already exists".to_owned(),
            });
        }
        action.runs_ms = action.start_ms.filter(|_| action.recurrence.is_none());
        if let Some(runs_ms) = &mut action.runs_ms {
            *runs_ms += self.late_ms();
        }
        self.all.insert(key, action);
        Ok(())
    }

    pub(crate) fn delete(&mut self, request: &Request) -> Result<(), Refusal> {
        let name = |name| request.get(name).unwrap_or_default().to_owned();
        let key = (name("AutoScalingGroupName"), name("ScheduledActionName"));
        let deleted = self.all.remove(&key);
        deleted
            .map(drop)
            .ok_or_else(|| invalid("Scheduled action name not found"))
    }

    pub(crate) fn forget(&mut self, group: &str) {
        self.all.retain(|key, _| key.0 != group);
    }

    /// Takes out the next one-time action that runs by now.
    pub(crate) fn take_due(&mut self, now_ms: i64) -> Option<(Ran, Action)> {
        let due = self.all.iter().filter_map(|(key, action)| Some((action.runs_ms?, key)));
        let (at_ms, key) = due.min().filter(|(runs_ms, _)| *runs_ms <= now_ms)?;
        let key = key.clone();
        let action = self.all.remove(&key)?;
        let ran = Ran {
            group: key.0,
            name: key.1,
            start_ms: action.start_ms?,
            at_ms,
            min: action.min,
            skipped: false,
        };
        Some((ran, action))
    }

    /// The answer to `DescribeScheduledActions`.
    pub(crate) fn describe(&self, request: &Request) -> String {
        let group = request.get("AutoScalingGroupName");
        let mut members = String::new();
        for ((of, name), action) in &self.all {
            if group.is_some_and(|group| group != of) {
                continue;
            }
            let start = action.start_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
            let mut member = String::new();
            xml::element(&mut member, "AutoScalingGroupName", Some(of));
            xml::element(&mut member, "ScheduledActionName", Some(name));
            xml::element(&mut member, "StartTime", start);
            xml::element(&mut member, "Recurrence", action.recurrence.as_ref());
            xml::element(&mut member, "MinSize", action.min);
            xml::element(&mut member, "MaxSize", action.max);
            xml::element(&mut member, "DesiredCapacity", action.desired);
            // A string takes whatever is written to it.
            let _ = write!(members, "<member>{member}</member>");
        }
        let result = format!("<ScheduledUpdateGroupActions>{members}</ScheduledUpdateGroupActions>");
        xml::answer("DescribeScheduledActions", &result)
    }

    /// From 0 to [`LATE_MAX_MS`], by the seed (`SplitMix64`).
    fn late_ms(&mut self) -> i64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        i64::try_from(mixed % (LATE_MAX_MS.unsigned_abs() + 1)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_MS: i64 = 1_796_040_000_000;

    fn put(actions: &mut Actions, group: &str, name: &str, more: &str) -> Result<(), &'static str> {
        let text = format!(
            "Action=PutScheduledUpdateGroupAction&AutoScalingGroupName={group}&ScheduledActionName={name}&{more}"
        );
        let request = Request::read(text.as_bytes(), None, 0);
        actions.put(&request, NOON_MS).map_err(|refusal| refusal.code)
    }

    fn start(seconds: i64) -> String {
        let at = Timestamp::from_millisecond(NOON_MS + seconds * 1_000).unwrap();
        format!("StartTime={at}&MinSize=1")
    }

    #[test]
    fn starts_are_unique_in_a_group_and_in_the_future() {
        let mut actions = Actions::new(1);
        assert_eq!(put(&mut actions, "g", "a", &start(60)), Ok(()));
        assert_eq!(put(&mut actions, "g", "b", &start(60)), Err("AlreadyExists"));
        assert_eq!(put(&mut actions, "h", "b", &start(60)), Ok(()));
        assert_eq!(put(&mut actions, "g", "a", &start(60)), Ok(()));
        assert_eq!(put(&mut actions, "g", "a", &start(0)), Err("ValidationError"));
        assert_eq!(
            put(&mut actions, "g", "c", "StartTime=2126-01-01T00:00:00Z"),
            Err("ValidationError")
        );
        let described = actions.describe(&Request::read(b"AutoScalingGroupName=g", None, 0));
        assert_eq!(xml::texts(&described, "ScheduledActionName").collect::<Vec<_>>(), ["a"]);
        assert_eq!(xml::text(&described, "MinSize"), Some("1"));
    }

    #[test]
    fn one_that_is_due_runs_once_and_never_early_nor_very_late() {
        for seed in 0..200 {
            let mut actions = Actions::new(seed);
            put(&mut actions, "g", "a", &start(60)).unwrap();
            put(&mut actions, "g", "r", "Recurrence=0+8+*+*+*&MinSize=3").unwrap();
            assert!(actions.take_due(NOON_MS + 59_999).is_none());
            let (ran, action) = actions.take_due(NOON_MS + 60_000 + LATE_MAX_MS).unwrap();
            assert_eq!((ran.name.as_str(), action.min), ("a", Some(1)));
            assert!((60_000..=60_000 + LATE_MAX_MS).contains(&(ran.at_ms - NOON_MS)));
            assert!(actions.take_due(i64::MAX).is_none());
        }
    }
}
