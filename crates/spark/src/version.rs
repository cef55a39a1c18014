//! Which Spark made a pod, and with that which rules hold.

use std::fmt;

use crate::releases::{RELEASES, Release, Sign};
use crate::role::DriverPod;

/// A Spark version; what stands behind `major.minor.patch` is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number, 0 where there is none.
    pub patch: u32,
}

/// What is known of an application's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// The version whose rules are used.
    pub rules: Version,
    /// The version as far as it is known: `4.1.4`, or `3.1` where only the pod's build tells it.
    pub text: Option<String>,
    /// What had to be assumed.
    pub warning: Option<String>,
}

impl Version {
    /// The first that runs unmodified here.
    pub const OLDEST: Self = Release::OLDEST.version;
    /// The newest whose rules are known; for anything newer its rules are used.
    pub const NEWEST: Self = Release::NEWEST.version;

    /// A version of three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `4.1.4`, `3.5`, `3.5.9-amzn-1`, `4.0.0-preview2`, `3.3.2.1`.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers_end = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let mut numbers = text[..numbers_end].split('.').map(|number| number.parse::<u32>().ok());
        let major = numbers.next()??;
        let minor = numbers.next()??;
        Some(Self {
            major,
            minor,
            patch: numbers.next().flatten().unwrap_or(0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The version of the Spark that made a driver pod: from its label `spark-version` (3.3 and later), else from how the
/// pod is built.
pub fn detect(driver: &DriverPod<'_>) -> Detected {
    if let Some(label) = driver.label("spark-version") {
        return match Version::parse(label) {
            Some(version) => from_label(version, label),
            None => Detected {
                rules: Version::NEWEST,
                text: None,
                warning: Some(format!(
                    "the label spark-version is no version: the rules of Spark {} are used",
                    Version::NEWEST
                )),
            },
        };
    }
    // The releases before 3.3 do not label their pods: the last whose sign is there counts.
    let found = RELEASES.iter().rev().find(|release| match release.sign {
        Sign::Env(name) => driver.has_env(name),
        Sign::Volume(name) => driver.has_volume(name),
        Sign::Label | Sign::None => false,
    });
    match found {
        Some(&Release { version, .. }) => Detected {
            rules: version,
            text: Some(format!("{}.{}", version.major, version.minor)),
            warning: None,
        },
        None => Detected {
            rules: Version::NEWEST,
            text: None,
            warning: Some(format!(
                "unknown Spark version: the rules of Spark {} are used",
                Version::NEWEST
            )),
        },
    }
}

fn from_label(version: Version, label: &str) -> Detected {
    let release = Release::of(version);
    let known = release.has(version);
    let warning = || {
        let how = if version > Version::NEWEST {
            "newer than the releases"
        } else if version < Version::OLDEST {
            "older than the releases"
        } else {
            "none of the releases"
        };
        format!(
            "Spark {version} is {how} known here: the rules of Spark {} are used",
            release.version
        )
    };
    Detected {
        rules: if known { version } else { release.version },
        text: Some(label.to_owned()),
        warning: (!known).then(warning),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_read_with_whatever_vendors_append() {
        for (text, expected) in [
            ("4.1.4", Some((4, 1, 4))),
            ("3.5.9-amzn-1", Some((3, 5, 9))),
            ("4.0.0-preview2", Some((4, 0, 0))),
            ("3.3.2.1", Some((3, 3, 2))),
            ("3.5", Some((3, 5, 0))),
            ("3.5.x", Some((3, 5, 0))),
            ("4", None),
            ("latest", None),
            ("", None),
            ("99999999999.1.1", None),
        ] {
            assert_eq!(
                Version::parse(text).map(|v| (v.major, v.minor, v.patch)),
                expected,
                "{text}"
            );
        }
        assert!(Version::new(3, 10, 0) > Version::new(3, 9, 9));
    }

    #[test]
    fn versions_out_of_range_use_the_nearest_rules_and_warn() {
        for (label, rules, warns) in [
            ("4.3.7", Version::new(4, 3, 7), false),
            ("4.4.0", Version::NEWEST, true),
            ("5.0.0", Version::NEWEST, true),
            ("2.3.0", Version::OLDEST, true),
            ("nightly", Version::NEWEST, true),
        ] {
            let pod = json!({
                "metadata": {"labels": {"spark-role": "driver", "spark-version": label}},
                "spec": {"containers": [{"name": "d", "args": ["driver"]}]},
            });
            let detected = detect(&DriverPod::from_json(&pod).unwrap());
            assert_eq!((detected.rules, detected.warning.is_some()), (rules, warns), "{label}");
        }
    }

    #[test]
    fn a_pod_without_any_sign_gets_the_newest_rules_and_a_warning() {
        let pod = json!({
            "metadata": {"labels": {"spark-role": "driver"}},
            "spec": {"containers": [{"name": "d", "args": ["driver"]}]},
        });
        let detected = detect(&DriverPod::from_json(&pod).unwrap());
        assert_eq!((detected.rules, detected.text), (Version::NEWEST, None));
        assert!(detected.warning.is_some());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,30}") {
            let _ = Version::parse(&text);
        }
    }
}
