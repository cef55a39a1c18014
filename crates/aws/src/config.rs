//! Whom to ask, and as whom.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;

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
    /// Where AWS is taken to be; none: where it is, or at `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// Id and secret of an access key; none: the credentials that the SDK finds.
    pub key: Option<(String, String)>,
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
            endpoint: None,
            key: None,
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

/// Without the secret.
impl std::fmt::Debug for Options {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Options")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
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
        if let Some(endpoint) = options.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some((id, secret)) = options.key {
            loader = loader.credentials_provider(Credentials::new(id, secret, None, None, "given"));
        }
        let sdk = tokio::time::timeout(LOAD_LIMIT, loader.load()).await;
        let sdk = sdk.map_err(|_| Error::Region)?;
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use aws_credential_types::credential_fn::provide_credentials_fn;
    use aws_credential_types::provider::error::CredentialsError;

    use super::*;
    use crate::Autoscaling;

    fn options(seen: &Arc<Mutex<Vec<&'static str>>>) -> Options {
        let seen = Arc::clone(seen);
        Options {
            region: Some("eu-central-1".to_owned()),
            // Nothing listens on it.
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            key: Some(("id".to_owned(), "secret".to_owned())),
            observer: Some(Arc::new(move |_, outcome| seen.lock().unwrap().push(outcome))),
            ..Options::default()
        }
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_tried_again_if_it_only_reads() {
        let seen = Arc::default();
        let config = Config::load(options(&seen)).await.unwrap();
        let client = Autoscaling::new(&config);
        let error = client.groups().await.unwrap_err();
        assert_eq!(error.kind(), "unreachable", "{error}");
        let error = client.write("g", &kompass_floors::Write::Untag).await.unwrap_err();
        assert!(error.kind() == "unreachable" && error.is_uncertain(), "{error}");
        assert_eq!(*seen.lock().unwrap(), ["unreachable"; 4]);
    }

    #[tokio::test]
    async fn missing_credentials_are_told() {
        let seen = Arc::default();
        let mut config = Config::load(options(&seen)).await.unwrap();
        let none = || async { Err(CredentialsError::not_loaded("there is nothing")) };
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .credentials_provider(provide_credentials_fn(none));
        config.sdk = loader.load().await;
        let error = Autoscaling::new(&config).groups().await.unwrap_err();
        assert_eq!(error.kind(), "credentials", "{error:?}");
        assert_eq!(*seen.lock().unwrap(), ["credentials"]);
    }

    #[test]
    fn no_secret_is_shown() {
        assert!(!format!("{:?}", options(&Arc::default())).contains("secret"));
    }
}
