//! Simulations whose result can be counted by hand, and what must hold for every trace.
#![allow(missing_docs, reason = "tests")]

use kompass_planner::{Backfill, Packing};
use kompass_simulation::engine::Queues;
use kompass_simulation::series::Bucket;
use kompass_simulation::{Estimates, Gang, Report, Settings, simulate};
use proptest::prelude::*;

const EASY: Backfill = Backfill::Easy;
const FIFO: Backfill = Backfill::Off;

/// Nodes of four CPUs.
fn settings(nodes: usize, backfill: Backfill) -> Settings {
    Settings {
        nodes,
        node_cpu_milli: 4_000,
        node_memory_mib: 65_536,
        zones: 1,
        packing: Packing::default(),
        backfill,
        backfill_delay_ms: 3_600_000,
        estimates: Estimates::Perfect,
        queues: Queues::One,
    }
}

/// A gang of so many pods of one CPU.
fn gang(submit_time_s: f64, run_time_s: f64, pods: u64) -> Gang {
    Gang {
        submit_time_s,
        run_time_s,
        profile: format!("{pods}"),
        queue: format!("queue-{}", pods % 3),
        namespace: None,
        driver_cpu_milli: 1_000,
        driver_memory_mib: 1_024,
        executors: pods - 1,
        executor_cpu_milli: 1_000,
        executor_memory_mib: 1_024,
    }
}

fn close(left: f64, right: f64) {
    assert!((left - right).abs() < 1e-9, "{left} is not {right}");
}

fn run(gangs: &[Gang], settings: &Settings) -> Report {
    simulate(gangs, settings, |_| {})
}

#[test]
fn one_after_the_other_when_they_do_not_fit_together() {
    let gangs = [gang(0.0, 100.0, 3), gang(10.0, 50.0, 4), gang(20.0, 5.0, 1)];
    let report = run(&gangs, &settings(1, FIFO));
    // Waits of 0, 90 and 130 s; 300 + 200 + 5 CPU-seconds in 155 s on four CPUs.
    close(report.wait_mean_s, 220.0 / 3.0);
    close(report.wait_max_s, 130.0);
    close(report.bounded_slowdown_mean, (1.0 + 140.0 / 50.0 + 135.0 / 10.0) / 3.0);
    close(report.utilisation, 505.0 / 620.0);
    close(report.node_hours, 155.0 / 3_600.0);
    // One CPU for 100 s and three for 5 s are free on the one node, which is always in use.
    close(report.fragmentation, 1.0);
    assert_eq!((report.overtakes, report.violations, report.too_large), (0, 0, 0));
}

#[test]
fn a_short_gang_overtakes_and_costs_nothing_where_run_times_are_known() {
    let gangs = [gang(0.0, 100.0, 3), gang(10.0, 50.0, 4), gang(20.0, 5.0, 1)];
    let report = run(&gangs, &settings(1, EASY));
    close(report.wait_mean_s, 90.0 / 3.0);
    assert_eq!((report.overtakes, report.violations), (1, 0));
    close(report.max_overtake_delay_s, 0.0);
}

#[test]
fn what_a_wrong_expectation_costs_is_measured() {
    // Jobs of the profile "1" have run 5 s; this one runs 1,000 s, and the head waits for its CPU 920 s longer.
    let mut gangs = vec![
        gang(0.0, 5.0, 1),
        gang(10.0, 100.0, 3),
        gang(20.0, 50.0, 4),
        gang(30.0, 1_000.0, 1),
    ];
    gangs[1].profile = "other".to_owned();
    let learned = Settings {
        estimates: Estimates::Learned,
        backfill_delay_ms: 10_000_000,
        ..settings(1, EASY)
    };
    let report = run(&gangs, &learned);
    assert_eq!(report.overtakes, 1);
    close(report.max_overtake_delay_s, 1_030.0 - 110.0);
}

/// Two nodes in two zones, and gangs that must be in one.
fn two_zones(backfill: Backfill) -> Settings {
    Settings {
        zones: 2,
        packing: Packing::SingleZone,
        ..settings(2, backfill)
    }
}

#[test]
fn who_would_leave_a_head_room_in_no_one_zone_does_not_pass_it() {
    let mut gangs = [
        gang(0.0, 100.0, 3),
        gang(1.0, 500.0, 3),
        gang(10.0, 50.0, 4),
        gang(20.0, 1_000.0, 1),
    ];
    // The second zone has the memory for one more pod of the head, and none for the last gang, which would take a CPU of
    // the first: the head's four pods would have room in both zones together, and in none alone.
    (gangs[1].driver_memory_mib, gangs[1].executor_memory_mib) = (21_504, 21_504);
    gangs[3].driver_memory_mib = 2_048;
    let report = run(&gangs, &two_zones(EASY));
    assert_eq!((report.overtakes, report.violations), (0, 0));
    close(report.wait_mean_s, (90.0 + 130.0) / 4.0);
}

#[test]
fn a_head_that_has_room_in_no_one_zone_is_not_delayed() {
    let gangs = [
        gang(0.0, 100.0, 3),
        gang(1.0, 500.0, 3),
        gang(10.0, 50.0, 2),
        gang(20.0, 30.0, 1),
        gang(30.0, 5.0, 1),
    ];
    let report = run(&gangs, &two_zones(EASY));
    assert_eq!((report.overtakes, report.violations), (2, 0));
    close(report.max_overtake_delay_s, 0.0);
    close(report.wait_mean_s, 90.0 / 5.0);
}

#[test]
fn the_course_says_the_same_as_the_figures() {
    let gangs = [gang(0.0, 100.0, 3), gang(10.0, 50.0, 4), gang(20.0, 5.0, 1)];
    let report = run(&gangs, &settings(1, FIFO));
    let buckets = report.course.series.buckets();
    let integral = |mean: fn(&Bucket) -> f64| -> f64 {
        let buckets = buckets.iter();
        buckets
            .map(|bucket| mean(bucket) * bucket.lasted_ms() as f64 / 1_000.0)
            .sum()
    };
    assert_eq!(report.course.series.span_ms(), 155_000);
    assert!((integral(Bucket::cpu_milli) - 505_000.0).abs() < 1e-3);
    assert!((integral(Bucket::nodes) - 155.0).abs() < 1e-6);
    assert!((integral(Bucket::stranded_cpu_milli) - 115_000.0).abs() < 1e-3);
    // The sum of all waits.
    assert!((integral(Bucket::waiting) - 220.0).abs() < 1e-6);
    assert_eq!(report.course.waits.longest_ms(), 130_000);
    let sizes: Vec<_> = report.course.sizes.iter().map(|class| class.p50_ms).collect();
    assert_eq!(sizes, [130_000, 0]);
}

#[test]
fn what_no_cluster_could_take_is_left_out_and_counted() {
    let gangs = [gang(0.0, 1.0, 9), gang(1.0, 1.0, 8)];
    let report = run(&gangs, &settings(2, FIFO));
    assert_eq!((report.gangs, report.too_large, report.violations), (1, 1, 0));
    let mut wide = gang(0.0, 1.0, 1);
    wide.driver_cpu_milli = 4_001;
    assert_eq!(run(&[wide], &settings(9, FIFO)).too_large, 1);
    let report = run(&[gang(0.0, 1.0, 4), gang(0.0, 1.0, 5)], &two_zones(FIFO));
    assert_eq!(
        (report.gangs, report.too_large, report.violations),
        (1, 1, 0),
        "no zone could"
    );
}

#[test]
fn progress_comes_to_its_end() {
    let gangs: Vec<Gang> = (0..5_000).map(|number| gang(f64::from(number), 1.0, 1)).collect();
    let mut told = Vec::new();
    simulate(&gangs, &settings(1, FIFO), |ended| told.push(ended));
    assert!(
        told.len() > 1 && told.is_sorted() && told.last() == Some(&5_000),
        "{told:?}"
    );
}

fn traces() -> impl Strategy<Value = Vec<Gang>> {
    let one = (0_u32..400, 1_u32..200, 1_u64..10);
    prop::collection::vec(one, 1..60).prop_map(|mut gangs| {
        gangs.sort_unstable();
        let gangs = gangs.into_iter();
        gangs
            .map(|(submit, run, pods)| gang(f64::from(submit), f64::from(run), pods))
            .collect()
    })
}

proptest! {
    #[test]
    fn nothing_is_overbooked_nobody_starves_and_the_same_comes_out_again(
        gangs in traces(),
        nodes in 1_usize..5,
        easy in any::<bool>(),
        learned in any::<bool>(),
        one_queue in any::<bool>(),
    ) {
        let settings = Settings {
            estimates: if learned { Estimates::Learned } else { Estimates::Perfect },
            queues: if one_queue { Queues::One } else { Queues::OfTrace },
            ..settings(nodes, if easy { EASY } else { FIFO })
        };
        let report = run(&gangs, &settings);
        prop_assert_eq!(report.violations, 0);
        prop_assert_eq!(report.gangs + report.too_large, gangs.len() as u64);
        prop_assert!(report.utilisation <= 1.0 && report.fragmentation <= 1.0);
        prop_assert_eq!(&report, &run(&gangs, &settings));
    }

    #[test]
    fn in_order_nobody_overtakes(gangs in traces(), nodes in 1_usize..5) {
        prop_assert_eq!(run(&gangs, &settings(nodes, FIFO)).overtakes, 0);
    }

    #[test]
    fn with_perfect_run_times_no_head_pays_for_being_overtaken(gangs in traces(), nodes in 1_usize..5) {
        prop_assert!(run(&gangs, &settings(nodes, EASY)).max_overtake_delay_s <= 0.0);
    }
}
