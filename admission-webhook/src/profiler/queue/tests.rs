use kompass_core::JobProfile;
use kompass_core::profile::{Shape, VERSION};

use super::*;

const HOLD_MS: u64 = 10_000;

fn queue() -> Queue {
    Queue::new(Duration::from_millis(HOLD_MS))
}

fn driver(uid: &str) -> Pod {
    Pod {
        uid: uid.into(),
        namespace: "jobs".into(),
        name: format!("driver-{uid}"),
        role: Some(Role::Driver),
        scheduler: names::SCHEDULER.into(),
        gates: vec![names::GANG_GATE.into()],
        ..Pod::default()
    }
}

fn profiled(source: Source) -> Pod {
    let profile = JobProfile {
        version: VERSION,
        spark_version: None,
        driver: Shape::default(),
        executor: Shape::default(),
        executors_at_start: 0,
        executors_max: None,
        dynamic_allocation: false,
        executor_constraints: kompass_core::Constraints::default(),
        executor_spacing: kompass_core::Spacing::default(),
        executor_labels: std::collections::BTreeMap::new(),
        executor_pod_rules: kompass_core::PodRules::default(),
        executor_priority_class: None,
        profile_key: String::new(),
        executor_batch_delay_ms: None,
        executor_scheduler: None,
        start_within_ms: None,
        wider_keys: Vec::new(),
        executor_additions: Shape::default(),
        runtime: None,
        source,
        warnings: Vec::new(),
    };
    Pod {
        profile: Some(profile),
        ..driver("a")
    }
}

impl Queue {
    /// What the profiler does with what the watch says of a pod.
    fn observe(&mut self, pod: &Pod, now_ms: u64, age_ms: u64) {
        if waits(pod) {
            self.follow(pod, now_ms, age_ms);
        } else {
            self.remove(&pod.uid);
        }
    }
}

fn missing(names: &[&str], guessed: bool) -> Progress {
    let config_maps = names.iter().map(|&name| name.to_owned()).collect();
    Progress::Missing {
        config_maps,
        pod: Kept::new(serde_json::Value::Null),
        guessed,
    }
}

fn uids(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.uid.as_str()).collect()
}

/// A queue with one driver that is known to wait for the ConfigMap `conf`, at `now_ms` = 0.
fn waiting_for_conf() -> Queue {
    let mut queue = queue();
    queue.observe(&driver("a"), 0, 0);
    assert_eq!(uids(&queue.due(0, 8)), ["a"]);
    queue.finished("a", missing(&["conf"], false), 0);
    // It is looked for once more, now that its name is known to be wanted.
    assert_eq!(uids(&queue.due(0, 8)), ["a"]);
    queue.finished("a", missing(&["conf"], false), 0);
    assert!(queue.due(0, 8).is_empty());
    queue
}

#[test]
fn a_new_driver_is_looked_at_at_once() {
    let mut queue = queue();
    queue.observe(&driver("a"), 5, 0);
    assert_eq!(queue.next_ms(8), Some(5));
    let tasks = queue.due(5, 8);
    assert_eq!(uids(&tasks), ["a"]);
    assert!(!tasks[0].may_guess);
    assert!(queue.due(5, 8).is_empty(), "a worker is at it");
}

#[test]
fn the_config_maps_coming_makes_its_driver_due_and_no_other() {
    let mut queue = waiting_for_conf();
    queue.config_map("jobs", "other", 1);
    queue.config_map("elsewhere", "conf", 1);
    assert!(queue.due(1, 8).is_empty());
    queue.config_map("jobs", "conf", 2);
    let tasks = queue.due(2, 8);
    assert_eq!(uids(&tasks), ["a"]);
    assert!(tasks[0].pod.is_some(), "the pod is not read again");
    assert_eq!((tasks[0].heard_ms, tasks[0].unprofiled_since_ms), (Some(2), Some(0)));
    queue.finished("a", Progress::Done, 3);
    assert_eq!((queue.len(), queue.next_ms(8)), (0, None));
    assert!(queue.wanted.is_empty());
}

#[test]
fn news_that_come_during_the_work_are_not_lost() {
    let mut queue = waiting_for_conf();
    queue.config_map("jobs", "conf", 1);
    queue.due(1, 8);
    queue.config_map("jobs", "conf", 2);
    queue.finished("a", missing(&["conf"], false), 3);
    assert_eq!(uids(&queue.due(3, 8)), ["a"]);
}

#[test]
fn without_news_it_is_looked_for_ever_more_rarely() {
    let mut queue = waiting_for_conf();
    let mut looks = Vec::new();
    for now_ms in 1..9_000 {
        if !queue.due(now_ms, 8).is_empty() {
            looks.push(now_ms);
            queue.finished("a", missing(&["conf"], false), now_ms);
        }
    }
    assert_eq!(looks, [250, 750, 1_750, 3_750, 8_750]);
}

#[test]
fn after_the_hold_time_a_guess_is_asked_for_once_and_the_wait_goes_on() {
    let mut queue = waiting_for_conf();
    for now_ms in 1..HOLD_MS {
        for task in queue.due(now_ms, 8) {
            assert!(!task.may_guess);
            queue.finished("a", missing(&["conf"], false), now_ms);
        }
    }
    assert_eq!(queue.next_ms(8), Some(HOLD_MS));
    let tasks = queue.due(HOLD_MS, 8);
    assert!(tasks[0].may_guess);
    queue.finished("a", missing(&["conf"], true), HOLD_MS);
    queue.observe(&profiled(Source::Guess), HOLD_MS + 1, 0);
    queue.config_map("jobs", "conf", 60_000);
    let tasks = queue.due(60_000, 8);
    assert_eq!(uids(&tasks), ["a"]);
    assert!(!tasks[0].may_guess);
    assert_eq!(tasks[0].unprofiled_since_ms, None, "its first profile was the guess");
}

#[test]
fn a_driver_older_than_this_process_has_waited_already() {
    let mut queue = queue();
    queue.observe(&driver("a"), 1_000_000, HOLD_MS);
    assert!(queue.due(1_000_000, 8)[0].may_guess);
}

#[test]
fn an_opened_gate_ends_the_correction_and_a_conf_profile_the_wait() {
    for last in [
        Pod {
            gates: vec![],
            ..profiled(Source::Guess)
        },
        profiled(Source::Conf),
        Pod {
            node: Some("n".into()),
            ..driver("a")
        },
        Pod {
            deleting: true,
            ..driver("a")
        },
        Pod {
            scheduler: "default-scheduler".into(),
            ..driver("a")
        },
        Pod {
            role: Some(Role::Executor),
            ..driver("a")
        },
    ] {
        let mut queue = waiting_for_conf();
        queue.observe(&last, 1, 0);
        assert_eq!(queue.len(), 0, "{last:?}");
        assert!(queue.wanted.is_empty());
    }
}

#[test]
fn a_driver_that_came_past_the_webhook_is_profiled_too() {
    let mut queue = queue();
    queue.observe(
        &Pod {
            gates: vec![],
            ..driver("a")
        },
        0,
        0,
    );
    assert_eq!(uids(&queue.due(0, 8)), ["a"]);
}

#[test]
fn workers_are_bounded_and_the_longest_due_go_first() {
    let mut queue = queue();
    for (at_ms, uid) in ["c", "a", "b"].into_iter().enumerate() {
        queue.observe(&driver(uid), at_ms as u64, 0);
    }
    assert_eq!(uids(&queue.due(10, 2)), ["c", "a"]);
    assert!(queue.due(10, 2).is_empty());
    assert_eq!(queue.next_ms(2), None, "only a free worker can change anything");
    queue.finished("c", Progress::Failed, 10);
    assert_eq!(uids(&queue.due(10, 2)), ["b"]);
    // A pod that goes away while a worker is at it frees the worker.
    queue.remove("a");
    queue.finished("a", Progress::Done, 11);
    queue.observe(&driver("d"), 12, 0);
    assert_eq!(uids(&queue.due(12, 2)), ["d"]);
}

#[test]
fn a_recheck_looks_at_all() {
    let mut queue = waiting_for_conf();
    queue.recheck(None, 7);
    assert_eq!(uids(&queue.due(7, 8)), ["a"]);
}

#[test]
fn a_driver_with_a_guess_asks_seldom_and_hears_of_its_configuration_at_once() {
    let mut queue = queue();
    queue.observe(&driver("a"), 0, 0);
    queue.due(0, 8);
    queue.finished("a", missing(&["conf"], true), 100);
    // The name was not known to be wanted before: it is looked for once more.
    assert_eq!(uids(&queue.due(100, 8)), ["a"]);
    queue.finished("a", missing(&["conf"], false), 200);
    assert_eq!(queue.next_ms(8), Some(60_200));
    queue.config_map("jobs", "conf", 5_000);
    assert_eq!(uids(&queue.due(5_000, 8)), ["a"]);
}

#[test]
fn a_guess_that_could_not_be_written_is_tried_again_after_a_pause() {
    for progress in [
        Progress::Failed,
        Progress::Denied {
            guessed: false,
            told: true,
        },
    ] {
        let mut queue = waiting_for_conf();
        assert!(queue.due(HOLD_MS, 8)[0].may_guess);
        queue.finished("a", progress.clone(), HOLD_MS + 1);
        assert!(queue.due(HOLD_MS + 1, 8).is_empty(), "not at once: {progress:?}");
        let next_ms = queue.next_ms(8).unwrap();
        assert!(next_ms > HOLD_MS + 100, "{progress:?}");
        assert!(queue.due(next_ms, 8)[0].may_guess, "{progress:?}");
    }
}

#[test]
fn without_rights_a_guess_comes_in_time_and_looks_become_rare() {
    let mut queue = queue();
    let denied = |guessed| Progress::Denied { guessed, told: guessed };
    queue.observe(&driver("a"), 0, 0);
    assert!(!queue.due(0, 8)[0].may_guess);
    queue.finished("a", denied(false), 0);
    assert_eq!(queue.next_ms(8), Some(5_000));
    assert!(!queue.due(5_000, 8)[0].may_guess);
    queue.finished("a", denied(false), 5_000);
    let task = queue.due(HOLD_MS, 8).remove(0);
    assert!(task.may_guess && !task.told);
    queue.finished("a", denied(true), HOLD_MS);
    let mut pauses = Vec::new();
    let mut now_ms = HOLD_MS;
    for _ in 0..6 {
        let next_ms = queue.next_ms(8).unwrap();
        pauses.push(next_ms - now_ms);
        now_ms = next_ms;
        let task = queue.due(now_ms, 8).remove(0);
        assert!(!task.may_guess && task.told, "one guess, told once");
        queue.finished("a", denied(false), now_ms);
    }
    assert_eq!(pauses, [20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    // The rights have come.
    queue.recheck(Some("elsewhere"), now_ms);
    assert!(queue.due(now_ms, 8).is_empty());
    queue.recheck(Some("jobs"), now_ms);
    assert_eq!(uids(&queue.due(now_ms, 8)), ["a"]);
}

#[test]
fn only_so_many_pods_are_kept() {
    let mut queue = Queue::new(Duration::from_mins(3));
    let all = KEPT_MAX + 1;
    for number in 0..all {
        queue.observe(&driver(&number.to_string()), 0, 0);
    }
    let kept = |queue: &mut Queue, now_ms: u64| {
        let tasks = queue.due(now_ms, all);
        assert_eq!(tasks.len(), all);
        for task in &tasks {
            queue.finished(&task.uid, missing(&["conf"], false), now_ms);
        }
        tasks.iter().filter(|task| task.pod.is_some()).count()
    };
    assert_eq!(kept(&mut queue, 0), 0, "nothing was read before");
    assert_eq!(kept(&mut queue, 1_000), KEPT_MAX);
    // Those that are gone make room for others.
    assert_eq!(kept(&mut queue, 10_000), KEPT_MAX);
    for number in 0..all {
        queue.remove(&number.to_string());
    }
    assert_eq!(queue.kept, 0);
}
