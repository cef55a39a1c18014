//! Starting a cluster, part after part; whatever can, begins at the same time.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

use super::cgroups::Cgroups;
use super::daemons::{self, NODE};
use super::forward::Forwarder;
use super::layout::Layout;
use super::network::{self, NODE_ADDRESS};
use super::runtime::Runtime;
use super::{
    Cluster, Door, Error, Options, POLL_INTERVAL, admin_client, config, host, io_error, is_nested, tool_error,
};
use crate::client::Client;
use crate::images::{Archive, Image, tool};
use crate::pki::{self, API_SERVER_NAMES, Authority, MASTERS, ServiceAccountKeys};
use crate::process::{Daemon, STOP_LIMIT};
use crate::programs::Programs;
use crate::progress::{Progress, Step};
use crate::{kwok, ports};

/// How long one part has to be ready. An idle machine needs seconds; one that compiles beside may need much more.
const READY_LIMIT: Duration = Duration::from_mins(3);
const QUICK_LIMIT: Duration = Duration::from_secs(30);
/// How long a healthy API server needs for one answer, at most.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How often a door is tried on another port, because somebody else was faster.
const PORT_ATTEMPTS: usize = 5;
/// The API server for programs in the cluster's network.
pub(super) const INNER_URL: &str = "https://127.0.0.1:443";
/// The daemon that forwards the API server.
pub(super) const API_DOOR: &str = "door-api-server";
pub(super) const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const KWOK_PORT: u16 = 10247;
/// Node objects that are created at the same time.
const NODES_AT_ONCE: usize = 16;

/// The API server inside the cluster's network.
pub(super) fn api_server() -> SocketAddr {
    (NODE_ADDRESS, daemons::API_PORT).into()
}

/// The images that a cluster shall have.
pub(super) fn images(options: &Options) -> Vec<Image> {
    let spark = options.spark_versions.iter().cloned().map(Image::Spark);
    let own = options.own.iter().cloned().map(Image::Own);
    std::iter::once(Image::Pause).chain(own).chain(spark).collect()
}

pub(super) fn runtime(layout: &Layout) -> Result<Runtime, Error> {
    let folder = &layout.containerd;
    fs::create_dir_all(folder).map_err(io_error(format!("make {}", folder.display())))?;
    Ok(Runtime::at(layout.containerd_socket(), is_nested(folder)))
}

/// Starts everything. The daemons live on only when all of it succeeds.
pub(super) async fn start(
    layout: &Layout,
    options: &Options,
    programs: &Programs,
    archives: &[Archive],
    progress: &Progress,
) -> Result<Cluster, Error> {
    let label = format!("Starting cluster {}", options.name);
    let step = progress.step(label, Some(Duration::from_secs(15)));
    step.note("network, keys and configuration");
    prepare_machine(layout).await?;
    let runtime = runtime(layout)?;
    write_files(layout, options)?;
    let authority = write_keys(layout)?;

    step.note("etcd and containerd");
    let mut etcd = Daemon::start(daemons::etcd(layout, programs)?)?;
    let mut containerd = Daemon::start(daemons::containerd(layout))?;
    let namespace = layout.namespace();
    etcd.ready(READY_LIMIT, || namespace.answers(local(daemons::ETCD_PORT)))
        .await?;

    step.note("API server");
    let mut api = Daemon::start(daemons::api_server(layout, programs)?)?;
    let (address, forwarder) = open_door(layout, &options.door, API_DOOR, api_server()).await?;
    let client = admin_client(layout, address)?;
    let identity = super::admin(layout)?;
    let url = format!("https://{address}");
    pki::write_kubeconfig(&layout.kubeconfig(), &url, &authority, "admin", &identity)?;
    let api_ready = async {
        let ready = || async { client.get_text("/readyz").await.is_ok() };
        api.ready(READY_LIMIT, ready).await.map_err(Error::from)
    };
    futures::future::try_join(api_ready, empty_runtime(&mut containerd, &runtime)).await?;

    step.note("controller manager, scheduler, name server, kubelet");
    let mut rest = vec![
        Daemon::start(daemons::controller_manager(layout, programs)?)?,
        Daemon::start(daemons::scheduler(layout, programs)?)?,
        Daemon::start(daemons::name_server(layout, programs)?)?,
        Daemon::start(daemons::kubelet(layout, programs)?)?,
        Daemon::start(daemons::proxy(layout, programs)?)?,
    ];
    if options.kwok_nodes > 0 {
        rest.push(start_kwok(layout, programs, &client, options.kwok_nodes).await?);
    }
    let imported = import_noting(&runtime, archives, &step);
    let ready = async {
        for (daemon, port) in rest
            .iter_mut()
            .zip([None, Some(daemons::SCHEDULER_PORT), Some(daemons::DNS_PORT)])
        {
            if let Some(port) = port {
                let host = if port == daemons::DNS_PORT {
                    NODE_ADDRESS
                } else {
                    Ipv4Addr::LOCALHOST
                };
                daemon
                    .ready(READY_LIMIT, || namespace.answers((host, port).into()))
                    .await?;
            }
        }
        wait_for_pods(&client, &mut rest, 1 + options.kwok_nodes).await
    };
    futures::future::try_join(imported, ready).await?;

    let cluster = Cluster {
        layout: layout.clone(),
        options: options.clone(),
        address,
        client,
        forwarders: forwarder.into_iter().collect(),
        progress: progress.clone(),
    };
    cluster.save()?;
    for daemon in rest.into_iter().chain([etcd, containerd, api]) {
        daemon.detach();
    }
    step.done();
    Ok(cluster)
}

async fn prepare_machine(layout: &Layout) -> Result<(), Error> {
    let namespace = layout.namespace();
    namespace.create().map_err(io_error("make a network namespace"))?;
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", namespace.path().display()))
        .args(["--", "ip", "-batch", "-"]);
    tool::with_input(command, &network::set_up(), QUICK_LIMIT)
        .await
        .map_err(tool_error("set up the cluster's network"))?;
    let groups = Cgroups::find(&layout.unique_name()).map_err(io_error("find the machine's control groups"))?;
    groups.create().map_err(io_error("make control groups"))?;
    host::remember_kernel_settings().map_err(io_error("write down the kernel's settings"))
}

fn write_files(layout: &Layout, options: &Options) -> Result<(), Error> {
    let is_v1 = Cgroups::find(&layout.unique_name())
        .map_err(io_error("find the machine's control groups"))?
        .is_v1();
    let nested = is_nested(&layout.containerd);
    let kubelet = config::kubelet(layout, is_v1, options.system_reserved).to_string();
    for (path, text) in [
        (layout.config("containerd.toml"), config::containerd(layout, nested)),
        (
            layout.config("cni/10-pods.conflist"),
            config::pod_network(layout).to_string(),
        ),
        (layout.config("kubelet.json"), kubelet),
        (layout.config("kube-proxy.json"), config::proxy(layout).to_string()),
        (layout.config("Corefile"), config::corefile(layout)),
        (layout.config("resolv.conf"), config::resolver()),
    ] {
        write(&path, &text).map_err(io_error(format!("write {}", path.display())))?;
    }
    // Logs of the cluster before this one would only be in the way.
    let logs = layout.logs();
    remove_folder(&logs)?;
    for folder in [logs, layout.kubelet(), layout.pod_logs(), layout.etcd()] {
        make_private(&folder).map_err(io_error(format!("make {}", folder.display())))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    fs::create_dir_all(folder)?;
    // etcd complains about anything wider.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

fn remove_folder(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io_error(format!("remove {}", folder.display()))(error))
        }
        _ => Ok(()),
    }
}

fn write_keys(layout: &Layout) -> Result<Authority, Error> {
    let folder = layout.pki();
    let authority = Authority::new()?;
    authority.save(&folder)?;
    ServiceAccountKeys::create(&folder)?;
    let names = API_SERVER_NAMES
        .map(str::to_owned)
        .into_iter()
        .chain(daemons::api_server_addresses());
    authority.server("kube-apiserver", names)?.save(&folder, "apiserver")?;
    authority
        .client("kube-apiserver-kubelet-client", &[MASTERS])?
        .save(&folder, "kubelet-client")?;
    authority.person("admin", &[MASTERS])?.save(&folder, "admin")?;
    let node = format!("system:node:{NODE}");
    for (file, user, groups) in [
        ("admin", "admin", &[MASTERS][..]),
        ("controller-manager", "system:kube-controller-manager", &[]),
        ("scheduler", "system:kube-scheduler", &[]),
        ("proxy", "system:kube-proxy", &[]),
        ("kwok", "kwok", &[MASTERS]),
        ("node", &node, &["system:nodes"]),
    ] {
        let identity = authority.client(user, groups)?;
        pki::write_kubeconfig(&layout.inner_kubeconfig(file), INNER_URL, &authority, user, &identity)?;
    }
    Ok(authority)
}

/// Waits for containerd and empties it of containers of a cluster that was not stopped in order.
async fn empty_runtime(containerd: &mut Daemon, runtime: &Runtime) -> Result<(), Error> {
    let failed = tool_error("remove containers of an earlier cluster");
    containerd.ready(READY_LIMIT, || runtime.answers()).await?;
    if runtime.remove_containers().await.map_err(failed)? > 0 {
        // It has read them at its start and would tell the kubelet about them.
        containerd.stop(STOP_LIMIT).await?;
        containerd.restart().await?;
        containerd.ready(READY_LIMIT, || runtime.answers()).await?;
    }
    Ok(())
}

/// Takes the images in that are missing.
pub(super) async fn import(runtime: &Runtime, archives: &[Archive], progress: &Progress) -> Result<(), Error> {
    let mut missing = Vec::new();
    for archive in archives {
        if !runtime.has(archive).await.map_err(tool_error("list images"))? {
            missing.push(archive.clone());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let step = progress.step(
        "Importing images",
        Some(Duration::from_secs(20) * u32::try_from(missing.len()).unwrap_or(1)),
    );
    import_noting(runtime, &missing, &step).await?;
    step.done();
    Ok(())
}

async fn import_noting(runtime: &Runtime, archives: &[Archive], step: &Step) -> Result<(), Error> {
    for archive in archives {
        if !runtime.has(archive).await.map_err(tool_error("list images"))? {
            step.note(format!("importing {}", archive.reference));
            runtime.import(archive).await.map_err(tool_error("import an image"))?;
        }
    }
    step.note("waiting for the node");
    Ok(())
}

async fn start_kwok(layout: &Layout, programs: &Programs, client: &Client, count: usize) -> Result<Daemon, Error> {
    let address = local(KWOK_PORT);
    let kubeconfig = layout.inner_kubeconfig("kwok");
    let spec = kwok::spec(programs, &kubeconfig, &layout.state, address, &kwok::Options::default())?;
    let spec = spec
        .recorded_in(layout.records())
        .in_network_namespace(layout.namespace().path());
    let daemon = Daemon::start(spec)?;
    // Pods of real nodes must stay away: nothing would ever answer them there.
    let shape = kwok::Shape {
        tainted: true,
        ..kwok::Shape::default()
    };
    client
        .create_all("/api/v1/nodes", kwok::fake_nodes(count, &shape), NODES_AT_ONCE)
        .await?;
    Ok(daemon)
}

/// Waits until `nodes` are ready and pods may be created, which they may not before their service account exists.
async fn wait_for_pods(client: &Client, daemons: &mut [Daemon], nodes: usize) -> Result<(), Error> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        daemons.iter_mut().try_for_each(Daemon::check)?;
        let list = client.get("/api/v1/nodes").await.unwrap_or_default();
        let ready = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|node| is_ready(node))
            .count();
        let account = client.get("/api/v1/namespaces/default/serviceaccounts/default").await;
        if ready >= nodes && account.is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = format!("{nodes} ready nodes and a service account (ready: {ready})");
            return Err(Error::TooSlow {
                what,
                limit: READY_LIMIT,
            });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

pub(super) fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Opens a loopback port of the machine to `target` in the cluster's network.
pub(super) async fn open_door(
    layout: &Layout,
    door: &Door,
    name: &str,
    target: SocketAddr,
) -> Result<(SocketAddr, Option<Forwarder>), Error> {
    let Door::Program { program, arguments } = door else {
        let forwarder = Forwarder::start(ANY_PORT, layout.namespace().path(), target)?;
        return Ok((forwarder.address(), Some(forwarder)));
    };
    for attempt in 1.. {
        let address = local(ports::free().ok_or(Error::NoPort)?);
        let mut daemon = Daemon::start(door_spec(layout, name, program, arguments, address, target))?;
        let answers = || async { TcpStream::connect(address).await.is_ok() };
        match daemon.ready(QUICK_LIMIT, answers).await {
            Ok(_) => {
                daemon.detach();
                return Ok((address, None));
            }
            Err(error) if attempt < PORT_ATTEMPTS && error.is_address_in_use() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::NoPort)
}

fn door_spec(
    layout: &Layout,
    name: &str,
    program: &Path,
    arguments: &[String],
    listen: SocketAddr,
    target: SocketAddr,
) -> crate::process::Spec {
    // Not in the cluster's network: it stands with one foot in each.
    crate::process::Spec::new(name, PathBuf::from(program), &layout.logs())
        .recorded_in(layout.records())
        .arguments(arguments.iter().cloned())
        .argument(format!("--listen={listen}"))
        .path_flag("namespace", layout.namespace().path())
        .argument(format!("--target={target}"))
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
