//! `kompass run`: an ordinary spark-submit, and the time line of the gang that comes of it.

mod log;
mod recorder;
mod timeline;
mod watch;

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use kompass_local_cluster::full::Cluster;
use kompass_local_cluster::full::submit::{self, EXAMPLES};
use kompass_local_cluster::images::SparkVersion;
use kompass_local_cluster::progress::Progress;
use tokio::process::Child;
use tokio::task::JoinSet;

use crate::args::{INTERRUPTED, TIMED_OUT};
use crate::{extender, local};
use recorder::{Moment, Outcome, Recorder};

/// How often the extender is asked why the gang waits.
const ASK_INTERVAL: Duration = Duration::from_secs(2);
/// How long the log may go on after the driver has ended.
const LOG_TAIL_LIMIT: Duration = Duration::from_secs(20);

/// Options of `kompass run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kompass run                                              SparkPi with 2 executors
  kompass run --executors 4 -- 1000                        more of both
  kompass run --class dev.kompass.examples.Shuffle         another of the examples in the image
  kompass run --conf spark.executor.memory=1g --conf spark.dynamicAllocation.enabled=true")]
pub(crate) struct Args {
    /// Local cluster to submit to.
    #[arg(long, env = "KOMPASS_CLUSTER", default_value = local::DEFAULT_NAME, value_name = "NAME")]
    cluster: String,
    /// Main class; for a Python file it is not used.
    #[arg(long, default_value = "org.apache.spark.examples.SparkPi")]
    class: String,
    /// Jar or Python file, as spark-submit takes it; the examples in the image unless given.
    #[arg(long, value_name = "URI", default_value = EXAMPLES)]
    application: String,
    /// Executors.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    executors: u32,
    /// Name of the application; that of the class unless given.
    #[arg(long)]
    name: Option<String>,
    /// Namespace of its pods.
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// Spark version.
    #[arg(long, value_name = "VERSION")]
    spark: Option<SparkVersion>,
    /// Setting of Spark, as for spark-submit; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    conf: Vec<(String, String)>,
    /// Show the time line only, not the driver's log.
    #[arg(long, short)]
    quiet: bool,
    /// Seconds to wait for the end.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    timeout: u64,
    /// What the application is given.
    #[arg(last = true)]
    arguments: Vec<String>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if !key.starts_with("spark.") {
        return Err("keys of Spark begin with `spark.`".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

impl Args {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let attached = Cluster::attach(&self.cluster, &Progress::auto()).await;
        let cluster = attached.context("failed to find the local cluster; `kompass local up` starts it")?;
        let client = kompass_kube::client::connect(Some(&cluster.kubeconfig()), "kompass").await?;
        let limit = Duration::from_secs(self.timeout);
        let driver = self.driver_name(now_ms());
        let options = self.submission(&driver)?;
        let mut recorder = Recorder::new(&driver);

        // The watch first: not a single change of the gang is missed.
        let mut changes = watch::start(client.clone(), &options.namespace).await?;
        let mut command = submit::spark_submit(&cluster, &options).await?;
        command.stdin(Stdio::null()).kill_on_drop(true);
        recorder.note(Moment::Started, now_ms());
        let mut child = command.spawn().context("failed to start spark-submit")?;
        let mut side = Side::new(&client, &options.namespace, &driver, self.quiet);
        let ended = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Ended::Interrupted,
            ended = tokio::time::timeout(limit, follow(&mut child, &mut changes, &mut recorder, &mut side)) => {
                ended.unwrap_or(Ok(Ended::TimedOut))?
            }
        };
        side.finish().await;
        if ended != Ended::Submission {
            println!(
                "\n{}",
                timeline::render(&recorder.heading(&options.namespace), recorder.moments())
            );
        }
        self.exit(ended, &recorder)
    }

    /// Named here, so that the watch knows which pod is meant; in the form that Spark itself gives.
    fn driver_name(&self, now_ms: i64) -> String {
        format!("{}-{now_ms}-driver", pod_name(&self.app_name()))
    }

    fn app_name(&self) -> String {
        let of_class = || self.class.rsplit('.').next().unwrap_or("spark").to_owned();
        self.name.clone().unwrap_or_else(of_class)
    }

    fn submission(&self, driver: &str) -> anyhow::Result<submit::Options> {
        let is_python = std::path::Path::new(&self.application)
            .extension()
            .is_some_and(|ending| ending == "py");
        let mut conf = vec![
            ("spark.executor.instances".to_owned(), self.executors.to_string()),
            ("spark.kubernetes.driver.pod.name".to_owned(), driver.to_owned()),
            // The pods themselves are watched here; spark-submit's own watching would only keep its JVM running.
            (
                "spark.kubernetes.submission.waitAppCompletion".to_owned(),
                "false".to_owned(),
            ),
        ];
        anyhow::ensure!(
            !self
                .conf
                .iter()
                .any(|(key, _)| key == "spark.kubernetes.driver.pod.name"),
            "failed to use --conf spark.kubernetes.driver.pod.name: the command names the driver itself; use --name"
        );
        conf.extend(self.conf.iter().cloned());
        Ok(submit::Options {
            version: self.spark.clone().unwrap_or_default(),
            name: self.app_name(),
            namespace: self.namespace.clone(),
            class: (!is_python).then(|| self.class.clone()),
            application: self.application.clone(),
            arguments: self.arguments.clone(),
            conf,
            ..submit::Options::default()
        })
    }

    fn exit(&self, ended: Ended, recorder: &Recorder) -> anyhow::Result<ExitCode> {
        let driver = recorder.driver();
        Ok(match ended {
            Ended::Driver => match recorder.outcome() {
                Some(Outcome::Succeeded) => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            },
            Ended::Submission => anyhow::bail!("spark-submit failed; nothing was started"),
            Ended::Interrupted => {
                let name = local::flag("--name", &self.cluster);
                let delete = format!(
                    "kompass local kubectl{name} -- delete pod {driver} -n {}",
                    self.namespace
                );
                eprintln!("the job goes on; `{delete}` ends it");
                ExitCode::from(INTERRUPTED)
            }
            Ended::TimedOut => {
                let why = format!("kompass why{} {driver}", local::flag("--cluster", &self.cluster));
                eprintln!(
                    "no end after {} s; the job goes on; `{why}` tells what it waits for",
                    self.timeout
                );
                ExitCode::from(TIMED_OUT)
            }
        })
    }
}

/// What ended the following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Driver,
    Submission,
    Interrupted,
    TimedOut,
}

/// Follows the job until its driver has ended, or until spark-submit has failed.
async fn follow(
    child: &mut Child,
    changes: &mut watch::Changes,
    recorder: &mut Recorder,
    side: &mut Side,
) -> anyhow::Result<Ended> {
    let mut submitting = true;
    loop {
        tokio::select! {
            biased;
            change = changes.next() => {
                recorder.observe(&change?, now_ms());
                side.follow_log(recorder);
                if recorder.outcome().is_some() {
                    return Ok(Ended::Driver);
                }
            }
            status = child.wait(), if submitting => {
                submitting = false;
                if !status.context("failed to wait for spark-submit")?.success() {
                    return Ok(Ended::Submission);
                }
            }
            () = side.waited(), if recorder.is_waiting() => side.tell_why(recorder).await,
        }
    }
}

/// What is shown beside: the driver's log, and why the gang waits.
struct Side {
    extender: extender::Connection,
    pods: kube::Api<k8s_openapi::api::core::v1::Pod>,
    namespace: String,
    driver: String,
    quiet: bool,
    logs: JoinSet<()>,
    told: Option<String>,
}

impl Side {
    fn new(client: &kube::Client, namespace: &str, driver: &str, quiet: bool) -> Self {
        Self {
            extender: extender::through(client.clone()),
            pods: kube::Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
            driver: driver.to_owned(),
            quiet,
            logs: JoinSet::new(),
            told: None,
        }
    }

    fn follow_log(&mut self, recorder: &Recorder) {
        if !self.quiet && self.logs.is_empty() && recorder.container().is_some() {
            self.logs.spawn(log::follow(
                self.pods.clone(),
                self.driver.clone(),
                recorder.container().map(str::to_owned),
            ));
        }
    }

    async fn waited(&self) {
        tokio::time::sleep(ASK_INTERVAL).await;
    }

    async fn tell_why(&mut self, recorder: &Recorder) {
        // Without KOMPASS in the cluster there is nobody to ask, and nothing to tell.
        let Ok(Some(gang)) = self.extender.gang(&self.namespace, recorder.driver()).await else {
            return;
        };
        let Some(reason) = gang.waiting else { return };
        let text = format!(
            "{}: {} (number {} in its queue)",
            reason.code.as_str(),
            reason.text,
            reason.position
        );
        if self.told.as_ref() != Some(&text) {
            eprintln!("waits, {text}");
            self.told = Some(text);
        }
    }

    async fn finish(&mut self) {
        let rest = async { while self.logs.join_next().await.is_some() {} };
        // What is not there by then is not worth more waiting.
        let _ = tokio::time::timeout(LOG_TAIL_LIMIT, rest).await;
        self.logs.shutdown().await;
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// As Spark makes pod names of an application's name, short enough for what is put behind it.
fn pod_name(name: &str) -> String {
    let plain = name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let start = plain.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let cut: String = start.chars().take(40).collect();
    match cut.trim_end_matches('-') {
        "" => "spark".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from([&["run"], line].concat()).map(|line| line.args)
    }

    #[test]
    fn a_submission_names_its_driver_and_lets_the_users_settings_win() {
        let args = args(&["--executors", "4", "--conf", "spark.executor.instances=7", "--", "100"]).unwrap();
        let driver = args.driver_name(1_795_419_633_663);
        assert_eq!(driver, "sparkpi-1795419633663-driver");
        let options = args.submission(&driver).unwrap();
        assert_eq!(options.arguments, ["100"]);
        assert_eq!(options.class.as_deref(), Some("org.apache.spark.examples.SparkPi"));
        let of = |key: &str| {
            options
                .conf
                .iter()
                .filter(|(known, _)| known == key)
                .map(|(_, value)| value.as_str())
                .next_back()
        };
        assert_eq!(of("spark.kubernetes.driver.pod.name"), Some(driver.as_str()));
        assert_eq!(of("spark.executor.instances"), Some("7"));
    }

    #[test]
    fn a_python_file_has_no_class() {
        let args = args(&["--application", "local:///opt/spark/examples/pi.py", "--name", "My Pi!"]).unwrap();
        assert_eq!(args.submission("d").unwrap().class, None);
        assert_eq!(args.driver_name(1), "my-pi-1-driver");
    }

    #[test]
    fn odd_settings_are_refused_with_words() {
        for line in [
            &["--conf", "x"][..],
            &["--conf", "executor=1"],
            &["--executors", "-1"],
            &["--spark", "1.2.3"],
        ] {
            assert!(args(line).is_err(), "{line:?}");
        }
        let own = args(&["--conf", "spark.kubernetes.driver.pod.name=x"]).unwrap();
        assert!(own.submission("d").unwrap_err().to_string().contains("--name"));
    }

    #[test]
    fn names_of_pods_are_what_kubernetes_takes() {
        for (name, expected) in [
            ("Pi", "pi"),
            ("9 lives", "lives"),
            ("--", "spark"),
            ("Überlauf", "berlauf"),
        ] {
            assert_eq!(pod_name(name), expected);
        }
        assert_eq!(pod_name(&"x".repeat(100)).len(), 40);
    }
}
