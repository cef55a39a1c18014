//! The recorded applications.

use std::fs;
use std::path::{Path, PathBuf};

use kompass_core::profile::JobProfile;
use kompass_spark::{CONF_KEY, Conf, DriverPod, TEMPLATE_KEY, profile};
use serde_json::Value;

const VERSIONS: [&str; 6] = ["2.4.0", "2.4.8", "3.3.4", "3.5.9", "4.1.4", "4.3.0"];

/// One recorded application.
#[derive(Clone)]
pub(crate) struct Recorded {
    pub(crate) version: String,
    pub(crate) scenario: String,
    pub(crate) driver: Value,
    pub(crate) config_maps: Vec<Value>,
    pub(crate) executors: Vec<Value>,
}

impl Recorded {
    pub(crate) fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/spark-objects");
        let mut all = Vec::new();
        for version in VERSIONS {
            for folder in children(&root.join(version)) {
                let at_driver = objects(&folder);
                let mut pods = at_driver.iter().filter(|object| object["kind"] == "Pod");
                all.push(Self {
                    version: version.to_owned(),
                    scenario: folder.file_name().unwrap().to_str().unwrap().to_owned(),
                    driver: pods.next().unwrap().clone(),
                    config_maps: at_driver
                        .iter()
                        .filter(|object| object["kind"] == "ConfigMap")
                        .cloned()
                        .collect(),
                    executors: objects(&folder.join("driver-phase"))
                        .into_iter()
                        .filter(|object| object["kind"] == "Pod")
                        .collect(),
                });
                assert!(pods.next().is_none());
            }
        }
        assert_eq!(all.len(), 32, "some recordings are missing");
        all
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.version, self.scenario)
    }

    pub(crate) fn driver(&self) -> DriverPod<'_> {
        DriverPod::from_json(&self.driver).unwrap_or_else(|| panic!("{}: no driver", self.name()))
    }

    /// The text under a key of the ConfigMap of this name.
    pub(crate) fn text(&self, config_map: Option<&str>, key: &str) -> Option<&str> {
        let found = self
            .config_maps
            .iter()
            .find(|object| object["metadata"]["name"].as_str() == config_map)?;
        found["data"][key].as_str()
    }

    pub(crate) fn conf(&self) -> Conf {
        Conf::parse(self.text(self.driver().conf_config_map(), CONF_KEY).unwrap())
    }

    pub(crate) fn profile(&self) -> JobProfile {
        let driver = self.driver();
        profile::build(
            &driver,
            Some(&self.conf()),
            self.text(driver.template_config_map(), TEMPLATE_KEY),
        )
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let mut children: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    children.sort();
    children
}

fn objects(folder: &Path) -> Vec<Value> {
    if !folder.exists() {
        return Vec::new();
    }
    let files = children(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    files
        .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        .collect()
}
