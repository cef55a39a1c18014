//! The CRDs of the Prometheus Operator that the chart brings, made from those of its Go module.
//!
//! Without their descriptions, which are nine parts of ten, and with what Helm knows its own objects by, so that what it
//! has made from `crds/` at a first install it can bring up to date by the same CRD among the templates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};

const MODULE: &str = "github.com/prometheus-operator/prometheus-operator";
const PROGRAM: &str = "crates/local-cluster/programs/prometheus-operator";
const CHART: &str = "charts/kompass/charts/monitoring";
/// What a Prometheus that the operator runs needs; of the others it does without.
const KINDS: [&str; 5] = [
    "podmonitors",
    "probes",
    "prometheuses",
    "prometheusrules",
    "servicemonitors",
];

/// The paths of all files, and what they are to hold.
///
/// # Errors
/// There is no Go, or the module can't be had.
pub fn generate() -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let chart = crate::project().join(CHART);
    let source = module()?.join("example/prometheus-operator-crd");
    let mut made = BTreeMap::new();
    for kind in KINDS {
        let path = source.join(format!("monitoring.coreos.com_{kind}.yaml"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let mut crd: Value =
            serde_saphyr::from_str(&text).with_context(|| format!("failed to read {}", path.display()))?;
        strip(&mut crd["spec"]);
        let metadata = &mut crd["metadata"];
        metadata["labels"] = json!({"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/part-of": "kompass"});
        let annotations = metadata["annotations"]
            .as_object_mut()
            .context("a CRD has no annotations")?;
        for (name, value) in [
            ("helm.sh/resource-policy", "keep"),
            ("meta.helm.sh/release-name", "kompass"),
            ("meta.helm.sh/release-namespace", "kompass"),
        ] {
            annotations.insert(name.to_owned(), json!(value));
        }
        let text = serde_saphyr::to_string(&crd).context("failed to write a CRD")?;
        let again: Value = serde_saphyr::from_str(&text).context("failed to read a CRD that was written")?;
        anyhow::ensure!(again == crd, "the CRD of {kind} is another one when it is read again");
        for folder in ["crds", "files/crds"] {
            made.insert(chart.join(folder).join(format!("{kind}.yaml")), text.clone());
        }
    }
    Ok(made)
}

/// Where the module's files are. It is fetched if need be.
fn module() -> anyhow::Result<PathBuf> {
    let folder = crate::project().join(PROGRAM);
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command
            .args(arguments)
            .current_dir(&folder)
            .env("GOFLAGS", "-mod=readonly")
            .env("GOWORK", "off");
        let output = command.output().context("failed to run go")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "failed to run go {arguments:?}: {errors}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    go(&["mod", "download", MODULE])?;
    Ok(PathBuf::from(go(&["list", "-m", "-f", "{{.Dir}}", MODULE])?))
}

/// Takes away the descriptions of a schema. A property of that name is no text, but a schema, and stays.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("description").is_some_and(Value::is_string) {
                map.remove("description");
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}
