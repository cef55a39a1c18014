//! What makes two runs "the same job": the value of the label `kompass.dev/profile-key`.
//!
//! It must be known when the driver pod is admitted, so it comes from the pod alone. What differs from run to run
//! (dates, numbers of runs, ids) is stripped; what tells two jobs apart is kept.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::json;
use crate::role::DriverPod;

/// Bytes of a label value that the readable part may use: 63, minus `-` and 8 digits.
const MAX_SLUG_BYTES: usize = 63 - 9;

/// Labels by which a workflow tool names the job, most telling first. All labels of a line must be there.
const OWNERS: [&[&str]; 4] = [
    &["sparkoperator.k8s.io/scheduled-app-name"],
    &["sparkoperator.k8s.io/app-name"],
    &["spark.operator/spark-app-name"],
    &["dag_id", "task_id"],
];

/// The key of a driver pod: `<readable>-<8 hex digits>`, a valid label value of at most 63 bytes.
///
/// Of an owner's name where a workflow tool labelled the pod, else of application name, main class and file name of
/// the jar or script. The namespace is part of the hash: equal names of two tenants are two jobs.
pub fn of(namespace: &str, driver: &DriverPod<'_>) -> String {
    let owner = OWNERS.iter().find_map(|labels| owner(driver, labels));
    let (slug, parts) = if let Some(owner) = owner {
        (owner.clone(), vec!["owner".to_owned(), owner])
    } else {
        let name = driver.app_name().map(stable).unwrap_or_default();
        let class = driver.main_class().unwrap_or_default().to_owned();
        let resource = driver.primary_resource().map(file_name).unwrap_or_default();
        let simple_class = stable(class.rsplit('.').next().unwrap_or_default());
        let slug = [&name, &simple_class, &resource]
            .into_iter()
            .find(|part| !part.is_empty())
            .cloned();
        (
            slug.unwrap_or_default(),
            vec!["application".to_owned(), name, class, resource],
        )
    };

    let mut hash = Sha256::new();
    for part in std::iter::once(namespace).chain(parts.iter().map(String::as_str)) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut key: String = slug.chars().take(MAX_SLUG_BYTES).collect();
    key.truncate(key.trim_end_matches('-').len());
    if key.is_empty() {
        key.push_str("job");
    }
    key.push('-');
    for byte in &hash.finalize()[..4] {
        // Writing to a String can't fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

/// What the key of a driver pod is made of.
pub fn origin(driver: &DriverPod<'_>) -> &'static str {
    const OF_OWNERS: [&str; OWNERS.len()] = [
        "label sparkoperator.k8s.io/scheduled-app-name",
        "label sparkoperator.k8s.io/app-name",
        "label spark.operator/spark-app-name",
        "labels dag_id and task_id",
    ];
    let written = driver.label(kompass_core::names::PROFILE_KEY_LABEL);
    if written.is_some_and(|key| !key.is_empty()) {
        return "label kompass.dev/profile-key";
    }
    let named = OWNERS.iter().position(|labels| owner(driver, labels).is_some());
    named.map_or("application name, main class and file name", |at| OF_OWNERS[at])
}

/// The name of a job that these labels give.
fn owner(driver: &DriverPod<'_>, labels: &[&str]) -> Option<String> {
    let values: Option<Vec<&str>> = labels.iter().map(|label| driver.label(label)).collect();
    let name = stable(&values?.join("-"));
    (!name.is_empty()).then_some(name)
}

/// The key that the webhook wrote on a driver pod, else a new one for the pod's own namespace.
pub fn written_or_new(driver: &DriverPod<'_>) -> String {
    match driver.label(kompass_core::names::PROFILE_KEY_LABEL) {
        Some(key) if !key.is_empty() => key.to_owned(),
        _ => of(namespace(driver.json()), driver),
    }
}

fn namespace(pod: &Value) -> &str {
    json::text(pod, "/metadata/namespace").unwrap_or("default")
}

/// File name of a jar or script without its ending and its version numbers.
fn file_name(resource: &str) -> String {
    let path = resource.split(['?', '#']).next().unwrap_or_default();
    let file = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let tokens = tokens(stem);
    join(tokens.iter().filter(|token| !is_number(token) && *token != "snapshot"))
}

/// A name in lower case with `-` between its parts, without the parts that change from run to run.
fn stable(name: &str) -> String {
    let tokens = tokens(name);
    let mut keep = vec![true; tokens.len()];
    mark_uuids(&tokens, &mut keep);
    mark_dates(&tokens, &mut keep);
    let kept = tokens
        .iter()
        .zip(keep)
        .filter(|&(token, keep)| keep && !is_hex_id(token))
        .map(|(token, _)| token);
    let shortened: Vec<String> = kept.map(|token| without_long_digits(token)).collect();
    join(shortened.iter().filter(|token| !token.is_empty()))
}

fn tokens(name: &str) -> Vec<String> {
    let lower = name.to_ascii_lowercase();
    lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect()
}

fn join<'a>(tokens: impl Iterator<Item = &'a String>) -> String {
    tokens.map(String::as_str).collect::<Vec<_>>().join("-")
}

fn mark_uuids(tokens: &[String], keep: &mut [bool]) {
    const LENGTHS: [usize; 5] = [8, 4, 4, 4, 12];
    for start in 0..tokens.len().saturating_sub(LENGTHS.len() - 1) {
        let window = &tokens[start..start + LENGTHS.len()];
        if window
            .iter()
            .zip(LENGTHS)
            .all(|(token, length)| token.len() == length && is_hex(token))
        {
            keep[start..start + LENGTHS.len()].fill(false);
        }
    }
}

/// Drops every run of neighbouring number-like parts that holds a long number (a year, a date, an epoch) or has at
/// least three parts (a short date, a time of day). One or two short numbers alone stay: `part-2` is not `part-3`.
fn mark_dates(tokens: &[String], keep: &mut [bool]) {
    let mut start = 0;
    while start < tokens.len() {
        let length = tokens[start..]
            .iter()
            .take_while(|token| is_number(token) || is_time(token))
            .count();
        let run = &tokens[start..start + length];
        if length >= 3 || run.iter().any(|token| token.len() >= 4) {
            keep[start..start + length].fill(false);
        }
        start += length.max(1);
    }
}

fn is_number(token: &str) -> bool {
    token.bytes().all(|b| b.is_ascii_digit())
}

/// `23t01`, `20261123t010203z`, `03z`: digits with the letters of ISO 8601 between and behind.
fn is_time(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_digit())
        && token.bytes().all(|b| b.is_ascii_digit() || matches!(b, b't' | b'z'))
}

fn is_hex(token: &str) -> bool {
    token.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Eight or more hex digits, at least one of them a number: no word is like that.
fn is_hex_id(token: &str) -> bool {
    token.len() >= 8 && is_hex(token) && token.bytes().any(|b| b.is_ascii_digit())
}

/// The token without its runs of four and more digits.
fn without_long_digits(token: &str) -> String {
    let mut kept = String::with_capacity(token.len());
    let mut rest = token;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits < 4 {
            kept.push_str(&rest[..digits]);
        }
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(|b| !b.is_ascii_digit()).count();
        kept.push_str(&rest[..letters]);
        rest = &rest[letters..];
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, labels: &[(&str, &str)], class: &str, resource: &str) -> Value {
        let mut pod = json!({
            "metadata": {"name": format!("{name}-0123456789abcdef-driver"), "labels": {"spark-role": "driver"}},
            "spec": {"containers": [{"args": ["driver", "--class", class, resource]}]},
        });
        for (label, value) in labels {
            pod["metadata"]["labels"][label] = json!(value);
        }
        pod
    }

    fn key(pod: &Value) -> String {
        of("ns", &DriverPod::from_json(pod).unwrap())
    }

    #[test]
    fn what_changes_from_run_to_run_is_stripped() {
        for (name, expected) in [
            ("nightly-etl", "nightly-etl"),
            ("etl-2026-11-23", "etl"),
            ("etl-2026-11-23t01-02-03", "etl"),
            ("etl_20261123", "etl"),
            ("etl-23-11-26", "etl"),
            ("etl20261123T010203Z", "etltz"),
            ("20261123T010203Z-etl", "etl"),
            ("scheduled__2026-11-23T01:02:03+00:00", "scheduled"),
            ("etl-1795419633663", "etl"),
            ("etl-6f0c2a34-1111-2222-3333-444455556666", "etl"),
            ("etl-deadbeef-abcd-abcd-abcd-abcdefabcdef", "etl"),
            ("etl-9f8e7d6c5b", "etl"),
            ("feedback-facade", "feedback-facade"),
            ("part-2", "part-2"),
            ("tpcds-q1-10", "tpcds-q1-10"),
            ("v2_s3a", "v2-s3a"),
            ("2026-11-23", ""),
            ("Ünïcode Näme", "n-code-n-me"),
        ] {
            assert_eq!(stable(name), expected, "{name}");
        }
    }

    #[test]
    fn jars_lose_their_version_and_secrets_of_their_address() {
        for (resource, expected) in [
            ("local:///app/etl-assembly-1.4.2-SNAPSHOT.jar", "etl-assembly"),
            ("s3a://bucket/jobs/etl_1.5.jar", "etl"),
            ("https://host/agg.py?X-Amz-Signature=abc", "agg"),
            ("local:///app/part2.py", "part2"),
            ("", ""),
        ] {
            assert_eq!(file_name(resource), expected, "{resource}");
        }
    }

    #[test]
    fn runs_of_one_job_share_a_key_and_other_jobs_do_not() {
        let monday = pod("etl-2026-11-23", &[], "x.Main", "local:///a-1.0.0.jar");
        let tuesday = pod("etl-2026-11-24", &[], "x.Main", "local:///a-1.0.1.jar");
        assert_eq!(key(&monday), key(&tuesday));
        for other in [
            pod("other", &[], "x.Main", "local:///a-1.0.0.jar"),
            pod("etl", &[], "x.Other", "local:///a-1.0.0.jar"),
            pod("etl", &[], "x.Main", "local:///b.jar"),
            pod(
                "etl",
                &[("dag_id", "etl"), ("task_id", "run")],
                "x.Main",
                "local:///a-1.0.0.jar",
            ),
        ] {
            assert_ne!(key(&monday), key(&other), "{other}");
        }
        assert_ne!(key(&monday), of("other", &DriverPod::from_json(&monday).unwrap()));
    }

    #[test]
    fn an_owner_counts_more_than_name_class_and_jar() {
        for labels in [
            &[
                ("sparkoperator.k8s.io/scheduled-app-name", "hourly"),
                ("sparkoperator.k8s.io/app-name", "hourly-1795419633663"),
            ][..],
            &[("sparkoperator.k8s.io/app-name", "hourly-1795419633663")],
            &[("spark.operator/spark-app-name", "hourly")],
            &[("dag_id", "hourly"), ("task_id", "sum"), ("run_id", "x")],
        ] {
            let one = pod("a", labels, "x.A", "local:///a.jar");
            let two = pod("b", labels, "x.B", "local:///b.jar");
            assert_eq!(key(&one), key(&two), "{labels:?}");
            assert!(key(&one).starts_with("hourly-"), "{}", key(&one));
        }
    }

    #[test]
    fn a_key_already_written_stays() {
        let labelled = pod("a", &[("kompass.dev/profile-key", "mine-00000000")], "x.A", "a.jar");
        assert_eq!(
            written_or_new(&DriverPod::from_json(&labelled).unwrap()),
            "mine-00000000"
        );
    }

    proptest! {
        #[test]
        fn every_key_is_a_label_value(name in ".{0,100}", class in ".{0,40}", resource in ".{0,60}", owner in ".{0,80}") {
            for labels in [&[][..], &[("sparkoperator.k8s.io/app-name", owner.as_str())]] {
                let key = key(&pod(&name, labels, &class, &resource));
                prop_assert!(key.len() <= 63 && key.len() >= 10, "{}", key);
                prop_assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{}", key);
                prop_assert!(key.as_bytes()[0] != b'-', "{}", key);
            }
        }
    }
}
