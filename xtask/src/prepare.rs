//! `cargo xtask prepare`: packages, programs and images that the tests need.

use anyhow::Context as _;
use kompass_local_cluster::images::{self, Image, SparkVersion};
use kompass_local_cluster::moto;
use kompass_local_cluster::prerequisites;
use kompass_local_cluster::programs::{self, Module};
use kompass_local_cluster::progress::Progress;

/// What to prepare.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Only what control planes without a node need.
    #[arg(long, conflicts_with = "full")]
    pub(crate) api_only: bool,
    /// Also what only `cargo xtask test --full` needs.
    #[arg(long)]
    pub(crate) full: bool,
}

/// What the ordinary tests run.
const MODULES: [Module; 7] = [
    Module::Etcd,
    Module::Kubernetes,
    Module::Kwok,
    Module::CoreDns,
    Module::Karpenter,
    Module::Helm,
    Module::Actionlint,
];
/// What only the long tests run. To compile these takes twenty minutes on two cores.
const LONG_MODULES: [Module; 4] = [
    Module::Prometheus,
    Module::PrometheusOperator,
    Module::KubeStateMetrics,
    Module::Trivy,
];

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(prepare(args))
}

async fn prepare(args: &Args) -> anyhow::Result<()> {
    let progress = Progress::auto();
    let needs = if args.api_only {
        prerequisites::API_ONLY
    } else {
        prerequisites::FULL
    };
    let needs = [
        needs,
        prerequisites::PROMETHEUS,
        prerequisites::MOTO,
        prerequisites::DEPLOYMENT,
    ]
    .concat();
    prerequisites::ensure(&needs, &progress).await?;
    programs::ensure(&MODULES, &progress).await?;
    if args.full {
        programs::ensure(&LONG_MODULES, &progress).await?;
    }
    moto::ensure(&progress).await?;
    if !args.api_only {
        let spark = SparkVersion::all().map(Image::Spark);
        let all: Vec<Image> = std::iter::once(Image::Pause).chain(spark).collect();
        images::ensure(&all, &progress).await?;
    }
    Ok(())
}
