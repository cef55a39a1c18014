//! The webhook's certificate: self-made, by cert-manager, or given in a Secret.
//!
//! Whatever the source, nothing is shown before the API server trusts its signer, and a certificate that the API server
//! would refuse never replaces one that it accepts.

mod authorities;
mod given;
mod self_made;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kompass_kube::client::RequestError;
use kompass_service::clock::Clock;
use kompass_service::readiness::Condition;
use kompass_service::tls::{self, Live, Subject};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::given::Given;
use self::self_made::SelfMade;
use crate::{changes, metrics};

/// Name of the Secret with the self-made authorities.
pub const SECRET: &str = "kompass-admission-webhook-ca";
/// Between two looks at the Secret without news of it: certificates end and wall clocks jump.
const PERIOD: Duration = Duration::from_mins(5);
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);
/// Longest wait for a new signer to be in the registration. Longer, and the old certificate might end meanwhile.
const TRUST_LIMIT: Duration = Duration::from_secs(30);
/// Between the registration and the moment when every API server has read it.
const PROPAGATION: Duration = Duration::from_secs(2);

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An authority and leaves of KOMPASS's own.
    SelfMade,
    /// A Secret that cert-manager writes; its CA injector writes the caBundle.
    CertManager {
        /// Name of the Secret.
        secret: String,
    },
    /// A Secret that somebody else writes.
    Secret {
        /// Name of the Secret.
        name: String,
    },
}

/// What the API server is to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// These authorities, as PEM.
    Bundle(String),
    /// What cert-manager's CA injector takes from this Certificate, `namespace/name`.
    Injected(String),
}

/// Why the certificate could not be brought up to date.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read the Secret {name}")]
    Read {
        name: String,
        #[source]
        source: RequestError,
    },
    #[error("failed to write the Secret {SECRET}")]
    Write(#[source] RequestError),
    #[error("failed to read what is in the Secret {SECRET}: delete it and it is made anew")]
    Content(#[source] authorities::Error),
    #[error("failed to make certificates")]
    Make(#[from] tls::Error),
    #[error(
        "failed to find the Secret {0}: create it, of type kubernetes.io/tls with tls.crt, tls.key and ca.crt, or let \
         cert-manager"
    )]
    Absent(String),
    #[error("failed to use the Secret {name}: {field} is missing in it; {advice}")]
    Field {
        name: String,
        field: &'static str,
        advice: &'static str,
    },
    #[error(
        "failed to use the certificate in the Secret {name}: replace it by one for {subjects}, signed by its ca.crt"
    )]
    Refused {
        name: String,
        subjects: String,
        #[source]
        source: Box<tls::Error>,
    },
}

/// Where the certificates go.
#[derive(Debug)]
pub struct Outlets {
    /// What the server shows.
    pub live: Arc<Live>,
    /// What the API server is to trust.
    pub trust: watch::Sender<Option<Trust>>,
    /// The caBundle that is registered, as PEM; `None` when the registration is not ours to make.
    pub in_force: Option<watch::Receiver<Option<String>>>,
    /// Met with the first certificate.
    pub ready: Condition,
    /// What is counted.
    pub metrics: metrics::Webhook,
}

/// Where certificates are looked for, and for whom.
struct Place {
    api: Api<Secret>,
    subjects: Vec<Subject>,
    clock: Clock,
}

/// The source at work.
enum Keeper {
    SelfMade(SelfMade),
    Given(Given),
}

/// Keeps the certificates up to date until `draining` is cancelled.
pub async fn keep(
    client: Client,
    namespace: String,
    source: Source,
    subjects: Vec<String>,
    clock: Clock,
    outlets: Outlets,
    draining: CancellationToken,
) {
    let place = Place {
        api: Api::namespaced(client, &namespace),
        subjects: subjects.iter().map(|subject| subject.as_str().into()).collect(),
        clock,
    };
    let (secret, keeper) = match source {
        Source::SelfMade => (SECRET.to_owned(), Keeper::SelfMade(SelfMade::default())),
        Source::CertManager { secret } => (secret.clone(), Keeper::Given(Given::by_cert_manager(secret, namespace))),
        Source::Secret { name } => (name.clone(), Keeper::Given(Given::new(name))),
    };
    tokio::select! {
        biased;
        () = draining.cancelled() => {}
        () = rounds(place, &secret, keeper, outlets) => {}
    }
}

async fn rounds(place: Place, secret: &str, mut keeper: Keeper, outlets: Outlets) {
    let mut news = pin!(changes::of(place.api.clone(), secret));
    let mut shown = Shown { outlets, end_ms: 0 };
    loop {
        let renewed = match &mut keeper {
            Keeper::SelfMade(keeper) => keeper.renew(&place, &mut shown).await,
            Keeper::Given(keeper) => keeper.renew(&place, &mut shown).await,
        };
        let period = match renewed {
            Ok(period) => period,
            Err(error) => {
                let error = kompass_service::logging::chain(&error);
                tracing::warn!(error, "failed to keep the certificate up to date");
                shown.failed(error, place.clock.now_ms());
                RETRY
            }
        };
        tokio::select! {
            () = sleep(period) => {}
            Some(()) = news.next() => {}
        }
    }
}

/// The certificate in use.
struct Shown {
    outlets: Outlets,
    /// When it ends; 0 for none.
    end_ms: u64,
}

impl Shown {
    /// Hands out what the API server is to trust.
    fn trust(&self, trust: Trust) {
        self.outlets.trust.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&trust);
            *known = Some(trust);
            changed
        });
    }

    /// Shows a certificate, in place of another once its `signer` (PEM) is registered.
    async fn show(
        &mut self,
        certificate_pem: &str,
        key_pem: &str,
        signer: &str,
        end_ms: u64,
    ) -> Result<(), tls::Error> {
        if self.outlets.live.is_set() {
            self.trusted(signer).await;
        }
        self.outlets.live.set(certificate_pem, key_pem)?;
        self.outlets.metrics.certificate_end.set((end_ms / 1_000) as f64);
        tracing::info!(end_ms, "showing a new certificate");
        self.end_ms = end_ms;
        Ok(())
    }

    async fn trusted(&mut self, signer: &str) {
        let Some(in_force) = &mut self.outlets.in_force else {
            return;
        };
        let holds = |bundle: &Option<String>| bundle.as_ref().is_some_and(|bundle| bundle.contains(signer.trim()));
        if holds(&in_force.borrow_and_update()) {
            return;
        }
        let is_registered = timeout(TRUST_LIMIT, in_force.wait_for(holds)).await.is_ok();
        if is_registered {
            sleep(PROPAGATION).await;
        } else {
            tracing::warn!("showing a certificate whose signer could not be registered in time");
        }
    }

    /// All is well.
    fn well(&self) {
        self.outlets.ready.met();
    }

    /// What is shown stays while it is good.
    fn failed(&self, reason: String, now_ms: u64) {
        if now_ms < self.end_ms {
            self.outlets.ready.concern(reason);
        } else {
            self.outlets.ready.lost_since(reason);
        }
    }
}
