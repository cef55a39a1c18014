//! Whether a planner lives, told by its lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kompass_service::clock::Clock;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::holds::Sign;

/// Between two looks at the lease, which is renewed every 2 s.
const PERIOD: Duration = Duration::from_secs(5);

/// Sends what the lease says, for ever; returns when the receiver is gone.
pub(super) async fn feed(client: Client, namespace: String, clock: Clock, signs: mpsc::Sender<Sign>) {
    let api = Api::<Lease>::namespaced(client, &namespace);
    let mut reader = Reader::default();
    loop {
        let read = within(REQUEST_TIMEOUT, api.get_opt(names::PLANNER_LEASE)).await;
        let now_ms = super::monotonic_ms(&clock);
        let sign = match read {
            Ok(lease) => {
                let renewed_ms = lease
                    .and_then(|lease| lease.spec?.renew_time)
                    .map(|time| time.0.as_millisecond());
                reader.read(renewed_ms, now_ms, clock.now_ms())
            }
            Err(error) => {
                tracing::debug!(%error, "failed to read the planner's lease");
                reader.unreadable(now_ms)
            }
        };
        if signs.send(sign).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(PERIOD) => {}
            () = signs.closed() => return,
        }
    }
}

/// Turns the renewals of the lease into signs of life on our own monotonic clock: pure.
#[derive(Debug, Default)]
struct Reader {
    /// The last renewal read, and when the planner lived by it.
    last: Option<(i64, u64)>,
}

impl Reader {
    /// The lease was renewed at `renewed_ms` of its holder's wall clock, or does not exist.
    ///
    /// A renewal that changed is life now, whatever the clocks say. Only the first one read is judged by our own wall
    /// clock: it may be hours old.
    fn read(&mut self, renewed_ms: Option<i64>, now_ms: u64, wall_ms: u64) -> Sign {
        let Some(renewed_ms) = renewed_ms else {
            return self.last.map_or(Sign::Never, |(_, lived_ms)| Sign::LivedAt(lived_ms));
        };
        let lived_ms = match self.last {
            Some((known_ms, lived_ms)) if known_ms == renewed_ms => lived_ms,
            Some(_) => now_ms,
            None => {
                let age_ms = wall_ms.saturating_sub(u64::try_from(renewed_ms).unwrap_or(0));
                now_ms.saturating_sub(age_ms)
            }
        };
        self.last = Some((renewed_ms, lived_ms));
        Sign::LivedAt(lived_ms)
    }

    /// The API server did not answer. The planner could not have renewed either, so this time doesn't count.
    fn unreadable(&mut self, now_ms: u64) -> Sign {
        if let Some((_, lived_ms)) = &mut self.last {
            *lived_ms = now_ms;
        }
        Sign::LivedAt(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_renewal_is_a_sign_of_life_on_our_own_clock() {
        let mut reader = Reader::default();
        // The holder's wall clock is an hour ahead.
        assert_eq!(reader.read(Some(3_600_000), 1_000, 10), Sign::LivedAt(1_000));
        assert_eq!(reader.read(Some(3_602_000), 6_000, 5_010), Sign::LivedAt(6_000));
        assert_eq!(reader.read(Some(3_602_000), 11_000, 10_010), Sign::LivedAt(6_000));
    }

    #[test]
    fn an_old_lease_found_at_the_start_is_no_life() {
        let (now_ms, wall_ms) = (200_000, 1_000_000);
        assert_eq!(
            Reader::default().read(Some(850_000), now_ms, wall_ms),
            Sign::LivedAt(50_000)
        );
        assert_eq!(Reader::default().read(Some(0), now_ms, wall_ms), Sign::LivedAt(0));
        assert_eq!(Reader::default().read(None, now_ms, wall_ms), Sign::Never);
    }

    #[test]
    fn an_outage_of_the_api_server_is_not_held_against_the_planner() {
        let mut reader = Reader::default();
        reader.read(Some(1_000), 0, 1_000);
        assert_eq!(reader.unreadable(300_000), Sign::LivedAt(300_000));
        assert_eq!(reader.read(Some(1_000), 305_000, 306_000), Sign::LivedAt(300_000));
    }

    #[test]
    fn a_deleted_lease_is_no_sign_of_life() {
        let mut reader = Reader::default();
        reader.read(Some(1_000), 500, 1_000);
        assert_eq!(reader.read(None, 9_000, 10_000), Sign::LivedAt(500));
    }
}
