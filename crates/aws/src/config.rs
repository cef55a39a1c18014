//! Whom to ask, and as whom.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};

use crate::calls::{Calls, Observer, WRITE_LIMIT};
use crate::error::Error;
use crate::rate::Rate;

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Outside AWS nothing answers where the region is asked for.
const LOAD_LIMIT: Duration = Duration::from_secs(15);

/// How AWS is asked.
#[derive(Clone)]
pub struct Options {
    /// The region; none: as the SDK finds it (`AWS_REGION`, a profile, the instance).
    pub region: Option<String>,
    /// How often, all requests together.
    pub rate: Rate,
    /// Groups in one answer, 1 to 100.
    pub page: i32,
    /// Is told of every attempt.
    pub observer: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            region: None,
            // An account's own limits are not told; those of EC2's describes are 50 and 20 a second.
            rate: Rate {
                burst: 40,
                per_minute: 240,
            },
            page: 100,
            observer: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Options")
            .field("region", &self.region)
            .field("rate", &self.rate)
            .field("page", &self.page)
            .finish_non_exhaustive()
    }
}

/// What all clients share: region, credentials, connections, turns. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) sdk: SdkConfig,
    pub(crate) calls: Arc<Calls>,
    pub(crate) page: i32,
}

impl Config {
    /// Finds region and credentials as every program of AWS does; `AWS_ENDPOINT_URL` counts, too. No service is asked
    /// yet, and the credentials are looked for with the first request.
    pub async fn load(options: Options) -> Result<Self, Error> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_LIMIT)
            .operation_attempt_timeout(WRITE_LIMIT)
            .operation_timeout(WRITE_LIMIT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .timeout_config(timeouts)
            // Each attempt takes a turn of its own and is told of, so they are ours; and a write must not be repeated.
            .retry_config(RetryConfig::disabled());
        if let Some(region) = options.region {
            loader = loader.region(Region::new(region));
        }
        let loaded = tokio::time::timeout(LOAD_LIMIT, loader.load()).await;
        let sdk = loaded.map_err(|_| Error::Region)?;
        if sdk.region().is_none() {
            return Err(Error::Region);
        }
        Ok(Self {
            sdk,
            calls: Arc::new(Calls::new(options.rate, options.observer)),
            page: options.page.clamp(1, 100),
        })
    }

    /// The region.
    pub fn region(&self) -> &str {
        self.sdk.region().map_or("", Region::as_ref)
    }
}
