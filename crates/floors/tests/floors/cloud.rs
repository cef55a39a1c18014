//! Auto Scaling as AWS does it, as far as floors go: its checks, its scheduled actions (late, and gone once they have run),
//! instances that boot or are not to be had.

use std::collections::BTreeMap;

use kompass_floors::group::{FLOOR_TAG, Instance, RELEASE_ACTION};
use kompass_floors::{Company, Group, ScheduledAction, Write};

use crate::random::Random;

/// One group. Its predictor's writes come through [`Cloud::write`], others' as methods of their own.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) now_ms: i64,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) desired: u32,
    /// When each instance is in service, by number.
    instances: BTreeMap<u64, i64>,
    next_instance: u64,
    tag: Option<String>,
    /// Start, and how late it will be run.
    pub(crate) release: Option<(i64, u32, i64)>,
    pub(crate) foreign_start_ms: Option<i64>,
    pub(crate) suspended: bool,
    /// No instance is to be had.
    pub(crate) dry: bool,
    pub(crate) boot_ms: i64,
    /// `MinSize` as others than the predictor have set it last.
    pub(crate) base: u32,
    /// Of the predictor's calls.
    pub(crate) calls: u64,
    pub(crate) min_writes_ms: Vec<i64>,
    random: Random,
}

/// Why a write was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    StartTaken,
    StartPast,
    AboveMax,
    TagTooLong,
}

impl Cloud {
    pub(crate) fn new(seed: u64, base: u32, max: u32) -> Self {
        let mut cloud = Self {
            now_ms: 1_800_000_000_000,
            min: base,
            max,
            desired: base,
            instances: BTreeMap::new(),
            next_instance: 0,
            tag: None,
            release: None,
            foreign_start_ms: None,
            suspended: false,
            dry: false,
            boot_ms: 90_000,
            base,
            calls: 0,
            min_writes_ms: Vec::new(),
            random: Random::new(seed ^ 0xC10D),
        };
        cloud.launch();
        let now_ms = cloud.now_ms;
        cloud.instances.values_mut().for_each(|ready_ms| *ready_ms = now_ms);
        cloud
    }

    pub(crate) fn pass(&mut self, span_ms: i64) {
        self.now_ms += span_ms;
        if let Some((start_ms, base, late_ms)) = self.release
            && !self.suspended
            && self.now_ms >= start_ms + late_ms
        {
            self.min = base;
            self.release = None;
            self.grow();
        }
        self.launch();
    }

    /// The group and its company, as they are described.
    pub(crate) fn describe(&mut self) -> Group {
        self.calls += 1;
        let mut tags = BTreeMap::from([
            ("kompass.dev/managed".to_owned(), "true".to_owned()),
            ("k8s.io/cluster-autoscaler/enabled".to_owned(), String::new()),
        ]);
        tags.extend(self.tag.clone().map(|tag| (FLOOR_TAG.to_owned(), tag)));
        let instance = |(number, ready_ms): (&u64, &i64)| Instance {
            id: format!("i-{number}"),
            in_service: *ready_ms <= self.now_ms,
        };
        Group {
            name: "spark".to_owned(),
            min: self.min,
            max: self.max,
            desired: self.desired,
            instances: self.instances.iter().map(instance).collect(),
            suspended: self
                .suspended
                .then(|| "ScheduledActions".to_owned())
                .into_iter()
                .collect(),
            tags,
            ..Group::default()
        }
    }

    pub(crate) fn company(&mut self) -> Company {
        // Actions and policies are two calls.
        self.calls += 2;
        let release = self.release.map(|(start_ms, base, _)| ScheduledAction {
            name: RELEASE_ACTION.to_owned(),
            start_ms: Some(start_ms),
            min: Some(base),
            ..ScheduledAction::default()
        });
        Company {
            actions: release.into_iter().collect(),
            policies: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, write: &Write) -> Result<(), Refused> {
        self.calls += 1;
        match write {
            Write::Tag(tag) => {
                let text = tag.to_string();
                if text.len() > 256 {
                    return Err(Refused::TagTooLong);
                }
                self.tag = Some(text);
            }
            Write::Schedule { base, start_ms } => {
                if *start_ms <= self.now_ms {
                    return Err(Refused::StartPast);
                }
                if self.foreign_start_ms == Some(*start_ms) {
                    return Err(Refused::StartTaken);
                }
                let late_ms = self.random.below_ms(120_001);
                self.release = Some((*start_ms, *base, late_ms));
            }
            Write::SetMin(min) => {
                if *min > self.max {
                    return Err(Refused::AboveMax);
                }
                self.min = *min;
                self.min_writes_ms.push(self.now_ms);
                self.grow();
            }
            Write::Unschedule => self.release = None,
            Write::Untag => self.tag = None,
        }
        Ok(())
    }

    /// Somebody sets the `MinSize` by hand.
    pub(crate) fn set_min_by_hand(&mut self, min: u32) {
        self.min = min.min(self.max);
        self.base = self.min;
        self.grow();
    }

    pub(crate) fn has_floor_tag(&self) -> bool {
        self.tag.is_some()
    }

    pub(crate) fn forget_release(&mut self) {
        self.release = None;
    }

    /// The autoscaler takes an instance away; AWS refuses below `MinSize`.
    pub(crate) fn take_away(&mut self) -> bool {
        if self.desired <= self.min {
            return false;
        }
        self.desired -= 1;
        while self.instances.len() > self.desired as usize {
            self.instances.pop_last();
        }
        true
    }

    /// The autoscaler sets the desired capacity; AWS refuses what is out of bounds.
    pub(crate) fn set_desired(&mut self, desired: u32) -> bool {
        if desired < self.min || desired > self.max {
            return false;
        }
        self.desired = desired;
        while self.instances.len() > self.desired as usize {
            self.instances.pop_last();
        }
        self.launch();
        true
    }

    fn grow(&mut self) {
        self.desired = self.desired.max(self.min);
        self.launch();
    }

    fn launch(&mut self) {
        while !self.dry && self.instances.len() < self.desired as usize {
            self.instances.insert(self.next_instance, self.now_ms + self.boot_ms);
            self.next_instance += 1;
        }
    }

    pub(crate) fn instance_names(&self) -> Vec<String> {
        let ready = self.instances.iter().filter(|(_, ready_ms)| **ready_ms <= self.now_ms);
        ready.map(|(number, _)| format!("i-{number}")).collect()
    }
}
