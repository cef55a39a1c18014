//! Jobs that a schedule starts: `CronJob`s, and the Spark operators' `ScheduledSparkApplication`s where there are any.

use std::time::Duration;

use kube::Client;
use kube::api::{ListParams, Request};
use serde::Deserialize;

use crate::client::{RequestError, within};

/// Where they are listed. The operator of Kubeflow, and that of its fork with the same kind.
const PATHS: [&str; 2] = [
    "/apis/batch/v1/cronjobs",
    "/apis/sparkoperator.k8s.io/v1beta2/scheduledsparkapplications",
];
/// Objects of one answer: they hold whole pods.
const PAGE: u32 = 250;
/// No more are looked at.
pub const SCHEDULES_MAX: usize = 5_000;

/// What starts a job again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// Its namespace and name.
    pub name: String,
    /// When, as it is written.
    pub schedule: String,
    /// By which clock; none is that of whoever starts it.
    pub time_zone: Option<String>,
    /// Nothing is started for now.
    pub is_suspended: bool,
    /// Nothing is started while the run before still runs.
    pub is_exclusive: bool,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMeta,
    items: Vec<Object>,
}

#[derive(Deserialize, Default)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    go_on: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    schedule: String,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    suspend: Option<bool>,
    #[serde(default)]
    concurrency_policy: Option<String>,
}

/// All of them; a kind that the API server does not know has none. Each answer comes within `limit` or not at all.
pub async fn list(client: &Client, limit: Duration) -> Result<Vec<Scheduled>, RequestError> {
    let mut all = Vec::new();
    for path in PATHS {
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let request = Request::new(path)
                .list(&page)
                .map_err(|error| RequestError::Api(kube::Error::BuildRequest(error)))?;
            let text = match within(limit, client.request_text(request)).await {
                Ok(text) => text,
                Err(error) if error.status() == Some(404) => break,
                Err(error) => return Err(error),
            };
            // The decoder's own words would quote the text, which is a user's.
            let list: List = serde_json::from_str(&text).map_err(|_| RequestError::Unreadable)?;
            all.extend(list.items.into_iter().map(Scheduled::from));
            let next = list.metadata.go_on.filter(|next| !next.is_empty());
            match next {
                Some(next) if all.len() < SCHEDULES_MAX => page = page.continue_token(&next),
                _ => break,
            }
        }
    }
    all.truncate(SCHEDULES_MAX);
    Ok(all)
}

impl From<Object> for Scheduled {
    fn from(Object { metadata, spec }: Object) -> Self {
        Self {
            name: format!("{}/{}", metadata.namespace, metadata.name),
            schedule: spec.schedule,
            // The operator's word for its own clock.
            time_zone: spec.time_zone.filter(|zone| !zone.is_empty() && zone != "Local"),
            is_suspended: spec.suspend.unwrap_or(false),
            is_exclusive: spec.concurrency_policy.is_some_and(|policy| policy == "Forbid"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::fake;

    const LIMIT: Duration = Duration::from_secs(5);

    fn object(name: &str, spec: &Value) -> Value {
        json!({ "metadata": { "namespace": "jobs", "name": name }, "spec": spec })
    }

    #[tokio::test]
    async fn both_kinds_are_listed_page_by_page() {
        let client = fake::client(|seen| {
            let path = seen.path.as_str();
            if path.starts_with(PATHS[1]) {
                let spec = json!({ "schedule": "@hourly", "timeZone": "Local", "concurrencyPolicy": "Forbid" });
                return fake::ok(&json!({ "items": [object("three", &spec)] }));
            }
            assert!(path.starts_with(PATHS[0]) && path.contains("limit=250"), "{path}");
            if path.contains("continue=more") {
                let spec = json!({ "schedule": "0 3 * * *", "suspend": true, "concurrencyPolicy": "Allow" });
                return fake::ok(&json!({ "metadata": {}, "items": [object("two", &spec)] }));
            }
            let spec = json!({ "schedule": "0 2 * * *", "timeZone": "Europe/Berlin", "jobTemplate": { "spec": {} } });
            fake::ok(&json!({ "metadata": { "continue": "more" }, "items": [object("one", &spec)] }))
        });
        let all = list(&client, LIMIT).await.unwrap();
        let told: Vec<_> = all
            .iter()
            .map(|one| {
                (
                    &*one.name,
                    &*one.schedule,
                    one.time_zone.as_deref(),
                    one.is_suspended,
                    one.is_exclusive,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("jobs/one", "0 2 * * *", Some("Europe/Berlin"), false, false),
                ("jobs/two", "0 3 * * *", None, true, false),
                ("jobs/three", "@hourly", None, false, true),
            ]
        );
    }

    #[tokio::test]
    async fn without_the_operator_there_are_cron_jobs_alone_and_refusals_are_told() {
        let client = fake::client(|seen| {
            if seen.path.starts_with(PATHS[0]) {
                fake::ok(&json!({ "items": [] }))
            } else {
                fake::status(
                    StatusCode::NOT_FOUND,
                    "the server could not find the requested resource",
                )
            }
        });
        assert_eq!(list(&client, LIMIT).await.unwrap(), []);
        let client = fake::client(|_| fake::status(StatusCode::FORBIDDEN, "forbidden"));
        assert_eq!(list(&client, LIMIT).await.unwrap_err().status(), Some(403));
    }
}
