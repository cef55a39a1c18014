//! Taking a cluster away, in an order that works after a normal run and after a `kill -9` of any of its parts.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use super::cgroups::Cgroups;
use super::daemons::{self, CONTAINERD};
use super::layout::Layout;
use super::runtime::Runtime;
use super::{Error, POLL_INTERVAL, host, io_error, layout, lock, mounts};
use crate::process::{Record, STOP_LIMIT};
use crate::progress::Progress;

/// How long killed processes have to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(20);

/// Stops a cluster and removes everything of it but its logs, and the images in the cache. Good when it is not up, or
/// not whole.
pub async fn down(name: &str, progress: &Progress) -> Result<(), Error> {
    let layout = layout(name)?;
    let _lock = lock(&layout, progress).await?;
    clean(&layout, progress).await
}

/// Like [`down`], and removes also the logs and the node's store of images, which the next start would have to fill.
pub async fn remove(name: &str, progress: &Progress) -> Result<(), Error> {
    let layout = layout(name)?;
    let lock = lock(&layout, progress).await?;
    clean(&layout, progress).await?;
    for folder in [&layout.state, &layout.containerd] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error(format!("remove {}", folder.display()))(error));
            }
            _ => {}
        }
    }
    drop(lock);
    Ok(())
}

/// What is there of a cluster: processes, mounts, control groups, files in folders of the machine. Empty after [`down`].
pub fn leftovers(name: &str) -> Result<Vec<String>, Error> {
    found(&layout(name)?)
}

fn found(layout: &Layout) -> Result<Vec<String>, Error> {
    let mut left = Vec::new();
    for record in records(layout) {
        if record.is_running() {
            left.push(format!("process {} ({})", record.pid, record.name));
        }
    }
    let namespace = layout.namespace();
    if namespace.path().exists() {
        left.push(format!("network namespace {}", namespace.path().display()));
        left.extend(
            namespace
                .processes()
                .iter()
                .map(|pid| format!("process {pid} in the network namespace")),
        );
    }
    let groups = groups(layout)?;
    left.extend(
        groups
            .processes()
            .iter()
            .map(|pid| format!("process {pid} in a control group")),
    );
    left.extend(
        groups
            .existing()
            .iter()
            .map(|group| format!("control group {}", group.display())),
    );
    for folder in [&layout.state, &layout.run, &layout.containerd] {
        let mounts = mounts::below(folder).map_err(io_error("read the mount table"))?;
        left.extend(mounts.iter().map(|mount| format!("mount {}", mount.display())));
    }
    let own = layout
        .removable()
        .into_iter()
        .chain([layout.run.clone()])
        .filter(|path| path.exists());
    left.extend(
        own.chain(host::shared_files(layout))
            .map(|path| path.display().to_string()),
    );
    Ok(left)
}

/// Like [`down`], for a caller that holds the lock.
pub(super) async fn clean(layout: &Layout, progress: &Progress) -> Result<(), Error> {
    if found(layout)?.is_empty() {
        return Ok(());
    }
    let step = progress.step(
        format!("Stopping cluster {}", layout.name),
        Some(Duration::from_secs(5)),
    );
    let records = records(layout);
    let is_core = |record: &&Record| daemons::CORE.contains(&record.name.as_str());

    step.note("daemons beside the cluster's own, kubelet");
    let others = records
        .iter()
        .filter(|record| !is_core(record) || record.name == "kubelet");
    futures::future::try_join_all(others.map(|record| record.stop(STOP_LIMIT))).await?;

    step.note("pods");
    let groups = groups(layout)?;
    kill_all(&groups.processes());
    if records
        .iter()
        .any(|record| record.name == CONTAINERD && record.is_running())
    {
        // Its memory of the containers would outlive them; when it is dead the next start takes care of that.
        let runtime = Runtime::at(layout.containerd_socket(), false);
        if let Err(error) = runtime.remove_containers().await {
            tracing::warn!(%error, "containers were not removed in order");
        }
    }

    step.note("control plane");
    let core = records.iter().filter(is_core);
    futures::future::try_join_all(core.map(|record| record.stop(patience(&record.name)))).await?;

    step.note("what is left of processes");
    let namespace = layout.namespace();
    let deadline = Instant::now() + GONE_LIMIT;
    loop {
        let mut pids = groups.processes();
        pids.extend(namespace.processes());
        if pids.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            return Err(Error::Left { left: found(layout)? });
        }
        kill_all(&pids);
        tokio::time::sleep(POLL_INTERVAL).await;
    }

    step.note("mounts, network, control groups, files");
    remove_traces(layout, &groups)?;
    let left = found(layout)?;
    if !left.is_empty() {
        return Err(Error::Left { left });
    }
    step.done();
    Ok(())
}

fn remove_traces(layout: &Layout, groups: &Cgroups) -> Result<(), Error> {
    layout
        .namespace()
        .remove()
        .map_err(io_error("remove the network namespace"))?;
    for folder in [&layout.state, &layout.run, &layout.containerd] {
        // Before any removal, which would otherwise reach into what is mounted.
        mounts::unmount_below(folder).map_err(io_error(format!("unmount what is below {}", folder.display())))?;
    }
    groups.remove().map_err(io_error("remove control groups"))?;
    let folders: Vec<PathBuf> = layout.removable().into_iter().chain([layout.run.clone()]).collect();
    for path in folders {
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error(format!("remove {}", path.display()))(error));
            }
            _ => {}
        }
    }
    host::remove_shared_files(layout).map_err(io_error("remove files from shared folders"))?;
    host::restore_kernel_settings().map_err(io_error("restore the kernel's settings"))
}

/// The records that can be read. One that cannot was being written when its writer was killed: that process, too, is
/// found in the network namespace.
fn records(layout: &Layout) -> Vec<Record> {
    let folder = layout.records();
    let files = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .filter_map(|path| Record::load(&path).ok())
        .collect()
}

/// How long a daemon may take to stop by itself. containerd keeps its store for the next cluster; what all others have is
/// thrown away, and the API server would wait a long time for those who still watch.
fn patience(name: &str) -> Duration {
    if name == CONTAINERD {
        STOP_LIMIT
    } else {
        Duration::from_secs(1)
    }
}

fn groups(layout: &Layout) -> Result<Cgroups, Error> {
    Cgroups::find(&layout.unique_name()).map_err(io_error("find the machine's control groups"))
}

fn kill_all(pids: &[i32]) {
    for &pid in pids {
        // It may have ended by itself at this moment.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
