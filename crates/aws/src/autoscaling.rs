//! Node groups: what they are like, who else changes them, and the writes of floors.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::primitives::DateTime;
use aws_sdk_autoscaling::types::{AutoScalingGroup, Filter, Tag};
use kompass_floors::group::{FLOOR_TAG, MANAGED_TAG, RELEASE_ACTION};
use kompass_floors::{Company, Group, Write};

use crate::config::Config;
use crate::error::Error;
use crate::groups::{self, TemplateVersion};
use crate::judge::says;
use crate::operation::Operation;
use crate::templates::Templates;

/// Answers that belong together: more groups or actions than this many have nobody.
const PAGES_MAX: usize = 200;
/// The kind of what tags of groups are on.
const GROUP: &str = "auto-scaling-group";

/// Asks EC2 Auto Scaling.
#[derive(Debug)]
pub struct Autoscaling {
    client: Client,
    config: Config,
    templates: Templates,
}

impl Autoscaling {
    /// A client. Nothing is asked yet.
    pub fn new(config: &Config) -> Self {
        Self {
            client: Client::new(&config.sdk),
            config: config.clone(),
            templates: Templates::new(config),
        }
    }

    /// All groups that may be given floors: those with the tag `kompass.dev/managed=true`.
    pub async fn groups(&self) -> Result<Vec<Group>, Error> {
        let tagged = Filter::builder()
            .name(format!("tag:{MANAGED_TAG}"))
            .values("true")
            .build();
        let operation = Operation::DESCRIBE_GROUPS;
        let (mut told, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let request = || {
                self.client
                    .describe_auto_scaling_groups()
                    .filters(tagged.clone())
                    .max_records(self.config.page)
                    .set_next_token(token.clone())
                    .send()
            };
            let answer = Box::pin(self.config.calls.read(operation, "", request)).await?;
            token = answer.next_token;
            told.extend(answer.auto_scaling_groups.unwrap_or_default());
            if token.is_none() {
                return self.with_templates(told).await;
            }
        }
        Err(endless(operation))
    }

    /// One group, as it is now.
    pub async fn group(&self, name: &str) -> Result<Group, Error> {
        let operation = Operation::DESCRIBE_GROUPS;
        let request = || {
            self.client
                .describe_auto_scaling_groups()
                .auto_scaling_group_names(name)
                .send()
        };
        let answer = Box::pin(self.config.calls.read(operation, name, request)).await?;
        let told = answer.auto_scaling_groups.unwrap_or_default();
        let groups = self.with_templates(told).await?;
        groups
            .into_iter()
            .find(|group| group.name == name)
            .ok_or_else(|| Error::GroupGone {
                operation,
                group: name.to_owned(),
            })
    }

    /// What else may change a group's size.
    pub async fn company(&self, group: &str) -> Result<Company, Error> {
        let actions = Box::pin(self.actions(group)).await?;
        let policies = Box::pin(self.policies(group)).await?;
        Ok(Company { actions, policies })
    }

    /// Does a write, once. An error that [is uncertain](Error::is_uncertain) tells that it may have been done.
    pub async fn write(&self, group: &str, write: &Write) -> Result<(), Error> {
        match write {
            Write::Tag(tag) => self.tag(group, &tag.to_string()).await,
            Write::Schedule { base, start_ms } => self.schedule(group, *base, *start_ms).await,
            Write::SetMin(nodes) => self.set_min(group, *nodes).await,
            Write::Unschedule => self.unschedule(group).await,
            Write::Untag => self.untag(group).await,
        }
    }

    async fn tag(&self, group: &str, value: &str) -> Result<(), Error> {
        let tag = floor_tag(group).value(value).propagate_at_launch(false).build();
        let request = self.client.create_or_update_tags().tags(tag).send();
        let done = self.config.calls.write(Operation::TAG, group, request);
        Box::pin(done).await.map(drop)
    }

    async fn untag(&self, group: &str) -> Result<(), Error> {
        let request = self.client.delete_tags().tags(floor_tag(group).build()).send();
        let done = self.config.calls.write(Operation::UNTAG, group, request);
        Box::pin(done).await.map(drop)
    }

    async fn schedule(&self, group: &str, base: u32, start_ms: i64) -> Result<(), Error> {
        let request = self
            .client
            .put_scheduled_update_group_action()
            .auto_scaling_group_name(group)
            .scheduled_action_name(RELEASE_ACTION)
            .start_time(DateTime::from_millis(start_ms))
            .min_size(size(base))
            .send();
        let done = self.config.calls.write(Operation::SCHEDULE, group, request);
        Box::pin(done).await.map(drop)
    }

    async fn set_min(&self, group: &str, nodes: u32) -> Result<(), Error> {
        let request = self
            .client
            .update_auto_scaling_group()
            .auto_scaling_group_name(group)
            .min_size(size(nodes))
            .send();
        let done = self.config.calls.write(Operation::UPDATE_GROUP, group, request);
        Box::pin(done).await.map(drop)
    }

    async fn unschedule(&self, group: &str) -> Result<(), Error> {
        let request = self
            .client
            .delete_scheduled_action()
            .auto_scaling_group_name(group)
            .scheduled_action_name(RELEASE_ACTION)
            .send();
        let done = self.config.calls.write(Operation::UNSCHEDULE, group, request);
        match Box::pin(done).await {
            // It has run, or somebody has deleted it.
            Err(Error::Refused { message, .. }) if says(&message, &["scheduled action", "not found"]) => Ok(()),
            done => done.map(drop),
        }
    }

    async fn actions(&self, group: &str) -> Result<Vec<kompass_floors::ScheduledAction>, Error> {
        let operation = Operation::DESCRIBE_ACTIONS;
        let (mut actions, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let request = || {
                self.client
                    .describe_scheduled_actions()
                    .auto_scaling_group_name(group)
                    .set_next_token(token.clone())
                    .send()
            };
            let answer = Box::pin(self.config.calls.read(operation, group, request)).await?;
            actions.extend(
                answer
                    .scheduled_update_group_actions()
                    .iter()
                    .filter_map(groups::action),
            );
            token = answer.next_token;
            if token.is_none() {
                return Ok(actions);
            }
        }
        Err(endless(operation))
    }

    async fn policies(&self, group: &str) -> Result<Vec<String>, Error> {
        let operation = Operation::DESCRIBE_POLICIES;
        let (mut policies, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let request = || {
                self.client
                    .describe_policies()
                    .auto_scaling_group_name(group)
                    .set_next_token(token.clone())
                    .send()
            };
            let answer = Box::pin(self.config.calls.read(operation, group, request)).await?;
            let names = answer.scaling_policies().iter();
            policies.extend(names.filter_map(|policy| Some(policy.policy_name()?.to_owned())));
            token = answer.next_token;
            if token.is_none() {
                return Ok(policies);
            }
        }
        Err(endless(operation))
    }

    /// Groups, each version of a launch template asked for once.
    async fn with_templates(&self, told: Vec<AutoScalingGroup>) -> Result<Vec<Group>, Error> {
        let versions: BTreeSet<TemplateVersion> = told.iter().filter_map(groups::template).collect();
        let mut launches = BTreeMap::new();
        for version in versions {
            match Box::pin(self.templates.launch(&version)).await {
                Ok(launch) => drop(launches.insert(version, launch)),
                // It tells types and prices alone: no reason to know nothing of all groups.
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        error,
                        ?version,
                        "failed to read a launch template: the types that run are taken for it"
                    );
                }
            }
        }
        let groups = told.iter().map(|told| {
            let launch = groups::template(told).and_then(|version| launches.get(&version));
            groups::group(told, launch)
        });
        Ok(groups.collect())
    }
}

fn floor_tag(group: &str) -> aws_sdk_autoscaling::types::builders::TagBuilder {
    Tag::builder().resource_id(group).resource_type(GROUP).key(FLOOR_TAG)
}

/// Sizes of groups are far below what an `i32` takes; a larger one is refused by AWS.
fn size(nodes: u32) -> i32 {
    i32::try_from(nodes).unwrap_or(i32::MAX)
}

fn endless(operation: Operation) -> Error {
    Error::Malformed {
        operation,
        what: format!("there is no end after {PAGES_MAX} pages"),
    }
}
