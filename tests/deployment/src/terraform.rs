//! Terraform itself, and the provider: from a folder of this machine if there is one, else from the public registry.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{project, run, succeed};
use anyhow::Context as _;
use tempfile::TempDir;
use tokio::process::Command;

/// An apply on a machine that has other work.
const LIMIT: Duration = Duration::from_mins(8);
/// Of a mirror, as Terraform names it.
const PROVIDER: &str = "registry.terraform.io/hashicorp/aws";
/// The provider that the project was tested with, by its checksums.
const LOCK: &str = ".terraform.lock.hcl";
/// What a configuration of Terraform's command line is called in a home.
const OF_HOME: &str = ".terraformrc";

/// A copy of `terraform/` that may be written to.
#[derive(Debug)]
pub struct Workspace {
    folder: TempDir,
}

impl Workspace {
    /// Copies the files and initialises them.
    pub async fn new() -> anyhow::Result<Self> {
        let workspace = Self {
            folder: TempDir::new().context("failed to make a folder")?,
        };
        copy(&project().join("terraform"), &workspace.path())?;
        lock(&workspace.path())?;
        if let Some(configuration) = configuration() {
            workspace.write("../cli.tfrc", &configuration)?;
        }
        let init = ["init", "-backend=false", "-input=false", "-no-color"];
        workspace
            .terraform(&init)
            .await
            .context("Terraform 1.9 or newer is needed (https://developer.hashicorp.com/terraform/install)")?;
        Ok(workspace)
    }

    /// Where the copy is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("terraform")
    }

    /// Adds a file to the copy.
    pub fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        std::fs::write(self.path().join(file), text).with_context(|| format!("failed to write {file}"))
    }

    /// Runs a command that is to end well, and returns what it says.
    pub async fn terraform(&self, arguments: &[&str]) -> anyhow::Result<String> {
        succeed(&mut self.command(arguments), LIMIT).await
    }

    /// Runs a command; its exit code and all that it says.
    pub async fn outcome(&self, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let output = run(&mut self.command(arguments), LIMIT).await?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("terraform");
        command.args(arguments).current_dir(self.path());
        // No word to its maker, no colours, no question.
        for (name, value) in [
            ("CHECKPOINT_DISABLE", "1"),
            ("TF_IN_AUTOMATION", "1"),
            ("TF_INPUT", "0"),
        ] {
            command.env(name, value);
        }
        for name in [
            "TF_DATA_DIR",
            "TF_LOG",
            "TF_WORKSPACE",
            "TF_CLI_ARGS",
            "AWS_PROFILE",
            "AWS_ENDPOINT_URL",
        ] {
            command.env_remove(name);
        }
        let own = self.folder.path().join("cli.tfrc");
        if own.is_file() {
            command.env("TF_CLI_CONFIG_FILE", own);
        }
        command
    }
}

/// The configuration of the command line; none if the machine's owner has one, which then counts.
pub fn configuration() -> Option<String> {
    let home = std::env::home_dir().unwrap_or_default();
    let chosen = std::env::var_os("TF_CLI_CONFIG_FILE").map_or_else(|| home.join(OF_HOME), PathBuf::from);
    if chosen.is_file() {
        return None;
    }
    Some(match mirror(&home) {
        Some(mirror) => format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path    = {:?}\n    include = [\"{PROVIDER}\"]\n  }}\n  \
             direct {{\n    exclude = [\"{PROVIDER}\"]\n  }}\n}}\n",
            mirror.display().to_string()
        ),
        None => "provider_installation {\n  direct {}\n}\n".to_owned(),
    })
}

/// A folder with the provider: where Terraform itself looks, or one of those in which machines keep what is added to them.
fn mirror(home: &Path) -> Option<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME").map_or_else(|| home.join(".local/share"), PathBuf::from);
    let shares = std::env::var("XDG_DATA_DIRS").unwrap_or_else(|_| "/usr/local/share:/usr/share".to_owned());
    let shares = shares
        .split(':')
        .map(|share| Path::new(share).join("terraform/plugins"));
    let usual = [home.join(".terraform.d/plugins"), data.join("terraform/plugins")];
    let mut folders: Vec<PathBuf> = usual.into_iter().chain(shares).collect();
    for parent in ["/opt", "/srv", "/usr/local/lib", "/usr/lib"] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        entries.sort();
        let inner = entries.iter().map(|entry| entry.join("plugins"));
        folders.extend(inner.collect::<Vec<_>>());
        folders.extend(entries);
    }
    folders.into_iter().find(|folder| folder.join(PROVIDER).is_dir())
}

/// Gives a copy of `terraform/` the lock that users have, unless this machine has a mirror without that provider.
pub fn lock(to: &Path) -> anyhow::Result<()> {
    let from = project().join("terraform").join(LOCK);
    let text = std::fs::read_to_string(&from).with_context(|| format!("failed to read {}", from.display()))?;
    let version = text
        .split_once("version     = \"")
        .and_then(|(_, rest)| rest.split('"').next())
        .with_context(|| format!("failed to find the version in {}", from.display()))?;
    if configuration().is_some()
        && let Some(mirror) = mirror(&std::env::home_dir().unwrap_or_default())
    {
        let entries = std::fs::read_dir(mirror.join(PROVIDER)).context("failed to list the mirror")?;
        let mut names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        if !names.any(|name| name == version || name.contains(&format!("_{version}_"))) {
            return Ok(());
        }
    }
    std::fs::write(to.join(LOCK), text).with_context(|| format!("failed to write the lock in {}", to.display()))
}

/// Copies a folder; what Terraform has left in it stays behind.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("failed to make {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("failed to read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.starts_with(".terraform") || text.contains(".tfstate") || text == "terraform.tfvars" {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).with_context(|| format!("failed to copy {text}"))?;
        }
    }
    Ok(())
}
