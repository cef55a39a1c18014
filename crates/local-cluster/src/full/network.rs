//! The network namespace of a cluster: everything of it happens in there, the machine's own network sees nothing.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::mounts;

/// The node, the gateway of its pods, and their name server.
pub(crate) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// Pods and node.
pub(crate) const POD_NETWORK: &str = "10.88.0.0/16";
/// The first address of a pod.
pub(crate) const FIRST_POD_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 88, 1, 1);
/// The Service `kubernetes`: a second address of the node, so that no proxy is needed.
pub(crate) const API_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Services.
pub(crate) const SERVICE_NETWORK: &str = "10.96.0.0/16";
/// The bridge between node and pods.
pub(crate) const BRIDGE: &str = "cni0";
/// Its address, given once. Left alone, a bridge takes the lowest one of its ports: with pods that come and go it changes,
/// and pods that stay speak to the old one for seconds.
const BRIDGE_ADDRESS: &str = "0a:58:0a:58:00:01";

/// Inside, an answer takes microseconds or does not come.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// A network namespace that a file keeps alive.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    path: PathBuf,
}

impl Namespace {
    /// The namespace that `path` holds, which need not exist yet.
    pub(crate) const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file that holds it, for `nsenter --net=`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, empty but for a loopback interface that is down.
    pub(crate) fn create(&self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        File::create(&self.path)?;
        let path = self.path.clone();
        // Only this thread leaves the machine's network, and it ends at once; the mount keeps the namespace.
        on_own_thread(move || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(
                Some("/proc/thread-self/ns/net"),
                &path,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )?;
            Ok(())
        })
    }

    /// Moves the calling thread into it. Sockets that are open already stay where they are.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(setns(File::open(&self.path)?, CloneFlags::CLONE_NEWNET)?)
    }

    /// Whether something inside listens on `address`.
    pub(crate) async fn answers(&self, address: SocketAddr) -> bool {
        let namespace = self.clone();
        let connect = move || {
            namespace.enter()?;
            TcpStream::connect_timeout(&address, ANSWER_LIMIT).map(drop)
        };
        let tried = tokio::task::spawn_blocking(|| on_own_thread(connect)).await;
        matches!(tried, Ok(Ok(())))
    }

    /// The processes in it, without the calling one and those that have started it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let Ok(own) = fs::metadata(&self.path).map(|file| (file.dev(), file.ino())) else {
            return Vec::new();
        };
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let spared = ancestors();
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| !spared.contains(pid))
            .filter(|pid| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|file| (file.dev(), file.ino()) == own))
            .collect()
    }

    /// Lets go of it. The kernel ends it, with its interfaces and routes, when no process is left in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        mounts::unmount_below(&self.path)?;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// What `ip -batch` does in a new namespace.
pub(crate) fn set_up() -> String {
    format!(
        "link set lo up\n\
         link add {BRIDGE} address {BRIDGE_ADDRESS} type bridge\n\
         address add {NODE_ADDRESS}/16 dev {BRIDGE}\n\
         address add {API_SERVICE_ADDRESS}/32 dev {BRIDGE}\n\
         link set {BRIDGE} up\n\
         route add {SERVICE_NETWORK} dev {BRIDGE}\n"
    )
}

/// This process, its parent, and so on up to the first process.
fn ancestors() -> Vec<i32> {
    let mut pids = Vec::new();
    let mut next = i32::try_from(std::process::id()).ok();
    while let Some(pid) = next.filter(|pid| *pid > 0) {
        pids.push(pid);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        next = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    }
    pids
}

fn on_own_thread(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    thread::spawn(work)
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread for a network namespace panicked")))
}
