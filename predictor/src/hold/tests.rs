//! The plan against a model of the API server, and the objects against their types.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodTemplate;
use kompass_core::constraints::Toleration;
use kompass_kube::{convert, object};
use proptest::prelude::*;
use serde_json::json;

use super::objects::{Target, buffer, expires_ms, job, name, pod_template};
use super::plan::{Action, Held, Kind, Pending, State, actions, are_unanswered, missing, to_mark};
use super::*;

const TTL_MS: i64 = 900_000;
const START_MS: i64 = 1_767_225_600_000;

fn limits(nodes_max: u32) -> Limits {
    Limits {
        shape: Shape::new(3_500, 14_000).unwrap(),
        constraints: Constraints {
            node_selector: [("pool".to_owned(), "spark".to_owned())].into(),
            tolerations: vec![Toleration {
                key: "spark".into(),
                exists: true,
                ..Toleration::default()
            }],
            ..Constraints::default()
        },
        image: "pause:1".into(),
        nodes_max,
        ttl_ms: TTL_MS,
    }
}

fn gang(name: &str, nodes: u32) -> Scheduled {
    Scheduled {
        name: name.into(),
        at_ms: START_MS,
        nodes,
    }
}

fn wish(statistical: u32, scheduled: &[Scheduled]) -> Wish {
    Wish {
        statistical,
        scheduled: scheduled.to_vec(),
    }
}

/// What the API server has.
#[derive(Debug, Clone, Default)]
struct Model(Vec<Held>);

impl Model {
    fn nodes(&self) -> u32 {
        let live = self
            .0
            .iter()
            .filter(|one| !matches!(one.state, State::Deleting | State::Ended));
        live.map(|one| one.nodes).sum()
    }

    fn of(&self, held_for: &str) -> Option<u32> {
        self.0
            .iter()
            .filter(|one| one.held_for == held_for)
            .map(|one| one.nodes)
            .min()
    }

    fn carry_out(&mut self, action: &Action, now_ms: i64) {
        match action {
            Action::Delete(kind, name) => self.0.retain(|one| (one.kind, &one.name) != (*kind, name)),
            Action::Apply(kind, target) => {
                let mut present = self.0.iter();
                let present = present.find(|one| (one.kind, &one.name) == (*kind, &target.name));
                let created_ms = present.map_or(now_ms, |one| one.created_ms);
                let state = match present.map(|one| one.state) {
                    // What is over stays so, whatever is written to it.
                    Some(over @ (State::Ended | State::Deleting)) => over,
                    _ => State::Whole,
                };
                self.carry_out(&Action::Delete(*kind, target.name.clone()), now_ms);
                self.0.push(Held {
                    kind: *kind,
                    name: target.name.clone(),
                    held_for: target.part.to_string(),
                    nodes: target.nodes,
                    // As it is read from the stamp.
                    expires_ms: Some(target.expires_ms / 1_000 * 1_000),
                    created_ms,
                    state,
                    has_number: true,
                    is_answered: true,
                });
            }
        }
    }

    /// One round; what is being deleted is gone after it.
    fn round(&mut self, wish: &Wish, kind: Kind, limits: &Limits, now_ms: i64) -> Vec<Action> {
        let actions = actions(wish, &self.0, kind, limits, now_ms);
        for action in &actions {
            self.carry_out(action, now_ms);
        }
        self.0.retain(|one| one.state != State::Deleting);
        actions
    }
}

fn part(number: usize) -> Part {
    match number {
        0 => Part::Statistical,
        _ => Part::Scheduled {
            name: format!("jobs/{number}"),
            at_ms: START_MS,
        },
    }
}

fn wishes() -> impl Strategy<Value = Wish> {
    let gangs = proptest::collection::vec((1..4_usize, 0..6_u32, 0..2_i64), 0..4);
    (0..8_u32, gangs).prop_map(|(statistical, gangs)| Wish {
        statistical,
        scheduled: gangs
            .into_iter()
            .map(|(number, nodes, later)| Scheduled {
                name: format!("jobs/{number}"),
                at_ms: START_MS + later,
                nodes,
            })
            .collect(),
    })
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Buffer), Just(Kind::PausePods)]
}

/// Anything that could have been left there: by this shape or another, whole or not, read or not.
fn left_behind() -> impl Strategy<Value = Held> {
    let states = prop_oneof![
        Just(State::Partial),
        Just(State::Whole),
        Just(State::Ended),
        Just(State::Deleting)
    ];
    let expires = proptest::option::of(-TTL_MS..3 * TTL_MS);
    (kinds(), 0..4_usize, 0..5_u32, expires, any::<bool>(), states).prop_map(
        |(kind, number, nodes, expires, other_shape, state)| {
            let part = part(number);
            let mut limits = limits(1);
            if other_shape {
                limits.image = "pause:2".into();
            }
            Held {
                kind,
                name: name(&part, &limits),
                held_for: part.to_string(),
                nodes,
                expires_ms: expires.map(|ms| START_MS + ms),
                created_ms: START_MS - 1,
                state,
                has_number: true,
                is_answered: true,
            }
        },
    )
}

proptest! {
    #[test]
    fn never_is_more_held_than_may_be_and_two_rounds_are_enough(
        left in proptest::collection::vec(left_behind(), 0..6),
        nodes_max in 0..10_u32,
        steps in proptest::collection::vec((wishes(), kinds(), 0..TTL_MS * 3 / 2), 1..6),
    ) {
        let limits = limits(nodes_max);
        let mut model = Model::default();
        for one in left {
            let is_new = model.0.iter().all(|other| (other.kind, &other.name) != (one.kind, &one.name));
            if is_new && model.nodes() + one.nodes <= nodes_max {
                model.0.push(one);
            }
        }
        let mut now_ms = START_MS;
        for (wish, kind, passed_ms) in steps {
            let mut known = model.clone();
            let todo = actions(&wish, &model.0, kind, &limits, now_ms);
            for action in &todo {
                known.carry_out(action, now_ms);
                prop_assert!(known.nodes() <= nodes_max, "{} after {:?}", known.nodes(), action);
                if let Action::Apply(of, Target { part: part @ Part::Scheduled { .. }, nodes, .. }) = action {
                    let before = model.of(&part.to_string());
                    prop_assert!(before.is_none_or(|before| *nodes <= before), "{:?} was {:?}", action, before);
                    prop_assert_eq!(*of, kind);
                }
            }
            model.round(&wish, kind, &limits, now_ms);
            model.round(&wish, kind, &limits, now_ms);
            prop_assert_eq!(actions(&wish, &model.0, kind, &limits, now_ms), vec![]);
            for one in &model.0 {
                prop_assert_eq!(one.kind, kind);
                prop_assert!(one.expires_ms.is_some_and(|expires_ms| expires_ms > now_ms + TTL_MS / 2), "{:?}", one);
                prop_assert_eq!(one.state, State::Whole);
            }
            now_ms += passed_ms;
        }
        model.round(&Wish::default(), Kind::Buffer, &limits, now_ms);
        prop_assert_eq!(model.0, vec![]);
    }

    #[test]
    fn what_is_wished_for_the_first_time_is_held_as_far_as_it_may_be(
        wish in wishes(), nodes_max in 0..30_u32, kind in kinds(),
    ) {
        let mut model = Model::default();
        model.round(&wish, kind, &limits(nodes_max), START_MS);
        let mut gangs = wish.scheduled.clone();
        gangs.sort_by(|a, b| (a.at_ms, &a.name).cmp(&(b.at_ms, &b.name)));
        gangs.dedup_by(|a, b| (a.at_ms, &a.name) == (b.at_ms, &b.name));
        let certain: u32 = gangs.iter().map(|gang| gang.nodes).sum();
        prop_assert_eq!(model.nodes(), (certain + wish.statistical).min(nodes_max));
        let statistical = model.of("statistical").unwrap_or(0);
        prop_assert_eq!(statistical, wish.statistical.min(nodes_max.saturating_sub(certain)));
    }
}

#[test]
fn headroom_is_refilled_and_a_gang_shrinks_for_good() {
    let (limits, mut model) = (limits(20), Model::default());
    let at = |gang_nodes| wish(5, &[gang("jobs/nightly", gang_nodes)]);
    model.round(&at(4), Kind::Buffer, &limits, START_MS);
    assert_eq!(model.nodes(), 9);
    // A third of the time has not passed: what is there stays as it is.
    assert_eq!(
        model.round(&at(4), Kind::Buffer, &limits, START_MS + TTL_MS / 3 - 1_000),
        []
    );
    let held_for = "jobs/nightly at 2026-01-01T00:00:00Z";
    for (wished, held) in [(3, 3), (4, 3), (1, 1), (0, 0), (4, 0)] {
        model.round(&at(wished), Kind::Buffer, &limits, START_MS + 1_000);
        assert_eq!((model.of(held_for), model.of("statistical")), (Some(held), Some(5)));
    }
    // Over, and with it what remembers.
    model.round(&wish(5, &[]), Kind::Buffer, &limits, START_MS + 2_000);
    assert_eq!((model.of(held_for), model.nodes()), (None, 5));
}

#[test]
fn what_is_held_is_renewed_when_a_third_of_its_time_has_passed() {
    let (limits, mut model) = (limits(20), Model::default());
    model.round(&wish(5, &[]), Kind::PausePods, &limits, START_MS);
    let later_ms = START_MS + TTL_MS / 3;
    let todo = model.round(&wish(5, &[]), Kind::PausePods, &limits, later_ms);
    let [Action::Apply(Kind::PausePods, target)] = todo.as_slice() else {
        panic!("{todo:?}")
    };
    assert_eq!(
        (target.expires_ms, target.created_ms),
        (later_ms + TTL_MS, Some(START_MS))
    );
    // The deadline counts from the begin.
    let job = job(target, &limits, None, later_ms);
    assert_eq!(job["spec"]["activeDeadlineSeconds"], (TTL_MS + TTL_MS / 3) / 1_000);
    // Once past its stamp it is made anew.
    let past_ms = later_ms + TTL_MS;
    let todo = model.round(&wish(5, &[]), Kind::PausePods, &limits, past_ms);
    assert!(
        matches!(todo.as_slice(), [Action::Delete(..), Action::Apply(..)]),
        "{todo:?}"
    );
}

#[test]
fn what_is_being_deleted_is_waited_for() {
    let (limits, mut model) = (limits(20), Model::default());
    model.round(&wish(5, &[]), Kind::Buffer, &limits, START_MS);
    model.0[0].state = State::Deleting;
    assert_eq!(model.round(&wish(4, &[]), Kind::Buffer, &limits, START_MS), []);
    model.round(&wish(4, &[]), Kind::Buffer, &limits, START_MS);
    assert_eq!(model.nodes(), 4);
}

#[test]
fn pause_pods_of_a_job_are_shown_together() {
    let (limits, mut model) = (limits(20), Model::default());
    model.round(&wish(3, &[]), Kind::PausePods, &limits, START_MS);
    let job = model.0[0].name.clone();
    let pod = |number: usize, is_marked| Pending {
        name: format!("p{number}"),
        job: job.clone(),
        created_ms: START_MS,
        is_marked,
    };
    let pods = [pod(0, false), pod(1, false), pod(2, false)];
    let shown = |pods: &[Pending], now_ms| to_mark(&model.0, pods, now_ms).len();
    assert_eq!((shown(&pods[..2], START_MS), missing(&model.0, &pods[..2])), (0, 1));
    assert_eq!((shown(&pods, START_MS), missing(&model.0, &pods)), (3, 0));
    // The third is refused by somebody: two are better than none.
    assert_eq!(shown(&pods[..2], START_MS + 30_000), 2);
    assert_eq!(shown(&[pod(0, true), pod(1, true), pod(2, false)], START_MS), 1);
    assert_eq!(shown(&[pod(0, true), pod(1, true), pod(2, true)], START_MS + 60_000), 0);
}

#[test]
fn buffers_that_nobody_looks_at_are_noticed() {
    let (limits, mut model) = (limits(20), Model::default());
    model.round(&wish(3, &[]), Kind::Buffer, &limits, START_MS);
    let silent = |change: fn(&mut Held), after_ms| {
        let mut held = model.0.clone();
        held[0].is_answered = false;
        change(&mut held[0]);
        are_unanswered(&held, START_MS + after_ms)
    };
    assert!(silent(|_| {}, 120_000));
    assert!(!silent(|_| {}, 119_999));
    assert!(!silent(|held| held.is_answered = true, 120_000));
    assert!(!silent(|held| held.kind = Kind::PausePods, 120_000));
    assert!(!silent(|held| held.nodes = 0, 120_000));
}

fn target(number: usize, nodes: u32) -> Target {
    Target {
        name: name(&part(number), &limits(20)),
        part: part(number),
        nodes,
        expires_ms: START_MS + TTL_MS,
        created_ms: None,
    }
}

#[test]
fn one_pod_of_a_nodes_size_is_asked_for_for_each_node() {
    let limits = limits(20);
    let owner = Owner {
        name: "kompass-predictor".into(),
        uid: "u-1".into(),
    };
    let template = pod_template(&target(0, 3), &limits, Some(&owner));
    let job = job(&target(0, 3), &limits, Some(&owner), START_MS);
    for spec in [&template["template"], &job["spec"]["template"]] {
        // Through the same reading as every other pod.
        let pod: object::Pod = serde_json::from_value(spec.clone()).unwrap();
        let (pod, warnings) = convert::pod(pod).unwrap();
        assert_eq!((warnings.len(), pod.requests), (0, objects::requests(&limits)));
        assert_eq!(pod.constraints, limits.constraints);
        // The sweep of a gang's demand is not about them.
        assert_eq!((pod.stand_in_for, pod.marker_for), (None, None));
        assert_eq!(spec["metadata"]["labels"]["kompass.dev/headroom"], "statistical");
    }
    serde_json::from_value::<PodTemplate>(template.clone()).unwrap();
    serde_json::from_value::<Job>(job.clone()).unwrap();
    assert_eq!(
        (&job["spec"]["parallelism"], &job["spec"]["activeDeadlineSeconds"]),
        (&3.into(), &900.into())
    );
    let spec = &job["spec"]["template"]["spec"];
    assert_eq!(
        (&spec["schedulerName"], &spec["priorityClassName"]),
        (&"kompass-stand-in".into(), &"kompass-stand-in".into())
    );

    let buffer = buffer(&target(1, 3), &limits, Some(&owner), "autoscaling.x-k8s.io/v1alpha1");
    assert_eq!(buffer["apiVersion"], "autoscaling.x-k8s.io/v1alpha1");
    assert_eq!(
        buffer["spec"],
        json!({
            "podTemplateRef": { "name": buffer["metadata"]["name"] },
            "replicas": 3,
            "limits": { "cpu": "70000m", "memory": (20_u64 * 14_000 * 1024 * 1024).to_string() },
        })
    );
    for object in [&template, &job, &buffer] {
        let metadata = &object["metadata"];
        assert_eq!(metadata["ownerReferences"][0]["uid"], "u-1");
        let stamp = metadata["annotations"]["kompass.dev/expires"].as_str().unwrap();
        assert_eq!(stamp, "2026-01-01T00:15:00Z");
        assert_eq!(expires_ms(Some(&stamp.to_owned())), Some(START_MS + TTL_MS));
    }
    assert_eq!(buffer["metadata"]["labels"]["kompass.dev/headroom"], "scheduled");
    assert_eq!(
        buffer["metadata"]["annotations"]["kompass.dev/headroom-for"],
        "jobs/1 at 2026-01-01T00:00:00Z"
    );
    assert_eq!((expires_ms(None), expires_ms(Some(&"soon".to_owned()))), (None, None));
}

#[test]
fn another_gang_time_or_shape_has_another_name() {
    let later = Part::Scheduled {
        name: "jobs/1".into(),
        at_ms: START_MS + 1,
    };
    let larger = Limits {
        shape: Shape::new(7_500, 14_000).unwrap(),
        ..limits(20)
    };
    let mut names: Vec<String> = [part(0), part(1), part(2), later]
        .iter()
        .flat_map(|part| [name(part, &limits(20)), name(part, &larger)])
        .collect();
    assert_eq!(name(&part(1), &limits(20)), name(&part(1), &limits(3)));
    names.sort_unstable();
    names.dedup();
    assert!(
        names.len() == 8 && names.iter().all(|name| name.len() < 64),
        "{names:?}"
    );
}

#[test]
fn a_missing_right_is_named() {
    let refusal = |code| {
        RequestError::Api(kube::Error::Api(
            kube::core::Status::failure("no", "no").with_code(code).boxed(),
        ))
    };
    let rule = Right {
        group: "batch",
        resource: "jobs",
        verbs: "list, create",
        is_cluster_wide: false,
    };
    let forbidden = refused("apply", "job x", rule, refusal(403)).to_string();
    assert_eq!(
        forbidden,
        "failed to apply job x: give the predictor's service account the rule {apiGroups: [\"batch\"], resources: [jobs], \
         verbs: [list, create]} in a Role of the namespace"
    );
    assert_eq!(
        refused("apply", "job x", rule, refusal(500)).to_string(),
        "failed to apply job x"
    );
}
