//! What rules of queues give each queue over time, by the simulation's own account.
#![allow(missing_docs, reason = "tests")]

use kompass_planner::{Backfill, Limits, Packing, QueueRules, QueueTable};
use kompass_simulation::engine::Queues;
use kompass_simulation::{Estimates, Gang, Report, Settings, simulate};
use proptest::prelude::*;

fn cpus(cpus: u64) -> Limits {
    Limits {
        cpu_milli: Some(1_000 * cpus),
        ..Limits::default()
    }
}

fn weight(weight: u32) -> QueueRules {
    QueueRules {
        weight,
        ..QueueRules::default()
    }
}

fn table<const N: usize>(queues: [(&str, QueueRules); N]) -> QueueTable {
    QueueTable {
        queues: queues.map(|(name, rules)| (name.to_owned(), rules)).into(),
    }
}

/// Pods of one CPU.
fn gang(queue: &str, submit_time_s: f64, run_time_s: f64, pods: u64) -> Gang {
    Gang {
        submit_time_s,
        run_time_s,
        profile: format!("{pods}"),
        queue: queue.to_owned(),
        namespace: None,
        driver_cpu_milli: 1_000,
        driver_memory_mib: 1_024,
        executors: pods - 1,
        executor_cpu_milli: 1_000,
        executor_memory_mib: 1_024,
    }
}

/// On so many nodes of four CPUs.
fn run(gangs: &[Gang], nodes: usize, backfill: Backfill, table: QueueTable) -> Report {
    let settings = Settings {
        nodes,
        node_cpu_milli: 4_000,
        node_memory_mib: 65_536,
        zones: 1,
        packing: Packing::default(),
        backfill,
        backfill_delay_ms: 3_600_000,
        estimates: Estimates::Perfect,
        queues: Queues::Ruled(table),
    };
    simulate(gangs, &settings, |_| {})
}

fn in_order(mut gangs: Vec<Gang>) -> Vec<Gang> {
    gangs.sort_by(|left, right| left.submit_time_s.total_cmp(&right.submit_time_s));
    gangs
}

#[test]
fn a_guarantee_is_met_as_soon_as_those_who_borrowed_have_ended() {
    let other = (0..300).map(|_| gang("other", 0.0, 100.0, 1));
    let sure = (0..100).map(|_| gang("sure", 50.0, 200.0, 1));
    let gangs: Vec<Gang> = other.chain(sure).collect();
    let with = |guaranteed: Limits| {
        let sure = QueueRules {
            guaranteed,
            ..weight(1)
        };
        let report = run(&gangs, 4, Backfill::Off, table([("sure", sure), ("other", weight(15))]));
        assert_eq!(report.violations, 0);
        report.queues["sure"].clone()
    };
    let (promised, not) = (with(cpus(8)), with(Limits::default()));
    // It has nothing until the first borrowers end at 100 s, and half of the 16 CPUs from then on.
    assert!(promised.claim_waited_s <= 51.0, "{promised:?}");
    assert!(
        promised.contended_share > 0.45 && not.contended_share < 0.1,
        "{promised:?}\n{not:?}"
    );
    assert!(promised.wait_mean_s < not.wait_mean_s, "{promised:?}\n{not:?}");
}

#[test]
fn a_limit_holds_and_who_is_above_it_alone_is_left_out() {
    let limited = QueueRules {
        limit: cpus(2),
        ..weight(1)
    };
    let gangs = [
        gang("a", 0.0, 10.0, 2),
        gang("a", 0.0, 10.0, 2),
        gang("a", 0.0, 10.0, 3),
        gang("b", 0.0, 10.0, 1),
    ];
    let report = run(&gangs, 1, Backfill::Off, table([("a", limited), ("b", weight(1))]));
    assert_eq!((report.gangs, report.over_limit, report.too_large), (3, 1, 0));
    let (a, b) = (&report.queues["a"], &report.queues["b"]);
    assert_eq!((a.gangs, b.gangs, report.violations), (2, 1, 0));
    assert!(
        (a.wait_mean_s - 5.0).abs() < 1e-9 && b.wait_mean_s.abs() < 1e-9,
        "{a:?}\n{b:?}"
    );
    // 40 of 50 CPU-seconds.
    assert!((a.share - 0.8).abs() < 1e-9, "{a:?}");
}

#[test]
fn gangs_belong_to_queues_as_in_a_cluster() {
    let etl = QueueRules {
        namespaces: ["team-etl".to_owned()].into(),
        ..weight(1)
    };
    let rules = table([("etl", etl), ("open", weight(1))]);
    let of = |queue: &str, namespace: Option<&str>| {
        let mut gang = gang(queue, 0.0, 1.0, 1);
        gang.namespace = namespace.map(str::to_owned);
        let report = run(&[gang], 1, Backfill::Off, rules.clone());
        let names = report.queues.into_iter().filter(|(_, queue)| queue.gangs > 0);
        names.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    };
    for (queue, namespace, found) in [
        ("etl", None, "etl"),
        ("team-etl", None, "etl"),
        ("nobody", None, "default"),
        // With a namespace the queue is no more than a label.
        ("etl", Some("elsewhere"), "default"),
        ("", Some("team-etl"), "etl"),
        ("open", Some("team-etl"), "open"),
    ] {
        assert_eq!(of(queue, namespace), found, "{queue} in {namespace:?}");
    }
}

prop_compose! {
    /// Two queues with more to do than there is room for, all the time.
    fn saturating()(
        sizes in prop::collection::vec((1_u64..=3, 5_u32..60), 600),
    ) -> Vec<Gang> {
        let queues = ["heavy", "light"].into_iter().cycle();
        let gangs = sizes.into_iter().zip(queues);
        gangs.map(|((pods, run_s), queue)| gang(queue, 0.0, f64::from(run_s), pods)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn two_queues_that_always_wait_get_cpu_by_their_weights(gangs in saturating(), easy in any::<bool>()) {
        let backfill = if easy { Backfill::Easy } else { Backfill::Off };
        let report = run(&gangs, 20, backfill, table([("heavy", weight(3)), ("light", weight(1))]));
        let (heavy, light) = (&report.queues["heavy"], &report.queues["light"]);
        prop_assert_eq!(report.violations, 0);
        prop_assert!((heavy.contended_fair_share - 0.75).abs() < 1e-6);
        prop_assert!((heavy.contended_share - 0.75).abs() < 0.03, "{:?}", heavy);
        prop_assert!((heavy.contended_share + light.contended_share - 1.0).abs() < 1e-9);
    }

    #[test]
    fn no_rules_break_what_must_hold_and_the_same_comes_out_again(
        sizes in prop::collection::vec((0_u32..300, 1_u32..100, 1_u64..7, 0_usize..3), 1..80),
        limits in prop::collection::vec(prop::option::of(0_u64..10), 3),
        guarantees in prop::collection::vec(prop::option::of(0_u64..6), 3),
        weights in prop::collection::vec(1_u32..5, 3),
        packings in prop::collection::vec(prop::option::of(prop::sample::select(&Packing::ALL[..])), 3),
        easy in any::<bool>(),
    ) {
        let names = ["a", "b", "default"];
        let gangs = sizes.into_iter().map(|(submit, run, pods, queue)| gang(names[queue], f64::from(submit), f64::from(run), pods));
        let gangs = in_order(gangs.collect());
        let rules = (0..3).map(|queue| {
            let limit = limits[queue];
            let guaranteed = guarantees[queue].filter(|&guaranteed| limit.is_none_or(|limit| guaranteed <= limit));
            let rules = QueueRules {
                limit: limit.map(cpus).unwrap_or_default(),
                guaranteed: guaranteed.map(cpus).unwrap_or_default(),
                packing: packings[queue],
                ..weight(weights[queue])
            };
            (names[queue].to_owned(), rules)
        });
        let rules = QueueTable { queues: rules.collect() };
        let backfill = if easy { Backfill::Easy } else { Backfill::Off };
        let report = run(&gangs, 3, backfill, rules.clone());
        prop_assert_eq!(report.violations, 0);
        prop_assert_eq!(report.gangs + report.too_large + report.over_limit, gangs.len() as u64);
        let by_queue: u64 = report.queues.values().map(|queue| queue.gangs).sum();
        prop_assert_eq!(by_queue, report.gangs);
        prop_assert_eq!(&report, &run(&gangs, 3, backfill, rules));
    }
}
