//! What makes two runs "the same job": the value of the label `kompass.dev/profile-key`.
//!
//! It must be known when the driver pod is admitted, so it comes from the pod alone. What differs from run to run
//! (dates, numbers of runs, ids) is stripped; what tells two jobs apart is kept.
//!
//! A job that has never run before has kin: the other tasks of its DAG, other jobs that run the same program, jobs of
//! the same name. Its wider keys say which.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::json;
use crate::role::DriverPod;

mod client;
mod stable;

pub use self::client::of_client;
use self::stable::{file_name, stable};

/// Bytes of a label value that the readable part may use: 63, minus `-` and 8 digits.
const MAX_SLUG_BYTES: usize = 63 - 9;

/// Labels by which a workflow tool names the job, most telling first. All labels of a line must be there.
///
/// A task counts before the application that it makes: Airflow adds eight random characters to the application's name.
const OWNERS: [&[&str]; 4] = [
    &["sparkoperator.k8s.io/scheduled-app-name"],
    &["dag_id", "task_id"],
    &["sparkoperator.k8s.io/app-name"],
    &["spark.operator/spark-app-name"],
];

/// How much two jobs with a key in common have in common, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// They are the same job.
    Own,
    /// They are tasks of the same DAG.
    Dag,
    /// They run the same main class of the same file.
    Program,
    /// They have the same name.
    Name,
}

/// The keys of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The job's own.
    pub own: String,
    /// Those that it shares with its kin, closest kin first; at most one of each further [`Level`].
    pub wider: Vec<String>,
}

impl Level {
    const WIDER: [Self; 3] = [Self::Dag, Self::Program, Self::Name];

    /// The level of a key.
    pub fn of(key: &str) -> Self {
        let prefix = key.split_once('.').map(|(prefix, _)| prefix);
        let level = Self::WIDER.into_iter().find(|level| Some(level.prefix()) == prefix);
        level.unwrap_or(Self::Own)
    }

    /// What the keys of a level begin with, before a dot. A job's own key has no dot.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Own => "",
            Self::Dag => "dag",
            Self::Program => "program",
            Self::Name => "name",
        }
    }
}

/// The key of a driver pod: `<readable>-<8 hex digits>`, a valid label value of at most 63 bytes.
///
/// Of an owner's name where a workflow tool labelled the pod, else of application name, main class and file name of
/// the jar or script. The namespace is part of the hash: equal names of two tenants are two jobs.
pub fn of(namespace: &str, driver: &DriverPod<'_>) -> String {
    if let Some(owner) = OWNERS.iter().find_map(|labels| owner(driver, labels)) {
        return key(namespace, Level::Own, &owner, &["owner", &owner]);
    }
    let name = name(driver);
    let program = Program::of(driver);
    let slug = if name.is_empty() { program.slug() } else { &name };
    let parts = ["application", &name, program.class, &program.file];
    key(namespace, Level::Own, slug, &parts)
}

/// A name of a job or a pod without the parts that change from run to run, in lower case with `-` between its parts; may be
/// empty. Not a key: other jobs may have it.
pub fn stable_name(name: &str) -> String {
    stable(name)
}

/// All keys of a driver pod as it was created; its own is the one that the webhook wrote on it, if it did.
pub fn keys(driver: &DriverPod<'_>) -> Keys {
    let namespace = json::text(driver.json(), "/metadata/namespace").unwrap_or("default");
    let own = match driver.label(kompass_core::names::PROFILE_KEY_LABEL) {
        Some(key) if !key.is_empty() => key.to_owned(),
        _ => of(namespace, driver),
    };
    let program = Program::of(driver);
    let (dag, name) = (owner(driver, &["dag_id"]), name(driver));
    let wider = Level::WIDER.into_iter().filter_map(|level| match level {
        Level::Own => None,
        Level::Dag => dag.as_ref().map(|dag| key(namespace, level, dag, &[dag])),
        Level::Program => {
            let parts = [program.class, &program.file];
            (!program.is_unknown()).then(|| key(namespace, level, program.slug(), &parts))
        }
        Level::Name => (!name.is_empty()).then(|| key(namespace, level, &name, &[&name])),
    });
    Keys {
        wider: wider.collect(),
        own,
    }
}

/// The application's name.
fn name(driver: &DriverPod<'_>) -> String {
    driver.app_name().map(stable).unwrap_or_default()
}

/// What an application runs.
struct Program<'a> {
    class: &'a str,
    simple_class: String,
    file: String,
}

impl<'a> Program<'a> {
    fn of(driver: &DriverPod<'a>) -> Self {
        let class = driver.main_class().unwrap_or_default();
        Self {
            class,
            simple_class: stable(class.rsplit('.').next().unwrap_or_default()),
            file: driver.primary_resource().map(file_name).unwrap_or_default(),
        }
    }

    fn is_unknown(&self) -> bool {
        self.class.is_empty() && self.file.is_empty()
    }

    /// The part that people read.
    fn slug(&self) -> &str {
        if self.simple_class.is_empty() {
            &self.file
        } else {
            &self.simple_class
        }
    }
}

/// A key with `slug` to be read and a hash of namespace, level and `parts` to be told apart by.
fn key(namespace: &str, level: Level, slug: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    let mut key = level.prefix().to_owned();
    if !key.is_empty() {
        key.push('.');
    }
    let prefix = key.clone();
    let known = std::iter::once(namespace).chain((level != Level::Own).then_some(level.prefix()));
    for part in known.chain(parts.iter().copied()) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    key.extend(slug.chars().take(MAX_SLUG_BYTES - prefix.len()));
    key.truncate(key.trim_end_matches('-').len());
    if key == prefix {
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
    owner_of(|label| driver.label(label), labels)
}

fn owner_of<'a>(label: impl Fn(&str) -> Option<&'a str>, labels: &[&str]) -> Option<String> {
    let values: Option<Vec<&str>> = labels.iter().map(|name| label(name)).collect();
    let name = stable(&values?.join("-"));
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

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
            &[
                ("sparkoperator.k8s.io/app-name", "pi-x8k2mzq0"),
                ("dag_id", "hourly"),
                ("task_id", "sum"),
            ],
        ] {
            let one = pod("a", labels, "x.A", "local:///a.jar");
            let two = pod("b", labels, "x.B", "local:///b.jar");
            assert_eq!(key(&one), key(&two), "{labels:?}");
            assert!(key(&one).starts_with("hourly-"), "{}", key(&one));
        }
    }

    #[test]
    fn a_task_is_one_job_whatever_its_application_is_called() {
        let run = |application| {
            let labels = [
                ("sparkoperator.k8s.io/app-name", application),
                ("dag_id", "sales"),
                ("task_id", "sum"),
            ];
            key(&pod("a", &labels, "x.A", "local:///a.jar"))
        };
        assert_eq!(run("sum-x8k2mzq0"), run("sum-p1w7vt3y"));
    }

    #[test]
    fn a_key_already_written_stays() {
        let labelled = pod("a", &[("kompass.dev/profile-key", "mine-00000000")], "x.A", "a.jar");
        assert_eq!(keys(&DriverPod::from_json(&labelled).unwrap()).own, "mine-00000000");
    }

    fn wider(pod: &Value) -> Vec<String> {
        keys(&DriverPod::from_json(pod).unwrap()).wider
    }

    #[test]
    fn keys_stay_what_they_were_in_earlier_releases() {
        let application = pod("etl-2026-11-23", &[], "x.Main", "local:///a-1.0.0.jar");
        assert_eq!(key(&application), "etl-6fcd283d");
        let owned = pod("a", &[("spark.operator/spark-app-name", "hourly")], "x.A", "");
        assert_eq!(key(&owned), "hourly-06a5918d");
    }

    #[test]
    fn kin_share_the_key_of_what_they_have_in_common_and_no_other() {
        let task = [("dag_id", "sales"), ("task_id", "sum")];
        let job = pod("etl", &task, "x.Main", "local:///a-1.0.0.jar");
        let levels: Vec<Level> = wider(&job).iter().map(|key| Level::of(key)).collect();
        assert_eq!(levels, [Level::Dag, Level::Program, Level::Name]);
        assert_eq!(Level::of(&key(&job)), Level::Own);
        for (kin, shared) in [
            (
                pod("etl-2026-11-23", &task, "x.Main", "local:///a-1.0.1.jar"),
                &[0, 1, 2][..],
            ),
            (
                pod(
                    "b",
                    &[("dag_id", "sales"), ("task_id", "mean")],
                    "x.B",
                    "local:///b.jar",
                ),
                &[0],
            ),
            (
                pod("b", &[("dag_id", "x"), ("task_id", "x")], "x.Main", "local:///a.jar"),
                &[1],
            ),
            (
                pod("etl", &[("dag_id", "x"), ("task_id", "x")], "x.B", "local:///b.jar"),
                &[2],
            ),
            (
                pod("b", &[("dag_id", "x"), ("task_id", "x")], "x.B", "local:///b.jar"),
                &[],
            ),
        ] {
            let (job, kin) = (wider(&job), wider(&kin));
            let same: Vec<usize> = (0..3).filter(|&level| job[level] == kin[level]).collect();
            assert_eq!(same, shared, "{kin:?}");
        }
        let mut abroad = job.clone();
        abroad["metadata"]["namespace"] = json!("other");
        assert!(wider(&abroad).iter().all(|key| !wider(&job).contains(key)));
    }

    #[test]
    fn what_is_not_known_is_no_kinship() {
        let nameless = pod("2026-11-23", &[], "", "");
        assert!(wider(&nameless).is_empty(), "{nameless}");
    }

    proptest! {
        /// Without an owner the own key says all that the wider ones do; with one, runs differ by what is stripped.
        #[test]
        fn runs_that_share_their_own_key_share_the_wider_ones(
            names in proptest::array::uniform2("(etl|load)(-20261123)?"),
            classes in proptest::array::uniform2("x\\.(A|B)"),
            files in proptest::array::uniform2("(a|b)(-1\\.0)?\\.jar"),
        ) {
            let [one, two] = [0, 1].map(|at| pod(&names[at], &[], &classes[at], &files[at]));
            let (one, two) = (DriverPod::from_json(&one).unwrap(), DriverPod::from_json(&two).unwrap());
            let (one, two) = (keys(&one), keys(&two));
            if one.own == two.own {
                prop_assert_eq!(one, two);
            }
        }

        #[test]
        fn every_key_is_a_label_value(
            name in "(.{0,100}|[a-z]{0,100})",
            class in "(.{0,40}|[a-z]{0,100})",
            resource in ".{0,60}",
            owner in "(.{0,80}|[a-z]{0,80})",
        ) {
            let dag = [("dag_id", owner.as_str()), ("task_id", "x")];
            for labels in [&[][..], &[("sparkoperator.k8s.io/app-name", owner.as_str())], &dag] {
                let pod = pod(&name, labels, &class, &resource);
                let wider = wider(&pod);
                prop_assert!(wider.len() <= 3);
                for key in [vec![key(&pod)], wider].concat() {
                    let level = Level::of(&key);
                    let own = key.strip_prefix(level.prefix()).unwrap().trim_start_matches('.');
                    prop_assert!(key.len() <= 63 && own.len() >= 10, "{}", key);
                    prop_assert!(own.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{}", key);
                    prop_assert!(own.as_bytes()[0] != b'-', "{}", key);
                }
            }
        }
    }
}
