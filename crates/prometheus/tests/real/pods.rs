//! Pods as kube-state-metrics shows them, and both sources together.

use std::time::Duration;

use kompass_core::Resources;
use kompass_core::resources::MIB;
use kompass_history::{Dropped, End, Gang, History, Reason, Source, Why};
use kompass_prometheus::{Options, history};

use crate::extender::{Extender, Truth, scrape};
use crate::samples::{BEGIN_MS, DAY_MS, HOUR_MS, MINUTE_MS, Samples};
use crate::server::{Server, asking};

/// kube-state-metrics was away.
const GAP: (i64, i64) = (BEGIN_MS + 30 * HOUR_MS, BEGIN_MS + 32 * HOUR_MS);
const END_MS: i64 = BEGIN_MS + 3 * DAY_MS;
const KIB: u64 = 1024;

/// A pod as it truly was.
#[derive(Debug, Clone)]
struct Pod {
    name: String,
    /// Created, started, ended, deleted; none if not yet.
    times: (i64, Option<i64>, Option<i64>, Option<i64>),
    /// Containers: thousandths of a CPU, MiB.
    containers: Vec<(u64, u64)>,
    labels: Option<String>,
    phase: Option<&'static str>,
}

/// A driver that ran from a moment on for some minutes, and executors that ran with it.
fn application(name: &str, from_ms: i64, minutes: i64, executors: u64) -> Vec<Pod> {
    let end_ms = from_ms + minutes * MINUTE_MS;
    let driver = Pod {
        name: format!("{name}-driver"),
        times: (from_ms, Some(from_ms + 20_000), Some(end_ms), Some(end_ms + HOUR_MS)),
        containers: vec![(1_000, 1_408)],
        labels: None,
        phase: Some("Succeeded"),
    };
    let executors = (1..=executors).map(|number| Pod {
        name: format!("{name}-exec-{number}"),
        // Spark deletes them when it ends: nobody sees them completed.
        times: (from_ms + 30_000, Some(from_ms + 33_000), None, Some(end_ms)),
        containers: vec![(2_000, 4_096), (100, 64)],
        labels: None,
        phase: None,
    });
    std::iter::once(driver).chain(executors).collect()
}

fn labelled(mut pods: Vec<Pod>, application: &str, name: &str) -> Vec<Pod> {
    for pod in &mut pods {
        let role = if pod.name.ends_with("-driver") {
            "driver"
        } else {
            "executor"
        };
        let labels = format!(
            ",label_spark_role=\"{role}\",label_spark_app_selector=\"{application}\",label_spark_app_name=\"{name}\""
        );
        pod.labels = Some(labels);
    }
    pods
}

fn show(samples: &mut Samples, pods: &[Pod], instance: &str) {
    for (index, pod) in pods.iter().enumerate() {
        let id = format!("namespace=\"jobs\",pod=\"{}\",uid=\"u{index}\"", pod.name);
        let place = format!("instance=\"{instance}\",job=\"kube-state-metrics\",{id}");
        let (created_ms, started, ended, deleted) = pod.times;
        let mut at_ms = created_ms.div_euclid(MINUTE_MS) * MINUTE_MS + 11_000;
        while at_ms < deleted.unwrap_or(END_MS).min(END_MS) {
            if at_ms >= created_ms && !(GAP.0..GAP.1).contains(&at_ms) {
                let seconds = |ms: i64| (ms / 1_000) as f64;
                samples.add("kube_pod_created", &place, at_ms, seconds(created_ms));
                if let Some(started_ms) = started.filter(|time| *time <= at_ms) {
                    samples.add("kube_pod_start_time", &place, at_ms, seconds(started_ms));
                }
                if let Some(ended_ms) = ended.filter(|time| *time <= at_ms) {
                    samples.add("kube_pod_completion_time", &place, at_ms, seconds(ended_ms));
                    let phase = pod.phase.unwrap_or("Failed");
                    for one in ["Succeeded", "Failed", "Running"] {
                        let labels = format!("{place},phase=\"{one}\"");
                        samples.add(
                            "kube_pod_status_phase",
                            &labels,
                            at_ms,
                            f64::from(u8::from(one == phase)),
                        );
                    }
                }
                for (number, (milli, mib)) in pod.containers.iter().enumerate() {
                    let place = format!("{place},container=\"c{number}\"");
                    let metric = "kube_pod_container_resource_requests";
                    let (cpu, memory) = ("resource=\"cpu\",unit=\"core\"", "resource=\"memory\",unit=\"byte\"");
                    samples.add(metric, &format!("{place},{cpu}"), at_ms, *milli as f64 / 1_000.0);
                    samples.add(metric, &format!("{place},{memory}"), at_ms, (mib * KIB * KIB) as f64);
                }
                if let Some(labels) = &pod.labels {
                    samples.add("kube_pod_labels", &format!("{place}{labels}"), at_ms, 1.0);
                }
            }
            at_ms += MINUTE_MS;
        }
    }
}

/// Something else that is always there, so that kube-state-metrics is seen.
fn other(name: &str) -> Pod {
    Pod {
        name: name.to_owned(),
        times: (BEGIN_MS - DAY_MS, Some(BEGIN_MS - DAY_MS), None, None),
        containers: vec![(10, 10)],
        labels: None,
        phase: None,
    }
}

async fn told(samples: &Samples) -> History {
    let server = Server::with(&samples.text(), &[]).await.unwrap();
    let now = u64::try_from(END_MS).unwrap();
    let since = Duration::from_hours(72);
    history(&asking(&server, Options::default()), since, now).await.unwrap()
}

fn dropped(history: &History, reason: Reason) -> u64 {
    let lines = history.dropped.iter().filter(|line| line.reason == reason);
    lines.map(|line: &Dropped| line.count).sum()
}

fn find<'a>(history: &'a History, profile: &str) -> Vec<&'a Gang> {
    history.gangs.iter().filter(|gang| gang.profile == profile).collect()
}

#[tokio::test]
async fn pods_without_labels_are_gangs_by_their_names() {
    let at = |hours: i64| BEGIN_MS + hours * HOUR_MS + 5_000;
    let mut pods = vec![other("ebs-csi-driver")];
    for day in 0..3_i64 {
        pods.extend(application(
            &format!("etl-2026090{}-9f8e7d6c5b4a", day + 1),
            at(24 * day + 2),
            45,
            3,
        ));
    }
    // An operator's: its executors have an id that the driver does not have, and the driver's name comes again.
    for (hours, id) in [(3, "aaaa1111bbbb"), (9, "cccc2222dddd")] {
        let mut run = application("nightly", at(hours), 30, 2);
        for executor in &mut run[1..] {
            executor.name = executor.name.replace("nightly-", &format!("nightly-{id}-"));
        }
        // The operator takes the driver away before it makes the next one.
        run[0].times.3 = run[0].times.2.map(|end_ms| end_ms + 2 * MINUTE_MS);
        pods.extend(run);
    }
    // Deleted at work, of a sudden; one that ran when the window began; one that runs still; one while nobody looked.
    let mut killed = application("killed-0123456789ab", at(12), 90, 1);
    killed[0].times = (at(12), Some(at(12)), None, Some(at(12) + 20 * MINUTE_MS));
    pods.extend(killed);
    pods.extend(application("before-0123456789ab", BEGIN_MS - HOUR_MS, 120, 1));
    pods.extend(application("still-0123456789ab", at(71), 240, 5));
    let mut lost = application("lost-0123456789ab", at(29), 100, 1);
    lost[0].times = (at(29), Some(at(29) + 10_000), None, Some(at(31)));
    pods.extend(lost);

    let mut samples = Samples::default();
    show(&mut samples, &pods, "10.0.1.1:8080");
    // A second kube-state-metrics shows the same.
    show(&mut samples, &pods, "10.0.1.2:8080");
    let history = told(&samples).await;

    let etl = find(&history, "jobs/etl");
    assert_eq!(etl.len(), 3, "{:?}", history.gangs);
    for (day, gang) in etl.into_iter().enumerate() {
        let submit_ms = at(24 * i64::try_from(day).unwrap() + 2);
        let expected = Gang {
            submit_ms,
            submit_error_ms: 0,
            wait_ms: 20_000,
            run_ms: Some(45 * MINUTE_MS - 20_000),
            end: End::Succeeded,
            profile: "jobs/etl".to_owned(),
            namespace: Some("jobs".to_owned()),
            queue: None,
            driver: Resources::new(1_000, 1_408 * MIB),
            executors: 3,
            executor: Resources::new(2_100, 4_160 * MIB),
            averaged_over: 1,
            source: Source::KubeStateMetrics,
        };
        assert_eq!(*gang, expected);
    }
    let nightly = find(&history, "jobs/nightly");
    let shape = |gang: &&Gang| (gang.submit_ms, gang.executors, gang.end);
    assert_eq!(
        nightly.iter().map(shape).collect::<Vec<_>>(),
        [(at(3), 2, End::Succeeded), (at(9), 2, End::Succeeded)]
    );
    let run = |profile: &str| {
        let [gang] = find(&history, profile)[..] else {
            panic!("{profile}: {:?}", history.gangs);
        };
        (gang.end, gang.run_ms.unwrap(), gang.executors)
    };
    let (end, run_ms, _) = run("jobs/killed");
    assert_eq!(end, End::CutOff);
    assert!((run_ms - 20 * MINUTE_MS).abs() <= 7 * MINUTE_MS / 2, "{run_ms}");
    let (end, run_ms, executors) = run("jobs/still");
    assert_eq!((end, run_ms, executors), (End::Running, END_MS - at(71) - 20_000, 5));
    // It was seen until the gap.
    let (end, run_ms, _) = run("jobs/lost");
    assert_eq!(end, End::CutOff);
    assert!((GAP.0 - at(29) - run_ms).abs() <= 3 * MINUTE_MS, "{run_ms}");
    assert_eq!(dropped(&history, Reason::Before), 1);
    assert_eq!(dropped(&history, Reason::PerhapsNoSpark), 1, "{:?}", history.dropped);
    assert!(dropped(&history, Reason::NoLabels) > 15, "{:?}", history.dropped);
    let [gap] = history.gaps[..] else {
        panic!("{:?}", history.gaps);
    };
    assert!(gap.why == Why::NoSamples && gap.from_ms - GAP.0 <= 3 * MINUTE_MS && GAP.1 - gap.to_ms <= 2 * MINUTE_MS);
    let (trace, left_out) = history.trace();
    assert_eq!((trace.len(), left_out.len()), (history.gangs.len() - 1, 1));
    assert!((trace[0].submit_time_s - 7_205.0).abs() < 1e-6, "{:?}", trace[0]);
}

#[tokio::test]
async fn labels_tell_spark_pods_whatever_their_names_are() {
    let at = |hours: i64| BEGIN_MS + hours * HOUR_MS;
    let mut pods = vec![other("kube-state-metrics-7d4b9c6f5-x2x4z")];
    let mut renamed = labelled(application("x", at(1), 30, 2), "spark-1", "ETL 2026-09-01");
    renamed[0].name = "my-own-name".to_owned();
    pods.extend(renamed);
    // Alone, but with labels.
    pods.extend(labelled(application("alone", at(2), 10, 0), "spark-2", "alone"));
    // Client mode: no driver.
    pods.extend(labelled(application("shell-1f2e", at(3), 60, 4), "spark-3", "PySparkShell").split_off(1));

    let mut samples = Samples::default();
    show(&mut samples, &pods, "10.0.1.1:8080");
    let history = told(&samples).await;
    let shape = |gang: &Gang| {
        (
            gang.profile.clone(),
            gang.submit_ms,
            gang.executors,
            gang.end,
            gang.driver.cpu_milli,
        )
    };
    assert_eq!(
        history.gangs.iter().map(shape).collect::<Vec<_>>(),
        [
            ("jobs/etl".to_owned(), at(1), 2, End::Succeeded, 1_000),
            ("jobs/alone".to_owned(), at(2), 0, End::Succeeded, 1_000),
            ("jobs/pysparkshell".to_owned(), at(3) + 30_000, 4, End::Succeeded, 0),
        ],
        "{:?}",
        history.dropped
    );
    assert_eq!(dropped(&history, Reason::NoLabels), 0);
}

#[tokio::test]
async fn what_both_sources_tell_counts_once() {
    let mut samples = Samples::default();
    let mut pods = vec![other("etcd-0")];
    let mut gangs = Vec::new();
    for day in 0..3_i64 {
        let submit_ms = BEGIN_MS + day * DAY_MS + 2 * HOUR_MS;
        pods.extend(application(&format!("etl-{day}f8e7d6c5b4a"), submit_ms, 45, 3));
        gangs.push(Truth {
            profile: "etl-0a1b2c3d",
            submit_ms,
            wait_ms: 20_000,
            run_ms: 45 * MINUTE_MS - 20_000,
            outcome: "succeeded",
            executors: 3,
            executor_milli: 2_100,
            executor_bytes: 4_160 << 20,
        });
    }
    show(&mut samples, &pods, "10.0.1.1:8080");
    // KOMPASS came on the second day.
    let extender = Extender {
        instance: "10.0.0.1:8080",
        from_ms: BEGIN_MS + DAY_MS,
        to_ms: END_MS + HOUR_MS,
        restarts_ms: Vec::new(),
    };
    scrape(&mut samples, &extender, &gangs, &[]);
    let history = told(&samples).await;
    let sources: Vec<(Source, &str)> = history.gangs.iter().map(|gang| (gang.source, &*gang.profile)).collect();
    assert_eq!(
        sources,
        [
            (Source::KubeStateMetrics, "jobs/etl"),
            (Source::Kompass, "etl-0a1b2c3d"),
            (Source::Kompass, "etl-0a1b2c3d"),
        ]
    );
    assert_eq!(dropped(&history, Reason::CountedByKompass), 2);
    // While kube-state-metrics was away, KOMPASS counted.
    assert_eq!(history.gaps, []);
}
