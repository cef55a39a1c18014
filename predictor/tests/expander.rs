//! The expander beside everything else of the predictor: it shows its certificate and speaks HTTP/2, whatever else is wrong.

#![cfg(test)]

use std::sync::Arc;

use clap::Parser as _;
use kompass_predictor::Service;
use kompass_predictor::args::Args;
use kompass_service::clock::Clock;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const LEAST: &str = "kompass-predictor --prometheus http://127.0.0.1:9 --node-cpu-milli 1000 --node-memory-mib 1024 \
                     --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --shutdown-grace 0s";

fn args(more: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(format!("{LEAST} {more}").split_whitespace())
}

#[tokio::test]
async fn cluster_autoscaler_is_answered_over_tls() {
    kompass_service::tls::install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let made = rcgen::generate_simple_self_signed(["kompass-predictor.kompass".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let more = format!(
        "--expander-listen 127.0.0.1:0 --expander-certificate {} --expander-key {}",
        certificate.display(),
        key.display()
    );
    let config = args(&more).unwrap().resolve().unwrap();
    let service = Service::start(config, Clock::system()).await.unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(service.expander_address().unwrap()).await.unwrap();
    let name = ServerName::try_from("kompass-predictor.kompass").unwrap();
    let stream = TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    service.shutdown().trigger();
    service.run().await.unwrap();
}

#[tokio::test]
async fn without_a_certificate_it_does_not_start() {
    kompass_service::tls::install_crypto_provider();
    assert!(args("--expander-listen 127.0.0.1:0").is_err(), "TLS alone");
    let config = args("--expander-listen 127.0.0.1:0 --expander-certificate no/tls.crt --expander-key no/tls.key");
    let error = Service::start(config.unwrap().resolve().unwrap(), Clock::system())
        .await
        .unwrap_err();
    let words = format!("{error:#}");
    assert!(
        words.contains("no/tls.crt") && words.contains("put the certificate"),
        "{words}"
    );
}
