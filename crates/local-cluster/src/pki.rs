//! Keys and certificates of a local cluster: one certificate authority, EC P-256 but for people, and kubeconfig files with
//! everything inside.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, RsaKeySize,
};
use serde_json::json;

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
const AUTHORITY_CERTIFICATE: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";

/// Why a key, certificate or kubeconfig was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate could not be made or read.
    #[error("failed to make the certificate of {subject}")]
    Certificate {
        /// Whose certificate.
        subject: String,
        /// What is wrong.
        #[source]
        source: rcgen::Error,
    },
    /// A file could not be written or read.
    #[error("failed to use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
}

/// A certificate and the key that belongs to it, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key, PKCS#8.
    pub key_pem: String,
}

/// The files of an [`Identity`].
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key, readable by its owner only.
    pub key: PathBuf,
}

impl Identity {
    /// Writes `<folder>/<name>.crt` and `<folder>/<name>.key`.
    pub fn save(&self, folder: &Path, name: &str) -> Result<IdentityFiles, Error> {
        let files = IdentityFiles {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        write(&files.certificate, &self.certificate_pem)?;
        write_private(&files.key, &self.key_pem)?;
        Ok(files)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// The certificate authority of one cluster.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// A new authority with a new key.
    pub fn new() -> Result<Self, Error> {
        let key = new_key("the certificate authority")?;
        let parameters = authority_parameters();
        let certificate = parameters.self_signed(&key).map_err(of("the certificate authority"))?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            issuer: Issuer::new(parameters, key),
        })
    }

    /// Reads what [`Authority::save`] has written.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let key = KeyPair::from_pem(&read(&folder.join(AUTHORITY_KEY))?).map_err(of("the certificate authority"))?;
        Ok(Self {
            certificate_pem: read(&folder.join(AUTHORITY_CERTIFICATE))?,
            // Subject and key are the same, and a certificate names its issuer by nothing else.
            issuer: Issuer::new(authority_parameters(), key),
        })
    }

    /// Writes `ca.crt` and `ca.key` into the folder and returns the path of the certificate.
    pub fn save(&self, folder: &Path) -> Result<PathBuf, Error> {
        let certificate = folder.join(AUTHORITY_CERTIFICATE);
        write(&certificate, &self.certificate_pem)?;
        write_private(&folder.join(AUTHORITY_KEY), &self.issuer.key().serialize_pem())?;
        Ok(certificate)
    }

    /// The authority's own certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A certificate for a server. `names` are DNS names and IP addresses.
    pub fn server<T: Into<String>>(
        &self,
        common_name: &str,
        names: impl IntoIterator<Item = T>,
    ) -> Result<Identity, Error> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let parameters = CertificateParams::new(names).map_err(of(common_name))?;
        // The kubelet shows its serving certificate and some servers also act as clients: both usages do no harm here.
        let usages = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(parameters, common_name, &[], &usages, &new_key(common_name)?)
    }

    /// A certificate for a client: the API server takes the common name for the user and organizations for its groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Identity, Error> {
        self.client_with(user, groups, &new_key(user)?)
    }

    /// Like [`Authority::client`], for people, whose tools are many: `spark-submit` reads no EC key from a kubeconfig.
    pub fn person(&self, user: &str, groups: &[&str]) -> Result<Identity, Error> {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(of(user))?;
        self.client_with(user, groups, &key)
    }

    fn client_with(&self, user: &str, groups: &[&str], key: &KeyPair) -> Result<Identity, Error> {
        let usages = [ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(CertificateParams::default(), user, groups, &usages, key)
    }

    fn sign(
        &self,
        mut parameters: CertificateParams,
        common_name: &str,
        organizations: &[&str],
        usages: &[ExtendedKeyUsagePurpose],
        key: &KeyPair,
    ) -> Result<Identity, Error> {
        parameters.distinguished_name = DistinguishedName::new();
        for organization in organizations {
            parameters
                .distinguished_name
                .push(DnType::OrganizationName, *organization);
        }
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = usages.to_vec();
        let certificate = parameters.signed_by(key, &self.issuer).map_err(of(common_name))?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

/// The key pair that signs and checks the tokens of service accounts.
#[derive(Clone, Debug)]
pub struct ServiceAccountKeys {
    /// For `--service-account-key-file` of the API server.
    pub public: PathBuf,
    /// For `--service-account-signing-key-file` of the API server and `--service-account-private-key-file` of the
    /// controller manager.
    pub private: PathBuf,
}

impl ServiceAccountKeys {
    /// Makes a pair and writes `service-account.pub` and `service-account.key` into the folder.
    pub fn create(folder: &Path) -> Result<Self, Error> {
        let key = new_key("service accounts")?;
        let keys = Self {
            public: folder.join("service-account.pub"),
            private: folder.join("service-account.key"),
        };
        write(&keys.public, &key.public_key_pem())?;
        write_private(&keys.private, &key.serialize_pem())?;
        Ok(keys)
    }
}

/// The names under which pods and the host know an API server; its addresses come on top.
pub const API_SERVER_NAMES: [&str; 5] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// The text of a kubeconfig with one cluster and one user, both inside the file. It is JSON, which is YAML too.
pub fn kubeconfig(server_url: &str, authority_pem: &str, user: &str, identity: &Identity) -> String {
    let name = "kompass";
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": server_url,
            "certificate-authority-data": BASE64.encode(authority_pem),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": BASE64.encode(&identity.certificate_pem),
            "client-key-data": BASE64.encode(&identity.key_pem),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    });
    format!("{config:#}\n")
}

/// Writes a kubeconfig, readable by its owner only.
pub fn write_kubeconfig(
    path: &Path,
    server_url: &str,
    authority: &Authority,
    user: &str,
    identity: &Identity,
) -> Result<(), Error> {
    write_private(
        path,
        &kubeconfig(server_url, authority.certificate_pem(), user, identity),
    )
}

fn authority_parameters() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters
        .distinguished_name
        .push(DnType::CommonName, "kompass-local-cluster");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn new_key(subject: &str) -> Result<KeyPair, Error> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(of(subject))
}

fn of(subject: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Certificate { subject, source }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    write_with_mode(path, text, 0o644)
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    write_with_mode(path, text, 0o600)
}

fn write_with_mode(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, UnixTime};
    use rustls::server::WebPkiClientVerifier;

    use super::*;

    #[test]
    fn a_kubeconfig_holds_everything_inside() {
        let authority = Authority::new().unwrap();
        let identity = authority.client("admin", &[MASTERS]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.kubeconfig");
        write_kubeconfig(&path, "https://127.0.0.1:6443", &authority, "admin", &identity).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let decoded = |pointer: &str| {
            let text = config.pointer(pointer).and_then(|value| value.as_str()).unwrap();
            String::from_utf8(BASE64.decode(text).unwrap()).unwrap()
        };
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://127.0.0.1:6443");
        assert_eq!(
            decoded("/clusters/0/cluster/certificate-authority-data"),
            authority.certificate_pem()
        );
        assert_eq!(
            decoded("/users/0/user/client-certificate-data"),
            identity.certificate_pem
        );
        assert_eq!(decoded("/users/0/user/client-key-data"), identity.key_pem);
        assert_eq!(config["contexts"][0]["name"], config["current-context"]);
        assert_eq!(config["contexts"][0]["context"]["user"], config["users"][0]["name"]);
    }

    #[test]
    fn a_loaded_authority_signs_for_the_same_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::new().unwrap();
        first.save(folder.path()).unwrap();
        let second = Authority::load(folder.path()).unwrap();
        assert_eq!(first.certificate_pem(), second.certificate_pem());
        let client = second.client("late", &[]).unwrap();
        assert!(is_accepted(first.certificate_pem(), &client));
        let stranger = Authority::new().unwrap().client("late", &[]).unwrap();
        assert!(!is_accepted(first.certificate_pem(), &stranger));
    }

    fn is_accepted(authority_pem: &str, client: &Identity) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority_pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = CertificateDer::from_pem_slice(client.certificate_pem.as_bytes()).unwrap();
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap()
            .verify_client_cert(&certificate, &[], UnixTime::now())
            .is_ok()
    }

    #[test]
    fn private_keys_are_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let files = Authority::new()
            .unwrap()
            .server("kubelet", ["localhost", "127.0.0.1"])
            .unwrap()
            .save(folder.path(), "kubelet")
            .unwrap();
        let keys = ServiceAccountKeys::create(folder.path()).unwrap();
        for path in [files.key, keys.private] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(
            std::fs::read_to_string(keys.public)
                .unwrap()
                .contains("BEGIN PUBLIC KEY")
        );
    }

    #[test]
    fn the_same_private_file_can_be_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_private(&path, "a longer first text").unwrap();
        write_private(&path, "short").unwrap();
        assert_eq!(read(&path).unwrap(), "short");
    }
}
