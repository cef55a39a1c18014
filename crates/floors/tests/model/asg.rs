//! An Auto Scaling group as EC2 Auto Scaling keeps it.

use std::collections::{BTreeMap, BTreeSet};

use super::random::Random;

/// An instance's number: as good as its id.
pub(crate) type Id = u64;

/// Scheduled actions run up to so late.
pub(crate) const LATE_MAX_MS: i64 = 120_000;

/// What a group answers to cluster-autoscaler. All else of it is for others.
pub(crate) trait AutoScaling {
    fn now_ms(&self) -> i64;
    /// `DescribeAutoScalingGroups`.
    fn describe(&mut self) -> Described;
    /// `SetDesiredCapacity` without the cooldown.
    fn set_desired(&mut self, desired: u32) -> Result<(), ValidationError>;
    /// `TerminateInstanceInAutoScalingGroup` with `ShouldDecrementDesiredCapacity`.
    fn terminate(&mut self, id: Id) -> Result<(), ValidationError>;
}

/// What is told of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) desired: u32,
    /// All that have been launched.
    pub(crate) instances: BTreeSet<Id>,
}

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValidationError {
    BelowMin,
    AboveMax,
    NoSuchInstance,
    StartPast,
    StartTaken,
}

/// How an instance came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Somebody named it.
    Named,
    /// The group was too large and chose it.
    Chosen,
}

#[derive(Debug)]
struct Action {
    start_ms: i64,
    late_ms: i64,
    min: u32,
}

#[derive(Debug)]
pub(crate) struct Asg {
    pub(crate) now_ms: i64,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) desired: u32,
    /// So many instances are to be had at most.
    pub(crate) capacity: u32,
    /// `ScheduledActions` is suspended.
    pub(crate) suspended: bool,
    /// From launch to service, at least and at most.
    pub(crate) boot_ms: (i64, i64),
    /// When each is in service.
    instances: BTreeMap<Id, i64>,
    next: Id,
    actions: BTreeMap<String, Action>,
    /// When scheduled actions have run, with their names.
    pub(crate) ran: Vec<(i64, String)>,
    /// Instances that are gone.
    pub(crate) ended: Vec<(i64, Id, End)>,
    random: Random,
}

impl Asg {
    /// A group whose instances are in service.
    pub(crate) fn new(seed: u64, min: u32, max: u32) -> Self {
        let mut asg = Self {
            now_ms: 1_800_000_000_000,
            min,
            max,
            desired: min,
            capacity: u32::MAX,
            suspended: false,
            boot_ms: (60_000, 180_000),
            instances: BTreeMap::new(),
            next: 0,
            actions: BTreeMap::new(),
            ran: Vec::new(),
            ended: Vec::new(),
            random: Random::new(seed ^ 0xA5C),
        };
        asg.settle();
        let now_ms = asg.now_ms;
        asg.instances.values_mut().for_each(|ready_ms| *ready_ms = now_ms);
        asg
    }

    /// Lets time pass; what was due meanwhile is done at its end.
    pub(crate) fn pass(&mut self, span_ms: i64) {
        self.now_ms += span_ms;
        let is_due = |action: &Action| action.start_ms + action.late_ms <= self.now_ms;
        let due: Vec<String> = self
            .actions
            .iter()
            .filter(|(_, action)| !self.suspended && is_due(action))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            if let Some(action) = self.actions.remove(&name) {
                // It is one-time: run or not, it is gone.
                let _ = self.set_min(action.min);
                self.ran.push((self.now_ms, name));
            }
        }
        self.settle();
    }

    /// `UpdateAutoScalingGroup` with `MinSize` alone.
    pub(crate) fn set_min(&mut self, min: u32) -> Result<(), ValidationError> {
        if min > self.max {
            return Err(ValidationError::AboveMax);
        }
        self.min = min;
        self.desired = self.desired.max(min);
        self.settle();
        Ok(())
    }

    /// `PutScheduledUpdateGroupAction` with `MinSize` alone; one of the same name is replaced.
    pub(crate) fn schedule(&mut self, name: &str, start_ms: i64, min: u32) -> Result<(), ValidationError> {
        if start_ms <= self.now_ms {
            return Err(ValidationError::StartPast);
        }
        let taken = |(other, action): (&String, &Action)| other != name && action.start_ms == start_ms;
        if self.actions.iter().any(taken) {
            return Err(ValidationError::StartTaken);
        }
        let late_ms = self.random.between_ms(0, LATE_MAX_MS);
        let action = Action { start_ms, late_ms, min };
        self.actions.insert(name.to_owned(), action);
        Ok(())
    }

    /// `DeleteScheduledAction`; tells whether there was one.
    pub(crate) fn unschedule(&mut self, name: &str) -> bool {
        self.actions.remove(name).is_some()
    }

    /// The scheduled action of this name: its start and the `MinSize` that it sets.
    pub(crate) fn scheduled(&self, name: &str) -> Option<(i64, u32)> {
        self.actions.get(name).map(|action| (action.start_ms, action.min))
    }

    /// Those that are in service.
    pub(crate) fn in_service(&self) -> BTreeSet<Id> {
        let ready = self.instances.iter().filter(|(_, ready_ms)| **ready_ms <= self.now_ms);
        ready.map(|(id, _)| *id).collect()
    }

    /// Launches what is missing and ends what is too much, by a choice that knows nothing of pods.
    fn settle(&mut self) {
        while self.instances.len() < self.desired.min(self.capacity) as usize {
            let boot_ms = self.random.between_ms(self.boot_ms.0, self.boot_ms.1);
            self.instances.insert(self.next, self.now_ms + boot_ms);
            self.next += 1;
        }
        while self.instances.len() > self.desired as usize {
            let at = usize::try_from(self.random.below(self.instances.len() as u64)).unwrap();
            if let Some(id) = self.instances.keys().nth(at).copied() {
                self.end(id, End::Chosen);
            }
        }
    }

    fn end(&mut self, id: Id, end: End) {
        self.instances.remove(&id);
        self.ended.push((self.now_ms, id, end));
    }
}

impl AutoScaling for Asg {
    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn describe(&mut self) -> Described {
        Described {
            min: self.min,
            max: self.max,
            desired: self.desired,
            instances: self.instances.keys().copied().collect(),
        }
    }

    fn set_desired(&mut self, desired: u32) -> Result<(), ValidationError> {
        if desired < self.min {
            return Err(ValidationError::BelowMin);
        }
        if desired > self.max {
            return Err(ValidationError::AboveMax);
        }
        self.desired = desired;
        self.settle();
        Ok(())
    }

    fn terminate(&mut self, id: Id) -> Result<(), ValidationError> {
        if !self.instances.contains_key(&id) {
            return Err(ValidationError::NoSuchInstance);
        }
        if self.desired <= self.min {
            return Err(ValidationError::BelowMin);
        }
        self.desired -= 1;
        self.end(id, End::Named);
        Ok(())
    }
}
