//! The command line, and what it resolves to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::Authority;
use kompass_core::names;
use kompass_service::args::{Admin, End, Log, duration};

use crate::admit::{Guard, Mode, Rules};
use crate::certificates::Source;
use crate::registration::Endpoint;

/// No gate of KOMPASS's stays closed longer than this without a living planner: operators of Spark give up on a driver
/// after five minutes.
const LONGEST_HOLD_LIMIT: Duration = Duration::from_mins(4);

/// KOMPASS's admission webhook: recognises Spark pods as they are created, and profiles their jobs.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "kompass-admission-webhook", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Something else than serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Kubeconfig file; without it the pod's own service account is used.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Address of the HTTPS server that the API server calls; port 0 takes any free one.
    #[arg(long, env = "KOMPASS_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Namespace of KOMPASS's own objects.
    #[arg(long, env = "KOMPASS_NAMESPACE", default_value = names::DEFAULT_NAMESPACE)]
    pub namespace: String,
    /// URL under which the API server reaches this process, for one that runs outside the cluster: `https://host:port`.
    /// Without a port, the one that was bound. Without it, the Service is registered.
    #[arg(long, env = "KOMPASS_URL")]
    pub url: Option<String>,
    /// Service under which the API server reaches this process.
    #[arg(long, env = "KOMPASS_SERVICE", default_value = "kompass-admission-webhook")]
    pub service: String,
    /// Where the certificate comes from.
    #[arg(long, env = "KOMPASS_CERTIFICATES", value_enum, default_value = "self-made")]
    pub certificates: Certificates,
    /// Secret in KOMPASS's namespace with `tls.crt`, `tls.key` and `ca.crt`; not for self-made certificates.
    #[arg(
        long,
        env = "KOMPASS_CERTIFICATE_SECRET",
        default_value = "kompass-admission-webhook-tls"
    )]
    pub certificate_secret: String,
    /// Namespaces that are never touched, beside `kube-system` and KOMPASS's own.
    #[arg(long, env = "KOMPASS_EXCLUDED_NAMESPACES", value_delimiter = ',')]
    pub excluded_namespaces: Vec<String>,
    /// Which namespaces are touched: all that do not say `kompass.dev/enabled=false`, or only those labelled
    /// `kompass.dev/enabled=true`. With labelled, rights are needed in these namespaces only.
    #[arg(long, env = "KOMPASS_SCOPE", value_enum, default_value = "all")]
    pub scope: Scope,
    /// The same as --scope labelled.
    #[arg(long, env = "KOMPASS_OPT_IN")]
    pub opt_in: bool,
    /// Whether to change pods (enforce), or only to tell in logs and metrics what would be done (shadow).
    #[arg(long, env = "KOMPASS_MODE", value_enum, default_value = "enforce")]
    pub mode: Mode,
    /// Schedulers whose Spark pods KOMPASS takes over, beside the default one.
    #[arg(long, env = "KOMPASS_TAKEOVER", value_delimiter = ',')]
    pub takeover: Vec<String>,
    /// What becomes of executors without a driver pod (client mode): placed by KOMPASS where nothing is reserved, or left
    /// to others.
    #[arg(long, env = "KOMPASS_CLIENT_MODE", value_enum, default_value_t)]
    pub client_mode: ClientMode,
    /// Whether autoscalers are asked to leave the nodes of executors alone: never, while the executors are young (needs
    /// Karpenter 1.12; cluster-autoscaler is not asked then), or always. For drivers they always are.
    #[arg(long, env = "KOMPASS_GUARD_EXECUTORS", value_enum, default_value = "always")]
    pub guard_executors: GuardExecutors,
    /// How long after its start an executor is young.
    #[arg(long, env = "KOMPASS_GUARD_EXECUTORS_FOR", value_parser = duration, default_value = "15m")]
    pub guard_executors_for: Duration,
    /// Keep a disruption budget in each namespace that has drivers, so that a drain does not evict them: it waits
    /// until they have ended.
    #[arg(long, env = "KOMPASS_DRIVER_BUDGET")]
    pub driver_budget: bool,
    /// Users beside KOMPASS's own service accounts that may write plans and profiles.
    #[arg(long, env = "KOMPASS_TRUSTED_USERS", value_delimiter = ',')]
    pub trusted_users: Vec<String>,
    /// Serve and profile, but leave the cluster's webhook configuration and policy alone.
    #[arg(long, env = "KOMPASS_NO_REGISTRATION")]
    pub no_registration: bool,
    /// `ClusterRole` that owns the registration: when it is deleted, as by an uninstall, Kubernetes removes webhook, policy
    /// and binding. Without it they stay until somebody deletes them.
    #[arg(long, env = "KOMPASS_OWNER_CLUSTER_ROLE", value_name = "NAME")]
    pub owner_cluster_role: Option<String>,
    /// How long a driver's configuration is waited for before a profile is guessed.
    #[arg(long, env = "KOMPASS_CONF_HOLD", value_parser = duration, default_value = "10s")]
    pub conf_hold: Duration,
    /// How long a gate stays closed while no planner lives; at most 4m.
    #[arg(long, env = "KOMPASS_GATE_HOLD", value_parser = duration, default_value = "3m")]
    pub gate_hold: Duration,
    /// The predictor that is asked how long jobs run: `http://host[:port]`. Without it profiles have no run time.
    #[arg(long, env = "KOMPASS_PREDICTOR", value_name = "URL")]
    pub predictor: Option<String>,
    /// Administrative server.
    #[command(flatten)]
    pub admin: Admin,
    /// Logs.
    #[command(flatten)]
    pub log: Log,
    /// The end.
    #[command(flatten)]
    pub end: End,
}

/// Other things than serving.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Ask the API server to call the webhook, and tell whether it does; nothing is created.
    Check(CheckArgs),
}

/// Options of the check.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// Kubeconfig file; without it the pod's own service account is used.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of KOMPASS's own objects.
    #[arg(long, env = "KOMPASS_NAMESPACE", default_value = names::DEFAULT_NAMESPACE)]
    pub namespace: String,
    /// Namespaces in which a Spark driver must be taken; needs the right to create pods there.
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACES")]
    pub jobs_in: Vec<String>,
    /// How the webhook runs: in shadow no driver may be changed.
    #[arg(long, env = "KOMPASS_MODE", value_enum, default_value = "enforce")]
    pub mode: Mode,
    /// How long it is tried again.
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub within: Duration,
}

/// Which namespaces are touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scope {
    /// All but those that opt out.
    All,
    /// Those that opt in.
    Labelled,
}

/// What becomes of executors without a driver pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ClientMode {
    /// KOMPASS places them where nothing is reserved for gangs.
    #[default]
    Soft,
    /// They are left to others.
    Ignore,
}

/// Where the certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Certificates {
    /// KOMPASS makes and renews its own.
    SelfMade,
    /// cert-manager writes the Secret, and its CA injector the caBundle.
    CertManager,
    /// Somebody else writes the Secret.
    Secret,
}

/// Why the options can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not `https://host[:port]`.
    #[error("failed to use the URL {0:?}: write https://host or https://host:port")]
    Url(String),
    /// Not `http://host[:port]`.
    #[error("failed to use the predictor {0:?}: write http://host or http://host:port")]
    Predictor(String),
    /// Too long.
    #[error(
        "failed to use a gate hold of {0:?}: more than {LONGEST_HOLD_LIMIT:?} would let operators of Spark give up"
    )]
    GateHold(Duration),
    /// Karpenter takes it for no guard.
    #[error("failed to guard executors for {0:?}: less than a second is no time; use --guard-executors never")]
    GuardFor(Duration),
}

/// When executors are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GuardExecutors {
    /// Never.
    Never,
    /// For some time after their start.
    Young,
    /// As long as they live.
    Always,
}

/// What the webhook works with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the HTTPS server.
    pub listen: SocketAddr,
    /// Address of the administrative server.
    pub admin_listen: SocketAddr,
    /// Namespace of KOMPASS's own objects.
    pub namespace: String,
    /// Which install of KOMPASS this is: `namespace/service`.
    pub install: String,
    /// How the API server reaches us.
    pub endpoint: Endpoint,
    /// Where the certificate comes from.
    pub certificates: Source,
    /// Namespaces that are never touched.
    pub excluded_namespaces: Vec<String>,
    /// Which of the others are touched.
    pub scope: Scope,
    /// Settings of admission.
    pub rules: Rules,
    /// Whether decisions take effect.
    pub mode: Mode,
    /// Whether drivers get a disruption budget.
    pub driver_budget: bool,
    /// Users that may write plans and profiles.
    pub writers: Vec<String>,
    /// Whether to register.
    pub register: bool,
    /// `ClusterRole` that owns the registration.
    pub owner: Option<String>,
    /// How long a driver's configuration is waited for.
    pub conf_hold: Duration,
    /// How long a gate stays closed while no planner lives.
    pub gate_hold: Duration,
    /// Host and port of the predictor, if there is one.
    pub predictor: Option<Authority>,
}

impl Args {
    /// Checks the options and puts them together.
    pub fn resolve(self) -> Result<Config, Error> {
        let Self {
            command: _,
            kubeconfig: _,
            listen,
            namespace,
            url,
            service,
            certificates,
            certificate_secret,
            mut excluded_namespaces,
            scope,
            opt_in,
            mode,
            takeover,
            client_mode,
            guard_executors,
            guard_executors_for,
            driver_budget,
            mut trusted_users,
            no_registration,
            owner_cluster_role,
            conf_hold,
            gate_hold,
            predictor,
            admin: Admin { admin_listen },
            log: _,
            end: _,
        } = self;
        if gate_hold > LONGEST_HOLD_LIMIT {
            return Err(Error::GateHold(gate_hold));
        }
        if guard_executors == GuardExecutors::Young && guard_executors_for < Duration::from_secs(1) {
            return Err(Error::GuardFor(guard_executors_for));
        }
        let install = format!("{namespace}/{service}");
        let predictor = predictor
            .map(|url| authority(&url, "http://").ok_or(Error::Predictor(url)))
            .transpose()?;
        let endpoint = match url {
            Some(url) => parse_url(&url)?,
            None => Endpoint::Service {
                namespace: namespace.clone(),
                name: service,
            },
        };
        for own in ["kube-system", &namespace] {
            if !excluded_namespaces.iter().any(|excluded| excluded == own) {
                excluded_namespaces.push(own.to_owned());
            }
        }
        for account in ["kompass-admission-webhook", "kompass-scheduler-extender"] {
            trusted_users.push(format!("system:serviceaccount:{namespace}:{account}"));
        }
        Ok(Config {
            listen,
            admin_listen,
            namespace,
            install,
            endpoint,
            certificates: match certificates {
                Certificates::SelfMade => Source::SelfMade,
                Certificates::CertManager => Source::CertManager {
                    secret: certificate_secret,
                },
                Certificates::Secret => Source::Secret {
                    name: certificate_secret,
                },
            },
            excluded_namespaces,
            scope: if opt_in { Scope::Labelled } else { scope },
            rules: Rules {
                takeover,
                ignore_client_mode: client_mode == ClientMode::Ignore,
                guard_executors: match guard_executors {
                    GuardExecutors::Never => Guard::Never,
                    GuardExecutors::Young => Guard::Young(guard_executors_for),
                    GuardExecutors::Always => Guard::Always,
                },
            },
            mode,
            driver_budget,
            writers: trusted_users,
            register: !no_registration,
            owner: owner_cluster_role,
            conf_hold,
            gate_hold,
            predictor,
        })
    }
}

fn parse_url(url: &str) -> Result<Endpoint, Error> {
    let error = || Error::Url(url.to_owned());
    let authority = authority(url, "https://").ok_or_else(error)?;
    Ok(Endpoint::Url {
        host: authority.host().to_owned(),
        port: authority.port_u16(),
    })
}

/// Host and, where it is given, port of a URL that has nothing else.
fn authority(url: &str, scheme: &str) -> Option<Authority> {
    let authority: Authority = url.strip_prefix(scheme)?.trim_end_matches('/').parse().ok()?;
    let is_host = !authority.as_str().contains('@') && !authority.host().is_empty();
    let is_port = authority.port_u16().is_some() || authority.as_str() == authority.host();
    (is_host && is_port).then_some(authority)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parse(args: &[&str]) -> Args {
        Args::try_parse_from([&["test"], args].concat()).unwrap()
    }

    #[test]
    fn defaults_register_the_service_and_spare_the_system() {
        let config = parse(&[]).resolve().unwrap();
        let service = Endpoint::Service {
            namespace: "kompass".into(),
            name: "kompass-admission-webhook".into(),
        };
        assert_eq!(config.endpoint, service);
        assert_eq!(config.excluded_namespaces, ["kube-system", "kompass"]);
        assert!(
            config
                .writers
                .contains(&"system:serviceaccount:kompass:kompass-scheduler-extender".to_owned())
        );
        assert!(config.register);
    }

    #[test]
    fn opting_in_is_the_scope_of_labelled_namespaces() {
        let scope = |args: &[&str]| parse(args).resolve().unwrap().scope;
        assert_eq!(scope(&[]), Scope::All);
        assert_eq!(scope(&["--scope", "labelled"]), Scope::Labelled);
        assert_eq!(scope(&["--opt-in"]), Scope::Labelled);
    }

    #[test]
    fn urls_are_https_with_a_host() {
        let endpoint = |url: &str| parse(&["--url", url]).resolve().map(|config| config.endpoint);
        let is = |host: &str, port| {
            Ok(Endpoint::Url {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(endpoint("https://127.0.0.1:8443"), is("127.0.0.1", Some(8443)));
        assert_eq!(endpoint("https://127.0.0.1/"), is("127.0.0.1", None));
        assert_eq!(endpoint("https://[::1]:1"), is("[::1]", Some(1)));
        for url in [
            "http://a:1",
            "a:1",
            "https://",
            "https://user@a:1",
            "https://a:1/path",
            "https://a:99999",
        ] {
            assert!(endpoint(url).is_err(), "{url}");
        }
    }

    #[test]
    fn executors_are_guarded_as_asked() {
        let guard = |args: &[&str]| parse(args).resolve().map(|config| config.rules.guard_executors);
        assert_eq!(guard(&[]), Ok(Guard::Always));
        assert_eq!(guard(&["--guard-executors", "never"]), Ok(Guard::Never));
        let young = ["--guard-executors", "young", "--guard-executors-for", "30m"];
        assert_eq!(guard(&young), Ok(Guard::Young(Duration::from_mins(30))));
        let none = ["--guard-executors", "young", "--guard-executors-for", "0s"];
        assert_eq!(guard(&none), Err(Error::GuardFor(Duration::ZERO)));
    }

    #[test]
    fn certificates_are_self_made_unless_asked_for() {
        let source = |args: &[&str]| parse(args).resolve().unwrap().certificates;
        assert_eq!(source(&[]), Source::SelfMade);
        let name = "kompass-admission-webhook-tls".to_owned();
        assert_eq!(
            source(&["--certificates", "cert-manager"]),
            Source::CertManager { secret: name }
        );
        let given = ["--certificates", "secret", "--certificate-secret", "mine"];
        assert_eq!(source(&given), Source::Secret { name: "mine".into() });
    }

    #[test]
    fn the_predictor_is_a_plain_address() {
        let predictor = |url: &str| parse(&["--predictor", url]).resolve().map(|config| config.predictor);
        let is = |authority: &str| Ok(Some(authority.parse().unwrap()));
        assert_eq!(
            predictor("http://predictor.kompass:8080/"),
            is("predictor.kompass:8080")
        );
        assert_eq!(predictor("http://[::1]"), is("[::1]"));
        assert_eq!(parse(&[]).resolve().unwrap().predictor, None);
        for url in [
            "https://a",
            "a:1",
            "http://",
            "http://user@a",
            "http://a/b",
            "http://a:99999",
        ] {
            assert_eq!(predictor(url), Err(Error::Predictor(url.into())), "{url}");
        }
    }

    #[test]
    fn a_hold_that_outlasts_operators_is_refused() {
        assert!(parse(&["--gate-hold", "4m"]).resolve().is_ok());
        assert_eq!(
            parse(&["--gate-hold", "5m"]).resolve().unwrap_err(),
            Error::GateHold(Duration::from_mins(5))
        );
    }
}
