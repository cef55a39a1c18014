//! What the chart renders: by its own unit tests, by lint, and held against the programs.

use std::collections::BTreeSet;
use std::time::Duration;

use kompass_deployment_tests::{own_program, project, run, succeed};
use kompass_local_cluster::programs::{self, Module, Program};
use kompass_local_cluster::progress::Progress;
use serde_json::Value;
use tokio::process::Command;

use crate::helm::{self, arguments, chart, everything, fails, find, render, text};

const LIMIT: Duration = Duration::from_mins(2);
/// Sets of values, each with another part of the chart.
const SETS: [&[&str]; 5] = [
    &[],
    &["--set", "scope=all"],
    &["--set", "mode=shadow", "--set", "namespaces={team-a}"],
    &[
        "--set",
        "scheduler.replicas=1,admissionWebhook.replicas=1,networkPolicy.enabled=false",
    ],
    &[
        "--set",
        "admissionWebhook.certificates.mode=existingSecret,admissionWebhook.certificates.existingSecret=mine",
    ],
];

#[tokio::test]
async fn its_own_unit_tests_pass() {
    let mut command = helm::program(Program::HelmUnittest).await.unwrap();
    let said = succeed(command.arg(chart()), LIMIT).await.unwrap();
    println!("{}", said.trim());
}

#[tokio::test]
async fn lint_finds_nothing() {
    let (folder, everything) = (chart(), everything());
    let mut sets = SETS.to_vec();
    let all = ["--values", text(&everything).unwrap()];
    sets.push(&all);
    for set in sets {
        let mut arguments = vec!["lint", "--strict", text(&folder).unwrap()];
        arguments.extend(set);
        let said = helm::succeeds(&arguments).await.unwrap();
        assert!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{said}");
    }
}

#[tokio::test]
async fn its_version_is_that_of_the_workspace() {
    let manifest = std::fs::read_to_string(project().join("Cargo.toml")).unwrap();
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = "))
        .unwrap()
        .trim_matches('"');
    let meta: Value = serde_saphyr::from_str(&std::fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(
        (&meta["version"], &meta["appVersion"]),
        (&version.into(), &version.into())
    );
}

#[tokio::test]
async fn kube_scheduler_gets_the_configuration_that_the_extender_prints() {
    let objects = render(&[]).await.unwrap();
    let config = find(&objects, "ConfigMap", "kompass-scheduler");
    let rendered: Value = serde_saphyr::from_str(config["data"]["config.yaml"].as_str().unwrap()).unwrap();
    let mut print = Command::new(own_program("kompass-scheduler-extender").unwrap());
    print.args(["print-scheduler-config", "--lease-namespace", "kompass"]);
    let printed: Value = serde_saphyr::from_str(&succeed(&mut print, LIMIT).await.unwrap()).unwrap();
    assert_eq!(rendered, printed);
}

#[tokio::test]
async fn a_change_of_queues_restarts_nothing() {
    let checksum = |objects: &[Value]| {
        find(objects, "Deployment", "kompass-scheduler")["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let before = render(&[]).await.unwrap();
    let after = render(&["--set", "scheduler.queues[0].name=etl"]).await.unwrap();
    assert_eq!(checksum(&before), checksum(&after));
    assert!(checksum(&before)["checksum/config"].is_string());
}

/// Ends well if the program knows all of the arguments: with `--help` at the end it reads them and starts nothing.
async fn takes(program: &std::path::Path, arguments: &[String]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).arg("--help");
    let output = run(&mut command, LIMIT).await.unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn every_argument_is_one_that_the_program_takes() {
    let kubernetes = programs::ensure(&[Module::Kubernetes], &Progress::lines())
        .await
        .unwrap();
    let containers = [
        (
            "kompass-scheduler",
            "kube-scheduler",
            kubernetes.path(Program::Scheduler).unwrap(),
        ),
        (
            "kompass-scheduler",
            "extender",
            own_program("kompass-scheduler-extender").unwrap(),
        ),
        (
            "kompass-admission-webhook",
            "admission-webhook",
            own_program("kompass-admission-webhook").unwrap(),
        ),
        (
            "kompass-predictor",
            "predictor",
            own_program("kompass-predictor").unwrap(),
        ),
    ];
    let everything = everything();
    let mut sets = SETS.to_vec();
    let all = ["--values", text(&everything).unwrap()];
    sets.push(&all);
    let mut seen = BTreeSet::new();
    for set in sets {
        let objects = render(set).await.unwrap();
        let deployments = objects.iter().filter(|object| object["kind"] == "Deployment");
        let names: Vec<_> = deployments
            .map(|one| one["metadata"]["name"].as_str().unwrap())
            .collect();
        for (deployment, container, program) in &containers {
            if !names.contains(deployment) {
                continue;
            }
            let rendered = arguments(&objects, deployment, container);
            assert!(!rendered.is_empty());
            takes(program, &rendered)
                .await
                .unwrap_or_else(|error| panic!("{container} does not take {rendered:?}: {error}"));
            // The check itself: what is no argument must not pass.
            let mut wrong = rendered.clone();
            wrong.push("--kompass-does-not-know-this".to_owned());
            takes(program, &wrong).await.expect_err("anything is taken");
            seen.insert(*container);
        }
        let check = objects
            .iter()
            .find(|one| one["kind"] == "Pod" && one["metadata"]["name"] == "kompass-check");
        let args = check.unwrap()["spec"]["containers"][0]["args"].as_array().unwrap();
        let args: Vec<_> = args.iter().map(|one| one.as_str().unwrap().to_owned()).collect();
        takes(&own_program("kompass-admission-webhook").unwrap(), &args)
            .await
            .unwrap();
    }
    assert_eq!(seen.len(), containers.len(), "{seen:?}");
}

#[tokio::test]
async fn the_queue_file_is_one_that_the_command_takes() {
    let everything = everything();
    let objects = render(&["--values", text(&everything).unwrap()]).await.unwrap();
    let empty = render(&[]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for objects in [objects, empty] {
        let config = find(&objects, "ConfigMap", "kompass-queues");
        let file = folder.path().join("queues.yaml");
        std::fs::write(&file, config["data"]["queues.yaml"].as_str().unwrap()).unwrap();
        let mut check = Command::new(own_program("kompass").unwrap());
        succeed(check.args(["queues", "check"]).arg(&file), LIMIT)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_cluster_that_is_too_old_is_refused() {
    let folder = chart();
    let folder = text(&folder).unwrap();
    let said = fails(&["template", "kompass", folder, "--kube-version", "1.30.4"])
        .await
        .unwrap();
    assert!(said.contains("requires kubeVersion: >=1.31.0-0"), "{said}");
    for version in ["v1.31.0", "v1.34.1-eks-abcdef0", "v1.36.3-gke.100"] {
        render(&["--kube-version", version]).await.unwrap();
    }
}

#[tokio::test]
async fn the_table_of_kube_schedulers_has_each_minor_version_its_own() {
    let table = std::fs::read_to_string(chart().join("files/kube-scheduler-versions.yaml")).unwrap();
    let table: std::collections::BTreeMap<String, String> = serde_saphyr::from_str(&table).unwrap();
    assert!(table.contains_key("1.31"));
    for (minor, tag) in &table {
        assert!(tag.starts_with(&format!("v{minor}.")), "{tag} for {minor}");
    }
    let built = programs::kubernetes_version();
    assert!(
        table.keys().any(|minor| built.starts_with(&format!("v{minor}."))),
        "the version of the tests, {built}, is not in the table"
    );
}

/// A list of rights in the setup script: verb and resource, and the namespace where it isn't KOMPASS's own.
fn asked(script: &str, list: &str) -> BTreeSet<String> {
    let (_, rest) = script.split_once(&format!("readonly {list}=(\n")).unwrap();
    let (lines, _) = rest.split_once("\n)").unwrap();
    lines
        .lines()
        .map(|line| line.trim().trim_matches('"').to_owned())
        .collect()
}

/// What it takes to create these objects, but those in the namespaces of jobs: there are roles and bindings alone.
fn taken(objects: &[Value]) -> BTreeSet<String> {
    let rights = objects.iter().filter_map(|object| {
        let kind = object["kind"].as_str().unwrap().to_lowercase();
        let resource = match kind.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None if kind.ends_with('s') => format!("{kind}es"),
            None => format!("{kind}s"),
        };
        let group = object["apiVersion"].as_str().unwrap().split_once('/');
        let group = group.map(|(group, _)| format!(".{group}")).unwrap_or_default();
        match object["metadata"]["namespace"].as_str() {
            Some("team-a" | "team-b" | "default") => {
                assert!(["role", "rolebinding"].contains(&kind.as_str()), "{object:#}");
                None
            }
            None | Some("kompass") => Some(format!("create {resource}{group}")),
            Some(namespace) => Some(format!("create {resource}{group} {namespace}")),
        }
    });
    rights.collect()
}

#[tokio::test]
async fn the_setup_asks_for_the_rights_that_an_install_takes() {
    let script = std::fs::read_to_string(project().join("setup/cluster.sh")).unwrap();
    let (mut install, optional) = (asked(&script, "INSTALL_RIGHTS"), asked(&script, "OPTIONAL_RIGHTS"));
    // Helm's and the script's own, for no object of the chart.
    for own in ["create namespaces", "patch namespaces"] {
        assert!(install.remove(own), "{own}");
    }
    let everything = everything();
    for set in SETS {
        let more = &taken(&render(set).await.unwrap()) - &install;
        assert!(more.is_empty(), "{set:?} takes {more:?}");
    }
    let least = taken(&render(&[]).await.unwrap());
    assert_eq!(least, install);

    let bundled = "monitoring.bundled.enabled=true,predictor.node.cpuMilli=8000,predictor.node.memoryMib=65536";
    let mut most = taken(&render(&["--set", bundled]).await.unwrap());
    most.extend(taken(&render(&["--values", text(&everything).unwrap()]).await.unwrap()));
    assert_eq!(&most - &least, optional);
}

/// The number before a unit.
fn amount(quantity: &Value, unit: &str) -> u64 {
    let text = quantity.as_str().unwrap();
    text.strip_suffix(unit).unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_setup_tells_what_the_pods_ask_for() {
    let script = std::fs::read_to_string(project().join("setup/cluster.sh")).unwrap();
    let objects = render(&[]).await.unwrap();
    let (mut cpu, mut memory) = (0, 0);
    for deployment in objects.iter().filter(|object| object["kind"] == "Deployment") {
        let replicas = deployment["spec"]["replicas"].as_u64().unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        for container in pod["containers"].as_array().unwrap() {
            let requests = &container["resources"]["requests"];
            cpu += replicas * amount(&requests["cpu"], "m");
            memory += replicas * amount(&requests["memory"], "Mi");
        }
    }
    let told = format!("PODS_CPU={cpu}m PODS_MEMORY={memory}Mi\n");
    assert!(script.contains(&told), "the pods ask for {told}");
}

#[tokio::test]
async fn no_object_names_another_namespace_than_it_must() {
    let objects = render(&["--namespace", "elsewhere"]).await.unwrap();
    for object in &objects {
        let namespace = &object["metadata"]["namespace"];
        let is_reader = object["metadata"]["name"] == "kompass-kube-scheduler-authentication";
        assert!(
            namespace.is_null() || namespace == "elsewhere" || is_reader,
            "{object:#}"
        );
    }
}
