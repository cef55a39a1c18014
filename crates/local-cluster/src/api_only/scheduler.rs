//! More schedulers beside the default one.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Cluster, Error, READY_LIMIT};
use crate::process::{Daemon, Spec};
use crate::programs::Program;

impl Cluster {
    /// Starts a `kube-scheduler` with a configuration of its own and waits until it has seen all objects and is ready.
    ///
    /// `configuration` is a `KubeSchedulerConfiguration` as YAML. Its `clientConnection.kubeconfig` is filled in when it
    /// is missing. Feature gates look like `("GangScheduling", true)`. Its metrics are at [`Daemon::address`], for
    /// [`Cluster::client_of`].
    pub async fn start_scheduler(
        &self,
        name: &str,
        configuration: &str,
        feature_gates: &[(&str, bool)],
    ) -> Result<Daemon, Error> {
        let kubeconfig = self.kubeconfig_for("system:kube-scheduler", &[])?;
        let configuration = with_kubeconfig(name, configuration, &kubeconfig)?;
        let path = self.folder.path().join(format!("{name}.config.yaml"));
        std::fs::write(&path, configuration.to_string()).map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })?;
        let mut flags = vec![format!("--config={}", path.display())];
        if !feature_gates.is_empty() {
            let gates: Vec<String> = feature_gates.iter().map(|(gate, on)| format!("{gate}={on}")).collect();
            flags.push(format!("--feature-gates={}", gates.join(",")));
        }
        self.start_scheduler_with(name, flags).await
    }

    pub(super) async fn start_scheduler_with(&self, name: &str, flags: Vec<String>) -> Result<Daemon, Error> {
        let kubeconfig = self.kubeconfig_for("system:kube-scheduler", &[])?;
        let pki = self.folder.pki();
        let serving = self
            .authority
            .server(name, ["localhost", "127.0.0.1"])?
            .save(&pki, name)?;
        let program = self.programs.path(Program::Scheduler)?;
        self.on_free_port(name, async |address| {
            let spec = Spec::new(name, &program, &self.folder.logs())
                .recorded_in(self.folder.records())
                .serving(address)
                .argument(format!("--bind-address={}", address.ip()))
                .argument(format!("--secure-port={}", address.port()))
                .path_flag("tls-cert-file", &serving.certificate)
                .path_flag("tls-private-key-file", &serving.key)
                .path_flag("authentication-kubeconfig", &kubeconfig)
                .path_flag("authorization-kubeconfig", &kubeconfig)
                .arguments(&flags);
            let mut daemon = Daemon::start(spec)?;
            let client = self.client_of(address)?;
            daemon
                .ready(READY_LIMIT, || async { client.get_text("/readyz").await.is_ok() })
                .await?;
            Ok(daemon)
        })
        .await
    }
}

fn with_kubeconfig(name: &str, configuration: &str, kubeconfig: &Path) -> Result<Value, Error> {
    let mut value: Value = serde_saphyr::from_str(configuration).map_err(|source| Error::SchedulerConfiguration {
        name: name.to_owned(),
        source: Box::new(source),
    })?;
    let kind = || Error::SchedulerConfigurationKind { name: name.to_owned() };
    value
        .as_object_mut()
        .ok_or_else(kind)?
        .entry("clientConnection")
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
        .ok_or_else(kind)?
        .entry("kubeconfig")
        .or_insert_with(|| json!(kubeconfig));
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_kubeconfig_is_filled_in() {
        let with = |text: &str| with_kubeconfig("s", text, Path::new("/k"));
        let value = with("kind: K\nprofiles:\n- schedulerName: kompass\n").unwrap();
        assert_eq!(value["clientConnection"]["kubeconfig"], "/k");
        assert_eq!(value["profiles"][0]["schedulerName"], "kompass");
        let value = with("clientConnection:\n  qps: 5000\n").unwrap();
        assert_eq!(value["clientConnection"], json!({"qps": 5000, "kubeconfig": "/k"}));
        let value = with(r#"{"clientConnection": {"kubeconfig": "/own"}}"#).unwrap();
        assert_eq!(value["clientConnection"]["kubeconfig"], "/own");
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        let with = |text: &str| with_kubeconfig("s", text, Path::new("/k"));
        assert!(matches!(with("- a"), Err(Error::SchedulerConfigurationKind { .. })));
        assert!(matches!(
            with("clientConnection: 3"),
            Err(Error::SchedulerConfigurationKind { .. })
        ));
        assert!(matches!(with("a: [b"), Err(Error::SchedulerConfiguration { .. })));
    }
}
