//! What programs of a cluster change on the machine outside of the cluster's own folders, and undoing it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::layout::{Layout, RUN};

/// Settings of the kernel that a kubelet writes when it starts, for the whole machine.
const KERNEL_SETTINGS: [&str; 6] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];
/// Links to the logs of containers; the kubelet's place for them cannot be changed.
const LOG_LINKS: &str = "/var/log/containers";
/// Notes of the network plug-ins about pods; the same.
const NETWORK_NOTES: &str = "/var/lib/cni/results";
/// Sockets of containerd's helpers; the same.
const SHIM_SOCKETS: &str = "/run/containerd/s";
/// Sockets for device plug-ins of a kubelet; the same.
const KUBELET: &str = "/var/lib/kubelet";

/// Writes down the kernel's settings, unless another cluster has changed them already.
pub(super) fn remember_kernel_settings() -> io::Result<()> {
    let file = settings_file();
    if file.exists() {
        return Ok(());
    }
    let settings: BTreeMap<&str, String> = KERNEL_SETTINGS
        .into_iter()
        .filter_map(|name| Some((name, fs::read_to_string(setting(name)).ok()?.trim().to_owned())))
        .collect();
    fs::create_dir_all(RUN)?;
    fs::write(file, serde_json::to_vec(&settings)?)
}

/// Gives the kernel its settings back when no other cluster is left. What cannot be written is left as it is.
pub(super) fn restore_kernel_settings() -> io::Result<()> {
    let file = settings_file();
    if has_other_clusters() || !file.exists() {
        return Ok(());
    }
    let settings: BTreeMap<String, String> = serde_json::from_slice(&fs::read(&file)?)?;
    for (name, value) in settings {
        let path = setting(&name);
        let is_changed = fs::read_to_string(&path).is_ok_and(|now| now.trim() != value);
        if is_changed && let Err(error) = fs::write(&path, value) {
            tracing::warn!(%error, path = %path.display(), "a setting of the kernel was not restored");
        }
    }
    missing_is_good(fs::remove_file(file))?;
    // Another cluster may just begin.
    drop(fs::remove_dir(RUN));
    Ok(())
}

/// The files of this cluster in folders that it shares with others.
pub(super) fn shared_files(layout: &Layout) -> Vec<PathBuf> {
    let logs = layout.pod_logs();
    let run = format!("{}/", layout.run.display());
    let links = entries(LOG_LINKS).filter(|path| fs::read_link(path).is_ok_and(|target| target.starts_with(&logs)));
    // A note holds the path of its pod's network namespace.
    let notes = entries(NETWORK_NOTES).filter(|path| fs::read_to_string(path).is_ok_and(|note| note.contains(&run)));
    links.chain(notes).collect()
}

/// Removes this cluster's files from shared folders, and the folders that are empty then.
pub(super) fn remove_shared_files(layout: &Layout) -> io::Result<()> {
    shared_files(layout)
        .iter()
        .try_for_each(|path| missing_is_good(fs::remove_file(path)))?;
    for socket in entries(SHIM_SOCKETS) {
        // Nobody listens any more: its process was killed before it could remove the file.
        if UnixStream::connect(&socket).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            missing_is_good(fs::remove_file(&socket))?;
        }
    }
    let is_last = !has_other_clusters();
    // A kubelet of the machine itself has more in there.
    if is_last && entries(KUBELET).all(|path| path.ends_with("device-plugins")) && Path::new(KUBELET).exists() {
        missing_is_good(fs::remove_dir_all(KUBELET))?;
    }
    for folder in [
        LOG_LINKS,
        NETWORK_NOTES,
        "/var/lib/cni",
        SHIM_SOCKETS,
        "/run/containerd",
    ] {
        // Fails, as it should, when something is in it.
        drop(fs::remove_dir(folder));
    }
    Ok(())
}

/// Two clusters may be taken away at the same time.
fn missing_is_good(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the folders of a cluster are there; called when this one's own are gone.
fn has_other_clusters() -> bool {
    entries(RUN).any(|path| path.is_dir())
}

fn entries(folder: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn settings_file() -> PathBuf {
    Path::new(RUN).join("kernel-settings.json")
}

fn setting(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
