//! What happens to a request on its way through the layer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use hyper::body::Bytes;
use jiff::Timestamp;

use super::actions::{Action, Actions, Ran};
use super::faults::{Fault, Faults, Moment, Next};
use super::request::Request;
use super::rules::{self, Refusal, Sizes};
use super::serve::{Answer, Upstream};
use super::{Error, xml};

type Hook = Arc<dyn Fn(&Request, Moment) -> Next + Send + Sync>;

/// What becomes of a request.
pub(crate) enum Outcome {
    Answered(Answer),
    HungUp,
    Silent,
}

pub(crate) struct Inner {
    upstream: Upstream,
    state: Mutex<State>,
    /// What is looked at before a change must still be so when it is made.
    turn: tokio::sync::Mutex<()>,
    pub(crate) region: String,
}

pub(crate) struct State {
    pub(crate) log: Vec<Request>,
    pub(crate) writes: usize,
    pub(crate) ran: Vec<Ran>,
    pub(crate) faults: Faults,
    pub(crate) hook: Option<Hook>,
    actions: Actions,
    pub(crate) offset_ms: i64,
    /// Of groups that AWS has not enough for, how many instances are in service at most.
    pub(crate) filled: BTreeMap<String, usize>,
    pub(crate) templates: BTreeSet<String>,
    /// The policies of groups: moto forgets them with the next change.
    policies: BTreeMap<String, Vec<(String, String)>>,
}

impl State {
    fn new(seed: u64) -> Self {
        Self {
            log: Vec::new(),
            writes: 0,
            ran: Vec::new(),
            faults: Faults::default(),
            hook: None,
            actions: Actions::new(seed),
            offset_ms: 0,
            filled: BTreeMap::new(),
            templates: BTreeSet::new(),
            policies: BTreeMap::new(),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        Timestamp::now().as_millisecond().saturating_add(self.offset_ms)
    }
}

impl Inner {
    pub(crate) fn new(moto: &str, region: &str, seed: u64) -> Self {
        Self {
            upstream: Upstream::new(moto, region),
            state: Mutex::new(State::new(seed)),
            turn: tokio::sync::Mutex::default(),
            region: region.to_owned(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request that has come.
    pub(crate) async fn take(&self, headers: HeaderMap, body: Bytes) -> Outcome {
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let (request, place, fault, hook) = {
            let mut state = self.state();
            let mut request = Request::read(&body, target, state.now_ms());
            if request.is_write() {
                state.writes += 1;
                request.write = Some(state.writes);
            }
            state.log.push(request.clone());
            let fault = state.faults.take(&request);
            (request, state.log.len() - 1, fault, state.hook.clone())
        };
        let next = |moment| hook.as_ref().map_or(Next::Go, |hook| hook(&request, moment));
        if next(Moment::Before) == Next::HangUp {
            return Outcome::HungUp;
        }
        let answer = match &fault {
            Some(Fault::Silence) => return Outcome::Silent,
            Some(Fault::HangUp) => return Outcome::HungUp,
            Some(Fault::Refuse(status, code, message)) => refused(&request, *status, code, message),
            Some(Fault::Answer(status, body)) if request.is_json() => Answer::json(*status, body.clone()),
            Some(Fault::Answer(status, body)) => Answer::xml(*status, body.clone()),
            Some(Fault::DoneInSilence) | None => match self.done(&request, Some((&headers, body))).await {
                Ok(answer) => answer,
                Err(error) => refused(&request, 500, "InternalFailure", &error.to_string()),
            },
        };
        // The log may have been cleared meanwhile.
        if let Some(logged) = self.state().log.get_mut(place).filter(|logged| **logged == request) {
            logged.status = Some(answer.status);
        }
        if next(Moment::After) == Next::HangUp {
            return Outcome::HungUp;
        }
        if fault == Some(Fault::DoneInSilence) {
            return Outcome::Silent;
        }
        Outcome::Answered(answer)
    }

    /// Runs the scheduled actions that are due.
    pub(crate) async fn catch_up(&self) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        self.run_due().await
    }

    /// Does a request by the rules; `came` is how it came, where it did.
    pub(crate) async fn done(&self, request: &Request, came: Option<(&HeaderMap, Bytes)>) -> Result<Answer, Error> {
        let _turn = self.turn.lock().await;
        self.run_due().await?;
        if let Some(refusal) = self.refusal(request).await? {
            return Ok(refused(request, 400, refusal.code, &refusal.message));
        }
        let own = {
            let mut state = self.state();
            let now_ms = state.now_ms();
            match request.operation.as_str() {
                "PutScheduledUpdateGroupAction" => Some(state.actions.put(request, now_ms).map(|()| String::new())),
                "DeleteScheduledAction" => Some(state.actions.delete(request).map(|()| String::new())),
                "DescribeScheduledActions" => Some(Ok(state.actions.describe(request))),
                _ => None,
            }
        };
        match own {
            Some(Ok(body)) if body.is_empty() => return Ok(Answer::xml(200, xml::answer(&request.operation, ""))),
            Some(Ok(body)) => return Ok(Answer::xml(200, body)),
            Some(Err(refusal)) => return Ok(refused(request, 400, refusal.code, &refusal.message)),
            None => {}
        }
        let changed = self.with_policy(request);
        let mut answer = match came {
            Some((headers, body)) if !changed.1 => self.upstream.forward(headers, body).await?,
            _ => self.upstream.ask(request.is_ec2(), form(request, &changed.0)).await?,
        };
        if answer.status == 200 {
            self.settle(request, &mut answer);
        }
        Ok(answer)
    }

    async fn refusal(&self, request: &Request) -> Result<Option<Refusal>, Error> {
        Ok(match request.operation.as_str() {
            "UpdateAutoScalingGroup" | "SetDesiredCapacity" | "PutScheduledUpdateGroupAction" => {
                let group = self.sizes(request.group()).await?;
                match group {
                    // The sizes of an action are looked at when it runs.
                    Some(_) if request.operation.starts_with("Put") => None,
                    group => rules::sizes(request, group),
                }
            }
            "CreateOrUpdateTags" | "DeleteTags" => {
                if let Some(refusal) = rules::tags(request) {
                    return Ok(Some(refusal));
                }
                for (name, group) in &request.parameters {
                    if name.ends_with(".ResourceId") && self.sizes(Some(group)).await?.is_none() {
                        return Ok(Some(rules::gone()));
                    }
                }
                None
            }
            "TerminateInstanceInAutoScalingGroup" => {
                let instance = [("InstanceIds.member.1", request.get("InstanceId").unwrap_or_default())];
                let form = form_of("DescribeAutoScalingInstances", instance);
                let told = self.upstream.ask(false, form).await?;
                let group = self.sizes(xml::text(&told.body, "AutoScalingGroupName")).await?;
                match group {
                    Some(group) => rules::termination(request, group),
                    None => Some(rules::invalid("Instance Id not found - No managed instance found")),
                }
            }
            _ => None,
        })
    }

    async fn sizes(&self, group: Option<&str>) -> Result<Option<Sizes>, Error> {
        let Some(group) = group else { return Ok(None) };
        let form = form_of("DescribeAutoScalingGroups", [("AutoScalingGroupNames.member.1", group)]);
        let told = self.upstream.ask(false, form).await?;
        Ok(Sizes::read(&told.body))
    }

    /// Parameters to be added, and whether there are any.
    fn with_policy(&self, request: &Request) -> (Vec<(String, String)>, bool) {
        let state = self.state();
        let policy = request
            .group()
            .filter(|_| request.operation == "UpdateAutoScalingGroup")
            .and_then(|group| state.policies.get(group).cloned())
            .unwrap_or_default();
        let added = !policy.is_empty();
        (policy, added)
    }

    /// What follows from what moto has done.
    fn settle(&self, request: &Request, answer: &mut Answer) {
        let mut state = self.state();
        let group = request.group().unwrap_or_default();
        match request.operation.as_str() {
            "CreateAutoScalingGroup" => {
                let policy = request.parameters.iter();
                let policy = policy.filter(|(name, _)| name.starts_with("MixedInstancesPolicy."));
                let policy = policy.map(|(name, value)| (name.clone(), value.clone())).collect();
                state.policies.insert(group.to_owned(), policy);
            }
            "DeleteAutoScalingGroup" => {
                state.actions.forget(group);
                state.policies.remove(group);
            }
            "DescribeAutoScalingGroups" => {
                for (group, most) in &state.filled {
                    answer.body = partly_filled(&answer.body, group, *most);
                }
            }
            _ => {}
        }
    }

    /// Runs the scheduled actions that are due. Who calls it has the turn.
    async fn run_due(&self) -> Result<(), Error> {
        loop {
            let due = {
                let mut state = self.state();
                let now_ms = state.now_ms();
                state.actions.take_due(now_ms)
            };
            let Some((mut ran, action)) = due else { return Ok(()) };
            ran.skipped = !self.run(&ran.group, &action).await?;
            self.state().ran.push(ran);
        }
    }

    async fn run(&self, group: &str, action: &Action) -> Result<bool, Error> {
        let mut request = Request {
            operation: "UpdateAutoScalingGroup".to_owned(),
            parameters: BTreeMap::from([("AutoScalingGroupName".to_owned(), group.to_owned())]),
            at_ms: 0,
            write: None,
            status: None,
        };
        for (name, value) in [
            ("MinSize", action.min),
            ("MaxSize", action.max),
            ("DesiredCapacity", action.desired),
        ] {
            if let Some(value) = value {
                request.parameters.insert(name.to_owned(), value.to_string());
            }
        }
        let sizes = self.sizes(Some(group)).await?;
        if sizes.is_none_or(|sizes| sizes.suspended) || rules::sizes(&request, sizes).is_some() {
            return Ok(false);
        }
        let (policy, _) = self.with_policy(&request);
        let answer = self.upstream.ask(false, form(&request, &policy)).await?;
        Ok(answer.status == 200)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Inner")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

fn refused(request: &Request, status: u16, code: &str, message: &str) -> Answer {
    if request.is_json() {
        let body = serde_json::json!({ "__type": code, "message": message });
        return Answer::json(status, body.to_string());
    }
    Answer::xml(status, xml::error(request.is_ec2(), code, message))
}

fn form(request: &Request, more: &[(String, String)]) -> String {
    let own = request.parameters.iter().map(|(name, value)| (&**name, &**value));
    let more = more.iter().map(|(name, value)| (&**name, &**value));
    form_of(&request.operation, own.chain(more))
}

fn form_of<'a>(operation: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", operation).extend_pairs(pairs);
    form.finish()
}

/// A description in which so many instances of a group are in service at most.
fn partly_filled(described: &str, group: &str, most: usize) -> String {
    let name = format!("<AutoScalingGroupName>{group}</AutoScalingGroupName>");
    let Some((before, rest)) = described.split_once(&name) else {
        return described.to_owned();
    };
    // Until the next group.
    let end = rest.find("<AutoScalingGroupName>").unwrap_or(rest.len());
    let (own, after) = rest.split_at(end);
    let in_service = "<LifecycleState>InService</LifecycleState>";
    let pending = "<LifecycleState>Pending</LifecycleState>";
    let mut parts = own.split(in_service);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        filled.push_str(if index < most { in_service } else { pending });
        filled.push_str(part);
    }
    [before, &name, &filled, after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_groups_own_instances_are_pending() {
        let group = |name: &str, states: &[&str]| {
            let states = states
                .iter()
                .map(|state| format!("<LifecycleState>{state}</LifecycleState>"));
            format!(
                "<AutoScalingGroupName>{name}</AutoScalingGroupName>{}",
                states.collect::<String>()
            )
        };
        let told = [group("a", &["InService"; 2]), group("b", &["InService"; 3])].concat();
        let expected = [
            group("a", &["InService"; 2]),
            group("b", &["InService", "Pending", "Pending"]),
        ]
        .concat();
        assert_eq!(partly_filled(&told, "b", 1), expected);
        assert_eq!(partly_filled(&told, "c", 0), told);
    }
}
