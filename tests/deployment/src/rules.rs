//! The rules for Prometheus that the chart brings.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

/// Where they are in the project.
pub const FOLDER: &str = "charts/kompass/rules";

#[derive(Debug, Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// A rule, as Prometheus reads it: a field that is not here is an error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The series that it records, if it does.
    pub record: Option<String>,
    /// The alert that it is, if it is one.
    pub alert: Option<String>,
    /// What is recorded, or when the alert fires.
    pub expr: String,
    /// How long that must hold before the alert fires.
    #[serde(default)]
    pub r#for: Option<String>,
    /// Labels that the rule adds.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Words for people.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Rule {
    /// Of the alert, or of the recorded series.
    pub fn name(&self) -> &str {
        self.alert.as_deref().or(self.record.as_deref()).unwrap_or_default()
    }
}

/// All rules of the chart.
///
/// # Errors
/// A file can't be read, or holds something else.
pub fn all() -> anyhow::Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (path, text) in crate::files(FOLDER, "yaml")? {
        rules.extend(read(&text).with_context(|| format!("failed to read {}", path.display()))?);
    }
    Ok(rules)
}

/// The alerts among them.
///
/// # Errors
/// As of [`all`].
pub fn alerts() -> anyhow::Result<Vec<Rule>> {
    let all = all()?;
    Ok(all.into_iter().filter(|rule| rule.alert.is_some()).collect())
}

/// The rules of one file.
///
/// # Errors
/// It holds something else.
pub fn read(text: &str) -> anyhow::Result<Vec<Rule>> {
    let file: File = serde_saphyr::from_str(text).context("failed to read rules")?;
    Ok(file.groups.into_iter().flat_map(|group| group.rules).collect())
}
