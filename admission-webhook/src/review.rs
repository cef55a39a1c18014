//! The wire of admission: `AdmissionReview` of `admission.k8s.io/v1`, in and out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use crate::admit::Verdict;
use crate::patch::get;

/// The version of the wire; the only one that the registration offers.
const API_VERSION: &str = "admission.k8s.io/v1";
/// Kubernetes cuts longer warnings.
const WARNING_BYTES: usize = 256;

/// Why a body is not a review that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON.
    #[error("failed to read the review: not JSON")]
    Json(#[source] serde_json::Error),
    /// Not an `AdmissionReview` of the version spoken.
    #[error("failed to read the review: not an AdmissionReview of {API_VERSION}")]
    Kind,
    /// Without the UID an answer can't be told from another's.
    #[error("failed to read the review: request.uid is missing")]
    Uid,
}

/// A question.
#[derive(Debug)]
pub struct Request {
    /// To be repeated in the answer.
    pub uid: String,
    /// Of the object.
    pub namespace: String,
    /// Nothing may be remembered of it.
    pub dry_run: bool,
    /// The pod to be created; `None` when the question is about anything else.
    pub pod: Option<Value>,
}

/// Reads a question.
pub fn parse(body: &[u8]) -> Result<Request, Error> {
    let mut review: Value = serde_json::from_slice(body).map_err(Error::Json)?;
    if review["apiVersion"] != API_VERSION || review["kind"] != "AdmissionReview" {
        return Err(Error::Kind);
    }
    let text = |path: &[&str]| get(&review, path).and_then(Value::as_str);
    let uid = text(&["request", "uid"])
        .filter(|uid| !uid.is_empty())
        .ok_or(Error::Uid)?
        .to_owned();
    let namespace = text(&["request", "namespace"]).unwrap_or_default().to_owned();
    let dry_run = get(&review, &["request", "dryRun"])
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let is_pod_create = text(&["request", "operation"]) == Some("CREATE")
        && text(&["request", "subResource"]).is_none_or(str::is_empty)
        && text(&["request", "kind", "kind"]) == Some("Pod")
        && text(&["request", "kind", "group"]).is_none_or(str::is_empty)
        && text(&["request", "kind", "version"]) == Some("v1");
    let pod = is_pod_create
        .then(|| review["request"]["object"].take())
        .filter(Value::is_object);
    Ok(Request {
        uid,
        namespace,
        dry_run,
        pod,
    })
}

/// The answer to the question `uid`: always allowed.
pub fn answer(uid: &str, verdict: &Verdict) -> Vec<u8> {
    let patch = (!verdict.operations.is_empty()).then(|| {
        // A list of operations over JSON values is always JSON.
        STANDARD.encode(serde_json::to_vec(&verdict.operations).unwrap_or_default())
    });
    let patch_type = patch.as_ref().map(|_| "JSONPatch");
    let warnings = verdict.warnings.iter().map(|warning| shortened(warning)).collect();
    let response = Response {
        uid,
        allowed: true,
        patch_type,
        patch,
        warnings,
    };
    let review = Answer {
        api_version: API_VERSION,
        kind: "AdmissionReview",
        response,
    };
    serde_json::to_vec(&review).unwrap_or_default()
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(WARNING_BYTES)]
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'a str>,
}
