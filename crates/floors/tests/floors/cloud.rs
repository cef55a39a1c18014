//! The calls of a predictor on a group of the model: what it is told, and what it may write.

use std::collections::BTreeMap;

use kompass_floors::group::{FLOOR_TAG, Instance, RELEASE_ACTION};
use kompass_floors::{Company, Group, ScheduledAction, Write};

use crate::model::asg::{Asg, Id, ValidationError};

/// The name of the group.
pub(crate) const GROUP: &str = "spark";

/// What the model of the group itself does not have: the tag, and an account of the calls.
#[derive(Debug, Default)]
pub(crate) struct Cloud {
    tag: Option<String>,
    pub(crate) calls: u64,
    pub(crate) min_writes_ms: Vec<i64>,
}

/// An instance's id.
pub(crate) fn instance(id: Id) -> String {
    format!("i-{id}")
}

impl Cloud {
    /// `DescribeAutoScalingGroups`.
    pub(crate) fn describe(&mut self, asg: &Asg) -> Group {
        self.calls += 1;
        let mut tags = BTreeMap::from([
            ("kompass.dev/managed".to_owned(), "true".to_owned()),
            ("k8s.io/cluster-autoscaler/enabled".to_owned(), String::new()),
        ]);
        tags.extend(self.tag.clone().map(|tag| (FLOOR_TAG.to_owned(), tag)));
        let in_service = asg.in_service();
        let instances = asg.instances().map(|id| Instance {
            id: instance(id),
            in_service: in_service.contains(&id),
        });
        Group {
            name: GROUP.to_owned(),
            min: asg.min,
            max: asg.max,
            desired: asg.desired,
            instances: instances.collect(),
            suspended: asg
                .suspended
                .then(|| "ScheduledActions".to_owned())
                .into_iter()
                .collect(),
            tags,
            ..Group::default()
        }
    }

    /// `DescribeScheduledActions` and `DescribePolicies`. Actions of others come later than this.
    pub(crate) fn company(&mut self, asg: &Asg) -> Company {
        self.calls += 2;
        let release = asg.action(RELEASE_ACTION).map(|(start_ms, min)| ScheduledAction {
            name: RELEASE_ACTION.to_owned(),
            start_ms: Some(start_ms),
            min: Some(min),
            ..ScheduledAction::default()
        });
        Company {
            actions: release.into_iter().collect(),
            policies: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, asg: &mut Asg, write: &Write) -> Result<(), ValidationError> {
        self.calls += 1;
        match write {
            Write::Tag(tag) => {
                let text = tag.to_string();
                assert!(text.len() <= 256, "{text}");
                self.tag = Some(text);
            }
            Write::Schedule { base, start_ms } => asg.schedule(RELEASE_ACTION, *start_ms, *base)?,
            Write::SetMin(min) => {
                asg.set_min(*min)?;
                self.min_writes_ms.push(asg.now_ms);
            }
            Write::Unschedule => {
                asg.unschedule(RELEASE_ACTION);
            }
            Write::Untag => self.tag = None,
        }
        Ok(())
    }

    pub(crate) const fn has_tag(&self) -> bool {
        self.tag.is_some()
    }
}
