//! Four weeks of KOMPASS's own counters.

use std::collections::BTreeMap;
use std::time::Duration;

use kompass_history::{Dropped, End, Gang, Gap, History, Reason, Why};
use kompass_prometheus::{Error, Options, history};

use crate::extender::{Extender, Truth, scrape, wider};
use crate::samples::{BEGIN_MS, Chance, DAY_MS, HOUR_MS, MINUTE_MS, Samples};
use crate::server::{Server, asking};

const DAYS: i64 = 28;
const END_MS: i64 = BEGIN_MS + DAYS * DAY_MS;
const SINCE: Duration = Duration::from_hours(28 * 24);
/// Nothing was scraped then.
const GAP: (i64, i64) = (BEGIN_MS + 10 * DAY_MS, BEGIN_MS + 10 * DAY_MS + 2 * HOUR_MS);
/// A sample a hundred times too large; and one that is NaN.
const SPIKE_MS: i64 = BEGIN_MS + 12 * DAY_MS + 17_000;
const NAN_MS: i64 = BEGIN_MS + 13 * DAY_MS + 17_000;

/// Six gangs a day of one job, and one or several at once of another.
fn truth() -> Vec<Truth> {
    let mut chance = Chance(1);
    let mut gangs = Vec::new();
    for day in -1..DAYS {
        for index in 0..6 {
            gangs.push(Truth {
                profile: "etl-0a1b2c3d",
                submit_ms: BEGIN_MS + day * DAY_MS + index * 4 * HOUR_MS + chance.below(HOUR_MS),
                wait_ms: chance.below(5 * MINUTE_MS),
                run_ms: 5 * MINUTE_MS + chance.below(HOUR_MS),
                outcome: ["succeeded", "succeeded", "succeeded", "failed", "deleted"]
                    [usize::try_from(chance.below(5)).unwrap()],
                executors: u64::try_from(1 + chance.below(40)).unwrap(),
                executor_milli: [500, 1_000, 4_000][usize::try_from(chance.below(3)).unwrap()],
                executor_bytes: u64::try_from(1 + chance.below(16)).unwrap() << 30,
            });
        }
        // A batch of the same that ends at the same moment.
        for _ in 0..=chance.below(4) {
            gangs.push(Truth {
                profile: "report-4e5f6a7b",
                submit_ms: BEGIN_MS + day * DAY_MS + 6 * HOUR_MS,
                wait_ms: 1_500,
                run_ms: 20 * MINUTE_MS,
                outcome: "succeeded",
                executors: 4,
                executor_milli: 2_000,
                executor_bytes: 8 << 30,
            });
        }
    }
    gangs
}

fn samples(gangs: &[Truth]) -> Samples {
    let mut samples = Samples::default();
    let hand_over = BEGIN_MS + 20 * DAY_MS + 12 * HOUR_MS;
    let first = Extender {
        instance: "10.0.0.1:8080",
        from_ms: BEGIN_MS - DAY_MS,
        to_ms: hand_over,
        restarts_ms: vec![BEGIN_MS + 15 * DAY_MS + 17 * HOUR_MS],
    };
    let second = Extender {
        instance: "10.0.0.2:8080",
        from_ms: hand_over,
        to_ms: END_MS + HOUR_MS,
        restarts_ms: Vec::new(),
    };
    scrape(&mut samples, &first, gangs, &[GAP]);
    scrape(&mut samples, &second, gangs, &[GAP]);
    // Somebody else's process says nothing about ours.
    samples.add(
        "process_start_time_seconds",
        "instance=\"10.0.0.1:9\"",
        BEGIN_MS + DAY_MS,
        1.0,
    );
    let is_counter = |metric: &str, _: &str| metric.contains("_gang");
    assert!(samples.change(is_counter, SPIKE_MS, |value| value * 100.0) > 10);
    let is_sum = |metric: &str, _: &str| metric.ends_with("gang_run_seconds_sum");
    assert!(samples.change(is_sum, NAN_MS, |_| f64::NAN) > 0);
    samples.double(7_000);
    samples
}

fn dropped(history: &History, reason: Reason) -> u64 {
    let lines = history.dropped.iter().filter(|line| line.reason == reason);
    lines.map(|line: &Dropped| line.count).sum()
}

fn by_profile<'a>(profiles: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    profiles.for_each(|profile| *counts.entry(profile).or_default() += 1);
    counts
}

fn is_told(gang: &Gang, truth: &Truth) -> bool {
    let near = |one: u64, other: u64, by: u64| one.abs_diff(other) <= by;
    gang.profile == truth.profile
        && gang.run_ms == Some(truth.run_ms)
        && (gang.wait_ms - truth.wait_ms).abs() <= 1
        && (gang.submit_ms - truth.submit_ms).abs() <= gang.submit_error_ms
        && gang.executors == truth.executors
        && near(gang.executor.cpu_milli, truth.executor_milli, 1)
        && near(gang.executor.memory_bytes, truth.executor_bytes, 1 << 20)
        && near(gang.driver.cpu_milli, 1_000, 1)
        && (gang.end == End::Succeeded) == (truth.outcome == "succeeded")
}

#[tokio::test]
async fn four_weeks_of_counters_are_the_gangs_that_ran() {
    let gangs = truth();
    let mut server = Server::with(&samples(&gangs).text(), &[]).await.unwrap();
    let client = asking(&server, Options::default());
    let now = u64::try_from(END_MS).unwrap();
    let begun = std::time::Instant::now();
    let told = history(&client, SINCE, now).await.unwrap();
    let kin = |profile: &str| {
        let [name, dag] = wider(profile);
        (profile.to_owned(), vec![dag, name])
    };
    assert_eq!(
        told.kin,
        ["etl-0a1b2c3d", "report-4e5f6a7b"].map(kin).into(),
        "the closest first"
    );
    println!(
        "{} gangs of four weeks in {:?}; dropped {:?}",
        told.gangs.len(),
        begun.elapsed(),
        told.dropped
    );

    let in_window: Vec<&Truth> = gangs
        .iter()
        .filter(|gang| gang.submit_ms >= BEGIN_MS && gang.end_ms() < END_MS)
        .collect();
    let expected = by_profile(in_window.iter().map(|gang| gang.profile));
    let got = by_profile(told.gangs.iter().map(|gang| &*gang.profile));
    assert_eq!(
        got, expected,
        "each gang once, in spite of resets, a spike, NaN and two servers"
    );
    let mut alone = 0;
    for gang in told.gangs.iter().filter(|gang| gang.averaged_over == 1) {
        alone += 1;
        assert!(in_window.iter().any(|truth| is_told(gang, truth)), "{gang:?}");
    }
    assert!(alone > 6 * 27, "{alone}");
    for gang in told.gangs.iter().filter(|gang| gang.profile.starts_with("report")) {
        assert_eq!(
            (gang.run_ms, gang.executors, gang.executor.cpu_milli),
            (Some(20 * MINUTE_MS), 4, 2_000)
        );
    }

    // The last values before the gap are seen for five minutes more.
    let [gap] = told.gaps[..] else {
        panic!("{:?}", told.gaps);
    };
    assert_eq!(gap.why, Why::NoSamples);
    assert!(GAP.0 <= gap.from_ms && gap.from_ms <= GAP.0 + 6 * MINUTE_MS, "{gap:?}");
    assert!(
        GAP.1 - MINUTE_MS <= gap.to_ms && gap.to_ms <= GAP.1 + MINUTE_MS,
        "{gap:?}"
    );
    assert!(
        dropped(&told, Reason::NoNumber) > 0 && dropped(&told, Reason::Spike) > 10,
        "{:?}",
        told.dropped
    );
    for reason in [Reason::Untold, Reason::Unmatched, Reason::NoStart, Reason::TooMany] {
        assert_eq!(dropped(&told, reason), 0, "{reason:?}");
    }
    // What ended in the gap is not a burst after it.
    let burst = told.gangs.iter().filter(|gang| gang.submit_error_ms > 10 * MINUTE_MS);
    assert!(burst.clone().count() > 0);
    let of_bins: u64 = told.ended.counts.iter().flatten().sum();
    let ended = gangs
        .iter()
        .filter(|gang| (BEGIN_MS..END_MS).contains(&gang.end_ms()))
        .count();
    assert_eq!(usize::try_from(of_bins).unwrap() + burst.count(), ended);
    assert!(told.ended.counts.iter().filter(|count| count.is_none()).count() >= 22);

    // A server that takes less at once gives the same.
    server.restart(&["--query.max-samples=30000"]).await.unwrap();
    let client = asking(&server, Options::default());
    let pieces = history(&client, SINCE, now).await.unwrap();
    assert_eq!(pieces, told);
    // One that takes next to nothing is too small.
    server.restart(&["--query.max-samples=2"]).await.unwrap();
    let refused = history(&asking(&server, Options::default()), SINCE, now).await;
    assert!(matches!(refused, Err(Error::TooMuch { .. })), "{refused:?}");

    // One that stalls costs its limit.
    server.daemon.sigstop().unwrap();
    let hasty = Options {
        limit: Duration::from_millis(300),
        attempts: 2,
        ..Options::default()
    };
    let stalled = history(&asking(&server, hasty), SINCE, now).await;
    assert!(
        matches!(stalled, Err(Error::Timeout { attempts: 2, .. })),
        "{stalled:?}"
    );
}

#[tokio::test]
async fn before_the_first_sample_nothing_is_known() {
    let gangs = truth();
    let mut samples = Samples::default();
    let extender = Extender {
        instance: "10.0.0.1:8080",
        from_ms: BEGIN_MS + DAY_MS,
        to_ms: BEGIN_MS + 2 * DAY_MS,
        restarts_ms: Vec::new(),
    };
    scrape(&mut samples, &extender, &gangs, &[]);
    let server = Server::with(&samples.text(), &[]).await.unwrap();
    let now = u64::try_from(BEGIN_MS + 2 * DAY_MS).unwrap();
    let two_days = Duration::from_hours(48);
    let told = history(&asking(&server, Options::default()), two_days, now)
        .await
        .unwrap();
    let begin = Gap {
        from_ms: BEGIN_MS,
        to_ms: BEGIN_MS + DAY_MS,
        why: Why::BeforeFirst,
    };
    assert_eq!(told.gaps, [begin]);
    assert!(told.gangs.len() >= 6, "{}", told.gangs.len());

    // Nothing at all is an error that says what to look for; so is a selector that fits nothing.
    let long_ago = now - u64::try_from(100 * DAY_MS).unwrap();
    let nothing = history(&asking(&server, Options::default()), two_days, long_ago).await;
    assert!(matches!(nothing, Err(Error::History(_))), "{nothing:?}");
    for (selector, refused) in [("cluster=\"other\"", false), ("cluster=}", true)] {
        let options = Options {
            selector: selector.to_owned(),
            ..Options::default()
        };
        let got = history(&asking(&server, options), two_days, now).await;
        assert_eq!(
            matches!(got, Err(Error::Refused { .. })),
            refused,
            "{selector}: {got:?}"
        );
        assert!(got.is_err());
    }
}
