//! The SDK's groups as those of `kompass-floors`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::{
    AutoScalingGroup, LaunchTemplateSpecification, LifecycleState, ScheduledUpdateGroupAction, TagDescription,
};
use kompass_floors::{Group, Instance, ScheduledAction};

use crate::templates::Launch;

/// A version of a launch template, as a group names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TemplateVersion {
    /// Id, or name where there is no id.
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    /// A number, `$Latest` or `$Default`.
    pub(crate) version: String,
}

/// The launch template of a group, if it has one.
pub(crate) fn template(group: &AutoScalingGroup) -> Option<TemplateVersion> {
    let mixed = group
        .mixed_instances_policy()
        .and_then(|policy| policy.launch_template());
    let mixed = mixed.and_then(|template| template.launch_template_specification());
    mixed.or_else(|| group.launch_template()).and_then(version)
}

fn version(told: &LaunchTemplateSpecification) -> Option<TemplateVersion> {
    let own = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let id = own(told.launch_template_id());
    let name = own(told.launch_template_name()).filter(|_| id.is_none());
    if id.is_none() && name.is_none() {
        return None;
    }
    let version = own(told.version()).unwrap_or_else(|| "$Default".to_owned());
    Some(TemplateVersion { id, name, version })
}

/// A group, with what its launch template says where that is known.
pub(crate) fn group(told: &AutoScalingGroup, launch: Option<&Launch>) -> Group {
    let instances = told.instances().iter().filter_map(|instance| {
        Some(Instance {
            id: instance.instance_id()?.to_owned(),
            in_service: instance.lifecycle_state() == Some(&LifecycleState::InService),
        })
    });
    let suspended = told.suspended_processes().iter();
    let suspended = suspended.filter_map(|process| Some(process.process_name()?.to_owned()));
    Group {
        name: told.auto_scaling_group_name().unwrap_or_default().to_owned(),
        min: size(told.min_size()).unwrap_or(0),
        max: size(told.max_size()).unwrap_or(0),
        desired: size(told.desired_capacity()).unwrap_or(0),
        instances: instances.collect(),
        suspended: suspended.collect(),
        tags: tags(told.tags()),
        instance_types: types(told, launch),
        spot: is_spot(told, launch),
        zones: told.availability_zones().to_vec(),
    }
}

/// The types that it may launch; where nothing says (by requirements, or an old launch configuration), those that it has.
fn types(told: &AutoScalingGroup, launch: Option<&Launch>) -> Vec<String> {
    let mixed = told
        .mixed_instances_policy()
        .and_then(|policy| policy.launch_template());
    let overrides = mixed.map_or(&[][..], |template| template.overrides());
    let mut types: Vec<String> = overrides
        .iter()
        .filter_map(|choice| Some(choice.instance_type()?.to_owned()))
        .collect();
    // Those by requirements don't launch what the template says.
    if types.is_empty() && overrides.is_empty() {
        types.extend(launch.and_then(|launch| launch.instance_type.clone()));
    }
    if types.is_empty() {
        let running = told.instances().iter().filter_map(|instance| instance.instance_type());
        let running: BTreeSet<&str> = running.collect();
        types.extend(running.into_iter().map(str::to_owned));
    }
    types
}

fn is_spot(told: &AutoScalingGroup, launch: Option<&Launch>) -> bool {
    let Some(policy) = told.mixed_instances_policy() else {
        return launch.is_some_and(|launch| launch.spot);
    };
    // What is not said is on demand.
    policy.instances_distribution().is_some_and(|distribution| {
        distribution.on_demand_base_capacity().unwrap_or(0) == 0
            && distribution.on_demand_percentage_above_base_capacity() == Some(0)
    })
}

fn tags(told: &[TagDescription]) -> BTreeMap<String, String> {
    told.iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())))
        .collect()
}

/// A scheduled action; none if it has no name.
pub(crate) fn action(told: &ScheduledUpdateGroupAction) -> Option<ScheduledAction> {
    Some(ScheduledAction {
        name: told.scheduled_action_name()?.to_owned(),
        // `Time` is the older name of the same.
        start_ms: told
            .start_time()
            .or_else(|| told.time())
            .and_then(|time| time.to_millis().ok()),
        recurs: told.recurrence().is_some_and(|recurrence| !recurrence.is_empty()),
        min: size(told.min_size()),
        max: size(told.max_size()),
        desired: size(told.desired_capacity()),
    })
}

fn size(told: Option<i32>) -> Option<u32> {
    told.and_then(|size| u32::try_from(size).ok())
}
