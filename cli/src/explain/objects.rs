//! The objects of an application, out of files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

/// Larger files hold no pod and no ConfigMap.
const MAX_BYTES: u64 = 16 << 20;

/// A driver pod and config maps beside it.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) pod: Value,
    pub(super) config_maps: Vec<Value>,
}

impl Objects {
    /// Reads the files. A file may hold one object or a list; of a list only what is of the wanted kind counts.
    pub(super) fn read(pod: &Path, config_maps: &[PathBuf]) -> anyhow::Result<Self> {
        let mut pods = of_kind("Pod", pod)?;
        let found = if pods.len() == 1 {
            pods.pop()
        } else {
            let is_driver = |pod: &Value| kompass_spark::DriverPod::from_json(pod).is_some();
            let mut drivers = pods.into_iter().filter(is_driver);
            drivers.next().filter(|_| drivers.next().is_none())
        };
        let pod =
            found.with_context(|| format!("failed to choose a pod of {}: it must hold one driver", pod.display()))?;
        let mut all = Vec::new();
        for file in config_maps {
            all.extend(of_kind("ConfigMap", file)?);
        }
        Ok(Self { pod, config_maps: all })
    }

    /// The text under a key of the ConfigMap of this name.
    pub(super) fn text(&self, name: &str, key: &str) -> Option<&str> {
        let found = self.config_maps.iter().find(|object| name_of(object) == Some(name))?;
        found.get("data")?.get(key)?.as_str()
    }

    /// The names of the config maps.
    pub(super) fn names(&self) -> Vec<&str> {
        self.config_maps.iter().filter_map(name_of).collect()
    }
}

fn name_of(object: &Value) -> Option<&str> {
    object.pointer("/metadata/name")?.as_str()
}

/// The objects of a kind in a file, at least one.
fn of_kind(kind: &str, path: &Path) -> anyhow::Result<Vec<Value>> {
    let value = read(path)?;
    let objects = match value.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None => vec![value],
    };
    // The items of a list that the API server answers with say no kind.
    let fits = |object: &Value| object.get("kind").is_none_or(|found| found == kind);
    let objects: Vec<Value> = objects.into_iter().filter(fits).collect();
    anyhow::ensure!(!objects.is_empty(), "failed to find a {kind} in {}", path.display());
    Ok(objects)
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("failed to open {shown}"))?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    read.with_context(|| format!("failed to read {shown} as text"))?;
    anyhow::ensure!(
        text.len() as u64 <= MAX_BYTES,
        "failed to read {shown}: longer than any object"
    );
    // The parser's own words would quote the text, which may hold secrets.
    let value: Value = serde_saphyr::from_str(&text)
        .map_err(|_| anyhow::anyhow!("failed to read {shown}: not the YAML or JSON of one object"))?;
    anyhow::ensure!(
        value.is_object(),
        "failed to read {shown}: not the YAML or JSON of one object"
    );
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn lists_single_objects_and_bodies_of_requests_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let pod = file(folder.path(), "pod.yaml", "kind: Pod\nmetadata: {name: d}\n");
        let list = file(
            folder.path(),
            "list.json",
            r#"{"kind": "List", "items": [{"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}, {"kind": "Secret"}]}"#,
        );
        let objects = Objects::read(&pod, &[list]).unwrap();
        assert_eq!((objects.text("a", "k"), objects.names()), (Some("v"), vec!["a"]));
        assert_eq!((objects.text("b", "k"), objects.text("a", "x")), (None, None));
    }

    #[test]
    fn what_can_not_be_read_is_named_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let pod = file(folder.path(), "pod.yaml", "kind: Pod");
        for (text, words) in [
            ("kind: Secret\ndata: {a: hunter2}", "failed to find a ConfigMap"),
            ("data: [hunter2", "not the YAML or JSON of one object"),
            ("hunter2", "not the YAML or JSON of one object"),
        ] {
            let bad = file(folder.path(), "bad.yaml", text);
            let said = format!("{:#}", Objects::read(&pod, &[bad]).unwrap_err());
            assert!(said.contains(words) && !said.contains("hunter2"), "{said}");
        }
        let missing = Objects::read(Path::new("/does/not/exist"), &[]).unwrap_err();
        assert!(format!("{missing:#}").contains("failed to open /does/not/exist"));
        let two = file(
            folder.path(),
            "two.json",
            r#"{"items": [{"kind": "Pod"}, {"kind": "Pod"}]}"#,
        );
        assert!(format!("{:#}", Objects::read(&two, &[]).unwrap_err()).contains("must hold one driver"));
    }
}
