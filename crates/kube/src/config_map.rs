//! Reading one `ConfigMap` of a user's: it may hold secrets, so no log and no error carries any of its text.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{GetParams, Request};
use kube::{Client, Resource as _};
use serde::Deserialize;

use crate::client::{RequestError, within};

/// A `ConfigMap`'s texts by key.
pub type Data = BTreeMap<String, String>;

/// The texts of a `ConfigMap`; `None` if there is none of that name, or can't be.
///
/// The client quotes the whole body of an answer that it can't decode in its log, so it is not asked to decode.
pub async fn read(client: &Client, namespace: &str, name: &str, limit: Duration) -> Result<Option<Data>, RequestError> {
    if !is_name(name) {
        return Ok(None);
    }
    let request = Request::new(ConfigMap::url_path(&(), Some(namespace)))
        .get(name, &GetParams::default())
        .map_err(|error| RequestError::Api(kube::Error::BuildRequest(error)))?;
    match within(limit, client.request_text(request)).await {
        Ok(text) => decode(&text).map(Some),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether it is made of the characters of such names only: pods may name any text, and it becomes a part of a URL.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    !name.is_empty() && name.bytes().all(fits)
}

fn decode(text: &str) -> Result<Data, RequestError> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        data: Option<Data>,
    }
    // The decoder's own words would quote the text.
    let object: Object = serde_json::from_str(text).map_err(|_| RequestError::Unreadable)?;
    Ok(object.data.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::{Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::fake;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn its_texts_are_read_and_its_absence_is_no_failure() {
        let client = fake::client(|seen| match seen.path.trim_end_matches('?') {
            "/api/v1/namespaces/jobs/configmaps/there" => fake::ok(&json!({"kind": "ConfigMap", "data": {"k": "v"}})),
            "/api/v1/namespaces/jobs/configmaps/empty" => fake::ok(&json!({"kind": "ConfigMap"})),
            "/api/v1/namespaces/jobs/configmaps/absent" => fake::status(StatusCode::NOT_FOUND, "not found"),
            path => panic!("asked for {path}"),
        });
        let data = |name| read(&client, "jobs", name, LIMIT);
        let there = Data::from([("k".to_owned(), "v".to_owned())]);
        assert_eq!(data("there").await.unwrap(), Some(there));
        assert_eq!(data("empty").await.unwrap(), Some(Data::new()));
        assert_eq!(data("absent").await.unwrap(), None);
        for name in ["", "../../other/configmaps/there", "a?b", "a%2fb", "A"] {
            assert_eq!(data(name).await.unwrap(), None, "{name:?}");
        }
    }

    #[tokio::test]
    async fn refusals_keep_their_status() {
        let client = fake::client(|_| fake::status(StatusCode::FORBIDDEN, "forbidden"));
        let error = read(&client, "jobs", "conf", LIMIT).await.unwrap_err();
        assert_eq!(error.status(), Some(403));
    }

    #[tokio::test]
    async fn what_can_not_be_decoded_is_never_quoted() {
        for body in [
            "hunter2",
            r#"{"data": "hunter2"}"#,
            r#"{"data": {"k": {"hunter2": 1}}}"#,
        ] {
            let client = fake::client(move |_| Response::new(Body::from(body.as_bytes().to_vec())));
            let error = read(&client, "jobs", "conf", LIMIT).await.unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(
                matches!(error, RequestError::Unreadable) && !told.contains("hunter2"),
                "{told}"
            );
        }
    }
}
