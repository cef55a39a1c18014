//! `kompass backtest` on a small trace that is made up: its files, and that no decision knows the future.

#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers too")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const HEADER: &str = "submit_time_s,run_time_s,profile,queue,driver_cpu_milli,driver_memory_mib,executors,\
                      executor_cpu_milli,executor_memory_mib\n";
const DAYS: u32 = 19;
const DAY_S: u32 = 86_400;
/// Gangs of a pack, of one node each.
const PACK: u32 = 6;

/// Submission, run time and executors of a gang.
type Gang = (u32, u32, u32);

/// Numbers that look random and are the same each time (a linear congruential generator, Knuth's MMIX).
fn random(state: &mut u64, end: u32) -> u32 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    u32::try_from(*state >> 33).unwrap() % end
}

/// Each day, from another time on, packs of gangs that come within a minute, one every 25 minutes for some hours: longer
/// than a node is kept. Beside them little else.
fn gangs() -> Vec<Gang> {
    let mut state = 1;
    let mut gangs = Vec::new();
    for day in 0..DAYS {
        let first_s = day * DAY_S + random(&mut state, 60_000);
        for pack in 0..12 {
            for _ in 0..PACK {
                let at_s = first_s + pack * 1_500 + random(&mut state, 60);
                gangs.push((at_s, 30 + random(&mut state, 200), 3));
            }
        }
        for _ in 0..2 {
            let at_s = day * DAY_S + random(&mut state, 86_000);
            gangs.push((at_s, 30 + random(&mut state, 200), random(&mut state, 9)));
        }
    }
    gangs.sort_unstable();
    gangs
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn trace(&self, name: &str, gangs: &[Gang]) -> PathBuf {
        let mut text = HEADER.to_owned();
        for (at_s, run_s, executors) in gangs {
            writeln!(text, "{at_s},{run_s},p,q,1000,2048,{executors},2000,8192").unwrap();
        }
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Runs the command, with each option's file in this folder.
    fn backtest(&self, trace: &Path, options: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kompass"));
        command.arg("backtest").arg("--trace").arg(trace);
        command.args(["--node-cpu-milli", "8000", "--node-memory-mib", "32768"]);
        for (option, file) in options {
            command.arg(option).arg(self.path(file));
        }
        command.output().unwrap()
    }
}

fn folder() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

#[test]
fn results_are_told_written_and_drawn_and_come_again() {
    let folder = folder();
    let trace = folder.trace("trace.csv", &gangs());
    let files = [
        ("--json", "out.json"),
        ("--decisions", "held.csv"),
        ("--html", "out.html"),
    ];
    let output = folder.backtest(&trace, &files);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let results: Value = serde_json::from_str(&folder.read("out.json")).unwrap();
    let recommendation = &results["recommendation"];
    assert!(told.contains(recommendation["text"].as_str().unwrap()), "{told}");
    assert!(told.contains("burst-echo-10min") && told.contains("oracle"), "{told}");
    // Packs are foretold by the first one.
    assert!(
        told.contains("Use burst-echo-") && recommendation["pays"] == true,
        "{told}"
    );

    let (split, shape) = (&results["split"], &results["node_cpu_milli"]);
    assert_eq!(
        (shape.as_u64(), results["gangs"].as_u64()),
        (Some(8_000), Some(u64::from(DAYS * (12 * PACK + 2))))
    );
    let (from_s, test_s) = (
        split["validation_start_s"].as_i64().unwrap(),
        split["test_start_s"].as_i64().unwrap(),
    );
    assert_eq!(test_s - from_s, 8 * i64::from(DAY_S));
    for part in ["validation", "test"] {
        let points = results[part].as_array().unwrap();
        let reactive = points
            .iter()
            .find(|point| point["policy"] == "fixed" && point["parameter"] == 0.0)
            .unwrap();
        assert!(reactive["wait_mean_s"].as_f64().unwrap() > 1.0, "{reactive}");
        assert!(reactive["bill_node_hours"].as_f64().unwrap() > reactive["idle_node_hours"].as_f64().unwrap());
    }
    let page = folder.read("out.html");
    assert_eq!(page.matches("<svg").count(), 4);
    assert!(page.contains("What was expected, and what came"), "{page}");
    let hours = results["forecast"]["hours"].as_array().unwrap();
    assert!(
        hours.len() >= 8 * 24 - 1 && hours[0]["start_s"].as_i64().unwrap() >= split["test_start_s"].as_i64().unwrap()
    );
    let coverage = results["forecast"]["coverage_900"].as_f64().unwrap();
    assert!((0.5..=1.0).contains(&coverage), "{coverage}");
    assert!(results["money"].is_null() && results["robustness"].is_null());
    assert!(page.contains("Wait and cost, test") && !page.contains("NaN"), "{page}");

    let held = folder.read("held.csv");
    let second = held.lines().nth(1).unwrap();
    assert!(second.starts_with(&format!("{from_s},")), "{second}");
    let again = folder.backtest(&trace, &[("--json", "again.json"), ("--replay", "held.csv")]);
    assert!(again.status.success(), "{again:?}");
    assert_eq!(folder.read("again.json"), folder.read("out.json"));

    // With other decisions something else comes out.
    let more: Vec<String> = held
        .lines()
        .map(|line| match line.split_once(',').zip(line.split(',').nth(1)) {
            Some(((time, _), nodes)) if nodes.parse::<u32>().is_ok() => {
                let rest = line.splitn(3, ',').nth(2).unwrap();
                format!("{time},{},{rest}", nodes.parse::<u32>().unwrap() + 1)
            }
            _ => line.to_owned(),
        })
        .collect();
    std::fs::write(folder.path("more.csv"), more.join("\n")).unwrap();
    let other = folder.backtest(&trace, &[("--json", "other.json"), ("--replay", "more.csv")]);
    assert!(other.status.success(), "{other:?}");
    assert_ne!(folder.read("other.json"), folder.read("out.json"));
}

#[test]
fn money_bounds_and_other_pasts_are_told_where_asked_for() {
    let folder = folder();
    let trace = folder.trace("trace.csv", &gangs());
    let mut command = Command::new(env!("CARGO_BIN_EXE_kompass"));
    command.arg("backtest").arg("--trace").arg(trace);
    command.args(["--node-cpu-milli", "8000", "--node-memory-mib", "32768"]);
    command.args(["--node-price", "0.4", "--wait-price", "40", "--robustness"]);
    command.args(["--max-nodes", "5", "--node-hours-per-day", "24", "--hold-s", "600"]);
    command.arg("--json").arg(folder.path("out.json"));
    command.arg("--html").arg(folder.path("out.html"));
    command.arg("--decisions").arg(folder.path("held.csv"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let results: Value = serde_json::from_str(&folder.read("out.json")).unwrap();
    let (money, page) = (&results["money"], folder.read("out.html"));
    let text = money["text"].as_str().unwrap();
    assert!(
        told.contains(text) && page.contains("In money") && !page.contains("NaN"),
        "{told}"
    );
    let policies = money["policies"].as_array().unwrap();
    assert_eq!(policies[0]["policy"], "reactive");
    for policy in policies {
        let of = |name: &str| policy["test"][name].as_f64().unwrap();
        assert!(
            (of("nodes") + of("waiting") - of("total")).abs() < 1e-6 && of("nodes") > 0.0,
            "{policy}"
        );
    }
    assert!(results["test"][0]["cost"]["total"].is_f64());
    assert_eq!(results["protocol"]["holding"]["node_hours_per_day"], 24);
    let held = folder.read("held.csv");
    assert!(
        held.lines()
            .skip(1)
            .all(|line| line.split(',').nth(1).unwrap().parse::<u32>().unwrap() <= 5)
    );

    let pasts = results["robustness"].as_array().unwrap();
    let names: Vec<&str> = pasts.iter().map(|past| past["past"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 7, "{names:?}");
    for name in names {
        assert!(told.contains(name) && page.contains(name), "{name}: {told}");
    }
    let recorded = &pasts[0]["results"]["recommended"];
    assert_eq!(
        recorded["wait_ratio_to_best_fixed_at_equal_idle"],
        results["recommendation"]["wait_ratio_to_best_fixed_at_equal_idle"]
    );
    // A week less is too little: that is said, and the others are told all the same.
    assert!(
        pasts[2]["failure"].as_str().unwrap().contains("a backtest needs 18"),
        "{}",
        pasts[2]
    );
    assert!(pasts[6]["results"]["learned"]["verdict"].is_string(), "{}", pasts[6]);
}

/// Decisions on the trace as recorded, up to a time.
fn decisions(folder: &Folder, gangs: &[Gang], until_s: u32) -> Vec<String> {
    let trace = folder.trace("trace.csv", gangs);
    let output = folder.backtest(&trace, &[("--decisions", "held.csv")]);
    assert!(output.status.success(), "{output:?}");
    let held = folder.read("held.csv");
    let lines = held.lines().skip(1).filter(|line| {
        let time_s: u32 = line.split(',').next().unwrap().parse().unwrap();
        time_s <= until_s && line.ends_with(",0")
    });
    lines.map(str::to_owned).collect()
}

#[test]
fn no_decision_knows_what_comes_later() {
    let folder = folder();
    let gangs = gangs();
    let last_s = gangs.last().unwrap().0;
    for days_before_the_end in [7, 4, 1] {
        let until_s = last_s - days_before_the_end * DAY_S - 100;
        // Afterwards gangs come in another order, and those that run now run otherwise long. The last submission stays, so
        // that validation and test are the same days.
        let (mut state, mut changed) = (9, gangs.clone());
        for gang in changed
            .iter_mut()
            .filter(|gang| gang.0 <= until_s && gang.0 + gang.1 > until_s)
        {
            gang.1 = until_s - gang.0 + 1 + random(&mut state, 5_000);
        }
        let after = changed.partition_point(|gang| gang.0 <= until_s);
        for place in after..changed.len() {
            let other = after + random(&mut state, u32::try_from(changed.len() - after).unwrap()) as usize;
            let (here, there) = (changed[place], changed[other]);
            (changed[place].1, changed[place].2) = (there.1, there.2);
            (changed[other].1, changed[other].2) = (here.1, here.2);
        }
        assert_ne!(gangs, changed);
        let (one, other) = (
            decisions(&folder, &gangs, until_s),
            decisions(&folder, &changed, until_s),
        );
        assert!(
            one.len() > 288 && one == other,
            "{days_before_the_end} days before the end"
        );
    }
}

#[test]
fn where_nothing_can_be_foretold_or_nobody_waits_that_is_said() {
    let folder = folder();
    let mut state = 3;
    // At any time as likely as at any other.
    let mut even: Vec<Gang> = (0..DAYS * 100)
        .map(|_| (random(&mut state, DAYS * DAY_S), 30 + random(&mut state, 3_000), 3))
        .collect();
    even.sort_unstable();
    // A gang that fills no node is always there, and so is room beside it.
    let quiet: Vec<Gang> = (0..DAYS * 24)
        .flat_map(|hour| [(hour * 3_600, 7_200, 0), (hour * 3_600 + 9, 5, 0)])
        .collect();
    for (gangs, words) in [(even, "Prediction does not pay here"), (quiet, "Keep no nodes ready")] {
        let trace = folder.trace("trace.csv", &gangs);
        let output = folder.backtest(&trace, &[("--json", "out.json"), ("--html", "out.html")]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && told.contains(words), "{words}: {output:?}");
        let results: Value = serde_json::from_str(&folder.read("out.json")).unwrap();
        assert_eq!(
            (&results["recommendation"]["pays"], &results["recommendation"]["policy"]),
            (&false.into(), &"fixed".into())
        );
        let page = folder.read("out.html");
        assert!(page.contains(words) && !page.contains("NaN"), "{page}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    let folder = folder();
    let gangs = gangs();
    let trace = folder.trace("trace.csv", &gangs);
    let short = folder.trace("short.csv", &gangs[..500]);
    std::fs::write(
        folder.path("held.csv"),
        "time_s,headroom_nodes,policy,parameter,fit_until_s,replay\n0,1,fixed,1,0,0\n",
    )
    .unwrap();
    for (trace, options, words) in [
        (&short, vec![], "a backtest needs 18"),
        (
            &trace,
            vec![("--replay", "missing.csv")],
            "failed to open the decisions",
        ),
        (&trace, vec![("--replay", "held.csv")], "their times are not those"),
        (&folder.path("none.csv"), vec![], "failed to open the trace"),
    ] {
        let output = folder.backtest(trace, &options);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(said.contains(words), "{words}: {said}");
    }
}
