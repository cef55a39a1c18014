use kompass_core::names;

use super::*;
use crate::doctor::{
    Answer, Container, LeaseSeen, NamespaceSeen, NodeSeen, Overdue, Part, QuotaSeen, Registration, RightSeen,
};
use crate::pending::Pending;

const NOW_MS: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 86_400_000;

fn part(component: &str, images: &[&str]) -> Part {
    Part {
        name: format!("kompass-{component}"),
        component: component.into(),
        wanted: 2,
        ready: 2,
        containers: images
            .iter()
            .map(|&image| Container {
                image: image.into(),
                shadow: false,
            })
            .collect(),
    }
}

fn healthy() -> Snapshot {
    Snapshot {
        now_ms: NOW_MS,
        namespace: "kompass".into(),
        pod_security: Some("restricted".into()),
        version: "0.1.0".into(),
        server: (1, 34),
        parts: vec![
            part(
                "scheduler",
                &[
                    "registry.k8s.io/kube-scheduler:v1.34.1",
                    "r/kompass-scheduler-extender:0.1.0",
                ],
            ),
            part("admission-webhook", &["r/kompass-admission-webhook:0.1.0"]),
        ],
        registration: Some(Registration {
            install: Some("kompass/kompass-admission-webhook".into()),
            asks: true,
            failure_policy: "Ignore".into(),
            ends_ms: vec![NOW_MS + 300 * DAY_MS],
            ..Registration::default()
        }),
        policy: true,
        policy_binding: true,
        probe: Answer::Good,
        driver: (Answer::Good, "default".into()),
        rights: vec![RightSeen {
            text: "x".into(),
            allowed: Some(true),
        }],
        leases: vec![LeaseSeen {
            name: names::PLANNER_LEASE.into(),
            holder: "a".into(),
            renewed_ms: Some(NOW_MS - 3_000),
            lasts_ms: 15_000,
        }],
        nodes: vec![node("n", &[], "aws:///x/i-1")],
        ..Snapshot::default()
    }
}

fn node(name: &str, labels: &[(&str, &str)], provider_id: &str) -> NodeSeen {
    NodeSeen {
        name: name.into(),
        labels: labels.iter().map(|&(key, value)| (key.into(), value.into())).collect(),
        provider_id: provider_id.into(),
    }
}

fn driver(name: &str, age_ms: i64) -> Pending {
    Pending {
        namespace: "etl".into(),
        name: name.into(),
        uid: name.into(),
        role: "driver".into(),
        gate: Some(0),
        ours: true,
        has_profile: true,
        has_plan: false,
        created_ms: NOW_MS - age_ms,
    }
}

#[test]
fn a_healthy_install_has_nothing_but_good_findings() {
    let all = findings(&healthy());
    assert!(
        all.iter().all(|one| one.state == State::Ok && one.fix.is_none()),
        "{all:#?}"
    );
    for check in [
        "kubernetes-version",
        "deployments",
        "registration",
        "webhook-answers",
        "rights",
        "leases",
        "gangs",
    ] {
        assert!(all.iter().any(|one| one.check == check), "{check}");
    }
}

type Fault = fn(&mut Snapshot);

/// What is wrong, which check says so, how bad it is, and in which words.
const FAULTS: [(Fault, &str, State, &str); 37] = [
    (|s| s.server = (1, 30), "kubernetes-version", State::Fail, "needs 1.31"),
    (
        |s| s.server = (1, 37),
        "kubernetes-version",
        State::Warn,
        "newer than any",
    ),
    (|s| s.parts.clear(), "deployments", State::Warn, "no Deployments"),
    (
        |s| s.pod_security = Some("baseline".into()),
        "pod-security",
        State::Warn,
        "does not enforce",
    ),
    (
        |s| s.parts.truncate(1),
        "deployments",
        State::Fail,
        "no Deployment of the admission-webhook",
    ),
    (|s| s.parts[0].ready = 1, "deployments", State::Warn, "1 of 2"),
    (|s| s.parts[0].ready = 0, "deployments", State::Fail, "0 of 2"),
    (
        |s| s.parts[0].wanted = 0,
        "deployments",
        State::Fail,
        "scaled to nothing",
    ),
    (
        |s| s.server = (1, 33),
        "kube-scheduler",
        State::Fail,
        "must not be newer",
    ),
    (
        |s| s.server = (1, 36),
        "kube-scheduler",
        State::Warn,
        "one minor version",
    ),
    (
        |s| s.parts[0].containers[0].image = "x/kube-scheduler@sha256:a".into(),
        "kube-scheduler",
        State::Warn,
        "can't be told",
    ),
    (
        |s| s.version = "0.2.0".into(),
        "versions",
        State::Warn,
        "this program is 0.2.0",
    ),
    (
        |s| s.parts[1].containers[0].image = "r/kompass-admission-webhook:0.0.9".into(),
        "versions",
        State::Warn,
        "0.0.9, 0.1.0",
    ),
    (
        |s| s.registration = None,
        "registration",
        State::Fail,
        "no MutatingWebhookConfiguration",
    ),
    (
        |s| registration(s).asks = false,
        "registration",
        State::Fail,
        "not told to ask",
    ),
    (
        |s| registration(s).bypass = Some("why".into()),
        "registration",
        State::Warn,
        "bypassed (why)",
    ),
    (
        |s| registration(s).failure_policy = "Fail".into(),
        "registration",
        State::Fail,
        "failurePolicy is Fail",
    ),
    (
        |s| registration(s).install = Some("other/w".into()),
        "registration",
        State::Fail,
        "in namespace other",
    ),
    (
        |s| registration(s).ends_ms.clear(),
        "certificates",
        State::Warn,
        "empty",
    ),
    (
        |s| registration(s).ends_ms = vec![NOW_MS - 1, NOW_MS - 2],
        "certificates",
        State::Fail,
        "has ended",
    ),
    (
        |s| registration(s).ends_ms = vec![NOW_MS + DAY_MS],
        "certificates",
        State::Warn,
        "24 hours",
    ),
    (
        |s| s.probe = Answer::Unchanged,
        "webhook-reached",
        State::Fail,
        "does not ask",
    ),
    (
        |s| s.probe = Answer::Refused("x509: certificate signed by unknown authority".into()),
        "webhook-reached",
        State::Fail,
        "unknown authority",
    ),
    (
        |s| s.driver.0 = Answer::Unchanged,
        "webhook-answers",
        State::Fail,
        "go past KOMPASS",
    ),
    (
        |s| s.driver.0 = Answer::Refused("quota".into()),
        "webhook-answers",
        State::Warn,
        "quota",
    ),
    (|s| s.policy = false, "admission-policy", State::Fail, "is missing"),
    (|s| s.policy_binding = false, "admission-policy", State::Fail, "binding"),
    (
        |s| s.rights[0].allowed = Some(false),
        "rights",
        State::Fail,
        "missing: x",
    ),
    (
        |s| s.rights[0].allowed = None,
        "rights",
        State::Warn,
        "could not be asked",
    ),
    (|s| s.leases.clear(), "leases", State::Fail, "no planner"),
    (
        |s| s.leases[0].renewed_ms = Some(NOW_MS - 60_000),
        "leases",
        State::Fail,
        "for 60 s",
    ),
    (|s| s.unplaced.push("etl/a".into()), "gangs", State::Warn, "etl/a"),
    (
        |s| {
            s.pending.push(Pending {
                has_profile: false,
                ..driver("old", 360_000)
            });
        },
        "gangs",
        State::Fail,
        "without a profile: etl/old",
    ),
    (
        |s| {
            s.pending.push(Pending {
                ours: false,
                ..driver("taken", 0)
            });
        },
        "gangs",
        State::Fail,
        "etl/taken",
    ),
    (
        |s| {
            s.overdue.push(Overdue {
                object: "Job stand-in-driver-1".into(),
                by_ms: 600_000,
            });
        },
        "ends",
        State::Warn,
        "stand-in-driver-1 (10 min)",
    ),
    (
        |s| quota(s, "requests.cpu", "4", "4000m"),
        "quotas",
        State::Warn,
        "requests.cpu (4000m of 4)",
    ),
    (
        |s| quota(s, "limits.cpu", "9", "0"),
        "quotas",
        State::Warn,
        "limit of CPU",
    ),
];

#[test]
fn every_fault_is_found_by_its_check_and_has_a_fix() {
    for (number, (plant, check, state, words)) in FAULTS.into_iter().enumerate() {
        let mut snapshot = healthy();
        plant(&mut snapshot);
        let all = findings(&snapshot);
        let found = all
            .iter()
            .find(|one| one.check == check && one.state == state && one.text.contains(words));
        assert!(
            found.is_some_and(|one| one.fix.is_some()),
            "row {number}, {check}: {all:#?}"
        );
    }
}

fn registration(snapshot: &mut Snapshot) -> &mut Registration {
    snapshot.registration.as_mut().unwrap()
}

fn quota(snapshot: &mut Snapshot, resource: &str, hard: &str, used: &str) {
    snapshot.quotas.push(QuotaSeen {
        namespace: "etl".into(),
        name: "team".into(),
        amounts: [(resource.to_owned(), (hard.to_owned(), used.to_owned()))].into(),
    });
}

#[test]
fn gangs_that_wait_for_their_turn_are_no_fault() {
    let mut snapshot = healthy();
    snapshot.pending = vec![driver("a", DAY_MS), driver("b", 0)];
    // One that has just come has no profile yet.
    snapshot.pending[1].has_profile = false;
    let all = findings(&snapshot);
    let found = all.iter().find(|one| one.check == "gangs").unwrap();
    assert_eq!(
        (found.state, found.text.as_str()),
        (State::Ok, "2 gangs wait for their turn, none is stuck")
    );
}

#[test]
fn a_shadow_that_changes_nothing_is_as_it_should_be() {
    let mut snapshot = healthy();
    snapshot.parts[1].containers[0].shadow = true;
    snapshot.driver.0 = Answer::Unchanged;
    assert!(findings(&snapshot).iter().all(|one| one.state == State::Ok));
}

#[test]
fn labelled_namespaces_need_their_rights() {
    let mut snapshot = healthy();
    registration(&mut snapshot).is_labelled = true;
    let found = |snapshot: &Snapshot| {
        let all = findings(snapshot).into_iter().filter(|one| one.check == "namespaces");
        all.map(|one| (one.state, one.fix.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&snapshot)[0].0, State::Warn);
    snapshot.namespaces.push(NamespaceSeen {
        name: "etl".into(),
        enabled: Some("true".into()),
        allowed: Some(true),
    });
    assert_eq!(found(&snapshot), [(State::Ok, String::new())]);
    snapshot.namespaces[0].allowed = Some(false);
    let (state, fix) = found(&snapshot).remove(0);
    assert!(
        state == State::Fail && fix.contains("rolebinding") && fix.contains("--namespace=etl "),
        "{fix}"
    );
}

#[test]
fn what_could_not_be_read_is_said_and_not_judged() {
    let mut snapshot = healthy();
    snapshot.leases.clear();
    snapshot.unread.push(("leases", "forbidden".into()));
    let all: Vec<_> = findings(&snapshot)
        .into_iter()
        .filter(|one| one.check == "leases")
        .collect();
    assert_eq!(all.len(), 1);
    assert!(all[0].state == State::Warn && all[0].text.contains("forbidden"));
}

#[test]
fn platforms_are_known_by_their_nodes() {
    for (node, state, words) in [
        (
            node("a", &[("eks.amazonaws.com/compute-type", "fargate")], "aws:///x"),
            State::Warn,
            "Fargate",
        ),
        (
            node("a", &[("eks.amazonaws.com/compute-type", "auto")], "aws:///x"),
            State::Warn,
            "Auto Mode",
        ),
        (
            node("a", &[("eks.amazonaws.com/nodegroup", "x")], "aws:///x"),
            State::Ok,
            "managed node groups",
        ),
        (node("a", &[], "aws:///x"), State::Ok, "all of KOMPASS works"),
        (
            node("gk3-a", &[("cloud.google.com/gke-nodepool", "x")], "gce://x"),
            State::Warn,
            "Autopilot",
        ),
        (
            node("gke-a", &[("cloud.google.com/gke-nodepool", "x")], "gce://x"),
            State::Ok,
            "Standard",
        ),
        (
            node("a", &[("type", "virtual-kubelet")], "azure://x"),
            State::Warn,
            "virtual",
        ),
        (node("a", &[], "azure://x"), State::Ok, "AKS"),
        (node("a", &[], "kind://x"), State::Ok, "no known cloud"),
    ] {
        let snapshot = Snapshot {
            nodes: vec![node.clone()],
            ..healthy()
        };
        let all: Vec<_> = findings(&snapshot)
            .into_iter()
            .filter(|one| one.check == "platform")
            .collect();
        assert!(
            all.len() == 1 && all[0].state == state && all[0].text.contains(words),
            "{node:?}: {all:?}"
        );
    }
}
