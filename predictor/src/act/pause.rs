//! Whether somebody has paused it: a ConfigMap of one name, which anyone who may can make with kubectl, too.

use std::time::Duration;

use kompass_core::names;
use kompass_kube::client::RequestError;
use kompass_kube::config_map;
use kube::Client;

use super::aim::Pause;

/// One look takes no longer.
const LIMIT: Duration = Duration::from_secs(3);
/// Of a reason, so much is shown.
const REASON_MAX: usize = 200;

/// Looks.
pub async fn read(client: &Client, namespace: &str) -> Result<Pause, RequestError> {
    let found = config_map::read(client, namespace, names::PREDICTOR_PAUSE, LIMIT).await?;
    Ok(match found {
        None => Pause::Off,
        Some(data) => {
            let reason = data.get("reason").map_or("", |reason| reason.trim());
            let reason: String = reason
                .chars()
                .filter(|char| !char.is_control())
                .take(REASON_MAX)
                .collect();
            Pause::On(if reason.is_empty() {
                "no reason given".to_owned()
            } else {
                reason
            })
        }
    })
}
