use kompass_core::constraints::{Operator, Requirement};
use kompass_core::{DriverSpacing, PodSelector, PodTerm};
use serde_json::json;

use super::*;

/// A driver of the application `app-1`.
fn driver() -> Value {
    let labels = json!({"spark-role": "driver", "spark-app-selector": "app-1", "part": "driver"});
    json!({"metadata": {"namespace": "jobs", "labels": labels}, "spec": {}})
}

/// The rules of a template with the labels `team: etl` and this spec.
fn of(spec: &Value) -> Rules {
    let template = json!({"metadata": {"labels": {"team": "etl"}}, "spec": spec});
    rules(&template, Some(&driver()))
}

/// Those about each other, and warnings.
fn read(spec: &Value) -> (Spacing, Vec<String>) {
    let rules = of(spec);
    (rules.spacing, rules.warnings)
}

fn executors() -> Value {
    json!({"matchLabels": {"spark-role": "executor"}})
}

fn term(key: &str, selector: &Value, more: &Value) -> Value {
    let mut term = json!({"topologyKey": key, "labelSelector": selector});
    if let (Some(term), Some(more)) = (term.as_object_mut(), more.as_object()) {
        term.extend(more.clone());
    }
    term
}

fn apart(term: &Value) -> Value {
    json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn together(term: &Value) -> Value {
    json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn spread(key: &str, more: &Value) -> Value {
    let mut rule = term(
        key,
        &executors(),
        &json!({"maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}),
    );
    if let (Some(rule), Some(more)) = (rule.as_object_mut(), more.as_object()) {
        rule.extend(more.clone());
    }
    json!({"topologySpreadConstraints": [rule]})
}

#[test]
fn every_rule_is_read() {
    let none = json!({});
    let one = |change: fn(&mut Spacing)| {
        let mut spacing = Spacing::default();
        change(&mut spacing);
        spacing
    };
    let per_node = one(|spacing| spacing.per_node_max = Some(1));
    for (spec, expected) in [
        (json!({}), Spacing::default()),
        (apart(&term(HOST_LABEL, &executors(), &none)), per_node.clone()),
        (
            apart(&term(ZONE_LABEL, &executors(), &none)),
            one(|spacing| spacing.per_zone_max = Some(1)),
        ),
        (
            together(&term(ZONE_LABEL, &executors(), &none)),
            one(|spacing| spacing.one_zone = true),
        ),
        (
            spread(ZONE_LABEL, &json!({"nodeTaintsPolicy": "Ignore"})),
            one(|spacing| spacing.zone_skew = Some(2)),
        ),
        (spread(HOST_LABEL, &none), one(|spacing| spacing.per_node_max = Some(2))),
        (
            spread(ZONE_LABEL, &json!({"whenUnsatisfiable": "ScheduleAnyway"})),
            Spacing::default(),
        ),
        (
            apart(&term(
                HOST_LABEL,
                &json!({"matchLabels": {"team": "etl"}}),
                &json!({"matchLabelKeys": ["spark-app-selector"], "namespaces": ["a", "jobs"]}),
            )),
            per_node.clone(),
        ),
        (
            apart(&term(HOST_LABEL, &json!({}), &json!({"namespaceSelector": {}}))),
            one(|spacing| (spacing.per_node_max, spacing.driver.other_node) = (Some(1), true)),
        ),
        (
            apart(&term(
                HOST_LABEL,
                &json!({"matchExpressions": [
                    {"key": "team", "operator": "In", "values": ["ml", "etl"]},
                    {"key": "team", "operator": "NotIn", "values": ["ml"]},
                    {"key": "absent", "operator": "NotIn", "values": ["ml"]},
                    {"key": "spark-exec-id", "operator": "Exists"},
                    {"key": "absent", "operator": "DoesNotExist"},
                ]}),
                &none,
            )),
            per_node,
        ),
    ] {
        assert_eq!(read(&spec), (expected, vec![]), "{spec}");
    }
}

#[test]
fn host_ports_of_all_that_stays_are_counted() {
    let spec = json!({
        "containers": [
            {"ports": [{"containerPort": 1, "hostPort": 8080}, {"containerPort": 2}]},
            {"ports": [{"containerPort": 3, "hostPort": 4040}, {"hostPort": 8080}, {"hostPort": 70_000}]},
        ],
        "initContainers": [
            {"restartPolicy": "Always", "ports": [{"hostPort": 9000}]},
            {"ports": [{"hostPort": 9001}]},
        ],
    });
    assert_eq!(read(&spec).0.host_ports, [4040, 8080, 9000]);
    let mut on_host = spec;
    on_host["hostNetwork"] = json!(true);
    assert_eq!(read(&on_host).0.host_ports, [2, 4040, 8080, 9000]);
}

#[test]
fn what_is_not_planned_for_is_told_without_any_value() {
    let none = json!({});
    let secret = json!({"matchLabels": {"hunter2": "hunter2"}});
    let exec = |operator: &str| json!({"matchExpressions": [{"key": "spark-exec-id", "operator": operator, "values": ["hunter2"]}]});
    let by_namespace = json!({"namespaceSelector": {"matchLabels": {"a": "hunter2"}}});
    for spec in [
        apart(&term("hunter2", &executors(), &none)),
        apart(&term(HOST_LABEL, &executors(), &by_namespace)),
        apart(&term(HOST_LABEL, &secret, &by_namespace)),
        apart(&term(HOST_LABEL, &exec("In"), &none)),
        apart(&term(HOST_LABEL, &exec("NotIn"), &none)),
        apart(&term(HOST_LABEL, &exec("Like"), &none)),
        apart(&term("hunter2", &json!({"matchLabels": {"part": "driver"}}), &none)),
        together(&term(
            HOST_LABEL,
            &executors(),
            &json!({"matchLabelKeys": ["spark-app-selector"]}),
        )),
        together(&term(HOST_LABEL, &json!({"matchLabels": {"part": "driver"}}), &none)),
        together(&term(ZONE_LABEL, &secret, &by_namespace)),
        together(&term(ZONE_LABEL, &Value::Null, &none)),
        spread("hunter2", &none),
        spread(ZONE_LABEL, &json!({"maxSkew": 0})),
        spread(
            ZONE_LABEL,
            &json!({"labelSelector": {"matchLabels": {"team": "hunter2"}}}),
        ),
    ] {
        let (spacing, warnings) = read(&spec);
        assert!(spacing.is_none(), "{spec}: {spacing:?}");
        assert_eq!(warnings.len(), 1, "{spec}: {warnings:?}");
        assert!(!warnings[0].contains("hunter2"), "{warnings:?}");
    }
}

/// The rules of executors about others where all are planned for.
fn others(spec: &Value) -> PodRules {
    let rules = of(spec);
    assert_eq!(rules.warnings, Vec::<String>::new(), "{spec}");
    rules.others
}

fn rule(key: &str, operator: Operator, values: &[&str]) -> Requirement {
    Requirement {
        key: key.into(),
        operator,
        values: values.iter().map(|&value| value.into()).collect(),
    }
}

/// One term about pods of these namespaces with these labels.
fn about(topology: &str, namespaces: Option<&[&str]>, labels: &[Requirement]) -> Vec<PodTerm> {
    let namespaces = namespaces.map(|names| names.iter().map(|&name| name.into()).collect());
    vec![PodTerm {
        topology: topology.into(),
        pods: PodSelector {
            namespaces,
            labels: labels.to_vec(),
        },
    }]
}

#[test]
fn terms_about_pods_of_others_are_kept() {
    let web = json!({"matchLabels": {"app": "web"}});
    let of_app = rule("app", Operator::In, &["web"]);
    let own = Some(&["jobs"][..]);
    let role = rule("spark-role", Operator::In, &["executor"]);
    for (term, expected) in [
        (
            term("rack", &web, &json!({})),
            about("rack", own, std::slice::from_ref(&of_app)),
        ),
        (
            term(HOST_LABEL, &web, &json!({"namespaces": ["b", "a"]})),
            about(HOST_LABEL, Some(&["a", "b"]), std::slice::from_ref(&of_app)),
        ),
        (
            term(HOST_LABEL, &web, &json!({"namespaceSelector": {}})),
            about(HOST_LABEL, None, std::slice::from_ref(&of_app)),
        ),
        (
            term(HOST_LABEL, &web, &json!({"mismatchLabelKeys": ["team", "absent"]})),
            about(
                HOST_LABEL,
                own,
                &[of_app.clone(), rule("team", Operator::NotIn, &["etl"])],
            ),
        ),
        // Other applications' executors: what is about the own one is not in it.
        (
            term(
                HOST_LABEL,
                &executors(),
                &json!({"mismatchLabelKeys": ["spark-app-selector"]}),
            ),
            about(HOST_LABEL, own, std::slice::from_ref(&role)),
        ),
        (
            term(HOST_LABEL, &executors(), &json!({})),
            about(HOST_LABEL, own, std::slice::from_ref(&role)),
        ),
        // Nobody else.
        (
            term(
                HOST_LABEL,
                &executors(),
                &json!({"matchLabelKeys": ["spark-app-selector"]}),
            ),
            vec![],
        ),
        (
            term(HOST_LABEL, &executors(), &json!({"matchLabelKeys": ["spark-exec-id"]})),
            vec![],
        ),
        (term(HOST_LABEL, &Value::Null, &json!({})), vec![]),
    ] {
        assert_eq!(others(&apart(&term)).apart, expected, "{term}");
    }
    let cache = others(&together(&term(ZONE_LABEL, &web, &json!({}))));
    assert_eq!(cache.together, about(ZONE_LABEL, own, &[of_app]));
    let mismatch = apart(&term(
        HOST_LABEL,
        &executors(),
        &json!({"mismatchLabelKeys": ["spark-app-selector"]}),
    ));
    assert_eq!(
        of(&mismatch).spacing,
        Spacing::default(),
        "executors of one application may be together"
    );
}

#[test]
fn executors_know_their_driver() {
    let with = |change: fn(&mut DriverSpacing)| {
        let mut driver = DriverSpacing::default();
        change(&mut driver);
        driver
    };
    let drivers = json!({"matchLabels": {"spark-role": "driver"}});
    let own = json!({"matchLabelKeys": ["spark-app-selector"]});
    for (spec, expected) in [
        (
            apart(&term(HOST_LABEL, &drivers, &own)),
            with(|it| it.other_node = true),
        ),
        (
            apart(&term(ZONE_LABEL, &drivers, &own)),
            with(|it| it.other_zone = true),
        ),
        (
            together(&term(ZONE_LABEL, &drivers, &own)),
            with(|it| it.same_zone = true),
        ),
        // Those of others alone.
        (
            apart(&term(
                HOST_LABEL,
                &drivers,
                &json!({"mismatchLabelKeys": ["spark-app-selector"]}),
            )),
            DriverSpacing::default(),
        ),
        (
            spread(
                ZONE_LABEL,
                &json!({"labelSelector": {}, "matchLabelKeys": ["spark-app-selector"]}),
            ),
            with(|it| it.counts = true),
        ),
    ] {
        let rules = of(&spec);
        assert_eq!((rules.spacing.driver, rules.warnings), (expected, vec![]), "{spec}");
        assert!(rules.others.together.is_empty(), "the driver is there: {spec}");
    }
    let mut driver = driver();
    driver["spec"] = apart(&term(HOST_LABEL, &executors(), &json!({})));
    let rules = rules(&json!({}), Some(&driver));
    assert_eq!(rules.spacing.driver, with(|it| it.other_node = true));
    assert!(rules.others.is_none(), "the driver's rules are its own");
    driver["spec"]["topologySpreadConstraints"] = spread(ZONE_LABEL, &json!({}))["topologySpreadConstraints"].clone();
    assert_eq!(super::rules(&json!({}), Some(&driver)).warnings.len(), 1);
}

#[test]
fn spreads_say_which_zones_count() {
    let counted = |more: &Value| {
        let (spacing, warnings) = read(&spread(ZONE_LABEL, more));
        assert_eq!((spacing.zone_skew, warnings), (Some(2), vec![]), "{more}");
        (spacing.zones_min, spacing.any_zone_counts, spacing.tainted_count_not)
    };
    assert_eq!(counted(&json!({"minDomains": 3})), (Some(3), false, false));
    assert_eq!(
        counted(&json!({"minDomains": 1, "nodeTaintsPolicy": "Ignore"})),
        (None, false, false)
    );
    assert_eq!(
        counted(&json!({"nodeAffinityPolicy": "Ignore", "nodeTaintsPolicy": "Honor"})),
        (None, true, true)
    );
    // Zones can't be counted in two ways.
    let mut two = spread(ZONE_LABEL, &json!({"minDomains": 3}));
    let other = spread(ZONE_LABEL, &json!({"maxSkew": 1}))["topologySpreadConstraints"][0].clone();
    two["topologySpreadConstraints"].as_array_mut().unwrap().push(other);
    let (spacing, warnings) = read(&two);
    assert_eq!(
        (spacing.zone_skew, spacing.zones_min, warnings.len()),
        (Some(2), Some(3), 1)
    );
}
