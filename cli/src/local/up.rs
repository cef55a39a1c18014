//! `kompass local up`.

use std::path::PathBuf;

use anyhow::Context as _;
use kompass_local_cluster::full::{self, Cluster, Door};
use kompass_local_cluster::images::SparkVersion;
use kompass_local_cluster::prerequisites;
use kompass_local_cluster::progress::Progress;

use super::install::{self, Wanted};
use super::{Name, api_only, consent, services};

/// Options of `kompass local up`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kompass local up\n  kompass local up --spark 4.1.4 --spark 3.5.9\n  kompass local up --monitoring\n  kompass local up --api-only --kwok-nodes 50 --name test"
)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
    /// Control plane alone: no node, no pod that runs, no root needed.
    #[arg(long, conflicts_with = "spark")]
    api_only: bool,
    /// Nodes that only exist in the API, played by KWOK.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    kwok_nodes: usize,
    /// Leave KOMPASS out: Kubernetes with its own scheduler only.
    #[arg(long)]
    without_kompass: bool,
    /// Spark version whose image the node gets; may be given several times.
    #[arg(long, value_name = "VERSION")]
    spark: Vec<SparkVersion>,
    /// Values of KOMPASS's chart, beside those that a local cluster needs; may be given several times.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["api_only", "without_kompass"])]
    values: Vec<PathBuf>,
    /// Prometheus with its operator, and the predictor that learns from it; the first time, minutes of building.
    #[arg(long, conflicts_with_all = ["api_only", "without_kompass"])]
    monitoring: bool,
    /// Ask nothing: install missing packages at once.
    #[arg(long, short)]
    yes: bool,
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self {
            name: Name { name },
            api_only,
            kwok_nodes,
            without_kompass,
            spark,
            values,
            monitoring,
            yes,
        } = self;
        let progress = Progress::auto();
        if !without_kompass {
            // Said before minutes of building, not after.
            services::Programs::find()?;
        }
        if api_only {
            consent::prepare(prerequisites::API_ONLY, yes, &progress).await?;
            api_only::start(&name, kwok_nodes, without_kompass, &progress).await?;
        } else {
            consent::prepare(prerequisites::FULL, yes, &progress).await?;
            let kompass = (!without_kompass).then_some(Wanted { values, monitoring });
            full_cluster(&name, kwok_nodes, spark, kompass.as_ref(), &progress).await?;
        }
        eprintln!(
            "cluster {name} is up{}",
            if without_kompass { "" } else { ", KOMPASS runs in it" }
        );
        let flag = super::flag("--name", &name);
        eprintln!("  export KUBECONFIG=$(kompass local kubeconfig{flag})");
        if !api_only {
            eprintln!("  kompass run{} --executors 2 -- 100", super::flag("--cluster", &name));
        }
        if monitoring {
            eprintln!(
                "  kompass local kubectl{flag} -- port-forward service/kompass-prometheus 9090 --namespace=kompass"
            );
        }
        eprintln!("  kompass local status{flag}");
        eprintln!("  kompass local down{flag}");
        Ok(())
    }
}

async fn full_cluster(
    name: &str,
    kwok_nodes: usize,
    spark: Vec<SparkVersion>,
    kompass: Option<&Wanted>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("failed to find this program itself")?;
    let images = match kompass {
        Some(wanted) => install::images(wanted, progress).await?,
        None => Vec::new(),
    };
    let options = full::Options {
        name: name.to_owned(),
        kwok_nodes,
        spark_versions: if spark.is_empty() {
            vec![SparkVersion::default()]
        } else {
            spark
        },
        own: images.clone(),
        door: Door::Program {
            program: own,
            arguments: ["local", "forward"].map(str::to_owned).to_vec(),
        },
        ..full::Options::default()
    };
    let cluster = Cluster::up(options, progress).await?;
    match kompass {
        Some(wanted) => install::install(&cluster, &images, wanted, progress).await,
        None => install::remove(&cluster, progress).await,
    }
}
