//! What launch templates say, each version asked for once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_ec2::types::MarketType;

use crate::config::Config;
use crate::error::Error;
use crate::groups::TemplateVersion;
use crate::operation::Operation;

/// A version's number means the same for ever; `$Latest` and `$Default` don't.
const FLOATING_KEPT: Duration = Duration::from_mins(30);
/// Versions that are remembered; more are asked for again.
const REMEMBERED: usize = 4_096;

/// What a launch template says of instances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) instance_type: Option<String>,
    pub(crate) spot: bool,
}

#[derive(Debug)]
pub(crate) struct Templates {
    ec2: aws_sdk_ec2::Client,
    config: Config,
    known: Mutex<BTreeMap<TemplateVersion, (Launch, Instant)>>,
}

impl Templates {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            ec2: aws_sdk_ec2::Client::new(&config.sdk),
            config: config.clone(),
            known: Mutex::default(),
        }
    }

    /// What a version says.
    pub(crate) async fn launch(&self, version: &TemplateVersion) -> Result<Launch, Error> {
        if let Some(launch) = self.remembered(version) {
            return Ok(launch);
        }
        let request = || {
            self.ec2
                .describe_launch_template_versions()
                .set_launch_template_id(version.id.clone())
                .set_launch_template_name(version.name.clone())
                .versions(&version.version)
                .send()
        };
        let operation = Operation::DESCRIBE_TEMPLATES;
        let answer = Box::pin(self.config.calls.read(operation, "", request)).await?;
        let data = answer.launch_template_versions().first();
        let data = data.and_then(|version| version.launch_template_data());
        let launch = data.map_or_else(Launch::default, |data| Launch {
            instance_type: data.instance_type().map(|name| name.as_str().to_owned()),
            spot: data
                .instance_market_options()
                .is_some_and(|options| options.market_type() == Some(&MarketType::Spot)),
        });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(version.clone(), (launch.clone(), Instant::now()));
        Ok(launch)
    }

    fn remembered(&self, version: &TemplateVersion) -> Option<Launch> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (launch, since) = known.get(version)?;
        let floats = version.version.starts_with('$');
        (!floats || since.elapsed() < FLOATING_KEPT).then(|| launch.clone())
    }
}
