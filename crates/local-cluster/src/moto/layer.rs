//! The strict layer: every request passes it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::actions::Ran;
use super::faults::{Fault, Moment, Next};
use super::inner::Inner;
use super::request::Request;
use super::{Error, Server, serve};

/// What AWS would be: moto behind the layer. It ends when it is dropped.
#[derive(Debug)]
pub struct Layer {
    inner: Arc<Inner>,
    port: u16,
    task: JoinHandle<()>,
}

/// A group that is to be made.
#[derive(Debug, Clone)]
pub struct GroupSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// `MinSize`; it has so many instances.
    pub min: u32,
    /// `MaxSize`.
    pub max: u32,
    /// The types that it may launch; one alone and on demand stands in a launch template, others in a policy.
    pub types: &'a [&'a str],
    /// Spot instances only.
    pub spot: bool,
    /// Beside [`GroupSpec::managed`].
    pub tags: &'a [(&'a str, &'a str)],
    /// Has the tag `kompass.dev/managed=true`.
    pub managed: bool,
}

impl<'a> GroupSpec<'a> {
    /// A managed group on demand.
    pub const fn new(name: &'a str, min: u32, max: u32) -> Self {
        Self {
            name,
            min,
            max,
            types: &["m6i.2xlarge"],
            spot: false,
            tags: &[],
            managed: true,
        }
    }
}

impl Layer {
    /// Starts the layer before a moto, in a region of its own. The seed decides how late scheduled actions run.
    pub async fn start(server: &Server, region: &str, seed: u64) -> Result<Self, Error> {
        let inner = Arc::new(Inner::new(server.address(), region, seed));
        let (port, task) = serve::serve(Arc::clone(&inner)).await?;
        Ok(Self { inner, port, task })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What programs need in their environment to take it for AWS.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_REGION", self.inner.region.clone()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// All requests so far, those of [`Layer::call`] left out.
    pub fn log(&self) -> Vec<Request> {
        self.inner.state().log.clone()
    }

    /// Forgets the requests so far; writes are counted from 1 again.
    pub fn clear_log(&self) {
        let mut state = self.inner.state();
        state.log.clear();
        state.writes = 0;
    }

    /// Scheduled actions that were due so far.
    pub fn ran(&self) -> Vec<Ran> {
        self.inner.state().ran.clone()
    }

    /// Lets the next so many requests for an operation (`*`: for any) fail.
    pub fn inject(&self, operation: &str, fault: Fault, times: usize) {
        self.inner.state().faults.add(operation, fault, times);
    }

    /// Lets nothing fail any more.
    pub fn heal(&self) {
        self.inner.state().faults.clear();
    }

    /// Calls a hook before and after each request from now on, instead of any other.
    pub fn hook(&self, hook: impl Fn(&Request, Moment) -> Next + Send + Sync + 'static) {
        self.inner.state().hook = Some(Arc::new(hook));
    }

    /// Calls none any more.
    pub fn unhook(&self) {
        self.inner.state().hook = None;
    }

    /// Shows at most so many instances of a group as in service, the others as pending: AWS has no more of them.
    pub fn fill_at_most(&self, group: &str, instances: usize) {
        self.inner.state().filled.insert(group.to_owned(), instances);
    }

    /// AWS has enough again.
    pub fn fill(&self, group: &str) {
        self.inner.state().filled.remove(group);
    }

    /// The layer's time, milliseconds since 1970 UTC.
    pub fn now_ms(&self) -> i64 {
        self.inner.state().now_ms()
    }

    /// Moves the layer's time on. Scheduled actions that are due by then have run.
    pub async fn advance(&self, by: Duration) -> Result<(), Error> {
        self.inner.state().offset_ms += i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.inner.catch_up().await
    }

    /// The layer's time is the machine's again.
    pub fn back_to_real_time(&self) {
        self.inner.state().offset_ms = 0;
    }

    /// Asks on others' behalf, as an autoscaler or a person would: by the same rules, but it isn't logged and doesn't fail.
    pub async fn call(&self, operation: &str, parameters: &[(&str, &str)]) -> Result<String, Error> {
        let request = Request {
            operation: operation.to_owned(),
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            at_ms: self.now_ms(),
            write: None,
            status: None,
        };
        let answer = self.inner.done(&request, None).await?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        Err(Error::Refused {
            operation: operation.to_owned(),
            status: answer.status,
            body: answer.body,
        })
    }

    /// Makes a group, and the launch template that it needs.
    pub async fn create_group(&self, spec: &GroupSpec<'_>) -> Result<(), Error> {
        let first = spec.types.first().copied().unwrap_or("m6i.2xlarge");
        let template = format!("kompass-{}", first.replace('.', "-"));
        if self.inner.state().templates.insert(template.clone()) {
            let data = [
                ("LaunchTemplateName", template.as_str()),
                ("LaunchTemplateData.InstanceType", first),
                ("LaunchTemplateData.ImageId", "ami-12345678"),
            ];
            self.call("CreateLaunchTemplate", &data).await?;
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
        add("AutoScalingGroupName", spec.name);
        add("MinSize", &spec.min.to_string());
        add("MaxSize", &spec.max.to_string());
        for (number, zone) in ["a", "b"].iter().enumerate() {
            let zone = format!("{}{zone}", self.inner.region);
            add(&format!("AvailabilityZones.member.{}", number + 1), &zone);
        }
        if spec.types.len() > 1 || spec.spot {
            let policy = "MixedInstancesPolicy";
            let of_template = format!("{policy}.LaunchTemplate.LaunchTemplateSpecification");
            add(&format!("{of_template}.LaunchTemplateName"), &template);
            add(&format!("{of_template}.Version"), "1");
            for (number, name) in spec.types.iter().enumerate() {
                let member = format!("{policy}.LaunchTemplate.Overrides.member.{}", number + 1);
                add(&format!("{member}.InstanceType"), name);
            }
            let distribution = format!("{policy}.InstancesDistribution");
            add(&format!("{distribution}.OnDemandBaseCapacity"), "0");
            let on_demand = if spec.spot { "0" } else { "100" };
            add(
                &format!("{distribution}.OnDemandPercentageAboveBaseCapacity"),
                on_demand,
            );
        } else {
            add("LaunchTemplate.LaunchTemplateName", &template);
            add("LaunchTemplate.Version", "1");
        }
        let managed = spec.managed.then_some(("kompass.dev/managed", "true"));
        for (number, (key, value)) in spec.tags.iter().copied().chain(managed).enumerate() {
            let member = format!("Tags.member.{}", number + 1);
            add(&format!("{member}.Key"), key);
            add(&format!("{member}.Value"), value);
        }
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
        self.call("CreateAutoScalingGroup", &pairs).await.map(drop)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
