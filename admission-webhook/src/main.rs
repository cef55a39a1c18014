//! The program `kompass-admission-webhook`.

use std::process::ExitCode;

use clap::Parser as _;
use kompass_admission_webhook::args::Args;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    kompass_service::tls::install_crypto_provider();
    match kompass_admission_webhook::run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "ended with an error"
            );
            ExitCode::FAILURE
        }
    }
}
